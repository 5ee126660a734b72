# ruff: noqa: D401 - the docstring of a check states a law, it does not command
"""Laws 4 to 6, 8, 10 to 12 and 30: who may sit in one batch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import pandas as pd

from dynaclr_strategies.invariants.base import invariant
from dynaclr_strategies.invariants.sampler_runs import (
    Batch,
    MakeSampler,
    blame,
    observed,
    pool_name,
    span,
    stratum_name,
)
from dynaclr_strategies.oracles.sampler import CascadeOracle, floor_and_ceiling, meant
from dynaclr_strategies.sampler_descriptions import Label, SamplerOptions

__all__ = [
    "check_axes_compose",
    "check_condition_quota",
    "check_focal_concentration",
    "check_leak_exact",
    "check_lineage_exclusive",
    "check_no_needless_repeat",
    "check_single_experiment",
    "check_zero_weight_excluded",
]

Problem = tuple[str, str, list[int]]
"""What was seen, what was expected, and the anchors that are to blame."""

Rule = Callable[[CascadeOracle, Batch, Label | None], Problem | None]


def _hold(
    law: str, rules: Sequence[Rule], make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions
) -> None:
    """Check that some experiment could own each batch so that all rules hold; blame the likeliest one otherwise."""
    oracle = CascadeOracle(table, options)
    for batch in observed(make_sampler, table, options):
        owners = batch.owner(oracle)
        if not owners:
            seen, expected, offenders = _mixture(oracle, batch)
            raise blame(batch, seen, expected, law, offenders)
        complaints = [
            next((problem for rule in rules if (problem := rule(oracle, batch, owner)) is not None), None)
            for owner in owners
        ]
        if all(complaint is not None for complaint in complaints):
            seen, expected, offenders = complaints[0] or ("", "", [])
            raise blame(batch, seen, expected, law, offenders)


def _mixture(oracle: CascadeOracle, batch: Batch) -> Problem:
    """Return the complaint that experiments are mixed wrongly: too many strangers, or too many of the largest one."""
    members = Counter(oracle.group(anchor) for anchor in batch.anchors)
    if oracle.options.experiment_aware:
        seen = f"anchors by experiment {dict(members)}"
        expected = f"{oracle.num_primary} of one of {oracle.groups} and {oracle.num_leaked} of its others"
    else:
        seen, expected = f"{len(batch.anchors)} anchors", str(oracle.num_primary)
    largest = max(members, key=members.__getitem__, default=None)
    too_many_strangers = len(batch.anchors) - members[largest] > oracle.num_leaked
    return seen, expected, [a for a in batch.anchors if (oracle.group(a) != largest) == too_many_strangers]


# --- experiments ------------------------------------------------------------------------------------------------------


def _belongs(oracle: CascadeOracle, batch: Batch, owner: Label | None) -> Problem | None:
    primary, leaked = oracle.split(batch.anchors, owner)
    if len(primary) == oracle.num_primary and len(leaked) == oracle.num_leaked:
        return None
    return _mixture(oracle, batch)


@invariant(
    "single-experiment",
    subject="sampler",
    number=4,
    when="experiment_aware",
    applies=lambda o: o.options.experiment_aware,
)
def check_single_experiment(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> None:
    """All anchors of a batch but the leaked ones come from one experiment."""
    _hold("single-experiment", [_belongs], make_sampler, table, options)


@invariant(
    "leak-exact", subject="sampler", number=5, when="experiment_aware", applies=lambda o: o.options.experiment_aware
)
def check_leak_exact(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> None:
    """Exactly ``floor(leaky * B)`` anchors, in exact arithmetic, come from other experiments, if there are any."""
    oracle = CascadeOracle(table, options)
    for batch in observed(make_sampler, table, options):
        members = Counter(oracle.group(anchor) for anchor in batch.anchors)
        leaked = sorted(len(batch.anchors) - count for count in members.values())
        if oracle.num_leaked not in {*leaked, len(batch.anchors)} or not batch.owner(oracle):
            seen, expected, offenders = _mixture(oracle, batch)
            raise blame(batch, seen, expected, "leak-exact", offenders)
        account = batch.provenance()
        explained = [] if account is None else account.loc[account["source"] == "leaked", "anchor"].tolist()
        if account is not None and len(explained) != oracle.num_leaked:
            seen = f"{len(explained)} anchors explained as leaked"
            raise blame(batch, seen, str(oracle.num_leaked), "leak-exact", explained)


@invariant(
    "zero-weight-excluded",
    subject="sampler",
    number=6,
    when="experiment_aware and experiment_weights with a 0 or without an experiment",
    applies=lambda o: any(weight == 0 for weight in o.weights.values()),
)
def check_zero_weight_excluded(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> None:
    """No anchor of an experiment with weight 0 is ever drawn, not even as a leaked one."""
    oracle = CascadeOracle(table, options)
    for batch in observed(make_sampler, table, options):
        excluded = [anchor for anchor in batch.anchors if oracle.weights[oracle.group(anchor)] == 0]
        for anchor in excluded:
            seen = f"anchor {anchor} of experiment {oracle.group(anchor)!r}, which has weight 0"
            raise blame(batch, seen, f"one of {oracle.groups}", "zero-weight-excluded", excluded)


# --- conditions -------------------------------------------------------------------------------------------------------


def _quota(oracle: CascadeOracle, batch: Batch, owner: Label | None) -> Problem | None:
    primary, _ = oracle.split(batch.anchors, owner)
    counts = Counter(oracle.condition(anchor) for anchor in primary)
    quotas = oracle.quotas(owner)
    crowd = [a for a in primary if counts[oracle.condition(a)] > math.ceil(quotas[oracle.condition(a)])]
    for condition, expected in quotas.items():
        if counts[condition] not in floor_and_ceiling(expected):
            allowed = " or ".join(str(n) for n in sorted(set(floor_and_ceiling(expected))))
            seen = f"{counts[condition]} anchors of condition {condition!r} in a batch of {pool_name(owner)}"
            return seen, f"{allowed} ({float(expected):.4g} of {oracle.num_primary} primary anchors)", crowd
    return None


@invariant(
    "condition-quota",
    subject="sampler",
    number=8,
    when="condition_balanced",
    applies=lambda o: o.options.condition_balanced,
)
def check_condition_quota(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> None:
    """Each condition gets the floor or the ceiling of its exact share of the primary anchors."""
    _hold("condition-quota", [_quota], make_sampler, table, options)


# --- time -------------------------------------------------------------------------------------------------------------


def _concentrated(oracle: CascadeOracle, batch: Batch, owner: Label | None) -> Problem | None:
    primary, _ = oracle.split(batch.anchors, owner)
    by_condition: dict[Label | None, list[int]] = {}
    for anchor in primary:
        by_condition.setdefault(oracle.condition(anchor), []).append(anchor)
    allowed = oracle.focal_values(owner, by_condition) if oracle.num_focal else set()
    account = batch.provenance()
    candidates = sorted(allowed)
    if account is not None and oracle.num_focal:
        focal = meant(account.attrs["focal_hpi"])
        if focal not in allowed:
            near, serving = oracle.in_window(primary, focal), sorted(map(float, allowed))
            expected = f"one of {serving}, which serve all conditions of {pool_name(owner)}"
            return f"focal HPI {float(focal)!r}", expected, near
        candidates = [focal]
    if not oracle.num_focal or any(serves(oracle, owner, by_condition, focal) for focal in candidates):
        return None
    inside = oracle.in_window(primary, candidates[0])
    count = {c: len(oracle.in_window(members, candidates[0])) for c, members in by_condition.items()}
    held = f"{count} anchors by condition" if oracle.options.condition_balanced else f"{len(inside)} anchors"
    expected = f"{oracle.num_focal} of {oracle.num_primary}, shared out over the conditions"
    return (
        f"{held} within {oracle.options.temporal_window_hours} h of {float(candidates[0])} h",
        f"{expected}, as far as {pool_name(owner)} has them",
        [anchor for anchor in primary if anchor not in inside],
    )


def serves(oracle: CascadeOracle, owner: Label | None, members: dict[Label | None, list[int]], focal: Fraction) -> bool:
    """Tell whether some rounding of the focal numbers is met by what lies in the window.

    Parameters
    ----------
    oracle
        Knows table and options.
    owner
        The experiment of the batch.
    members
        Its primary anchors by condition.
    focal
        The focal HPI, in hours.
    """
    served = 0
    for condition, drawn in members.items():
        share = Fraction(oracle.num_focal * len(drawn), oracle.num_primary)
        near = oracle.in_window(oracle.strata[owner][condition], focal)
        # With exclusivity a window offers as many anchors as it holds lineages.
        offered = len({oracle.lineage(anchor) for anchor in near})
        taken = len(oracle.in_window(drawn, focal))
        most = math.ceil(share) if taken >= offered else min(math.ceil(share), taken)
        if most < math.floor(share):
            return False
        served += most
    return served >= oracle.num_focal


@invariant(
    "focal-concentration",
    subject="sampler",
    number=10,
    when="temporal_enrichment",
    applies=lambda o: o.options.temporal_enrichment,
)
def check_focal_concentration(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> None:
    """Of each condition at least its focal share, or all there are, lies within the window around one focal HPI."""
    _hold("focal-concentration", [_concentrated], make_sampler, table, options)


@invariant(
    "axes-compose",
    subject="sampler",
    number=11,
    when="experiment_aware and condition_balanced and temporal_enrichment",
    applies=lambda o: o.options.experiment_aware and o.options.condition_balanced and o.options.temporal_enrichment,
)
def check_axes_compose(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> None:
    """With every axis on, one and the same batch keeps its experiment, its leak, its quotas and its focal window."""
    _hold("axes-compose", [_belongs, _quota, _concentrated], make_sampler, table, options)


# --- repeats ----------------------------------------------------------------------------------------------------------


def _pools(oracle: CascadeOracle, batch: Batch, owner: Label | None) -> list[tuple[str, list[int], list[int]]]:
    """Return name, drawn anchors and available anchors of each pool that the batch drew from."""
    primary, leaked = oracle.split(batch.anchors, owner)
    pools = [("the leaked anchors", leaked, oracle.others(owner))]
    for condition, stratum in oracle.strata[owner].items():
        drawn = [anchor for anchor in primary if oracle.condition(anchor) == condition]
        pools.append((stratum_name(owner, condition), drawn, stratum))
    return [pool for pool in pools if pool[1]]


def _without_repeats(oracle: CascadeOracle, batch: Batch, owner: Label | None) -> Problem | None:
    for name, drawn, available in _pools(oracle, batch, owner):
        counts = Counter(drawn)
        fewest, most = floor_and_ceiling(Fraction(len(drawn), len(available)))
        for anchor in available:
            if not fewest <= counts[anchor] <= most:
                seen = f"anchor {anchor} occurs {counts[anchor]} times among {len(drawn)} of {name}"
                fair = most if counts[anchor] > most else fewest
                offenders = [a for a in drawn if counts[a] > fair]
                return seen, f"{span(fewest, most)} times, as it holds {len(available)} anchors", offenders
    return None


@invariant("no-needless-repeat", subject="sampler", number=12)
def check_no_needless_repeat(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> None:
    """An anchor repeats within a batch only if its stratum holds fewer than its quota, and then all by turns."""
    _hold("no-needless-repeat", [_without_repeats], make_sampler, table, options)


def _exclusive(oracle: CascadeOracle, batch: Batch, owner: Label | None) -> Problem | None:
    for name, drawn, available in _pools(oracle, batch, owner):
        lineages = len({oracle.lineage(anchor) for anchor in available})
        counts = Counter(oracle.lineage(anchor) for anchor in drawn)
        present = len(counts)
        if lineages < len(drawn):
            # Lineages have to meet here. All of them take part, unless a focal window asks for some rather than others.
            if present < lineages and not oracle.options.temporal_enrichment:
                relatives = [anchor for anchor in drawn if counts[oracle.lineage(anchor)] > 1]
                return f"{present} lineages in {len(drawn)} anchors of {name}", f"all {lineages} lineages", relatives
            continue
        lineage, times = counts.most_common(1)[0]
        if times > 1:
            return (
                f"{times} of {len(drawn)} anchors of {name} share {oracle.options.exclusive_by} {lineage!r}",
                f"one of each, as it holds {lineages} lineages",
                [anchor for anchor in drawn if oracle.lineage(anchor) == lineage],
            )
    return None


def _exclusive_between(oracle: CascadeOracle, batch: Batch, owner: Label | None) -> Problem | None:
    """Find relatives from two pools of which each had a lineage that the batch lacks.

    Whichever was drawn from second could have given somebody else. No more can be asked for: where one of them had
    nobody left, drawing one after the other may not avoid it. With enrichment, times come before lineages.
    """
    if oracle.options.temporal_enrichment:
        return None
    held = {oracle.lineage(anchor) for anchor in batch.anchors}
    members: dict[Any, list[tuple[str, int]]] = {}
    for name, drawn, available in _pools(oracle, batch, owner):
        if {oracle.lineage(anchor) for anchor in available} - held:
            for anchor in drawn:
                members.setdefault(oracle.lineage(anchor), []).append((name, anchor))
    for lineage, found in members.items():
        names = list(dict.fromkeys(name for name, _ in found))
        if len(names) > 1:
            seen = f"{' and '.join(names[:2])} share {oracle.options.exclusive_by} {lineage!r}"
            return seen, "different ones, as each has some that are not in the batch", [anchor for _, anchor in found]
    return None


@invariant(
    "lineage-exclusive",
    subject="sampler",
    number=30,
    when="exclusive_by",
    applies=lambda o: o.options.exclusive_by is not None,
)
def check_lineage_exclusive(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> None:
    """Two anchors of one lineage share a batch only if a stratum of theirs has no other lineages left for it."""
    _hold("lineage-exclusive", [_exclusive, _exclusive_between], make_sampler, table, options)
