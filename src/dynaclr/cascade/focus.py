"""Focal HPI values, and the anchors near them in time."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import numpy as np

from dynaclr.cascade.draws import balanced, runs, starts_of
from dynaclr.exact import slack
from dynaclr.randomness import below, lanes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dynaclr.cascade.axes import TimeAxis
    from dynaclr.cascade.quotas import Shares
    from dynaclr.cascade.strata import Strata

    Ints = NDArray[np.int64]
    Words = NDArray[np.uint64]

_TRIES: Final = 4  # focal HPI values tried at once; only if all fail are the values enumerated
_REMEMBERED: Final = 4096  # enumerations kept, one per set of conditions


class Focus:
    """Focal HPI values, and the anchors near them.

    Parameters
    ----------
    strata
        The sorted anchors, with their times.
    axis
        The time axis.
    """

    def __init__(self, strata: Strata, axis: TimeAxis) -> None:
        self._strata = strata
        self._low, self._high = axis.windows(strata.values)
        self._times, self._times_begin = strata.group_times()
        self._enumerated: OrderedDict[tuple[int, ...], Ints] = OrderedDict()

    def window(self, stratum: Ints, focal: Ints) -> tuple[Ints, Ints]:
        """Return the run of places of each stratum within the window around a focal HPI code (broadcast)."""
        return self._strata.places(stratum, self._low[focal]), self._strata.places(stratum, self._high[focal])

    def holds(self, place: Ints, focal: int) -> NDArray[np.bool_]:
        """Tell which places lie within the window around one focal HPI code."""
        code = self._strata.codes_at(place)
        held: NDArray[np.bool_] = (self._low[focal] <= code) & (code < self._high[focal])
        return held

    def ranks(self, place: Ints, focal: int) -> Ints:
        """Return the places' ranks, from 1 on, by their distance from a focal HPI code; rounding breaks no tie."""
        hpi = self._strata.values[focal]
        distance = np.abs(self._strata.times_at(place) - hpi)
        ascending = np.argsort(distance)
        farther = np.diff(distance[ascending], prepend=-np.inf) > slack(np.abs(hpi) + distance[ascending])
        rank = np.empty(len(place), dtype=np.int64)
        rank[ascending] = np.cumsum(farther)
        return rank

    def choose(self, group: Ints, shares: Shares, key: Words) -> Ints:
        """Draw the focal HPI of each batch, uniformly from those that serve every condition with a quota.

        Values are tried until one serves; only where the first few fail are all of them looked at, once for each set
        of conditions.
        """
        begin, size = self._times_begin[group], np.diff(self._times_begin)[group]
        tried = self._times[begin[:, None] + below(lanes(key[:, None], np.arange(_TRIES)), size[:, None])]
        low, high = self.window(shares.stratum[:, None], tried[shares.batch])
        serves = np.logical_and.reduceat(high > low, shares.first(), axis=0)
        focal: Ints = tried[np.arange(len(group)), serves.argmax(axis=1)]
        for at in np.flatnonzero(~serves.any(axis=1)):
            served = self._serving(int(group[at]), shares.stratum[shares.batch == at])
            focal[at] = served[below(lanes(key[at : at + 1], _TRIES), len(served))[0]]
        return focal

    def _serving(self, group: int, stratum: Ints) -> Ints:
        """Return the HPI codes that serve all these strata; all codes of the group where none does."""
        wanted = tuple(stratum.tolist())
        if wanted not in self._enumerated:
            times = self._times[self._times_begin[group] : self._times_begin[group + 1]]
            low, high = self.window(stratum[:, None], times)
            serving = times[(high > low).all(axis=0)]
            self._enumerated[wanted] = serving if len(serving) else times
            if len(self._enumerated) > _REMEMBERED:
                self._enumerated.popitem(last=False)
        return self._enumerated[wanted]

    def draw(self, stratum: Ints, count: Ints, focal: Ints, key: Words) -> tuple[Ints, Ints]:
        """Draw `count` distinct places of each stratum: uniformly from the window, or all of it and the nearest beyond.

        Parameters
        ----------
        stratum, count, focal : ndarray of int64, shape (M,)
            At most as many as the stratum holds.
        key : ndarray of uint64, shape (M,)

        Returns
        -------
        run, place : ndarray of int64, shape (count.sum(),)
            Ascending within each run; runs ascending.
        """
        low, high = self.window(stratum, focal)
        wide = np.flatnonzero(high - low < count)
        if not len(wide):
            run, value = balanced(high - low, count, key)
            return run, np.repeat(low, count) + value
        none = np.zeros_like(low)
        low, size, gap_at, gap, sure_low, sure = (x.copy() for x in (low, high - low, high - low, none, low, none))
        near = self._nearest(stratum[wide], count[wide], focal[wide], low[wide], high[wide])
        for target, values in zip((low, size, gap_at, gap, sure_low, sure), near, strict=True):
            target[wide] = values
        run, value = balanced(size, count - sure, key)
        # Ascending: what ties before the gap, then what is sure, then what ties behind the gap.
        behind = value >= gap_at[run]
        before = np.bincount(run[~behind], minlength=len(count))
        begin = starts_of(count)[:-1]
        place = np.empty(int(count.sum()), dtype=np.int64)
        place[runs(begin + before, sure)] = runs(sure_low, sure)
        tied = low[run] + value + np.where(behind, gap[run], 0)
        place[runs(begin, count - sure) + np.where(behind, sure[run], 0)] = tied
        return np.repeat(np.arange(len(count)), count), place

    def nearest(self, stratum: int, count: int, focal: int) -> Ints:
        """Return the `count` places of one stratum nearest to a focal HPI code, with all that tie with the farthest."""
        at, code = np.array([stratum]), np.array([focal])
        low, high = self.window(at, code)
        count = max(count, int(high[0] - low[0]))
        tie_low, tie_size, gap_at, gap, sure_low, sure = self._nearest(at, np.array([count]), code, low, high)
        tied = np.arange(tie_size[0])
        tied += tie_low + np.where(tied >= gap_at, gap, 0)
        return np.concatenate([np.arange(sure_low[0], sure_low[0] + sure[0]), tied])

    def _nearest(self, stratum: Ints, count: Ints, focal: Ints, low: Ints, high: Ints) -> tuple[Ints, ...]:
        """Find the `count` anchors nearest to the focal HPI, for windows that hold fewer.

        Returns
        -------
        tie_low, tie_size, tie_gap_at, tie_gap : ndarray of int64
            The anchors at the largest distance still needed, one cell or two at either side: places
            ``tie_low + x``, plus ``tie_gap`` from ``x = tie_gap_at`` on.
        sure_low, sure_size : ndarray of int64
            The run of all anchors that are nearer.
        """
        strata, hpi = self._strata, self._strata.values[focal]
        left = np.maximum(strata.start[stratum], high - count)
        last = np.minimum(low, strata.start[stratum + 1] - count)
        while (active := left < last).any():  # binary search for the leftmost run of the nearest
            middle = (left + last) // 2
            right_of_run = np.minimum(middle + count, strata.start[stratum + 1] - 1)
            move = active & (hpi - strata.times_at(middle) > strata.times_at(right_of_run) - hpi)
            left = np.where(move, middle + 1, left)
            last = np.where(active & ~move, middle, last)
        cells = np.stack([left, left + count - 1])
        cells = np.searchsorted(strata.cell_start, cells, side="right") - 1
        distance = np.abs(self._cell_times(cells) - hpi).max(axis=0)
        # A cell as far away at the other side takes part in the tie, so that no side is preferred.
        beyond = np.clip(cells + np.array([[-1], [1]]), 0, len(strata.cell_key) - 1)
        same = strata.cell_key[beyond] // len(strata.values) == stratum
        cells = np.where(same & self._as_far(beyond, hpi, distance), beyond, cells)
        tied = self._as_far(cells, hpi, distance)
        tied[1] &= cells[1] != cells[0]
        sure_low = strata.cell_start[cells[0] + tied[0]]
        sure_high = np.maximum(sure_low, strata.cell_start[cells[1] + ~tied[1]])
        size = np.diff(strata.cell_start)[cells] * tied
        tie_low = np.where(tied[0], strata.cell_start[cells[0]], strata.cell_start[cells[1]])
        gap = np.where(tied[0], strata.cell_start[cells[1]] - strata.cell_start[cells[0] + 1], 0)
        return tie_low, size.sum(axis=0), np.where(tied[0], size[0], 0), gap, sure_low, sure_high - sure_low

    def _as_far(self, cell: Ints, hpi: NDArray[np.float64], distance: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which cells lie at this distance, rounding aside."""
        difference = np.abs(np.abs(self._cell_times(cell) - hpi) - distance)
        as_far: NDArray[np.bool_] = difference <= slack(np.abs(hpi) + distance)
        return as_far

    def _cell_times(self, cell: Ints) -> NDArray[np.float64]:
        times: NDArray[np.float64] = self._strata.values[self._strata.cell_key[cell] % len(self._strata.values)]
        return times
