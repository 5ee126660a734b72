"""Draws for many keys at once are those that a loop over one key after the other makes."""

from __future__ import annotations

from itertools import chain

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dynaclr.cascade.draws import balanced, distinct, runs, skipping, spread
from dynaclr.randomness import below, keys, lanes

_SIZES = st.integers(0, 40)
_SEEDS = st.integers(0, 2**32)
_ASKED = st.lists(_SIZES.flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size))), max_size=30)


def _one_by_one(size: int, number: int, key: np.uint64) -> list[int]:
    """Look at one member of the key's sequence after the other until enough are different."""
    picked = size - number if 2 * number > size else number
    members = iter(below(lanes(np.full(1000, key), np.arange(1000)), size).tolist())
    seen: set[int] = set()
    while len(seen) < picked:
        seen.add(next(members))
    return sorted(set(range(size)) - seen if 2 * number > size else seen)


@given(asked=_ASKED, seed=_SEEDS)
def test_distinct_numbers_are_the_first_different_of_each_sequence(asked: list[tuple[int, int]], seed: int) -> None:
    """However they lie beside each other, and however far along its sequence an unlucky draw has to look."""
    size, number = np.array(asked, dtype=np.int64).reshape(-1, 2).T
    key = keys(seed, 0, "test", np.arange(len(asked)))
    expected = [_one_by_one(*one) for one in zip(size.tolist(), number.tolist(), key, strict=True)]
    assert distinct(size, number, key).tolist() == list(chain.from_iterable(expected))


def test_unlucky_draws_keep_their_places() -> None:
    """Of so many draws some see too few different numbers at first; they stand among the others all the same."""
    size, number = np.full(3000, 80), np.full(3000, 40)
    key = keys(0, 0, "test", np.arange(3000))
    expected = [_one_by_one(80, 40, one) for one in key]
    assert distinct(size, number, key).reshape(3000, 40).tolist() == expected


@given(asked=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 30)), max_size=12), seed=_SEEDS)
def test_balanced_draws_take_each_number_as_often_as_any_other(asked: list[tuple[int, int]], seed: int) -> None:
    """Or once more, where what is asked for is no multiple."""
    size, number = np.array(asked, dtype=np.int64).reshape(-1, 2).T
    run, value = balanced(size, number, keys(seed, 0, "test", np.arange(len(asked))))
    assert run.tolist() == np.repeat(np.arange(len(asked)), number).tolist()
    for one, (of, wanted) in enumerate(asked):
        times = np.bincount(value[run == one], minlength=of)
        assert len(times) == of
        assert set(times.tolist()) <= {wanted // of, -(-wanted // of)}


@given(lists=st.lists(st.sets(st.integers(0, 12)).map(sorted), max_size=8), data=st.data())
def test_skipping_counts_only_what_is_left(lists: list[list[int]], data: st.DataObject) -> None:
    """Rank r is the r-th number of those that are not taken."""
    asked = [data.draw(st.lists(st.integers(0, 15), max_size=4)) for _ in lists]
    run, taken = (np.array([x[i] for x in _numbered(lists)], dtype=np.int64) for i in (0, 1))
    rank_run, rank = (np.array([x[i] for x in _numbered(asked)], dtype=np.int64) for i in (0, 1))
    left = [[number for number in range(40) if number not in set(gone)] for gone in lists]
    expected = [left[one][which] for one, which in _numbered(asked)]
    assert skipping(rank, rank_run, taken, run, len(lists)).tolist() == expected


def test_a_rank_beyond_a_power_of_two_stays_in_its_run() -> None:
    """The largest rank needs a bit more than the one before it."""
    rank, rank_run, taken, taken_run = (np.array(values) for values in ([8], [0], [0, 0], [0, 1]))
    assert skipping(rank, rank_run, taken, taken_run, 2).tolist() == [9]


@given(parts=st.lists(st.tuples(st.integers(-5, 50), st.integers(0, 6)), max_size=8))
def test_runs_lie_behind_each_other(parts: list[tuple[int, int]]) -> None:
    """Runs from a beginning, and the run and place of each of their elements."""
    begin, length = np.array(parts, dtype=np.int64).reshape(-1, 2).T
    assert runs(begin, length).tolist() == [first + place for first, long in parts for place in range(long)]
    run, place = spread(length)
    assert list(zip(run.tolist(), place.tolist(), strict=True)) == [
        (one, place) for one, (_, long) in enumerate(parts) for place in range(long)
    ]


def _numbered(lists: list[list[int]]) -> list[tuple[int, int]]:
    return [(one, number) for one, numbers in enumerate(lists) for number in numbers]
