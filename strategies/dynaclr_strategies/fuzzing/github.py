"""The few calls of ``gh`` that the report needs: lists of arguments, texts through its standard input, no shell."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from dynaclr_strategies.fuzzing.decisions import Action, Kind
from dynaclr_strategies.fuzzing.issues import LABEL, Issue

__all__ = ["Call", "GitHubError", "all_issues", "calls_of", "issues_of", "label_call", "run_call"]

FIELDS = "number,title,body,labels,state"
MOST_ISSUES = 2000

Call = tuple[Sequence[str], str | None]
"""Arguments of ``gh``, and what it reads."""


class GitHubError(Exception):
    """``gh`` could not do it; the message says what and why, in one sentence."""


def run_call(call: Call) -> str:
    """Run ``gh`` and return what it printed.

    Raises
    ------
    GitHubError
        If it is not there, or says no.
    """
    arguments, text = call
    program = shutil.which("gh")
    if program is None:
        raise GitHubError("the command gh is missing: install it, or say --dry-run and --issues FILE")
    done = subprocess.run(  # noqa: S603 - no shell; strangers' texts are in no argument but the title
        [program, *arguments], input=(text or "").encode(), capture_output=True, check=False
    )
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise GitHubError(f"gh {' '.join(arguments[:3])} ended with {done.returncode}: {reason[0]}")
    return done.stdout.decode(errors="replace")


def all_issues() -> list[Issue]:
    """Ask for the issues of the report, open and closed."""
    arguments = ("issue", "list", "--label", LABEL, "--state", "all", "--limit", str(MOST_ISSUES), "--json", FIELDS)
    return _issues(run_call((arguments, None)), "gh issue list")


def issues_of(path: Path) -> list[Issue]:
    """Read the issues from a file that holds what ``gh issue list`` gave."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as problem:
        raise GitHubError(f"issues={str(path)!r} cannot be read: {problem}") from problem
    return _issues(text, str(path))


def _issues(text: str, where: str) -> list[Issue]:
    try:
        return [Issue.from_plain(entry) for entry in json.loads(text)]
    except (ValueError, TypeError, KeyError, AttributeError) as problem:
        raise GitHubError(f"{where} needs to give a list with the fields {FIELDS}, not this: {problem!r}") from problem


def label_call() -> Call:
    """Return the call that makes the label of the report, or leaves it as it is."""
    description = "Found by the nightly search"
    return ("label", "create", LABEL, "--force", "--color", "B60205", "--description", description), None


def calls_of(action: Action) -> list[Call]:
    """Return the calls that carry out a decision; none for one to leave things as they are."""
    if action.kind is Kind.OPEN:
        title = action.title or ""
        return [(("issue", "create", "--title", title, "--label", LABEL, "--body-file", "-"), action.body)]
    number, calls = str(action.number), list[Call]()
    if action.kind is Kind.REOPEN:
        calls.append((("issue", "reopen", number), None))
    if action.kind is Kind.CLOSE:
        calls.append((("issue", "close", number), None))
    if action.body is not None:
        calls.append((("issue", "edit", number, "--body-file", "-"), action.body))
    if action.comment is not None:
        calls.append((("issue", "comment", number, "--body-file", "-"), action.comment))
    return calls
