# ruff: noqa: D401 - the docstring of a check states a law, it does not command
"""Laws 15, 18, 20 and 21: the same again, on demand, and nothing else touched."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from dynaclr_strategies.invariants.base import InvariantViolation, invariant
from dynaclr_strategies.invariants.sampler_runs import (
    MakeSampler,
    alone,
    at_epoch,
    compare,
    epoch_of,
    transcript,
)
from dynaclr_strategies.sampler_descriptions import SamplerOptions

__all__ = [
    "check_deterministic",
    "check_global_rng_untouched",
    "check_input_untouched",
    "check_random_access",
]


@invariant("deterministic", subject="sampler", number=15)
def check_deterministic(
    make_sampler: MakeSampler,
    table: pd.DataFrame,
    options: SamplerOptions,
    *,
    elsewhere: Callable[[pd.DataFrame, SamplerOptions], list[list[int]]] | None = None,
) -> None:
    """The same arguments give the same batches, in another process and under another ``PYTHONHASHSEED`` too.

    ``elsewhere`` returns the batches of the first two epochs from such a process; without it the law is checked
    within this one.
    """
    expected = transcript(make_sampler, table, options)
    compare(transcript(make_sampler, table.copy(), options), expected, "deterministic", "of a second sampler")
    if elsewhere is not None:
        compare(elsewhere(table, options), expected, "deterministic", "in another process")


@invariant("random-access", subject="sampler", number=18, needs=("set_epoch", "batch"))
def check_random_access(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> None:
    """``batch(i, epoch=e)``, asked in any order, is the i-th batch of epoch e and leaves the current epoch alone."""
    sampler = make_sampler(table, alone(options))
    epochs = {epoch: epoch_of(sampler, epoch) for epoch in (0, 3)}
    fresh = at_epoch(make_sampler(table, options), 1)
    current = epoch_of(fresh, 1)
    for epoch, expected in epochs.items():
        last_first = range(len(expected) - 1, -1, -1)
        seen = {number: list(fresh.batch(number, epoch=epoch)) for number in last_first}
        compare([seen[number] for number in range(len(expected))], expected, "random-access", f"of epoch {epoch}")
    compare([list(batch) for batch in fresh], current, "random-access", "of epoch 1 after looking at others")


# --- surroundings -----------------------------------------------------------------------------------------------------


def _global_generators() -> list[tuple[str, Callable[[], Any], Callable[[Any], None], Callable[[int], Any]]]:
    """Return name, reader, writer and seeder of each global generator."""
    generators: list[tuple[str, Callable[[], Any], Callable[[Any], None], Callable[[int], Any]]] = [
        ("random", random.getstate, random.setstate, random.seed),
        ("numpy.random", _numpy_state, np.random.set_state, np.random.seed),
    ]
    try:
        import torch
    except ImportError:
        return generators
    return [*generators, ("torch", lambda: torch.get_rng_state().clone(), torch.set_rng_state, torch.manual_seed)]


def _numpy_state() -> Any:
    return np.random.get_state(legacy=True)  # noqa: NPY002 - the law is about the global generator


@invariant("global-rng-untouched", subject="sampler", number=20)
def check_global_rng_untouched(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> None:
    """Python's, NumPy's and torch's global generators are neither read nor moved."""
    generators = _global_generators()
    kept = [(restore, read()) for _, read, restore, _ in generators]
    transcripts = []
    try:
        for seed in (1, 2):
            for _, _, _, reseed in generators:
                reseed(seed)
            states = [(name, repr(_plain(read()))) for name, read, _, _ in generators]
            transcripts.append(transcript(make_sampler, table, options))
            for (name, before), (_, read, _, _) in zip(states, generators, strict=True):
                if repr(_plain(read())) != before:
                    raise InvariantViolation(
                        f"generator {name}", "moved by sampling", "left as it was", "global-rng-untouched"
                    )
    finally:
        for restore, state in kept:
            restore(state)
    compare(transcripts[1], transcripts[0], "global-rng-untouched", "under another global seed")


def _plain(state: Any) -> Any:
    """Return a generator's state as something whose text is the whole of it."""
    if hasattr(state, "tolist"):
        return state.tolist()
    return [_plain(part) for part in state] if isinstance(state, tuple) else state


@invariant("input-untouched", subject="sampler", number=21)
def check_input_untouched(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> None:
    """The caller's table is not changed, and changing it after construction changes no batch."""
    for iterations, when in ((0, "before the first iteration"), (1, "after the first iteration")):
        mine, memory = _of_my_own(table)
        # Both have been iterated equally often: without epochs, a second iteration need not be like the first.
        sampler, other = make_sampler(mine, options), make_sampler(table.copy(), options)
        for _ in range(iterations):
            list(sampler), list(other)
        try:
            pd.testing.assert_frame_equal(mine, table, check_exact=True)
        except AssertionError as difference:
            reason = str(difference).replace("\n", " ")
            raise InvariantViolation(
                "the caller's table", f"changed ({reason})", "left as it was", "input-untouched"
            ) from None
        _turn_over(mine, memory)
        if iterations:  # one that has not read the table yet would only say that it is empty
            for column in table.columns:
                del mine[column]
        seen, expected = (transcript(lambda *_, one=one: one, table, options) for one in (sampler, other))
        compare(seen, expected, "input-untouched", f"after the caller changed the table {when}")


def _of_my_own(table: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return a copy of a table that lies in arrays of ours, by column, as far as NumPy has its dtypes."""
    plain = [name for name, dtype in table.dtypes.items() if isinstance(dtype, np.dtype)]
    memory = {str(name): table[name].to_numpy(copy=True) for name in plain}
    columns = {
        # From pandas 3 on texts that lie in objects would become its own strings.
        name: pd.Series(memory.get(str(name), table[name].array.copy()), dtype=dtype, copy=False)
        for name, dtype in table.dtypes.items()
    }
    mine = pd.DataFrame(columns, copy=False)
    mine.index = table.index
    return mine, memory


def _turn_over(mine: pd.DataFrame, memory: dict[str, Any]) -> None:
    """Turn a table over, in the memory that a sampler may have kept a view of where there is one."""
    for values in memory.values():
        values[:] = values[::-1].copy()
    for column in mine.columns.difference(list(memory)):
        mine.loc[:, column] = mine[column].array[::-1].copy()
