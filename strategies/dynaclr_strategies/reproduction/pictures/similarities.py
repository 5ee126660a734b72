"""Embeddings: how similar each is to each other, by label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dynaclr_strategies.loss_descriptions import EmbeddingsDescription
from dynaclr_strategies.reproduction.pictures.sheets import INK, fitted, new_sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_similarities"]

MOST_SAMPLES = 64
LARGEST_IN_NUMBERS = 12


def draw_similarities(headline: Sequence[tuple[str, str]], description: EmbeddingsDescription) -> Figure | None:
    """Draw the cosine similarities of embeddings; None if there are none.

    Parameters
    ----------
    headline
        What is written above.
    description
        The embeddings and their labels.
    """
    embeddings, labels = description.array(), description.labels
    if not len(embeddings):
        return None
    shown = min(len(embeddings), MOST_SAMPLES)
    cosines, names = _cosines(embeddings[:shown]), [fitted(label, 0.6) for label in labels[:shown]]
    how_many = str(shown) if shown == len(embeddings) else f"the first {shown} of {len(embeddings)}"
    note = f"cosine similarities of {how_many} embeddings; pairs of one label are framed"
    figure = new_sheet([*headline, ("shown", note)], 7.6)
    axes = figure.add_subplot()
    image = axes.imshow(cosines, cmap="cividis", vmin=-1, vmax=1, interpolation="nearest")
    figure.colorbar(image, ax=axes, label="cosine similarity (hatched: a vector of zeros)")
    size = 9.5 if shown <= 24 else 7
    every = 1 if shown <= 40 else 2
    axes.set_xticks(range(0, shown, every), names[::every], fontsize=size, rotation=90 if shown > 12 else 0)
    axes.set_yticks(range(0, shown, every), names[::every], fontsize=size)
    axes.set_xlabel("label of the sample")
    axes.set_ylabel("label of the sample")
    _draw_cells(axes, cosines, names)
    return figure


def _draw_cells(axes: Any, cosines: npt.NDArray[np.float64], names: list[str]) -> None:
    """Frame the pairs of one label, hatch those without a similarity, and write small matrices out in numbers."""
    from matplotlib.patches import Rectangle

    for i, j in np.ndindex(cosines.shape):
        known = bool(np.isfinite(cosines[i, j]))
        corner = (j - 0.5, i - 0.5)
        if not known:
            axes.add_patch(Rectangle(corner, 1, 1, facecolor="#DDDDDD", edgecolor="#888888", hatch="///", linewidth=0))
        if names[i] == names[j] and i != j:
            axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="white", linewidth=3))
            axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=INK, linewidth=1.4))
        if known and len(names) <= LARGEST_IN_NUMBERS:
            colour = "black" if cosines[i, j] > 0 else "white"
            axes.text(
                j,
                i,
                f"{round(float(cosines[i, j]), 2) + 0.0:.2f}",
                ha="center",
                va="center",
                fontsize=8.5,
                color=colour,
            )


def _cosines(embeddings: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the similarities; not a number where a vector has no direction."""
    with np.errstate(all="ignore"):
        # Scaled first, so that the squares of tiny and of huge numbers stay numbers.
        scaled = embeddings / np.abs(embeddings).max(axis=1, keepdims=True)
        unit = scaled / np.sqrt((scaled**2).sum(axis=1, keepdims=True))
        cosines: npt.NDArray[np.float64] = unit @ unit.T
    return cosines
