"""Fair passes: the draws of a stratum over an epoch run through one shuffle of it after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from dynaclr.cascade.draws import spread, starts_of
from dynaclr.randomness import generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dynaclr.cascade.recipe import Recipe
    from dynaclr.cascade.schedule import Schedule

    Ints = NDArray[np.int64]

_BLOCK: Final = 4096  # places shuffled in one call, so that passes over a handful of anchors do not cost a call each


class FairPasses:
    """The stream of draws of every stratum in one epoch, shuffled when first needed.

    Batch j of an experiment takes the next ``q_j`` places of each stratum's stream. The cumulative quotas say where
    these begin, so any batch can be read without the ones before it.

    Parameters
    ----------
    recipe
        Strata and quotas.
    epoch, schedule
        The epoch and its schedule.
    """

    def __init__(self, recipe: Recipe, epoch: int, schedule: Schedule) -> None:
        self._address = (recipe.seed, epoch)
        self._strata = strata = recipe.strata
        self._schedule = schedule
        self._quotas = recipe.quotas.per_group
        counts = np.bincount(schedule.group, minlength=len(self._quotas))
        self._group_base = starts_of(counts * recipe.primary)
        self._stream = np.empty(int(self._group_base[-1]), dtype=np.int64)
        self._begins: dict[int, Ints] = {}  # group -> (its batches + 1, its strata): draws before each batch
        self._base = np.zeros(len(strata.condition), dtype=np.int64)
        self._filled = np.zeros(len(strata.condition), dtype=np.int64)

    def take(self, batches: Ints) -> Ints:
        """Return the places drawn by these global batches, stratum after stratum, shape ``(len(batches), primary)``."""
        stratum, begin, count = (np.concatenate(part) for part in zip(*map(self._window, batches), strict=True))
        for at in np.flatnonzero(begin + count > self._filled[stratum]):
            self._fill(int(stratum[at]), int(begin[at] + count[at]))
        run, place = spread(count)
        taken: Ints = self._stream[(self._base[stratum] + begin)[run] + place].reshape(len(batches), -1)
        return taken

    def _window(self, batch: int) -> tuple[Ints, Ints, Ints]:
        """Return strata of a batch, and where its draws begin in each one's stream and how many they are."""
        group, nth = int(self._schedule.group[batch]), int(self._schedule.nth[batch])
        if group not in self._begins:
            self._prepare(group)
        begins = self._begins[group]
        first, last = self._strata.group_stratum[group : group + 2]
        return np.arange(first, last), begins[nth], begins[nth + 1] - begins[nth]

    def _prepare(self, group: int) -> None:
        counts = self._quotas[group].counts(self._schedule.offset[self._schedule.batches_of(group)])
        begins = np.zeros((len(counts) + 1, counts.shape[1]), dtype=np.int64)
        np.cumsum(counts, axis=0, out=begins[1:])
        first, last = self._strata.group_stratum[group : group + 2]
        self._base[first:last] = self._group_base[group] + starts_of(begins[-1])[:-1]
        self._begins[group] = begins

    def _fill(self, stratum: int, upto: int) -> None:
        """Shuffle further passes of a stratum until its stream reaches `upto` draws."""
        size = int(self._strata.start[stratum + 1] - self._strata.start[stratum])
        group = int(self._strata.stratum_group[stratum])
        begins = self._begins[group][:, stratum - self._strata.group_stratum[group]]
        stream = self._stream[self._base[stratum] : self._base[stratum] + begins[-1]]
        block = max(1, _BLOCK // size)
        while (filled := int(self._filled[stratum])) < upto:
            first = filled // size
            rng = generator(*self._address, "pass", stratum, first)
            passes = rng.permuted(np.tile(np.arange(size), (block, 1)), axis=1) if block > 1 else rng.permutation(size)
            passes = passes.reshape(block, size) + self._strata.start[stratum]
            end = min(filled + block * size, len(stream))
            stream[filled:end] = passes.ravel()[: end - filled]
            _mend_straddling(stream, passes, first, begins)
            self._filled[stratum] = end


def _mend_straddling(stream: Ints, passes: Ints, first: int, begins: Ints) -> None:
    """Let each pass that begins inside a batch begin with anchors that the batch does not hold yet.

    Parameters
    ----------
    stream : ndarray of int64
        The stratum's stream, changed in place.
    passes : ndarray of int64, shape (block, size)
        The shuffles that were just written to it.
    first
        Number of the first of them.
    begins : ndarray of int64, shape (batches + 1,)
        Where each batch begins in the stream.
    """
    size = passes.shape[1]
    pass_begin = (first + np.arange(len(passes))) * size
    batch = np.searchsorted(begins, pass_begin, side="right") - 1
    inside = (batch < len(begins) - 1) & (begins[batch] < pass_begin) & (begins[batch] % size != 0)
    head = np.where(inside, begins[np.minimum(batch + 1, len(begins) - 1)] - pass_begin, size)
    for at in np.flatnonzero(head < size):
        tail_begin = begins[batch[at]]
        tail = stream[tail_begin : (tail_begin // size + 1) * size]
        held = np.isin(passes[at], tail)
        new_first = np.argsort(held, kind="stable")[: head[at]]  # those not held yet, in the order of the shuffle
        rest = np.ones(size, dtype=bool)
        rest[new_first] = False
        begin, end = pass_begin[at], min(pass_begin[at] + size, len(stream))
        stream[begin:end] = np.concatenate([passes[at, new_first], passes[at, rest]])[: end - begin]
