# ruff: noqa: D102, ARG002 - overrides do the wrong thing on purpose, as their class says
"""Samplers with a single defect in the shape or composition of their batches, or in how anchors are drawn."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import count
from typing import Any

import numpy as np
import pandas as pd
from witness_cases import ENRICHED, THREE, TIMES, case, table_of, witness

from dynaclr_strategies.oracles.reference_sampler import ReferenceSampler
from dynaclr_strategies.sampler_descriptions import Label, SamplerOptions

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


@witness("len-matches-iteration")
class NeverEnds(ReferenceSampler):
    """Goes on behind the end of an epoch for as long as it is asked to."""

    def __iter__(self) -> Iterator[list[int]]:
        return (self.batch(self.number(0, place)) for place in count())


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


HUNDRED = case(table_of(("a", "c", (0.0,), 150), ("b", "c", (0.0,), 150)), batch_size=100, leaky=0.29)


@witness("leak-exact", HUNDRED)
class BinaryLeak(ReferenceSampler):
    """Leaks ``int(0.29 * 100)`` anchors, which is 28."""

    def __init__(self, table: pd.DataFrame, options: SamplerOptions) -> None:
        super().__init__(table, options)
        self.oracle.num_leaked = int(options.leaky * options.batch_size)


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


@witness(
    "experiment-order",
    case(table_of(("a", "c", TIMES, 6), ("b", "c", TIMES, 6)), batch_size=4, experiment_weights=None),
)
class ExperimentsTakeTurns(ReferenceSampler):
    """Gives batches of one experiment and of the other by turns, beginning with either."""

    def schedule(self, epoch: int, lap: int) -> list[Label | None]:
        first = super().schedule(epoch, lap)
        groups = sorted(set(first), key=lambda group: (group != first[0], str(group)))
        left = Counter(first)
        return [group for _ in first for group in groups if left[group] > 0 and not left.subtract([group])]


@witness("experiment-unbiased", case(batch_size=7))
class ExperimentRestToTheLast(ReferenceSampler):
    """Rounds the experiments' shares with the same offset in every epoch, so that one always gains."""

    def schedule(self, epoch: int, lap: int) -> list[Label | None]:
        counts = self.round({group: self.oracle.share(group) for group in self.oracle.groups}, 0.0)
        owners = [group for group, count in counts.items() for _ in range(count)]
        self.rng(epoch, "schedule", lap).shuffle(owners)
        return owners


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


@witness("focal-concentration", replace(ENRICHED, table=table_of(("a", "c", tuple(map(float, range(30))), 2))))
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


CROWDED = table_of(("a", "c", (0.0,), 3), ("a", "d", TIMES, 8))


@witness("no-needless-repeat", case(CROWDED, batch_size=8))
class CarelessPasses(ReferenceSampler):
    """Goes through passes of a stratum smaller than its quota without a look at what the batch holds of the last."""

    def draw_pass(self, epoch: int, owner: Any, condition: Any, quota: int, taken: list[int]) -> list[int]:
        self._crowded = quota > len(self.oracle.strata[owner][condition])
        return super().draw_pass(epoch, owner, condition, quota, taken)

    def begin_pass(self, order: list[int], times: Counter[int]) -> list[int]:
        return order if self._crowded else super().begin_pass(order, times)


@witness("fair-pass")
class FreshDrawPerBatch(ReferenceSampler):
    """Shuffles the stratum anew for every batch: a random 63 % of the data per epoch."""

    def draw_pass(self, epoch: int, owner: Any, condition: Any, quota: int, taken: list[int]) -> list[int]:
        rng = self.rng(epoch, "fresh", condition, len(self._built[epoch]))
        return rng.sample(self.oracle.strata[owner][condition], quota)


SKEWED = table_of(("a", "c", (0.0,) * 19 + (5.0,), 2))


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


FAMILIES = table_of(("a", "c", TIMES, 3), ("a", "d", TIMES, 3), lineages=6)


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


TWINS = replace(table_of(("a", "c", TIMES, 2), ("b", "c", TIMES, 2), lineages=8), shared_lineages=True)


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


FAR_APART = table_of(("a", "c", tuple(10.0 * hour for hour in range(8)), 1))


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


@witness("leak-uniform", case(THREE, batch_size=3, leaky=0.4))
class LeaksTheSameAllEpoch(ReferenceSampler):
    """Draws once an epoch who leaks into the batches of an experiment."""

    def build(self, i: int, epoch: int) -> list[dict[str, Any]]:
        self._epoch_built = epoch
        return super().build(i, epoch)

    def draw_leaked(self, owner: Label | None, taken: list[int], rng: random.Random) -> list[int]:
        return super().draw_leaked(owner, taken, self.rng(self._epoch_built, "leak", owner))


@witness("leak-uniform", case(table_of(("a", "c", TIMES, 4), ("b", "c", (0.0,), 2)), batch_size=6, leaky=0.34))
class LeaksOneTwice(ReferenceSampler):
    """Now and then leaks an anchor twice although the others are no more than what leaks, so that each has its turn."""

    def draw_leaked(self, owner: Label | None, taken: list[int], rng: random.Random) -> list[int]:
        others = self.oracle.others(owner)
        twice = len(others) == self.oracle.num_leaked and rng.random() < 0.5
        return others[:1] * 2 if twice else super().draw_leaked(owner, taken, rng)


@witness("leak-uniform", case(THREE, batch_size=8, leaky=0.4))
class LeaksARun(ReferenceSampler):
    """Leaks anchors that follow each other in the table, beginning anywhere."""

    def draw_leaked(self, owner: Label | None, taken: list[int], rng: random.Random) -> list[int]:
        others = sorted(self.oracle.others(owner))
        first = rng.randrange(len(others) + 1)
        return [*others[first:], *others[:first]][: self.oracle.num_leaked]


@witness("passes-shuffled", case(table_of(("a", "c", TIMES, 3), ("b", "c", TIMES, 3))))
class RotatesPasses(ReferenceSampler):
    """Begins each pass anywhere in the table, and goes on in its order."""

    def shuffled(self, stratum: list[int], epoch: int, *purpose: Any) -> list[int]:
        first = stratum.index(super().shuffled(stratum, epoch, *purpose)[0])
        return [*stratum[first:], *stratum[:first]]


@witness("passes-shuffled", case(table_of(("a", "c", TIMES, 3), ("b", "c", TIMES, 3))))
class TheLastComesLast(ReferenceSampler):
    """Shuffles all but the last anchor of a stratum, which ends each pass and most epochs never see."""

    def shuffled(self, stratum: list[int], epoch: int, *purpose: Any) -> list[int]:
        return [a for a in super().shuffled(stratum, epoch, *purpose) if a != stratum[-1]] + stratum[-1:]


@witness("relatives-alike", case(table_of(("a", "c", TIMES, 3), lineages=4), batch_size=3, exclusive_by="lineage_id"))
class FirstOfEachLineage(ReferenceSampler):
    """Lets each lineage be seen at its first anchor only."""

    def draw_pass(
        self, epoch: int, owner: Label | None, condition: Label | None, quota: int, taken: list[int]
    ) -> list[int]:
        stratum = self.oracle.strata[owner][condition]
        first = {self.oracle.lineage(anchor): anchor for anchor in reversed(stratum)}
        drawn = super().draw_pass(epoch, owner, condition, quota, [])
        return [first[self.oracle.lineage(anchor)] for anchor in drawn]


@witness("focal-hpi-uniform", replace(ENRICHED, table=table_of(("a", "c", (0.0,) * 12 + (9.0, 18.0), 2))))
class FocusOnTheCrowd(ReferenceSampler):
    """Draws a focal anchor rather than a focal time, so that crowded times are favoured."""

    def focus(
        self, owner: Label | None, quotas: dict[Label | None, int], rng: random.Random
    ) -> tuple[float | None, dict[Label | None, int]]:
        _, near = super().focus(owner, quotas, rng)
        return self.oracle.hpi(rng.choice(self.oracle.pools[owner])), near


@witness(
    "focal-hpi-uniform",
    replace(
        case(temporal_enrichment=True, temporal_window_hours=0.0, temporal_global_fraction=0.0, batch_size=4),
        table=table_of(("a", "c", (0.0,) * 3 + (9.0, 18.0), 4)),
    ),
)
class FocusInSecret(FocusOnTheCrowd):
    """Favours crowded times, and explains nothing."""

    explain = property()  # type: ignore[assignment] # it is there, but cannot be had


FOUR_FAR_TIMES = case(
    table_of(("a", "c", (0.0, 9.0, 18.0, 27.0), 4), ("b", "c", (0.0, 9.0, 18.0, 27.0), 4)),
    temporal_enrichment=True,
    temporal_window_hours=0.0,
    temporal_global_fraction=0.0,
    batch_size=4,
)


@witness("focal-hpi-uniform", FOUR_FAR_TIMES)
class FocusOfTheEpoch(ReferenceSampler):
    """Draws the focal HPI once an epoch for all batches of an experiment."""

    def build(self, i: int, epoch: int) -> list[dict[str, Any]]:
        self._epoch_built = epoch
        return super().build(i, epoch)

    def focus(
        self, owner: Label | None, quotas: dict[Label | None, int], rng: random.Random
    ) -> tuple[Fraction | None, dict[Label | None, int]]:
        return super().focus(owner, quotas, self.rng(self._epoch_built, "focus", owner))


@witness("focal-hpi-uniform", FOUR_FAR_TIMES)
class FocusOfTheEpochInSecret(FocusOfTheEpoch):
    """Draws the focal HPI once an epoch for all batches of an experiment, and explains nothing."""

    explain = property()  # type: ignore[assignment] # it is there, but cannot be had


@witness("focal-hpi-uniform", FOUR_FAR_TIMES)
class FocusOnAnother(ReferenceSampler):
    """Never draws the focal HPI of the batch before again, so that batch by batch times take turns."""

    def focus(
        self, owner: Label | None, quotas: dict[Label | None, int], rng: random.Random
    ) -> tuple[Fraction | None, dict[Label | None, int]]:
        focal, near = super().focus(owner, quotas, rng)
        while self.__dict__.setdefault("last", {}).get(owner) == focal:
            focal, near = super().focus(owner, quotas, rng)
        self.__dict__["last"][owner] = focal
        return focal, near


@witness("focal-quota-unbiased", case(temporal_enrichment=True, temporal_global_fraction=0.5))
class FocalRestToTheFirst(ReferenceSampler):
    """Rounds the focal quotas with the same offset in every batch."""

    def round(self, expected: dict[Any, Fraction], offset: float) -> dict[Any, int]:
        return super().round(expected, 0.0)


@witness(
    "focal-uniform",
    replace(ENRICHED, table=table_of(("a", "c", TIMES, 9)), options=replace(ENRICHED.options, batch_size=4)),
)
class FocalRuns(ReferenceSampler):
    """Draws focal anchors that follow each other in the table, beginning anywhere."""

    def draw_near(
        self, stratum: list[int], quota: int, near: int, focal: Fraction, taken: list[int], rng: random.Random
    ) -> list[tuple[int, str | None]]:
        window = self.oracle.in_window(stratum, focal)
        if len(window) <= near or near < quota:
            return super().draw_near(stratum, quota, near, focal, taken, rng)
        first = rng.randrange(len(window))
        return [(anchor, "focal") for anchor in [*window[first:], *window[:first]][:near]]


BETWEEN_TWO_TIMES = case(
    table_of(("a", "c", (0.0, 9.0), 8), ("a", "d", (0.0, 9.0), 8)),
    temporal_enrichment=True,
    temporal_window_hours=0.0,
)


@witness("focal-quota-unbiased", BETWEEN_TWO_TIMES)
class FocalRestInSecret(FocalRestToTheFirst):
    """Rounds the focal quotas with the same offset in every batch, and explains nothing."""

    explain = property()  # type: ignore[assignment] # it is there, but cannot be had


@witness("focal-uniform", replace(ENRICHED, table=table_of(("a", "c", (0.0,), 24))))
class FirstRowsOfTheWindow(ReferenceSampler):
    """Takes the anchors of the window in the order of the table."""

    def draw_near(
        self, stratum: list[int], quota: int, near: int, focal: Fraction, taken: list[int], rng: random.Random
    ) -> list[tuple[int, str | None]]:
        by_time = sorted(stratum, key=lambda anchor: abs(self.oracle.hpi(anchor) - focal))
        return [(anchor, self.label(anchor, focal)) for anchor in by_time[:near]]


@witness("focal-uniform", replace(ENRICHED, table=table_of(("a", "c", tuple(i / 4 for i in range(24)), 3))))
class NearestOfTheWindow(ReferenceSampler):
    """Takes the anchors of the window that are nearest to the focal HPI."""

    def draw_near(
        self, stratum: list[int], quota: int, near: int, focal: Fraction, taken: list[int], rng: random.Random
    ) -> list[tuple[int, str | None]]:
        by_time = sorted(rng.sample(stratum, len(stratum)), key=lambda anchor: self.distance(anchor, focal))
        return [(anchor, self.label(anchor, focal)) for anchor in by_time[:near]]


@witness("focal-uniform", replace(ENRICHED, table=table_of(("a", "c", (0.0,), 24))))
class FirstRowsInSecret(FirstRowsOfTheWindow):
    """Takes the anchors of the window in the order of the table, and explains nothing."""

    explain = property()  # type: ignore[assignment] # it is there, but cannot be had


@witness("focal-uniform", replace(ENRICHED, table=table_of(("a", "c", tuple(i / 4 for i in range(24)), 3))))
class NearestInSecret(NearestOfTheWindow):
    """Takes the anchors of the window that are nearest to the focal HPI, and explains nothing."""

    explain = property()  # type: ignore[assignment] # it is there, but cannot be had


ONE_GLOBAL = case(
    table_of(("a", "c", (0.0, 9.0), 8)), batch_size=4, temporal_enrichment=True, temporal_window_hours=0.0
)


@witness("focal-uniform", ONE_GLOBAL)
class OneOrderForBoth(ReferenceSampler):
    """Takes focal and global anchors out of one order, so that few of the global ones lie in the window."""

    def draw_near(
        self, stratum: list[int], quota: int, near: int, focal: Fraction, taken: list[int], rng: random.Random
    ) -> list[tuple[int, str | None]]:
        order = rng.sample(stratum, len(stratum))
        first = sorted(order, key=lambda anchor: self.distance(anchor, focal))[:near]
        others = [anchor for anchor in order if anchor not in first][: quota - near]
        return [*((anchor, self.label(anchor, focal)) for anchor in first), *((anchor, "global") for anchor in others)]


@witness("focal-uniform", ONE_GLOBAL)
class OneOrderInSecret(OneOrderForBoth):
    """Takes focal and global anchors out of one order, and explains nothing."""

    explain = property()  # type: ignore[assignment] # it is there, but cannot be had
