"""Composing batches: condition quotas, focal windows and leaks, for a whole chunk of batches at once.

All arrays are flat: the shares of a batch lie behind each other, and so do the batches of a chunk. *Places* are
positions in `Strata.order`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from dynaclr.cascade.draws import balanced, runs, skipping, starts_of
from dynaclr.randomness import below, generator, keys

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dynaclr.cascade.quotas import Shares
    from dynaclr.cascade.recipe import Recipe

    Ints = NDArray[np.int64]
    Words = NDArray[np.uint64]


class Role(IntEnum):
    """Why an anchor is in its batch."""

    PRIMARY = 0
    FOCAL = 1
    GLOBAL = 2
    LEAKED = 3


class Part(NamedTuple):
    """Anchors that are in their batches for one reason.

    Parameters
    ----------
    role
        The reason.
    counts : ndarray of int64, shape (K,)
        How many of them each batch of the chunk has.
    place : ndarray of int64, shape (counts.sum(),)
        Positions of the anchors in `Strata.order`, batch after batch.
    """

    role: Role
    counts: Ints
    place: Ints


@dataclass(frozen=True)
class Composition:
    """The anchors of a chunk of batches.

    Parameters
    ----------
    parts
        What the batches are made of.
    batches
        Number K of batches.
    order : ndarray of int64, shape (K, B), or None
        In which order each batch shows its anchors, which lie in it part after part; as they lie with ``None``.
    focal : ndarray of int64, shape (K,)
        Code of the focal HPI in `Strata.values`, or -1.
    """

    parts: Sequence[Part]
    batches: int
    order: Ints | None
    focal: Ints

    @cached_property
    def place(self) -> Ints:
        """Positions in `Strata.order`, shape (K, B)."""
        return self._gathered([part.place for part in self.parts])

    @property
    def role(self) -> Ints:
        """Why each anchor is there, a `Role`, shape (K, B)."""
        return self._gathered([np.full(len(part.place), part.role) for part in self.parts])

    def _gathered(self, values: Sequence[Ints]) -> Ints:
        """Bring the values of the parts together batch by batch, in the order that is shown."""
        if len(self.parts) == 1:
            together = values[0].reshape(self.batches, -1)
        else:
            flat = np.empty(sum(map(len, values)), dtype=np.int64)
            begin = starts_of(np.sum([part.counts for part in self.parts], axis=0))[:-1]
            for value, part in zip(values, self.parts, strict=True):
                flat[runs(begin, part.counts)] = value
                begin += part.counts
            together = flat.reshape(self.batches, -1)
        if self.order is None:
            return together
        batch_size = together.shape[1]
        return together.take(self.order + np.arange(0, together.size, batch_size)[:, None])


def focal_quotas(recipe: Recipe, epoch: int, shares: Shares, chunk: Ints) -> Ints:
    """Share the focal anchors of each batch out over its conditions, in proportion to their quotas.

    The same systematic rounding as for the quotas, in whole numbers: ``focal * quota / primary`` with one offset for
    each batch.

    Returns
    -------
    ndarray of int64, shape (M,)
        Number of focal anchors in each share, at most its quota.
    """
    shift = below(keys(recipe.seed, epoch, "focal-quota", chunk), recipe.primary)[shares.batch]
    total = recipe.focal * shares.before + shift
    near: Ints = (total + recipe.focal * shares.quota) // recipe.primary - total // recipe.primary
    return near


def focal_hpi(recipe: Recipe, epoch: int, shares: Shares, chunk: Ints, group: Ints) -> Ints:
    """Draw the focal HPI of each batch of a chunk; return codes into `Strata.values`, shape ``(K,)``."""
    assert recipe.focus is not None  # noqa: S101  only asked for with focal anchors
    return recipe.focus.choose(group, shares, keys(recipe.seed, epoch, "focal-hpi", chunk))


def enriched(recipe: Recipe, epoch: int, shares: Shares, chunk: Ints, group: Ints) -> tuple[list[Part], Ints]:
    """Draw the primary anchors of a chunk with part of them near a focal HPI.

    Parameters
    ----------
    recipe, epoch
        What to draw from, and the address of the randomness.
    shares
        How many anchors of each stratum.
    chunk, group : ndarray of int64, shape (K,)
        Global batch numbers and their experiments.

    Returns
    -------
    parts : list of Part
    focal : ndarray of int64, shape (K,)
        Codes of the focal HPI.
    """
    strata, focus = recipe.strata, recipe.focus
    assert focus is not None  # noqa: S101
    focal = focal_hpi(recipe, epoch, shares, chunk, group)
    near = focal_quotas(recipe, epoch, shares, chunk)
    size, begin = strata.start[shares.stratum + 1] - strata.start[shares.stratum], strata.start[shares.stratum]
    number = chunk[shares.batch]

    def key(purpose: str) -> Words:
        return keys(recipe.seed, epoch, purpose, number, shares.stratum)

    # Where the stratum is smaller than what is asked of it, whole copies of it come first; what is left is distinct.
    copied = near // size * size
    copies_run, copies = balanced(size, copied, key("copies"))
    run, place = focus.draw(shares.stratum, near % size, focal[shares.batch], key("focal"))
    left = size - near % size
    others = np.minimum(shares.quota - near, left)
    other_run, rank = balanced(left, others, key("global"))
    other = skipping(rank, other_run, place - begin[run], run, len(size)) + begin[other_run]
    repeated = shares.quota - near - others
    again_run, again = balanced(size, repeated, key("again"))
    found = [
        (Role.FOCAL, copied, begin[copies_run] + copies),
        (Role.FOCAL, near - copied, place),
        (Role.GLOBAL, others, other),
        (Role.GLOBAL, repeated, begin[again_run] + again),
    ]
    first = shares.first()
    return [Part(role, np.add.reduceat(count, first), places) for role, count, places in found if len(places)], focal


def leaked(recipe: Recipe, epoch: int, chunk: Ints, group: Ints) -> Part:
    """Draw each batch's leaked anchors uniformly from all experiments but its own."""
    strata, count = recipe.strata, np.full(len(chunk), recipe.leaked)
    begin, end = strata.group_start[group], strata.group_start[group + 1]
    others = len(strata.order) - (end - begin)
    run, value = balanced(others, count, keys(recipe.seed, epoch, "leaked", chunk))
    return Part(Role.LEAKED, count, value + np.where(value >= begin[run], (end - begin)[run], 0))


class Orders:
    """In which order the batches of one epoch show their anchors, so that no part of one is all of a condition or time.

    One random order an epoch, turned by a random number of steps for each batch: every anchor is as likely to stand at
    any position.

    Parameters
    ----------
    recipe, epoch
        Size of a batch and seed, and the epoch.
    """

    def __init__(self, recipe: Recipe, epoch: int) -> None:
        self._address, self._size = (recipe.seed, epoch), recipe.batch_size
        order = generator(*self._address, "shuffle").permutation(self._size)
        self._turned = sliding_window_view(np.concatenate([order, order]), self._size)

    def of(self, chunk: Ints) -> Ints:
        """Return the orders of these global batches, shape ``(K, B)``."""
        return self._turned[below(keys(*self._address, "turn", chunk), self._size)]
