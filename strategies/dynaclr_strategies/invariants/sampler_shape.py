"""Laws 1 to 3: what a batch is."""

from __future__ import annotations

import pandas as pd

from dynaclr_strategies.invariants.base import InvariantViolation, invariant
from dynaclr_strategies.invariants.sampler_runs import MakeSampler, blame, observed
from dynaclr_strategies.sampler_descriptions import SamplerOptions

__all__ = ["check_batch_size_exact", "check_indices_in_range", "check_len_matches_iteration"]


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
