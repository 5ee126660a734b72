# ruff: noqa: D102 - overrides do the wrong thing on purpose, as their class says
"""Samplers with a single defect on several ranks, over their life, or in what tables must not matter in."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import pandas as pd
from witness_cases import ENRICHED, PLAIN, case, table_of, witness

from dynaclr_strategies.oracles.reference_sampler import ReferenceSampler
from dynaclr_strategies.oracles.sampler import CascadeOracle
from dynaclr_strategies.sampler_descriptions import LifeCase, LifeStep, SamplerOptions

# --- processes --------------------------------------------------------------------------------------------------------


@witness("ranks-equal-length")
class UnequalRanks(ReferenceSampler):
    """Does not continue the epoch, so that some ranks have a batch less."""

    def __len__(self) -> int:
        return len(range(self.resume_at + self.rank, self.oracle.num_batches, self.replicas))


@witness("ranks-partition")
class BlocksOfBatches(ReferenceSampler):
    """Gives each rank a run of batches, so that what comes next depends on the number of ranks."""

    def number(self, start: int, place: int) -> int:
        return start + self.rank * math.ceil(self.oracle.num_batches / self.replicas) + place


@witness("elastic")
class SeededByRanks(ReferenceSampler):
    """Mixes the number of ranks into its randomness."""

    def rng(self, epoch: int, *purpose: Any) -> random.Random:
        return super().rng(epoch, self.replicas, *purpose)


@witness("elastic")
class EpochTimesRanks(ReferenceSampler):
    """Takes the epoch times the number of ranks for the epoch, which are the same in the first epoch alone."""

    def rng(self, epoch: int, *purpose: Any) -> random.Random:
        return super().rng(epoch * self.replicas, *purpose)


# --- a whole life -----------------------------------------------------------------------------------------------------


def _life(*steps: LifeStep, ranks: int = 2) -> LifeCase:
    return LifeCase(table=PLAIN.table, options=PLAIN.options, ranks=ranks, steps=steps)


TRAIN = LifeStep(action="train", first=1)
RESUMED = _life(TRAIN, LifeStep(action="save"), LifeStep(action="resume"), LifeStep(action="set_epoch"), TRAIN)


@witness("life", RESUMED)
class SameEpochStartsAnew(ReferenceSampler):
    """Takes the trainer's word for the epoch that it already is in as the wish to start it anew."""

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        self.resume_at = 0


@witness("life", _life(TRAIN, LifeStep(action="look", first=2, second=3), LifeStep(action="interrupt"), TRAIN))
class LookingMoves(ReferenceSampler):
    """Goes to the epoch of a batch that somebody looks at."""

    def batch(self, i: int, epoch: int | None = None) -> list[int]:
        self.set_epoch(self.epoch if epoch is None else epoch)
        return super().batch(i, epoch)


@witness("life", _life(TRAIN, LifeStep(action="save"), LifeStep(action="resume"), ranks=1))
class LengthOfAWholeEpoch(ReferenceSampler):
    """Says after resuming how many batches an epoch has, rather than how many are left."""

    def __iter__(self) -> Iterator[list[int]]:
        left = super().__len__()
        start, epoch, self.resume_at = self.resume_at, self.epoch, 0
        for place in range(left):
            self.consumed = start + (place + 1) * self.replicas
            yield self.batch(self.number(start, place), epoch)

    def __len__(self) -> int:
        return math.ceil(self.oracle.num_batches / self.replicas)


# --- metamorphic ------------------------------------------------------------------------------------------------------


class SeededByTable(ReferenceSampler):
    """Mixes something of the table into its randomness that must not matter."""

    def __init__(self, table: pd.DataFrame, options: SamplerOptions) -> None:
        self.noticed = self.notice(table)
        super().__init__(table, options)

    def notice(self, table: pd.DataFrame) -> Any:
        """Return what must not matter."""
        raise NotImplementedError

    def rng(self, epoch: int, *purpose: Any) -> random.Random:
        return super().rng(epoch, self.noticed, *purpose)


@witness("relabel")
class SeededByLabels(SeededByTable):
    """Notices how experiments are called."""

    def notice(self, table: pd.DataFrame) -> Any:
        return sorted(set(table["experiment"]))


@witness("hpi-shift", ENRICHED)
class SeededByStart(SeededByTable):
    """Notices when the first anchor was seen."""

    def notice(self, table: pd.DataFrame) -> Any:
        return float(table["hours_post_infection"].min())


class _Floats(CascadeOracle):
    @cached_property
    def _times(self) -> list[Any]:
        return [row["hours_post_infection"] for row in self.rows]

    @cached_property
    def window(self) -> Any:
        return self.options.temporal_window_hours


TWENTY_MINUTES = case(
    table_of(("a", "c", tuple(frame / 3 for frame in range(40)), 1)),
    temporal_enrichment=True,
    temporal_window_hours=1 / 3,
    temporal_global_fraction=0.0,
)


@witness("hpi-shift", TWENTY_MINUTES)
class WindowOfFloats(ReferenceSampler):
    """Lets floating point decide whether a frame that is just one window away lies in it."""

    def __init__(self, table: pd.DataFrame, options: SamplerOptions) -> None:
        super().__init__(table, options)
        self.oracle = _Floats(table, options)


@witness("hpi-scale", ENRICHED)
class SeededBySpan(SeededByTable):
    """Notices how long the experiments are."""

    def notice(self, table: pd.DataFrame) -> Any:
        return float(table["hours_post_infection"].max() - table["hours_post_infection"].min())


@witness("dtype")
class OrderOfCategories(SeededByTable):
    """Notices the order of categories, the unused ones included."""

    def notice(self, table: pd.DataFrame) -> Any:
        column = table["experiment"]
        return list(column.cat.categories) if isinstance(column.dtype, pd.CategoricalDtype) else []


@witness("extra-columns")
class CountsColumns(SeededByTable):
    """Notices columns that no axis names."""

    def notice(self, table: pd.DataFrame) -> Any:
        return len(table.columns)


@witness("extra-columns")
class IndexLabels(SeededByTable):
    """Takes the frame's index for row numbers."""

    def notice(self, table: pd.DataFrame) -> Any:
        return table.index[0]
