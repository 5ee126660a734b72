"""From bundles to issues: ``python -m dynaclr_strategies.fuzzing.report --bundles failures --dry-run``."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dynaclr_strategies.fuzzing.decisions import Action, Kind, combined, decide
from dynaclr_strategies.fuzzing.failures import no_folder, read_failures
from dynaclr_strategies.fuzzing.github import Call, GitHubError, all_issues, calls_of, issues_of, label_call, run_call
from dynaclr_strategies.fuzzing.replays import read_verdicts
from dynaclr_strategies.reproduction.printing import spelled_out
from dynaclr_strategies.reproduction.replay import Verdict

__all__ = ["gathered", "main"]


def gathered(places: Iterable[Path]) -> tuple[dict[str, Verdict], list[str]]:
    """Read the verdicts of several machines.

    Parameters
    ----------
    places
        Files of `dynaclr_strategies.fuzzing.replays`, and folders that hold some, called ``replayed*.json``.

    Returns
    -------
    verdicts
        What each bundle replays as on all machines together.
    problems
        What could not be read, a sentence each.
    """
    files = [
        file for place in places for file in (sorted(place.rglob("replayed*.json")) if place.is_dir() else [place])
    ]
    said: dict[str, list[Verdict]] = {}
    problems = []
    for file in files:
        try:
            verdicts = read_verdicts(file)
        except (OSError, ValueError) as problem:
            problems.append(f"replayed={str(file)!r} cannot be read: {problem}")
            continue
        for name, verdict in verdicts.items():
            said.setdefault(name, []).append(verdict)
    together = {name: combined(verdicts) for name, verdicts in sorted(said.items())}
    return {name: verdict for name, verdict in together.items() if verdict is not None}, problems


def run_url(environment: Mapping[str, str]) -> str | None:
    """Return the page of this run; None where there is none."""
    names = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
    server, repository, run = (environment.get(name, "") for name in names)
    url = f"{server}/{repository}/actions/runs/{run}"
    return url if re.fullmatch(r"https://[\w.:/-]+/\d+", url, re.ASCII) else None


def _shown(call: Call) -> str:
    """Return a call as people can read and repeat it."""
    arguments, text = call
    shown = spelled_out(shlex.join(["gh", *arguments]))
    # Indented, so that no text looks like a line of this command's own.
    return shown if text is None else shown + "\n" + "\n".join(f"    {line}" for line in spelled_out(text).split("\n"))


def _carry_out(actions: Sequence[Action], *, dry_run: bool) -> list[str]:
    """Do what was decided, or print it; return what went wrong."""
    opening = any(action.kind is Kind.OPEN for action in actions)
    problems = _run([label_call()] if opening else [], dry_run=dry_run)
    for action in actions:
        issue = "" if action.number is None else f" #{action.number}"
        sys.stdout.write(f"{action.kind.value}{issue}: {action.why}\n")
        problems += _run(calls_of(action), dry_run=dry_run)
    return problems


def _run(calls: Sequence[Call], *, dry_run: bool) -> list[str]:
    """Run calls that build on each other, up to the first that goes wrong."""
    for call in calls:
        if dry_run:
            sys.stdout.write(f"{_shown(call)}\n")
            continue
        try:
            run_call(call)
        except GitHubError as problem:
            return [str(problem)]
    return []


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dynaclr_strategies.fuzzing.report",
        description="Open, update, reopen and close the issues of failures that a search found. Exit code 1 if gh "
        "could not do something, 2 if something could not be read.",
    )
    parser.add_argument(
        "--bundles", metavar="DIR", type=Path, required=True, help="bundles, wherever they are below it"
    )
    parser.add_argument("--issues", metavar="FILE", type=Path, help="what gh issue list gave (default: ask gh)")
    parser.add_argument(
        "--replayed",
        metavar="PATH",
        type=Path,
        nargs="+",
        default=[],
        help="verdicts of the replays, or folders of them",
    )
    parser.add_argument("--dry-run", action="store_true", help="print what gh would be told, and change nothing")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = _parser().parse_args(arguments)
    failures, unread = read_failures(options.bundles)
    unread += no_folder("bundles", options.bundles)
    verdicts, unreadable = gathered(options.replayed)
    try:
        issues = issues_of(options.issues) if options.issues else all_issues()
    except GitHubError as problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    actions = decide(failures, issues, verdicts, run_url=run_url(os.environ))
    undone = _carry_out(actions, dry_run=options.dry_run)
    sys.stdout.write(f"{len(failures)} bundles, {len(issues)} issues, {len(actions)} decisions\n")
    sys.stderr.writelines(f"{spelled_out(problem)}\n" for problem in [*unread, *unreadable, *undone])
    return 1 if undone else 2 if unread or unreadable else 0


if __name__ == "__main__":
    sys.exit(main())
