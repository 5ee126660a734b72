"""The bridge from Hypothesis to the laws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import assume

from dynaclr_strategies.codec import Plain
from dynaclr_strategies.reproduction.attached import check_law
from dynaclr_strategies.reproduction.names import maker_name

__all__ = ["hold"]


def hold(law: str, case: Plain, make: Callable[..., Any] | None = None) -> None:
    """Check one law on one drawn case inside a ``@given`` test; discard a case that the law cannot be judged on.

    Parameters
    ----------
    law
        Name of the law, see `dynaclr_strategies.INVARIANTS`.
    case
        What to check it on.
    make
        Makes what is checked; by default ``dynaclr``'s own. A bundle names it: one that a module defines under its own
        name can be replayed by that name.

    Raises
    ------
    InvariantViolation
        If the law does not hold; the case is attached to it, so that pytest writes a bundle.
    """
    assume(check_law(law, case, make, maker=None if make is None else maker_name(make)))
