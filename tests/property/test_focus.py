"""Anchors near a focal HPI are those that looking at every anchor finds, also where windows are too small."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_strata import timed_strata

from dynaclr.cascade import focus as module
from dynaclr.cascade.axes import TimeAxis
from dynaclr.cascade.focus import Focus
from dynaclr.cascade.quotas import Shares
from dynaclr.cascade.strata import Strata
from dynaclr.randomness import keys

# Frames of 20 minutes from 2 h on: as floats, two frames at either side of one are not equally far from it.
_HOURS = [2 + frame / 3 for frame in (-1, 0, 1, 2, 3, 4, 6, 9)]
_STRATUM = st.lists(st.sampled_from(_HOURS), min_size=1, max_size=8)
_GROUPS = st.lists(st.lists(_STRATUM, min_size=1, max_size=3), min_size=1, max_size=2)
_WINDOWS = st.sampled_from([0, 1, 3])  # in frames


def frames(hours: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return which frames these hours are of."""
    return np.rint((hours - 2) * 3).astype(int)


def distances(strata: Strata, stratum: int, focal: int) -> dict[int, int]:
    """Return how far each place of a stratum is from a focal HPI, in frames."""
    places = np.arange(*strata.start[stratum : stratum + 2])
    far = np.abs(frames(strata.times_at(places)) - frames(strata.values[focal]))
    return dict(zip(places.tolist(), far.tolist(), strict=True))


def farthest(away: dict[int, int], count: int) -> int:
    """Return how far away the last of the nearest is."""
    return sorted(away.values())[count - 1]


@given(times=_GROUPS, window=_WINDOWS, data=st.data())
def test_the_nearest_are_those_of_a_sort(times: list[list[list[float]]], window: int, data: st.DataObject) -> None:
    """With all that tie with the farthest of them, and at the least what the window holds."""
    strata = timed_strata(times)
    focus = Focus(strata, TimeAxis(window / 3))
    for stratum, size in enumerate(np.diff(strata.start).tolist()):
        focal, count = data.draw(st.integers(0, len(strata.values) - 1)), data.draw(st.integers(1, size))
        away = distances(strata, stratum, focal)
        limit = farthest(away, max(count, sum(far <= window for far in away.values())))
        found = focus.nearest(stratum, count, focal).tolist()
        assert sorted(found) == [place for place, far in away.items() if far <= limit]


@given(times=_GROUPS, data=st.data())
def test_ranks_are_those_of_the_distances(times: list[list[list[float]]], data: st.DataObject) -> None:
    """In frames, whose ties rounding does not break."""
    strata = timed_strata(times)
    for stratum in range(len(strata.start) - 1):
        focal = data.draw(st.integers(0, len(strata.values) - 1))
        away = distances(strata, stratum, focal)
        ranks = Focus(strata, TimeAxis(0.0)).ranks(np.array([*away]), focal)
        assert ranks.dtype == np.int64
        order = sorted(set(away.values()))
        assert [rank - 1 for rank in ranks] == [order.index(far) for far in away.values()]


@given(times=_GROUPS, window=_WINDOWS, seed=st.integers(0, 99), data=st.data())
def test_draws_are_near(times: list[list[list[float]]], window: int, seed: int, data: st.DataObject) -> None:
    """From the window; where that holds too few all that are nearer than the farthest needed, and some of those."""
    strata = timed_strata(times)
    sizes = np.diff(strata.start).tolist()
    asked = data.draw(st.lists(st.integers(0, len(sizes) - 1), min_size=1, max_size=6))
    counts = [data.draw(st.integers(0, sizes[stratum])) for stratum in asked]
    focal = [data.draw(st.integers(0, len(strata.values) - 1)) for _ in asked]
    key = keys(seed, 0, "test", np.arange(len(asked)))
    run, place = Focus(strata, TimeAxis(window / 3)).draw(*map(np.array, (asked, counts, focal)), key)
    assert run.tolist() == np.repeat(np.arange(len(asked)), counts).tolist()
    for one, (stratum, count) in enumerate(zip(asked, counts, strict=True)):
        drawn = place[run == one].tolist()
        away = distances(strata, stratum, focal[one])
        assert drawn == sorted(set(drawn))
        inside = {at for at, far in away.items() if far <= window}
        if count <= len(inside):
            assert set(drawn) <= inside
        else:
            limit = farthest(away, count)
            assert {at for at, far in away.items() if far < limit} <= set(drawn)
            assert all(away[at] <= limit for at in drawn)


def test_rounding_breaks_no_tie() -> None:
    """A frame before and one as far behind, of 20 minutes each: both are nearest, though floats differ in many."""
    told_apart = 0
    for frame in range(2, 30):
        for apart in (1, 2, 5):
            early, focal, late = (2 + (frame + offset) / 3 for offset in (-apart, 0, apart))
            told_apart += focal - early != late - focal
            for group in ([[early, late], [focal]], [[early] * 3 + [late] * 2, [focal]]):
                strata = timed_strata([group])
                focus, code = Focus(strata, TimeAxis(0.0)), int(np.searchsorted(strata.values, focal))
                assert sorted(focus.nearest(0, 1, code).tolist()) == [*range(len(group[0]))]
                assert len(set(focus.ranks(np.arange(len(group[0])), code).tolist())) == 1
    assert told_apart > 20


def test_rounding_is_that_of_the_times_and_of_their_distance() -> None:
    """Where one of them is all of the other, and where there is nothing to round."""
    after = float(np.nextafter(4.2, 5))  # 2.1 h behind 2.1 h, but for rounding
    strata = timed_strata([[[0.0, after], [2.1]]])
    focal = int(np.searchsorted(strata.values, 2.1))
    for window in (0.0, 2.1):
        focus = Focus(strata, TimeAxis(window))
        assert focus.ranks(np.arange(2), focal).tolist() == [1, 1]
        assert sorted(focus.nearest(0, 1, focal).tolist()) == [0, 1]
        assert focus.holds(np.arange(2), focal).tolist() == [bool(window)] * 2
    assert Focus(timed_strata([[[0.0] * 3]]), TimeAxis(0.0)).ranks(np.arange(3), 0).tolist() == [1, 1, 1]


def test_all_strata_times_and_numbers_of_one_table() -> None:
    """The nearest, and draws of as many, wherever the stratum lies among others."""
    strata = timed_strata([[[0.0, 1.0, 2.0, 5.0, 9.0], [1.0, 2.0, 2.0, 4.0, 5.0, 8.0]], [[0.0, 3.0, 4.0, 9.0], [4.0]]])
    focus = Focus(strata, TimeAxis(0.0))
    for stratum, size in enumerate(np.diff(strata.start).tolist()):
        places = np.arange(*strata.start[stratum : stratum + 2])
        for focal, hpi in enumerate(strata.values.tolist()):
            away = dict(zip(places.tolist(), np.abs(strata.times_at(places) - hpi).tolist(), strict=True))
            for count in range(1, size + 1):
                limit = sorted(away.values())[max(count, [*away.values()].count(0)) - 1]
                assert sorted(focus.nearest(stratum, count, focal)) == [at for at, far in away.items() if far <= limit]
                one = (np.array([number]) for number in (stratum, count, focal))
                drawn = focus.draw(*one, keys(0, 0, "test", np.array([count])))[1].tolist()
                assert len(set(drawn)) == count
                assert sorted(away[at] for at in drawn) == sorted(away.values())[:count]


def test_both_sides_of_a_tie_are_drawn() -> None:
    """Of three at one distance, two before and one after, each has its turn."""
    strata = timed_strata([[[0.0, 0.0, 1.0, 2.0]]])
    key = keys(0, 0, "test", np.arange(300))
    each = np.ones(300, dtype=np.int64)
    run, place = Focus(strata, TimeAxis(0.0)).draw(0 * each, 2 * each, each, key)
    assert run.tolist() == np.repeat(np.arange(300), 2).tolist()
    assert {tuple(pair) for pair in place.reshape(-1, 2).tolist()} == {(0, 2), (1, 2), (2, 3)}


def shares_of(batches: list[list[int]]) -> Shares:
    """Return shares of one anchor for each stratum of each batch."""
    rows = [(batch, stratum, 1, nth) for batch, strata in enumerate(batches) for nth, stratum in enumerate(strata)]
    return Shares(*np.array(rows, dtype=np.int64).reshape(-1, 4).T)


def chosen(focus: Focus, strata: Strata, batches: list[list[int]], seed: int = 0) -> list[float]:
    """Return the focal HPI of batches that ask for these strata."""
    group = strata.stratum_group[[asked[0] for asked in batches]]
    key = keys(seed, 0, "test", np.arange(len(batches)))
    return [float(value) for value in strata.values[focus.choose(group, shares_of(batches), key)]]


@given(times=_GROUPS, window=_WINDOWS, seed=st.integers(0, 99), data=st.data())
def test_a_focal_time_serves_every_condition(
    times: list[list[list[float]]], window: int, seed: int, data: st.DataObject
) -> None:
    """It is one of the experiment's, with an anchor of each condition in its window if there is such a time."""
    strata = timed_strata(times)
    groups = [np.flatnonzero(strata.stratum_group == group).tolist() for group in range(len(times))]
    one = st.sampled_from(groups).flatmap(lambda group: st.sets(st.sampled_from(group), min_size=1))
    batches = data.draw(st.lists(one.map(sorted), min_size=1, max_size=6))
    for asked, focal in zip(batches, chosen(Focus(strata, TimeAxis(window / 3)), strata, batches, seed), strict=True):
        own = {hpi for stratum in times[int(strata.stratum_group[asked[0]])] for hpi in stratum}
        first = [int(strata.start[stratum]) for stratum in asked]
        held = [strata.times_at(np.arange(at, strata.start[s + 1])) for at, s in zip(first, asked, strict=True)]
        near = [frames(stratum) for stratum in held]
        serving = {hpi for hpi in own if all((np.abs(one - frames(hpi)) <= window).any() for one in near)}
        assert focal in (serving or own)


def test_a_focal_time_is_one_of_the_experiments_own() -> None:
    """Although one of another experiment would serve."""
    strata = timed_strata([[[0.0, 1.0, 2.0, 3.0]], [[1.5, 2.5]]])
    found = chosen(Focus(strata, TimeAxis(1.0)), strata, [[0], [1]] * 200)
    assert set(found[::2]) == {0.0, 1.0, 2.0, 3.0}
    assert set(found[1::2]) == {1.5, 2.5}


def test_every_time_that_serves_is_chosen() -> None:
    """Also the few among many, which the first tries miss: three of forty here, in every second batch."""
    strata = timed_strata([[[float(hour) for hour in range(40)], [3.0, 20.0, 37.0]]])
    found = chosen(Focus(strata, TimeAxis(0.0)), strata, [[0, 1], [0]] * 1000)
    assert set(found[::2]) == {3.0, 20.0, 37.0}
    assert set(found[1::2]) == set(map(float, range(40)))  # P(one is missed) < 40 * exp(-1000 / 40) < 1e-9


@given(serving=st.lists(st.integers(0, 39), min_size=2, max_size=4))
def test_what_serves_one_experiment_is_not_remembered_of_another(serving: list[int]) -> None:
    """Experiments with the same conditions have times of their own, of which the first tries miss the one that serves.

    Condition 0 has anchors at 40 times and condition 1 at one of them, another one in each experiment.
    """
    strata = timed_strata([[[float(hour) for hour in range(40)], [float(only)]] for only in serving])
    batches = [[2 * group, 2 * group + 1] for group in range(len(serving))]
    found = chosen(Focus(strata, TimeAxis(0.0)), strata, batches * 5)
    assert found == [float(only) for only in serving] * 5


def test_few_enumerations_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A set of conditions that was forgotten is looked at again, with the same result."""
    monkeypatch.setattr(module, "_REMEMBERED", 2)
    strata = timed_strata([[[float(hour) for hour in range(40)], *([float(hour)] for hour in range(5))]])
    batches = [[0, 1 + number % 5] for number in range(50)]
    focus = Focus(strata, TimeAxis(0.0))
    assert chosen(focus, strata, batches) == [float(number % 5) for number in range(50)]
    assert len(focus._enumerated) == 2
