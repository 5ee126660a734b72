"""The reviewed list of mutants that no test can tell from the code."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

__all__ = ["Equivalent", "EquivalentsError", "is_equivalent", "read_equivalents", "stale"]


class EquivalentsError(ValueError):
    """The list cannot be read, or repeats itself."""


class Changed(Protocol):
    """What is needed of a mutant."""

    @property
    def module(self) -> str:
        """The module without its package."""

    @property
    def function(self) -> str:
        """The mutated function."""

    @property
    def change(self) -> tuple[str, str]:
        """The lines removed and the lines added."""


@dataclass(frozen=True)
class Equivalent:
    """A mutant, known by its text because numbers change, and why no test can kill it.

    Attributes
    ----------
    module, function
        Where it is.
    removed, added
        The lines it removes and adds, without indentation.
    why
        One sentence.
    """

    module: str
    function: str
    removed: str
    added: str
    why: str

    def is_of(self, mutant: Changed) -> bool:
        """Whether a mutant is the one listed."""
        return (self.module, self.function) == (mutant.module, mutant.function) and (
            (self.removed, self.added) == mutant.change
        )


def read_equivalents(path: Path) -> list[Equivalent]:
    """Read the list.

    Raises
    ------
    EquivalentsError
        If an entry lacks something, gives no reason, or is listed twice.
    """
    listed = list(_entries(tomllib.loads(path.read_text(encoding="utf-8")), path))
    keys = [(entry.module, entry.function, entry.removed, entry.added) for entry in listed]
    for key in keys:
        if keys.count(key) > 1:
            raise EquivalentsError(f"{path}: listed twice: {key!r}")
    return listed


def _entries(table: dict[str, object], path: Path) -> Iterator[Equivalent]:
    for group in table.get("equivalent", []):  # type: ignore[attr-defined]
        missing = {"module", "function", "why", "mutants"} - set(group)
        if missing or not group["why"].strip():
            raise EquivalentsError(f"{path}: {group!r} lacks {', '.join(sorted(missing)) or 'a reason'}")
        for removed, added in group["mutants"]:
            yield Equivalent(group["module"], group["function"], _lines(removed), _lines(added), group["why"])


def _lines(text: str) -> str:
    return "\n".join(line.strip() for line in text.strip("\n").splitlines())


def is_equivalent(mutant: Changed, listed: Iterable[Equivalent]) -> bool:
    """Whether a mutant is in the list."""
    return any(entry.is_of(mutant) for entry in listed)


def stale(listed: Iterable[Equivalent], unkilled: Iterable[Changed], modules: list[str]) -> list[Equivalent]:
    """Return the entries, of some modules or of all, that are of no mutant that lives: none exists, or it is killed."""
    living = list(unkilled)
    return [
        entry
        for entry in listed
        if (not modules or entry.module in modules) and not any(entry.is_of(mutant) for mutant in living)
    ]
