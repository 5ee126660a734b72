"""A sampler's life: epochs, interruptions, states, changes of ranks, in any order, against a model of three numbers."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dynaclr_strategies.options import sampler_cases
from dynaclr_strategies.sampler_descriptions import SamplerCase
from dynaclr_strategies.subjects.sampler import make_flexible
from dynaclr_strategies.tables import anchor_tables

SMALL = anchor_tables(max_strata=3, max_times=4, max_cells=3)


class SamplerLife(RuleBasedStateMachine):
    """Ranks that run in lockstep, and what they must yield: epoch, number of ranks, next global batch."""

    @initialize(case=sampler_cases(tables=SMALL), ranks=st.integers(1, 3))
    def begin(self, case: SamplerCase, ranks: int) -> None:
        """Build one sampler per rank, and one that only answers questions."""
        self.case, self.table = case, case.frame()
        self.oracle = make_flexible(self.table, replace(case.options, num_replicas=1, rank=0))
        self.batches = len(self.oracle)
        self.epoch = 0
        self.states: list[tuple[int, int, dict[str, Any]]] = []
        self._start(ranks)

    def _start(self, ranks: int) -> None:
        self.ranks = ranks
        options = [replace(self.case.options, num_replicas=ranks, rank=rank) for rank in range(ranks)]
        self.samplers = [make_flexible(self.table, each) for each in options]
        for sampler in self.samplers:
            sampler.set_epoch(self.epoch)
        self._rewind(0)

    def _rewind(self, begin: int) -> None:
        """Expect the next iteration to begin with this global batch."""
        self.begin_at = self.next = begin
        self.running: list[Iterator[list[int]]] = []

    @property
    def _end(self) -> int:
        """Where the epoch ends: a multiple of the ranks further on than it began."""
        return self.begin_at + -(-max(0, self.batches - self.begin_at) // self.ranks) * self.ranks

    @rule(steps=st.integers(1, 4))
    def train(self, steps: int) -> None:
        """Take some batches on all ranks."""
        if not self.running:
            self.running = [iter(sampler) for sampler in self.samplers]
        for _ in range(steps):
            if self.next >= self._end:
                assert all(next(one, None) is None for one in self.running)
                self._rewind(0)
                return
            for rank, one in enumerate(self.running):
                assert next(one) == self.oracle.batch(self.next + rank, epoch=self.epoch)
            self.next += self.ranks

    @rule(epoch=st.integers(0, 3))
    def set_epoch(self, epoch: int) -> None:
        """Select an epoch between two iterations; the same one again changes nothing."""
        if self.running and epoch == self.epoch:
            return
        for sampler in self.samplers:
            sampler.set_epoch(epoch)
        if epoch != self.epoch:
            self.epoch = epoch
            self._rewind(0)

    @precondition(lambda self: self.running)
    @rule()
    def interrupt(self) -> None:
        """Leave an iteration where it is and begin anew."""
        self._rewind(0)

    @precondition(lambda self: self.running)
    @rule()
    def save(self) -> None:
        """Keep the state of rank 0."""
        self.states.append((self.epoch, self.next, copy.deepcopy(self.samplers[0].state_dict())))

    @precondition(lambda self: self.states)
    @rule(which=st.integers(0, 99), ranks=st.integers(1, 3))
    def resume(self, which: int, ranks: int) -> None:
        """Go on from a state, in new processes, as many as there are now."""
        epoch, position, state = self.states[which % len(self.states)]
        self._start(ranks)
        for sampler in self.samplers:
            sampler.load_state_dict(copy.deepcopy(state))
        self.epoch = epoch
        self._rewind(position)

    @rule(number=st.integers(0, 20), epoch=st.integers(0, 3))
    def look(self, number: int, epoch: int) -> None:
        """Ask any rank for any batch, in the middle of everything."""
        sampler = self.samplers[number % self.ranks]
        expected = self.oracle.batch(number, epoch=epoch)
        assert sampler.batch(number, epoch=epoch) == expected
        assert sampler.explain(number, epoch=epoch)["anchor"].tolist() == expected

    @invariant()
    def epoch_is_the_selected_one(self) -> None:
        """No rank changes its epoch by itself, and between iterations each says how many batches are left."""
        if not hasattr(self, "samplers"):
            return
        assert {sampler.epoch for sampler in self.samplers} == {self.epoch}
        if not self.running:
            left = (self._end - self.begin_at) // self.ranks
            assert {len(sampler) for sampler in self.samplers} == {left}


TestSamplerLife = SamplerLife.TestCase
TestSamplerLife.settings = settings(max_examples=max(20, settings().max_examples // 2), stateful_step_count=25)
