"""Composing batches: condition quotas, focal windows and leaks, for a whole chunk of batches at once.

All arrays are flat: the shares of a batch lie behind each other, and so do the batches of a chunk. *Places* are
positions in `Strata.order`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from dynaclr.cascade.draws import balanced, skipping
from dynaclr.randomness import below, keys, lanes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dynaclr.cascade.quotas import Shares
    from dynaclr.cascade.recipe import Recipe

    Ints = NDArray[np.int64]
    Words = NDArray[np.uint64]

_SHUFFLE_BITS: Final = 34


class Role(IntEnum):
    """Why an anchor is in its batch."""

    PRIMARY = 0
    FOCAL = 1
    GLOBAL = 2
    LEAKED = 3


@dataclass(frozen=True)
class Composition:
    """The anchors of a chunk of batches, in random order within each batch.

    Parameters
    ----------
    place : ndarray of int64, shape (K, B)
        Positions in `Strata.order`.
    role : ndarray of int64, shape (K, B)
        Why each of them is there, a `Role`.
    focal : ndarray of int64, shape (K,)
        Code of the focal HPI in `Strata.values`, or -1.
    """

    place: Ints
    role: Ints
    focal: Ints


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


def enriched(recipe: Recipe, epoch: int, shares: Shares, chunk: Ints, group: Ints) -> tuple[Ints, Ints, Ints, Ints]:
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
    batch, place, role : ndarray of int64
        Flat, one entry per anchor.
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
    copies_run, copies = balanced(size, near // size * size, key("copies"))
    run, place = focus.draw(shares.stratum, near % size, focal[shares.batch], key("focal"))
    left = size - near % size
    others = np.minimum(shares.quota - near, left)
    other_run, rank = balanced(left, others, key("global"))
    other = skipping(rank, other_run, place - begin[run], run, len(size)) + begin[other_run]
    again_run, again = balanced(size, shares.quota - near - others, key("again"))
    parts = [
        (copies_run, begin[copies_run] + copies, Role.FOCAL),
        (run, place, Role.FOCAL),
        (other_run, other, Role.GLOBAL),
        (again_run, begin[again_run] + again, Role.GLOBAL),
    ]
    batch = np.concatenate([shares.batch[runs] for runs, _, _ in parts])
    role = np.concatenate([np.full(len(runs), role) for runs, _, role in parts])
    return batch, np.concatenate([places for _, places, _ in parts]), role, focal


def leaked(recipe: Recipe, epoch: int, chunk: Ints, group: Ints) -> tuple[Ints, Ints]:
    """Draw each batch's leaked anchors uniformly from all experiments but its own; return batch and place, flat."""
    strata, count = recipe.strata, np.full(len(chunk), recipe.leaked)
    begin, end = strata.group_start[group], strata.group_start[group + 1]
    others = len(strata.order) - (end - begin)
    run, value = balanced(others, count, keys(recipe.seed, epoch, "leaked", chunk))
    return run, value + np.where(value >= begin[run], (end - begin)[run], 0)


def shuffled(recipe: Recipe, epoch: int, chunk: Ints, batch: Ints, place: Ints, role: Ints) -> tuple[Ints, Ints]:
    """Gather the anchors of each batch and put them in random order; return place and role, shape ``(K, B)``.

    The key of an anchor is its place, so the order depends neither on the chunk nor on how the batch was composed;
    copies of one anchor keep the order of their roles.
    """
    word = (lanes(keys(recipe.seed, epoch, "shuffle", chunk)[batch], place) >> (64 - _SHUFFLE_BITS)).astype(np.int64)
    # One sort of (batch, random bits, position) groups and shuffles. The number of random bits is fixed, so that the
    # rare tie is broken alike in a chunk of any length.
    bits = len(batch).bit_length()
    packed = (((batch << _SHUFFLE_BITS) | word) << bits) | np.arange(len(batch))
    packed.sort()
    at = packed & ((1 << bits) - 1)
    return place[at].reshape(-1, recipe.batch_size), role[at].reshape(-1, recipe.batch_size)
