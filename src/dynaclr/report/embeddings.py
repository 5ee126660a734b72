"""Embeddings in a plane: two principal components, coloured by condition and by HPI."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dynaclr.cascade.strata import HPI

if TYPE_CHECKING:
    from anndata import AnnData


def plot_embeddings(embeddings: AnnData, path: Path) -> Path:
    """Draw the features' first two principal components into a PNG file.

    Parameters
    ----------
    embeddings
        What `dynaclr.embeddings.read_embeddings` returned: features of n observations, with ``experiment``,
        ``condition`` and ``hours_post_infection``.
    path
        File to write.

    Returns
    -------
    Path
        The same path.
    """
    from matplotlib.figure import Figure

    features = np.asarray(embeddings.X, dtype=np.float64)
    left, spread, _ = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    plane = left[:, :2] * spread[:2]  # coordinates along the directions of largest variance
    table = embeddings.obs
    labels = table["experiment"].astype(str) + ": " + table["condition"].astype(str)
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    by_condition, by_time = figure.subplots(1, 2, sharex=True, sharey=True)
    for label in sorted(labels.unique()):
        mine = (labels == label).to_numpy()
        by_condition.scatter(plane[mine, 0], plane[mine, 1], s=8, alpha=0.6, linewidths=0, label=label)
    figure.legend(loc="outside upper left", ncols=4, frameon=False, markerscale=2, fontsize="small")
    points = by_time.scatter(plane[:, 0], plane[:, 1], s=8, c=table[HPI].to_numpy(), cmap="viridis", linewidths=0)
    figure.colorbar(points, ax=by_time, label="hours post infection")
    for axes in (by_condition, by_time):
        axes.set_xlabel("first principal component")
        axes.spines[["top", "right"]].set_visible(False)
    by_condition.set_ylabel("second principal component")
    figure.savefig(path, dpi=120)
    return path
