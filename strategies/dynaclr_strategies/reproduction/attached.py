"""A case that travels with the exception that it caused, up to whoever writes the bundle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dynaclr_strategies.codec import Plain
from dynaclr_strategies.invariants.base import UndecidedError
from dynaclr_strategies.subjects import run_law

__all__ = ["EXAMPLES", "REPLAYED", "FailedCase", "attached", "check_law", "leaves"]

_ATTRIBUTE = "dynaclr_case"

EXAMPLES: Counter[str] = Counter()
"""How often each law was checked in this process, cases to which it does not apply left out."""

REPLAYED: Counter[str] = Counter()
"""How many kept cases of each law were checked in this process."""


@dataclass(frozen=True)
class FailedCase:
    """A case and the law that it was checked with.

    Attributes
    ----------
    law
        Name of the law.
    case
        What it was checked on.
    maker
        ``"module:function"`` that made what was checked; None for ``dynaclr``'s own.
    """

    law: str
    case: Plain
    maker: str | None = None


@contextmanager
def attached(failed: FailedCase) -> Iterator[None]:
    """Attach a case to any exception that escapes, unless there is one on it already."""
    try:
        yield
    except Exception as problem:
        if not hasattr(problem, _ATTRIBUTE):
            setattr(problem, _ATTRIBUTE, failed)
        raise


def leaves(problem: BaseException) -> list[tuple[BaseException, FailedCase]]:
    """Return the exceptions that carry a case, within the groups that Hypothesis raises for several failures."""
    if isinstance(problem, BaseExceptionGroup):
        return [leaf for part in problem.exceptions for leaf in leaves(part)]
    failed = getattr(problem, _ATTRIBUTE, None)
    return [] if failed is None else [(problem, failed)]


def check_law(
    law: str,
    case: Plain,
    make: Callable[..., Any] | None = None,
    *,
    maker: str | None = None,
    undecided: list[str] | None = None,
) -> bool:
    """Check a law on a case, and attach the case to what escapes.

    Parameters
    ----------
    law, case, make
        As for `dynaclr_strategies.subjects.run_law`.
    maker
        As in `FailedCase`.
    undecided
        Where to list why the case does not tell.

    Returns
    -------
    bool
        False if the law does not apply to the case, or cannot be judged on it.
    """
    try:
        with attached(FailedCase(law, case, maker)):
            applies = run_law(law, case, make)
    except UndecidedError as reason:
        if undecided is not None:
            undecided.append(str(reason))
        return False
    EXAMPLES[law] += applies
    return applies
