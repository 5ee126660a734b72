# ruff: noqa: D102, ARG002, S311, NPY002 - overrides do the wrong thing on purpose, as their class says
"""Samplers with a single defect that repeats, forgets or confuses batches, or touches what is not theirs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
from witness_cases import ENRICHED, THREE, case, witness

from dynaclr_strategies.oracles.reference_sampler import ReferenceSampler
from dynaclr_strategies.oracles.sampler import CascadeOracle
from dynaclr_strategies.sampler_descriptions import Label, SamplerOptions

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


@witness("seeds-differ")
class SeedPlus31Epochs(ReferenceSampler):
    """Adds seed and 31 times the epoch, so that the 31st seed on is the next epoch."""

    def rng(self, epoch: int, *purpose: Any) -> random.Random:
        return random.Random(f"{self.options.seed + 31 * epoch}/{purpose}")


@witness("seeds-differ")
class ThousandEpochsToASeed(ReferenceSampler):
    """Adds the epoch and a thousand times the seed, so that the thousandth epoch is the first of the next seed."""

    def rng(self, epoch: int, *purpose: Any) -> random.Random:
        return random.Random(f"{1000 * self.options.seed + epoch}/{purpose}")


@witness("seeds-differ", case(batch_size=4))
class OneOrderForAllSeeds(ReferenceSampler):
    """Forgets the seed where it orders the experiments."""

    def rng(self, epoch: int, *purpose: Any) -> random.Random:
        if purpose[0] == "schedule":
            return random.Random(f"{epoch}/{purpose}")
        return super().rng(epoch, *purpose)


@witness("seeds-differ")
class OnePassForAllSeeds(ReferenceSampler):
    """Forgets the seed where it shuffles the strata."""

    def rng(self, epoch: int, *purpose: Any) -> random.Random:
        if purpose[0] == "pass":
            return random.Random(f"{epoch}/{purpose}")
        return super().rng(epoch, *purpose)


class RemembersItsBatch(ReferenceSampler):
    """Knows in each step which batch of which epoch it is about."""

    def build(self, i: int, epoch: int) -> Any:
        self.now = (epoch, i)
        return super().build(i, epoch)


@witness("seeds-differ", case(THREE, leaky=0.4))
class OneLeakForAllSeeds(RemembersItsBatch):
    """Forgets the seed where it draws what leaks."""

    def draw_leaked(self, owner: Label | None, taken: list[int], rng: random.Random) -> list[int]:
        return super().draw_leaked(owner, taken, random.Random(f"{self.now}"))


@witness("epochs-differ", case(THREE, leaky=0.4))
class OneLeakForAllEpochs(RemembersItsBatch):
    """Forgets the epoch where it draws what leaks."""

    def draw_leaked(self, owner: Label | None, taken: list[int], rng: random.Random) -> list[int]:
        return super().draw_leaked(owner, taken, random.Random(f"{self.options.seed}/{self.now[1]}"))


@witness("seeds-differ", case(THREE, leaky=0.4))
class LeaksOfSeedPlusEpoch(RemembersItsBatch):
    """Adds seed and epoch where it draws what leaks."""

    def draw_leaked(self, owner: Label | None, taken: list[int], rng: random.Random) -> list[int]:
        epoch, batch = self.now
        return super().draw_leaked(owner, taken, random.Random(f"{self.options.seed + epoch}/{batch}"))


@witness("epochs-differ", case(THREE, leaky=0.4))
class LeaksOfThreeEpochs(RemembersItsBatch):
    """Leaks in the fourth epoch what it leaked in the first."""

    def draw_leaked(self, owner: Label | None, taken: list[int], rng: random.Random) -> list[int]:
        epoch, batch = self.now
        return super().draw_leaked(owner, taken, random.Random(f"{self.options.seed}/{epoch % 3}/{batch}"))


@witness("seeds-differ", ENRICHED)
class OneFocusForAllSeeds(RemembersItsBatch):
    """Forgets the seed where it draws the focal HPI."""

    def focus(
        self, owner: Label | None, quotas: dict[Label | None, int], rng: random.Random
    ) -> tuple[Fraction | None, dict[Label | None, int]]:
        return super().focus(owner, quotas, random.Random(f"{self.now}"))


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


@witness("state-refused")
class AnyState(ReferenceSampler):
    """Takes the state of any table."""

    def fingerprint(self) -> dict[str, Any]:
        return {"seed": self.options.seed, "batch_size": self.options.batch_size}


@witness("state-refused")
class NumberOfRowsOnly(ReferenceSampler):
    """Takes the state of any table of the same length."""

    def fingerprint(self) -> dict[str, Any]:
        return super().fingerprint() | {"table": len(self.oracle.rows)}


@witness("state-refused", case(THREE, leaky=0.5))
class ForgetsTheLeak(ReferenceSampler):
    """Takes the state of a sampler with another leak."""

    def fingerprint(self) -> dict[str, Any]:
        return super().fingerprint() | {"leaky": 0.0}


@witness("state-refused", ENRICHED)
class ForgetsTheWindow(ReferenceSampler):
    """Takes the state of a sampler with another window."""

    def fingerprint(self) -> dict[str, Any]:
        return super().fingerprint() | {"temporal_window_hours": 0.0}


@witness("state-refused", case(condition_ratio=(("c", 0.75), ("d", 0.25))))
class ForgetsTheRatio(ReferenceSampler):
    """Takes the state of a sampler with another ratio of conditions."""

    def fingerprint(self) -> dict[str, Any]:
        return super().fingerprint() | {"condition_ratio": None}


@witness("state-refused", case(experiment_weights=(("a", 1.0), ("b", 5.0))))
class ForgetsTheWeights(ReferenceSampler):
    """Takes the state of a sampler with other weights of experiments."""

    def fingerprint(self) -> dict[str, Any]:
        return super().fingerprint() | {"experiment_weights": None}


@witness("state-refused", case(batch_size=5, drop_last=False))
class ForgetsTheEnd(ReferenceSampler):
    """Takes the state of a sampler that leaves out the last batch."""

    def fingerprint(self) -> dict[str, Any]:
        return super().fingerprint() | {"drop_last": True}


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
        ascending = table.sort_values("hours_post_infection")
        for column in table.columns:
            table[column] = ascending[column].array


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
