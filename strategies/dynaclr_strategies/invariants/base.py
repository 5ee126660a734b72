"""What a law is, and what its violation says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dynaclr_strategies.invariants.evidence import Evidence

__all__ = ["INVARIANTS", "Invariant", "InvariantViolation", "UndecidedError", "invariant"]


class InvariantViolation(AssertionError):  # noqa: N818 - named for what it is, as in AssertionError's own message
    """A law did not hold.

    Parameters
    ----------
    where
        Which batch, or which row.
    seen
        What was found there.
    expected
        What should have been found.
    law
        Name of the law, such as ``"batch-size-exact"``.
    evidence
        What a picture of the failure can show; None where there is nothing to draw.
    """

    def __init__(self, where: str, seen: str, expected: str, law: str, *, evidence: Evidence | None = None) -> None:
        super().__init__(f"{where}: {seen}, but should be {expected} [{law}]")
        self.where = where
        self.seen = seen
        self.expected = expected
        self.law = law
        self.evidence = evidence

    def __reduce__(self) -> tuple[type[InvariantViolation], tuple[str, str, str, str], dict[str, Any]]:
        return type(self), (self.where, self.seen, self.expected, self.law), {"evidence": self.evidence}


class UndecidedError(Exception):
    """What a sampler shows of itself is too little to tell whether a law holds; one sentence says what is missing."""


@dataclass(frozen=True)
class Invariant:
    """One promise and what makes it apply.

    Attributes
    ----------
    law
        Short name.
    number
        Number on the page on the cascade; None for promises of other pages.
    subject
        What it is a law about: ``"sampler"``, ...
    check
        The function that raises `InvariantViolation`, or `UndecidedError` where it cannot tell; its docstring is the
        law in one sentence.
    needs
        Methods that the subject has to have for the law to be checkable.
    when
        In words: the parameters that make it apply.
    applies
        The same as a function of the subject's oracle.
    """

    law: str
    number: int | None
    subject: str
    check: Callable[..., None]
    needs: frozenset[str]
    when: str
    applies: Callable[[Any], bool]

    @property
    def sentence(self) -> str:
        """The law in one sentence."""
        return (self.check.__doc__ or "").strip().partition("\n\n")[0].replace("\n    ", " ")


INVARIANTS: dict[str, Invariant] = {}
"""All laws by name."""


def invariant(
    law: str,
    *,
    subject: str,
    number: int | None = None,
    needs: tuple[str, ...] = (),
    when: str = "always",
    applies: Callable[[Any], bool] = lambda _: True,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """List the decorated check in `INVARIANTS`; the function itself stays as it is."""

    def enlist(check: Callable[..., None]) -> Callable[..., None]:
        if law in INVARIANTS:
            raise ValueError(f"law={law!r} is already checked by {INVARIANTS[law].check.__name__}")
        INVARIANTS[law] = Invariant(law, number, subject, check, frozenset(needs), when, applies)
        return check

    return enlist
