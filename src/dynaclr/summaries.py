"""Statistics of more voxels than fit into memory, from summaries that can be merged.

A summary keeps number, mean, sum of squared deviations, minimum, maximum and a sorted list of values with how often
each occurs. Up to `EXACT_VALUES` distinct values the list is complete and every statistic is exact: always so for
integers and floats of 8 and 16 bits. Beyond that the list is thinned to `KEPT_VALUES` values that stand for equal
numbers of voxels, and a quantile's rank is off by at most ``1 / (2 * KEPT_VALUES)`` of the voxels each time a list
is thinned: 0.05 % for the four times (block, frame, FOV, data set) of a movie. Mean, standard deviation, minimum
and maximum do not depend on the list.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

EXACT_VALUES = 2**16
"""So many distinct values are all kept."""

KEPT_VALUES = 2**12
"""To so many values a longer list is thinned."""

_BUFFERED_VALUES = 2**21
"""So many values (32 MiB) wait to be merged."""


@dataclass(frozen=True)
class Summary:
    """What is kept of some voxels.

    Parameters
    ----------
    count
        Number of voxels, at least 1.
    mean
        Their mean.
    squares
        Sum of their squared deviations from the mean.
    minimum, maximum
        Their smallest and largest value.
    values, counts
        Distinct values, ascending (float64), and how many voxels each stands for (int64).
    """

    count: int
    mean: float
    squares: float
    minimum: float
    maximum: float
    values: NDArray[np.float64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, voxels: NDArray[Any]) -> Self:
        """Summarise an array of finite numbers.

        Parameters
        ----------
        voxels
            At least one integer or real number, in any shape.
        """
        values, counts = _distinct(voxels.ravel())
        if len(values) == 1:  # no rounding may turn the deviation of a constant image into something
            mean, squares = float(values[0]), 0.0
        elif len(values) > EXACT_VALUES:
            flat = voxels.astype(np.float64).ravel()
            mean = float(flat.mean())
            flat -= mean
            squares = float(np.dot(flat, flat))
        else:
            mean = float(np.dot(values, counts) / voxels.size)
            squares = float(np.dot((values - mean) ** 2, counts))
        bounds = float(values[0]), float(values[-1])
        return cls(voxels.size, mean, squares, *bounds, *_thinned(values, counts))

    def statistics(self) -> dict[str, float]:
        """Return mean, std (of the population), median, iqr, min, max, p1 and p99.

        Quantiles are interpolated linearly between order statistics, as `numpy.percentile` does
        -> Hyndman and Fan, *Sample Quantiles in Statistical Packages*, 1996, definition 7.
        """
        p1, q1, median, q3, p99 = self.quantiles([0.01, 0.25, 0.5, 0.75, 0.99])
        return {
            "mean": self.mean,
            "std": float(np.sqrt(self.squares / self.count)),
            "median": median,
            "iqr": q3 - q1,
            "min": self.minimum,
            "max": self.maximum,
            "p1": p1,
            "p99": p99,
        }

    def quantiles(self, fractions: Sequence[float]) -> list[float]:
        """Return the values below which these fractions of the voxels lie.

        Parameters
        ----------
        fractions
            Numbers from 0 to 1.
        """
        ranks = np.asarray(fractions) * (self.count - 1)
        below = np.floor(ranks).astype(np.int64)
        ends = np.cumsum(self.counts)
        low = self.values[np.searchsorted(ends, below, side="right")]
        high = self.values[np.searchsorted(ends, np.minimum(below + 1, self.count - 1), side="right")]
        found: list[float] = (low + (high - low) * (ranks - below)).tolist()
        return found

    def to_bytes(self) -> bytes:
        """Return the summary as the bytes of four ``.npy`` files, one after the other."""
        numbers = np.array([self.mean, self.squares, self.minimum, self.maximum])
        file = io.BytesIO()
        # Not `numpy.savez`: interrupted by Ctrl-C, its zip file raises a ValueError in place of KeyboardInterrupt.
        for array in (np.array([self.count], dtype=np.int64), numbers, self.values, self.counts):
            np.save(file, array, allow_pickle=False)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Return the summary that `to_bytes` made the bytes of.

        Parameters
        ----------
        content
            The bytes.
        """
        file = io.BytesIO(content)
        count, numbers, values, counts = (np.load(file, allow_pickle=False) for _ in range(4))
        mean, squares, minimum, maximum = numbers.tolist()
        return cls(int(count[0]), mean, squares, minimum, maximum, values, counts)


class Accumulator:
    """Merges summaries one after the other, in bounded memory."""

    def __init__(self) -> None:
        self._waiting: list[Summary] = []

    def add(self, summary: Summary) -> None:
        """Take one more summary.

        Parameters
        ----------
        summary
            It may share no voxel with those before.
        """
        self._waiting.append(summary)
        if sum(len(waiting.values) for waiting in self._waiting) > _BUFFERED_VALUES:
            self._waiting = [merged(self._waiting)]

    def result(self) -> Summary:
        """Return the summary of all voxels so far."""
        return merged(self._waiting)


def merged(summaries: Sequence[Summary]) -> Summary:
    """Return the summary of all voxels together.

    Means and squares are merged pair by pair -> Chan, Golub and LeVeque, *Updating Formulae and a Pairwise Algorithm
    for Computing Sample Variances*, 1979.

    Parameters
    ----------
    summaries
        At least one.
    """
    first, *others = summaries
    count, mean, squares = first.count, first.mean, first.squares
    for other in others:
        total, step = count + other.count, other.mean - mean
        squares += other.squares + step * step * (count * other.count / total)
        mean, count = mean + step * (other.count / total), total
    if not others:
        return first
    values, places = np.unique(np.concatenate([part.values for part in summaries]), return_inverse=True)
    counts = np.zeros(len(values), dtype=np.int64)
    np.add.at(counts, places, np.concatenate([part.counts for part in summaries]))
    bounds = min(part.minimum for part in summaries), max(part.maximum for part in summaries)
    return Summary(count, mean, squares, *bounds, *_thinned(values, counts))


def _distinct(voxels: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the distinct values, ascending, and how often each occurs."""
    if voxels.dtype.kind in "bui" and voxels.dtype.itemsize <= 2:
        # Counting is ten times faster than sorting; the offset makes the codes of signed numbers start at 0.
        offset = 0 if voxels.dtype.kind in "bu" else int(np.iinfo(voxels.dtype).min)
        codes = voxels if offset == 0 else voxels.astype(np.int32) - offset
        counts = np.bincount(codes)
        seen = np.flatnonzero(counts)
        return (seen + offset).astype(np.float64), counts[seen].astype(np.int64)
    values, counts = np.unique(voxels, return_counts=True)
    return values.astype(np.float64), counts.astype(np.int64)


def _thinned(values: NDArray[np.float64], counts: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the list itself, or the middle values of equal parts of its voxels where it is too long."""
    if len(values) <= EXACT_VALUES:
        return values, counts
    ends = np.cumsum(counts)
    edges = np.arange(KEPT_VALUES + 1) * int(ends[-1]) // KEPT_VALUES
    middles = (edges[:-1] + edges[1:] - 1) // 2
    kept, places = np.unique(values[np.searchsorted(ends, middles, side="right")], return_inverse=True)
    shares = np.zeros(len(kept), dtype=np.int64)
    np.add.at(shares, places, np.diff(edges))
    return kept, shares
