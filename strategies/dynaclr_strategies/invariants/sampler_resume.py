# ruff: noqa: D401 - the docstring of a check states a law, it does not command
"""Law 19: an epoch goes on where it was left, and is not mistaken for another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pandas as pd

from dynaclr_strategies.invariants.base import InvariantViolation, invariant
from dynaclr_strategies.invariants.sampler_processes import interleave
from dynaclr_strategies.invariants.sampler_runs import MakeSampler, alone, at_epoch, compare, epoch_of, on_ranks
from dynaclr_strategies.oracles.sampler import CascadeOracle
from dynaclr_strategies.sampler_descriptions import SamplerOptions

__all__ = ["check_resume", "check_resume_on_ranks"]

EPOCH = 2
"""Not the first, which a sampler that forgets its epoch would go on with too."""

HPI = "hours_post_infection"
State = dict[str, Any]


def _after(sampler: Any, consumed: int) -> State:
    """Return the sampler's state after it has yielded so many batches."""
    batches = iter(sampler)
    for _ in range(consumed):
        next(batches)
    state: State = sampler.state_dict()
    return state


def _moments(batches: int) -> list[int]:
    return sorted({0, 1, batches // 2, batches})


def _check_rest(resumed: list[Any], state: State, law: str, where: str, rest: list[list[int]]) -> None:
    """Load a state on each rank and check what they yield together."""
    for sampler in resumed:
        sampler.load_state_dict(state)
    compare(interleave([[list(batch) for batch in sampler] for sampler in resumed]), rest, law, where)


# --- in one process ---------------------------------------------------------------------------------------------------


@invariant("resume", subject="sampler", number=19, needs=("set_epoch", "state_dict", "load_state_dict"))
def check_resume(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> None:
    """A state taken after any number of batches goes on with those left, of this table and these options only."""
    single = alone(options)
    whole = epoch_of(make_sampler(table, single), EPOCH)
    for consumed in _moments(len(whole)):
        state = _after(at_epoch(make_sampler(table, single), EPOCH), consumed)
        resumed, where = make_sampler(table, single), f"resumed after {consumed} batches"
        _check_rest([resumed], state, "resume", where, whole[consumed:])
        compare([list(batch) for batch in resumed], whole, "resume", f"in the iteration after the one {where}")
        # As a trainer does: it tells the epoch again, and may be interrupted before the first batch.
        told = make_sampler(table, single)
        told.load_state_dict(state)
        told.set_epoch(EPOCH)
        once_more, where = make_sampler(table, single), f"{where}, told its epoch and interrupted at once"
        _check_rest([once_more], told.state_dict(), "resume", f"resumed from a sampler {where}", whole[consumed:])
        compare([list(batch) for batch in told], whole[consumed:], "resume", where)
    _check_between_epochs(make_sampler, table, single)
    state = _after(make_sampler(table, single), 0)
    for name, sampler, word in _others(make_sampler, table, single):
        _check_refusal(sampler, state, name, word)


def _check_between_epochs(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> None:
    """Check that a state that is taken after an epoch, when the next one has been told, is of all of the next one."""
    sampler = at_epoch(make_sampler(table, options), EPOCH)
    list(sampler)
    sampler.set_epoch(EPOCH + 1)
    where = "resumed before the first batch of the next epoch"
    _check_rest(
        [make_sampler(table, options)],
        sampler.state_dict(),
        "resume",
        where,
        epoch_of(make_sampler(table, options), EPOCH + 1),
    )


def _check_refusal(sampler: Any, state: State, name: str, word: str) -> None:
    try:
        sampler.load_state_dict(state)
    except ValueError as refusal:
        if word in str(refusal) and str(refusal):
            return
        raise InvariantViolation(f"state of {name}", f"refused with {refusal}", f"{word} named", "resume") from refusal
    raise InvariantViolation(f"state of {name}", "accepted", "a ValueError that says what differs", "resume")


def _others(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> Iterator[tuple[str, Any, str]]:
    """Yield what a state is not of, a sampler of it, and the word that the refusal has to have."""
    oracle = CascadeOracle(table, options)
    yield "another table", make_sampler(pd.concat([table, table.iloc[-1:]]), options), ""
    for column in options.columns():
        swapped = _swapped(table, column, oracle)
        if swapped is not None:
            yield f"a table with other values of {column!r}", make_sampler(swapped, options), ""
    for name, changed, word in _other_options(options, oracle):
        yield name, make_sampler(table, changed), word


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
    """Yield options under which the batches are others; what is off stays off, as it may not be claimed."""
    yield "another seed", replace(options, seed=options.seed + 1), "seed"
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


# --- on several ranks -------------------------------------------------------------------------------------------------


@invariant("resume-on-ranks", subject="sampler", needs=("set_epoch", "state_dict", "load_state_dict", "ranks"))
def check_resume_on_ranks(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> None:
    """A state taken on any number of ranks goes on with the batches that are left on any other number of ranks."""
    batches = len(epoch_of(make_sampler(table, alone(options)), EPOCH))
    # So many ranks continue the sequence by two batches at least, as far as any of the ranks below goes beyond it.
    many = next(ranks for ranks in range(3, batches + 3) if -batches % ranks >= 2)
    whole = interleave([epoch_of(sampler, EPOCH) for sampler in on_ranks(make_sampler, table, options, many)])
    for before in (1, 2):
        for consumed in _moments(-(-batches // before)):
            state = _after(on_ranks(make_sampler, table, options, before, EPOCH)[0], consumed)
            start = consumed * before
            for after in (1, 2, 3):
                where = f"resumed on {after} ranks after {consumed} batches on each of {before}"
                resumed = on_ranks(make_sampler, table, options, after)
                left = -(-max(batches - start, 0) // after) * after
                _check_rest(resumed, state, "resume-on-ranks", where, whole[start : start + left])
                again = interleave([[list(batch) for batch in sampler] for sampler in resumed])
                expected = whole[: -(-batches // after) * after]
                compare(again, expected, "resume-on-ranks", f"in the iteration after the one {where}")
