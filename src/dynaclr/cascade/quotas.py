"""What each condition contributes to each batch, for a whole chunk of batches at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dynaclr.cascade.draws import spread, starts_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dynaclr.cascade.rounding import SystematicRounding
    from dynaclr.cascade.strata import Strata

    Ints = NDArray[np.int64]
    Words = NDArray[np.uint64]


@dataclass(frozen=True)
class Shares:
    """What each condition contributes to each batch of a chunk.

    Parameters
    ----------
    batch : ndarray of int64, shape (M,)
        Position of the batch in the chunk, ascending.
    stratum, quota, before : ndarray of int64, shape (M,)
        The stratum, its number of anchors in the batch, and the sum of the quotas before it in the batch.
    """

    batch: Ints
    stratum: Ints
    quota: Ints
    before: Ints

    def first(self) -> Ints:
        """Return where each batch's shares begin, shape ``(K,)``: each batch has at least one."""
        return np.flatnonzero(np.diff(self.batch, prepend=-1))


class Quotas:
    """The condition quotas of all groups as flat arrays, so that one expression rounds a whole chunk.

    Parameters
    ----------
    strata
        The sorted anchors.
    per_group
        One rounding per group, over the group's strata.
    """

    def __init__(self, strata: Strata, per_group: Sequence[SystematicRounding]) -> None:
        self.per_group = per_group
        self._strata = strata
        sizes = np.array([len(rounding.whole) for rounding in per_group])
        self._first = starts_of(sizes)
        self._whole = np.concatenate([rounding.whole for rounding in per_group])
        self._threshold = np.concatenate([rounding.threshold for rounding in per_group])

    def shares(self, group: Ints, offset: Words) -> Shares:
        """Round the quotas of a chunk; conditions that get nothing are left out."""
        batch, nth = spread(np.diff(self._strata.group_stratum)[group])
        at = self._first[group[batch]] + nth
        lift = offset[batch]
        low = self._whole[at] + (lift > self._threshold[at])
        high = self._whole[at + 1] + (lift > self._threshold[at + 1])
        some = high > low
        stratum = self._strata.group_stratum[group[batch]] + nth
        return Shares(batch[some], stratum[some], (high - low)[some], low[some])
