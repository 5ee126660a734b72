"""Faults of the sampler's table and options: the section "Errors" of the page on the cascade."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from dynaclr_strategies.fault_descriptions import Expected, Given, fault
from dynaclr_strategies.sampler_descriptions import SamplerCase

__all__: list[str] = []

HPI = "hours_post_infection"
NAN, INF = math.nan, math.inf
NO_FRACTIONS = (-0.1, 1.5, NAN, INF, -INF, True, "0.1", None)


def _table(given: Given) -> pd.DataFrame:
    if given.table is None:
        raise ValueError("there is no table to break")
    return given.table


def _enabled_columns(case: SamplerCase) -> list[str]:
    return case.options.columns()


def _rows(case: SamplerCase) -> range:
    return range(case.table.size)


def _owner(parameter: str) -> Any:
    """Return the places of faults in a label column: column and row, where the parameter's axis is on."""
    switch = {"group_by": "experiment_aware", "stratify_by": "condition_balanced"}[parameter]

    def places(case: SamplerCase) -> list[tuple[str, int]]:
        columns = getattr(case.options, parameter) if getattr(case.options, switch) else ()
        return [(column, row) for column in columns for row in _rows(case)]

    return places


@fault(
    "column-missing",
    "sampler",
    "a missing column (and the columns there are)",
    needs="balanced table",
    places=_enabled_columns,
)
def _(given: Given, case: SamplerCase, column: str, _: None) -> Expected:
    given.table = _table(given).drop(columns=column)
    parameters = {HPI: "temporal_enrichment", "lineage_id": "exclusive_by"}
    parameter = parameters.get(column, "group_by" if column in case.options.group_by else "stratify_by")
    return [(parameter, repr(column), *map(repr, given.table.columns))]


@fault("table-empty", "sampler", "an empty table", needs="table")
def _(given: Given, _: SamplerCase, __: None, ___: None) -> Expected:
    given.table = _table(given).iloc[:0]
    return [("valid_anchors", "0")]


@fault(
    "batch-size-no-positive-int",
    "sampler",
    "`batch_size` that is not a positive int",
    needs="table",
    values=(0, -1, 2.5, True, "8", None),
)
def _(given: Given, _: SamplerCase, __: None, value: Any) -> Expected:
    given.arguments["batch_size"] = value
    return [("batch_size", repr(value))]


@fault(
    "batch-size-beyond-table",
    "sampler",
    "`batch_size` that is [...] larger than N with `drop_last`",
    needs="table",
    values=(1, 1000),
)
def _(given: Given, case: SamplerCase, _: None, beyond: int) -> Expected:
    given.arguments |= {"batch_size": case.table.size + beyond, "drop_last": True}
    return [("batch_size", str(case.table.size + beyond), str(case.table.size), "drop_last")]


@fault("leaky-out-of-range", "sampler", "`leaky` outside [0, 1)", needs="table", values=(1.0, *NO_FRACTIONS))
def _(given: Given, _: SamplerCase, __: None, value: Any) -> Expected:
    given.arguments["leaky"] = value
    return [("leaky", repr(value), "[0, 1)")]


@fault(
    "global-fraction-out-of-range",
    "sampler",
    "`temporal_global_fraction` outside [0, 1]",
    needs="table",
    values=NO_FRACTIONS,
)
def _(given: Given, _: SamplerCase, __: None, value: Any) -> Expected:
    given.arguments["temporal_global_fraction"] = value
    return [("temporal_global_fraction", repr(value), "[0, 1]")]


@fault(
    "window-negative-or-not-finite",
    "sampler",
    "a negative or non-finite window",
    needs="table",
    values=(-0.5, -1, NAN, INF, "2"),
)
def _(given: Given, _: SamplerCase, __: None, value: Any) -> Expected:
    given.arguments["temporal_window_hours"] = value
    return [("temporal_window_hours", repr(value), "negative", "finite")]


@fault(
    "hpi-missing-or-not-finite",
    "sampler",
    "missing, infinite or NaN HPI (how many rows, which experiments)",
    needs="table",
    places=_rows,
    values=(NAN, INF, -INF, None),
)
def _(given: Given, case: SamplerCase, first: int, value: Any) -> Expected:
    given.table = _table(given).copy()
    given.arguments["temporal_enrichment"] = True
    hours = given.table[HPI].tolist()
    broken = range(first, min(first + 2, len(hours)))
    for row in broken:
        hours[row] = value
    given.table[HPI] = pd.Series(hours, index=given.table.index, dtype=object if value is None else "float64")
    experiments = {repr(given.table["experiment"].iloc[row]) for row in broken} if case.options.experiment_aware else ()
    return [(HPI, f"{len(broken)} of {len(hours)}", *experiments)]


@fault(
    "experiment-label-missing",
    "sampler",
    "missing experiment [...] labels",
    needs="balanced table",
    places=_owner("group_by"),
)
def _(given: Given, _: SamplerCase, place: tuple[str, int], __: None) -> Expected:
    return _without_label(given, "group_by", place)


@fault(
    "condition-label-missing",
    "sampler",
    "missing [...] condition labels",
    needs="balanced table",
    places=_owner("stratify_by"),
)
def _(given: Given, _: SamplerCase, place: tuple[str, int], __: None) -> Expected:
    return _without_label(given, "stratify_by", place)


def _without_label(given: Given, parameter: str, place: tuple[str, int]) -> Expected:
    column, row = place
    given.table = _table(given).copy()
    labels = given.table[column].copy()
    labels.iloc[row] = None
    given.table[column] = labels
    return [(parameter, repr(column), f"1 of {len(labels)}", f"row {row}")]


def _by_label(parameter: str) -> Any:
    """Return the labels that a mapping of weights or ratios has numbers for."""
    columns = {"experiment_weights": "group_by", "condition_ratio": "stratify_by"}[parameter]

    def places(case: SamplerCase) -> list[Any]:
        return case.table.labels_of(getattr(case.options, columns))

    return places


def _mapping(given: Given, case: SamplerCase, parameter: str) -> dict[Any, Any]:
    """Give every label the number 1 and switch the parameter's axis on; return the mapping, to be broken."""
    given.arguments |= {"experiment_aware": True} if parameter == "experiment_weights" else {"condition_balanced": True}
    given.arguments[parameter] = dict.fromkeys(_by_label(parameter)(case), 1.0)
    mapping: dict[Any, Any] = given.arguments[parameter]
    return mapping


def _enlist_mapping_faults(parameter: str, what: str) -> None:
    """List the faults that weights and ratios have in common."""

    @fault(
        f"{what}-negative-or-not-finite",
        "sampler",
        "weights or ratios that are negative, not finite",
        needs="table",
        places=_by_label(parameter),
        values=(-1.0, NAN, INF, "1", None),
    )
    def _(given: Given, case: SamplerCase, label: Any, value: Any) -> Expected:
        _mapping(given, case, parameter)[label] = value
        return [(parameter, repr(label), repr(value))]

    @fault(f"{what}-all-zero", "sampler", "weights or ratios that are [...] all zero", needs="table")
    def _(given: Given, case: SamplerCase, _: None, __: None) -> Expected:
        mapping = _mapping(given, case, parameter)
        mapping.update(dict.fromkeys(mapping, 0.0))
        return [(parameter, *map(repr, mapping), "above 0")]

    @fault(
        f"{what}-of-unknown-label",
        "sampler",
        "weights or ratios that [...] name something that is not in the table",
        needs="table",
        values=("nobody", 7),
    )
    def _(given: Given, case: SamplerCase, _: None, label: Any) -> Expected:
        mapping = _mapping(given, case, parameter)
        known = list(mapping)
        mapping[label] = 1.0
        return [(parameter, repr(label), *map(_written, known))]


def _written(label: Any) -> str:
    """Return a label as a YAML file may have it: that of several columns with slashes."""
    return repr("/".join(map(str, label)) if isinstance(label, tuple) else label)


_enlist_mapping_faults("experiment_weights", "weight")
_enlist_mapping_faults("condition_ratio", "ratio")


@fault(
    "ratio-leaves-out-a-condition",
    "sampler",
    "a `condition_ratio` that leaves out a condition of the table",
    needs="table",
)
def _(given: Given, case: SamplerCase, _: None, __: None) -> Expected:
    given.arguments["stratify_by"] = "condition"
    ratio = dict.fromkeys(case.table.labels_of(("condition",)), 1.0)
    given.arguments |= {"condition_balanced": True, "condition_ratio": ratio}
    # One anchor more, of a condition that the ratio does not know: there may be only one condition to leave out.
    given.table = pd.concat([_table(given), _table(given).iloc[:1]])
    given.table["condition"] = given.table["condition"].astype(object)
    given.table.iloc[-1, given.table.columns.get_loc("condition")] = "~ new"  # type: ignore[index]
    return [("condition_ratio", "'~ new'", *map(repr, ratio))]


@fault(
    "rank-out-of-range",
    "sampler",
    "`rank` outside `[0, num_replicas)`",
    needs="table",
    places=lambda _: range(1, 5),
    values=(0, 1, -1),
)
def _(given: Given, _: SamplerCase, replicas: int, beyond: int) -> Expected:
    rank = beyond if beyond < 0 else replicas + beyond
    given.arguments |= {"num_replicas": replicas, "rank": rank}
    return [("rank", repr(rank), f"[0, {replicas})")]


@fault(
    "state-of-another-table",
    "state",
    "the state holds a fingerprint of table and options, and a state of another table is refused with what differs",
    needs="table",
    values=("seed", "batch_size", "anchors"),
)
def _(given: Given, case: SamplerCase, _: None, what: str) -> Expected:
    other = case.options.kwargs()
    table = _table(given)
    if what == "anchors":
        given.arguments["taken from"] = (pd.concat([table, table.iloc[:1]]), other)
        return [("state", "anchors", str(len(table) + 1), str(len(table)))]
    changed = {"seed": case.options.seed + 1, "batch_size": case.options.batch_size + 1}[what]
    # Where the whole table is a batch, only without drop_last is there room for a larger one.
    given.arguments["taken from"] = (table, other | {what: changed, "drop_last": False})
    return [("state", what, repr(changed), repr(other[what]))]
