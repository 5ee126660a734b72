"""The sampling cascade: the axes folded over one table, from which any batch of any epoch can be composed."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from dynaclr.cascade.composition import Composition, Role, enriched, leaked, shuffled
from dynaclr.cascade.exclusive import ExclusiveDraws
from dynaclr.cascade.focus import Focus
from dynaclr.cascade.passes import FairPasses
from dynaclr.cascade.quotas import Quotas
from dynaclr.cascade.rounding import SystematicRounding
from dynaclr.cascade.schedule import Schedule
from dynaclr.cascade.strata import Labels, Strata, hours
from dynaclr.errors import DynaclrError, did_you_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dynaclr.cascade.axes import ConditionAxis, ExclusiveAxis, ExperimentAxis, LeakAxis, TimeAxis

    Ints = NDArray[np.int64]

_TIME_OF: Final = {  # (role, outside the window) -> what `explain` calls it
    (Role.FOCAL, False): "focal",
    (Role.FOCAL, True): "widened",
    **dict.fromkeys([(role, far) for role in (Role.PRIMARY, Role.GLOBAL) for far in (False, True)], "global"),
    **dict.fromkeys([(Role.LEAKED, far) for far in (False, True)]),
}
_EPOCHS_KEPT: Final = 2  # the running one and, for `explain` and `batch`, another


@dataclass(frozen=True)
class Axes:
    """The axes of one sampler, in the order in which they narrow a batch; ``None`` where an axis is off."""

    experiment: ExperimentAxis
    leak: LeakAxis
    condition: ConditionAxis
    time: TimeAxis | None
    exclusive: ExclusiveAxis | None

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


class Cascade:
    """Everything about a sampler that does not change: sorted anchors, shares, quotas, randomness.

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
        axes.condition.check(conditions.names)
        hpi = None if axes.time is None else hours(table, groups)
        self.strata = Strata.of(groups, np.array([share > 0 for share in shares]), conditions, hpi)
        self.shares = SystematicRounding.of([share * num_batches for share in shares if share > 0])
        self.leaked = axes.leak.count(batch_size, len(self.strata.groups))
        self.primary = batch_size - self.leaked
        self.quotas = Quotas(self.strata, [self._group_quotas(axes, group) for group in range(len(self.strata.groups))])
        self.focal = axes.time.focal_count(self.primary) if axes.time else 0
        # Without a focal anchor the time axis decides nothing, so the draws are those of fair passes.
        self.focus = Focus(self.strata, axes.time) if axes.time and self.focal else None
        self._exclusive: Ints | None = None
        if axes.exclusive is not None:
            self._exclusive = _labels(table, axes.exclusive.columns, "exclusive_by").codes[self.strata.order]
        self._epochs: dict[int, _Epoch] = {}

    def _group_quotas(self, axes: Axes, group: int) -> SystematicRounding:
        first, last = self.strata.group_stratum[group : group + 2]
        present = [self.strata.conditions[code] for code in self.strata.condition[first:last]]
        return axes.condition.quotas(present, self.primary, self.strata.groups[group])

    @cached_property
    def exclusive_values(self) -> Ints:
        """Number of distinct exclusive values in each stratum, shape ``(S,)``."""
        assert self._exclusive is not None  # noqa: S101  only asked for with exclusivity
        stratum = np.repeat(np.arange(len(self.strata.condition)), np.diff(self.strata.start))
        pairs = pd.unique(stratum * (int(self._exclusive.max()) + 1) + self._exclusive)
        return np.bincount(pairs // (int(self._exclusive.max()) + 1), minlength=len(self.strata.condition))

    def too_small(self) -> dict[Hashable, int]:
        """Return the experiments, and their sizes, whose batches cannot do without repeats."""
        most = np.concatenate([rounding.largest() for rounding in self.quotas.per_group])
        groups = np.unique(self.strata.stratum_group[np.diff(self.strata.start) < most])
        sizes = np.diff(self.strata.group_start)
        return {self.strata.groups[group]: int(sizes[group]) for group in groups}

    def shared_values(self, composition: Composition) -> int:
        """Return how many of these batches hold two anchors of one exclusive value."""
        if self._exclusive is None:
            return 0
        codes = np.sort(self._exclusive[composition.place], axis=1)
        return int((codes[:, 1:] == codes[:, :-1]).any(axis=1).sum())

    def rows(self, composition: Composition) -> Ints:
        """Return the rows of the table that were composed, shape ``(K, B)``."""
        return self.strata.order[composition.place]

    def compose(self, numbers: Ints, epoch: int) -> Composition:
        """Compose these global batches of an epoch, shape ``(K,)``, ascending; the fold over the axes."""
        plan = self._plan(epoch, int(numbers[-1]) // self.num_batches + 1)
        group, focal = plan.schedule.group[numbers], np.full(len(numbers), -1)
        if plan.exclusive is not None:
            batch, place, role, focal = plan.exclusive.compose(numbers)
            return Composition(*shuffled(self.seed, epoch, numbers, batch, place, role, self.batch_size), focal)
        if self.focus is None:
            place = plan.passes.take(numbers).ravel()
            batch, role = np.repeat(np.arange(len(numbers)), self.primary), np.full(len(place), Role.PRIMARY)
        else:
            shares = self.quotas.shares(group, plan.schedule.offset[numbers])
            batch, place, role, focal = enriched(
                self.seed, epoch, self.strata, self.focus, shares, numbers, group, self.primary, self.focal
            )
        if self.leaked:
            leak_batch, leak_place = leaked(self.seed, epoch, self.strata, numbers, group, self.leaked)
            batch, place = np.concatenate([batch, leak_batch]), np.concatenate([place, leak_place])
            role = np.concatenate([role, np.full(len(leak_batch), Role.LEAKED)])
        return Composition(*shuffled(self.seed, epoch, numbers, batch, place, role, self.batch_size), focal)

    def explain(self, number: int, epoch: int) -> pd.DataFrame:
        """Return the provenance table of one global batch (see `FlexibleBatchSampler.explain`)."""
        composed, strata = self.compose(np.array([number]), epoch), self.strata
        place, role, focal = composed.place[0], composed.role[0], int(composed.focal[0])
        stratum = np.searchsorted(strata.start, place, side="right") - 1
        anchor = strata.order[place]
        columns: dict[str, Any] = {
            "anchor": anchor,
            "experiment": _objects([strata.groups[at] for at in strata.stratum_group[stratum]]),
            "condition": _objects([strata.conditions[at] for at in strata.condition[stratum]]),
            "source": np.where(role == Role.LEAKED, "leaked", "primary"),
            "time": _objects([None] * len(place)),
            "repeated": pd.Series(anchor).duplicated().to_numpy(),
        }
        if self.time is not None:
            columns["hpi"] = hpi = strata.times_at(place)
            far = np.abs(hpi - strata.values[focal]) > self.time.window_hours
            columns["time"] = _objects([_TIME_OF[kind, away] for kind, away in zip(role, far, strict=True)])
        table = pd.DataFrame(columns)
        table.attrs["focal_hpi"] = None if focal < 0 else float(strata.values[focal])
        return table

    def _plan(self, epoch: int, rounds: int) -> _Epoch:
        """Return the plan of an epoch with at least so many rounds, made when first asked for."""
        plan = self._epochs.pop(epoch, None)
        if plan is None or plan.rounds < rounds:
            plan = _Epoch(self, epoch, rounds, self._exclusive)
        self._epochs[epoch] = plan  # last in, so that the oldest goes first
        while len(self._epochs) > _EPOCHS_KEPT:
            del self._epochs[next(iter(self._epochs))]
        return plan


class _Epoch:
    """The schedule of one epoch and the state of its passes."""

    def __init__(self, cascade: Cascade, epoch: int, rounds: int, exclusive: Ints | None) -> None:
        self.rounds = rounds
        self.schedule = schedule = Schedule.of(cascade.seed, epoch, cascade.shares, cascade.num_batches, rounds)
        self.exclusive = None if exclusive is None else ExclusiveDraws(cascade, exclusive, epoch, schedule)
        self.passes = FairPasses(
            cascade.seed, epoch, cascade.strata, schedule, cascade.quotas.per_group, cascade.primary
        )


def _labels(table: pd.DataFrame, columns: tuple[str, ...], parameter: str) -> Labels:
    return Labels.of(table, columns, parameter) if columns else Labels.one(len(table))


def _objects(values: list[Any]) -> pd.Series[Any]:
    """Return a column of these very objects; tuples and None stay what they are."""
    return pd.Series(values, dtype=object)
