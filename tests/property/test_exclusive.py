"""Exclusive draws: one anchor of each lineage, chosen as if each were looked at by hand."""

from __future__ import annotations

import warnings
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dynaclr.cascade.composition import Role
from dynaclr.cascade.distinct import Batch, Values, _occurrence, evenly, first_new
from dynaclr.cascade.exclusive import _draw_new, _Queue
from dynaclr.errors import RepeatedAnchorsWarning
from dynaclr.randomness import generator
from dynaclr.sampler import FlexibleBatchSampler

_CODES = st.lists(st.integers(0, 4), min_size=1, max_size=12)


def make_sampler(lineages: dict[str, list[int]], hpi: dict[str, list[float]], size: int, **options: Any) -> Any:
    """Return a sampler of one experiment whose batches hold each lineage once, and its table."""
    rows = [
        (condition, lineage, hour)
        for condition, each in lineages.items()
        for lineage, hour in zip(each, hpi[condition], strict=True)
    ]
    table = pd.DataFrame(rows, columns=["condition", "lineage_id", "hours_post_infection"]).assign(experiment="a")
    return FlexibleBatchSampler(table, size, exclusive_by="lineage_id", **options), table


def test_passes_of_epochs_rounds_and_conditions_differ() -> None:
    """Each is a shuffle of its own."""
    lineages = {"x": list(range(30)), "y": list(range(30, 60))}
    sampler, table = make_sampler(lineages, {"x": [0.0] * 30, "y": [0.0] * 30}, 10)
    orders = []
    for epoch in (0, 1):
        for round_ in (0, 1):
            drawn = np.concatenate([sampler.batch(6 * round_ + number, epoch) for number in range(6)])
            # In the order of the batches, whatever the order within one.
            batches = drawn.reshape(6, 10)
            for condition in ("x", "y"):
                own = [sorted(one for one in batch if table["condition"][one] == condition) for batch in batches]
                orders.append(tuple(one % 30 for batch in own for one in batch))
    assert all(sorted(order) == list(range(30)) for order in orders)
    assert len(set(orders)) == 8


def test_passes_over_a_small_condition_differ() -> None:
    """An epoch goes through it five times, each time in another order."""
    lineages = {"small": list(range(20)), "large": list(range(20, 200))}
    sampler, table = make_sampler(lineages, {"small": [0.0] * 20, "large": [0.0] * 180}, 20)
    own = [frozenset(one for one in batch if table["condition"][one] == "small") for batch in sampler]
    assert [len(each) for each in own] == [10] * 10
    assert all(len(own[at] | own[at + 1]) == 20 for at in range(0, 10, 2))
    assert len(set(own)) == 10


def test_focal_anchors_are_of_the_whole_window() -> None:
    """Not only the nearest of them, where all are within it."""
    hpi = {"x": [5.0, 5.5] * 40}
    sampler, _ = make_sampler({"x": list(range(80))}, hpi, 10, temporal_enrichment=True, temporal_window_hours=1.0)
    far = 0
    for number in range(8):
        batch = sampler.explain(number)
        focal = batch[batch["time"] == "focal"]
        assert len(focal) == 7
        far += int((focal["hpi"] != batch.attrs["focal_hpi"]).sum())
    assert 0 < far < 56  # of 56 about half; all or none: 2 * 0.5 ** 56 < 1e-16


@given(hours=st.lists(st.integers(0, 12), min_size=10, max_size=20), shared=st.integers(1, 3), seed=st.integers(0, 99))
@example(hours=list(range(20)), shared=1, seed=0)
@example(hours=list(range(20)), shared=2, seed=0)
def test_windows_are_widened_to_the_nearest_new_lineages(hours: list[int], shared: int, seed: int) -> None:
    """Whoever is nearer to the focal time than one that was taken, and was not, has a lineage that was."""
    lineages = [at // shared for at in range(len(hours))]
    size = min(6, len(set(lineages)))
    times = {"x": [float(hour) for hour in hours]}
    options = {"temporal_enrichment": True, "temporal_window_hours": 0.0, "temporal_global_fraction": 0.0}
    sampler, table = make_sampler({"x": lineages}, times, size, seed=seed, **options)
    batch = sampler.explain(0)
    away = (table["hours_post_infection"] - batch.attrs["focal_hpi"]).abs()
    taken = batch["anchor"].tolist()
    assert len({lineages[one] for one in taken}) == size
    for one in taken:
        nearer = [other for other in away.index if away[other] < away[one]]
        held = {lineages[other] for other in taken if away[other] < away[one]}
        assert {lineages[other] for other in nearer} <= held


@pytest.mark.parametrize("global_fraction", [None, 0.0, 0.3])
def test_the_condition_with_least_to_spare_chooses_first(global_fraction: float | None) -> None:
    """Six of its six lineages; some of them live in the other one too, which needs two of five."""
    lineages = {"tight": list(range(6)) * 6, "spare": [0, 1, 2, 6, 7] * 8}
    hpi = {"tight": [0.0] * 36, "spare": [0.0] * 40}
    options: dict[str, Any] = {"condition_ratio": {"tight": 3, "spare": 1}}
    if global_fraction is not None:
        options |= {"temporal_enrichment": True, "temporal_global_fraction": global_fraction}
    sampler, table = make_sampler(lineages, hpi, 8, **options)
    for batch in sampler:
        held = {name: list(each) for name, each in table.loc[batch].groupby("condition")["lineage_id"]}
        assert sorted(held["tight"]) == list(range(6))
        # All focal anchors are chosen before the others, so that there the two may meet.
        assert global_fraction == 0.3 or sorted(held["spare"]) == [6, 7]


@pytest.mark.parametrize("enrichment", [False, True])
def test_too_few_lineages_come_up_evenly(enrichment: bool) -> None:
    """Four of twelve: each three times, by three different anchors."""
    hpi = {"x": [0.0] * 40}
    sampler, table = make_sampler({"x": list(range(4)) * 10}, hpi, 12, temporal_enrichment=enrichment)
    for batch in sampler:
        assert len(set(batch)) == 12
        assert Counter(table["lineage_id"][batch]) == {0: 3, 1: 3, 2: 3, 3: 3}


def test_lineages_that_two_conditions_share_run_out() -> None:
    """Enough for each, too few for both: the second repeats lineages as evenly as it can, and no anchor."""
    hpi = {"x": [0.0] * 40, "y": [0.0] * 40}
    sampler, table = make_sampler({"x": list(range(4)) * 10, "y": list(range(4)) * 10}, hpi, 8)
    for batch in sampler:
        assert len(set(batch)) == 8
        assert Counter(table["condition"][batch]) == {"x": 4, "y": 4}
        assert Counter(table["lineage_id"][batch]) == {0: 2, 1: 2, 2: 2, 3: 2}


def make_widened(y: list[int]) -> Any:
    """Return a sampler whose windows hold one anchor of each condition, and its table; x has four lineages in turn."""
    hours = [float(hour) for hour in range(len(y))]
    lineages = {"x": [hour % 4 for hour in range(len(y))], "y": y}
    options = {"temporal_enrichment": True, "temporal_window_hours": 0.0, "temporal_global_fraction": 0.0}
    return make_sampler(lineages, {"x": hours, "y": hours}, 8, **options)


def test_windows_are_widened_until_there_are_new_lineages() -> None:
    """However far they are; the condition with fewer to spare has taken the others."""
    sampler, table = make_widened([hour % 4 for hour in range(36)] + [4, 5, 6, 7])
    for batch in sampler:
        assert Counter(table["condition"][batch]) == {"x": 4, "y": 4}
        assert table["lineage_id"][batch].is_unique


def test_windows_are_widened_to_the_nearest_where_lineages_run_out() -> None:
    """The condition that finds no new lineage repeats those of the other one."""
    sampler, table = make_widened([hour % 4 for hour in range(40)])
    for number in range(len(sampler)):
        batch = sampler.explain(number)
        away = (table["hours_post_infection"] - batch.attrs["focal_hpi"]).abs()
        assert batch["anchor"].is_unique
        for name, taken in batch.groupby("condition")["anchor"]:
            assert sorted(away[taken]) == sorted(away[table["condition"] == name])[:4]


def test_windows_are_widened_to_the_nearest_of_many_that_others_hold() -> None:
    """Twelve lineages, all of which the larger condition holds: the smaller one takes the nearest four anchors."""
    hours = [float(hour) for hour in range(48)]
    lineages = [hour % 12 for hour in range(48)]
    options = {"temporal_enrichment": True, "temporal_window_hours": 0.0, "temporal_global_fraction": 0.0}
    ratio = {"condition_ratio": {"x": 3, "y": 1}}
    sampler, table = make_sampler({"x": lineages, "y": lineages}, {"x": hours, "y": hours}, 16, **options, **ratio)
    for number in range(len(sampler)):
        batch = sampler.explain(number)
        away = (table["hours_post_infection"] - batch.attrs["focal_hpi"]).abs()
        taken = batch["anchor"][batch["condition"] == "y"]
        assert sorted(away[taken]) == sorted(away[table["condition"] == "y"])[:4]


def test_what_is_new_and_what_is_not_make_up_the_number() -> None:
    """One lineage is new to the batch, wherever it is; beside it come three of those that the other condition holds."""
    sampler, table = make_widened([hour % 4 for hour in range(39)] + [4])
    for batch in sampler:
        assert len(set(batch)) == 8
        assert Counter(table["condition"][batch]) == {"x": 4, "y": 4}
        assert 39 + 40 in batch
        assert table["lineage_id"][[one for one in batch if one >= 40]].is_unique


def test_a_condition_that_repeats_lineages_takes_no_more_than_its_share() -> None:
    """Beside one that is new to the batch; the condition that chooses after it has its own number."""
    hours = [float(hour) for hour in range(40)]
    lineages = {"x": [hour % 4 for hour in range(40)], "y": [hour % 4 for hour in range(39)] + [4]}
    lineages["z"] = [10 + hour % 10 for hour in range(40)]
    options = {"temporal_enrichment": True, "temporal_window_hours": 0.0, "temporal_global_fraction": 0.0}
    sampler, table = make_sampler(lineages, dict.fromkeys(lineages, hours), 12, **options)
    for batch in sampler:
        assert Counter(table["condition"][batch]) == {"x": 4, "y": 4, "z": 4}


def test_too_few_lineages_are_taken_where_they_are_nearest() -> None:
    """Four of eight, of which one lineage or two live near the focal time: that comes first, and no anchor twice."""
    hours = [float(hour) for hour in range(40)]
    options = {"temporal_enrichment": True, "temporal_window_hours": 0.0, "temporal_global_fraction": 0.0}
    sampler, table = make_sampler({"x": [hour // 10 for hour in range(40)]}, {"x": hours}, 8, **options)
    for number in range(len(sampler)):
        batch = sampler.explain(number)
        away = (table["hours_post_infection"] - batch.attrs["focal_hpi"]).abs()
        assert batch["anchor"].is_unique
        assert sorted(away[batch["anchor"]]) == sorted(away)[:8]


def test_global_anchors_of_too_few_lineages_are_not_the_focal_ones() -> None:
    """Eight of twelve anchors of four lineages, half of them focal, in either condition."""
    lineages = [0, 1, 2, 3] * 3
    options = {"temporal_enrichment": True, "temporal_global_fraction": 0.5}
    hpi = {"x": [0.0] * 12, "y": [0.0] * 12}
    sampler, _ = make_sampler({"x": lineages, "y": [4 + one for one in lineages]}, hpi, 16, **options)
    for number in range(20):
        assert len(set(sampler.batch(number))) == 16


def test_global_anchors_do_not_follow_the_focal_ones() -> None:
    """Each is drawn on its own, the one from its window, the other from its condition."""
    hpi = {"x": [0.0] * 32 + [10.0] * 32}
    options = {"temporal_enrichment": True, "temporal_window_hours": 1.0, "temporal_global_fraction": 0.5}
    sampler, _ = make_sampler({"x": list(range(64))}, hpi, 2, **options)
    alike = 0
    for number in range(200):
        batch = sampler.explain(number).set_index("time")["anchor"]
        alike += batch["focal"] % 32 == batch["global"] // 2
    assert alike < 50  # one in 32 of 200: at least 50 has a probability below 1e-27


def test_what_repeats_for_want_of_anchors_differs_from_batch_to_batch() -> None:
    """And from condition to condition: of ten anchors of each, fourteen, so four of them twice."""
    options = {"temporal_enrichment": True, "temporal_global_fraction": 0.5}
    hpi = {"x": [0.0] * 10, "y": [0.0] * 10}
    lineages = {"x": list(range(10)), "y": list(range(10, 20))}
    with pytest.warns(RepeatedAnchorsWarning):
        sampler, _ = make_sampler(lineages, hpi, 28, drop_last=False, **options)
    twice = []
    for number in range(20):
        times = Counter(sampler.batch(number))
        assert set(times) == set(range(20))
        again = frozenset(one for one, count in times.items() if count == 2)
        twice.append((again & set(range(10)), frozenset(one - 10 for one in again - set(range(10)))))
    assert all(len(one) == len(other) == 4 for one, other in twice)
    # Of 210 sets of four: that ten of 20 are one and the same has a probability below 1e-17.
    assert all(len({pair[at] for pair in twice}) > 10 for at in (0, 1))
    assert sum(one == other for one, other in twice) < 10


@pytest.mark.parametrize("small", ["a", "z"])
def test_leaked_anchors_of_few_lineages_come_up_evenly(small: str) -> None:
    """Nine of thirty anchors of three lineages: three of each, and others in each batch; all come up."""
    large = {"a": "z", "z": "a"}[small]
    rows = [(small, at % 3) for at in range(30)] + [(large, 3 + at) for at in range(60)]
    table = pd.DataFrame(rows, columns=["experiment", "lineage_id"]).assign(condition="x")
    sampler = FlexibleBatchSampler(table, 20, exclusive_by="lineage_id", leaky=0.45)
    leaks = []
    for number in range(200):
        batch = sampler.explain(number)
        assert len(batch) == 20
        leaked = batch["anchor"][batch["source"] == "leaked"]
        if small not in set(batch["experiment"][leaked.index]):
            continue
        assert leaked.is_unique
        assert Counter(table["lineage_id"][leaked]) == {0: 3, 1: 3, 2: 3}
        leaks.append(frozenset(leaked))
    assert len(leaks) > 100
    assert len(set(leaks)) > 90  # of 120 ** 3, a subset of 3 in 10 for each lineage
    assert frozenset[int]().union(*leaks) == set(range(30))  # one is missing with a probability below 30 * 0.7 ** 100


@given(
    apart=st.integers(0, 12),
    copies=st.lists(st.integers(1, 3), min_size=12, max_size=12),
    enrichment=st.booleans(),
    seed=st.integers(0, 99),
)
def test_leaked_anchors_bring_no_value_that_the_batch_holds(
    apart: int, copies: list[int], enrichment: bool, seed: int
) -> None:
    """Experiments may have values in common, such as donors: twelve are enough for four anchors and four leaked."""
    rows = [
        (name, first + at, float(at % 4))
        for name, first in (("a", 0), ("z", apart))
        for at, count in enumerate(copies)
        for _ in range(count)
    ]
    table = pd.DataFrame(rows, columns=["experiment", "donor", "hours_post_infection"]).assign(condition="x")
    sampler = FlexibleBatchSampler(table, 8, exclusive_by="donor", leaky=0.5, temporal_enrichment=enrichment, seed=seed)
    for batch in sampler:
        assert table["donor"][batch].is_unique


@pytest.mark.parametrize("exclusive_by", [None, "lineage_id"])
def test_leaked_anchors_differ_from_batch_to_batch(exclusive_by: str | None) -> None:
    """Where there are new lineages enough, and without exclusivity, too."""
    rows = [("a", at) for at in range(60)] + [("z", 60 + at) for at in range(60)]
    table = pd.DataFrame(rows, columns=["experiment", "lineage_id"]).assign(condition="x")
    sampler = FlexibleBatchSampler(table, 10, exclusive_by=exclusive_by, leaky=0.4)
    batches = [sampler.explain(number) for number in range(20)]
    leaks = {frozenset(batch["anchor"][batch["source"] == "leaked"]) for batch in batches}
    assert len(leaks) > 15  # of half a million sets of 4


@given(codes=_CODES, apart=st.sampled_from((1, 2**16)), data=st.data())
def test_candidates_are_compared_with_all_before_them(codes: list[int], apart: int, data: st.DataObject) -> None:
    """In the stratum and in the batch, however far apart codes are; what other batches hold does not count."""
    codes = [code * apart for code in codes]
    values = Values(np.array(codes))
    places = st.lists(st.integers(0, len(codes) - 1), max_size=8)
    for _ in range(2):
        batch, held = Batch(values), []
        for role in Role:
            added = data.draw(places)
            batch.add(np.array(added, dtype=np.int64), role)
            held += added
        own, candidates = data.draw(places), data.draw(places)
        count = data.draw(st.integers(0, len(candidates)))
        tried = np.array(candidates, dtype=np.int64)
        values_of = [codes[place] for place in candidates]
        in_stratum, in_batch = (
            [([codes[other] for other in some] + values_of[:at]).count(value) for at, value in enumerate(values_of)]
            for some in (own, held)
        )
        found = batch.before(tried, np.array(own, dtype=np.int64))
        assert [times.tolist() for times in found] == [in_stratum, in_batch]
        assert batch.is_new(tried).tolist() == [times == 0 for times in in_batch]
        new = [place for place, times in zip(candidates, in_batch, strict=True) if times == 0]
        assert first_new(batch, tried, count).tolist() == new[:count]
        even = sorted(range(len(candidates)), key=lambda at: (in_stratum[at], in_batch[at]))[:count]
        chosen = evenly(batch, tried, count, np.array(own, dtype=np.int64))
        assert chosen.tolist() == [candidates[at] for at in even]


@given(
    codes=st.lists(st.integers(0, 30), min_size=1, max_size=60),
    held=st.sets(st.integers(0, 59)),
    window=st.tuples(st.integers(0, 60), st.integers(0, 60)),
    gap=st.tuples(st.integers(0, 10), st.integers(0, 10)),
    count=st.integers(0, 12),
    seed=st.integers(0, 99),
)
# Two values that a handful of tries miss.
@example(codes=[0] * 498 + [1, 2], held=set(), window=(0, 500), gap=(0, 0), count=2, seed=0)
@example(codes=[0] * 498 + [1, 2], held=set(), window=(0, 500), gap=(0, 0), count=3, seed=1)
# All there are, up to the gap and behind it.
@example(codes=list(range(10)), held=set(), window=(0, 10), gap=(3, 2), count=8, seed=0)
def test_as_many_new_values_are_drawn_as_there_are(
    codes: list[int], held: set[int], window: tuple[int, int], gap: tuple[int, int], count: int, seed: int
) -> None:
    """From a run of places without its gap; each value once, and none that the batch holds."""
    low, high = sorted(min(end, len(codes)) for end in window)
    begin, length = min(gap[0], high - low), min(gap[1], max(0, high - low - gap[0]))
    values = Values(np.array(codes))
    batch, elsewhere = Batch(values), [place for place in sorted(held) if place < len(codes)]
    batch.add(np.array(elsewhere, dtype=np.int64), Role.PRIMARY)
    address = (seed, 0, "test", 0)
    found = _draw_new(batch, low, high - low - length, count, address, gap=(begin, length)).tolist()
    allowed = {*range(low, high)} - {*range(low + begin, low + begin + length)}
    new = {codes[place] for place in allowed} - {codes[place] for place in elsewhere}
    assert set(found) <= allowed
    assert len({codes[place] for place in found} & new) == len(found) == min(count, len(new))


@pytest.mark.parametrize("apart", [1, 2**16 - 1, 2**16, 2**16 + 1, 2**17, 2**40])
def test_equal_codes_are_counted(apart: int) -> None:
    """Also where they are further apart than sixteen bits."""
    codes = np.array([0, 1, 0, 0, 1, 2, 1, 0]) * apart
    assert _occurrence(codes).tolist() == [0, 0, 1, 2, 1, 0, 2, 3]
    assert _occurrence(codes[[0, 1, 2, 1]]).tolist() == [0, 0, 1, 1]


class _NaiveQueue:
    """What waits to be drawn, as a list of places and passes that is looked through from its beginning."""

    def __init__(self, begin: int, codes: list[int]) -> None:
        self.begin, self.codes, self.waiting, self.passes = begin, codes, list[tuple[int, int]](), 0

    def take(self, held: list[int], count: int, crowded: bool) -> list[int]:
        """Remove and return places; ``held`` are the values that the batch holds."""
        everything = range(self.begin, self.begin + len(self.codes))
        copies, count = [*everything] * (count // len(everything)), count % len(everything)
        while True:
            first = [(place, turn) for at, (place, turn) in enumerate(self.waiting) if place not in self._before(at)]
            values = [self.codes[place - self.begin] for place, _ in first]
            times = [values[:at].count(value) for at, value in enumerate(values)]
            in_batch = [times[at] + held.count(value) for at, value in enumerate(values)]
            complete = len(first) == len(everything)
            if not crowded:
                chosen = [at for at, number in enumerate(in_batch) if number == 0][:count]
            else:
                chosen = sorted(range(len(first)), key=lambda at: (times[at], in_batch[at]))[:count] if complete else []
            if len(chosen) == count:
                break
            if complete:
                crowded = True
            else:
                self._add_pass()
        taken = [first[at] for at in chosen]
        self.waiting = [entry for entry in self.waiting if entry not in taken]
        return copies + [place for place, _ in taken]

    def _before(self, at: int) -> set[int]:
        return {place for place, _ in self.waiting[:at]}

    def _add_pass(self) -> None:
        order = generator(7, 0, "pass", 0, 0, self.passes).permutation(len(self.codes)) + self.begin
        late = {place for place, turn in self.waiting if turn < self.passes - 1}
        self.waiting += [(place, self.passes) for place in order.tolist() if place not in late]
        self.passes += 1


_TAKES = st.lists(st.tuples(st.integers(0, 14), st.booleans(), st.sets(st.integers(0, 5))), min_size=1, max_size=25)


@given(begin=st.integers(0, 3), codes=st.lists(st.integers(0, 4), min_size=1, max_size=12), takes=_TAKES)
@example(begin=0, codes=[0, 1, 2], takes=[(1, True, {at}) for at in (0, 1, 2, 2, 1, 0, 0, 1, 2)])
@example(begin=1, codes=[0] * 38 + [1, 2], takes=[(2, False, {0}), (1, False, {3}), (2, False, {0})])
@example(
    begin=0, codes=[0] * 33 + [1, 2], takes=[(2, False, set()), (3, False, {1, 2}), (3, False, {4}), (2, False, {4})]
)
def test_a_queue_is_looked_through_from_its_beginning(
    begin: int, codes: list[int], takes: list[tuple[int, bool, set[int]]]
) -> None:
    """Whatever part of it is looked at, and whatever values the batch holds from elsewhere."""
    strata = SimpleNamespace(start=np.array([begin, begin + len(codes)]))
    queue = _Queue(SimpleNamespace(strata=strata, seed=7), 0, 0, 0)  # type: ignore[arg-type]  # all that is read
    naive = _NaiveQueue(begin, codes)
    elsewhere = begin + len(codes)  # one place of each value
    values = Values(np.array([0] * begin + codes + [*range(6)]))
    for count, crowded, held in takes:
        batch = Batch(values)
        batch.add(elsewhere + np.array(sorted(held), dtype=np.int64), Role.PRIMARY)
        assert queue.take(batch, count, crowded).tolist() == naive.take(sorted(held), count, crowded)


@given(
    rows=st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.integers(0, 5), st.integers(0, 6)),
        min_size=8,
        max_size=40,
    ),
    size=st.integers(2, 8),
    leaky=st.sampled_from([0.0, 0.4]),
    enrichment=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_condition_with_enough_values_repeats_none(
    rows: list[tuple[str, str, int, int]], size: int, leaky: float, enrichment: bool, seed: int
) -> None:
    """Though other conditions hold the same ones: those are avoided as far as that goes, its own always."""
    table = pd.DataFrame(rows, columns=["experiment", "condition", "value", "hours_post_infection"])
    options = {"leaky": leaky, "temporal_enrichment": enrichment, "temporal_window_hours": 1.0, "seed": seed}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RepeatedAnchorsWarning)
        sampler = FlexibleBatchSampler(table, size, exclusive_by="value", **options)
    for number in range(len(sampler)):
        batch = sampler.explain(number)
        for (experiment, condition), drawn in batch[batch["source"] == "primary"].groupby(["experiment", "condition"]):
            pool = table[(table["experiment"] == experiment) & (table["condition"] == condition)]
            assert pool["value"].nunique() < len(drawn) or table["value"][drawn["anchor"]].is_unique
        own = set(batch["experiment"][batch["source"] == "primary"])
        leaked = batch["anchor"][batch["source"] == "leaked"]
        pool = table[~table["experiment"].isin(own)]
        assert pool["value"].nunique() < len(leaked) or table["value"][leaked].is_unique
