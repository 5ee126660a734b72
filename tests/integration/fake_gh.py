"""A ``gh`` for tests: keeps issues in a JSON file, and writes down how it was called and what it read.

``python fake_gh.py FOLDER ARGUMENTS``: the issues are in ``FOLDER/issues.json``, the calls in ``FOLDER/calls.json``.
Where there is a file ``FOLDER/refuse``, every call that would change something ends with 1.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def read(path: Path) -> list[Any]:
    """Return a list that was kept."""
    kept: list[Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return kept


def value(arguments: list[str], option: str) -> str:
    """Return what follows an option."""
    return arguments[arguments.index(option) + 1]


def change(issues: list[dict[str, Any]], arguments: list[str], text: str) -> None:
    """Do what a call asks for."""
    what = arguments[1]
    if what == "create":
        label = {"name": value(arguments, "--label")}
        title = value(arguments, "--title")
        number = len(issues) + 1
        issues.append({"number": number, "title": title, "body": text, "labels": [label], "state": "OPEN"})
        return
    issue = next(issue for issue in issues if issue["number"] == int(arguments[2]))
    if what in {"reopen", "close"}:
        issue["state"] = {"reopen": "OPEN", "close": "CLOSED"}[what]
    elif what == "edit":
        issue["body"] = text
    elif what == "comment":
        issue.setdefault("comments", []).append(text)
    else:
        raise ValueError(what)


def main(folder: Path, arguments: list[str]) -> int:
    """Be ``gh``."""
    text = sys.stdin.buffer.read().decode()
    calls, issues = read(folder / "calls.json"), read(folder / "issues.json")
    (folder / "calls.json").write_text(json.dumps([*calls, {"arguments": arguments, "text": text}]), encoding="utf-8")
    if arguments[:2] == ["issue", "list"]:
        label = value(arguments, "--label")
        fields = value(arguments, "--json").split(",")
        those = [issue for issue in issues if {"name": label} in issue["labels"]]
        sys.stdout.write(json.dumps([{field: issue[field] for field in fields} for issue in those]))
        return 0
    if (folder / "refuse").exists():
        sys.stderr.write("HTTP 403: no\nmore\n")
        return 1
    if arguments[0] == "issue":
        change(issues, arguments, text)
        (folder / "issues.json").write_text(json.dumps(issues), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
