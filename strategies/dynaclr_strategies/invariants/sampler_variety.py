# ruff: noqa: D401 - the docstring of a check states a law, it does not command
"""Laws 16 and 17, and that an epoch lasts until the next one is selected: which batches differ, and which do not.

Two epochs of a small table may be alike by chance, though by no more than one chance in two where the laws apply. So
epochs are compared in blocks: two places of a block are at fault if they were found alike in `BLOCKS` blocks and never
different. By chance that happens to one pair with a probability of 2**-64, and to any of the pairs of a block with less
than 1e-16. Whatever a sampler makes of epoch and seed (halving them, adding them, taking a remainder), the same places
of each block come out alike.

What must differ is not the batches alone but each of the things that are drawn for them (see
`dynaclr_strategies.invariants.sampler_sights`): a sampler that forgets the seed where it leaks has batches that differ
all the same. Single things are compared at fewer places, where they come out alike if epoch or seed is forgotten,
halved or added to the other, or if the second or third epoch is the first again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from itertools import combinations
from typing import Any

import pandas as pd

from dynaclr_strategies.invariants.base import InvariantViolation, invariant
from dynaclr_strategies.invariants.sampler_runs import MakeSampler, alone, at_epoch, compare, epoch_of
from dynaclr_strategies.invariants.sampler_sights import WHOLE, Aspect, Sight, aspects
from dynaclr_strategies.oracles.sampler import CascadeOracle
from dynaclr_strategies.sampler_descriptions import SamplerOptions

__all__ = ["check_epoch_kept", "check_epochs_differ", "check_seeds_differ"]

BLOCKS = 64
EPOCHS = 12
"""Epochs of a block: a multiple of 2, 3, 4 and 6, so that runs and periods of these lengths fall on the same places."""
SEEDS, EPOCHS_OF_SEED = 4, 4
"""Seeds of a block, and epochs of each: powers of two, so that whatever bits are swapped stays within the block."""
FACTORS = (31, 37, 97, 100, 101, 997, 1000, 1009, 10_000, 65_537, 1_000_003)
"""What people multiply one number by to add another, in the belief that the sum is both."""

_MOST_EPOCHS = 10_000  # nobody trains for more, and some samplers draw their way to an epoch from the first one on
_MOST_SEEDS = 2**32  # what the strategies draw seeds below, and all that some generators take
_FEW_EPOCHS, _FEW_SEEDS = 4, 3  # places of a block at which single things are looked at
_PATIENCE = 16
"""After how many blocks without a word on any of the pairs nothing more is hoped for."""

Place = Any
Pair = tuple[Place, Place]


def _always_alike(aspect: Aspect, pairs: Iterable[Pair], look: Callable[[int, Place], Sight]) -> Pair | None:
    """Return the first of the pairs of places that are alike in `BLOCKS` blocks; ``look(block, place)`` sees one."""
    alike = dict.fromkeys(pairs, 0)
    for block in range(4 * BLOCKS):
        seen = cache(lambda place, block=block: look(block, place))
        for one, other in list(alike):
            verdict = aspect.alike(seen(one), seen(other))
            if verdict is False:
                del alike[one, other]
            elif verdict and (count := alike[one, other] + 1) == BLOCKS:
                return one, other
            elif verdict:
                alike[one, other] = count
        if not alike or (block == _PATIENCE and not any(alike.values())):
            return None
    return None


def _seen_and_expected(aspect: Aspect, sight: Sight) -> tuple[str, str]:
    """Return what two places that are alike show, one of which is given, and what they should."""
    return (f"the same {aspect.name}", "different ones") if sight.whole else ("no batches", "some, and different ones")


@invariant(
    "epochs-differ",
    subject="sampler",
    number=16,
    needs=("set_epoch",),
    when="more than one epoch is possible",
    applies=lambda o: o.must_vary(),
)
def check_epochs_differ(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> None:
    """Different epochs hold different batches, and draw anew their order, the anchors, the leaks and the focal HPI."""
    sampler = make_sampler(table, alone(options))

    def look(block: int, place: int) -> Sight:
        epoch = block * EPOCHS + place
        return Sight(lambda: at_epoch(sampler, epoch), epoch)

    for aspect in aspects(CascadeOracle(table, options)):
        found = _always_alike(aspect, combinations(range(EPOCHS if aspect is WHOLE else _FEW_EPOCHS), 2), look)
        if found is not None:
            where = f"epochs {found[0]} and {found[1]} of every {EPOCHS} up to {BLOCKS * EPOCHS}"
            raise InvariantViolation(where, *_seen_and_expected(aspect, look(0, found[0])), "epochs-differ")


def _pairs_of_seeds(epochs: range, aspect: Aspect) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return the pairs of places ``(seed, epoch)`` to compare, seeds counted from the first of a block."""
    if aspect is not WHOLE:
        added = [((0, 1), (1, 0))] if len(epochs) > 1 else []
        return [((0, 0), (seed, 0)) for seed in range(1, _FEW_SEEDS)] + added
    places = [(seed, epoch) for seed in range(SEEDS) for epoch in epochs]
    pairs = [(a, b) for a, b in combinations(places, 2) if a[0] != b[0]]
    if len(epochs) > 1:
        pairs += [((0, 1), (factor, 0)) for factor in FACTORS]
        pairs += [((0, factor), (1, 0)) for factor in FACTORS if factor <= _MOST_EPOCHS]
    return pairs


@invariant(
    "seeds-differ",
    subject="sampler",
    number=17,
    when="more than one epoch is possible",
    applies=lambda o: o.must_vary(),
)
def check_seeds_differ(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> None:
    """Different seeds give different batches, drawn anew in all, and no epoch of a seed is one of another seed."""
    alike = alone(options)
    epochs = range(EPOCHS_OF_SEED if hasattr(make_sampler(table, alike), "set_epoch") else 1)
    first = min(options.seed, _MOST_SEEDS - 4 * BLOCKS * SEEDS - max(FACTORS)) // SEEDS * SEEDS

    def look(block: int, place: tuple[int, int]) -> Sight:
        seed, epoch = first + block * SEEDS + place[0], place[1]
        return Sight(lambda: at_epoch(make_sampler(table, replace(alike, seed=seed)), epoch), epoch)

    for aspect in aspects(CascadeOracle(table, options)):
        found = _always_alike(aspect, _pairs_of_seeds(epochs, aspect), look)
        if found is not None:
            here, there = (f"epoch {epoch} of seed {first + seed}" for seed, epoch in found)
            where = f"{here} and {there}, and of every {SEEDS} seeds on up to {first + BLOCKS * SEEDS}"
            raise InvariantViolation(where, *_seen_and_expected(aspect, look(0, found[0])), "seeds-differ")


@invariant("epoch-kept", subject="sampler", needs=("set_epoch",))
def check_epoch_kept(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> None:
    """Iterating, to the end or not, leaves the epoch as it is: the next iteration yields its batches again."""
    sampler = make_sampler(table, options)
    for epoch in (0, 1):
        expected = epoch_of(sampler, epoch)
        compare([list(batch) for batch in sampler], expected, "epoch-kept", f"in epoch {epoch} once more")
        next(iter(sampler), None)
        where = f"in epoch {epoch} after an iteration that was broken off"
        compare([list(batch) for batch in sampler], expected, "epoch-kept", where)
