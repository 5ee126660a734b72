# ruff: noqa: D401 - the docstring of a check states a law, it does not command
"""Laws 25 to 29: changes of the input that change nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest import SkipTest

import pandas as pd

from dynaclr_strategies.invariants.base import InvariantViolation, invariant
from dynaclr_strategies.invariants.sampler_runs import MakeSampler, compare, transcript
from dynaclr_strategies.sampler_descriptions import LABEL_DTYPES, Label, SamplerOptions, as_label_dtype

__all__ = ["check_dtype", "check_extra_columns", "check_hpi_scale", "check_hpi_shift", "check_relabel"]

HPI = "hours_post_infection"


class _Change:
    """What a sampler yields before something changes, to be compared with what it yields afterwards.

    Parameters
    ----------
    make_sampler, table, options
        As they are before.
    law
        Which says that nothing changes with it.
    """

    def __init__(self, make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions, law: str) -> None:
        self._make, self._law = make_sampler, law
        self._expected = transcript(make_sampler, table, options)

    def check(self, table: pd.DataFrame, options: SamplerOptions, what: str) -> None:
        """Raise if the batches are others now, or the sampler raises; ``what`` tells the change."""
        try:
            seen = transcript(self._make, table, options)
        except (ImportError, MemoryError, OSError, SkipTest):
            raise  # which says something about the machine, or about the test
        except Exception as problem:
            raised = f"{type(problem).__name__}: {problem}"
            raise InvariantViolation(f"a sampler {what}", raised, "the same batches", self._law) from problem
        compare(seen, self._expected, self._law, what)


def _is_text(column: pd.Series[Any]) -> bool:
    return all(isinstance(value, str) for value in column)


@invariant("relabel", subject="sampler", number=25)
def check_relabel(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> None:
    """Renaming experiments and conditions in the same order changes no batch."""
    columns = [*options.group_by, *options.stratify_by]
    renaming = {
        column: {name: f"renamed {place:06d}" for place, name in enumerate(sorted(set(table[column])))}
        for column in columns
        if column in table and _is_text(table[column])
    }
    renamed = table.copy()
    for column, names in renaming.items():
        renamed[column] = [names[name] for name in table[column]]

    def rename(pairs: tuple[tuple[Label, float], ...] | None, by: tuple[str, ...]) -> Any:
        return None if pairs is None else tuple((_renamed(label, by, renaming), value) for label, value in pairs)

    new_options = replace(
        options,
        experiment_weights=rename(options.experiment_weights, options.group_by),
        condition_ratio=rename(options.condition_ratio, options.stratify_by),
    )
    changed = _Change(make_sampler, table, options, "relabel")
    changed.check(renamed, new_options, "after renaming the labels")


def _renamed(label: Label, by: tuple[str, ...], renaming: dict[str, dict[Any, str]]) -> Label:
    parts = label if isinstance(label, tuple) else (label,)
    new = tuple(renaming.get(column, {}).get(part, part) for column, part in zip(by, parts, strict=True))
    return new if isinstance(label, tuple) else new[0]


@invariant(
    "hpi-shift",
    subject="sampler",
    number=26,
    when="temporal_enrichment",
    applies=lambda o: o.options.temporal_enrichment,
)
def check_hpi_shift(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> None:
    """Adding the same number of hours to every HPI changes no batch."""
    changed = _Change(make_sampler, table, options, "hpi-shift")
    # Also where floating point has to round: a movie that begins at 24.1 h shows the same windows, and so does a table
    # that counts its hours from one of its own times, near which there is nothing left but roundings.
    for shift in (0.5, -64.0, 24.1, 1 / 3, -float(table[HPI].iloc[len(table) // 2])):
        shifted = table.assign(**{HPI: [float(value) + shift for value in table[HPI]]})
        changed.check(shifted, options, f"after a shift by {shift} h")


@invariant(
    "hpi-scale",
    subject="sampler",
    number=27,
    when="temporal_enrichment",
    applies=lambda o: o.options.temporal_enrichment,
)
def check_hpi_scale(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> None:
    """Multiplying every HPI and the window by the same number changes no batch."""
    changed = _Change(make_sampler, table, options, "hpi-scale")
    for factor in (0.25, 3.0, 0.1):  # hours as days or minutes, rounded or not
        scaled = table.assign(**{HPI: [float(value) * factor for value in table[HPI]]})
        new_options = replace(options, temporal_window_hours=options.temporal_window_hours * factor)
        changed.check(scaled, new_options, f"after scaling by {factor}")


@invariant("dtype", subject="sampler", number=28)
def check_dtype(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> None:
    """Object, string, Arrow and categorical columns, unused categories or not, give the same batches."""
    changed = _Change(make_sampler, table, options, "dtype")
    columns = [column for column in options.columns() if _is_text(table[column])]
    for dtype in LABEL_DTYPES:
        converted = table.assign(**{column: as_label_dtype(table[column], dtype) for column in columns})
        changed.check(converted, options, f"with {dtype} columns")


@invariant("extra-columns", subject="sampler", number=29)
def check_extra_columns(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> None:
    """Columns that no enabled axis names, another index and another order of columns change no batch."""
    changed = _Change(make_sampler, table, options, "extra-columns")
    needed = options.columns()
    fewer = table[needed] if needed else table.iloc[:, :1].rename(columns=lambda _: "other")
    left_out = ", ".join(str(column) for column in table.columns if column not in needed)
    changed.check(fewer, options, f"without the columns {left_out}, which no axis works on")
    changed.check(table[table.columns[::-1]].assign(nothing=None, batch=0), options, "with more columns")
    changed.check(table.set_index(pd.Index(range(len(table), 0, -1))), options, "with another index")
