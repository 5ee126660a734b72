"""Looking many numbers up in a large sorted table at once."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]

_BLOCK: Final = 32  # a power of two; the ends of blocks of this size stay in the cache where the table itself does not
_FEW: Final = 64  # bounds; of so few, the waits take no longer than NumPy's calls do


class SortedKeys:
    """Keys in ascending order, and how many of them lie below a bound.

    `numpy.searchsorted` ends one search before it begins the next, and waits for memory at nearly every step of a
    search in a large table. Here each step is made for all bounds together, so that the waits overlap.

    Parameters
    ----------
    keys : ndarray of int64, shape (N,)
        Ascending, each smaller than ``2**63 - 1``.

    Examples
    --------
    >>> SortedKeys(np.array([2, 3, 3, 7])).below(np.array([3, 4, 9])).tolist()
    [1, 3, 4]
    """

    def __init__(self, keys: IntArray) -> None:
        # Behind the last key there is always one that lies below no bound, so that no place needs a check.
        self._padded = np.full((keys.size // _BLOCK + 1) * _BLOCK, np.iinfo(np.int64).max)
        self._padded[: keys.size] = keys
        self._ends = self._padded[_BLOCK - 1 :: _BLOCK].copy()

    def below(self, bounds: IntArray) -> IntArray:
        """Return for each bound how many keys are smaller, in the shape of the bounds."""
        if bounds.size < _FEW:
            return np.asarray(np.searchsorted(self._padded, bounds))
        found = np.searchsorted(self._ends, bounds) * _BLOCK
        step = _BLOCK // 2
        while step:
            found += step * (self._padded[step - 1 :][found] < bounds)
            step //= 2
        return found

    def is_below(self, places: IntArray, bounds: IntArray) -> npt.NDArray[np.bool_]:
        """Tell for each place in ``[0, N]`` whether the key there is smaller than the bound; none is at place N."""
        smaller: npt.NDArray[np.bool_] = self._padded[places] < bounds
        return smaller
