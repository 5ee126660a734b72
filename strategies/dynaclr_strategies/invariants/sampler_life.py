"""A sampler's whole life: epochs, partial iteration, saving, resuming, another number of ranks, in any order."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from dynaclr_strategies.invariants.base import InvariantViolation, invariant
from dynaclr_strategies.invariants.evidence import BatchEvidence
from dynaclr_strategies.invariants.sampler_runs import MakeSampler, on_ranks
from dynaclr_strategies.sampler_descriptions import LifeStep, SamplerOptions

__all__ = ["SamplerLife", "check_life"]

LAW = "life"


class SamplerLife:
    """Ranks that run in lockstep, and a model of what they must yield: epoch, number of ranks, next global batch.

    Parameters
    ----------
    make_sampler
        Makes the sampler of a rank.
    table, options
        What it is made from; the ranks of the options do not matter.
    ranks
        How many there are at first.
    """

    def __init__(self, make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions, ranks: int) -> None:
        self.make, self.table, self.options = make_sampler, table, options
        self.oracle = make_sampler(table, replace(options, num_replicas=1, rank=0))
        self.batches = len(self.oracle)
        self.epoch = 0
        self.states: list[tuple[int, int, dict[str, Any]]] = []
        self.steps_done = 0
        self._start(ranks)

    def do(self, step: LifeStep) -> None:
        """Take a step, if it is possible now, and check what the ranks say afterwards."""
        getattr(self, f"_{step.action}")(step.first, step.second)
        self.steps_done += 1
        self._check_what_ranks_say()

    # --- the model ----------------------------------------------------------------------------------------------------

    def _start(self, ranks: int) -> None:
        self.ranks = ranks
        self.samplers = on_ranks(self.make, self.table, self.options, ranks, self.epoch)
        self._rewind(0)

    def _rewind(self, begin: int) -> None:
        """Expect the next iteration to begin with this global batch."""
        self.begin_at = self.next = begin
        self.running: list[Iterator[list[int]]] = []

    @property
    def _end(self) -> int:
        """Where the epoch ends: a multiple of the ranks further on than it began."""
        return self.begin_at + -(-max(0, self.batches - self.begin_at) // self.ranks) * self.ranks

    # --- steps: each takes the two numbers of a `LifeStep` ------------------------------------------------------------

    def _train(self, steps: int, _: int) -> None:
        """Take some batches on all ranks."""
        if not self.running:
            self.running = [iter(sampler) for sampler in self.samplers]
        for _step in range(1 + steps % 4):
            if self.next >= self._end:
                for rank, one in enumerate(self.running):
                    self._equal(f"rank {rank} at the end of the epoch", next(one, None), None)
                self._rewind(0)
                return
            for rank, one in enumerate(self.running):
                number = self.next + rank
                expected = list(self.oracle.batch(number, epoch=self.epoch))
                batch = next(one, None)
                self._equal(f"rank {rank}, batch {number}", batch if batch is None else list(batch), expected)
            self.next += self.ranks

    def _set_epoch(self, epoch: int, _: int) -> None:
        """Select an epoch between two iterations; the same one again changes nothing."""
        epoch %= 4
        if self.running and epoch == self.epoch:
            return
        for sampler in self.samplers:
            sampler.set_epoch(epoch)
        if epoch != self.epoch:
            self.epoch = epoch
            self._rewind(0)

    def _interrupt(self, _: int, __: int) -> None:
        """Leave an iteration where it is and begin anew."""
        if self.running:
            self._rewind(0)

    def _save(self, _: int, __: int) -> None:
        """Keep the state of rank 0."""
        if self.running:
            self.states.append((self.epoch, self.next, copy.deepcopy(self.samplers[0].state_dict())))

    def _resume(self, which: int, ranks: int) -> None:
        """Go on from a state, in new processes, as many as there are now."""
        if not self.states:
            return
        epoch, position, state = self.states[which % len(self.states)]
        self._start(1 + ranks % 3)
        for sampler in self.samplers:
            sampler.load_state_dict(copy.deepcopy(state))
        self.epoch = epoch
        self._rewind(position)

    def _look(self, number: int, epoch: int) -> None:
        """Ask any rank for any batch, in the middle of everything."""
        rank, number, epoch = number % self.ranks, number % max(1, self.batches), epoch % 4
        expected = list(self.oracle.batch(number, epoch=epoch))
        seen = list(self.samplers[rank].batch(number, epoch=epoch))
        self._equal(f"batch({number}, epoch={epoch}) of rank {rank}", seen, expected)

    # --- what must be so ----------------------------------------------------------------------------------------------

    def _check_what_ranks_say(self) -> None:
        """Between iterations each rank says how many batches are left, within one its state leads to the next batch."""
        left = (self._end - self.begin_at) // self.ranks
        for rank, sampler in enumerate([] if self.running else self.samplers):
            self._equal(f"the length of rank {rank}", len(sampler), left)
        if self.running:
            self._check_state()

    def _check_state(self) -> None:
        """Hand the state to another sampler: however often a run was resumed before, it goes on where this one is."""
        [again, *_] = on_ranks(self.make, self.table, self.options, self.ranks, self.epoch)
        again.load_state_dict(copy.deepcopy(self.samplers[0].state_dict()))
        self._equal("the length after its state", len(again), -(-max(0, self.batches - self.next) // self.ranks))
        batch = next(iter(again), None)
        expected = list(self.oracle.batch(self.next, epoch=self.epoch)) if self.next < self.batches else None
        self._equal("the batch after its state", batch if batch is None else list(batch), expected)

    def _equal(self, what: str, seen: Any, expected: Any) -> None:
        if seen != expected:
            where = f"step {self.steps_done}, epoch {self.epoch}, {self.ranks} ranks, {what}"
            evidence = None
            if isinstance(seen, list) and isinstance(expected, list):
                evidence = BatchEvidence(tuple(seen), tuple(anchor for anchor in seen if anchor not in expected))
            raise InvariantViolation(where, repr(seen), repr(expected), LAW, evidence=evidence)


@invariant(LAW, subject="life", needs=("set_epoch", "batch", "state_dict", "load_state_dict", "__len__", "ranks"))
def check_life(
    make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions, ranks: int, steps: Sequence[LifeStep]
) -> None:
    """Through epochs, interruptions, saved states and other numbers of ranks, each rank yields its own next batch."""
    life = SamplerLife(make_sampler, table, options, ranks)
    for step in steps:
        life.do(step)
