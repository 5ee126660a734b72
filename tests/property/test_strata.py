"""Sorted anchors are what sorting and counting row by row gives."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from made_strata import timed_strata

from dynaclr.cascade.strata import Labels, Strata, hours
from dynaclr.errors import DynaclrError

_ROWS = st.lists(
    st.tuples(st.sampled_from("cab"), st.integers(0, 3), st.sampled_from([0.5, -0.0, 0.0, 7.0])),
    min_size=1,
    max_size=30,
)


@given(rows=_ROWS, columns=st.permutations("xyz"), count=st.integers(1, 3), categorical=st.booleans())
def test_labels_are_numbered_in_their_order(
    rows: list[tuple[str, int, float]], columns: list[str], count: int, categorical: bool
) -> None:
    """Of one column or of several, however they come; of a categorical column without the labels of no row."""
    table = pd.DataFrame(rows, columns=["x", "y", "z"])
    held = table.astype({"x": pd.CategoricalDtype(["unused", "b", "c", "a"])}) if categorical else table
    labels = Labels.of(held, columns[:count], "group_by")
    seen = [tuple(row) if count > 1 else row[0] for row in table[columns[:count]].itertuples(index=False)]
    assert list(labels.names) == sorted(set(seen))
    assert [labels.names[code] for code in labels.codes] == seen
    assert labels.codes.dtype == np.uint8
    assert all(type(part) in (str, int, float) for name in labels.names for part in (name if count > 1 else (name,)))


def test_labels_of_mixed_types_have_an_order_too() -> None:
    """That of the types' names and of what is printed."""
    table = pd.DataFrame({"x": pd.Series(["b", 10, 9, "a", 2.5], dtype=object)})
    labels = Labels.of(table, ["x"], "group_by")
    assert labels.names == (2.5, 10, 9, "a", "b")
    assert [labels.names[code] for code in labels.codes] == table["x"].tolist()


def test_labels_of_many_rows_take_more_than_a_byte() -> None:
    """As few bytes as hold their number."""
    labels = Labels.of(pd.DataFrame({"x": range(300)}), ["x"], "group_by")
    assert labels.codes.dtype == np.uint16
    assert labels.codes.tolist() == list(range(300))
    one = Labels.one(3)
    assert (one.names, one.codes.tolist(), one.codes.dtype) == ((None,), [0, 0, 0], np.uint8)


def test_rows_without_a_label_are_refused() -> None:
    """With their number and the first of them."""
    for values in (["a", None, "b", None], pd.Categorical(["a", None, "b", None])):
        with pytest.raises(DynaclrError) as caught:
            Labels.of(pd.DataFrame({"x": values}), ["x"], "stratify_by")
        assert str(caught.value) == (
            "stratify_by='x' has 2 of 4 rows without a label (the first is row 1), but every anchor needs one"
        )


@given(rows=_ROWS, left_out=st.sets(st.sampled_from("abc")), timed=st.booleans())
@example(rows=[("a", 0, 0.0)] * 3 + [("b", 0, 0.0)], left_out={"b"}, timed=True)
def test_strata_are_runs_of_the_sorted_rows(
    rows: list[tuple[str, int, float]], left_out: set[str], timed: bool
) -> None:
    """Groups, strata and cells begin where experiment, condition or time change; ties keep the order of the table."""
    table = pd.DataFrame(rows, columns=["x", "y", "z"])
    groups, conditions = Labels.of(table, ["x"], "group_by"), Labels.of(table, ["y"], "stratify_by")
    kept = np.array([name not in left_out for name in groups.names])
    assume(kept.any())
    strata = Strata.of(groups, kept, conditions, table["z"].to_numpy() if timed else None)
    keyed = [(x, y, z + 0.0 if timed else 0.0) for x, y, z in rows]
    order = sorted((row for row in range(len(rows)) if rows[row][0] not in left_out), key=lambda row: keyed[row])
    assert strata.order.tolist() == order
    assert strata.groups == tuple(sorted({rows[row][0] for row in order}))
    assert strata.conditions == conditions.names
    assert strata.values.tolist() == sorted({key[2] for key in keyed})
    cells = [(key, len(list(same))) for key, same in groupby(keyed[row] for row in order)]
    begins = np.cumsum([0, *(count for _, count in cells)]).tolist()
    pairs = [key for key, _ in groupby(keyed[row][:2] for row in order)]
    value = {time: code for code, time in enumerate(strata.values.tolist())}
    assert strata.cell_start.tolist() == begins
    assert strata.cell_key.tolist() == [pairs.index(key[:2]) * len(value) + value[key[2]] for key, _ in cells]
    sizes = [sum(count for key, count in cells if key[:2] == pair) for pair in pairs]
    assert strata.start.tolist() == np.cumsum([0, *sizes]).tolist()
    assert [conditions.names[code] for code in strata.condition] == [y for _, y in pairs]
    assert [strata.groups[group] for group in strata.stratum_group] == [x for x, _ in pairs]
    assert strata.group_stratum.tolist() == [sum(x < name for x, _ in pairs) for name in strata.groups] + [len(pairs)]
    assert strata.group_start.tolist() == [sum(keyed[row][0] < name for row in order) for name in strata.groups] + [
        len(order)
    ]
    assert strata.times_at(np.arange(len(order))).tolist() == [keyed[row][2] for row in order]
    times, begin = strata.group_times()
    for group, name in enumerate(strata.groups):
        own = sorted({keyed[row][2] for row in order if keyed[row][0] == name})
        assert strata.values[times[begin[group] : begin[group + 1]]].tolist() == own
    for stratum, pair in enumerate(pairs):
        for code, time in enumerate(strata.values.tolist()):
            before = sum(keyed[row] < (*pair, time) for row in order)
            assert strata.places(np.array([stratum]), np.array([code])).tolist() == [before]


def test_strata_of_many_keys_are_sorted_too() -> None:
    """Beyond what 16 bits hold."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"x": rng.integers(0, 300, 3000), "y": rng.integers(0, 20, 3000), "z": rng.random(3000)})
    groups, conditions = Labels.of(table, ["x"], "group_by"), Labels.of(table, ["y"], "stratify_by")
    strata = Strata.of(groups, np.ones(len(groups.names), dtype=bool), conditions, table["z"].to_numpy())
    assert strata.order.tolist() == np.lexsort((table["z"], table["y"], table["x"])).tolist()


def test_sixteen_bits_hold_the_keys_or_are_not_used() -> None:
    """Two groups with more times than half of what 16 bits count."""
    hpi = np.arange(40_000.0)[::-1]
    table = pd.DataFrame({"x": np.arange(40_000) % 2})
    strata = Strata.of(Labels.of(table, ["x"], "group_by"), np.ones(2, dtype=bool), Labels.one(40_000), hpi)
    assert strata.order.tolist() == np.lexsort((hpi, table["x"])).tolist()


_MISSING = [
    np.array([0.0, np.nan, np.inf]),
    pd.Series([0.0, None, None], dtype=object),
    pd.Series([0.0, None, None], dtype="Float64"),
    pd.Series([0, None, None], dtype="Int64"),
    pd.Categorical([0.0, None, None]),
]


@pytest.mark.parametrize("hpi", _MISSING, ids=lambda hpi: str(hpi.dtype))
def test_times_that_are_missing_are_refused(hpi: Any) -> None:
    """Whatever the column's type: with how many there are, and where."""
    table = pd.DataFrame({"x": list("acb"), "hours_post_infection": hpi})
    with pytest.raises(DynaclrError) as caught:
        hours(table, Labels.of(table, ["x"], "group_by"))
    assert str(caught.value) == (
        "hours_post_infection is missing or not finite in 2 of 3 rows (experiments 'b', 'c'), "
        "but temporal_enrichment needs a finite time for every anchor"
    )


def test_missing_times_name_no_experiment_where_the_axis_is_off() -> None:
    """None is called None."""
    table = pd.DataFrame({"hours_post_infection": [0.0, np.nan]})
    with pytest.raises(DynaclrError, match=r"missing or not finite in 1 of 2 rows, but temporal_enrichment needs"):
        hours(table, Labels.one(2))


def test_times_that_are_no_numbers_are_refused() -> None:
    """A duration would be taken for nanoseconds."""
    table = pd.DataFrame({"x": list("ab"), "hours_post_infection": pd.Timedelta(hours=1)})
    with pytest.raises(DynaclrError, match="has dtype 'timedelta64"):
        hours(table, Labels.of(table, ["x"], "group_by"))


@given(st.lists(st.tuples(st.sampled_from([0.0, 2.0, 24.1, -4.0]), st.integers(0, 30)), min_size=1, max_size=30))
def test_times_that_rounding_tells_apart_are_one(seen: list[tuple[float, int]]) -> None:
    """Movies that begin at different hours show the same ones; those of different frames stay apart."""
    hours = [start + frame / 3 for start, frame in seen]
    meant = [round(start * 30) + frame * 10 for start, frame in seen]  # in thirtieths of an hour
    strata = timed_strata([[hours]])
    assert len(strata.values) == len(set(meant))
    assert strata.values.tolist() == sorted(strata.values.tolist())
    places = np.arange(len(hours))
    assert np.rint(strata.times_at(places) * 30).tolist() == sorted(meant)
    assert np.allclose(strata.times_at(places), sorted(hours), rtol=1e-15, atol=1e-14)
