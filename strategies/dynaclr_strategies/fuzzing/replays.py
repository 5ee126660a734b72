"""What old failures replay as: each in a process of its own, so that none takes the others with it.

``python -m dynaclr_strategies.fuzzing.replays --cases tests/property/corpus --output replayed.json`` replays the cases
of the issues that are there, and writes the verdicts for `dynaclr_strategies.fuzzing.report`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from dynaclr_strategies.fuzzing.failures import case_line, no_folder, read_failures
from dynaclr_strategies.fuzzing.github import GitHubError, all_issues, issues_of
from dynaclr_strategies.fuzzing.issues import Issue, case_of
from dynaclr_strategies.reproduction.identity import Failure
from dynaclr_strategies.reproduction.replay import Verdict

__all__ = ["main", "read_verdicts", "replayed", "replays", "write_verdicts"]

TIMEOUT_SECONDS = 300.0


def replayed(failure: Failure, *, timeout: float = TIMEOUT_SECONDS) -> Verdict:
    """Replay a case in a process of its own; one that dies or takes too long cannot run here."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "case.json")
        path.write_text(case_line(failure), encoding="utf-8")
        command = [sys.executable, "-m", "dynaclr_strategies.reproduction.replay", str(path)]
        try:
            done = subprocess.run(  # noqa: S603 - this package's own command, on a file of its own
                command, capture_output=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired:
            return Verdict.CANNOT_RUN
    # An interpreter that breaks off before it replays anything ends with 1 too.
    lines = done.stdout.decode(errors="replace").splitlines()
    said = [verdict for verdict in Verdict if verdict.value == done.returncode and f"{verdict}  {path}" in lines]
    return said[0] if said else Verdict.CANNOT_RUN


def replays(
    issues: Iterable[Issue],
    cases: Iterable[Failure],
    found: Iterable[Failure] = (),
    check: Callable[[Failure], Verdict] = replayed,
) -> dict[str, Verdict]:
    """Replay what there are issues about.

    Parameters
    ----------
    issues
        The issues; the case that an open one holds is replayed.
    cases
        Kept cases and bundles; those that an issue names are replayed, whether it is open or not.
    found
        What the search has just found here. It fails, whatever a replay would say: it may fail only now and then.
    check
        Replays one.
    """
    ours = [issue for issue in issues if issue.identity is not None]
    named = {name for issue in ours for name in issue.names}
    held = [case_of(issue) for issue in ours if issue.is_open]
    wanted = {failure.name: failure for failure in held if failure is not None}
    wanted |= {failure.name: failure for failure in cases if failure.name in named}
    failing = {failure.name for failure in found}
    verdicts = {name: check(wanted[name]) for name in sorted(wanted.keys() - failing)}
    return {**verdicts, **dict.fromkeys(sorted(failing), Verdict.FAILS)}


def write_verdicts(verdicts: Mapping[str, Verdict], path: Path) -> None:
    """Write verdicts by the names of their bundles."""
    path.write_text(json.dumps({name: str(verdict) for name, verdict in verdicts.items()}, indent=1), encoding="utf-8")


def read_verdicts(path: Path) -> dict[str, Verdict]:
    """Read what `write_verdicts` wrote.

    Raises
    ------
    ValueError
        If the file holds anything else.
    """
    known = {str(verdict): verdict for verdict in Verdict}
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or not all(isinstance(one, str) and one in known for one in content.values()):
        raise ValueError(f"{path} needs to hold an object of {', '.join(known)} by the names of bundles")
    return {str(name): known[one] for name, one in content.items()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dynaclr_strategies.fuzzing.replays",
        description="Replay the cases of the issues that are there, and write what they replay as. Exit code 2 if "
        "something that was named is not there, or cannot be read or written.",
    )
    parser.add_argument("--issues", metavar="FILE", type=Path, help="what gh issue list gave (default: ask gh)")
    parser.add_argument("--cases", metavar="DIR", type=Path, action="append", default=[], help="kept cases, or bundles")
    parser.add_argument("--found", metavar="DIR", type=Path, help="bundles that were found just now, if any: they fail")
    parser.add_argument("--output", metavar="FILE", type=Path, required=True, help="where the verdicts go")
    return parser


def _check_output(path: Path) -> None:
    """Check that a file can be written, before there is anything to lose; what is in it stays."""
    try:
        is_new = not path.exists() and not path.is_symlink()
        path.open("a", encoding="utf-8").close()
        if is_new:
            path.unlink()
    except OSError as problem:
        raise ValueError(f"output={str(path)!r} cannot be written: {problem.strerror}") from problem


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        _check_output(options.output)
        issues = issues_of(options.issues) if options.issues else all_issues()
    except (GitHubError, ValueError) as problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    missing = [problem for folder in options.cases for problem in no_folder("cases", folder)]
    cases = [failure for folder in options.cases for failure in read_failures(folder)[0]]
    found = read_failures(options.found)[0] if options.found else []
    verdicts = replays(issues, cases, found)
    write_verdicts(verdicts, options.output)
    for name, verdict in verdicts.items():
        sys.stdout.write(f"{verdict}  {name}\n")
    sys.stderr.writelines(f"{problem}\n" for problem in missing)
    return 2 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
