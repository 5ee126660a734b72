# ruff: noqa: D401 - the docstring of a check states a law, it does not command
"""Laws about what a batch depends on: seed, epoch, anchor and occurrence, and nothing else."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from dynaclr_strategies.cases import DatasetCase
from dynaclr_strategies.invariants.base import InvariantViolation, invariant
from dynaclr_strategies.invariants.dataset_runs import (
    AnyDataset,
    MakeDataset,
    Run,
    check_same,
    is_fit,
    of_all,
    started,
    tracks_evidence,
)

__all__ = [
    "check_batches_repeatable",
    "check_cache_changes_nothing",
    "check_order_of_reading",
    "check_positive_by_address",
    "check_positives_by_epoch",
    "check_positives_by_occurrence",
    "check_positives_by_seed",
    "check_workers_change_nothing",
]

THREADS = 4
CERTAIN = 32.0
"""Draws that agree by chance with a probability below exp(-32), about 1e-14, do not agree by chance."""
MOST_EPOCHS = 64


@invariant("batches-repeatable", subject="dataset")
def check_batches_repeatable(make: MakeDataset, case: DatasetCase, root: Path) -> None:
    """The same indices in the same epoch are the same batch, read again or by another dataset made alike."""
    run = started(make, case, root)
    again = run.made()
    if case.fit and run.anchors:
        for epoch in range(case.epoch, case.epoch + MOST_EPOCHS):
            for dataset in (run.dataset, again):
                _check_same_positives(run, epoch, dataset, "batches-repeatable")
    for indices in run.batches:
        batch = run.snapshot(indices)
        for reader, dataset in (("again", run.dataset), ("by another dataset", again)):
            seen = dataset.__getitems__(indices)
            check_same(run, indices, seen, batch, f"batch {indices}, read {reader}", "batches-repeatable")


def _check_same_positives(run: Run, epoch: int, dataset: AnyDataset, law: str) -> None:
    every = run.batches[1]
    expected, seen = run.positives(every, epoch), run.positives(every, epoch, dataset)
    for index, (row, other) in enumerate(zip(expected, seen, strict=True)):
        if row != other:
            anchor, both = run.anchors[index], (run.rows[other], run.rows[row])
            raise InvariantViolation(
                f"anchor {index} ({anchor}) in epoch {epoch}, asked again",
                f"the positive is {both[0]}",
                f"{both[1]}, as before",
                law,
                evidence=tracks_evidence(anchor, both[:1], both[1:]),
            )


@invariant("order-of-reading", subject="dataset")
def check_order_of_reading(make: MakeDataset, case: DatasetCase, root: Path) -> None:
    """A batch does not depend on which batches were read before it."""
    run = started(make, case, root)
    backwards, batches = run.made(), [*run.batches[:1], *of_all(run, 3)]
    alone = [run.snapshot(indices) for indices in batches]
    for number in reversed(range(len(batches))):
        seen = backwards.__getitems__(batches[number])
        where = f"batch {batches[number]}, read backwards"
        check_same(run, batches[number], seen, alone[number], where, "order-of-reading")


@invariant("workers-change-nothing", subject="dataset")
def check_workers_change_nothing(make: MakeDataset, case: DatasetCase, root: Path) -> None:
    """Several threads, and the pickled copy that a process gets, read the batches that one thread reads alone."""
    run = started(make, case, root)
    batches = [*run.batches, *of_all(run, 2)]
    alone = [run.snapshot(indices) for indices in batches]
    shared = run.made()
    with ThreadPoolExecutor(THREADS) as pool:
        threaded = list(pool.map(shared.__getitems__, batches))
    copy = pickle.loads(pickle.dumps(run.dataset))  # noqa: S301 - our own bytes
    copied = [copy.__getitems__(indices) for indices in batches]
    for reader, read in ((f"by {THREADS} threads", threaded), ("by a pickled copy", copied)):
        for indices, seen, expected in zip(batches, read, alone, strict=True):
            check_same(run, indices, seen, expected, f"batch {indices}, read {reader}", "workers-change-nothing")


@invariant("cache-changes-nothing", subject="dataset")
def check_cache_changes_nothing(make: MakeDataset, case: DatasetCase, root: Path) -> None:
    """Batches are the same whatever ``cache_pool_bytes`` is: none, too little for an image, or enough for all."""
    run = started(make, case, root)
    batches = [*run.batches, *of_all(run, 3)]
    without = run.made(replace(case, cache_pool_bytes=0))
    alone = [run.snapshot(indices, without) for indices in batches]
    for size in (500, 10**8):
        cached = run.made(replace(case, cache_pool_bytes=size))
        for reading in ("first", "second"):
            for indices, expected in zip(batches, alone, strict=True):
                where = f"batch {indices} with a cache of {size} bytes, read for the {reading} time"
                check_same(run, indices, cached.__getitems__(indices), expected, where, "cache-changes-nothing")


# --- what a positive depends on ---------------------------------------------------------------------------------------


@invariant("positive-by-address", subject="dataset", when="fit", applies=is_fit)
def check_positive_by_address(make: MakeDataset, case: DatasetCase, root: Path) -> None:
    """An anchor's positive depends on how often it came before in the batch, not on other anchors or their order."""
    run = started(make, case, root)
    if not run.anchors:
        return
    every = run.batches[1]
    together = _by_occurrence(run, [*every, *run.batches[0], *every])
    others = [[*reversed(every), *run.batches[0], *every], *([index, index] for index in every)]
    for indices in others:
        for (index, occurrence), row in _by_occurrence(run, indices).items():
            expected = together[index, occurrence]
            if row != expected:
                anchor, both = run.anchors[index], (run.rows[row], run.rows[expected])
                raise InvariantViolation(
                    f"anchor {index} ({anchor}), occurrence {occurrence} in batch {indices}",
                    f"the positive is {both[0]}",
                    f"{both[1]}, as in a batch with others",
                    "positive-by-address",
                    evidence=tracks_evidence(anchor, both[:1], both[1:]),
                )


def _by_occurrence(run: Run, indices: list[int]) -> dict[tuple[int, int], int]:
    rows = run.positives(indices, run.case.epoch)
    return {(index, indices[:place].count(index)): rows[place] for place, index in enumerate(indices)}


def _undecided(run: Run) -> tuple[list[int], int]:
    """Return the anchors that have a choice, and in how many epochs all their draws cannot agree by chance."""
    chosen, surprise = [], 0.0
    for index, anchor in enumerate(run.anchors):
        shares, candidates = run.oracle.tau_probabilities(anchor), run.oracle.candidates(anchor)
        agreement = float(sum(share * share / len(candidates[tau]) for tau, share in shares.items()))
        if agreement < 1:
            chosen.append(index)
            surprise -= math.log(agreement)
    epochs = math.ceil(CERTAIN / surprise) if surprise > 0 else MOST_EPOCHS + 1
    return (chosen, epochs) if epochs <= MOST_EPOCHS else ([], 0)


Draw = Callable[[list[int], int], list[int]]


def _check_not_the_same(run: Run, one: Draw, other: Draw, where: str, law: str) -> None:
    """Raise if two ways to draw give the same positives to every anchor in every one of enough epochs."""
    chosen, epochs = _undecided(run)
    span = range(run.case.epoch, run.case.epoch + epochs)
    if not chosen or any(one(chosen, epoch) != other(chosen, epoch) for epoch in span):
        return
    anchor = run.anchors[chosen[0]]
    same = run.rows[one(chosen[:1], span[0])[0]]
    own = [candidate for some in run.oracle.candidates(anchor).values() for candidate in some]
    raise InvariantViolation(
        where,
        f"the same positives for {len(chosen)} anchors in {epochs} epochs, such as {same} for {anchor}",
        "another one somewhere",
        law,
        evidence=tracks_evidence(anchor, [same], own),
    )


@invariant("positives-by-seed", subject="dataset", when="fit", applies=is_fit)
def check_positives_by_seed(make: MakeDataset, case: DatasetCase, root: Path) -> None:
    """Another seed gives other positives, and not those that the same seed has in the next epoch either."""
    run = started(make, case, root)
    reseeded = run.made(replace(case, seed=case.seed + 1))
    for later in (0, 1):
        _check_not_the_same(
            run,
            lambda indices, epoch, later=later: run.positives(indices, epoch + later),  # type: ignore[misc]
            lambda indices, epoch: run.positives(indices, epoch, reseeded),
            f"seeds {case.seed} and {case.seed + 1}, {later} epochs apart",
            "positives-by-seed",
        )


@invariant("positives-by-epoch", subject="dataset", when="fit", applies=is_fit)
def check_positives_by_epoch(make: MakeDataset, case: DatasetCase, root: Path) -> None:
    """Another epoch gives other positives."""
    run = started(make, case, root)
    _check_not_the_same(
        run,
        run.positives,
        lambda indices, epoch: run.positives(indices, epoch + MOST_EPOCHS),
        f"epochs {case.epoch} and on, and {MOST_EPOCHS} epochs later",
        "positives-by-epoch",
    )


@invariant("positives-by-occurrence", subject="dataset", when="fit", applies=is_fit)
def check_positives_by_occurrence(make: MakeDataset, case: DatasetCase, root: Path) -> None:
    """The second occurrence of an anchor in a batch draws a positive of its own."""
    run = started(make, case, root)
    _check_not_the_same(
        run,
        lambda indices, epoch: run.positives([*indices, *indices], epoch)[: len(indices)],
        lambda indices, epoch: run.positives([*indices, *indices], epoch)[len(indices) :],
        "batches in which each anchor occurs twice",
        "positives-by-occurrence",
    )
