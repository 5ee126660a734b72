"""What deterministic transforms of batches should make of each voxel: a loop over samples and channels, in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from dynaclr_strategies.loss_descriptions import FLOATS, AugmentCase

__all__ = ["normalized", "percentile", "scaled"]

Pixels = npt.NDArray[np.float64]


def normalized(case: AugmentCase, pixels: Pixels) -> tuple[Pixels, Pixels]:
    """Return the batch less the subtrahend over the divisor of each sample and channel, and what rounding may add.

    Subtrahend, divisor, difference and quotient are each rounded once.
    """
    expected, error = pixels.copy(), np.zeros(pixels.shape)
    for i, meta in enumerate(case.norm_meta()):
        for c in case.listed:
            statistics = meta[case.names[c]][case.level]
            center, spread = statistics[case.subtrahend], statistics[case.divisor]
            expected[i, c] = (pixels[i, c] - center) / spread
            error[i, c] = _roundoff(case) * (abs(pixels[i, c]) + 2 * abs(center) + 3 * abs(pixels[i, c] - center))
            error[i, c] = error[i, c] / spread + _smallest(case)
    return expected, error


def percentile(values: list[float], percent: float) -> float:
    """Return a percentile by its definition: sorted, and linear between neighbours."""
    below, above, place = _neighbours(values, percent)
    return below + (above - below) * place


def _neighbours(values: list[float], percent: float) -> tuple[float, float, float]:
    """Return the values on both sides of a percentile, and where it lies between them, from 0 to 1."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    below = math.floor(place)
    return ordered[below], ordered[min(below + 1, len(ordered) - 1)], place - below


def _slip(values: list[float], percent: float) -> float:
    """Return how far a percentile moves if its place among all values is rounded: far, next to a bright pixel."""
    below, above, _ = _neighbours(values, percent)
    return len(values) * (above - below)


def scaled(case: AugmentCase, pixels: Pixels) -> tuple[Pixels, Pixels]:
    """Return the batch with the percentiles of each sample and channel at the target, and what rounding may add.

    The two percentiles are rounded, and all that depends on their difference suffers where they are close to each
    other; where rounding may decide whether they differ at all, anything may come out.
    """
    expected, error = pixels.copy(), np.zeros(pixels.shape)
    for i in range(case.samples):
        for c in case.listed:
            expected[i, c], error[i, c] = _scaled(case, pixels[i, c])
    return expected, error


def _scaled(case: AugmentCase, image: Pixels) -> tuple[Pixels, Pixels]:
    low, high = (percentile(list(image.flat), percent) for percent in case.percentiles)
    start, stop = case.target
    if case.relative:
        start, stop = (case.target[0] + (case.target[1] - case.target[0]) * p / 100 for p in case.percentiles)
    roundoff, width = 4 * _roundoff(case), high - low
    slips = abs(low) + abs(high) + sum(_slip(list(image.flat), percent) for percent in case.percentiles)
    if width == 0:
        moved = image - low + start
        error = roundoff * (abs(image) + abs(low) + abs(start))
    elif width <= 4 * roundoff * slips:
        return image, np.full(image.shape, math.inf)
    else:
        share = (image - low) / width
        moved = share * (stop - start) + start
        ill = roundoff * (1 + slips / width)  # of low and of the width, relative to the width
        error = (ill * (1 + 2 * abs(share))) * (stop - start) + roundoff * (abs(start) + abs(moved))
    if case.clip:
        moved = np.clip(moved, start, stop)
    return moved, error + _smallest(case)


def _roundoff(case: AugmentCase) -> float:
    # The reference rounds too, in float64.
    return FLOATS[case.dtype].roundoff + FLOATS["float64"].roundoff


def _smallest(case: AugmentCase) -> Any:
    return 2.0 ** FLOATS[case.dtype].smallest
