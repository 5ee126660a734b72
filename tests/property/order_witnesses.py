# ruff: noqa: D102 - overrides do the wrong thing on purpose, as their class says
"""Samplers whose batches are right, but for the order of the anchors in them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from witness_cases import ENRICHED, case, witness

from dynaclr_strategies.oracles.reference_sampler import ReferenceSampler

Rows = list[dict[str, Any]]


@witness("batch-order")
class ConditionByCondition(ReferenceSampler):
    """Leaves the anchors as they were drawn, condition by condition."""

    def describe(self, rows: Rows, focal: Fraction | None) -> Rows:
        return super().describe(sorted(rows, key=lambda row: str(self.oracle.condition(row["anchor"]))), focal)


@witness("batch-order", case(leaky=0.3))
class LeakedLast(ReferenceSampler):
    """Puts the leaked anchors behind the others, which stand in a random order."""

    def describe(self, rows: Rows, focal: Fraction | None) -> Rows:
        return super().describe(sorted(rows, key=lambda row: str(row["source"] == "leaked")), focal)


@witness("batch-order", ENRICHED)
class ByTime(ReferenceSampler):
    """Puts the anchors of a batch in the order of their times."""

    def describe(self, rows: Rows, focal: Fraction | None) -> Rows:
        return super().describe(
            sorted(rows, key=lambda row: 0 if focal is None else self.oracle.hpi(row["anchor"])), focal
        )


@witness("batch-order", case(batch_size=8))
class TurnedOnly(ReferenceSampler):
    """Turns each batch by a random number of places, and leaves its conditions in blocks."""

    def describe(self, rows: Rows, focal: Fraction | None) -> Rows:
        turn = self.rng(0, [row["anchor"] for row in rows]).randrange(len(rows))
        ordered = sorted(rows, key=lambda row: str(self.oracle.condition(row["anchor"])))
        return super().describe(ordered[turn:] + ordered[:turn], focal)
