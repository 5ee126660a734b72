"""The command ``dynaclr-fuzz``: searches for failures of the laws for as long as it is told."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import fnmatch
import importlib.util
import json
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from dynaclr_strategies.conformance.contract import Claims, ContractError, contract_of
from dynaclr_strategies.conformance.plans import LAWS, why_not
from dynaclr_strategies.fuzzing.board import Board, now
from dynaclr_strategies.fuzzing.crew import Crew
from dynaclr_strategies.fuzzing.examples import ExamplesError, example_database
from dynaclr_strategies.fuzzing.screen import LiveLine, summary
from dynaclr_strategies.invariants import INVARIANTS

__all__ = ["chosen_laws", "main"]

_STEP_SECONDS, _GRACE_SECONDS, _PATIENCE_SECONDS = 0.25, 60.0, 300.0
_LONGEST_SLICE, _SHORTEST_SLICE, _ROUNDS = 15.0, 1.0, 3


class _UsageError(ValueError):
    """An option that cannot be used; the message says why, in one sentence."""


def chosen_laws(patterns: Sequence[str], shard: str = "1/1", claims: Claims | None = None) -> list[str]:
    """Return the laws to search.

    Parameters
    ----------
    patterns
        Names of laws or subjects, with wildcards; all laws if there are none.
    shard
        ``"I/N"``: every N-th law from the I-th on.
    claims
        What somebody's sampler claims: laws about anything else are left out.

    Raises
    ------
    ValueError
        If a pattern matches nothing, or all of them nothing that is claimed, or the shard is no such pair.
    """
    part, _, parts = shard.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise _UsageError(f"--shard={shard!r} needs to be I/N with I from 1 to N, such as 1/4.")
    chosen = set()
    for pattern in patterns or ["*"]:
        matches = [
            law.law
            for law in INVARIANTS.values()
            if fnmatch.fnmatchcase(law.law, pattern) or fnmatch.fnmatchcase(law.subject, pattern)
        ]
        if not matches:
            subjects = sorted({law.subject for law in INVARIANTS.values()})
            near = difflib.get_close_matches(pattern, [*INVARIANTS, *subjects], n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"subjects are {', '.join(subjects)}."
            raise _UsageError(f"--laws={pattern!r} needs to match a law or a subject; {hint}")
        chosen.update(matches)
    if claims is not None:
        reasons = {law: why_not(law, claims) if law in LAWS else "about no sampler" for law in chosen}
        chosen = {law for law, reason in reasons.items() if reason is None}
        if not chosen:
            told = "; ".join(f"{law}: {reason}" for law, reason in sorted(reasons.items())[:3])
            raise _UsageError(f"--laws={' '.join(patterns)!r} needs to match a law that the sampler claims ({told}).")
    laws = [law for law in INVARIANTS if law in chosen][int(part) - 1 :: int(parts)]
    if not laws:
        raise _UsageError(f"--shard={shard!r} leaves nothing to search: there are {len(chosen)} laws.")
    return laws


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} needs to be more than 0")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} needs to be at least 1")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dynaclr-fuzz",
        description="Search for failures of the laws until the time is over. Ctrl-C ends the search early, and nothing "
        "is lost. Exit code 1 if anything failed, 0 if not.",
    )
    parser.add_argument("--minutes", metavar="N", type=_positive, required=True, help="how long to search")
    parser.add_argument(
        "--laws",
        metavar="PATTERN",
        nargs="+",
        default=[],
        help="laws or subjects, with wildcards, such as 'focal-*' or sampler (default: all)",
    )
    parser.add_argument(
        "--sampler", metavar="MODULE:FUNCTION", help="search on this sampler, for the laws that it claims"
    )
    parser.add_argument("--workers", metavar="N", type=_count, help="processes (default: one per core)")
    parser.add_argument("--shard", metavar="I/N", default="1/1", help="search the I-th of N parts of the laws")
    parser.add_argument("--seed", metavar="N", type=int, help="decides what is drawn (default: another one every time)")
    parser.add_argument(
        "--database",
        metavar="DIR",
        type=Path,
        default=Path(".hypothesis", "examples"),
        help="where examples are kept from one search to the next (default: %(default)s)",
    )
    parser.add_argument(
        "--bundles", metavar="DIR", type=Path, default=Path("failures"), help="where bundles go (default: %(default)s)"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        contract = None if options.sampler is None else contract_of(options.sampler, Path.cwd())
        laws = chosen_laws(options.laws, options.shard, None if contract is None else contract.claims)
        # Before a worker needs it, so that a variable that cannot be used is told in one sentence.
        example_database(options.database)
        _check_folder("--database", options.database)
        _check_folder("--bundles", options.bundles)
    except (_UsageError, ExamplesError, ContractError) as problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    seed = secrets.randbits(32) if options.seed is None else options.seed
    workers = options.workers or _cores()
    on = "" if options.sampler is None else f" on {options.sampler}"
    sys.stdout.write(f"searching {len(laws)} laws{on} for {options.minutes:g} min, {workers} workers, --seed {seed}\n")
    return _search(options, laws, workers, seed)


def _check_folder(option: str, folder: Path) -> None:
    """Refuse a folder that could not be made, hours before there is something to write."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryDirectory(prefix=".dynaclr-", dir=there):
            pass  # asking for permissions is not enough: root has them all, also where the system takes no folder
    except OSError as problem:
        raise _UsageError(
            f"{option}={str(folder)!r} needs to be a folder to write in, or one that can be made ({problem.strerror})."
        ) from problem


def _code_of(maker: str) -> str:
    """Return the folder of the package that something is made in, or the file of the module."""
    found = importlib.util.find_spec(maker.partition(":")[0].partition(".")[0])
    if found is None:
        return ""
    return (found.submodule_search_locations or [found.origin or ""])[0]


def _cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _search(options: argparse.Namespace, laws: list[str], workers: int, seed: int) -> int:
    seconds = options.minutes * 60
    bundles = options.bundles.absolute()
    with tempfile.TemporaryDirectory(prefix="dynaclr-fuzz-") as scratch:
        folder = Path(scratch)
        order = {
            "laws": laws,
            "database": str(options.database.absolute()),
            "bundles": str(bundles),
            "sampler": options.sampler,
            "code": _code_of("dynaclr" if options.sampler is None else options.sampler),
        }
        (folder / "search.json").write_text(json.dumps(order), encoding="utf-8")
        board = Board(folder, laws, workers)
        board.until[0] = now() + seconds
        with LiveLine(board, seconds) as line, _stopped_by_signals(board):
            crew = Crew(
                folder,
                board,
                bundles,
                workers=workers,
                seed=seed,
                # Each law gets a few slices, if there is time for that.
                slice_seconds=min(_LONGEST_SLICE, max(_SHORTEST_SLICE, seconds * workers / len(laws) / _ROUNDS)),
                patience=_PATIENCE_SECONDS,
                say=line.say,
                maker=options.sampler,
            )
            try:
                crew.start()
                while crew.is_at_work and now() < board.until[0] + _GRACE_SECONDS:
                    crew.step(_STEP_SECONDS)
                    line.show(crew.tally)
            finally:
                crew.stop()
        if crew.never_began:
            sys.stderr.write("Workers end before they begin; see above for what they say.\n")
            return 2
        sys.stdout.write(summary(board, crew.tally, options.sampler))
    return 1 if crew.tally.failures or crew.tally.abandoned else 0


@contextlib.contextmanager
def _stopped_by_signals(board: Board) -> Iterator[None]:
    """End the search in good order when somebody asks; at once, when they ask again."""

    def stop(number: int, _: FrameType | None) -> None:
        if board.until[0] <= now():
            raise KeyboardInterrupt
        board.until[0] = now()
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        sys.stderr.write(f"\n{name}: examples that are running are finished first; again to stop at once.\n")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
