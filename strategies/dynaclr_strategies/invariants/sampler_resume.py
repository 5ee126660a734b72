# ruff: noqa: D401 - the docstring of a check states a law, it does not command
"""Law 19: an epoch goes on where it was left."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pandas as pd

from dynaclr_strategies.invariants.base import invariant
from dynaclr_strategies.invariants.sampler_processes import interleave
from dynaclr_strategies.invariants.sampler_runs import MakeSampler, alone, at_epoch, compare, epoch_of, on_ranks
from dynaclr_strategies.sampler_descriptions import SamplerOptions

__all__ = ["check_resume", "check_resume_on_ranks"]

EPOCH = 2
"""Not the first, which a sampler that forgets its epoch would go on with too."""

State = dict[str, Any]


def _after(sampler: Any, consumed: int) -> State:
    """Return the sampler's state after it has yielded so many batches."""
    for _ in islice(sampler, consumed):
        pass
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
    """A state taken after any number of batches goes on with those that are left."""
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


# --- on several ranks -------------------------------------------------------------------------------------------------


@invariant("resume-on-ranks", subject="sampler", needs=("set_epoch", "state_dict", "load_state_dict", "ranks"))
def check_resume_on_ranks(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> None:
    """A state taken on any number of ranks goes on with the batches that are left on any other number of ranks."""
    batches = len(epoch_of(make_sampler(table, alone(options)), EPOCH))
    # So many ranks continue the sequence by two batches at least, as far as any of the ranks below goes beyond it;
    # without batches, which another law is about, there is nothing to continue.
    many = next((ranks for ranks in range(3, batches + 3) if -batches % ranks >= 2), 1)
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
