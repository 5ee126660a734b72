# ruff: noqa: D102, ARG002, S311, NPY002, PD002 - overrides do the wrong thing on purpose, as their class says
"""One broken sampler per law: the reference sampler with a single defect, and a case on which it shows."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from dynaclr_strategies.oracles.reference_sampler import ReferenceSampler
from dynaclr_strategies.oracles.sampler import CascadeOracle
from dynaclr_strategies.sampler_descriptions import (
    Label,
    LifeCase,
    LifeStep,
    SamplerCase,
    SamplerOptions,
    StratumDescription,
    TableDescription,
)


def _table(*strata: tuple[str, str, tuple[float, ...], int], lineages: int | None = None) -> TableDescription:
    return TableDescription(
        strata=tuple(
            StratumDescription(experiment=e, condition=c, hpi=hpi, cells=cells, lineages=lineages)
            for e, c, hpi, cells in strata
        )
    )


TIMES = (0.0, 0.5, 1.0, 4.0)
PLAIN = SamplerCase(
    table=_table(("a", "c", TIMES, 3), ("a", "d", TIMES, 2), ("b", "c", TIMES, 2), ("b", "d", TIMES, 1)),
    options=SamplerOptions(batch_size=6, seed=3),
)


def case(table: TableDescription = PLAIN.table, **options: Any) -> SamplerCase:
    """Return the plain case with other options."""
    return SamplerCase(table=table, options=replace(PLAIN.options, **options))


@dataclass(frozen=True)
class Witness:
    """A broken sampler and a case on which its law has to notice."""

    law: str
    sampler: type[ReferenceSampler]
    case: SamplerCase | LifeCase

    @property
    def name(self) -> str:
        """What the docs call it; the docstring of the sampler says what is wrong with it."""
        return self.sampler.__name__


WITNESSES: list[Witness] = []


def witness(law: str, shown_by: SamplerCase | LifeCase = PLAIN) -> Any:
    """List a broken sampler as the witness of a law."""

    def enlist(sampler: type[ReferenceSampler]) -> type[ReferenceSampler]:
        WITNESSES.append(Witness(law, sampler, shown_by))
        return sampler

    return enlist


# --- shape ------------------------------------------------------------------------------------------------------------


@witness("indices-in-range")
class NumpyIntegers(ReferenceSampler):
    """Yields NumPy integers, which JSON and some datasets refuse."""

    def batch(self, i: int, epoch: int | None = None) -> list[int]:
        return list(np.array(super().batch(i, epoch)))


@witness("indices-in-range")
class OffByOne(ReferenceSampler):
    """Counts rows from one."""

    def batch(self, i: int, epoch: int | None = None) -> list[int]:
        return [anchor + 1 for anchor in super().batch(i, epoch)]


@witness("batch-size-exact", case(drop_last=False))
class ShortLastBatch(ReferenceSampler):
    """Ends the epoch with what is left, as most samplers do."""

    def batch(self, i: int, epoch: int | None = None) -> list[int]:
        return super().batch(i, epoch)[: len(self.oracle.rows) - i * self.options.batch_size]


@witness("batch-size-exact")
class OneTooMany(ReferenceSampler):
    """Adds an anchor for good measure."""

    def batch(self, i: int, epoch: int | None = None) -> list[int]:
        batch = super().batch(i, epoch)
        return [*batch, next(anchor for anchor in range(len(self.oracle.rows)) if anchor not in batch)]


@witness("len-matches-iteration", case(num_replicas=3, rank=2))
class LengthOfAllRanks(ReferenceSampler):
    """Announces the batches of all ranks."""

    def __iter__(self) -> Iterator[list[int]]:
        for place in range(super().__len__()):
            yield self.batch(self.number(0, place))

    def __len__(self) -> int:
        return self.oracle.num_batches


@witness("batches-per-epoch", case(experiment_aware=False, drop_last=False))
class OneBatchLess(ReferenceSampler):
    """Stops one batch before the end, and says so."""

    def __len__(self) -> int:
        return super().__len__() - 1


# --- composition ------------------------------------------------------------------------------------------------------


@witness("single-experiment")
class MixedExperiments(ReferenceSampler):
    """Replaces the last anchor by one of another experiment."""

    def batch(self, i: int, epoch: int | None = None) -> list[int]:
        batch = super().batch(i, epoch)
        stranger = next(a for a in range(len(self.oracle.rows)) if self.oracle.group(a) != self.oracle.group(batch[0]))
        return [*batch[:-1], stranger]


HUNDRED = case(_table(("a", "c", (0.0,), 150), ("b", "c", (0.0,), 150)), batch_size=100, leaky=0.29)


@witness("leak-exact", HUNDRED)
class BinaryLeak(ReferenceSampler):
    """Leaks ``int(0.29 * 100)`` anchors, which is 28."""

    def __init__(self, table: pd.DataFrame, options: SamplerOptions) -> None:
        super().__init__(table, options)
        self.oracle.num_leaked = int(options.leaky * options.batch_size)


THREE = _table(("a", "c", TIMES, 2), ("b", "c", TIMES, 2), ("z", "c", TIMES, 2))


@witness("zero-weight-excluded", case(THREE, leaky=0.5, experiment_weights=(("a", 1.0), ("b", 1.0), ("z", 0.0))))
class LeakyZeroWeight(ReferenceSampler):
    """Leaks from an experiment that has weight 0."""

    def draw_leaked(self, owner: Label | None, taken: list[int], rng: random.Random) -> list[int]:
        others = [a for a in range(len(self.oracle.rows)) if self.oracle.group(a) != owner]
        return rng.sample(others, self.oracle.num_leaked)


@witness("experiment-share")
class ExperimentByDice(ReferenceSampler):
    """Draws each batch's experiment anew, so that shares hold in the mean only."""

    def schedule(self, epoch: int, lap: int) -> list[Label | None]:
        weights = [float(self.oracle.weights[group]) for group in self.oracle.groups]
        return self.rng(epoch, "dice", lap).choices(self.oracle.groups, weights, k=self.oracle.num_batches)


@witness("experiment-order", case(batch_size=4))
class OneExperimentAfterTheOther(ReferenceSampler):
    """Gives all batches of one experiment before those of the next."""

    def schedule(self, epoch: int, lap: int) -> list[Label | None]:
        return sorted(super().schedule(epoch, lap), key=str)


@witness("experiment-order", case(batch_size=8))
class TheSameOrderEveryEpoch(ReferenceSampler):
    """Shuffles the experiments once for all epochs."""

    def schedule(self, epoch: int, lap: int) -> list[Label | None]:
        return super().schedule(0, lap)


@witness("condition-quota")
class ConditionByDice(ReferenceSampler):
    """Draws each anchor's condition anew."""

    def quotas(self, owner: Label | None, rng: random.Random) -> dict[Label | None, int]:
        expected = self.oracle.quotas(owner)
        drawn = rng.choices(list(expected), [float(q) for q in expected.values()], k=self.oracle.num_primary)
        return {condition: drawn.count(condition) for condition in expected}


@witness("condition-unbiased", case(batch_size=7))
class RestToTheLast(ReferenceSampler):
    """Rounds down and gives the last condition the remainder: within one of its quota, and biased."""

    def quotas(self, owner: Label | None, rng: random.Random) -> dict[Label | None, int]:
        quotas = {condition: math.floor(quota) for condition, quota in self.oracle.quotas(owner).items()}
        quotas[next(reversed(quotas))] += self.oracle.num_primary - sum(quotas.values())
        return quotas


ENRICHED = case(temporal_enrichment=True, temporal_window_hours=0.5, temporal_global_fraction=0.0)


@witness("focal-concentration", replace(ENRICHED, table=_table(("a", "c", tuple(map(float, range(30))), 2))))
class Unfocused(ReferenceSampler):
    """Draws its focal anchors from all times."""

    def distance(self, anchor: int, focal: Fraction) -> Fraction:
        return Fraction(0)


@witness("axes-compose", ENRICHED)
class EnrichmentSwitchesBalancingOff(ReferenceSampler):
    """Lets the time axis take over: with enrichment the conditions of a batch are what they are in the table."""

    def quotas(self, owner: Label | None, rng: random.Random) -> dict[Label | None, int]:
        if not self.options.temporal_enrichment:
            return super().quotas(owner, rng)
        pool = self.oracle.pools[owner]
        parts = {c: Fraction(self.oracle.num_primary * len(s), len(pool)) for c, s in self.oracle.strata[owner].items()}
        return self.round(parts, rng.random())


@witness("no-needless-repeat")
class WithReplacement(ReferenceSampler):
    """Draws with replacement."""

    def draw_pass(self, epoch: int, owner: Any, condition: Any, quota: int, taken: list[int]) -> list[int]:
        return self.rng(epoch, condition, len(taken)).choices(self.oracle.strata[owner][condition], k=quota)


@witness("no-needless-repeat", case(batch_size=24))
class UnevenRepeats(ReferenceSampler):
    """Fills a batch that is larger than its stratum with copies of one anchor."""

    def draw_pass(self, epoch: int, owner: Any, condition: Any, quota: int, taken: list[int]) -> list[int]:
        stratum = self.oracle.strata[owner][condition]
        return [*stratum[:quota], *[stratum[0]] * (quota - len(stratum))]


@witness("fair-pass")
class FreshDrawPerBatch(ReferenceSampler):
    """Shuffles the stratum anew for every batch: a random 63 % of the data per epoch."""

    def draw_pass(self, epoch: int, owner: Any, condition: Any, quota: int, taken: list[int]) -> list[int]:
        rng = self.rng(epoch, "fresh", condition, len(self._built[epoch]))
        return rng.sample(self.oracle.strata[owner][condition], quota)


SKEWED = _table(("a", "c", (0.0,) * 19 + (5.0,), 2))


@witness("plain-when-global", case(SKEWED, batch_size=2, temporal_enrichment=True))
class TimesBeforeAnchors(ReferenceSampler):
    """Draws a time first and then an anchor of that time, so that rare times are favoured."""

    def draw_pass(self, epoch: int, owner: Any, condition: Any, quota: int, taken: list[int]) -> list[int]:
        if not self.options.temporal_enrichment:
            return super().draw_pass(epoch, owner, condition, quota, taken)
        rng = self.rng(epoch, "times", len(self._built[epoch]))
        left, drawn = list(self.oracle.strata[owner][condition]), []
        for _ in range(quota):
            time = rng.choice(sorted({self.oracle.hpi(anchor) for anchor in left}))
            drawn.append(rng.choice([anchor for anchor in left if self.oracle.hpi(anchor) == time]))
            left.remove(drawn[-1])
        return drawn


FAMILIES = _table(("a", "c", TIMES, 3), ("a", "d", TIMES, 3), lineages=6)


@witness("lineage-exclusive", case(FAMILIES, batch_size=8, exclusive_by="lineage_id"))
class SistersTogether(ReferenceSampler):
    """Lets every anchor in."""

    def is_free(self, anchor: int, taken: list[int]) -> bool:
        return True


SHARED = replace(FAMILIES, shared_lineages=True)


@witness("lineage-exclusive", case(SHARED, batch_size=4, exclusive_by="lineage_id"))
class StrataOnTheirOwn(ReferenceSampler):
    """Keeps relatives of one condition apart, and lets those of two meet."""

    def draw_pass(self, epoch: int, owner: Any, condition: Any, quota: int, taken: list[int]) -> list[int]:
        own: list[int] = []
        return super().draw_pass(epoch, owner, condition, quota, own)


TWINS = replace(_table(("a", "c", TIMES, 2), ("b", "c", TIMES, 2), lineages=8), shared_lineages=True)


@witness("lineage-exclusive", case(TWINS, batch_size=4, leaky=0.5, exclusive_by="lineage_id"))
class LeaksRelatives(ReferenceSampler):
    """Does not look at the primary anchors when it leaks."""

    def draw_leaked(self, owner: Label | None, taken: list[int], rng: random.Random) -> list[int]:
        return super().draw_leaked(owner, [], rng)


@witness("explained", case(leaky=0.5))
class AllPrimary(ReferenceSampler):
    """Explains leaked anchors as primary."""

    def explain(self, i: int, epoch: int | None = None) -> pd.DataFrame:
        table = super().explain(i, epoch)
        return table.assign(source="primary")


FAR_APART = _table(("a", "c", tuple(10.0 * hour for hour in range(8)), 1))


@witness("explained", replace(ENRICHED, table=FAR_APART))
class NothingWidened(ReferenceSampler):
    """Explains anchors beyond the window as focal."""

    def label(self, anchor: int, focal: Fraction) -> str:
        return "focal"


@witness("explained", replace(ENRICHED, table=FAR_APART))
class AnyInsteadOfNearest(ReferenceSampler):
    """Widens the window to anybody rather than to the nearest."""

    def distance(self, anchor: int, focal: Fraction) -> Fraction:
        return -super().distance(anchor, focal) if super().distance(anchor, focal) > 0.5 else Fraction(-1000)


@witness("explained", case(batch_size=24))
class NeverRepeated(ReferenceSampler):
    """Explains no anchor as repeated."""

    def explain(self, i: int, epoch: int | None = None) -> pd.DataFrame:
        return super().explain(i, epoch).assign(repeated=False)


# --- uniformity -------------------------------------------------------------------------------------------------------


@witness("leak-uniform", case(THREE, leaky=0.5))
class LeaksFromTheNext(ReferenceSampler):
    """Leaks from the first of the other experiments only."""

    def draw_leaked(self, owner: Label | None, taken: list[int], rng: random.Random) -> list[int]:
        return rng.sample(self.oracle.others(owner)[:8], self.oracle.num_leaked)


@witness("leak-uniform", case(THREE, batch_size=8, leaky=0.4))
class LeaksInSecret(LeaksFromTheNext):
    """Leaks from the first of the other experiments only, and explains nothing."""

    explain = property()  # type: ignore[assignment] # it is there, but cannot be had


@witness("focal-hpi-uniform", replace(ENRICHED, table=_table(("a", "c", (0.0,) * 12 + (9.0, 18.0), 2))))
class FocusOnTheCrowd(ReferenceSampler):
    """Draws a focal anchor rather than a focal time, so that crowded times are favoured."""

    def focus(
        self, owner: Label | None, quotas: dict[Label | None, int], rng: random.Random
    ) -> tuple[float | None, dict[Label | None, int]]:
        _, near = super().focus(owner, quotas, rng)
        return self.oracle.hpi(rng.choice(self.oracle.pools[owner])), near


@witness("focal-quota-unbiased", case(temporal_enrichment=True, temporal_global_fraction=0.5))
class FocalRestToTheFirst(ReferenceSampler):
    """Rounds the focal quotas with the same offset in every batch."""

    def round(self, expected: dict[Any, Fraction], offset: float) -> dict[Any, int]:
        return super().round(expected, 0.0)


@witness("focal-uniform", replace(ENRICHED, table=_table(("a", "c", (0.0,), 24))))
class FirstRowsOfTheWindow(ReferenceSampler):
    """Takes the anchors of the window in the order of the table."""

    def draw_near(
        self, stratum: list[int], quota: int, near: int, focal: Fraction, taken: list[int], rng: random.Random
    ) -> list[tuple[int, str | None]]:
        by_time = sorted(stratum, key=lambda anchor: abs(self.oracle.hpi(anchor) - focal))
        return [(anchor, self.label(anchor, focal)) for anchor in by_time[:near]]


# --- reproducibility --------------------------------------------------------------------------------------------------


@witness("deterministic")
class AnotherEveryTime(ReferenceSampler):
    """Mixes a count of the samplers made so far into its randomness."""

    made = 0

    def __init__(self, table: pd.DataFrame, options: SamplerOptions) -> None:
        super().__init__(table, options)
        AnotherEveryTime.made += 1
        self.own = AnotherEveryTime.made

    def rng(self, epoch: int, *purpose: Any) -> random.Random:
        return super().rng(epoch, self.own, *purpose)


@witness("epochs-differ")
class SameEveryEpoch(ReferenceSampler):
    """Forgets the epoch."""

    def rng(self, epoch: int, *purpose: Any) -> random.Random:
        return super().rng(0, *purpose)


@witness("epochs-differ")
class EveryEpochTwice(ReferenceSampler):
    """Moves on with every other epoch only."""

    def rng(self, epoch: int, *purpose: Any) -> random.Random:
        return super().rng(epoch // 2, *purpose)


@witness("epochs-differ")
class ThreeEpochsInTurn(ReferenceSampler):
    """Goes back to the first epoch after the third."""

    def rng(self, epoch: int, *purpose: Any) -> random.Random:
        return super().rng(epoch % 3, *purpose)


@witness("seeds-differ")
class SeedPlusEpoch(ReferenceSampler):
    """Adds seed and epoch, so that the next seed is the next epoch."""

    def rng(self, epoch: int, *purpose: Any) -> random.Random:
        return random.Random(f"{self.options.seed + epoch}/{purpose}")


@witness("seeds-differ")
class SeedForgotten(ReferenceSampler):
    """Forgets the seed."""

    def rng(self, epoch: int, *purpose: Any) -> random.Random:
        return random.Random(f"{epoch}/{purpose}")


@witness("seeds-differ")
class SeedXorEpoch(ReferenceSampler):
    """Combines seed and epoch bit by bit, so that seeds beside each other have the same epochs in another order."""

    def rng(self, epoch: int, *purpose: Any) -> random.Random:
        return random.Random(f"{self.options.seed ^ epoch}/{purpose}")


@witness("seeds-differ")
class SeedPlusTwiceTheEpoch(ReferenceSampler):
    """Adds seed and twice the epoch, so that the seed after the next is the next epoch."""

    def rng(self, epoch: int, *purpose: Any) -> random.Random:
        return random.Random(f"{self.options.seed + 2 * epoch}/{purpose}")


@witness("epoch-kept")
class MovesOnByItself(ReferenceSampler):
    """Takes the end of an iteration for the end of its epoch."""

    def __iter__(self) -> Iterator[list[int]]:
        yield from super().__iter__()
        self.set_epoch(self.epoch + 1)


@witness("epoch-kept")
class MovesOnAtTheStart(ReferenceSampler):
    """Begins a new epoch whenever somebody begins to iterate, after the first time."""

    begun = False

    def __iter__(self) -> Iterator[list[int]]:
        if self.begun:
            self.set_epoch(self.epoch + 1)
        self.begun = True
        return super().__iter__()


@witness("random-access")
class OwnEpochOnly(ReferenceSampler):
    """Ignores the epoch that it is asked for."""

    def batch(self, i: int, epoch: int | None = None) -> list[int]:
        return super().batch(i, self.epoch)


@witness("resume")
class OneBatchAgain(ReferenceSampler):
    """Counts a batch as consumed only when the next one is asked for."""

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        return state | {"consumed": max(0, state["consumed"] - self.replicas)}


@witness("resume")
class RestartsWhenToldItsEpoch(ReferenceSampler):
    """Starts the epoch anew when a trainer tells it once more."""

    def set_epoch(self, epoch: int) -> None:
        self.epoch, self.consumed, self.resume_at = epoch, 0, 0


@witness("resume")
class ForgetsWhereItResumed(ReferenceSampler):
    """Has nothing behind it, once resumed, until a batch has been asked for."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.consumed = 0


@witness("resume")
class NextEpochIsOver(ReferenceSampler):
    """Counts the batches of an epoch on in the next one."""

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


@witness("resume")
class ResumesForEver(ReferenceSampler):
    """Starts every later iteration where it once resumed."""

    def __iter__(self) -> Iterator[list[int]]:
        start = self.resume_at
        yield from super().__iter__()
        self.resume_at = start


@witness("resume")
class AnyState(ReferenceSampler):
    """Takes the state of any table."""

    def fingerprint(self) -> dict[str, Any]:
        return {"seed": self.options.seed, "batch_size": self.options.batch_size}


@witness("resume")
class NumberOfRowsOnly(ReferenceSampler):
    """Takes the state of any table of the same length."""

    def fingerprint(self) -> dict[str, Any]:
        return super().fingerprint() | {"table": len(self.oracle.rows)}


@witness("resume", case(THREE, leaky=0.5))
class ForgetsTheLeak(ReferenceSampler):
    """Takes the state of a sampler with another leak."""

    def fingerprint(self) -> dict[str, Any]:
        return super().fingerprint() | {"leaky": 0.0}


@witness("resume", ENRICHED)
class ForgetsTheWindow(ReferenceSampler):
    """Takes the state of a sampler with another window."""

    def fingerprint(self) -> dict[str, Any]:
        return super().fingerprint() | {"temporal_window_hours": 0.0}


@witness("resume", case(condition_ratio=(("c", 0.75), ("d", 0.25))))
class ForgetsTheRatio(ReferenceSampler):
    """Takes the state of a sampler with another ratio of conditions."""

    def fingerprint(self) -> dict[str, Any]:
        return super().fingerprint() | {"condition_ratio": None}


@witness("resume")
class LoadsNothing(ReferenceSampler):
    """Checks a state and begins the epoch anew."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.resume_at = 0


@witness("resume-on-ranks")
class CountsItsOwnBatches(ReferenceSampler):
    """Counts the batches of one rank rather than those of all."""

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        return state | {"consumed": state["consumed"] // self.replicas}


@witness("global-rng-untouched")
class GlobalSeed(ReferenceSampler):
    """Reads Python's global generator."""

    def rng(self, epoch: int, *purpose: Any) -> random.Random:
        state = random.getstate()
        rng = super().rng(epoch, random.random(), *purpose)
        random.setstate(state)
        return rng


@witness("global-rng-untouched")
class GlobalDraw(ReferenceSampler):
    """Moves NumPy's global generator."""

    def rng(self, epoch: int, *purpose: Any) -> random.Random:
        np.random.permutation(3)
        return super().rng(epoch, *purpose)


@witness("input-untouched")
class SortsInPlace(ReferenceSampler):
    """Sorts the caller's table."""

    def __init__(self, table: pd.DataFrame, options: SamplerOptions) -> None:
        super().__init__(table, options)
        table.sort_values("hours_post_infection", inplace=True)


@witness("input-untouched")
class KeepsTheTable(ReferenceSampler):
    """Looks at the caller's table when a batch is built."""

    def __init__(self, table: pd.DataFrame, options: SamplerOptions) -> None:
        super().__init__(table, options)
        self.table = table

    def build(self, i: int, epoch: int) -> list[dict[str, Any]]:
        if len(self.table):
            self.oracle = CascadeOracle(self.table, self.options)
        return super().build(i, epoch) if len(self.table) else super().build(i, epoch)[::-1]


@witness("input-untouched")
class ReadsAtTheFirstIteration(ReferenceSampler):
    """Reads the caller's table when the first batch is asked for, and keeps what it read."""

    def __init__(self, table: pd.DataFrame, options: SamplerOptions) -> None:
        super().__init__(table, options)
        self.table: pd.DataFrame | None = table

    def build(self, i: int, epoch: int) -> list[dict[str, Any]]:
        if self.table is not None:
            self.oracle = CascadeOracle(self.table, self.options)
        self.table = None
        return super().build(i, epoch)


@witness("input-untouched", case(temporal_enrichment=True, temporal_window_hours=0.5, temporal_global_fraction=0.0))
class KeepsAView(ReferenceSampler):
    """Looks at the memory of the caller's columns when a batch is built."""

    def __init__(self, table: pd.DataFrame, options: SamplerOptions) -> None:
        super().__init__(table, options)
        self.hours = table["hours_post_infection"].to_numpy()

    def build(self, i: int, epoch: int) -> list[dict[str, Any]]:
        for row, hours in zip(self.oracle.rows, self.hours, strict=True):
            row["hours_post_infection"] = float(hours)
        return super().build(i, epoch)


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


@witness("life", _life(TRAIN, LifeStep(action="look", first=2, second=3), TRAIN))
class LookingMoves(ReferenceSampler):
    """Goes to the epoch of a batch that somebody looks at."""

    def batch(self, i: int, epoch: int | None = None) -> list[int]:
        self.set_epoch(self.epoch if epoch is None else epoch)
        return super().batch(i, epoch)


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
    _table(("a", "c", tuple(frame / 3 for frame in range(40)), 1)),
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
