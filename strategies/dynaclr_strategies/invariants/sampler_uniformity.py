"""What the page calls "uniformly": promises of the steps of a batch that have no number among its laws.

Each anchor of a batch was drawn with a probability that is known exactly once the steps before it are known (the
provenance table tells them): a leaked anchor, a focal one, a global one, a focal HPI, the rounding of a focal quota.
Over many batches the number of times it was drawn is a sum of independent coins with these probabilities, whose tails
are at most those of the binomial with their mean (Hoeffding, *On the distribution of the number of successes in
independent trials*, 1956), so that the bound of `is_improbable` holds. So it does for how many neighbours were drawn
together, and how many anchors once more: parts of what could have been, from 0 to 1, see `Tally`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache, partial
from itertools import chain
from typing import Any

import pandas as pd

from dynaclr_strategies.invariants.base import UndecidedError, invariant
from dynaclr_strategies.invariants.sampler_composition import serves
from dynaclr_strategies.invariants.sampler_distribution import COUNTED_BATCHES, DRAWN_BATCHES
from dynaclr_strategies.invariants.sampler_runs import Batch, MakeSampler, global_batches, pool_name, stratum_name
from dynaclr_strategies.invariants.sampler_tally import Tally
from dynaclr_strategies.invariants.sampler_windows import Draw, focal_numbers
from dynaclr_strategies.oracles.sampler import CascadeOracle, meant
from dynaclr_strategies.sampler_descriptions import Label, SamplerOptions

__all__ = [
    "check_experiment_order",
    "check_focal_hpi_uniform",
    "check_focal_quota_unbiased",
    "check_focal_uniform",
    "check_leak_uniform",
]

_HIDDEN_FOCUS = "not every batch shows its focal HPI, and there is no explain"
"""Those that do would be no fair sample of all."""

Rows = list[dict[Any, Any]]


def _primary(rows: Rows, oracle: CascadeOracle) -> tuple[Label | None, dict[Label | None, Rows]]:
    """Return the batch's experiment and its primary rows by condition."""
    members: dict[Label | None, Rows] = {}
    owner = None
    for row in rows:
        if row["source"] == "primary":
            owner = oracle.group(row["anchor"])
            members.setdefault(oracle.condition(row["anchor"]), []).append(row)
    return owner, members


@invariant(
    "experiment-order",
    subject="sampler",
    needs=("set_epoch",),
    when="experiment_aware and several experiments",
    applies=lambda o: len(o.groups) > 1,
)
def check_experiment_order(
    make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions, batches: int = COUNTED_BATCHES
) -> None:
    """Each experiment owns each place of an epoch as often as batches of it, and no two follow each other by rule."""
    oracle, tally = CascadeOracle(table, options), Tally()
    epochs: dict[int, list[list[Label | None]]] = {}
    for batch in global_batches(make_sampler, table, options, batches):
        epochs.setdefault(batch.epoch, []).append(batch.owner(oracle))
    for owners in epochs.values():
        if not all(owners):
            raise UndecidedError("there are batches that belong to no experiment")
        if any(len(possible) > 1 for possible in owners):
            # Those that are clear would be no fair sample.
            raise UndecidedError("not every batch shows which experiment it belongs to, and there is no explain")
        order = [possible[0] for possible in owners]
        if len(order) > 1:
            pairs = sum(count * (count - 1) for count in Counter(order).values())
            probability, everyone = Fraction(pairs, len(order) * (len(order) - 1)), [*chain(*oracle.pools.values())]
            tally.add(
                "an epoch's first two batches of one experiment", int(order[0] == order[1]), probability, everyone
            )
        for group, count in Counter(order).items():
            share = Fraction(count, len(order))
            for place, owner in enumerate(order):
                tally.add(f"batch {place} of an epoch of {group!r}", int(owner == group), share, oracle.pools[group])
                # Drawn without replacement, which only makes the tails lighter.
                if place < len(order) // 2:
                    tally.add(
                        f"a batch in the first half of an epoch of {group!r}",
                        int(owner == group),
                        share,
                        oracle.pools[group],
                    )
    tally.check("experiment-order")


def _is_plainly_enriched(oracle: CascadeOracle) -> bool:
    return oracle.options.temporal_enrichment and oracle.num_focal > 0 and not oracle.options.exclusive_by


@invariant(
    "leak-uniform",
    subject="sampler",
    when="a leak and no exclusive_by",
    applies=lambda o: o.num_leaked > 0 and not o.options.exclusive_by,
)
def check_leak_uniform(
    make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions, batches: int = DRAWN_BATCHES
) -> None:
    """Leaked anchors are drawn uniformly over all anchors of the other experiments, in each batch anew."""
    oracle, tally = CascadeOracle(table, options), Tally()
    # Where as many anchors may leak as are primary, only the sampler can tell which are which: batches that happen to
    # show it are no fair sample of all.
    clear = oracle.num_leaked < oracle.num_primary
    before: dict[tuple[int, Label | None], set[int]] = {}
    for batch in global_batches(make_sampler, table, options, batches):
        if not clear and not hasattr(batch.sampler, "explain"):
            raise UndecidedError("as many anchors leak as do not, and there is no explain to tell which are which")
        owners = batch.owner(oracle)
        if len(owners) != 1:
            continue  # which law 5 complains about
        others = oracle.others(owners[0])
        leaked = Counter(oracle.split(batch.anchors, owners[0])[1])
        # Beyond whole copies of all others, each anchor is drawn once or not at all.
        copies, rest = divmod(oracle.num_leaked, len(others))
        for anchor in others:
            tally.add(f"anchor {anchor} leaked", leaked[anchor] - copies, Fraction(rest, len(others)), [anchor])
        once_more = {anchor for anchor, count in leaked.items() if count > copies}
        tally.add_neighbours("leaked anchors", once_more, others, oracle)
        # By itself each may leak as often as it should, though the same ones all epoch long.
        if rest and len(once_more) == rest and (earlier := before.get((batch.epoch, owners[0]))):
            again, name = Fraction(len(once_more & earlier), rest), "leaked anchors that leaked into the batch before"
            tally.add(name, again, Fraction(len(earlier), len(others)), others)
        before[batch.epoch, owners[0]] = once_more
    tally.check("leak-uniform")


@invariant(
    "focal-quota-unbiased",
    subject="sampler",
    when="temporal_enrichment and no exclusive_by",
    applies=_is_plainly_enriched,
)
def check_focal_quota_unbiased(
    make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions, batches: int = DRAWN_BATCHES
) -> None:
    """Over batches each condition's number of focal anchors is in the mean exactly its share of them."""
    oracle, tally, is_silent = CascadeOracle(table, options), Tally(), False
    for batch in global_batches(make_sampler, table, options, batches):
        account = batch.provenance()
        if account is None:
            is_silent = True
            _add_shown_quotas(tally, oracle, batch)
            continue
        rows: Rows = account.to_dict("records")
        owner, members = _primary(rows, oracle)
        for condition, drawn in members.items():
            share = Fraction(oracle.num_focal * len(drawn), oracle.num_primary)
            near = sum(row["time"] in {"focal", "widened"} for row in drawn)
            what = f"focal quota of {stratum_name(owner, condition)} rounded up"
            tally.add(what, near - math.floor(share), share - math.floor(share), oracle.strata[owner][condition])
    if is_silent and not tally.trials:
        raise UndecidedError("there is no explain, and no window shows how many of its anchors are focal")
    tally.check("focal-quota-unbiased")


def _add_shown_quotas(tally: Tally, oracle: CascadeOracle, batch: Batch) -> None:
    """Add a coin for each window that has to hold another anchor where the focal quota was rounded up."""
    shown = _shown_focus(batch, oracle)
    if shown is None:
        raise UndecidedError(_HIDDEN_FOCUS)
    owner, _, focal = shown
    for condition, drawn in batch.by_condition(oracle, owner).items():
        draw = Draw(oracle, tuple(oracle.strata[owner][condition]), len(drawn), frozenset({focal}))
        if len(set(drawn)) == len(drawn) and draw.is_from_windows:
            few = min(number for number, _ in focal_numbers(oracle, len(drawn)))
            what = f"focal quota of {stratum_name(owner, condition)}, or a global anchor, above {few} in the window"
            tally.add(what, int(len(oracle.in_window(drawn, focal)) > few), draw.of_more_than_the_floor, draw.stratum)


def _shown_focus(batch: Batch, oracle: CascadeOracle) -> tuple[Label | None, set[Fraction], Fraction] | None:
    """Return a batch's experiment, the focal HPIs that it could have and the one that it has; None if it is unclear."""
    owners, account = batch.owner(oracle), batch.provenance()
    if len(owners) != 1 or (account is None and oracle.num_leaked >= oracle.num_primary):
        return None
    members = batch.by_condition(oracle, owners[0])
    values = oracle.focal_values(owners[0], members)
    if account is not None:
        return owners[0], values, meant(account.attrs["focal_hpi"])
    candidates = [value for value in values if serves(oracle, owners[0], members, value)]
    return (owners[0], values, candidates[0]) if len(candidates) == 1 else None


@invariant(
    "focal-hpi-uniform",
    subject="sampler",
    when="temporal_enrichment",
    applies=lambda o: o.options.temporal_enrichment and o.num_focal > 0,
)
def check_focal_hpi_uniform(
    make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions, batches: int = DRAWN_BATCHES
) -> None:
    """Each batch has a focal HPI of its own, uniform over the values that serve every condition with a quota."""
    oracle, tally = CascadeOracle(table, options), Tally()
    of_time: dict[tuple[Label | None, Fraction], list[int]] = {}
    for group, pool in oracle.pools.items():
        for anchor in pool:
            of_time.setdefault((group, oracle.hpi(anchor)), []).append(anchor)
    before: dict[tuple[int, Label | None], tuple[set[Fraction], Fraction]] = {}
    for batch in global_batches(make_sampler, table, options, batches):
        shown = _shown_focus(batch, oracle)
        if shown is None:
            raise UndecidedError(_HIDDEN_FOCUS)
        owner, values, focal = shown
        for value in values:
            what = f"focal HPI {float(value)} in {pool_name(owner)}"
            tally.add(what, int(value == focal), Fraction(1, len(values)), of_time[owner, value])
        # Which values the two of them had to choose from depends on quotas alone. So whatever was focal before, it is
        # so again with the same probability: these coins are independent too.
        earlier = before.get((batch.epoch, owner))
        if earlier is not None and earlier[0] == values:
            what = "focal HPI of the epoch's batch before in the same pool"
            tally.add(what, int(earlier[1] == focal), Fraction(1, len(values)), [*chain(*oracle.pools.values())])
        before[batch.epoch, owner] = values, focal
    tally.check("focal-hpi-uniform")


@invariant(
    "focal-uniform",
    subject="sampler",
    when="temporal_enrichment and no exclusive_by",
    applies=_is_plainly_enriched,
)
def check_focal_uniform(
    make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions, batches: int = DRAWN_BATCHES
) -> None:
    """Focal anchors are drawn uniformly from the window and the others uniformly from what remains of the stratum."""
    oracle, tally = CascadeOracle(table, options), Tally()
    draw_of = lru_cache(maxsize=None)(partial(Draw, oracle))
    is_silent = False
    for batch in global_batches(make_sampler, table, options, batches):
        account = batch.provenance()
        if account is None:
            is_silent = True
            _add_unexplained(tally, oracle, batch, draw_of)
        else:
            rows: Rows = account.to_dict("records")
            _add_explained(tally, oracle, rows, account.attrs["focal_hpi"])
    if is_silent and not tally.trials:
        raise UndecidedError("there is no explain, and no stratum with enough anchors around every focal HPI")
    tally.check("focal-uniform")


def _add_explained(tally: Tally, oracle: CascadeOracle, rows: Rows, focal: float | None) -> None:
    """Add a coin for each anchor of a batch's strata that may have been focal, and each that may have been global."""
    owner, members = _primary(rows, oracle)
    for condition, drawn in members.items():
        stratum = oracle.strata[owner][condition]
        if focal is None or len(drawn) > len(stratum):
            continue  # crowded strata repeat anchors by turns, which another law checks
        near = {row["anchor"] for row in drawn if row["time"] in {"focal", "widened"}}
        window = oracle.in_window(stratum, focal)
        if len(window) > len(near):
            probability = Fraction(len(near), len(window))
            middle = meant(focal)
            nearest = min(oracle.distance(anchor, middle) for anchor in window)
            for anchor in window:
                tally.add(f"anchor {anchor} focal", int(anchor in near), probability, [anchor])
                # By itself an anchor may be focal as often as it should be, though only at its own time.
                if oracle.distance(anchor, middle) == nearest:
                    tally.add("an anchor nearest to the focal HPI focal", int(anchor in near), probability)
            tally.add_neighbours("focal anchors", near, window, oracle)
        rest = [anchor for anchor in stratum if anchor not in near]
        others = {row["anchor"] for row in drawn} - near
        tally.add_neighbours("global anchors", others, rest, oracle)
        for anchor in rest:
            probability = Fraction(len(others), len(rest))
            tally.add(f"anchor {anchor} global", int(anchor in others), probability, [anchor])
            # And global as often as it should be, though only where others are focal.
            if anchor in window:
                tally.add("an anchor of the window global", int(anchor in others), probability)


def _add_unexplained(tally: Tally, oracle: CascadeOracle, batch: Batch, draw_of: Callable[..., Draw]) -> None:
    """Add a coin for each thing that a batch shows by itself: which anchors it holds, and how far apart they lie."""
    owners = batch.owner(oracle)
    if len(owners) != 1:
        return  # which depends on how many anchors of each experiment there are, not on which ones
    members = batch.by_condition(oracle, owners[0])
    values = frozenset(oracle.focal_values(owners[0], members))
    for condition, drawn in members.items():
        draw = draw_of(tuple(oracle.strata[owners[0]][condition]), len(drawn), values)
        if len(set(drawn)) < len(drawn) or not draw.is_from_windows:
            continue
        for anchor, probability in draw.of_each.items():
            tally.add(f"anchor {anchor} drawn", int(anchor in drawn), probability, [anchor])
        times = [oracle.hpi(anchor) for anchor in drawn]
        for hours, probability in draw.of_spreads.items():
            what = f"what was drawn of {stratum_name(owners[0], condition)} no more than {float(hours)} h apart"
            tally.add(what, int(max(times) - min(times) <= hours), probability, draw.stratum)
