"""The report: a table by module, the score, and what survived."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mutation.equivalents import Equivalent, is_equivalent, stale
from mutation.results import KILLED, Mutant

__all__ = ["REQUIRED", "Report", "make_report"]

REQUIRED = 95.0
"""Percent of the mutants that are not equivalent that have to be killed."""

COLUMNS = ("killed", "timeout", "survived", "no tests", "equivalent", "not checked")


@dataclass(frozen=True)
class Report:
    """What became of the mutants of some modules.

    Attributes
    ----------
    counts
        By module and column of the table.
    survivors
        Those that no test killed, and that are not listed as equivalent.
    stale
        Entries of the list of equivalents that are of no living mutant.
    """

    counts: dict[str, Counter[str]]
    survivors: list[Mutant]
    stale: list[Equivalent]

    @property
    def total(self) -> Counter[str]:
        """The columns of all modules together."""
        return sum(self.counts.values(), Counter())

    @property
    def passes(self) -> bool:
        """Whether enough were killed, all were checked, and the list of equivalents is up to date."""
        return score(self.total) >= REQUIRED and not self.total["not checked"] and not self.stale

    def __str__(self) -> str:
        lines = [f"{mutant.name}: {mutant.status}\n{mutant.diff}\n" for mutant in self.survivors]
        lines += [
            f"listed as equivalent, but killed or gone: {entry.module} {entry.function}\n"
            f"- {entry.removed}\n+ {entry.added}\n"
            for entry in self.stale
        ]
        return "\n".join([*lines, self.table()])

    def table(self) -> str:
        """Return the table, in Markdown."""
        rows = [*sorted(self.counts.items()), ("all", self.total)]
        cells = [["module", *COLUMNS, "score"]]
        cells += [[module, *(str(row[column]) for column in COLUMNS), f"{score(row):.1f} %"] for module, row in rows]
        widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
        lines = [
            "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
            for row in cells
        ]
        return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def score(counts: Counter[str]) -> float:
    """Return the percentage killed of the checked mutants that are not equivalent."""
    killed = counts["killed"] + counts["timeout"]
    living = counts["survived"] + counts["no tests"]
    return 100.0 * killed / (killed + living) if killed + living else 100.0


def make_report(found: Sequence[Mutant], listed: Sequence[Equivalent], modules: list[str]) -> Report:
    """Sort the mutants by what became of them.

    Parameters
    ----------
    found
        The mutants.
    listed
        The list of equivalents.
    modules
        The modules that the mutants are of; empty for all.
    """
    counts: dict[str, Counter[str]] = {}
    survivors = []
    for mutant in found:
        column = _column(mutant.status)
        if column in ("survived", "no tests"):
            if is_equivalent(mutant, listed):
                column = "equivalent"
            else:
                survivors.append(mutant)
        counts.setdefault(mutant.module, Counter())[column] += 1
    unkilled = [mutant for mutant in found if mutant.status not in KILLED]
    return Report(counts, survivors, stale(listed, unkilled, modules))


def _column(status: str) -> str:
    if status in KILLED:
        return "timeout" if status == "timeout" else "killed"
    return status if status in COLUMNS else "not checked"
