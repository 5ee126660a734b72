"""The order of the anchors within a batch, which is random: a promise of the page on sampling.

Given what a batch holds, any of its anchors stands at a place with the same probability, and what stands there in one
batch says nothing of another. So for each place the batches are independent coins. Neighbours may have one order for a
whole epoch, turned batch by batch: of these, the first batch of each epoch is a coin.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain

import pandas as pd

from dynaclr_strategies.invariants.base import invariant
from dynaclr_strategies.invariants.sampler_distribution import COUNTED_BATCHES, DRAWN_BATCHES
from dynaclr_strategies.invariants.sampler_runs import Batch, MakeSampler, alone, at_epoch, global_batches
from dynaclr_strategies.invariants.sampler_tally import Tally
from dynaclr_strategies.oracles.sampler import CascadeOracle
from dynaclr_strategies.sampler_descriptions import SamplerOptions

__all__ = ["check_batch_order"]

LAW = "batch-order"


def _has_parts(oracle: CascadeOracle) -> bool:
    """Tell whether a batch may be of several strata or times, which a batch of a single draw is not."""
    several = oracle.num_leaked > 0 or any(len(strata) > 1 for strata in oracle.strata.values())
    return oracle.options.batch_size > 1 and (several or oracle.options.temporal_enrichment)


@invariant(
    LAW,
    subject="sampler",
    needs=("order",),
    when="batches of several strata, or temporal_enrichment",
    applies=_has_parts,
)
def check_batch_order(
    make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions, batches: int = DRAWN_BATCHES
) -> None:
    """At each place of a batch, each stratum and time stands as often as at any other, and beside any other."""
    oracle, tally = CascadeOracle(table, options), Tally()
    everybody = [*chain(*oracle.pools.values())]
    for batch in global_batches(make_sampler, table, options, batches):
        for name, members in _parts(oracle, batch):
            share = Fraction(sum(members), len(members))
            for place, is_one in enumerate(members):
                tally.add(f"place {place} of a batch {name}", int(is_one), share, everybody)
    for batch in _first_ones(make_sampler, table, options, min(batches, COUNTED_BATCHES)):
        strata = [(oracle.group(anchor), oracle.condition(anchor)) for anchor in batch.anchors]
        size, pairs = len(strata), sum(count * (count - 1) for count in Counter(strata).values())
        if size > 1:
            what = "the first two of an epoch of one stratum"
            tally.add(what, int(strata[0] == strata[1]), Fraction(pairs, size * (size - 1)), everybody)
    tally.check(LAW)


def _parts(oracle: CascadeOracle, batch: Batch) -> Iterator[tuple[str, list[bool]]]:
    """Yield what parts a batch has, and which of its places belong to each."""
    conditions = [oracle.condition(anchor) for anchor in batch.anchors]
    for condition in dict.fromkeys(conditions):
        if condition is not None:
            yield f"of condition {condition!r}", [each == condition for each in conditions]
    groups = Counter(oracle.group(anchor) for anchor in batch.anchors)
    for largest, count in groups.most_common(1):
        if count > len(batch.anchors) - count:
            yield "leaked", [oracle.group(anchor) != largest for anchor in batch.anchors]
    if oracle.options.temporal_enrichment and batch.anchors:
        times = [oracle.hpi(anchor) for anchor in batch.anchors]
        middle = sorted(times)[(len(times) - 1) // 2]
        yield "of the earlier half", [time <= middle for time in times]


def _first_ones(
    make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions, epochs: int
) -> Iterator[Batch]:
    """Yield the first batch of each of so many epochs, or of the one that there is."""
    sampler = make_sampler(table, alone(options))
    for epoch in range(epochs if hasattr(sampler, "set_epoch") else 1):
        for anchors in at_epoch(sampler, epoch):
            yield Batch(list(anchors), 0, epoch, sampler)
            break
