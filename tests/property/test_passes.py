"""Fair passes, read batch by batch: as many of each stratum as its quota, pass after pass, evenly within a batch."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from made_strata import expected_of, strata_of

from dynaclr.cascade.passes import FairPasses
from dynaclr.cascade.quotas import Quotas
from dynaclr.cascade.recipe import Recipe
from dynaclr.cascade.rounding import SystematicRounding
from dynaclr.cascade.schedule import Schedule

_SIZES = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=3), min_size=1, max_size=3)


def make_recipe(sizes: list[list[int]], primary: int, num_batches: int, seed: int) -> Recipe:
    """Return what passes need to know: strata of these sizes, and quotas in proportion to them."""
    recipe = Recipe.__new__(Recipe)
    recipe.seed = seed
    recipe.strata = strata_of(sizes)
    recipe.quotas = Quotas(recipe.strata, [SystematicRounding.of(expected_of(each, primary)) for each in sizes])
    recipe.shares = SystematicRounding.of([Fraction(num_batches, len(sizes))] * len(sizes))
    return recipe


def make_passes(recipe: Recipe, epoch: int = 0, number: int = 0) -> tuple[FairPasses, Schedule]:
    """Return the passes of a round, and its schedule."""
    schedule = Schedule.of(recipe.seed, epoch, number, recipe.shares)
    return FairPasses(recipe, epoch, number, schedule), schedule


def streams(recipe: Recipe, epoch: int = 0, number: int = 0) -> dict[int, list[list[int]]]:
    """Return what each batch of a round draws from each stratum, counted from the stratum's first place."""
    passes, schedule = make_passes(recipe, epoch, number)
    taken = passes.take(np.arange(len(schedule.group)))
    drawn: dict[int, list[list[int]]] = {stratum: [] for stratum in range(len(recipe.strata.condition))}
    for group, offset, row in zip(schedule.group.tolist(), schedule.offset, taken.tolist(), strict=True):
        first = int(recipe.strata.group_stratum[group])
        for nth, quota in enumerate(recipe.quotas.per_group[group].counts(np.array([offset]))[0].tolist()):
            start = int(recipe.strata.start[first + nth])
            drawn[first + nth].append([place - start for place in row[:quota]])
            del row[:quota]
        assert row == []
    return drawn


@given(sizes=_SIZES, primary=st.integers(1, 12), num_batches=st.integers(1, 40), seed=st.integers(0, 99))
@example(sizes=[[7, 9]], primary=5, num_batches=600, seed=0)  # more batches than a short sort keeps in order
@example(sizes=[[40]], primary=27, num_batches=9, seed=0)
def test_streams_are_passes_and_batches_are_even(
    sizes: list[list[int]], primary: int, num_batches: int, seed: int
) -> None:
    """Each pass holds each anchor once; within a batch none comes twice more often than another."""
    recipe = make_recipe(sizes, primary, num_batches, seed)
    for stratum, batches in streams(recipe).items():
        size = int(np.diff(recipe.strata.start)[stratum])
        stream = [place for batch in batches for place in batch]
        for begin in range(0, len(stream), size):
            one = stream[begin : begin + size]
            assert len(set(one)) == len(one)
            assert set(one) <= set(range(size))
        for batch in batches:
            times = np.bincount(batch, minlength=size)
            assert times.max(initial=0) - times.min(initial=len(batch)) <= 1


@given(sizes=_SIZES, primary=st.integers(1, 12), order=st.integers(1, 40).flatmap(lambda n: st.permutations(range(n))))
def test_any_batch_can_be_read_first(sizes: list[list[int]], primary: int, order: list[int]) -> None:
    """In whatever order and company batches are asked for, they are those of the whole round."""
    num_batches = len(order)
    recipe = make_recipe(sizes, primary, num_batches, seed=0)
    passes, _ = make_passes(recipe)
    whole = passes.take(np.arange(num_batches))
    assert whole.shape == (num_batches, primary)
    again, _ = make_passes(recipe)
    for batch in order:
        assert again.take(np.array([batch])).tolist() == [whole[batch].tolist()]


def test_no_two_shuffles_are_alike() -> None:
    """Strata of one size, rounds, epochs and seeds are shuffled each on its own."""
    seen = [
        stream
        for seed, epoch, number in product(range(2), repeat=3)
        for stream in streams(make_recipe([[12, 12], [12, 12]], 12, 20, seed), epoch, number).values()
    ]
    flat = {tuple(place for batch in stream for place in batch)[:12] for stream in seen}
    assert len(flat) == len(seen) == 32


def test_long_streams_do_not_repeat() -> None:
    """A handful of anchors is shuffled in blocks of passes, each block on its own."""
    (stream,) = streams(make_recipe([[3]], 1000, 200, seed=0)).values()
    passes = np.concatenate(stream)[: 200_000 // 3 * 3].reshape(-1, 3)
    assert (np.sort(passes, axis=1) == [0, 1, 2]).all()
    for shift in (21_845, 43_690):  # passes in a block, and in two
        alike = (passes[shift : shift + 2000] == passes[:2000]).all(axis=1)
        assert alike.mean() < 0.25  # by chance a sixth is; P(a quarter of 2000) < exp(-2 * 2000 / 12**2) < 1e-12
