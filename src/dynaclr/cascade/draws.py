"""Drawing without replacement for many draws at once: ragged arrays, no Python loop, no state.

A *draw* asks for ``count`` distinct numbers below ``size``. Draws of different sizes and counts lie behind each other
in flat arrays, so that a whole chunk of batches costs a dozen NumPy calls. What a draw yields depends on its key alone,
never on the draws beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dynaclr.randomness import below, lanes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Words = NDArray[np.uint64]


def starts_of(counts: Ints) -> Ints:
    """Return where each run begins when runs of these lengths lie behind each other, shape ``(len(counts) + 1,)``."""
    starts = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=starts[1:])
    return starts


def spread(counts: Ints) -> tuple[Ints, Ints]:
    """Return, for each element of the flat array, its run and its place within the run."""
    run = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    return run, runs(np.zeros(len(counts), dtype=np.int64), counts)


def runs(begin: Ints, count: Ints) -> Ints:
    """Return the numbers of runs that begin here and have these lengths, one run behind the other."""
    numbers = np.repeat(begin - starts_of(count)[:-1], count)
    numbers += np.arange(len(numbers))
    return numbers


def distinct(size: Ints, count: Ints, key: Words) -> Ints:
    """Draw `count` distinct numbers below `size` for each key, every subset equally likely.

    The answer to a draw is the first `count` different members of the endless sequence that belongs to its key; where
    that would be more than half of the numbers, the others are drawn and left out.

    Parameters
    ----------
    size, count : ndarray of int64, shape (draws,)
        ``0 <= count <= size`` for each draw.
    key : ndarray of uint64, shape (draws,)
        One key per draw (see `dynaclr.randomness.keys`).

    Returns
    -------
    ndarray of int64, shape (count.sum(),)
        The numbers of each draw in ascending order, draw after draw.
    """
    return _distinct(size, count, key)[1]


def _distinct(size: Ints, count: Ints, key: Words) -> tuple[Ints, Ints]:
    """Return the draw that each number of `distinct` belongs to, and the number."""
    if not count.any():  # as nearly always, where only strata that are too small are asked for more
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    inverted = 2 * count > size
    picked = np.where(inverted, size - count, count)
    # Expected number of members until `count` of `size` are seen is size * log(size / (size - count)) <= 1.39 * count.
    tries = np.where(picked > 0, picked + picked * picked // np.maximum(size, 1) + 6, 0)
    run, value = _first_different(size, picked, key, tries)
    if inverted.any():
        run, value = _complement(size, inverted, run, value)
    return run, value


def _first_different(size: Ints, count: Ints, key: Words, tries: Ints) -> tuple[Ints, Ints]:
    """Return run and value of the first `count` different members of each key's sequence, sorted by both."""
    run, value, short = _attempt(size, count, key, tries)
    if not short.any():
        return run, value
    # The few unlucky draws look further along the same sequence, so luck changes nothing but the time it takes.
    lucky, again = np.flatnonzero(~short[run]), np.flatnonzero(short)
    more_run, more_value = _first_different(size[again], count[again], key[again], 2 * tries[again])
    run, value, more_run = run[lucky], value[lucky], again[more_run]
    at = np.searchsorted(run, more_run)
    return np.insert(run, at, more_run), np.insert(value, at, more_value)


def _attempt(size: Ints, count: Ints, key: Words, tries: Ints) -> tuple[Ints, Ints, NDArray[np.bool_]]:
    """Look at `tries` members of each sequence; return run and value of those kept, and which runs found too few."""
    longest = int(tries.max(initial=1))
    if 3 * tries.sum() > 2 * len(tries) * longest:
        # Nearly as many for each, so as many for each, since to look at more of them changes nothing: in rows of one
        # length, which are sorted one by one, each in the fastest cache.
        tries = np.full(len(tries), longest)
        run, lane = np.arange(len(tries))[:, None], np.arange(longest)
    else:
        run, lane = spread(tries)
    value_bits, lane_bits = (int(most.max(initial=1)).bit_length() for most in (size, tries))
    packed = below(lanes(key[run], lane), size[run])
    # Sorting (run, value, lane) packed into one word brings equal values together, the earliest first.
    packed |= run << value_bits
    packed <<= lane_bits
    packed |= lane
    packed.sort()
    lane = packed & ((1 << lane_bits) - 1)
    head = (packed >> lane_bits).ravel()
    repeats = 1 + np.flatnonzero(head[1:] == head[:-1])
    # Repeats are few, so it is from them that we learn where each sequence has shown enough.
    until = _until_enough(count, head[repeats] >> value_bits, lane.ravel()[repeats])
    wanted = (lane < until[run]).ravel()
    wanted[repeats] = False
    kept = head[np.flatnonzero(wanted)]  # taking by position is faster than by mask
    return kept >> value_bits, kept & ((1 << value_bits) - 1), until > tries


def _until_enough(count: Ints, run: Ints, lane: Ints) -> Ints:
    """Return after how many members each sequence has shown `count` different ones, given which only repeat others.

    A member before which i repeats stand in its run is preceded by ``lane - i`` different ones; it counts while those
    are fewer than `count`.
    """
    packed = np.sort((run << 32) | lane)
    run, lane = packed >> 32, packed & (2**32 - 1)
    of_run = np.bincount(run, minlength=len(count))
    before = np.arange(len(run)) - np.repeat(starts_of(of_run)[:-1], of_run)
    return count + np.bincount(run[lane - before < count[run]], minlength=len(count))


def balanced(size: Ints, count: Ints, key: Words) -> tuple[Ints, Ints]:
    """Draw `count` numbers below `size`, each as often as any other or once more; distinct where there are enough.

    Parameters and randomness are those of `distinct`, but `count` may be larger than `size`.

    Returns
    -------
    run, value : ndarray of int64, shape (count.sum(),)
        The draw that each number belongs to, ascending, and the number.
    """
    if (count <= size).all():
        return _distinct(size, count, key)
    copies = count // np.maximum(size, 1)
    run, copy = spread(copies + 1)
    parts = np.where(copy < copies[run], size[run], (count - copies * size)[run])
    part, value = _distinct(size[run], parts, key[run])
    return run[part], value


def _complement(size: Ints, inverted: NDArray[np.bool_], run: Ints, value: Ints) -> tuple[Ints, Ints]:
    """Replace the values of the `inverted` runs by all the others below their size."""
    all_run, all_value = spread(np.where(inverted, size, 0))
    kept = np.ones(len(all_run), dtype=bool)
    left_out = inverted[run]
    kept[starts_of(np.where(inverted, size, 0))[run[left_out]] + value[left_out]] = False
    run = np.concatenate([run[~left_out], all_run[kept]])
    value = np.concatenate([value[~left_out], all_value[kept]])
    order = np.argsort(run, kind="stable")
    return run[order], value[order]


def skipping(rank: Ints, rank_run: Ints, taken: Ints, taken_run: Ints, runs: int) -> Ints:
    """Turn ranks among the numbers that are not `taken` into the numbers themselves.

    Parameters
    ----------
    rank : ndarray of int64
        Zero-based ranks among the numbers left in the run that `rank_run` names.
    taken : ndarray of int64
        Numbers that are gone, ascending within the run that `taken_run` names; runs ascending.
    runs
        Number of runs.

    Returns
    -------
    ndarray of int64
        Rank r becomes r plus the number of taken ones at or below it: those with ``taken[i] - i <= r``.
    """
    counts = np.bincount(taken_run, minlength=runs)
    place = np.arange(len(taken)) - starts_of(counts)[taken_run]
    bits = int(max(taken.max(initial=0), rank.max(initial=0)) + 1).bit_length()
    passed = np.searchsorted((taken_run << bits) | (taken - place), (rank_run << bits) | rank, side="right")
    result: Ints = rank + passed - starts_of(counts)[rank_run]
    return result
