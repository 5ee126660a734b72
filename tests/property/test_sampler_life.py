"""A sampler's life: epochs, partial iteration, saving, restoring, another number of ranks, against a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dynaclr_strategies.invariants import INVARIANTS
from dynaclr_strategies.invariants.sampler_life import SamplerLife
from dynaclr_strategies.options import sampler_cases
from dynaclr_strategies.oracles.reference_sampler import ReferenceSampler
from dynaclr_strategies.reproduction.attached import EXAMPLES, FailedCase, attached
from dynaclr_strategies.sampler_descriptions import LifeCase, LifeStep, SamplerCase, SamplerOptions
from dynaclr_strategies.subjects.sampler import make_flexible
from dynaclr_strategies.tables import anchor_tables

SMALL = anchor_tables(max_strata=3, max_times=4, max_cells=3)


class LifeMachine(RuleBasedStateMachine):
    """Lets Hypothesis choose what happens; the steps taken so far are the case that a failure brings along."""

    @initialize(case=sampler_cases(tables=SMALL), ranks=st.integers(1, 3))
    def begin(self, case: SamplerCase, ranks: int) -> None:
        """Build one sampler per rank."""
        self.case, self.ranks, self.steps = case, ranks, ()
        with self._attached():
            self.life = SamplerLife(make_flexible, case.frame(), case.options, ranks)
        EXAMPLES["life"] += 1

    def _attached(self) -> Any:
        case = LifeCase(table=self.case.table, options=self.case.options, ranks=self.ranks, steps=self.steps)
        return attached(FailedCase("life", case))

    def _do(self, step: LifeStep) -> None:
        self.steps = (*self.steps, step)
        with self._attached():
            self.life.do(step)

    @invariant()
    def ranks_know_their_epoch(self) -> None:
        """No rank changes it by itself; the loader asks for it."""
        if hasattr(self, "life"):
            assert {sampler.epoch for sampler in self.life.samplers} == {self.life.epoch}

    @rule(steps=st.integers(0, 3))
    def train(self, steps: int) -> None:
        """Take some batches on all ranks."""
        self._do(LifeStep(action="train", first=steps))

    @rule(epoch=st.integers(0, 3))
    def set_epoch(self, epoch: int) -> None:
        """Select an epoch."""
        self._do(LifeStep(action="set_epoch", first=epoch))

    @precondition(lambda self: self.life.running)
    @rule()
    def interrupt(self) -> None:
        """Leave an iteration where it is and begin anew."""
        self._do(LifeStep(action="interrupt"))

    @precondition(lambda self: self.life.running)
    @rule()
    def save(self) -> None:
        """Keep the state of rank 0."""
        self._do(LifeStep(action="save"))

    @precondition(lambda self: self.life.states)
    @rule(which=st.integers(0, 99), ranks=st.integers(0, 2))
    def resume(self, which: int, ranks: int) -> None:
        """Go on from a state, in new processes."""
        self._do(LifeStep(action="resume", first=which, second=ranks))

    @rule(number=st.integers(0, 20), epoch=st.integers(0, 3))
    def look(self, number: int, epoch: int) -> None:
        """Ask any rank for any batch."""
        self._do(LifeStep(action="look", first=number, second=epoch))


TestSamplerLife = LifeMachine.TestCase
TestSamplerLife.settings = settings(max_examples=max(20, settings().max_examples // 2), stateful_step_count=25)


class Somebodys:
    """Keeps the law in its own way: tuples, an `epoch` that means something else, no batches that nobody needs."""

    def __init__(self, table: pd.DataFrame, options: SamplerOptions) -> None:
        self._sampler = ReferenceSampler(table, options)
        self._batches = len(ReferenceSampler(table, replace(options, num_replicas=1, rank=0)))
        self.epoch = "of the first kind"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sampler, name)

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        return map(tuple, self._sampler)

    def batch(self, i: int, epoch: int) -> list[int]:
        """Return a batch of the epoch, or one of those with which four ranks are filled up."""
        if i >= self._batches + 3:
            raise IndexError(i)
        return self._sampler.batch(i, epoch)


@given(st.from_type(LifeCase))
def test_a_sampler_may_keep_the_law_in_its_own_way(case: LifeCase) -> None:
    """What is no part of the contract is nobody's business."""
    INVARIANTS["life"].check(Somebodys, case.frame(), case.options, case.ranks, case.steps)
