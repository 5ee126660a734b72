"""The schedule of an epoch is what one gets by going through its batches one after the other."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from dynaclr.cascade.rounding import SystematicRounding
from dynaclr.cascade.schedule import Schedule
from dynaclr.randomness import generator, keys

_WEIGHTS = st.lists(st.integers(0, 9), min_size=1, max_size=20).filter(any)


@given(weights=_WEIGHTS, num_batches=st.integers(1, 60), seed=st.integers(0, 99), number=st.integers(0, 3))
@example(weights=[1] * 300, num_batches=600, seed=0, number=0)  # more experiments than a byte counts
def test_a_schedule_counts_each_experiments_batches(
    weights: list[int], num_batches: int, seed: int, number: int
) -> None:
    """Each knows how many come before it, and has one of its experiment's evenly spaced offsets, dealt at random."""
    whole = sum(weights)
    shares = SystematicRounding.of([Fraction(weight * num_batches, whole) for weight in weights])
    schedule = Schedule.of(seed, 0, number, shares)
    group, turn = schedule.group.tolist(), generator(seed, 0, "offset", number).permutation(num_batches).tolist()
    first = keys(seed, 0, "quota", number, np.arange(len(weights))).tolist()
    assert len(group) == num_batches
    for at, experiment in enumerate(group):
        others = [other for other in range(num_batches) if group[other] == experiment]
        assert schedule.nth[at] == sum(other < at for other in others)
        step = (2**64 - 1) // len(others)
        rank = sum(turn[other] < turn[at] for other in others)
        assert int(schedule.offset[at]) == first[experiment] % step + rank * step


def test_no_two_rounds_are_alike() -> None:
    """Seed, epoch and round each decide whose turn it is, and who gets the batch that cannot be halved."""
    shares = SystematicRounding.of([Fraction(31, 2)] * 2)
    rounds = [Schedule.of(*each, shares).group for each in product(range(8), repeat=3)]
    assert len({tuple(group.tolist()) for group in rounds}) == len(rounds) == 512
    larger = np.array([group.sum() for group in rounds]).reshape(8, 8, 8)
    assert set(larger.ravel().tolist()) == {15, 16}
    for axis in range(3):
        assert (np.ptp(larger, axis=axis) == 1).any()
