"""Which exclusive values a batch holds, and which anchors come next so that none is held twice before it must be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dynaclr.cascade.composition import Role

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]


class Places:
    """Room for one number per code, so that finding the first of equal codes needs no sorting.

    Nothing is ever cleared: what is read was written just before.
    """

    def __init__(self, codes: int) -> None:
        self._at = np.zeros(codes, dtype=np.int32)

    def is_first(self, codes: Ints) -> NDArray[np.bool_]:
        """Tell which elements have no equal before them."""
        place = np.arange(len(codes), dtype=np.int32)
        self._at[codes[::-1]] = place[::-1]  # of equal indices, the one assigned last stays
        first: NDArray[np.bool_] = self._at[codes] == place
        return first

    def times_in(self, held: Ints, codes: Ints) -> Ints:
        """Return how often each of these codes is held."""
        if not len(held):
            return np.zeros(len(codes), dtype=np.int64)
        self._at[codes] = 0
        different, times = np.unique(held, return_counts=True)
        self._at[different] = times
        return self._at[codes].astype(np.int64)


class Values:
    """The exclusive value of each place, and which batch held each value last.

    Parameters
    ----------
    codes
        The exclusive value of each place of `Strata.order`.
    """

    def __init__(self, codes: Ints) -> None:
        count = int(codes.max()) + 1
        self.codes, self.places = codes, Places(count)
        self.holder, self.batches = np.zeros(count, dtype=np.int32), 0


class Batch:
    """The anchors chosen for one batch so far, and the exclusive values that they hold.

    One batch at a time: what a batch holds is forgotten once the next one adds the same values.
    """

    def __init__(self, values: Values) -> None:
        values.batches += 1
        self._values, self._number = values, values.batches
        self.places: list[Ints] = []
        self.roles: list[Role] = []

    def add(self, places: Ints, role: Role) -> None:
        """Let these anchors, and their values, be in the batch for a reason."""
        self.places.append(places)
        self.roles.append(role)
        self._values.holder[self._values.codes[places]] = self._number

    def places_of(self, role: Role) -> list[Ints]:
        """Return the anchors that are in the batch for this reason, as they were added."""
        return [places for places, of in zip(self.places, self.roles, strict=True) if of is role]

    def is_new(self, candidates: Ints) -> NDArray[np.bool_]:
        """Tell which candidates have a value that neither the batch holds nor a candidate before them."""
        codes = self._values.codes[candidates]
        new: NDArray[np.bool_] = self._values.places.is_first(codes) & (self._values.holder[codes] != self._number)
        return new

    def before(self, candidates: Ints, own: Ints) -> tuple[Ints, Ints]:
        """Return how many anchors with its value stand before each candidate: in its stratum, and in the batch.

        Parameters
        ----------
        candidates : ndarray of int64
            Anchors of one stratum; those before a candidate count for both.
        own : ndarray of int64
            Anchors of that stratum that are chosen already.
        """
        codes = self._values.codes[candidates]
        layer = _occurrence(codes)

        def among(places: Ints) -> Ints:
            return layer + self._values.places.times_in(self._values.codes[places], codes)

        return among(own), among(np.concatenate([own[:0], *self.places]))


def first_new(batch: Batch, candidates: Ints, count: int) -> Ints:
    """Return up to `count` candidates, in their order, of values that are new to the batch."""
    new: Ints = candidates[batch.is_new(candidates)][:count]
    return new


def evenly(batch: Batch, candidates: Ints, count: int, own: Ints) -> Ints:
    """Return `count` candidates whose values come up as evenly as possible: in their stratum, then in the batch."""
    chosen: Ints = candidates[most_even(batch, candidates, count, own)]
    return chosen


def most_even(batch: Batch, candidates: Ints, count: int, own: Ints) -> Ints:
    """Return the positions of the candidates that `evenly` returns."""
    in_stratum, in_batch = batch.before(candidates, own)
    # By the first of the two alone most come too late, and need not be sorted.
    enough = np.searchsorted(np.cumsum(np.bincount(in_stratum)), count)
    near = np.flatnonzero(in_stratum <= enough)
    chosen: Ints = near[np.lexsort((in_batch[near], in_stratum[near]))[:count]]
    return chosen


def _occurrence(codes: Ints) -> Ints:
    """Return how many elements with its code stand before each element."""
    # Sixteen bits are sorted in linear time; the codes of one stratum mostly lie close together.
    near = codes - codes.min(initial=np.iinfo(np.int64).max)
    order = np.argsort(near.astype(np.uint16) if near.max(initial=0) < 2**16 else near, kind="stable")
    ordered, place = near[order], np.arange(len(codes))
    begin = np.maximum.accumulate(np.where(np.diff(ordered, prepend=-1) != 0, place, 0))
    occurrence = np.empty(len(codes), dtype=np.int64)
    occurrence[order] = place - begin
    return occurrence
