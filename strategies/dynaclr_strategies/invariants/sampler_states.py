# ruff: noqa: D401 - the docstring of a check states a law, it does not command
"""The other half of law 19: a state is not mistaken for one of another table or of other options."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pandas as pd

from dynaclr_strategies.invariants.base import InvariantViolation, invariant
from dynaclr_strategies.invariants.sampler_runs import MakeSampler, alone
from dynaclr_strategies.oracles.sampler import CascadeOracle
from dynaclr_strategies.sampler_descriptions import SamplerOptions

__all__ = ["check_state_refused"]

LAW = "state-refused"
HPI = "hours_post_infection"
SEED = "another seed"
State = dict[str, Any]
Made = tuple[pd.DataFrame, SamplerOptions]


@invariant(LAW, subject="sampler", needs=("state_dict", "load_state_dict"))
def check_state_refused(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> None:
    """A state of another table or of other options is refused by a `ValueError` that says what differs."""
    single = alone(options)
    state = make_sampler(table, single).state_dict()
    for name, (other, changed), word in _others(table, single):
        try:
            sampler = make_sampler(other, changed)
        except ValueError:
            if name == SEED:
                raise
            continue  # not made for these: a batch size that it cannot divide, say
        _check_refusal(sampler, state, name, word)


def _check_refusal(sampler: Any, state: State, name: str, word: str) -> None:
    try:
        sampler.load_state_dict(state)
    except ValueError as refusal:
        if word in str(refusal) and str(refusal):
            return
        raise InvariantViolation(f"state of {name}", f"refused with {refusal}", f"{word} named", LAW) from refusal
    raise InvariantViolation(f"state of {name}", "accepted", "a ValueError that says what differs", LAW)


def _others(table: pd.DataFrame, options: SamplerOptions) -> Iterator[tuple[str, Made, str]]:
    """Yield what a state is not of, table and options of it, and the word that the refusal has to have."""
    oracle = CascadeOracle(table, options)
    yield "another table", (pd.concat([table, table.iloc[-1:]]), options), ""
    for column in options.columns():
        swapped = _swapped(table, column, oracle)
        if swapped is not None:
            yield f"a table with other values of {column!r}", (swapped, options), ""
    for name, changed, word in _other_options(options, oracle):
        yield name, (table, changed), word


def _swapped(table: pd.DataFrame, column: str, oracle: CascadeOracle) -> pd.DataFrame | None:
    """Return the table with two rows' values exchanged so that other rows belong together; None if that cannot be."""
    takes_part = [anchor for pool in oracle.pools.values() for anchor in pool]
    values = {anchor: oracle.rows[anchor][column] for anchor in takes_part}
    timed = column == HPI
    if not (oracle.num_focal if timed else _may_mix(oracle.options)):
        return None
    counts = Counter(values.values())
    first = next((anchor for anchor in takes_part if timed or counts[values[anchor]] > 1), None)
    other = next((anchor for anchor in takes_part if first is not None and values[anchor] != values[first]), None)
    if first is None or other is None:
        return None
    order = list(range(len(table)))
    order[first], order[other] = other, first
    # By position and in the column's own dtype, whatever labels its rows and its categories have.
    return table.assign(**{column: table[column].iloc[order].array})


def _may_mix(options: SamplerOptions) -> bool:
    """Tell whether labels may be exchanged without leaving the options invalid: all that they name has to be there."""
    weights, ratio = options.experiment_weights, options.condition_ratio
    several = (weights and len(options.group_by) > 1) or (ratio and len(options.stratify_by) > 1)
    return not several and all(part > 0 for _, part in ratio or ())


def _other_options(options: SamplerOptions, oracle: CascadeOracle) -> Iterator[tuple[str, SamplerOptions, str]]:
    """Yield options under which the batches are others.

    What is off stays off, as it may not be claimed, and axes that are on stay on, as they may always be.
    """
    yield SEED, replace(options, seed=options.seed ^ 1), "seed"
    if options.batch_size > 1:
        yield "another batch size", replace(options, batch_size=options.batch_size - 1), "batch_size"
    if oracle.num_leaked:
        yield "another leak", replace(options, leaky=0.0), ""
    if options.temporal_enrichment and oracle.num_focal:
        farther = replace(options, temporal_window_hours=2 * options.temporal_window_hours + 1)
        yield "another window", farther, "window"
        yield "another global fraction", replace(options, temporal_global_fraction=1.0), ""
    if any(len(set(oracle.quotas(group).values())) > 1 for group in oracle.groups):
        yield "another ratio", replace(options, condition_ratio=None), ""
    if len({oracle.share(group) / len(oracle.pools[group]) for group in oracle.groups}) > 1:
        yield "other weights", replace(options, experiment_weights=None), ""
    if len(oracle.rows) % options.batch_size and not options.drop_last:
        yield "another end", replace(options, drop_last=True), ""
