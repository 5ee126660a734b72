"""Laws 7, 9, 13 and 14: what holds over many batches.

Shares and passes are exact counts. The statistical laws compare counts with their exact expectation by the
Chernoff-Hoeffding bound ``P <= exp(-n * KL(k / n, p))``, which holds for independent draws, for draws without
replacement and for fair passes alike (Hoeffding, *Probability inequalities for sums of bounded random variables*,
1963). One comparison may fail by chance with a probability below `FALSE_ALARM`; a run of a hundred thousand
comparisons, more than the whole suite makes, stays below one in a billion. (A search of a hundred thousand cases with
fifty comparisons each stays below one in ten million.)
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import pandas as pd

from dynaclr_strategies.invariants.base import InvariantViolation, UndecidedError, invariant
from dynaclr_strategies.invariants.evidence import DrawsEvidence
from dynaclr_strategies.invariants.nearness import used
from dynaclr_strategies.invariants.sampler_runs import (
    Batch,
    MakeSampler,
    alone,
    at_epoch,
    blame,
    global_batches,
    pool_name,
    span,
    stratum_name,
)
from dynaclr_strategies.oracles.sampler import CascadeOracle, floor_and_ceiling
from dynaclr_strategies.sampler_descriptions import Label, SamplerOptions

__all__ = [
    "COUNTED_BATCHES",
    "DRAWN_BATCHES",
    "FALSE_ALARM",
    "UNCLEAR",
    "check_condition_unbiased",
    "check_experiment_share",
    "check_experiment_unbiased",
    "check_fair_pass",
    "check_plain_when_global",
    "is_improbable",
]

FALSE_ALARM = 1e-14 / 2
DRAWN_BATCHES = 300
"""How many batches the statistical laws look at, unless they are told otherwise."""
COUNTED_BATCHES = 1000
"""How many those laws look at whose coins fall once an epoch."""

_FEWEST_EPOCHS = 48  # of a coin of one half that never falls, fewer do not tell

UNCLEAR = "no batch shows which experiment it belongs to"


def is_improbable(successes: int | Fraction, trials: int, probability: Fraction) -> bool:
    """Tell whether so many successes, or so few, are less likely than `FALSE_ALARM`."""
    if probability in {0, 1} or trials == 0:
        return successes != trials * probability
    share, divergence = float(successes / trials), 0.0
    if share > 0:
        divergence += share * (math.log(share) - _log(probability))
    if share < 1:
        divergence += (1 - share) * (math.log(1 - share) - _log(1 - probability))
    exponent = -trials * divergence
    used("chance", exponent / math.log(FALSE_ALARM))
    return exponent < math.log(FALSE_ALARM)


def _log(number: Fraction) -> float:
    """Return the logarithm of a number above 0 that may be too near to 0 for a float."""
    return math.log(number.numerator) - math.log(number.denominator)


def _epochs(
    make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions, count: int = 3
) -> Iterator[list[Batch]]:
    sampler = make_sampler(table, alone(options))
    for epoch in range(count if hasattr(sampler, "set_epoch") else 1):
        yield [Batch(list(b), number, epoch, sampler) for number, b in enumerate(at_epoch(sampler, epoch))]


# --- experiments ------------------------------------------------------------------------------------------------------


@invariant(
    "experiment-share",
    subject="sampler",
    number=7,
    when="experiment_aware",
    applies=lambda o: o.options.experiment_aware,
)
def check_experiment_share(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> None:
    """In every epoch each experiment owns the floor or the ceiling of its exact share of the batches."""
    oracle = CascadeOracle(table, options)
    for batches in _epochs(make_sampler, table, options):
        owners = [batch.owner(oracle) for batch in batches]
        for group in oracle.groups:
            fewest, most = floor_and_ceiling(oracle.share(group))
            certain = sum(owner == [group] for owner in owners)
            possible = sum(group in owner for owner in owners)
            if certain > most or possible < fewest or len(batches) != oracle.num_batches:
                raise InvariantViolation(
                    f"epoch {batches[0].epoch if batches else 0}",
                    f"{certain} of {len(batches)} batches belong to {group!r}",
                    f"{span(fewest, most)} of {oracle.num_batches}, as its share is {float(oracle.share(group)):.4g}",
                    "experiment-share",
                    evidence=DrawsEvidence(tuple(oracle.pools[group])),
                )


@invariant(
    "experiment-unbiased",
    subject="sampler",
    needs=("set_epoch",),
    when="experiment_aware and several experiments",
    applies=lambda o: len(o.groups) > 1,
)
def check_experiment_unbiased(
    make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions, batches: int = COUNTED_BATCHES
) -> None:
    """Over epochs the mean number of batches of each experiment is exactly its share."""
    oracle = CascadeOracle(table, options)
    epochs, owned = max(_FEWEST_EPOCHS, batches // oracle.num_batches), Counter[Label | None]()
    for epoch in _epochs(make_sampler, table, options, epochs):
        owners = [batch.owner(oracle) for batch in epoch]
        if any(len(possible) != 1 for possible in owners):
            # Those that are clear would be no fair sample.
            raise UndecidedError("not every batch shows which experiment it belongs to")
        owned.update(possible[0] for possible in owners)
    for group in oracle.groups:
        share = oracle.share(group)
        # What law 7 allows is the floor, plus a coin that falls with the probability of the rest.
        if is_improbable(owned[group] - math.floor(share) * epochs, epochs, share - math.floor(share)):
            raise InvariantViolation(
                f"{epochs} epochs",
                f"{owned[group] / epochs:.4f} batches of experiment {group!r} in the mean",
                f"{float(share):.4f}",
                "experiment-unbiased",
                evidence=DrawsEvidence(tuple(oracle.pools[group])),
            )


# --- conditions -------------------------------------------------------------------------------------------------------


@invariant(
    "condition-unbiased",
    subject="sampler",
    number=9,
    when="condition_balanced",
    applies=lambda o: o.options.condition_balanced,
)
def check_condition_unbiased(
    make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions, batches: int = DRAWN_BATCHES
) -> None:
    """Over batches the mean quota of each condition is exactly its share of the primary anchors."""
    oracle = CascadeOracle(table, options)
    owned: Counter[Label | None] = Counter()
    drawn: Counter[tuple[Label | None, Label | None]] = Counter()
    for batch in global_batches(make_sampler, table, options, batches):
        owners = batch.owner(oracle)
        if len(owners) != 1:
            continue
        owned[owners[0]] += 1
        primary, _ = oracle.split(batch.anchors, owners[0])
        drawn.update((owners[0], oracle.condition(anchor)) for anchor in primary)
    if not owned:
        raise UndecidedError(UNCLEAR)
    for group, mine in owned.items():
        for condition, quota in oracle.quotas(group).items():
            whole = math.floor(quota)
            # A quota is its floor plus a coin that falls with the probability of the rest.
            if is_improbable(drawn[group, condition] - whole * mine, mine, quota - whole):
                raise InvariantViolation(
                    f"{mine} batches of {pool_name(group)}",
                    f"{drawn[group, condition] / mine:.4f} anchors of condition {condition!r} in the mean",
                    f"{float(quota):.4f}",
                    "condition-unbiased",
                    evidence=DrawsEvidence(tuple(oracle.strata[group][condition])),
                )


# --- passes -----------------------------------------------------------------------------------------------------------


@invariant(
    "fair-pass",
    subject="sampler",
    number=13,
    when="no temporal_enrichment and no exclusive_by",
    applies=lambda o: not o.options.temporal_enrichment and not o.options.exclusive_by,
)
def check_fair_pass(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> None:
    """No anchor of a stratum is drawn as primary k + 2 times in an epoch before each has been drawn k + 1 times."""
    oracle, clear = CascadeOracle(table, options), False
    for batches in _epochs(make_sampler, table, options):
        counts = {anchor: 0 for pool in oracle.pools.values() for anchor in pool}
        for batch in batches:
            owners = batch.owner(oracle)
            if len(owners) != 1:
                break  # without provenance nobody knows which of two experiments was the primary one
            clear = True
            for anchor in oracle.split(batch.anchors, owners[0])[0]:
                counts[anchor] += 1
            for condition, stratum in oracle.strata[owners[0]].items():
                least, most = min(stratum, key=counts.__getitem__), max(stratum, key=counts.__getitem__)
                if counts[most] - counts[least] > 1:
                    seen = f"anchor {most} was drawn {counts[most]} times and anchor {least} {counts[least]} times"
                    detail = f", {stratum_name(owners[0], condition)}"
                    raise blame(batch, seen, "numbers that differ by at most one", "fair-pass", [most], detail=detail)
    if not clear:
        raise UndecidedError(UNCLEAR)


@invariant(
    "plain-when-global",
    subject="sampler",
    number=14,
    when="no exclusive_by",
    applies=lambda o: not o.options.exclusive_by and "hours_post_infection" in o.options.columns(),
)
def check_plain_when_global(
    make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions, batches: int = DRAWN_BATCHES
) -> None:
    """With ``temporal_global_fraction=1`` strata are drawn from uniformly in anchors and times, as if not enriched."""
    everywhere = replace(options, temporal_enrichment=True, temporal_global_fraction=1.0)
    oracle = CascadeOracle(table, everywhere)
    for enriched in (everywhere, replace(options, temporal_enrichment=False)):
        drawn: Counter[int] = Counter()
        for batch in global_batches(make_sampler, table, enriched, batches):
            owners = batch.owner(oracle)
            if len(owners) == 1:
                drawn.update(oracle.split(batch.anchors, owners[0])[0])
        if not drawn:
            raise UndecidedError(UNCLEAR)
        for group in oracle.groups:
            for condition, stratum in oracle.strata[group].items():
                where = f"{sum(drawn[a] for a in stratum)} draws of {stratum_name(group, condition)}"
                _check_uniform(where, stratum, drawn, oracle)


def _check_uniform(where: str, stratum: list[int], drawn: Counter[int], oracle: CascadeOracle) -> None:
    total = sum(drawn[anchor] for anchor in stratum)
    sets = [(f"of anchor {anchor}", [anchor]) for anchor in stratum]
    for limit in {oracle.hpi(anchor) for anchor in stratum}:
        early = [anchor for anchor in stratum if oracle.hpi(anchor) <= limit]
        sets += [(f"at or before {float(limit)} h", early)]
    for name, members in sets:
        seen, share = sum(drawn[anchor] for anchor in members), Fraction(len(members), len(stratum))
        if is_improbable(seen, total, share):
            expected, evidence = f"about {float(total * share):.1f}", DrawsEvidence(tuple(members))
            raise InvariantViolation(where, f"{seen} {name}", expected, "plain-when-global", evidence=evidence)
