"""Who descends from whom, and who is a positive: arrays against walks over dictionaries."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynaclr.errors import DynaclrError
from dynaclr.lineage import FOUNDER, Descent, Forest, find_sorted, group_tracks, run_starts, tracks_on_cycles

# --- strategies and oracles --------------------------------------------------------------------------------


@st.composite
def forests(draw: st.DrawFn, max_tracks: int = 12) -> list[int]:
    """Parents of tracks without a cycle, in any order; shrinks to no track at all."""
    ages = draw(st.lists(st.integers(0, max_tracks), max_size=max_tracks))
    # Track i may descend from any older one: age a means parent a - 1, where that exists.
    older = [min(age, i) - 1 for i, age in enumerate(ages)]
    places = draw(st.permutations(range(len(older))))
    parent = [FOUNDER] * len(older)
    for i, mother in enumerate(older):
        parent[places[i]] = places[mother] if mother >= 0 else FOUNDER
    return parent


class Observation(NamedTuple):
    """One row of a table of observations."""

    fov: int
    track_id: int
    t: int
    parent: int


@st.composite
def observation_tables(draw: st.DrawFn) -> list[Observation]:
    """Rows of up to three FOVs with the same track ids, gaps, one-frame tracks and overlapping generations."""
    rows = []
    for fov in range(draw(st.integers(0, 3))):
        parent = draw(forests(max_tracks=6))
        ids = draw(st.permutations(range(len(parent))))
        for track, mother in enumerate(parent):
            frames = draw(st.sets(st.integers(0, 6), min_size=1, max_size=5))
            name = ids[mother] if mother >= 0 else draw(st.sampled_from([FOUNDER, ids[track], 99]))
            rows += [Observation(fov, ids[track], t, name) for t in frames]
    return draw(st.permutations(rows))


def ancestors(parent: list[int], track: int) -> list[int]:
    """Walk up from a track; itself first. A walk that goes in a circle ends where it began."""
    path = [track]
    while parent[path[-1]] >= 0 and parent[path[-1]] not in path:
        path.append(parent[path[-1]])
    return path


def line_of_descent(table: list[Observation], row: Observation) -> set[tuple[int, int]]:
    """Return the (FOV, track id) of a row's own track and of all its descendants, generation by generation."""
    family = {(row.fov, row.track_id)}
    while True:
        daughters = {(one.fov, one.track_id) for one in table if (one.fov, one.parent) in family}
        if daughters <= family:
            return family
        family |= daughters


def positives(table: list[Observation], row: int, tau: int) -> set[int]:
    """Return the rows on the line of descent of a row, tau frames later; at tau 0 the row itself alone."""
    if tau == 0:
        return {row}
    family = line_of_descent(table, table[row])
    wanted = table[row].t + tau
    return {i for i, one in enumerate(table) if one.t == wanted and (one.fov, one.track_id) in family}


def descent_of(table: list[Observation]) -> Descent:
    """Build the arrays from a table."""
    fov, track_id, t, parent = (np.array([getattr(row, name) for row in table], int) for name in Observation._fields)
    groups = group_tracks(fov, track_id, parent)
    return Descent.of_rows(fov, t, groups.track, Forest.from_parents(groups.parent))


# --- forests -----------------------------------------------------------------------------------------------


@given(forests())
def test_descendants_are_an_interval_of_preorder_numbers(parent: list[int]) -> None:
    """A track and its descendants have the preorder numbers from its own on, as many as the subtree is large."""
    forest = Forest.from_parents(parent)
    assert sorted(forest.preorder) == list(range(len(parent)))
    for track in range(len(parent)):
        first, size = forest.preorder[track], forest.subtree_size[track]
        inside = {int(i) for i in np.flatnonzero((forest.preorder >= first) & (forest.preorder < first + size))}
        assert inside == {i for i in range(len(parent)) if track in ancestors(parent, i)}


@given(forests())
def test_founder_is_the_last_ancestor(parent: list[int]) -> None:
    """The founder of a lineage is where the walk up ends."""
    forest = Forest.from_parents(parent)
    assert forest.founder.tolist() == [ancestors(parent, track)[-1] for track in range(len(parent))]


@given(forests(), st.data())
def test_latest_is_the_largest_value_of_the_subtree(parent: list[int], data: st.DataObject) -> None:
    """What `latest` gives a track is the largest value among itself and its descendants."""
    size = len(parent)
    values = data.draw(st.lists(st.integers(-3, 3), min_size=size, max_size=size), label="values")
    largest = Forest.from_parents(parent).latest(np.array(values, np.int64))
    for track in range(size):
        assert largest[track] == max(values[i] for i in range(size) if track in ancestors(parent, i))


@given(st.lists(st.integers(-1, 7), max_size=8))
def test_cycles_are_found_exactly(parent: list[int]) -> None:
    """A track is on a cycle if the walk up from it comes back to it, and the forest is refused just then."""
    parent = [mother if mother < len(parent) else FOUNDER for mother in parent]
    circular = []
    for track in range(len(parent)):
        step = parent[track]
        for _ in parent:
            step = parent[step] if step >= 0 and step != track else step
        if step == track:
            circular.append(track)
    assert tracks_on_cycles(parent).tolist() == circular
    if circular:
        with pytest.raises(DynaclrError, match="goes in a circle at"):
            Forest.from_parents(parent)
    else:
        assert Forest.from_parents(parent).preorder.size == len(parent)


def test_a_long_chain_is_one_line_of_descent() -> None:
    """Thousands of generations neither recurse nor overflow."""
    count = 3000
    forest = Forest.from_parents(np.arange(-1, count - 1))
    assert forest.preorder.tolist() == list(range(count))
    assert forest.subtree_size.tolist() == list(range(count, 0, -1))
    assert not forest.founder.any()


# --- tracks ------------------------------------------------------------------------------------------------


@given(observation_tables())
def test_tracks_are_grouped_by_fov_and_id(table: list[Observation]) -> None:
    """Rows share a track if they share FOV and id, and its parent is the track of the named id in the same FOV."""
    fov, track_id, _, parent = (np.array([getattr(row, name) for row in table], int) for name in Observation._fields)
    groups = group_tracks(fov, track_id, parent)
    known = sorted({(row.fov, row.track_id) for row in table})
    assert list(zip(groups.fov.tolist(), groups.track_id.tolist(), strict=True)) == known
    assert groups.num_tracks == len(known)
    for row, track in zip(table, groups.track, strict=True):
        assert known[track] == (row.fov, row.track_id)
        is_daughter = (row.fov, row.parent) in known and row.parent != row.track_id
        assert groups.parent[track] == (known.index((row.fov, row.parent)) if is_daughter else FOUNDER)


def test_huge_track_ids_do_not_overflow() -> None:
    """Ids near the end of int64 in a FOV with a large code are still told apart."""
    huge = 2**63 - 1
    groups = group_tracks([10**6, 10**6, 10**6], [huge, huge - 1, 0], [-1, huge, huge - 1])
    assert groups.track_id.tolist() == [0, huge - 1, huge]
    assert groups.parent.tolist() == [1, 2, FOUNDER]


@given(st.lists(st.integers(0, 5)), st.lists(st.integers(0, 5)))
def test_find_sorted_and_run_starts(keys: list[int], wanted: list[int]) -> None:
    """Membership in a sorted array is what Python says, and runs start where the value changes."""
    ordered = np.array(sorted(keys), np.int64)
    starts = run_starts(ordered)
    assert ordered[starts].tolist() == sorted(set(keys))
    if keys:
        position, is_known = find_sorted(ordered, np.array(wanted, np.int64))
        assert is_known.tolist() == [value in keys for value in wanted]
        assert ordered[position][is_known].tolist() == [value for value in wanted if value in keys]


# --- positives ---------------------------------------------------------------------------------------------


@given(observation_tables(), st.data())
def test_candidates_are_the_line_of_descent(table: list[Observation], data: st.DataObject) -> None:
    """The candidates of a row at tau are its own track and its descendants at t + tau, no sister and no cousin."""
    descent = descent_of(table)
    rows = np.arange(len(table))
    for tau in [*range(8), 10**6]:
        start, stop = descent.candidate_ranges(rows, np.full_like(rows, tau))
        for row in rows:
            found = descent.order[start[row] : stop[row]].tolist()
            assert len(set(found)) == len(found)
            assert set(found) == positives(table, int(row), tau), f"row {table[row]} at tau {tau}"
    if table:
        some = data.draw(st.lists(st.tuples(st.integers(0, len(table) - 1), st.integers(0, 7))), label="batch")
        batch, taus = (np.array([pair[i] for pair in some], int) for i in range(2))
        for row, tau, first, last in zip(batch, taus, *descent.candidate_ranges(batch, taus), strict=True):
            assert set(descent.order[first:last].tolist()) == positives(table, int(row), int(tau))


@given(observation_tables(), st.integers(0, 7), st.integers(0, 7))
def test_has_candidate_is_what_a_search_of_all_taus_finds(table: list[Observation], one: int, other: int) -> None:
    """A row has a candidate if some tau of the range has one, both ends included."""
    tau_min, tau_max = sorted([one, other])
    found = descent_of(table).has_candidate(tau_min, tau_max)
    taus = range(tau_min, tau_max + 1)
    assert found.tolist() == [any(positives(table, row, tau) for tau in taus) for row in range(len(table))]


@given(observation_tables(), st.data())
def test_has_candidate_takes_a_range_per_row(table: list[Observation], data: st.DataObject) -> None:
    """Rows of experiments with different ranges of tau do not share a range."""
    descent = descent_of(table)
    size = len(table)
    low = np.array(data.draw(st.lists(st.integers(0, 4), min_size=size, max_size=size), label="tau_min"), int)
    high = low + np.array(data.draw(st.lists(st.integers(0, 3), min_size=size, max_size=size), label="widths"), int)
    for row, found in enumerate(descent.has_candidate(low, high)):
        assert found == descent.has_candidate(low[row], high[row])[row]


@given(observation_tables(), st.sets(st.integers(0, 30)))
def test_tracks_without_rows_still_pass_descent_on(table: list[Observation], hidden: set[int]) -> None:
    """Rows dropped from a table (a cell that left the image) take no one else out of its line of descent."""
    fov, track_id, t, parent = (np.array([getattr(row, name) for row in table], int) for name in Observation._fields)
    groups = group_tracks(fov, track_id, parent)
    kept = np.array([i for i in range(len(table)) if i not in hidden], int)
    descent = Descent.of_rows(fov[kept], t[kept], groups.track[kept], Forest.from_parents(groups.parent))
    for tau in (1, 2, 3):
        start, stop = descent.candidate_ranges(np.arange(kept.size), tau)
        for row in range(kept.size):
            found = set(kept[descent.order[start[row] : stop[row]]].tolist())
            assert found == positives(table, int(kept[row]), tau) - hidden


def test_a_sister_is_no_positive() -> None:
    """The example of the specification: the mother's positives are both daughters, a daughter's only herself."""
    table = [Observation(0, 1, 0, -1)] + [Observation(0, daughter, t, 1) for daughter in (2, 3) for t in (1, 2)]
    descent = descent_of(table)
    start, stop = descent.candidate_ranges(np.array([0, 1]), np.array([1, 1]))
    assert sorted(descent.order[start[0] : stop[0]]) == [1, 3]
    assert descent.order[start[1] : stop[1]].tolist() == [2]


def test_frames_beyond_64_bits_are_refused() -> None:
    """A frame number that cannot be packed with the others into 64 bits is an error, not another row."""
    with pytest.raises(DynaclrError, match=r"t needs to be a frame number, got up to 4611686018427387904"):
        Descent.of_rows([0, 1], [0, 2**62], [0, 1], Forest.from_parents([-1, -1]))


def test_a_parent_of_another_fov_is_none() -> None:
    """An id that only the next FOV has, or the one before, makes a founder."""
    assert group_tracks([0, 1], [3, 5], [5, 3]).parent.tolist() == [FOUNDER, FOUNDER]
    assert group_tracks([0, 0, 1, 1], [3, 5, 3, 4], [-1, 3, 5, 3]).parent.tolist() == [FOUNDER, 0, FOUNDER, 2]


@pytest.mark.parametrize("parent", [[], [-1], [-1, 0, 0, 1]])
def test_numbers_of_tracks_and_rows_are_int64(parent: list[int]) -> None:
    """They are used as indices, whatever the platform's own integer is."""
    forest = Forest.from_parents(parent)
    rows = np.arange(len(parent))
    groups = group_tracks(np.zeros(len(parent)), rows, parent)
    descent = Descent.of_rows(np.zeros(len(parent)), rows, rows, forest)
    arrays = [forest.preorder, forest.subtree_size, forest.founder, forest.parent, *forest.generations]
    arrays += [groups.track, groups.fov, groups.track_id, groups.parent]
    arrays += [descent.order, descent.row_key, descent.t, descent.track, forest.latest(rows)]
    arrays += list(descent.candidate_ranges(rows, np.zeros(len(parent))))
    assert {array.dtype for array in arrays} == {np.dtype(np.int64)}
    assert descent.has_candidate(1, 2).dtype == bool


def test_elder_siblings_come_first() -> None:
    """In the order of their positions, however many they are: a draw by seed must not depend on how NumPy sorts."""
    mothers = np.random.default_rng(0).integers(0, 3, 300)
    preorder = Forest.from_parents([FOUNDER] * 3 + mothers.tolist()).preorder
    for mother in range(3):
        daughters = 3 + np.flatnonzero(mothers == mother)
        assert preorder[daughters].tolist() == (preorder[mother] + 1 + np.arange(daughters.size)).tolist()


def test_the_largest_number_that_rows_can_have() -> None:
    """2**63 - 1 is a multiple of 7: that many frames of one FOV with seven tracks can be numbered, one more cannot."""
    forest, frames = Forest.from_parents([FOUNDER] * 7), (2**63 - 1) // 7
    descent = Descent.of_rows([0, 0], [0, frames - 1], [0, 6], forest)
    assert descent.row_key.tolist() == [0, 2**63 - 2]
    assert [found.tolist() for found in descent.candidate_ranges([0, 1], [0, 0])] == [[0, 1], [1, 2]]
    with pytest.raises(DynaclrError, match=f"got up to {frames}: 1 FOVs of so many frames with 7 tracks"):
        Descent.of_rows([0, 0], [0, frames], [0, 6], forest)
