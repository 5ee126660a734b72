# ruff: noqa: D401 - the docstring of a check states a law, it does not command
"""Laws 16 and 17, and that an epoch lasts until the next one is selected: which batches differ, and which do not.

Two epochs of a small table may be alike by chance, though by no more than one chance in two where the laws apply. So
epochs are compared in blocks: two places of a block are at fault if they hold the same batches in each of `BLOCKS`
blocks. By chance that happens to one pair with a probability of 2**-64, and to any of the pairs of a block with less
than 1e-17. Whatever a sampler makes of epoch and seed (halving them, adding them, taking a remainder), the same places
of each block come out alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import combinations
from typing import Any

import pandas as pd

from dynaclr_strategies.invariants.base import InvariantViolation, invariant
from dynaclr_strategies.invariants.sampler_runs import MakeSampler, alone, compare, epoch_of
from dynaclr_strategies.sampler_descriptions import SamplerOptions

__all__ = ["check_epoch_kept", "check_epochs_differ", "check_seeds_differ"]

BLOCKS = 64
EPOCHS = 12
"""Epochs of a block: a multiple of 2, 3, 4 and 6, so that runs and periods of these lengths fall on the same places."""
SEEDS, EPOCHS_OF_SEED = 4, 4
"""Seeds of a block, and epochs of each: powers of two, so that whatever bits are swapped stays within the block."""

Place = Any
Pair = tuple[Place, Place]


def _always_alike(pairs: Iterable[Pair], run: Callable[[int, Place], list[list[int]]]) -> Pair | None:
    """Return the first of the pairs of places that are alike in every block; ``run(block, place)`` looks there."""
    alike = list(pairs)
    for block in range(BLOCKS):
        places = dict.fromkeys(place for pair in alike for place in pair)
        seen = {place: run(block, place) for place in places}
        alike = [(one, other) for one, other in alike if seen[one] == seen[other]]
        if not alike:
            return None
    return alike[0]


@invariant(
    "epochs-differ",
    subject="sampler",
    number=16,
    needs=("set_epoch",),
    when="more than one epoch is possible",
    applies=lambda o: o.must_vary(),
)
def check_epochs_differ(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> None:
    """Different epochs hold different batches, those beside each other and those a few apart."""
    sampler = make_sampler(table, alone(options))

    def run(block: int, epoch: int) -> list[list[int]]:
        return epoch_of(sampler, block * EPOCHS + epoch)

    found = _always_alike(combinations(range(EPOCHS), 2), run)
    if found is not None:
        where = f"epochs {found[0]} and {found[1]} of every {EPOCHS} up to {BLOCKS * EPOCHS}"
        raise InvariantViolation(where, "the same batches", "different ones", "epochs-differ")


@invariant(
    "seeds-differ",
    subject="sampler",
    number=17,
    when="more than one epoch is possible",
    applies=lambda o: o.must_vary(),
)
def check_seeds_differ(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> None:
    """Different seeds give different batches, and no epoch of a seed is an epoch of a seed near it."""
    alike = alone(options)
    epochs = range(EPOCHS_OF_SEED if hasattr(make_sampler(table, alike), "set_epoch") else 1)
    first = options.seed - options.seed % SEEDS

    def run(block: int, place: tuple[int, int]) -> list[list[int]]:
        seed = first + block * SEEDS + place[0]
        return epoch_of(make_sampler(table, replace(alike, seed=seed)), place[1])

    places = [(seed, epoch) for seed in range(SEEDS) for epoch in epochs]
    found = _always_alike(((a, b) for a, b in combinations(places, 2) if a[0] != b[0]), run)
    if found is not None:
        here, there = (f"epoch {epoch} of seed {first + seed}" for seed, epoch in found)
        where = f"{here} and {there}, and of every {SEEDS} seeds on up to {first + BLOCKS * SEEDS}"
        raise InvariantViolation(where, "the same batches", "different ones", "seeds-differ")


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
