"""A batch over hours post infection, by experiment and condition."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pandas as pd

from dynaclr_strategies.invariants.evidence import BatchEvidence, DrawsEvidence
from dynaclr_strategies.oracles.sampler import CascadeOracle
from dynaclr_strategies.reproduction.pictures.sheets import (
    AMBER,
    BLUE,
    FAINT,
    INK,
    RED,
    fitted,
    new_sheet,
    place_labels,
)
from dynaclr_strategies.sampler_descriptions import Label, SamplerOptions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_batch"]

MOST_LANES, MOST_LABELS, DEEPEST_CROWD = 40, 24, 5
WINDOW = "#FBF6B8"


@dataclass
class _Table:
    """Where each anchor is drawn: in the lane of its labels at its HPI, side by side where anchors share all that."""

    experiments: list[Label]
    conditions: list[Label]
    hpi: list[float]
    lanes: list[tuple[Label, Label]]
    x: list[float]
    y: list[float]


def draw_batch(
    headline: Sequence[tuple[str, str]],
    table: pd.DataFrame,
    options: SamplerOptions,
    evidence: BatchEvidence | DrawsEvidence | None,
) -> Figure:
    """Draw all anchors of the table faint, those of the batch solid, and mark those that are to blame.

    Parameters
    ----------
    headline
        What is written above.
    table, options
        What the sampler was made from.
    evidence
        The batch, or what many batches hold too often or too rarely; None where neither broke the law.
    """
    anchors = _rows(evidence.anchors, table) if isinstance(evidence, BatchEvidence) else []
    blamed = [] if evidence is None else sorted(set(_rows(_to_blame(evidence), table)))
    drawn = _lay_out(table, options, set(anchors))
    figure = new_sheet([*headline, *_notes(evidence, anchors, blamed, table)], 1.6 + 0.62 * max(2, len(drawn.lanes)))
    axes = figure.add_subplot()
    _draw_lanes(axes, drawn)
    oracle = CascadeOracle(table, options)
    owners = oracle.batch_groups(anchors) if anchors else []
    strangers: list[int] = []
    quotas: dict[tuple[Label, Label], float] = {}
    if len(owners) == 1:
        strangers, quotas = oracle.split(anchors, owners[0])[1], _quotas(oracle, owners[0])
        _draw_window(axes, drawn, oracle, owners[0], anchors, blamed)
    _draw_counts(axes, drawn, anchors, quotas)
    _draw_anchors(axes, drawn, anchors, blamed, set(strangers))
    figure.legend(loc="outside lower left", ncols=4, frameon=False, fontsize=9.5, handletextpad=0.4)
    counts = Counter(anchors)
    axes.set_xlabel("hours post infection" + (" (anchors of one time side by side)" if drawn.x != drawn.hpi else ""))
    labels = [(drawn.x[a], drawn.y[a], f"{a} (x{counts[a]})" if counts[a] > 1 else str(a)) for a in blamed]
    points = [(drawn.x[a], drawn.y[a]) for a in {*anchors, *blamed}]
    place_labels(axes, labels if len(labels) <= MOST_LABELS else [], points, RED)
    return figure


def _rows(anchors: Sequence[Any], table: pd.DataFrame) -> list[int]:
    """Return the anchors that are rows of the table, whatever else a broken sampler yields."""
    return [int(a) for a in anchors if hasattr(a, "__index__") and 0 <= int(a) < len(table)]


def _to_blame(evidence: BatchEvidence | DrawsEvidence) -> tuple[int, ...]:
    return evidence.offenders if isinstance(evidence, BatchEvidence) else evidence.anchors


def _notes(
    evidence: BatchEvidence | DrawsEvidence | None, anchors: list[int], blamed: list[int], table: pd.DataFrame
) -> list[tuple[str, str]]:
    notes = []
    if not isinstance(evidence, BatchEvidence):
        notes.append(("shown", f"all {len(table)} anchors of the table; no single batch breaks this law"))
    counts = Counter(anchors)
    some = blamed[:MOST_LABELS]
    listed = ", ".join(f"{a} ({counts[a]} times)" if counts[a] > 1 else str(a) for a in some)
    listed += f" and {len(blamed) - len(some)} more" if len(blamed) > len(some) else ""
    if blamed:
        notes.append(("marked", f"{'row' if len(blamed) == 1 else 'rows'} {listed} of the table"))
    strange = [a for a in evidence.anchors if not _rows([a], table)] if evidence is not None else []
    if strange:
        notes.append(("not shown", f"not in the table: {', '.join(map(str, strange))}"))
    return notes


# --- lanes ------------------------------------------------------------------------------------------------------------


def _labels(table: pd.DataFrame, columns: Sequence[str]) -> list[Label]:
    rows = zip(*(list(table[column]) for column in columns), strict=True)
    return [row[0] if len(columns) == 1 else row for row in rows]


def _lay_out(table: pd.DataFrame, options: SamplerOptions, batch: set[int]) -> _Table:
    experiments, conditions = _labels(table, options.group_by), _labels(table, options.stratify_by)
    hpi = [float(value) for value in table["hours_post_infection"]]
    pairs = list(zip(experiments, conditions, strict=True))
    lanes = sorted(set(pairs), key=repr)
    if len(lanes) > MOST_LANES:
        # Those without an anchor of the batch go first.
        busy = {pairs[anchor] for anchor in batch}
        lanes = sorted(sorted(lanes, key=lambda lane: (lane not in busy, repr(lane)))[:MOST_LANES], key=repr)
    number = {lane: place for place, lane in enumerate(lanes)}
    crowds: dict[tuple[Any, float], list[int]] = {}
    for anchor, (pair, time) in enumerate(zip(pairs, hpi, strict=True)):
        # Those of the batch first, so that a crowd of others does not push them aside.
        crowds.setdefault((pair, time), []).insert(0 if anchor in batch else len(pairs), anchor)
    gap, x, y = _narrowest_gap(hpi), [*hpi], [math.nan] * len(pairs)
    for (pair, time), members in crowds.items():
        deep, columns = min(len(members), DEEPEST_CROWD), -(-len(members) // DEEPEST_CROWD)
        for place, anchor in enumerate(members if pair in number else ()):
            column, row = divmod(place, deep)
            x[anchor] = time + _from_the_middle(column, columns) * min(0.06 * gap, 0.7 * gap / columns)
            y[anchor] = number[pair] + _from_the_middle(row, deep) * min(0.24, 0.78 / deep)
    return _Table(experiments, conditions, hpi, lanes, x, y)


def _narrowest_gap(hpi: Sequence[float]) -> float:
    """Return the shortest time between two anchors that are not of one time, but no less than can be seen."""
    times = sorted(set(hpi))
    gaps = [after - before for before, after in pairwise(times)]
    return max(min(gaps), (times[-1] - times[0]) / 60) if gaps else 1.0


def _from_the_middle(place: int, places: int) -> float:
    """Return where the n-th of some places is that are filled from the middle outwards: 0, 1, -1, 2, -2 and so on."""
    aside = (place + 1) // 2 * (1 if place % 2 else -1)
    return aside - (0.5 if places % 2 == 0 else 0.0)


def _draw_lanes(axes: Axes, drawn: _Table) -> None:
    names = [f"{fitted(experiment, 1.6)}\n{fitted(condition, 1.6)}" for experiment, condition in drawn.lanes]
    axes.set_yticks(range(len(drawn.lanes)), names)
    axes.set_ylim(len(drawn.lanes) - 0.4, -0.6)
    axes.set_ylabel("experiment and condition")
    axes.margins(x=0.06)
    axes.tick_params(labelsize=9.5)
    for place in range(1, len(drawn.lanes)):
        other = drawn.lanes[place][0] != drawn.lanes[place - 1][0]
        axes.axhline(place - 0.5, color=INK if other else FAINT, linewidth=1.2 if other else 0.6, zorder=0)
    axes.scatter(drawn.x, drawn.y, s=26, facecolors="white", edgecolors=FAINT, label="in the table", zorder=2)
    if len(set(drawn.hpi)) == 1:
        axes.set_xticks(drawn.hpi[:1])
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, min(drawn.x) - 0.2), max(high, max(drawn.x) + 0.2))


def _quotas(oracle: CascadeOracle, owner: Label | None) -> dict[tuple[Label, Label], float]:
    """Return the quota of each lane of the batch's own experiment, where lanes have quotas."""
    if owner is None or not oracle.options.condition_balanced:
        return {}
    return {
        (owner, condition): float(quota) for condition, quota in oracle.quotas(owner).items() if condition is not None
    }


def _draw_counts(axes: Axes, drawn: _Table, anchors: list[int], quotas: dict[tuple[Label, Label], float]) -> None:
    """Write beside each lane how many of the batch it holds, and its quota where there is one."""
    if not anchors:
        return
    counts = Counter((drawn.experiments[anchor], drawn.conditions[anchor]) for anchor in anchors)
    side: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "size": 9.5}
    axes.text(1.015, -0.6, "in batch" + ("\n(quota)" if quotas else ""), va="bottom", **side)
    for place, lane in enumerate(drawn.lanes):
        quota = f" ({quotas[lane]:.3g})" if lane in quotas else ""
        axes.text(1.015, place, f"{counts[lane]}{quota}", va="center", **side)


# --- anchors ----------------------------------------------------------------------------------------------------------


def _draw_window(
    axes: Axes, drawn: _Table, oracle: CascadeOracle, owner: Label | None, anchors: list[int], blamed: list[int]
) -> None:
    """Shade the focal window, where the anchors to blame are just those outside one."""
    if not oracle.options.temporal_enrichment or not blamed:
        return
    primary = oracle.split(anchors, owner)[0]
    inside = {anchor for anchor in primary if anchor not in blamed}
    values = sorted(oracle.focal_values(owner, {oracle.condition(anchor) for anchor in primary}))
    focal = next((float(value) for value in values if set(oracle.in_window(primary, value)) == inside), None)
    if focal is None:
        return
    mine = [n for n, lane in enumerate(drawn.lanes) if lane[0] == owner or not oracle.options.experiment_aware]
    half = oracle.options.temporal_window_hours
    name = f"focal window: {focal:g} ± {half:g} h"
    for place in mine:
        label = name if place == mine[0] else None
        axes.fill_between(
            [focal - half, focal + half], place - 0.5, place + 0.5, color=WINDOW, zorder=0, linewidth=0, label=label
        )
    axes.vlines(focal, mine[0] - 0.5, mine[-1] + 0.5, color=AMBER, linewidth=1, linestyles="dashed", zorder=1)


def _draw_anchors(axes: Axes, drawn: _Table, anchors: list[int], blamed: list[int], leaked: set[int]) -> None:
    primary = [anchor for anchor in dict.fromkeys(anchors) if anchor not in leaked]
    others = [anchor for anchor in dict.fromkeys(anchors) if anchor in leaked]
    style: dict[str, Any] = {"edgecolors": "white", "linewidths": 0.8, "zorder": 4}
    name = "in the batch" if not leaked else "in the batch, primary"
    for members, marker, colour, size, label in (
        (primary, "o", BLUE, 62, name),
        (others, "^", AMBER, 82, "in the batch, leaked"),
    ):
        if members:
            x, y = [drawn.x[a] for a in members], [drawn.y[a] for a in members]
            axes.scatter(x, y, s=size, marker=marker, c=colour, label=label, **style)
    if blamed:
        x, y = [drawn.x[a] for a in blamed], [drawn.y[a] for a in blamed]
        crowded = len(blamed) > MOST_LABELS
        label = "breaks the law" if crowded else "breaks the law (number: row of the table)"
        size = 95 if crowded else 190
        axes.scatter(x, y, s=size, facecolors="none", edgecolors=RED, linewidths=2, zorder=5, label=label)
