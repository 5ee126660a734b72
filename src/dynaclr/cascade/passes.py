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
        # Draws before each batch: for each group a table of (its batches + 1, its strata), one behind the other.
        self._strata_of = np.diff(strata.group_stratum)
        self._table = starts_of((counts + 1) * self._strata_of)
        self._begins = np.empty(int(self._table[-1]), dtype=np.int64)
        self._prepared = np.zeros(len(counts), dtype=bool)
        self._base = np.zeros(len(strata.condition), dtype=np.int64)
        self._filled = np.zeros(len(strata.condition), dtype=np.int64)

    def take(self, batches: Ints) -> Ints:
        """Return the places drawn by these global batches, stratum after stratum, shape ``(len(batches), primary)``."""
        group, nth = self._schedule.group[batches], self._schedule.nth[batches]
        for unprepared in np.unique(group[~self._prepared[group]]).tolist():
            self._prepare(unprepared)
        strata = self._strata_of[group]
        batch, at = spread(strata)
        stratum = self._strata.group_stratum[group[batch]] + at
        row = (self._table[group] + nth * strata)[batch] + at
        begin = self._begins[row]
        count = self._begins[row + strata[batch]] - begin
        for late in np.flatnonzero(begin + count > self._filled[stratum]).tolist():
            if begin[late] + count[late] > self._filled[stratum[late]]:  # an earlier one may have filled it meanwhile
                self._fill(int(stratum[late]), int(begin[late] + count[late]))
        run, place = spread(count)
        taken: Ints = self._stream[(self._base[stratum] + begin)[run] + place].reshape(len(batches), -1)
        return taken

    def _begins_of(self, group: int) -> Ints:
        """Return the draws before each batch of a group, shape ``(its batches + 1, its strata)``."""
        table: Ints = self._begins[self._table[group] : self._table[group + 1]].reshape(-1, self._strata_of[group])
        return table

    def _prepare(self, group: int) -> None:
        counts = self._quotas[group].counts(self._schedule.offset[self._schedule.batches_of(group)])
        begins = self._begins_of(group)
        begins[0] = 0
        np.cumsum(counts, axis=0, out=begins[1:])
        first, last = self._strata.group_stratum[group : group + 2]
        self._base[first:last] = self._group_base[group] + starts_of(begins[-1])[:-1]
        self._prepared[group] = True

    def _fill(self, stratum: int, upto: int) -> None:
        """Shuffle further passes of a stratum until its stream reaches `upto` draws."""
        lowest = int(self._strata.start[stratum])
        size = int(self._strata.start[stratum + 1]) - lowest
        group = int(np.searchsorted(self._strata.group_stratum, stratum, side="right")) - 1
        begins = self._begins_of(group)[:, stratum - self._strata.group_stratum[group]]
        stream = self._stream[self._base[stratum] : self._base[stratum] + begins[-1]]
        block = max(1, _BLOCK // size)
        while (filled := int(self._filled[stratum])) < upto:
            first = filled // size
            rng = generator(*self._address, "pass", stratum, first)
            passes = rng.permuted(np.tile(np.arange(size), (block, 1)), axis=1) if block > 1 else rng.permutation(size)
            passes = passes.reshape(block, size) + lowest
            end = min(filled + block * size, len(stream))
            stream[filled:end] = passes.ravel()[: end - filled]
            if end > size:  # the first pass begins with a batch
                _mend_straddling(stream, passes, first, begins, lowest)
            self._filled[stratum] = end


def _mend_straddling(stream: Ints, passes: Ints, first: int, begins: Ints, lowest: int) -> None:
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
    lowest
        The stratum's first place.
    """
    size = passes.shape[1]
    pass_begin = (first + np.arange(len(passes))) * size
    batch = np.searchsorted(begins, pass_begin, side="right") - 1
    inside = (batch < len(begins) - 1) & (begins[batch] < pass_begin) & (begins[batch] % size != 0)
    head = np.where(inside, begins[np.minimum(batch + 1, len(begins) - 1)] - pass_begin, size)
    for at in np.flatnonzero(head < size):
        tail = stream[begins[batch[at]] : (begins[batch[at]] // size + 1) * size]
        # As many anchors are held as the tail is long, so the first new ones are not far.
        near = passes[at, : head[at] + len(tail)]
        in_tail = np.zeros(size, dtype=bool)
        in_tail[tail - lowest] = True
        held = in_tail[near - lowest]
        new_first = np.concatenate([np.flatnonzero(~held), np.flatnonzero(held)])[: head[at]]
        rest = np.ones(len(near), dtype=bool)
        rest[new_first] = False
        begin, end = pass_begin[at], min(pass_begin[at] + len(near), len(stream))
        stream[begin:end] = np.concatenate([near[new_first], near[rest]])[: end - begin]
