# ruff: noqa: D401 - the docstring of a check states a law, it does not command
"""What "shuffled passes" means beyond fairness: who is drawn, and with whom.

A sampler that shuffles treats the anchors of a stratum alike, whatever places they have in the table. So whichever
number of them an epoch's first batch takes, it takes each set of that size with the same probability; epochs are
independent of each other.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import pandas as pd

from dynaclr_strategies.invariants.base import UndecidedError, invariant
from dynaclr_strategies.invariants.sampler_distribution import COUNTED_BATCHES, DRAWN_BATCHES, UNCLEAR
from dynaclr_strategies.invariants.sampler_runs import MakeSampler, global_batches, stratum_name
from dynaclr_strategies.invariants.sampler_tally import Tally
from dynaclr_strategies.oracles.sampler import CascadeOracle
from dynaclr_strategies.sampler_descriptions import Label, SamplerOptions

__all__ = ["check_passes_shuffled", "check_relatives_alike"]


@invariant(
    "passes-shuffled",
    subject="sampler",
    needs=("set_epoch",),
    when="no temporal_enrichment and no exclusive_by",
    applies=lambda o: not o.options.temporal_enrichment and not o.options.exclusive_by,
)
def check_passes_shuffled(
    make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions, batches: int = COUNTED_BATCHES
) -> None:
    """What an epoch draws first of a stratum may be any of its anchors, neighbours in the table no more than others."""
    oracle, tally = CascadeOracle(table, options), Tally()
    met: set[tuple[int, Label | None, Label | None]] = set()
    clear: set[int] = set()
    unclear: set[int] = set()  # epochs of which nobody knows what was drawn first
    for batch in global_batches(make_sampler, table, options, batches):
        owners = batch.owner(oracle)
        (clear if len(owners) == 1 else unclear).add(batch.epoch)
        if batch.epoch in unclear:
            continue
        for condition, drawn in batch.by_condition(oracle, owners[0]).items():
            available, chosen = oracle.strata[owners[0]][condition], set(drawn)
            stratum = (batch.epoch, owners[0], condition)
            if stratum in met or len(chosen) < len(drawn):
                continue  # more than there are, so that some repeat
            met.add(stratum)
            for anchor in available:
                share = Fraction(len(drawn), len(available))
                tally.add(f"anchor {anchor} in an epoch's first batch", int(anchor in chosen), share, [anchor])
            tally.add_neighbours(f"first anchors of {stratum_name(owners[0], condition)}", chosen, available, oracle)
    if not clear:
        raise UndecidedError(UNCLEAR)
    tally.check("passes-shuffled")


@invariant(
    "relatives-alike",
    subject="sampler",
    when="exclusive_by and no temporal_enrichment",
    applies=lambda o: bool(o.options.exclusive_by) and not o.options.temporal_enrichment,
)
def check_relatives_alike(
    make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions, batches: int = DRAWN_BATCHES
) -> None:
    """A lineage gives each of its anchors in a stratum as often as any other."""
    oracle, tally, clear = CascadeOracle(table, options), Tally(), False
    for batch in global_batches(make_sampler, table, options, batches):
        owners = batch.owner(oracle)
        if len(owners) != 1:
            continue
        clear = True
        for condition, drawn in batch.by_condition(oracle, owners[0]).items():
            if len(set(drawn)) < len(drawn):
                continue  # more than there are, so that some repeat
            lineages = Counter(oracle.lineage(anchor) for anchor in drawn)
            for anchor in oracle.strata[owners[0]][condition]:
                lineage = oracle.lineage(anchor)
                # Whatever the number: batches with one of them alone would be no fair sample where passes take turns.
                if lineages[lineage]:
                    relatives = [a for a in oracle.strata[owners[0]][condition] if oracle.lineage(a) == lineage]
                    share = Fraction(lineages[lineage], len(relatives))
                    tally.add(f"anchor {anchor} drawn", int(anchor in drawn), share, [anchor])
    if not clear:
        raise UndecidedError(UNCLEAR)
    tally.check("relatives-alike")
