"""Which observation becomes the positive of an anchor: a pure function of seed, epoch, anchor and occurrence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dynaclr.checks import whole
from dynaclr.errors import DynaclrError
from dynaclr.lineage import IntArray
from dynaclr.randomness import below, fractions, keys, lanes
from dynaclr.tau_sampling import checked_decay_rate

if TYPE_CHECKING:
    from dynaclr.index import MultiExperimentIndex


class PositiveDraw:
    """Draws positives for whole batches: first tau, among the taus that have a candidate, then a candidate.

    Tau has a probability proportional to ``exp(-decay_rate * (tau - tau_min) / (tau_max - tau_min))`` among the taus at
    which the anchor has a positive -> ``pipeline.md``, section `dynaclr.dataset`. Candidates of one tau are equally
    likely (they are several where the cell has divided).

    Parameters
    ----------
    index
        The observations; its range of hours bounds tau.
    tau_decay_rate
        How fast the probability falls from the smallest to the largest tau.
    seed
        Another seed gives other positives.

    Raises
    ------
    DynaclrError
        If the rate or the seed is no such number.
    """

    def __init__(self, index: MultiExperimentIndex, tau_decay_rate: float = 2.0, seed: int = 0) -> None:
        names = [str(name) for name in index.tracks["experiment"].cat.categories]
        ranges = [index.tau_range_frames(name) for name in names]
        checked_decay_rate(tau_decay_rate)
        self._index = index
        self._seed = whole("seed", seed)
        self._experiment = index.tracks["experiment"].cat.codes.to_numpy().astype(np.int64)
        # Nothing lies further from its anchor than the longest movie goes, whatever the range of hours allows.
        self._taus, self._log_weights = _tau_table(ranges, tau_decay_rate, int(index.tracks["t"].max()))
        self._weights = _relative(self._log_weights)

    def __call__(self, rows: IntArray, anchors: IntArray, epoch: int) -> tuple[IntArray, IntArray]:
        """Draw one positive for each anchor of a batch.

        Parameters
        ----------
        rows
            The anchors' rows in ``index.tracks``, shape ``(B,)``.
        anchors
            The anchors' own numbers, which address the draw; the same number twice gets two independent draws.
        epoch
            The epoch.

        Returns
        -------
        rows, taus
            The positives' rows in ``index.tracks``, and how many frames later they are.

        Raises
        ------
        DynaclrError
            If a row has no positive at all.
        """
        # Each occurrence of an anchor uses three members of the anchor's sequence.
        key, member = keys(self._seed, epoch, "positive", anchors), 3 * occurrences(anchors)
        experiment = self._experiment[rows]
        tau = self._taus[experiment, _pick(self._weights[experiment], fractions(lanes(key, member)))]
        start, stop = self._index.candidate_ranges(rows, tau)
        # Looking up is mostly waiting for memory, and most anchors have a candidate at any tau: only where the first
        # one has none are the others looked up. What is taken if it has one, or else drawn among those that have one,
        # is distributed as if it had been drawn among those from the start.
        again = np.flatnonzero(start == stop)
        tau[again], start[again], stop[again] = self._among_all(rows[again], fractions(lanes(key, member + 1)[again]))
        return self._index.descent_order[start + below(lanes(key, member + 2), stop - start)], tau

    def _among_all(self, rows: IntArray, u: NDArray[np.float64]) -> tuple[IntArray, IntArray, IntArray]:
        """Return the tau that a number of [0, 1) falls on among those with a candidate, and the candidates' range."""
        experiment = self._experiment[rows]
        taus = self._taus[experiment]
        start, stop = self._index.candidate_ranges(rows[:, None], taus)
        log_weights = np.where(stop > start, self._log_weights[experiment], -np.inf)
        without = np.isneginf(log_weights).all(axis=1)
        if without.any():
            raise DynaclrError(f"row {int(rows[without][0])} of the index has no positive in its tau range")
        chosen = np.arange(len(rows)), _pick(_relative(log_weights), u)
        return taus[chosen], start[chosen], stop[chosen]


def _relative(log_weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights of each row relative to its largest, so that no decay rate underflows to a row of zeros."""
    weights: NDArray[np.float64] = np.exp(log_weights - log_weights.max(axis=1, keepdims=True, initial=-np.inf))
    return weights


def _tau_table(
    ranges: Sequence[tuple[int, int]], decay_rate: float, longest: int
) -> tuple[IntArray, NDArray[np.float64]]:
    """Return each experiment's taus and their log weights, one row each; none need be longer than `longest`."""
    width = max((min(tau_max, max(longest, tau_min)) - tau_min + 1 for tau_min, tau_max in ranges), default=1)
    lower, upper = np.array(ranges, dtype=np.int64).reshape(-1, 2).T[:, :, None]
    taus = lower + np.arange(width)
    share = (taus - lower) / np.maximum(upper - lower, 1)
    return np.minimum(taus, upper), np.where(taus <= upper, -decay_rate * share, -np.inf)


def occurrences(values: IntArray) -> IntArray:
    """Count for each value how often it has come before.

    Parameters
    ----------
    values
        Integers, shape ``(B,)``.

    Examples
    --------
    >>> occurrences(np.array([7, 3, 7, 7])).tolist()
    [0, 0, 1, 2]
    """
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    place = np.arange(values.size)
    is_first = np.ones(values.size, bool)
    is_first[1:] = ordered[1:] != ordered[:-1]
    counts = np.empty(values.size, np.int64)
    counts[order] = place - np.maximum.accumulate(np.where(is_first, place, 0))
    return counts


def _pick(weights: NDArray[np.float64], u: NDArray[np.float64]) -> IntArray:
    """Return for each row of weights the column that a uniform number falls on; never one of weight zero."""
    cumulative = np.cumsum(weights, axis=1)
    # A fraction is at most 1 - 2**-53, and no sum times that rounds to itself: the column is never beyond the last.
    column: IntArray = (cumulative <= u[:, None] * cumulative[:, -1:]).sum(axis=1)
    return column
