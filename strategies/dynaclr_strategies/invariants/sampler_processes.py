# ruff: noqa: D401 - the docstring of a check states a law, it does not command
"""Laws 22 to 24: the same epoch, shared out over processes."""

from __future__ import annotations

import math
from itertools import zip_longest

import pandas as pd

from dynaclr_strategies.invariants.base import InvariantViolation, invariant
from dynaclr_strategies.invariants.evidence import BatchEvidence
from dynaclr_strategies.invariants.sampler_runs import MakeSampler, alone, compare, epoch_of, on_ranks
from dynaclr_strategies.sampler_descriptions import SamplerOptions

__all__ = ["RANKS", "check_elastic", "check_ranks_equal_length", "check_ranks_partition", "interleave"]

RANKS = (1, 2, 3, 5)
"""Numbers of processes that are tried."""


def interleave(per_rank: list[list[list[int]]]) -> list[list[int]]:
    """Return the global batches in order: the first of each rank, the second of each rank, and so on."""
    rounds = zip_longest(*per_rank)
    return [batch for one_round in rounds for batch in one_round if batch is not None]


@invariant("ranks-equal-length", subject="sampler", number=22, needs=("ranks",))
def check_ranks_equal_length(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> None:
    """With R ranks every rank yields ``ceil(batches / R)`` full batches and says so."""
    batches = len(make_sampler(table, alone(options)))
    for replicas in RANKS:
        expected = math.ceil(batches / replicas)
        for rank, sampler in enumerate(on_ranks(make_sampler, table, options, replicas)):
            where = f"rank {rank} of {replicas}"
            yielded = [list(batch) for batch in sampler]
            if len(yielded) != expected or len(sampler) != expected:
                seen = f"{len(yielded)} batches and len(sampler)={len(sampler)}"
                raise InvariantViolation(where, seen, f"{expected} of {batches}", "ranks-equal-length")
            for place, batch in enumerate(yielded):
                if len(batch) != options.batch_size:
                    evidence = BatchEvidence(tuple(batch), tuple(batch[options.batch_size :]))
                    raise InvariantViolation(
                        f"batch {place} of {where}",
                        f"len(batch)={len(batch)}",
                        str(options.batch_size),
                        "ranks-equal-length",
                        evidence=evidence,
                    )


@invariant("ranks-partition", subject="sampler", number=23, needs=("ranks", "batch"))
def check_ranks_partition(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> None:
    """Rank k of R yields the global batches k, k + R, k + 2R and so on."""
    single = make_sampler(table, alone(options))
    for replicas in RANKS:
        for rank, sampler in enumerate(on_ranks(make_sampler, table, options, replicas, epoch=1)):
            seen = [list(batch) for batch in sampler]
            expected = [list(single.batch(rank + place * replicas, epoch=1)) for place in range(len(seen))]
            compare(seen, expected, "ranks-partition", f"of rank {rank} of {replicas} in epoch 1")


@invariant("elastic", subject="sampler", number=24, needs=("ranks",))
def check_elastic(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> None:
    """The sequence of global batches does not depend on the number of ranks."""
    samplers = {replicas: on_ranks(make_sampler, table, options, replicas) for replicas in RANKS}
    # A mistake may be hidden in epoch 0, where whatever is multiplied by the epoch is the same on all ranks.
    for epoch in (0, 2) if hasattr(samplers[1][0], "set_epoch") else (0,):
        sequences = {
            replicas: interleave([epoch_of(sampler, epoch) for sampler in ranks])
            for replicas, ranks in samplers.items()
        }
        # The most ranks continue the epoch furthest, so every other sequence is a beginning of the longest.
        longest = max(sequences.values(), key=len)
        for replicas, sequence in sequences.items():
            what = f"of {replicas} ranks together in epoch {epoch}"
            compare(sequence, longest[: len(sequence)], "elastic", what)
