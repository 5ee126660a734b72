"""Shares of a whole, in exact arithmetic: numbers as the user wrote them, rounded without bias."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from math import lcm
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WORD: Final = 2**64


@dataclass(frozen=True)
class SystematicRounding:
    """Expected numbers that sum to a whole, rounded together with one uniform offset.

    With cumulative sums ``S_0 = 0, S_1, ..., S_n`` and an offset ``u`` uniform in ``[0, 1)``, number i becomes
    ``floor(S_{i+1} + u) - floor(S_i + u)``: its floor or its ceiling, itself where it is whole, with a mean of exactly
    the expected number; and the rounded numbers have the sum of the expected ones (systematic sampling; Madow, *On the
    theory of systematic sampling, II*, 1949).

    Parameters
    ----------
    whole : ndarray of int64, shape (n + 1,)
        Floors of the cumulative sums.
    threshold : ndarray of uint64, shape (n + 1,)
        An offset above this, in units of ``2**-64``, lifts the floor by one.
    """

    whole: NDArray[np.int64]
    threshold: NDArray[np.uint64]

    @classmethod
    def of(cls, expected: Sequence[Fraction]) -> SystematicRounding:
        """Prepare expected numbers, whose sum has to be whole."""
        # In whole numbers over one denominator, which is ten times faster than in fractions.
        unit = lcm(*(number.denominator for number in expected))
        sums = accumulate((number.numerator * (unit // number.denominator) for number in expected), initial=0)
        floors, rests = zip(*(divmod(total, unit) for total in sums), strict=True)
        lifts = [-(-(unit - rest) * _WORD // unit) for rest in rests]  # from this offset on the rest becomes a whole
        return cls(np.array(floors, dtype=np.int64), np.array([lift - 1 for lift in lifts], dtype=np.uint64))

    def cumulative(self, offset: NDArray[np.uint64], at: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.int64]:
        """Return the floors of the cumulative sums `at` these places plus an offset in units of ``2**-64``."""
        lifted: NDArray[np.int64] = self.whole[at] + (offset > self.threshold[at])
        return lifted

    def counts(self, offset: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the rounded numbers, shape ``offset.shape + (n,)``."""
        return np.diff(self.cumulative(offset[..., None]), axis=-1)

    def expected(self) -> NDArray[np.float64]:
        """Return the expected numbers, to the precision of a float, shape ``(n,)``."""
        return np.diff(self.whole - self.threshold / _WORD)

    def largest(self) -> NDArray[np.int64]:
        """Return the largest number that each can become: the ceiling of what is expected, shape ``(n,)``."""
        # An offset between the two thresholds lifts the upper sum and not yet the lower one.
        largest: NDArray[np.int64] = np.diff(self.whole) + (self.threshold[1:] < self.threshold[:-1])
        return largest
