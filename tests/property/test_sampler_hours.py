"""Hours at the sampler: which numbers are hours, and what single precision may not lose."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_samplers import TABLE, TIMED, batches, sampler

from dynaclr.errors import DynaclrError
from dynaclr.sampler import FlexibleBatchSampler


@pytest.mark.parametrize(
    "hours",
    [
        pd.to_timedelta(TABLE["hours_post_infection"], unit="h"),
        TABLE["hours_post_infection"].astype(str),
        TABLE["hours_post_infection"] > 3,
        TABLE["hours_post_infection"].astype(complex),
    ],
    ids=["timedelta", "text", "bool", "complex"],
)
def test_hours_are_numbers(hours: pd.Series[Any]) -> None:
    """What pandas could turn into numbers, but is no number of hours, is refused."""
    with pytest.raises(DynaclrError, match="needs hours as plain numbers"):
        sampler(TABLE.assign(hours_post_infection=hours), **TIMED)


@pytest.mark.parametrize("hours", ["object", "Float64", "float32", "category"])
def test_hours_of_any_numeric_dtype(hours: str) -> None:
    """Numbers are hours however pandas stores them."""
    same = TABLE.assign(hours_post_infection=TABLE["hours_post_infection"].astype(hours))
    assert batches(sampler(same, **TIMED)) == batches(sampler(**TIMED))


def test_float32_hours_that_differ_stay_different() -> None:
    """Frames of half a second are told apart after a month too, where float32 has four numbers in a second."""
    for start, step in ((10.0, 0.5), (200.0, 0.1), (300.0, 0.5), (700.0, 0.5)):
        hours = (start + np.arange(400) * step / 3600).astype(np.float32)
        table = pd.DataFrame({"experiment": "a", "condition": "x", "hours_post_infection": hours})
        assert len(FlexibleBatchSampler(table, 4, temporal_enrichment=True)._cascade.recipe.strata.values) == 400


@pytest.mark.parametrize(("apart", "kind"), [(0.32, "float32"), (0.01, "float64")])
def test_two_movies_that_began_within_a_second_keep_their_hours(apart: float, kind: str) -> None:
    """A third of a second is more than what float32 rounds away after 300 hours; float64 rounds nothing that counts."""
    seconds = 300 * 3600 + np.arange(400) // 2 + np.arange(400) % 2 * apart
    table = pd.DataFrame({"experiment": "a", "condition": "x", "hours_post_infection": (seconds / 3600).astype(kind)})
    assert len(FlexibleBatchSampler(table, 4, temporal_enrichment=True)._cascade.recipe.strata.values) == 400


def test_hours_that_are_not_finite_are_refused_without_a_warning() -> None:
    """In float32 as in any other dtype."""
    hours = np.array([0, np.inf, -np.inf, np.nan], dtype=np.float32)
    table = pd.DataFrame({"experiment": "a", "condition": "x", "hours_post_infection": hours})
    with pytest.raises(DynaclrError, match="missing or not finite in 3 of 4 rows"):
        FlexibleBatchSampler(table, 4, temporal_enrichment=True)


def test_float32_hours_are_whole_seconds_or_not_experiment_by_experiment() -> None:
    """One whose frames are 0.5 s apart does not take the whole seconds from another."""
    third = (300 + np.arange(60) / 3).astype(np.float32)
    half = (300 + np.arange(60) / 7200).astype(np.float32)
    table = pd.DataFrame({"experiment": ["a"] * 60 + ["b"] * 60, "condition": "x"})
    table["hours_post_infection"] = np.concatenate([third, half])
    values = FlexibleBatchSampler(table, 4, temporal_enrichment=True)._cascade.recipe.strata.values
    assert {hour for hour in values.tolist() if hour > 300.01} == {
        round(3600 * hour) / 3600 for hour in third.tolist()[1:]
    }
    assert {hour for hour in values.tolist() if hour < 300.01} == {float(hour) for hour in half}


@pytest.mark.parametrize("kind", ["float32", "Float32", "float[pyarrow]"])
@pytest.mark.parametrize("start", [0.0, 120.25, 505.0])
def test_float32_hours_lose_no_frame_at_the_edge_of_a_window(start: float, kind: str) -> None:
    """Frames of 20 minutes are a third of an hour apart, which float32 rounds otherwise beyond each power of two."""
    hours = start + np.arange(200) % 60 / 3
    options = {**TIMED, "temporal_window_hours": 1.0, "temporal_global_fraction": 0.0}
    exactly, single = (TABLE.assign(hours_post_infection=pd.Series(hours).astype(each)) for each in ("float64", kind))
    assert batches(sampler(single, **options)) == batches(sampler(exactly, **options))


@pytest.mark.parametrize("start", [0.0, 7.75, 120.25, 505.0])
def test_hours_that_were_computed_in_float32_lose_no_frame_either(start: float) -> None:
    """Their sums and products are rounded once more."""
    frames = np.arange(200) % 60
    single = np.float32(start) + frames.astype(np.float32) * np.float32(1 / 3)
    assert single.dtype == np.float32
    options = {**TIMED, "temporal_window_hours": 1.0, "temporal_global_fraction": 0.0}
    tables = (TABLE.assign(hours_post_infection=hours) for hours in (start + frames / 3, single))
    exactly, computed = (batches(sampler(table, **options)) for table in tables)
    assert computed == exactly
