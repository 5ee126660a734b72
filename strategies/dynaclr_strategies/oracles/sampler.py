"""What the sampling cascade has to do, read off its page with dictionaries, lists and fractions.

Nothing here is fast, and nothing is shared with the sampler: an anchor is a dictionary, a pool is a list that was
filtered row by row, a quota is a `Fraction` of the numbers that the user meant.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Any

import pandas as pd

from dynaclr_strategies.sampler_descriptions import Label, SamplerOptions

__all__ = ["CascadeOracle", "floor_and_ceiling", "meant", "stands_for"]

HPI = "hours_post_infection"


@lru_cache(maxsize=10_000)
def stands_for(number: float) -> Fraction:
    """Return the number that was meant: 0.29 is 29/100 and 1 / 3 a third, not the binary fraction that holds them.

    Where no fraction of up to a thousand parts has this float, it is the number that was written: what a float means is
    a matter of agreement, so the rule is that of `dynaclr.exact`; how it is found is not.
    """
    simple = (Fraction(round(number * parts), parts) for parts in range(1, 1001))
    return next((one for one in simple if float(one) == number), Fraction(repr(float(number))))


@lru_cache(maxsize=100_000)
def meant(hours: float | Fraction) -> Fraction:
    """Return the time that a number of hours stands for: 2 h and a 20-minute frame are 7/3 h, whatever a float holds.

    A float within a few roundings of a simple fraction stands for that fraction, any other for itself. Small numbers
    are as inexact as the times of some days of which they may be differences.
    """
    exactly = Fraction(hours)
    simple = exactly.limit_denominator(100_000)
    return simple if abs(simple - exactly) * 2**48 <= max(Fraction(100), abs(exactly)) else exactly


def floor_and_ceiling(value: Fraction) -> tuple[int, int]:
    """Return the whole numbers below and above; both the same where the value is whole."""
    return math.floor(value), math.ceil(value)


class CascadeOracle:
    """Answers about one table under one set of options.

    Parameters
    ----------
    table
        The valid anchors.
    options
        Parameters of the sampler.
    """

    def __init__(self, table: pd.DataFrame, options: SamplerOptions) -> None:
        self.options = options
        columns = {column: list(table[column]) for column in options.columns()}
        self.rows: list[dict[str, Any]] = [
            {column: values[i] for column, values in columns.items()} for i in range(len(table))
        ]
        self._windows: dict[Fraction, set[int]] = {}  # the anchors in the window around each time that was asked for

    def _label(self, anchor: int, columns: tuple[str, ...]) -> Label:
        values = tuple(self.rows[anchor][column] for column in columns)
        return values[0] if len(values) == 1 else values

    def group(self, anchor: int) -> Label | None:
        """Return an anchor's experiment; None if the axis is off."""
        return self._label(anchor, self.options.group_by) if self.options.experiment_aware else None

    def condition(self, anchor: int) -> Label | None:
        """Return an anchor's condition; None if the axis is off."""
        return self._label(anchor, self.options.stratify_by) if self.options.condition_balanced else None

    def hpi(self, anchor: int) -> Fraction:
        """Return an anchor's hours post infection."""
        return self._times[anchor]

    @cached_property
    def _times(self) -> list[Fraction]:
        return [meant(float(row[HPI])) for row in self.rows]

    def lineage(self, anchor: int) -> Any:
        """Return the value that exclusivity goes by; the anchor itself if the axis is off."""
        return self.rows[anchor][self.options.exclusive_by] if self.options.exclusive_by else anchor

    # --- experiments and leak -----------------------------------------------------------------------------------------

    @cached_property
    def weights(self) -> dict[Label | None, Fraction]:
        """Weight of each experiment of the table, weight 0 included."""
        sizes = Counter(self.group(anchor) for anchor in range(len(self.rows)))
        if self.options.experiment_weights is None or not self.options.experiment_aware:
            return {group: Fraction(size) for group, size in sizes.items()}
        given = dict(self.options.experiment_weights)
        return {group: stands_for(given.get(group, 0)) for group in sizes}  # type: ignore[arg-type]

    @cached_property
    def groups(self) -> list[Label | None]:
        """The experiments that take part."""
        return [group for group, weight in self.weights.items() if weight > 0]

    @cached_property
    def pools(self) -> dict[Label | None, list[int]]:
        """Anchors of each experiment that takes part."""
        everybody = range(len(self.rows))
        return {group: [anchor for anchor in everybody if self.group(anchor) == group] for group in self.groups}

    @cached_property
    def num_batches(self) -> int:
        """Global batches of an epoch."""
        whole = Fraction(len(self.rows), self.options.batch_size)
        return math.floor(whole) if self.options.drop_last else math.ceil(whole)

    def share(self, group: Label | None) -> Fraction:
        """Return the expected number of an epoch's batches that belong to an experiment."""
        return self.num_batches * self.weights[group] / sum(self.weights.values(), Fraction(0))

    @cached_property
    def num_leaked(self) -> int:
        """Anchors of a batch that come from other experiments."""
        return math.floor(stands_for(self.options.leaky) * self.options.batch_size) if len(self.groups) > 1 else 0

    @property
    def num_primary(self) -> int:
        """Anchors of a batch that come from its own experiment."""
        return self.options.batch_size - self.num_leaked

    def others(self, group: Label | None) -> list[int]:
        """Return the anchors that may leak into a batch of this experiment."""
        return [anchor for other in self.groups if other != group for anchor in self.pools[other]]

    # --- conditions ---------------------------------------------------------------------------------------------------

    @cached_property
    def strata(self) -> dict[Label | None, dict[Label | None, list[int]]]:
        """Anchors by experiment and condition."""
        split: dict[Label | None, dict[Label | None, list[int]]] = {}
        for group, pool in self.pools.items():
            split[group] = {}
            for anchor in pool:
                split[group].setdefault(self.condition(anchor), []).append(anchor)
        return split

    def quotas(self, group: Label | None) -> dict[Label | None, Fraction]:
        """Return ``n * r_c``: the expected number of primary anchors of each condition of the pool."""
        present = list(self.strata[group])
        if self.options.condition_ratio is None or not self.options.condition_balanced:
            parts = {condition: Fraction(1) for condition in present}
        else:
            given = dict(self.options.condition_ratio)
            parts = {condition: stands_for(given[condition]) for condition in present}  # type: ignore[index]
        total = sum(parts.values(), Fraction(0))
        return {condition: self.num_primary * part / total for condition, part in parts.items()}

    # --- time ---------------------------------------------------------------------------------------------------------

    @cached_property
    def num_focal(self) -> int:
        """Primary anchors of a batch that are drawn near its focal HPI."""
        n = self.num_primary
        return n - math.floor(stands_for(self.options.temporal_global_fraction) * n)

    @cached_property
    def window(self) -> Fraction:
        """Largest distance of a focal anchor from the focal HPI, in hours."""
        return meant(self.options.temporal_window_hours)

    def distance(self, anchor: int, focal: Fraction) -> Fraction:
        """Return how far an anchor is from a focal HPI, in hours."""
        return abs(self._times[anchor] - focal)

    def in_window(self, anchors: Iterable[int], focal: float | Fraction) -> list[int]:
        """Return those of the anchors that lie within the window."""
        inside = self._windows.get(center := meant(focal))
        if inside is None:
            inside = {at for at, time in enumerate(self._times) if abs(time - center) <= self.window}
            self._windows[center] = inside
        return [anchor for anchor in anchors if anchor in inside]

    def focal_values(self, group: Label | None, conditions: Iterable[Label | None]) -> set[Fraction]:
        """Return the HPI values that may be focal for a batch in which these conditions have a quota."""
        values = {self.hpi(anchor) for anchor in self.pools[group]}
        wanted = [self.strata[group][condition] for condition in conditions]
        serving = {value for value in values if all(self.in_window(stratum, value) for stratum in wanted)}
        return serving or values

    # --- batches ------------------------------------------------------------------------------------------------------

    def batch_groups(self, batch: Iterable[int]) -> list[Label | None]:
        """Return the experiments that a batch may belong to: those with as many anchors in it as are primary."""
        members = Counter(self.group(anchor) for anchor in batch)
        return [group for group in self.groups if members[group] == self.num_primary]

    def split(self, batch: Iterable[int], group: Label | None) -> tuple[list[int], list[int]]:
        """Split a batch into primary and leaked anchors."""
        members = list(batch)
        primary = [anchor for anchor in members if self.group(anchor) == group]
        return primary, [anchor for anchor in members if self.group(anchor) != group]

    def must_vary(self) -> bool:
        """Tell whether one epoch in two at least differs from another by necessity of the contract.

        Sufficient conditions that are simple to see, not all there are: the order of two experiments that both own
        batches, or a stratum of which every batch takes some but not all anchors, each alike likely.
        """
        owners = [group for group in self.groups if math.floor(self.share(group)) >= 1]
        if len(owners) > 1:
            return True
        return any(self.stratum_varies(group, condition) for group in owners for condition in self.strata[group])

    def stratum_varies(self, group: Label | None, condition: Label | None) -> bool:
        """Tell whether every batch of an experiment takes some but not all anchors of a stratum, each alike likely."""
        stratum, quota = self.strata[group][condition], self.quotas(group)[condition]
        few, many = floor_and_ceiling(quota)
        if few < 1 or self.options.exclusive_by:
            return False
        if not self.options.temporal_enrichment:
            return few % len(stratum) > 0 and many % len(stratum) > 0
        if many >= len(stratum):
            return False
        focal = math.ceil(Fraction(self.num_focal, self.num_primary) * many)
        if few > focal:
            return True
        rivals = [len(self.in_window(stratum, value)) for value in {self.hpi(a) for a in self.pools[group]}]
        return math.floor(Fraction(self.num_focal, self.num_primary) * few) >= 1 and min(rivals) > focal
