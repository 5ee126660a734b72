"""The schedule of an epoch: which experiment each global batch belongs to, and how its quotas are rounded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from dynaclr.cascade.draws import starts_of
from dynaclr.randomness import generator, keys

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dynaclr.cascade.rounding import SystematicRounding

    Ints = NDArray[np.int64]

_WORD: Final = 2**64


@dataclass(frozen=True)
class Schedule:
    """Group, number within the group, and rounding offset of each batch of one round.

    Ranks that do not divide the epoch ask for batches beyond its end; the sequence goes on for as many *rounds* as they
    need, each of the epoch's length and with the same shares. The epoch itself is round 0.

    Parameters
    ----------
    group : ndarray of int64, shape (num_batches,)
        The experiment of each batch.
    nth : ndarray of int64, same shape
        How many batches of the same experiment come before.
    offset : ndarray of uint64, same shape
        Offset of the batch's systematic rounding, in units of ``2**-64``.
    """

    group: Ints
    nth: Ints
    offset: NDArray[np.uint64]

    @classmethod
    def of(cls, seed: int, epoch: int, number: int, shares: SystematicRounding) -> Schedule:
        """Draw the schedule of round `number`."""
        counts = shares.counts(keys(seed, epoch, "share", number))[0]
        group = generator(seed, epoch, "order", number).permutation(np.repeat(np.arange(len(counts)), counts))
        # A group's J batches get the offsets (u + 0)/J ... (u + J - 1)/J in random order. Each is uniform, and by
        # Hermite's identity sum_j floor(x + (u + j)/J) = floor(J x + u), so the epoch's totals are rounded without bias
        # too: each condition's total is the floor or the ceiling of its expectation, instead of wandering with sqrt(J).
        rank = _rank_within(group, generator(seed, epoch, "offset", number).permutation(len(group)))
        step = np.array([(_WORD - 1) // max(count, 1) for count in counts.tolist()], dtype=np.uint64)
        first = keys(seed, epoch, "quota", number, np.arange(len(counts))) % step
        offset = first[group] + rank.astype(np.uint64) * step[group]
        return cls(group, _rank_within(group, np.arange(len(group))), offset)

    def batches_of(self, group: int) -> Ints:
        """Return the numbers of one experiment's batches in the round, ascending."""
        return np.flatnonzero(self.group == group)


def _rank_within(group: Ints, order: Ints) -> Ints:
    """Return the rank of each batch among those of its group when they are taken in the given order."""
    sizes = np.bincount(group)
    batches = np.arange(len(group))
    taken = np.empty_like(order)
    taken[order] = batches
    # Every rank makes the whole schedule. Of the smallest integers NumPy's stable sort is linear.
    by_group = taken[np.argsort(group[taken].astype(np.min_scalar_type(len(sizes))), kind="stable")]
    rank = np.empty(len(group), dtype=np.int64)
    rank[by_group] = batches - np.repeat(starts_of(sizes)[:-1], sizes)
    return rank
