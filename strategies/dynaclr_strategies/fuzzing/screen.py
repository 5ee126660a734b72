"""What a search shows: a live line while it runs, and a table when it is over."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from dynaclr_strategies.fuzzing.board import Board, now
from dynaclr_strategies.fuzzing.crew import Tally
from dynaclr_strategies.fuzzing.search import Failure
from dynaclr_strategies.reproduction.bundles import replay_command_here

__all__ = ["LiveLine", "summary"]

_PLAIN_EVERY_SECONDS = 60.0


class LiveLine:
    """One line about a running search, drawn anew on a terminal; elsewhere a new line every minute.

    Parameters
    ----------
    board
        The counts.
    seconds
        How long the search lasts.
    """

    def __init__(self, board: Board, seconds: float) -> None:
        self._board, self._seconds = board, seconds
        self._start = now()
        self._said = self._start
        self._bar: tqdm[Any] | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._bar = tqdm(
                total=round(self._seconds), bar_format="{elapsed} |{bar:20}| {desc}", mininterval=0.5, leave=False
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, tally: Tally) -> None:
        """Draw the line, if it is time for that."""
        passed = now() - self._start
        if self._bar is not None:
            self._bar.n = round(min(passed, self._seconds))
            self._bar.set_description_str(self._text(tally, passed))
        elif now() - self._said >= _PLAIN_EVERY_SECONDS:
            self._said = now()
            sys.stdout.write(f"{passed / 60:.0f} min: {self._text(tally, passed)}\n")
            sys.stdout.flush()

    def say(self, text: str) -> None:
        """Write a sentence that stays."""
        tqdm.write(text, file=sys.stderr)

    def _text(self, tally: Tally, passed: float) -> str:
        examples = int(self._board.checked.sum())
        laws = int((self._board.checked.sum(axis=0) > 0).sum())
        rate = examples / max(passed, 1e-9)
        return (
            f"{laws} of {len(self._board.laws)} laws, {examples} examples, {rate:.0f} examples/s, "
            f"{len(tally.failures)} failures"
        )


def summary(board: Board, tally: Tally, maker: str | None = None) -> str:
    """Return the table of a search, and its bundles with the commands that replay them on what they were found with."""
    failed = {failure.law for failure in tally.failures}
    width = max(len(law) for law in board.laws)
    lines = [f"{'law':{width}}  {'examples':>9}  {'per s':>7}  {'arcs':>6}  {'seconds':>7}  result"]
    for place, law in enumerate(board.laws):
        checked, seconds = int(board.checked[:, place].sum()), tally.seconds[law]
        rate = f"{checked / seconds:.1f}" if seconds else "-"
        arcs = int((board.arcs[place] > 0).sum())
        result = _result(law, checked, failed, tally)
        lines.append(f"{law:{width}}  {checked:>9}  {rate:>7}  {arcs:>6}  {seconds:>7.1f}  {result}")
    lines.append("")
    for failure in tally.failures:
        lines += _told(failure, maker)
    searched = int((board.checked.sum(axis=0) > 0).sum())
    lines.append(
        f"{searched} of {len(board.laws)} laws searched, {int(board.checked.sum())} examples run, "
        f"{len(tally.failures)} failures, {len({one.bundle for one in tally.failures if one.bundle})} bundles"
    )
    lines += [f"Nothing was checked of {law}: {_why_not(law, tally)}." for law in _unchecked(board)]
    return "\n".join(lines) + "\n"


def _result(law: str, checked: int, failed: set[str], tally: Tally) -> str:
    if law in failed:
        return "FAILED"
    if law in tally.abandoned:
        return f"given up: {tally.abandoned[law]}"
    return "holds" if checked else "not checked"


def _told(failure: Failure, maker: str | None) -> list[str]:
    lines = [f"FAILED {failure.law}{'' if failure.shrunk else ' (not shrunk to the end)'}"]
    lines += [f"  {line}" for line in failure.text.split("\n")]
    return [*lines, *([f"  {replay_command_here(Path(failure.bundle), maker)}"] if failure.bundle else []), ""]


def _unchecked(board: Board) -> list[str]:
    return [law for place, law in enumerate(board.laws) if not board.checked[:, place].sum()]


def _why_not(law: str, tally: Tally) -> str:
    if law in tally.abandoned:
        return tally.abandoned[law]
    return "no case that was drawn is one that it applies to" if tally.seconds[law] else "there was no time"
