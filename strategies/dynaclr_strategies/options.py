"""Sampler options that are valid for a table, and the two together."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

from hypothesis import event
from hypothesis import strategies as st

from dynaclr_strategies.oracles.sampler import stands_for
from dynaclr_strategies.sampler_descriptions import (
    PLAIN_TABLE,
    Label,
    SamplerCase,
    SamplerOptions,
    StratumDescription,
    TableDescription,
)
from dynaclr_strategies.tables import anchor_tables

__all__ = ["sampler_cases", "sampler_options"]

# Binary floating point gets some wrong: 0.58 * 50, 0.7 * 90 and 0.29 * 100. Decimal text gets others wrong: a third of
# 3 is 1, and 0.3333333333333333 of 3 is less.
FRACTIONS = (0.0, 0.3, 0.5, 0.29, 0.58, 0.1, 0.7, 0.9, 0.99, 1 / 3, 2 / 3)
PARTS = (1.0, 2.0, 0.1, 0.3, 3.5, 1e-3, 1 / 3)
WINDOWS = (2.0, 0.0, 0.5, 1.0, 0.25, 100.0)

TRUE_FIRST = st.sampled_from((True, False))
FALSE_FIRST = st.sampled_from((False, True))
NOBODY_FIRST: st.SearchStrategy[str | None] = st.sampled_from((None, "lineage_id"))

_TABLES = anchor_tables()
REPLICAS: st.SearchStrategy[int | None] = st.none() | st.integers(1, 4)

Columns = tuple[str, ...]
EXPERIMENT_FIRST: st.SearchStrategy[Columns] = st.sampled_from((("experiment",), ("experiment", "organelle")))
CONDITION_FIRST: st.SearchStrategy[Columns] = st.sampled_from((("condition",), ("condition", "moi"), ("moi",)))

Pairs = tuple[tuple[Label, float], ...]


# Strategies are made once for each set of bounds: to make one takes longer than to draw from it.
@lru_cache(maxsize=1024)
def _parts(number: int) -> st.SearchStrategy[list[float]]:
    return st.lists(st.sampled_from((*PARTS, 0.0)), min_size=number, max_size=number)


@lru_cache(maxsize=1024)
def _pairs_or_none(names: tuple[Label, ...]) -> st.SearchStrategy[Pairs | None]:
    return st.none() | _pairs(names)


@st.composite
def _pairs(draw: st.DrawFn, names: tuple[Label, ...]) -> Pairs:
    """Draw a number for each name, at least one of them above 0; shrinks towards 1 for all."""
    parts = draw(_parts(len(names)), label="parts")
    if not any(parts):
        parts[0] = 1.0
    return tuple(zip(names, parts, strict=True))


def _repair_ratio(ratio: Pairs, table: TableDescription, group_by: tuple[str, ...], by: tuple[str, ...]) -> Pairs:
    """Give every experiment a condition to draw from: the first of its own gets 1 where all of them have 0."""
    fixed = dict(ratio)
    for group in table.labels_of(group_by):
        mine = [s for s in table.strata if _label(s, group_by) == group]
        conditions = sorted({_label(stratum, by) for stratum in mine})
        if not any(fixed[condition] for condition in conditions):
            fixed[conditions[0]] = 1.0
    return tuple(fixed.items())


def _label(stratum: StratumDescription, columns: tuple[str, ...]) -> Label:
    values = tuple(getattr(stratum, column) for column in columns)
    label: Label = values[0] if len(values) == 1 else values
    return label


@lru_cache(maxsize=64)
def _telling_sizes(*fractions: float) -> tuple[int, ...]:
    """Return the batch sizes up to 100 at which a float, or its text, has another whole part than what was meant."""
    return tuple(size for size in range(1, 101) if any(_is_told_wrong(fraction, size) for fraction in fractions))


def _is_told_wrong(fraction: float, size: int) -> bool:
    return {int(fraction * size), math.floor(Fraction(repr(fraction)) * size)} != {
        math.floor(stands_for(fraction) * size)
    }


@lru_cache(maxsize=1024)
def _batch_sizes(size: int, telling: tuple[int, ...], *, drop_last: bool) -> st.SearchStrategy[int]:
    # The boundaries on purpose (a batch that is the table, or more than the table), and batches of a few anchors: of
    # these an epoch has several, and passes over a stratum end in the middle of a batch.
    most = size if drop_last else size + 7
    any_size, few = range(1, min(most, 24) + 1), range(min(2, most), min(most, 8) + 1)
    possible = [one for one in telling if one <= size or not drop_last]
    # One draw for all: of alternatives, Hypothesis takes the one with the fewest draws for the simplest.
    return st.sampled_from((*any_size, *few, *few, *(size, most) * 4, *possible * 24))


@st.composite
def sampler_options(
    draw: st.DrawFn,
    *,
    table: TableDescription = PLAIN_TABLE,
    experiment_aware: st.SearchStrategy[bool] = TRUE_FIRST,
    condition_balanced: st.SearchStrategy[bool] = TRUE_FIRST,
    temporal_enrichment: st.SearchStrategy[bool] = FALSE_FIRST,
    exclusive_by: st.SearchStrategy[str | None] = NOBODY_FIRST,
    group_by: st.SearchStrategy[Columns] = EXPERIMENT_FIRST,
    stratify_by: st.SearchStrategy[Columns] = CONDITION_FIRST,
) -> SamplerOptions:
    """Strategy for the parameters of ``FlexibleBatchSampler``, valid for one table.

    Generates every axis on and off and in all combinations, boundaries included: a batch of one or of the whole
    table, a leak next to 1, leaks and global fractions of which binary floating point or the decimal text finds another
    number of anchors than was meant, a window of 0, a global fraction of 0 and 1, weights and ratios of 0, several
    grouping columns, exclusivity, several ranks. Promises that the sampler accepts them for ``table``. Shrinks towards
    a batch of one anchor with experiments and conditions balanced and everything else off.

    Parameters
    ----------
    table
        The table that weights, ratios and batch sizes are for.
    experiment_aware, condition_balanced, temporal_enrichment, exclusive_by
        What switches the axes, for a caller who wants some of them always on or off.
    group_by, stratify_by
        The columns that make experiments and conditions.
    """
    drop_last = draw(TRUE_FIRST, label="drop_last")
    aware = draw(experiment_aware, label="experiment_aware")
    balanced = draw(condition_balanced, label="condition_balanced")
    enriched = draw(temporal_enrichment, label="temporal_enrichment")
    groups = draw(group_by, label="group_by")
    conditions = draw(stratify_by, label="stratify_by")
    # Drawn whether its axis is on or not: a draw that is left out would make "off" the simpler value to shrink to.
    weights = draw(_pairs_or_none(tuple(table.labels_of(groups))), label="experiment_weights")
    ratio = draw(_pairs_or_none(tuple(table.labels_of(conditions))), label="condition_ratio")
    leaky = draw(st.sampled_from(FRACTIONS), label="leaky")
    window = draw(st.sampled_from(WINDOWS), label="window")
    global_fraction = draw(st.sampled_from((0.3, *FRACTIONS, 1.0)), label="global fraction")
    is_written = draw(st.booleans(), label="weights of 0 are written")
    if weights and not is_written:  # to leave an experiment out by not naming it
        weights = tuple((name, weight) for name, weight in weights if weight)
    weights, ratio = weights if aware else None, ratio if balanced else None
    telling = _telling_sizes(*([leaky] if aware else []), *([global_fraction] if enriched else []))
    if ratio is not None:
        ratio = _repair_ratio(ratio, table, groups if aware else (), conditions)
    replicas = draw(REPLICAS, label="num_replicas")
    for name, on in {
        "leaving out an experiment": weights and sum(w > 0 for _, w in weights) < len(table.labels_of(groups)),
        "ranks": replicas,
    }.items():
        if on:
            event(f"sampler_options: {name}")
    return SamplerOptions(
        batch_size=draw(_batch_sizes(table.size, telling, drop_last=drop_last), label="batch_size"),
        experiment_aware=aware,
        leaky=leaky if aware else 0.0,
        experiment_weights=weights,
        condition_balanced=balanced,
        condition_ratio=ratio,
        temporal_enrichment=enriched,
        temporal_window_hours=window if enriched else 2.0,
        temporal_global_fraction=global_fraction if enriched else 0.3,
        group_by=groups,
        stratify_by=conditions,
        exclusive_by=draw(exclusive_by, label="exclusive_by"),
        num_replicas=replicas,
        rank=None if replicas is None else draw(st.integers(0, replicas - 1), label="rank"),
        seed=draw(st.integers(0, 2**32 - 1), label="seed"),
        drop_last=drop_last,
    )


@st.composite
def sampler_cases(
    draw: st.DrawFn,
    *,
    tables: st.SearchStrategy[TableDescription] | None = None,
    experiment_aware: st.SearchStrategy[bool] = TRUE_FIRST,
    condition_balanced: st.SearchStrategy[bool] = TRUE_FIRST,
    temporal_enrichment: st.SearchStrategy[bool] = FALSE_FIRST,
    exclusive_by: st.SearchStrategy[str | None] = NOBODY_FIRST,
    group_by: st.SearchStrategy[Columns] = EXPERIMENT_FIRST,
    stratify_by: st.SearchStrategy[Columns] = CONDITION_FIRST,
) -> SamplerCase:
    """Strategy for a table together with options that are valid for it.

    Generates what `anchor_tables` and `sampler_options` do, promises that the sampler accepts the pair, and shrinks
    towards a table of one anchor and a batch of one.

    Parameters
    ----------
    tables
        Where the table comes from; by default `anchor_tables`.
    experiment_aware, condition_balanced, temporal_enrichment, exclusive_by, group_by, stratify_by
        As in `sampler_options`.
    """
    table = draw(_TABLES if tables is None else tables, label="table")
    options = sampler_options(
        table=table,
        experiment_aware=experiment_aware,
        condition_balanced=condition_balanced,
        temporal_enrichment=temporal_enrichment,
        exclusive_by=exclusive_by,
        group_by=group_by,
        stratify_by=stratify_by,
    )
    return SamplerCase(table=table, options=draw(options, label="options"))
