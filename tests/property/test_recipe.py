"""What a sampler works out once: which columns it needs, whether batches are one draw, who is too small."""

from __future__ import annotations

import warnings
from typing import Any

import pandas as pd
import pytest

from dynaclr.errors import DynaclrError, RepeatedAnchorsWarning
from dynaclr.sampler import FlexibleBatchSampler

_COLUMNS = ["experiment", "condition", "hours_post_infection", "lineage_id"]


def make_table(experiments: int = 1, conditions: int = 1, times: int = 4) -> pd.DataFrame:
    """Return a table with an anchor for each experiment, condition and time."""
    rows = [
        (f"e{experiment}", f"c{condition}", float(time), len(_COLUMNS) * time + condition)
        for experiment in range(experiments)
        for condition in range(conditions)
        for time in range(times)
    ]
    return pd.DataFrame(rows, columns=_COLUMNS)


def said(table: pd.DataFrame, **options: Any) -> str:
    """Return what a sampler says to a table and options that do not fit."""
    with pytest.raises(DynaclrError) as caught:
        FlexibleBatchSampler(table, 2, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("parameter", "column", "options"),
    [
        ("group_by", "experiment", {}),
        ("stratify_by", "condition", {}),
        ("temporal_enrichment", "hours_post_infection", {"temporal_enrichment": True}),
        ("exclusive_by", "lineage_id", {"exclusive_by": "lineage_id"}),
    ],
)
def test_columns_that_an_axis_needs(parameter: str, column: str, options: dict[str, Any]) -> None:
    """Are missed in words: by which parameter, and what there is instead."""
    table = make_table()
    near = table.rename(columns={column: f"{column}s"})
    names = ", ".join(repr(name) for name in near.columns)
    assert said(near, **options) == (
        f"{parameter} needs the column {column!r}, which the table does not have; did you mean '{column}s'?; "
        f"it has {names}"
    )
    twice = pd.concat([table, table[[column]]], axis=1)
    assert said(twice, **options) == f"{parameter} needs one column {column!r}, but the table has 2"


def test_a_table_without_columns_has_none() -> None:
    """Rather than nothing at all behind a colon."""
    assert said(pd.DataFrame(index=range(4))) == (
        "group_by needs the column 'experiment', which the table does not have; it has none"
    )


@pytest.mark.parametrize(
    ("parameter", "column"),
    [("group_by", "experiment"), ("stratify_by", "condition"), ("exclusive_by", "lineage_id")],
)
def test_anchors_without_a_label_are_refused(parameter: str, column: str) -> None:
    """The sentence names the parameter that asks for the label."""
    table = make_table().astype({column: object})
    table.loc[2, column] = None
    assert said(table, exclusive_by="lineage_id").startswith(f"{parameter}={column!r} has 1 of 4 rows without a label")


@pytest.mark.parametrize(
    ("table", "options", "one_draw"),
    [
        ({}, {}, True),
        ({"experiments": 3}, {}, True),
        ({"conditions": 2}, {}, False),
        ({"conditions": 2}, {"condition_balanced": False}, True),
        ({"experiments": 2}, {"leaky": 0.5}, False),
        ({}, {"temporal_enrichment": True}, False),
        ({}, {"exclusive_by": "lineage_id"}, False),
    ],
)
def test_batches_of_one_draw_need_no_shuffling(table: dict[str, int], options: dict[str, Any], one_draw: bool) -> None:
    """All others do, so that no part of a batch is all of one condition, experiment or time."""
    assert FlexibleBatchSampler(make_table(**table), 2, **options)._recipe.is_of_one_draw is one_draw


def test_without_focal_anchors_time_decides_nothing() -> None:
    """With a global fraction of 1 batches are those without enrichment."""
    table = make_table(conditions=2, times=20)
    plain = FlexibleBatchSampler(table, 8)
    enriched = FlexibleBatchSampler(table, 8, temporal_enrichment=True, temporal_global_fraction=1.0)
    assert list(enriched) == list(plain)


@pytest.mark.parametrize(("size", "small"), [(4, False), (3, True)])
def test_who_is_too_small_is_told(size: int, small: bool) -> None:
    """A condition with exactly as many anchors as its quota repeats none."""
    table = make_table(conditions=2, times=size)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        sampler = FlexibleBatchSampler(table, 8, drop_last=False)
    assert [each.category for each in told] == [RepeatedAnchorsWarning] * small
    assert sampler._recipe.too_small() == ({"e0": 2 * size} if small else {})
