# ruff: noqa: D401 - the docstring of a check states a law, it does not command
"""Law 31: the provenance table agrees with the batch and with the other laws."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from typing import Any

import pandas as pd

from dynaclr_strategies.invariants.base import InvariantViolation, invariant
from dynaclr_strategies.invariants.sampler_runs import Batch, MakeSampler, observed
from dynaclr_strategies.oracles.sampler import CascadeOracle
from dynaclr_strategies.sampler_descriptions import Label, SamplerOptions

__all__ = ["check_explained"]

Row = dict[str, Any]


@invariant("explained", subject="sampler", number=31, needs=("explain",))
def check_explained(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> None:
    """The provenance table names each anchor's source, stratum, time and repetition as batch and laws have it."""
    oracle = CascadeOracle(table, options)
    for batch in observed(make_sampler, table, options):
        account = batch.sampler.explain(batch.number, epoch=batch.epoch)
        rows: list[Row] = account.to_dict("records")
        _same(str(batch), "anchors explained", [row["anchor"] for row in rows], batch.anchors)
        before: set[int] = set()
        for place, row in enumerate(rows):
            where = f"{batch}, row {place} (anchor {row['anchor']})"
            _same(where, "repeated", bool(row["repeated"]), row["anchor"] in before)
            before.add(row["anchor"])
            _check_labels(where, row, oracle)
        primary = [row for row in rows if row["source"] == "primary"]
        _same(str(batch), "number of primary anchors", len(primary), oracle.num_primary)
        owners = {oracle.group(row["anchor"]) for row in primary}
        _same(str(batch), "number of experiments among the primary anchors", len(owners), 1)
        owner = owners.pop()
        for row in rows:
            leaked = oracle.group(row["anchor"]) != owner
            _same(f"{batch}, anchor {row['anchor']}", "source", row["source"], "leaked" if leaked else "primary")
        if options.temporal_enrichment:
            _check_times(batch, account.attrs.get("focal_hpi"), primary, owner, oracle)
        else:
            _same(str(batch), "focal HPI without enrichment", account.attrs.get("focal_hpi"), None)
            _same(str(batch), "times without enrichment", {_none(row["time"]) for row in rows}, {None})


def _none(value: Any) -> Any:
    """Return None for what pandas made of None."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _same(where: str, what: str, seen: Any, expected: Any) -> None:
    if seen != expected:
        raise InvariantViolation(where, f"{what} {seen!r}", repr(expected), "explained")


def _check_labels(where: str, row: Row, oracle: CascadeOracle) -> None:
    _same(where, "experiment", _none(row["experiment"]), oracle.group(row["anchor"]))
    _same(where, "condition", _none(row["condition"]), oracle.condition(row["anchor"]))
    if oracle.options.temporal_enrichment:
        _same(where, "hpi", row["hpi"], oracle.hpi(row["anchor"]))


def _check_times(
    batch: Batch, focal: float | None, primary: list[Row], owner: Label | None, oracle: CascadeOracle
) -> None:
    near = [row for row in primary if row["time"] in {"focal", "widened"}]
    _same(str(batch), "number of focal anchors", len(near), oracle.num_focal)
    _same(str(batch), "other times", {row["time"] for row in primary} - {"focal", "widened", "global"}, set())
    if not oracle.num_focal or focal is None:
        _same(str(batch), "focal HPI known", focal is not None, oracle.num_focal > 0)
        return
    for row in near:
        inside = bool(oracle.in_window([row["anchor"]], focal))
        where = f"{batch}, anchor {row['anchor']} at {row['hpi']} h with focal HPI {focal}"
        _same(where, "time", row["time"], "focal" if inside else "widened")
    drawn = Counter(row["condition"] for row in primary)
    for condition, quota in drawn.items():
        mine = [row for row in near if row["condition"] == condition]
        share = Fraction(oracle.num_focal * quota, oracle.num_primary)
        allowed = {math.floor(share), math.ceil(share)}
        _same(
            f"{batch}, condition {condition!r}",
            f"{len(mine)} focal anchors in {sorted(allowed)}",
            len(mine) in allowed,
            True,
        )
        stratum = oracle.strata[owner][_none(condition)]
        if quota <= len(stratum) and not oracle.options.exclusive_by:
            _check_nearest(f"{batch}, condition {condition!r}", [row["anchor"] for row in mine], stratum, focal, oracle)


def _check_nearest(where: str, chosen: list[int], stratum: list[int], focal: float, oracle: CascadeOracle) -> None:
    """Check that anchors outside the window were taken only after all inside, and the nearest first."""
    window = oracle.options.temporal_window_hours

    def beyond(anchor: int) -> float:
        distance = abs(oracle.hpi(anchor) - focal)
        return 0.0 if distance <= window else distance

    nearest = sorted(beyond(anchor) for anchor in stratum)[: len(chosen)]
    _same(where, "distances of the focal anchors (0: in the window)", sorted(map(beyond, chosen)), nearest)
