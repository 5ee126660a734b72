"""Anchor tables: the sampler's input, with no disk at all."""

from __future__ import annotations

from functools import lru_cache

from hypothesis import event
from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument

from dynaclr_strategies.sampler_descriptions import LABEL_DTYPES, StratumDescription, TableDescription

__all__ = ["EXPERIMENT_NAMES", "anchor_tables", "labels", "strata"]

EXPERIMENT_NAMES = ("a", "b", "2024_07_22", "exp Ä", "no")
CONDITION_NAMES = ("c", "d", "mock 24 h", "ZIKV µ")
INTERVALS = (30.0, 60.0, 15.0, 20.0, 7.0)
START_HPI = (0.0, 3.0, -4.0, 24.0, 0.5)


def labels(names: tuple[str, ...]) -> st.SearchStrategy[str]:
    """Strategy for labels from a fixed list.

    Generates one of the names, promises nothing more, and shrinks towards the first.
    """
    return st.sampled_from(names)


@lru_cache(maxsize=64)
def _frames(max_times: int) -> st.SearchStrategy[list[int]]:
    # Runs and scattered frames, ties included: what a window holds is content that matters, so it is drawn.
    return st.lists(st.integers(0, 3 * max_times), min_size=1, max_size=max_times)


@st.composite
def strata(
    draw: st.DrawFn,
    experiments: st.SearchStrategy[str],
    conditions: st.SearchStrategy[str],
    *,
    max_times: int = 6,
    max_cells: int = 6,
) -> StratumDescription:
    """Strategy for the anchors of one condition in one experiment.

    Generates from one row to ``max_times * max_cells``, on a grid of frames with ties and gaps. Promises at least one
    anchor and no more lineages than anchors. Shrinks towards one anchor at 0 h.
    """
    interval = draw(st.sampled_from(INTERVALS), label="interval in minutes")
    start = draw(st.sampled_from(START_HPI), label="start HPI")
    hpi = tuple(start + frame * interval / 60 for frame in draw(_frames(max_times), label="frames"))
    cells = draw(st.integers(1, max_cells), label="cells per time")
    return StratumDescription(
        experiment=draw(experiments, label="experiment"),
        condition=draw(conditions, label="condition"),
        hpi=hpi,
        cells=cells,
        lineages=draw(st.none() | st.integers(1, len(hpi) * cells), label="lineages"),
        organelle=draw(st.sampled_from(("", "mito", "er")), label="organelle"),
        moi=draw(st.sampled_from((0.0, 0.5, 5.0)), label="moi"),
    )


_EXPERIMENTS, _CONDITIONS = labels(EXPERIMENT_NAMES), labels(CONDITION_NAMES)


# Made once for each set of bounds: to make a strategy takes longer than to draw from it.
@lru_cache(maxsize=64)
def _several(
    experiments: st.SearchStrategy[str],
    conditions: st.SearchStrategy[str],
    max_strata: int,
    max_times: int,
    max_cells: int,
) -> st.SearchStrategy[list[StratumDescription]]:
    one = strata(experiments, conditions, max_times=max_times, max_cells=max_cells)
    return st.lists(one, min_size=1, max_size=max_strata)


@st.composite
def anchor_tables(
    draw: st.DrawFn,
    *,
    experiments: st.SearchStrategy[str] | None = None,
    conditions: st.SearchStrategy[str] | None = None,
    max_strata: int = 7,
    max_times: int = 6,
    max_cells: int = 6,
) -> TableDescription:
    """Strategy for the tables of valid anchors that the sampler takes.

    Generates strata from one row to many, skewed, with ties in HPI, HPI before zero and experiments whose times do
    not overlap; object, string, Arrow and categorical columns; rows in blocks, interleaved or backwards; indices that
    are no row numbers; extra columns. Promises at least one anchor, no missing label, and that a lineage lives in one
    stratum only. Shrinks towards one experiment ``"a"`` with one condition ``"c"`` and one anchor at 0 h in object
    columns.

    Parameters
    ----------
    experiments, conditions
        Labels; by default names of scientists' kind, short ones first.
    max_strata, max_times, max_cells
        Bounds of the size: at most ``max_strata * max_times * max_cells`` anchors.
    """
    for name, bound in {"max_strata": max_strata, "max_times": max_times, "max_cells": max_cells}.items():
        if bound < 1:
            raise InvalidArgument(f"{name}={bound!r} must be at least 1")
    experiment_labels = _EXPERIMENTS if experiments is None else experiments
    condition_labels = _CONDITIONS if conditions is None else conditions
    drawn = draw(_several(experiment_labels, condition_labels, max_strata, max_times, max_cells), label="strata")
    description = TableDescription(
        strata=tuple(drawn),
        labels=draw(st.sampled_from(LABEL_DTYPES), label="label dtype"),
        order=draw(st.sampled_from(("blocks", "interleaved", "reversed")), label="order"),
        index=draw(st.sampled_from(("range", "descending", "constant")), label="index"),
        extra_columns=draw(st.booleans(), label="extra columns"),
    )
    if len(description.labels_of(("experiment",))) > 1:
        event("anchor_tables: several experiments")
    return description
