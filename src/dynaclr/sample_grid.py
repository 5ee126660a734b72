"""Pictures of what the encoder was shown: one row per sample, one tile per view and channel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["middle_slices", "sample_grid"]

_SEPARATOR = 2
_PERCENTILES = (1.0, 99.0)


def middle_slices(views: Sequence[Tensor], samples: int) -> NDArray[np.float32]:
    """Return the middle slice of each channel of the first samples of a batch, on the CPU.

    Parameters
    ----------
    views
        The batch's anchors, positives and so on, each ``(B, C, Z, Y, X)``.
    samples
        How many samples to take at most.

    Returns
    -------
    ndarray of float32
        Shape ``(samples, views, C, Y, X)``.
    """
    planes = [view[:samples, :, view.shape[2] // 2].detach().float().cpu().numpy() for view in views]
    return np.stack(planes, axis=1)


def sample_grid(planes: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Lay out planes as one grey picture, each channel of each sample stretched between its 1st and 99th percentile.

    The views of a channel share their stretch, so that a difference in brightness between anchor and positive shows.
    Pixels that are not finite are black, and so is a channel without contrast.

    Parameters
    ----------
    planes
        Shape ``(samples, views, C, Y, X)``; `middle_slices` makes them.

    Returns
    -------
    ndarray of uint8
        Shape ``(height, width)``: samples from top to bottom; from left to right the channels of the first view, then
        those of the next, with white lines between the tiles.
    """
    samples, views, channels, height, width = planes.shape
    grid = np.full(
        (samples * (height + _SEPARATOR) - _SEPARATOR, views * channels * (width + _SEPARATOR) - _SEPARATOR),
        255,
        dtype=np.uint8,
    )
    for sample in range(samples):
        top = sample * (height + _SEPARATOR)
        for channel in range(channels):
            for view, tile in enumerate(_stretched(planes[sample, :, channel])):
                left = (view * channels + channel) * (width + _SEPARATOR)
                grid[top : top + height, left : left + width] = tile
    return grid


def _stretched(planes: NDArray[np.float32]) -> NDArray[np.uint8]:
    finite = np.isfinite(planes)
    if not finite.any():
        return np.zeros(planes.shape, dtype=np.uint8)
    low, high = np.percentile(planes[finite].astype(np.float64), _PERCENTILES)
    if not high > low:
        return np.zeros(planes.shape, dtype=np.uint8)
    scaled = (np.where(finite, planes, low).astype(np.float64) - low) / (high - low)
    grey: NDArray[np.uint8] = np.round(255 * np.clip(scaled, 0, 1)).astype(np.uint8)
    return grey
