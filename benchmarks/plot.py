"""The plot: seconds against size, both logarithmic, ours between the baseline and the limit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.model import Figure, Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STYLE = {
    "baseline": {"color": "#b04a3a", "marker": "s", "linestyle": "--"},
    "ours": {"color": "#1f5fa8", "marker": "o", "linestyle": "-"},
    "limit": {"color": "#6b6b6b", "marker": "^", "linestyle": ":"},
}
_NAMES = {"baseline": "naive baseline", "ours": "dynaclr", "limit": "limit"}


def draw(results: Results, path: Path) -> None:
    """Draw every work that was done at several sizes, one panel each."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    panels = _panels(results.figures)
    columns = 3
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4.2 * columns, 3.3 * rows), squeeze=False, layout="constrained")
    for axis, (title, figures) in zip(axes.flat, panels.items(), strict=False):
        _panel(axis, title, figures)
    for axis in list(axes.flat)[len(panels) :]:
        axis.set_axis_off()
    handles = [
        plt.Line2D([], [], label=_NAMES[side], linewidth=1.8, markersize=5, **style)  # type: ignore[arg-type]
        for side, style in _STYLE.items()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False, fontsize=11)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _panels(figures: list[Figure]) -> dict[str, list[Figure]]:
    """Gather by work what has several sizes and something to compare with."""
    found: dict[str, list[Figure]] = {}
    for figure in figures:
        if len(figure.seconds) > 1:
            found.setdefault(f"{figure.group}\n{figure.work}", []).append(figure)
    return {title: several for title, several in found.items() if len(several) > 1}


def _panel(axis: Axes, title: str, figures: list[Figure]) -> None:
    for side, style in _STYLE.items():
        points = [(figure.size, figure.seconds[side]) for figure in figures if side in figure.seconds]
        if points:
            axis.plot(*zip(*points, strict=True), linewidth=1.8, markersize=5, **style)  # type: ignore[arg-type]
    axis.set(xscale="log", yscale="log", xlabel=figures[0].of, ylabel=f"seconds per {figures[0].unit}")
    axis.set_title(title, fontsize=10)
    axis.grid(visible=True, which="major", alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    if figures[-1].size < 10_000:  # batch sizes are powers of two: name them
        axis.set_xticks([figure.size for figure in figures], [str(figure.size) for figure in figures])
        axis.minorticks_off()
