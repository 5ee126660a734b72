"""The plot: seconds against size, both logarithmic, ours between the baseline and the limit."""

from __future__ import annotations

from pathlib import Path

from benchmarks.model import Results


def draw(results: Results, path: Path) -> None:
    """Draw the figures that have several sizes."""
    raise NotImplementedError
