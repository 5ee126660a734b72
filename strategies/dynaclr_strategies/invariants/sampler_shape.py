# ruff: noqa: D401 - the docstring of a check states a law, it does not command
"""Laws 1 to 3, and how many batches there are: what a batch and an epoch are."""

from __future__ import annotations

import pandas as pd

from dynaclr_strategies.invariants.base import InvariantViolation, invariant
from dynaclr_strategies.invariants.sampler_runs import MakeSampler, alone, blame, epoch_of, observed
from dynaclr_strategies.oracles.sampler import CascadeOracle
from dynaclr_strategies.sampler_descriptions import SamplerOptions

__all__ = [
    "check_batch_size_exact",
    "check_batches_per_epoch",
    "check_indices_in_range",
    "check_len_matches_iteration",
]


@invariant("indices-in-range", subject="sampler", number=1)
def check_indices_in_range(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> None:
    """Every index of every batch is an ``int`` in ``[0, N)``."""
    for batch in observed(make_sampler, table, options):
        for place, index in enumerate(batch.anchors):
            if type(index) is not int or not 0 <= index < len(table):
                seen, expected = f"index {index!r} of type {type(index).__name__}", f"an int in [0, {len(table)})"
                raise blame(batch, seen, expected, "indices-in-range", [index], detail=f", position {place}")


@invariant("batch-size-exact", subject="sampler", number=2)
def check_batch_size_exact(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> None:
    """Every batch holds exactly ``batch_size`` indices."""
    for batch in observed(make_sampler, table, options):
        if len(batch.anchors) != options.batch_size:
            seen = f"len(batch)={len(batch.anchors)} with anchors={batch.anchors}"
            surplus = batch.anchors[options.batch_size :]
            raise blame(batch, seen, f"{options.batch_size}", "batch-size-exact", surplus)


@invariant("len-matches-iteration", subject="sampler", number=3)
def check_len_matches_iteration(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> None:
    """``len(sampler)`` is the number of batches that iteration yields, every time that it is iterated."""
    sampler = make_sampler(table, options)
    for iteration in range(2):
        announced = len(sampler)
        yielded = sum(1 for _ in sampler)
        if announced != yielded:
            raise InvariantViolation(
                f"iteration {iteration}",
                f"{yielded} batches",
                f"len(sampler)={announced}",
                "len-matches-iteration",
            )


@invariant("batches-per-epoch", subject="sampler")
def check_batches_per_epoch(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> None:
    """An epoch has ``floor(N / B)`` batches with ``drop_last``, and ``ceil(N / B)`` without, over all ranks."""
    expected, sampler = CascadeOracle(table, options).num_batches, make_sampler(table, alone(options))
    for epoch in range(2 if hasattr(sampler, "set_epoch") else 1):
        yielded = len(epoch_of(sampler, epoch))
        if yielded != expected:
            seen = f"{yielded} batches of {options.batch_size} out of {len(table)} anchors"
            raise InvariantViolation(f"epoch {epoch}", seen, str(expected), "batches-per-epoch")
