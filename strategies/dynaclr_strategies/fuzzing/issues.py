"""The issue of a failure: what it says, and what can be read from it again.

All that comes from a bundle is a stranger's text. It stands in code blocks that it cannot end, with signs that nobody
sees spelled out; there nobody is mentioned, nothing is linked, and no marker is looked for.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynaclr_strategies.codec import yaml_text
from dynaclr_strategies.fuzzing.failures import case_line, read_failure
from dynaclr_strategies.invariants.base import INVARIANTS
from dynaclr_strategies.reproduction.bundles import replay_command
from dynaclr_strategies.reproduction.case_files import CannotRunError
from dynaclr_strategies.reproduction.identity import Failure
from dynaclr_strategies.reproduction.names import maker_note
from dynaclr_strategies.reproduction.printing import spelled_out

__all__ = ["LABEL", "Issue", "case_of", "fenced", "issue_body", "issue_title", "with_names"]

LABEL = "fuzz"
"""Only issues with this label are looked at: strangers can copy a marker, but set no label."""

MAX_NAMES = 20
MAX_TITLE, MAX_MESSAGE, MAX_CASE, MAX_LINE, MAX_LINES = 120, 3000, 5000, 24000, 200
"""Together well below the 65,536 characters that an issue may have, in whatever letters."""

_MARKER = re.compile(r"^<!-- dynaclr-fuzz ([0-9a-f]{16}) -->[ \t]*\r?$", re.MULTILINE)
_BUNDLES = re.compile(r"^Bundles: [^\r\n]*", re.MULTILINE)
_NAME = re.compile(r"`([a-z0-9-]{1,100}-[0-9a-f]{8})`")

_WHERE = "In an environment with the code in question (in a clone: `pip install -c constraints.txt '.[strategies]'`)"

_AFTERWARDS = """It prints FIXED (exit code 0), FAILS (1) or CANNOT RUN (2). With `--keep`, in the root of a clone, it
adds the case to those that every test run checks first: commit it with the repair. This issue is closed when its cases
are FIXED, and opened again when one fails again."""


@dataclass(frozen=True)
class Issue:
    """An issue as ``gh issue list --json number,title,body,labels,state`` gives it.

    Attributes
    ----------
    number, title, body
        As they are.
    labels
        Names of its labels.
    is_open
        Whether it is open.
    """

    number: int
    title: str
    body: str
    labels: frozenset[str]
    is_open: bool

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> Issue:
        """Read one entry of the list."""
        labels = frozenset(label["name"] for label in data.get("labels") or ())
        body = data.get("body") or ""
        return cls(int(data["number"]), str(data["title"]), str(body), labels, data["state"] == "OPEN")

    @property
    def identity(self) -> str | None:
        """The failure that it is about; None for an issue that was not opened by the report."""
        found = _MARKER.search(self.body) if LABEL in self.labels else None
        return found.group(1) if found else None

    @property
    def names(self) -> list[str]:
        """The bundles that it names."""
        line = _BUNDLES.search(self.body)
        return _NAME.findall(line.group()) if line else []


# --- strangers' text --------------------------------------------------------------------------------------------------


def fenced(text: str, language: str, max_length: int) -> str:
    """Return a text as a code block that it cannot end, cut to a length."""
    shown = spelled_out(text)
    lines = shown[:max_length].split("\n")
    cut = len(shown) > max_length or len(lines) > MAX_LINES
    body = "\n".join(lines[:MAX_LINES]).rstrip("\n") + ("\n... (cut)" if cut else "")
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", body)), default=0))
    return f"{fence}{language}\n{body}\n{fence}"


# --- the issue --------------------------------------------------------------------------------------------------------


def issue_title(failure: Failure) -> str:
    """Return the title: the law, and what was said without what differs between cases."""
    wording = re.sub(r"\s+", " ", spelled_out(failure.wording)).replace("@", "(at)")
    title = f"{failure.law}: {wording}" if wording else f"{failure.law}: {failure.error}"
    return title if len(title) <= MAX_TITLE else title[: MAX_TITLE - 3] + "..."


def issue_body(group: Sequence[Failure], identity: str, run_url: str | None = None) -> str:
    """Return the body for a group of bundles of one failure.

    Parameters
    ----------
    group
        The bundles, that with the smallest case first.
    identity
        What they have in common.
    run_url
        The page of the run that found them.
    """
    failure = group[0]
    law, failed = INVARIANTS[failure.law], failure.stored.failed
    maker = f"`{failed.maker}`" if failed.maker else "dynaclr's own"
    line = case_line(failure)
    paragraphs = [
        f"<!-- dynaclr-fuzz {identity} -->\n{_bundles_line(one.name for one in group)}",
        f"The search found a case on which the law `{law.law}` does not hold.",
        f"> {law.sentence}",
        f"Subject: {law.subject} ({maker}). The law applies: {law.when}.",
        "## What happened",
        fenced(f"{failure.error}: {failure.stored.message}", "text", MAX_MESSAGE),
        "## The smallest example",
        fenced(yaml_text(failed.case.to_plain()), "yaml", MAX_CASE),
        "## How to see it on your machine",
        *_how_to_replay(failure, run_url, has_line=len(line) <= MAX_LINE),
    ]
    if len(line) <= MAX_LINE:
        paragraphs.append(f"<details><summary>case.json</summary>\n\n```json\n{line}\n```\n\n</details>")
    return "\n\n".join(paragraphs) + "\n"


def _how_to_replay(failure: Failure, run_url: str | None, *, has_line: bool) -> list[str]:
    run = f"[the run]({run_url})" if run_url else "the run that found it"
    maker = failure.stored.failed.maker
    command = f"```sh\n{replay_command(Path(failure.folder or failure.name), maker)}\n```"
    paragraphs = [
        f"{_WHERE}, with the bundle from the artifacts of {run}:",
        command,
    ]
    if has_line:
        paragraphs += [
            "Or without it: save the block at the end of this text as `case.json`.",
            f"```sh\n{replay_command(Path('case.json'), maker)}\n```",
        ]
    note = maker_note(maker)
    return [*paragraphs, *([] if note is None else [note]), _AFTERWARDS]


def _bundles_line(names: Iterable[str]) -> str:
    return "Bundles: " + ", ".join(f"`{name}`" for name in list(names)[:MAX_NAMES])


def with_names(body: str, names: Iterable[str]) -> str:
    """Return the body of an issue with more bundles; all else stays, what people added to it too."""
    line = _BUNDLES.search(body)
    if line is None:
        return body
    known = _NAME.findall(line.group())
    new = sorted(set(names) - set(known))
    return body[: line.start()] + _bundles_line([*known, *new]) + body[line.end() :] if new else body


def case_of(issue: Issue) -> Failure | None:
    """Return the case that an issue holds; None if it holds none, or one that it is not about."""
    lines = [line for line in issue.body.split("\n") if line.startswith('{"format":')]
    if not lines:
        return None
    with tempfile.TemporaryDirectory() as folder:
        # The last one: before it stands what a stranger may have written.
        path = Path(folder, "case.json")
        path.write_text(lines[-1], encoding="utf-8", errors="backslashreplace")
        try:
            failure = read_failure(path)
        except CannotRunError:
            return None
    return failure if failure.name in issue.names else None
