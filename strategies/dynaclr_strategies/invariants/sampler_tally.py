"""Counting what happened in many batches, and comparing it with what should have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

from dynaclr_strategies.invariants.base import InvariantViolation
from dynaclr_strategies.invariants.evidence import DrawsEvidence
from dynaclr_strategies.invariants.sampler_distribution import is_improbable
from dynaclr_strategies.oracles.sampler import CascadeOracle

__all__ = ["Tally"]


class Tally:
    """How much of each thing happened, and how much of it should have.

    Each trial gives a number from 0 to 1 whose mean is known, a coin 0 or 1. Trials are independent, or follow upon
    each other with a mean that is known whatever came before, or run through fair passes, which only makes the tails
    lighter; then the bound of `is_improbable` holds.
    """

    def __init__(self) -> None:
        self.seen: dict[Any, Fraction] = {}
        self.trials: Counter[Any] = Counter()
        self.expected: dict[Any, Fraction] = {}
        self.anchors: dict[Any, set[int]] = {}

    def add(self, what: Any, happened: int | Fraction, mean: Fraction, anchors: Iterable[int] = ()) -> None:
        """Add one trial, which is about some anchors."""
        self.anchors.setdefault(what, set()).update(anchors)
        self.seen[what] = self.seen.get(what, Fraction(0)) + happened
        self.trials[what] += 1
        self.expected[what] = self.expected.get(what, Fraction(0)) + mean

    def add_neighbours(
        self, what: str, drawn: Collection[int], available: Sequence[int], oracle: CascadeOracle
    ) -> None:
        """Add how many of the anchors drawn have the next one drawn, too, as a part of all but one of them.

        By itself each anchor may be drawn as often as it should, though always along with those next to it in the table
        or in time, such as other frames of the same cell. Of n anchors in a row q are drawn uniformly, so that each of
        the n - 1 pairs of neighbours is drawn with probability q (q - 1) / (n (n - 1)): q (q - 1) / n of them in the
        mean.
        """
        if not 2 <= len(drawn) < len(available):
            return
        orders = {"the table": sorted(available)}
        if oracle.options.temporal_enrichment:
            orders["time"] = sorted(available, key=lambda anchor: (oracle.hpi(anchor), anchor))
        for name, order in orders.items():
            pairs = sum(a in drawn and b in drawn for a, b in pairwise(order))
            mean = Fraction(len(drawn), len(available))
            self.add(f"{what} next to each other in {name}", Fraction(pairs, len(drawn) - 1), mean, order)

    def check(self, law: str) -> None:
        """Raise for the first thing that happened too much or too little."""
        for what, trials in self.trials.items():
            if is_improbable(self.seen[what], trials, self.expected[what] / trials):
                seen = f"{what} {float(self.seen[what]):.4g} times"
                expected, anchors = f"about {float(self.expected[what]):.1f} times", self.anchors[what]
                evidence = DrawsEvidence(tuple(sorted(anchors))) if anchors else None
                raise InvariantViolation(f"{trials} batches", seen, expected, law, evidence=evidence)
