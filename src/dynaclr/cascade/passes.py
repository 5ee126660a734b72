"""Fair passes: the draws of a stratum over an epoch run through one shuffle of it after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from dynaclr.cascade.draws import runs, spread, starts_of
from dynaclr.randomness import generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dynaclr.cascade.recipe import Recipe
    from dynaclr.cascade.schedule import Schedule

    Ints = NDArray[np.int64]

_BLOCK: Final = 65536  # draws written in one go, so that passes over a handful of anchors do not cost calls each


class FairPasses:
    """The stream of draws of every stratum in one round of an epoch, shuffled when first needed.

    Batch j of an experiment takes the next ``q_j`` places of each stratum's stream. The cumulative quotas say where
    these begin, so any batch can be read without the ones before it.

    Parameters
    ----------
    recipe
        Strata and quotas.
    epoch, number, schedule
        The epoch, the number of the round, and its schedule.
    """

    def __init__(self, recipe: Recipe, epoch: int, number: int, schedule: Schedule) -> None:
        self._address = (recipe.seed, epoch, "pass", number)
        self._strata = strata = recipe.strata
        self._schedule = schedule
        batches = np.bincount(schedule.group, minlength=len(strata.groups))
        # Draws before each batch: for each stratum a row of its experiment's batches, one behind the other. So the
        # last one of a stratum is where the next one's stream begins.
        self._row = starts_of(batches[strata.stratum_group])
        offsets = np.split(schedule.offset[np.argsort(schedule.group, kind="stable")], np.cumsum(batches)[:-1])
        quotas = [each.counts(offset).T.ravel() for each, offset in zip(recipe.quotas.per_group, offsets, strict=True)]
        self._begins = starts_of(np.concatenate(quotas))
        self._stream = np.empty(int(self._begins[-1]), dtype=np.int64)
        self._filled = self._begins[self._row[:-1]]
        self._strata_of = np.diff(strata.group_stratum)

    def take(self, batches: Ints) -> Ints:
        """Return the places drawn by these batches of the round, stratum after stratum, shape ``(K, primary)``."""
        group, nth = self._schedule.group[batches], self._schedule.nth[batches]
        batch, at = spread(self._strata_of[group])
        stratum = self._strata.group_stratum[group[batch]] + at
        cell = self._row[stratum] + nth[batch]
        begin, end = self._begins[cell], self._begins[cell + 1]
        for late in np.flatnonzero(end > self._filled[stratum]).tolist():
            if end[late] > self._filled[stratum[late]]:  # an earlier one may have filled it meanwhile
                self._fill(int(stratum[late]), int(end[late]))
        return self._stream.take(runs(begin, end - begin)).reshape(len(batches), -1)

    def _fill(self, stratum: int, upto: int) -> None:
        """Shuffle further passes of a stratum until its stream reaches this draw."""
        begins = self._begins[self._row[stratum] : self._row[stratum + 1] + 1]
        begins = begins - (offset := int(begins[0]))
        stream = self._stream[offset : offset + begins[-1]]
        places = np.arange(*self._strata.start[stratum : stratum + 2].tolist())
        filled, block = int(self._filled[stratum]) - offset, max(1, _BLOCK // len(places)) * len(places)
        while filled < upto - offset:
            rng = generator(*self._address, stratum, filled // len(places))
            end = min(filled + block, len(stream))
            _write_passes(rng, stream, filled, end, places, begins)
            filled = end
        self._filled[stratum] = offset + filled


def _write_passes(
    rng: np.random.Generator, stream: Ints, begin: int, end: int, places: Ints, batch_begins: Ints
) -> None:
    """Write shuffles of a stratum to ``stream[begin:end]``, one pass after the other; the last one may be cut.

    Where a pass begins inside a batch, anchors that the batch does not hold yet come first.

    Parameters
    ----------
    rng
        What shuffles.
    stream : ndarray of int64
        The stratum's stream; whole passes up to `begin`.
    begin, end
        What to write.
    places : ndarray of int64
        The stratum, ascending.
    batch_begins : ndarray of int64, shape (batches + 1,)
        Where each batch begins in the stream.
    """
    size = len(places)
    cut = end - (end - begin) % size
    whole = stream[begin:cut].reshape(-1, size)
    whole[:] = places
    rng.permuted(whole, axis=1, out=whole)
    last = int(batch_begins[-2])
    belongs_to_last = last < cut and end - cut <= last % size
    cut_off = rng.permutation(places) if cut < end and not belongs_to_last else places[:0]
    _mend_straddling(stream[:cut], begin, cut_off, places, batch_begins)
    if cut < end and belongs_to_last:
        # What lies in a pass before the batch that begins inside it is what that batch does not hold, in random order
        # already. So any of it will do to fill the batch up: here, evenly spaced.
        new = stream[last - last % size : last]
        cut_off = new[(np.arange(end - cut) * len(new) + rng.integers(len(new))) // (end - cut)]
    stream[cut:end] = cut_off[: end - cut]


def _mend_straddling(stream: Ints, begin: int, cut_off: Ints, places: Ints, batch_begins: Ints) -> None:
    """Bring anchors that a batch does not hold yet to the front of passes that begin inside it.

    Parameters
    ----------
    stream : ndarray of int64
        Whole passes, changed in place.
    begin
        The first of them that may need it.
    cut_off : ndarray of int64
        Another pass behind them, changed in place, or none.
    places, batch_begins
        As for `_write_passes`.
    """
    size, lowest = len(places), places[0]
    pass_begin = np.arange(max(begin, size), len(stream) + len(cut_off), size)  # the first pass begins with a batch
    if not len(pass_begin):
        return
    batch = np.searchsorted(batch_begins, pass_begin, side="right") - 1
    first, head = batch_begins[batch], batch_begins[batch + 1] - pass_begin
    # A batch that begins with a pass, or goes on beyond this one, has each anchor equally often whatever the order is.
    for at in np.flatnonzero((first % size != 0) & (head < size)):
        held = stream[first[at] : first[at] + -first[at] % size]
        is_held = np.zeros(size, dtype=bool)
        is_held[held - lowest] = True
        coming = stream[pass_begin[at] :] if pass_begin[at] < len(stream) else cut_off
        near = coming[: min(size, head[at] + len(held))]  # long enough for the new ones to be among them
        order = np.argsort(is_held[near - lowest], kind="stable")
        near[:] = near[np.concatenate([order[: head[at]], np.sort(order[head[at] :])])]
