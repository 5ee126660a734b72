"""Shares are rounded as one would by hand, in fractions, also by the offsets at which a number just changes."""

from __future__ import annotations

from fractions import Fraction
from itertools import accumulate, pairwise
from math import ceil, floor

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from made_strata import expected_of, strata_of

from dynaclr.cascade.quotas import Quotas
from dynaclr.cascade.rounding import SystematicRounding

_WORD = 2**64
_WEIGHTS = st.lists(st.integers(0, 9), min_size=1, max_size=8).filter(any)
_OFFSETS = st.lists(st.integers(0, _WORD - 1), max_size=4)


def edges(expected: list[Fraction]) -> list[int]:
    """Return the offsets, in units of 2**-64, from which on a cumulative sum is lifted, and those just before them."""
    lifts = [ceil((1 - total % 1) * _WORD) for total in accumulate(expected, initial=Fraction(0))]
    return [offset for lift in lifts for offset in (lift - 1, lift) if offset < _WORD]


def by_hand(expected: list[Fraction], offset: int) -> list[int]:
    """Round numbers with one offset: differences of the floors of their sums."""
    floors = [floor(total + Fraction(offset, _WORD)) for total in accumulate(expected, initial=Fraction(0))]
    return [after - before for before, after in pairwise(floors)]


@given(weights=_WEIGHTS, total=st.integers(0, 30), offsets=_OFFSETS)
def test_rounding_is_that_of_fractions(weights: list[int], total: int, offsets: list[int]) -> None:
    """For offsets of any shape; and the largest numbers are those that some offset reaches."""
    expected = expected_of(weights, total)
    rounding = SystematicRounding.of(expected)
    tried = [0, *offsets, *edges(expected)]
    numbers = [by_hand(expected, offset) for offset in tried]
    words = np.array(tried, dtype=np.uint64)
    assert rounding.counts(words).tolist() == numbers
    assert rounding.counts(words.reshape(1, -1, 1)).tolist() == [[[row] for row in numbers]]
    assert rounding.largest().tolist() == np.max(numbers, axis=0).tolist() == [ceil(number) for number in expected]


@given(groups=st.lists(_WEIGHTS, min_size=1, max_size=4), total=st.integers(1, 12), data=st.data())
def test_quotas_of_a_chunk_are_those_of_its_batches(groups: list[list[int]], total: int, data: st.DataObject) -> None:
    """One batch after the other, in the order of its conditions, and none that gets nothing."""
    expected = [expected_of(weights, total) for weights in groups]
    tried = [(group, offset) for group, numbers in enumerate(expected) for offset in [0, *edges(numbers)]]
    chunk = data.draw(st.lists(st.sampled_from(tried), max_size=20))
    strata = strata_of([[1] * len(weights) for weights in groups])
    quotas = Quotas(strata, [SystematicRounding.of(numbers) for numbers in expected])
    offsets = np.array([offset for _, offset in chunk], dtype=np.uint64)
    shares = quotas.shares(np.array([group for group, _ in chunk], dtype=np.int64), offsets)
    rows = []
    for batch, (group, offset) in enumerate(chunk):
        before = 0
        for nth, quota in enumerate(by_hand(expected[group], offset)):
            if quota:
                rows.append((batch, int(strata.group_stratum[group]) + nth, quota, before))
            before += quota
    columns = (shares.batch, shares.stratum, shares.quota, shares.before)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == rows
