# ruff: noqa: D401 - the docstring of a check states a law, it does not command
"""Law 31: the provenance table agrees with the batch and with the other laws."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import pandas as pd

from dynaclr_strategies.invariants.base import invariant
from dynaclr_strategies.invariants.sampler_runs import Batch, MakeSampler, blame, observed
from dynaclr_strategies.oracles.sampler import CascadeOracle, meant
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
        _same(batch, "anchors explained", [row["anchor"] for row in rows], batch.anchors)
        before: set[int] = set()
        for place, row in enumerate(rows):
            detail = f", row {place} (anchor {row['anchor']})"
            _same(batch, "repeated", bool(row["repeated"]), row["anchor"] in before, [row], detail)
            before.add(row["anchor"])
            _check_labels(batch, row, oracle, detail)
        primary = [row for row in rows if row["source"] == "primary"]
        _same(batch, "number of primary anchors", len(primary), oracle.num_primary, primary)
        owners = {oracle.group(row["anchor"]) for row in primary}
        _same(batch, "number of experiments among the primary anchors", len(owners), 1, primary)
        owner = owners.pop()
        for row in rows:
            source = "leaked" if oracle.group(row["anchor"]) != owner else "primary"
            _same(batch, "source", row["source"], source, [row], f", anchor {row['anchor']}")
        if options.temporal_enrichment:
            _check_times(batch, account.attrs.get("focal_hpi"), primary, owner, oracle)
        else:
            timed = [row for row in rows if _none(row["time"]) is not None]
            _same(batch, "focal HPI without enrichment", account.attrs.get("focal_hpi"), None)
            _same(batch, "times without enrichment", {_none(row["time"]) for row in rows}, {None}, timed)


def _none(value: Any) -> Any:
    """Return None for what pandas made of None."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _same(batch: Batch, what: str, seen: Any, expected: Any, rows: Iterable[Row] = (), detail: str = "") -> None:
    """Raise if two things differ; the anchors of the rows are to blame."""
    if seen != expected:
        offenders = [row["anchor"] for row in rows]
        raise blame(batch, f"{what} {seen!r}", repr(expected), "explained", offenders, detail=detail)


def _check_labels(batch: Batch, row: Row, oracle: CascadeOracle, detail: str) -> None:
    _same(batch, "experiment", _none(row["experiment"]), oracle.group(row["anchor"]), [row], detail)
    _same(batch, "condition", _none(row["condition"]), oracle.condition(row["anchor"]), [row], detail)
    if oracle.options.temporal_enrichment:
        _same(batch, "hpi", meant(row["hpi"]), oracle.hpi(row["anchor"]), [row], detail)


def _check_times(
    batch: Batch, focal: float | None, primary: list[Row], owner: Label | None, oracle: CascadeOracle
) -> None:
    near = [row for row in primary if row["time"] in {"focal", "widened"}]
    others = [row for row in primary if row["time"] not in {"focal", "widened", "global"}]
    _same(batch, "number of focal anchors", len(near), oracle.num_focal, near)
    _same(batch, "other times", {row["time"] for row in others}, set(), others)
    if not oracle.num_focal or focal is None:
        _same(batch, "focal HPI known", focal is not None, oracle.num_focal > 0)
        return
    for row in near:
        time = "focal" if oracle.in_window([row["anchor"]], focal) else "widened"
        detail = f", anchor {row['anchor']} at {row['hpi']} h with focal HPI {focal}"
        _same(batch, "time", row["time"], time, [row], detail)
    drawn = Counter(row["condition"] for row in primary)
    for condition, quota in drawn.items():
        mine = [row for row in near if row["condition"] == condition]
        share = Fraction(oracle.num_focal * quota, oracle.num_primary)
        allowed = {math.floor(share), math.ceil(share)}
        detail = "" if _none(condition) is None else f", condition {condition!r}"
        what = f"{len(mine)} focal anchors in {sorted(allowed)}"
        _same(batch, what, len(mine) in allowed, True, mine, detail)
        stratum = oracle.strata[owner][_none(condition)]
        if quota <= len(stratum) and not oracle.options.exclusive_by:
            _check_nearest(batch, mine, stratum, focal, oracle, detail)


def _check_nearest(
    batch: Batch, chosen: list[Row], stratum: list[int], focal: float, oracle: CascadeOracle, detail: str
) -> None:
    """Check that anchors outside the window were taken only after all inside, and the nearest first."""

    def beyond(anchor: int) -> Fraction:
        distance = abs(oracle.hpi(anchor) - meant(focal))
        return Fraction(0) if distance <= oracle.window else distance

    nearest = sorted(beyond(anchor) for anchor in stratum)[: len(chosen)]
    seen = sorted(beyond(row["anchor"]) for row in chosen)
    farther = [row for row in chosen if beyond(row["anchor"]) > max(nearest, default=0)]
    what = "distances of the focal anchors (0: in the window)"
    _same(batch, what, list(map(float, seen)), list(map(float, nearest)), farther, detail)
