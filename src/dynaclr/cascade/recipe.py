"""The recipe of a sampler: its axes applied to one table, everything that is the same for all batches."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dynaclr.cascade.axes import ConditionAxis, ExclusiveAxis, ExperimentAxis, LeakAxis, TimeAxis, as_columns
from dynaclr.cascade.focus import Focus
from dynaclr.cascade.quotas import Quotas
from dynaclr.cascade.rounding import SystematicRounding
from dynaclr.cascade.strata import Labels, Strata, hours
from dynaclr.checks import truth
from dynaclr.errors import DynaclrError, did_you_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Axes:
    """The axes of one sampler, in the order in which they narrow a batch; ``None`` where an axis is off."""

    experiment: ExperimentAxis
    leak: LeakAxis
    condition: ConditionAxis
    time: TimeAxis | None
    exclusive: ExclusiveAxis | None

    @classmethod
    def of_options(
        cls,
        *,
        experiment_aware: bool,
        leaky: float,
        experiment_weights: Mapping[Any, float] | None,
        condition_balanced: bool,
        condition_ratio: Mapping[Any, float] | None,
        temporal_enrichment: bool,
        temporal_window_hours: float,
        temporal_global_fraction: float,
        group_by: str | Sequence[str],
        stratify_by: str | Sequence[str],
        exclusive_by: str | Sequence[str] | None,
    ) -> Axes:
        """Return the axes that these options of a sampler ask for, see `dynaclr.sampler.FlexibleBatchSampler`.

        Raises
        ------
        DynaclrError
            If an option is wrong by itself, whatever the table.
        """
        groups, conditions = as_columns(group_by, "group_by"), as_columns(stratify_by, "stratify_by")
        by_experiment = truth("experiment_aware", experiment_aware)
        by_condition = truth("condition_balanced", condition_balanced)
        by_time = truth("temporal_enrichment", temporal_enrichment)
        time = TimeAxis(temporal_window_hours, temporal_global_fraction)
        return cls(
            experiment=ExperimentAxis(groups if by_experiment else (), experiment_weights),
            leak=LeakAxis(leaky),
            condition=ConditionAxis(conditions if by_condition else (), condition_ratio),
            time=time if by_time else None,
            exclusive=None if exclusive_by is None else ExclusiveAxis(as_columns(exclusive_by, "exclusive_by")),
        )

    def check_columns(self, table: pd.DataFrame) -> None:
        """Check that the table has every column that an enabled axis works on.

        Raises
        ------
        DynaclrError
            For the first column that is missing; the sentence names the parameter and the columns there are.
        """
        needed = {
            "group_by": self.experiment.columns,
            "stratify_by": self.condition.columns,
            "temporal_enrichment": self.time.columns if self.time else (),
            "exclusive_by": self.exclusive.columns if self.exclusive else (),
        }
        for parameter, columns in needed.items():
            for column in columns:
                if column not in table.columns:
                    raise DynaclrError(
                        f"{parameter} needs the column {column!r}, which the table does not have"
                        f"{did_you_mean(column, table.columns)}; it has {', '.join(map(repr, table.columns)) or 'none'}"
                    )
                if (times := int((table.columns == column).sum())) > 1:
                    raise DynaclrError(f"{parameter} needs one column {column!r}, but the table has {times}")


class Recipe:
    """Sorted anchors, shares, quotas and numbers of one sampler.

    Parameters
    ----------
    table : DataFrame of N rows
        The valid anchors; not kept.
    axes
        The axes.
    batch_size, num_batches, seed
        Size B of a batch, number of batches in an epoch, and the seed.

    Attributes
    ----------
    census
        Number of anchors of each experiment, those without weight included.
    strata, shares, quotas, focus
        The sorted anchors; the experiments' shares of an epoch; the conditions' quotas; the focal HPI, or ``None``.
    primary, focal, leaked
        How many of a batch's anchors are its own experiment's, how many of those are focal, and how many are leaked.
    is_of_one_draw
        Whether all anchors of a batch are drawn from one stratum in one go.
    exclusive : ndarray of int64, shape (M,), or None
        The exclusive value of each place of `Strata.order`.

    Raises
    ------
    DynaclrError
        If the axes and the table do not fit.
    """

    def __init__(self, table: pd.DataFrame, axes: Axes, batch_size: int, num_batches: int, seed: int) -> None:
        axes.check_columns(table)
        self.seed, self.batch_size, self.num_batches = seed, batch_size, num_batches
        self.time = axes.time
        groups = _labels(table, axes.experiment.columns, "group_by")
        sizes = np.bincount(groups.codes, minlength=len(groups.names))
        self.census = dict(zip(groups.names, sizes.tolist(), strict=True))
        shares = axes.experiment.fractions(groups.names, sizes)
        conditions = _labels(table, axes.condition.columns, "stratify_by")
        condition_axis = axes.condition.of_table(conditions.names)
        hpi = None if axes.time is None else hours(table, groups)
        self.strata = Strata.of(groups, np.array([share > 0 for share in shares]), conditions, hpi)
        self.shares = SystematicRounding.of([share * num_batches for share in shares if share > 0])
        self.leaked = axes.leak.count(batch_size, len(self.strata.groups))
        self.primary = batch_size - self.leaked
        self.quotas = Quotas(self.strata, self._quotas(condition_axis))
        self.focal = axes.time.focal_count(self.primary) if axes.time else 0
        # Without a focal anchor the time axis decides nothing, so the draws are those of fair passes.
        self.focus = Focus(self.strata, axes.time) if axes.time and self.focal else None
        self.exclusive: Ints | None = None
        several = self.leaked or self.focus or axes.exclusive or (np.diff(self.strata.group_stratum) > 1).any()
        self.is_of_one_draw = not several
        if axes.exclusive is not None:
            codes = _labels(table, axes.exclusive.columns, "exclusive_by").codes
            self.exclusive = codes[self.strata.order].astype(np.int64)

    def _quotas(self, axis: ConditionAxis) -> list[SystematicRounding]:
        """Return the quotas of each group; groups with the same conditions share them."""
        made: dict[tuple[int, ...], SystematicRounding] = {}
        quotas = []
        for group, (first, last) in zip(self.strata.groups, pairwise(self.strata.group_stratum), strict=True):
            codes = tuple(self.strata.condition[first:last].tolist())
            if codes not in made:
                made[codes] = axis.quotas([self.strata.conditions[code] for code in codes], self.primary, group)
            quotas.append(made[codes])
        return quotas

    @cached_property
    def exclusive_values(self) -> Ints:
        """Number of distinct exclusive values in each stratum, shape ``(S,)``."""
        assert self.exclusive is not None  # noqa: S101  only asked for with exclusivity
        stratum = np.repeat(np.arange(len(self.strata.condition)), np.diff(self.strata.start))
        codes = int(self.exclusive.max()) + 1
        return np.bincount(pd.unique(stratum * codes + self.exclusive) // codes, minlength=len(self.strata.condition))

    def too_small(self) -> dict[Hashable, int]:
        """Return the experiments, and their sizes, whose batches cannot do without repeats."""
        most = np.concatenate([rounding.largest() for rounding in self.quotas.per_group])
        groups = np.unique(self.strata.stratum_group[np.diff(self.strata.start) < most])
        sizes = np.diff(self.strata.group_start)
        # An experiment of hardly any weight never comes up at all.
        return {self.strata.groups[group]: int(sizes[group]) for group in groups if self.shares.largest()[group]}

    def too_few_values(self) -> dict[tuple[Hashable, Hashable], int]:
        """Return the conditions, by experiment, and how many exclusive values they have, whose batches need more."""
        if self.exclusive is None:
            return {}
        most = np.concatenate([rounding.largest() for rounding in self.quotas.per_group])
        group = self.strata.stratum_group
        short = np.flatnonzero((self.exclusive_values < most) & (self.shares.largest()[group] > 0))
        return {
            (self.strata.groups[group[at]], self.strata.conditions[self.strata.condition[at]]): int(
                self.exclusive_values[at]
            )
            for at in short
        }

    def too_few_others(self) -> dict[Hashable, int]:
        """Return the experiments beside which there are fewer anchors, and how many, than leak into one batch."""
        others = len(self.strata.order) - np.diff(self.strata.group_start)
        return {self.strata.groups[group]: int(others[group]) for group in np.flatnonzero(others < self.leaked)}


def _labels(table: pd.DataFrame, columns: tuple[str, ...], parameter: str) -> Labels:
    return Labels.of(table, columns, parameter) if columns else Labels.one(len(table))
