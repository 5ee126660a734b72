"""Looking up finds what counting finds, at the ends of blocks and of the table too."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynaclr.sorted_keys import _BLOCK, _FEW, SortedKeys

_EXTREMES = [-(2**63), -1, 0, 1, 2**63 - 2, 2**63 - 1]


@given(
    keys=st.lists(st.integers(-5, 300) | st.sampled_from(_EXTREMES[:-1]), max_size=3 * _BLOCK).map(sorted),
    bounds=st.lists(st.integers(-6, 301) | st.sampled_from(_EXTREMES), max_size=20),
    repeats=st.sampled_from([1, _FEW]),
)
def test_as_many_lie_below_as_counting_finds(keys: list[int], bounds: list[int], repeats: int) -> None:
    """Repeated keys and extreme ones included, for few bounds and for many; its two neighbours are told apart."""
    bounds = bounds * repeats
    table, asked = SortedKeys(np.array(keys, dtype=np.int64)), np.array(bounds, dtype=np.int64)
    counted = [bisect_left(keys, bound) for bound in bounds]
    found = table.below(asked)
    assert found.dtype == np.int64
    assert found.tolist() == counted
    assert not table.is_below(found, asked).any()
    some = found > 0
    assert table.is_below(found[some] - 1, asked[some]).all()


@pytest.mark.parametrize("size", [0, 1, _BLOCK - 1, _BLOCK, _BLOCK + 1, 2 * _BLOCK, 5 * _BLOCK + 7])
def test_every_place_of_every_block_is_found(size: int) -> None:
    """In tables that end within a block, with it, and just behind it; in the shape of the bounds."""
    table = SortedKeys(3 * np.arange(size))
    for shift in (-1, 0, 1):
        bounds = np.resize(3 * np.arange(size + 1) + shift, (max(size + 1, _FEW), 1))
        assert table.below(bounds).tolist() == np.searchsorted(3 * np.arange(size), bounds).tolist()
