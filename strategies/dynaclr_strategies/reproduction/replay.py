"""The command ``dynaclr-replay BUNDLE``, which tells whether a failure still happens here."""

from __future__ import annotations

import argparse
import errno
import importlib.util
import logging
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from dynaclr_strategies.invariants.base import INVARIANTS, InvariantViolation
from dynaclr_strategies.reproduction.attached import check_law
from dynaclr_strategies.reproduction.case_files import CannotRunError, StoredCase, read_case
from dynaclr_strategies.reproduction.corpus import CORPUS, keep_case
from dynaclr_strategies.reproduction.elsewhere import LAW, ElsewhereError, check_elsewhere
from dynaclr_strategies.reproduction.makers import WatchedMaker, load_maker, look_into
from dynaclr_strategies.reproduction.names import can_be_imported
from dynaclr_strategies.reproduction.printing import say
from dynaclr_strategies.sampler_descriptions import SamplerCase

__all__ = ["Replay", "Verdict", "main", "replay"]

_LIBRARY = Path(__file__).parents[1]
_CODE = Path(importlib.util.find_spec("dynaclr").origin).parent  # type: ignore[union-attr, arg-type]  # a package
_INSTALLED = [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")]
_OF_THE_MACHINE = {errno.ENOSPC, errno.EMFILE, errno.EACCES, errno.EDQUOT, errno.EROFS}


class Verdict(Enum):
    """What a replay found; the value is the exit code."""

    FIXED = 0
    FAILS = 1
    CANNOT_RUN = 2

    def __str__(self) -> str:
        return self.name.replace("_", " ")


@dataclass(frozen=True)
class Replay:
    """A verdict, and the reason or the message that goes with it."""

    verdict: Verdict
    text: str


def replay(path: Path, maker: str | None = None) -> Replay:
    """Rebuild a case and check its law.

    Parameters
    ----------
    path
        A bundle or a case file.
    maker
        ``"module:function"`` that makes what is checked; by default ``dynaclr``'s own. A maker that a bundle names
        is never imported by itself.
    """
    try:
        # The name in the file is a label: where another is given, it decides nothing.
        stored = read_case(path, any_maker=maker is not None)
        make = _maker(stored, maker)
    except CannotRunError as reason:
        return Replay(Verdict.CANNOT_RUN, str(reason))
    failed = stored.failed
    watched = WatchedMaker(INVARIANTS[failed.law].subject, make, maker or "dynaclr's own")
    undecided: list[str] = []
    try:
        with _quiet():
            applies = check_law(failed.law, failed.case, watched, maker=maker, undecided=undecided)
            if applies and failed.law == LAW and isinstance(failed.case, SamplerCase):
                check_elsewhere([failed.case], make, maker=maker)
    except (Exception, SystemExit) as problem:  # noqa: BLE001 - whatever the code under test raises is the failure
        why_not = watched.unfit or _not_the_subjects(problem, is_made=watched.is_called)
        if why_not is not None:
            return Replay(Verdict.CANNOT_RUN, why_not)
        text = str(problem) if isinstance(problem, InvariantViolation) else _with_place(problem)
        before = f"; before, it was: {stored.message}" if stored.message not in {"", str(problem)} else ""
        return Replay(Verdict.FAILS, text + before)
    if undecided:
        return Replay(Verdict.CANNOT_RUN, f"law {failed.law!r} cannot be judged on the case: {undecided[0]}")
    if not applies:
        when = INVARIANTS[failed.law].when
        return Replay(Verdict.CANNOT_RUN, f"law {failed.law!r} does not apply to the case, it needs: {when}")
    return Replay(Verdict.FIXED, f"law {failed.law!r} holds; it was broken with: {stored.message}")


def _not_the_subjects(problem: BaseException, *, is_made: bool) -> str | None:
    """Return why an exception says nothing about what the law is about; None if it is the failure."""
    told = " ".join(f"{type(problem).__name__}: {problem}".split())
    if isinstance(problem, ImportError | MemoryError | ElsewhereError):
        return told
    if isinstance(problem, OSError) and problem.errno in _OF_THE_MACHINE:
        return told
    # What nobody was asked to make has not broken anything.
    if not is_made and not isinstance(problem, InvariantViolation):
        return f"the case is not valid: {told}"
    return None


def _with_place(problem: BaseException) -> str:
    """Return an exception with its type and where it was raised.

    That is the last place outside this library, and outside what is installed, if there is one.
    """
    # Compiled code names files that are not there.
    there = [frame for frame in traceback.extract_tb(problem.__traceback__) if Path(frame.filename).is_file()]
    frames = [frame for frame in there if not _is_in(frame, [_LIBRARY])]
    of_others = [frame for frame in frames if not _is_in(frame, _INSTALLED)] or frames
    place = f" at {of_others[-1].filename}:{of_others[-1].lineno} in {of_others[-1].name}" if of_others else ""
    return f"{type(problem).__name__}{place}: {problem}".removesuffix(": ")


def _is_in(frame: traceback.FrameSummary, folders: Sequence[Path]) -> bool:
    return any(Path(frame.filename).is_relative_to(folder) for folder in folders)


def _code() -> str:
    """Return which code is checked, and whether the folder one stands in holds another."""
    here = Path("src", "dynaclr").absolute()
    other = here.is_dir() and _modules(here) != _modules(_CODE)
    hint = f", which is not that of {here} (`tox -e replay -- BUNDLE` replays with it)" if other else ""
    return f"with dynaclr from {_CODE}{hint}"


def _modules(package: Path) -> dict[Path, bytes]:
    return {path.relative_to(package): path.read_bytes() for path in package.rglob("*.py")}


def _maker(stored: StoredCase, maker: str | None) -> Callable[..., Any] | None:
    if maker is not None:
        return load_maker(maker)
    named = stored.failed.maker
    if named is None:
        return None
    if can_be_imported(named):
        raise CannotRunError(f"the case is about {named!r}; if you trust it, say --sampler {named}")
    raise CannotRunError(
        f"the case is about {named!r}, which cannot be imported by that name: it needs --sampler MODULE:FUNCTION, the "
        "name of something that makes the same"
    )


class _quiet:  # noqa: N801 - used like a function
    """Keep logs and warnings of the code under test out of a verdict of one line."""

    def __enter__(self) -> None:
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)

    def __exit__(self, *exc: object) -> None:
        logging.disable(logging.NOTSET)
        self._warnings.__exit__(None, None, None)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dynaclr-replay",
        description="Rebuild the case of a failure bundle and check its law: FIXED (exit code 0), FAILS (1) or "
        "CANNOT RUN (2). Of several bundles, the exit code is 1 if any fails, else 2 if any cannot run.",
    )
    parser.add_argument("bundles", metavar="BUNDLE", type=Path, nargs="+", help="a bundle, or its case.json")
    parser.add_argument("--sampler", metavar="MODULE:FUNCTION", help="check this sampler instead of dynaclr's own")
    parser.add_argument("--keep", action="store_true", help="copy the case to those that every test run checks first")
    parser.add_argument("--corpus", type=Path, default=CORPUS, help=f"where --keep copies to (default: {CORPUS})")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = _parser().parse_args(arguments)
    if options.sampler is not None:
        look_into("")
    verdicts = []
    for path in options.bundles:
        result = replay(path, options.sampler)
        verdicts.append(result.verdict)
        say(f"{result.verdict}  {path}")
        say(result.text)
        if options.keep:
            try:
                say(f"kept as {keep_case(path, options.corpus)}")
            except CannotRunError as reason:
                say(f"not kept: {reason}")
                verdicts.append(Verdict.CANNOT_RUN)
    say(_code())
    order = (Verdict.FAILS, Verdict.CANNOT_RUN, Verdict.FIXED)
    code: int = next(verdict for verdict in order if verdict in verdicts).value
    return code


if __name__ == "__main__":
    sys.exit(main())
