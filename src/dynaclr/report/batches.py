"""The composition of batches: a table of their anchors, and a picture of experiment, condition and HPI."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from dynaclr.cascade.axes import spelled
from dynaclr.cascade.strata import HPI

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dynaclr.sampler import FlexibleBatchSampler

_JITTER: Final = 0.32  # half the width of a batch's column of points
_TICKS: Final = 40  # at most, so that numbers can be read
_MARKERS: Final = "osD^vP*X"  # one per experiment, so that leaked anchors show


def batch_table(
    sampler: FlexibleBatchSampler, anchors: pd.DataFrame, *, epoch: int = 0, batches: int = 24
) -> pd.DataFrame:
    """List the anchors of an epoch's first batches.

    Parameters
    ----------
    sampler
        The sampler.
    anchors : DataFrame of N rows
        The table it was made from, with ``hours_post_infection``.
    epoch, batches
        Which epoch, and how many batches at most; at least 1.

    Returns
    -------
    DataFrame
        One row per anchor: ``batch``, ``experiment`` and ``condition`` (as the sampler groups them),
        ``hours_post_infection`` (hours), ``source``, ``time`` and ``repeated`` (see `FlexibleBatchSampler.explain`) and
        ``focal_hpi`` (hours, NaN without enrichment).
    """
    names = _names(sampler)
    parts = []
    for number in range(min(max(batches, 1), sampler.num_batches)):
        explained = sampler.explain(number, epoch=epoch)
        rows = anchors.iloc[explained["anchor"].to_numpy()]
        focal = explained.attrs["focal_hpi"]
        parts.append(
            pd.DataFrame(
                {
                    "batch": number,
                    "experiment": explained["experiment"].map(names["experiment"]),
                    "condition": explained["condition"].map(names["condition"]),
                    HPI: rows[HPI].to_numpy(dtype=np.float64),
                    "source": explained["source"].to_numpy(),
                    "time": explained["time"].to_numpy(),
                    "repeated": explained["repeated"].to_numpy(),
                    "focal_hpi": np.nan if focal is None else focal,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _names(sampler: FlexibleBatchSampler) -> dict[str, Callable[[Hashable], str]]:
    """Return how the labels of the sampler's experiments and conditions are written, no two of them alike."""
    asked = sampler.strata()
    return {column: _namer(asked[column]) for column in ("experiment", "condition")}


def _namer(labels: Iterable[Hashable]) -> Callable[[Hashable], str]:
    """Return what writes each label as a configuration would, but such as say the same with their parts apart."""
    times = Counter(_text(label) for label in set(labels))
    return lambda label: _text(label) if times[_text(label)] < 2 else repr(label)


def _text(label: Hashable) -> str:
    """Return a label as it stands in a configuration; an axis that is off has ``None``."""
    return "all" if label is None else spelled(label)


def batch_summary(sampler: FlexibleBatchSampler, table: pd.DataFrame) -> pd.DataFrame:
    """Compare what batches hold with what was asked for, by experiment and condition.

    Parameters
    ----------
    sampler
        The sampler.
    table
        What `batch_table` returned.

    Returns
    -------
    DataFrame
        One row per experiment and condition, also for those that did not come up: ``anchors`` (how many there are),
        ``batches`` (that belong to the experiment) and ``expected`` (of as many), ``primary`` (fewest and most
        primary anchors of the condition in one of them) and ``quota`` (expected), ``leaked`` (its anchors in batches of
        other experiments), ``focal``, ``widened`` and ``global`` (primary anchors, with enrichment only), ``repeated``
        (anchors that stood in their batch already) and ``HPI`` (from the first to the last, in hours).
    """
    by, primary = ["experiment", "condition"], table[table["source"] == "primary"]
    asked = sampler.strata()
    for column, name in _names(sampler).items():
        asked[column] = asked[column].map(name)
    asked = asked.set_index(by)
    owned = primary.groupby("experiment")["batch"].nunique()
    batches = owned.reindex(asked.index.get_level_values("experiment"), fill_value=0).to_numpy()
    each = primary.groupby([*by, "batch"]).size().groupby(by).agg(["min", "max", "size"])
    each = each.reindex(asked.index, fill_value=0)
    # A batch without any does not show among those that were counted.
    fewest = each["min"].where(each["size"] == batches, 0)
    kinds = ["focal", "widened", "global"] if table["time"].notna().any() else []
    told = {"leaked": table["source"] == "leaked", **{kind: table["time"] == kind for kind in kinds}}
    anchors = table.assign(**told).groupby(by)
    hpi = anchors[HPI].agg(["min", "max"]).reindex(asked.index)
    share = (int(table["batch"].max()) + 1) / sampler.num_batches
    summary = {
        "anchors": asked["anchors"],
        "batches": batches,
        "expected": (asked["batches"] * share).round(1),
        "primary": [_span(low, high) for low, high in zip(fewest, each["max"], strict=True)],
        "quota": asked["quota"].round(2),
        **anchors[[*told, "repeated"]].sum().reindex(asked.index, fill_value=0).astype(int),
        "HPI": [_span(low, high) for low, high in zip(hpi["min"], hpi["max"], strict=True)],
    }
    return pd.DataFrame(summary, index=asked.index).reset_index()


def _span(low: float, high: float) -> str:
    """Return two numbers as one or as a range; nothing for NaN."""
    ends = dict.fromkeys(f"{round(end, 2):g}" for end in (low, high) if not np.isnan(end))
    return " to ".join(ends)


def plot_batches(table: pd.DataFrame, path: Path, *, title: str = "") -> Path:
    """Draw the composition of batches into a PNG file.

    The upper panel counts each batch's anchors by experiment and condition; the lower one shows their HPI, the window's
    focal HPI as a line, and leaked anchors hollow.

    Parameters
    ----------
    table
        What `batch_table` returned.
    path
        File to write.
    title
        Headline.

    Returns
    -------
    Path
        The same path.
    """
    from matplotlib.figure import Figure

    experiments, conditions = sorted(table["experiment"].unique()), sorted(table["condition"].unique())
    colors = _colors(experiments, conditions)
    batches = int(table["batch"].max()) + 1
    figure = Figure(figsize=(min(16.0, max(8.0, 2.5 + 0.45 * batches)), 7.0), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2, 3])
    _draw_counts(upper, table, colors)
    _draw_times(lower, table, colors, experiments)
    lower.set_xticks(range(0, batches, -(-batches // _TICKS)))
    lower.set_xlim(-0.6, batches - 0.4)
    _legend(figure, table, colors, experiments)
    figure.suptitle(title or "Composition of the batches", x=0.01, ha="left", fontweight="bold")
    figure.savefig(path, dpi=120)
    return path


def _colors(experiments: list[str], conditions: list[str]) -> dict[tuple[str, str], Any]:
    """Give each experiment a hue and each of its conditions a shade of it."""
    from matplotlib import colormaps

    hues = ["Blues", "Oranges", "Greens", "Purples", "Reds", "Greys"]
    shades = np.linspace(0.85, 0.4, len(conditions))
    return {
        (experiment, condition): colormaps[hues[place % len(hues)]](shade)
        for place, experiment in enumerate(experiments)
        for condition, shade in zip(conditions, shades, strict=True)
    }


def _draw_counts(axes: Axes, table: pd.DataFrame, colors: dict[tuple[str, str], Any]) -> None:
    """Stack the primary anchors of each batch, then the leaked ones, which are hollow."""
    numbers = np.arange(int(table["batch"].max()) + 1)
    bottom = np.zeros(len(numbers))
    for leaked in (False, True):
        some = table[(table["source"] == "leaked") == leaked]
        for key, color in colors.items():
            mine = some[(some["experiment"] == key[0]) & (some["condition"] == key[1])]
            heights = np.bincount(mine["batch"], minlength=len(numbers))
            face, edge, width = ("none", color, 1.2) if leaked else (color, "white", 0.5)
            axes.bar(numbers, heights, width=0.8, bottom=bottom, color=face, edgecolor=edge, linewidth=width)
            bottom += heights
    axes.set_ylabel("anchors in the batch")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_times(axes: Axes, table: pd.DataFrame, colors: dict[tuple[str, str], Any], experiments: list[str]) -> None:
    size = table.groupby("batch")["batch"].transform("size").to_numpy()
    spread = (table.groupby("batch").cumcount().to_numpy() + 0.5) / size - 0.5
    x = table["batch"].to_numpy() + 2 * _JITTER * spread
    leaked = (table["source"] == "leaked").to_numpy()
    for (experiment, condition), color in colors.items():
        mine = ((table["experiment"] == experiment) & (table["condition"] == condition)).to_numpy()
        marker = _MARKERS[experiments.index(experiment) % len(_MARKERS)]
        for chosen, face in ((mine & ~leaked, color), (mine & leaked, "none")):
            if chosen.any():
                y = table[HPI].to_numpy()[chosen]
                axes.scatter(x[chosen], y, s=22, marker=marker, facecolors=face, edgecolors=color, linewidths=1.2)
    focal = table.groupby("batch")["focal_hpi"].first().dropna()
    axes.hlines(focal, focal.index - 0.42, focal.index + 0.42, color="black", linewidth=1.5, zorder=0)
    axes.set_ylabel("hours post infection")
    axes.set_xlabel("batch")
    axes.grid(axis="y", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: Figure, table: pd.DataFrame, colors: dict[tuple[str, str], Any], experiments: list[str]) -> None:
    from matplotlib.lines import Line2D

    present = set(zip(table["experiment"], table["condition"], strict=True))
    handles = [
        Line2D([], [], color=color, linestyle="none", label=f"{key[0]}: {key[1]}",
               marker=_MARKERS[experiments.index(key[0]) % len(_MARKERS)])
        for key, color in colors.items()
        if key in present
    ]  # fmt: skip
    if (table["source"] == "leaked").any():
        handles.append(
            Line2D([], [], color="grey", linestyle="none", marker="o", markerfacecolor="none", label="leaked")
        )
    if table["focal_hpi"].notna().any():
        handles.append(Line2D([], [], color="black", label="focal HPI"))
    figure.legend(handles=handles, loc="outside right upper", frameon=False, title="experiment: condition")
