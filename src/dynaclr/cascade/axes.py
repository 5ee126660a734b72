"""The axes of the sampling cascade: a frozen value each, which knows its parameters, columns and arithmetic."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from dynaclr.cascade.rounding import SystematicRounding
from dynaclr.cascade.strata import HPI
from dynaclr.checks import is_number
from dynaclr.errors import DynaclrError, did_you_mean
from dynaclr.exact import exact, slack

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]


def as_columns(value: str | Sequence[str], parameter: str) -> tuple[str, ...]:
    """Return one or more column names as a tuple.

    Raises
    ------
    DynaclrError
        If there is no name, a name twice, or something that is no name.
    """
    columns = (value,) if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)
    if not all(isinstance(name, str) and name for name in columns) or len(set(columns)) < max(len(columns), 1):
        raise DynaclrError(f"{parameter}={value!r} needs the name of a column, or several different names")
    return columns


def _proportions(given: Mapping[Hashable, float], parameter: str) -> dict[Hashable, float]:
    """Return a copy of what the user wrote, checked, so that a later change to the original changes nothing."""
    if not isinstance(given, Mapping):
        raise DynaclrError(f"{parameter}={given!r} needs a mapping from label to number")
    for name, value in given.items():
        if not is_number(value) or value < 0:
            raise DynaclrError(f"{parameter}[{name!r}]={value!r} needs a finite number that is not negative")
    if not any(given.values()):
        raise DynaclrError(f"{parameter}={dict(given)!r} needs at least one number above 0")
    return dict(given)


def spelled(label: Hashable) -> str:
    """Return a label as it is written where only text can be: that of several columns with slashes."""
    return "/".join(map(str, label)) if isinstance(label, tuple) else str(label)


def _by_label(given: Mapping[Hashable, float], known: Sequence[Hashable], parameter: str) -> dict[Hashable, float]:
    """Return the numbers by the labels of the table.

    A label that is no text may be written as one, that of several columns with slashes: YAML has no tuples for keys.

    Raises
    ------
    DynaclrError
        If a name is no label, may be several, or says the same as another one.
    """
    by_text: dict[str, list[Hashable]] = {}
    for label in known:
        by_text.setdefault(spelled(label), []).append(label)
    present, numbers = set(known), dict[Hashable, float]()
    for name, number in given.items():
        labels = [name] if name in present else by_text.get(str(name))
        if not labels:
            raise DynaclrError(
                f"{parameter} names {name!r}, which no anchor has{did_you_mean(name, by_text)}; "
                f"they have {', '.join(map(repr, by_text))}"
            )
        if len(labels) > 1 or labels[0] in numbers:
            meant = " and ".join(map(repr, labels))
            raise DynaclrError(f"{parameter} names {name!r}, which needs to mean one label once, but means {meant}")
        numbers[labels[0]] = number
    return numbers


@dataclass(frozen=True)
class ExperimentAxis:
    """Each batch belongs to one experiment, drawn in proportion to the experiments' weights.

    Parameters
    ----------
    columns
        Columns whose labels make an experiment; none where every batch draws from the whole table.
    weights
        Relative share of the batches by label; an experiment that is not named has weight 0, and with ``None`` the
        weight is the number of anchors.
    """

    columns: tuple[str, ...] = ("experiment",)
    weights: Mapping[Hashable, float] | None = None

    def __post_init__(self) -> None:
        if self.weights is not None:
            object.__setattr__(self, "weights", _proportions(self.weights, "experiment_weights"))

    def fractions(self, names: Sequence[Hashable], sizes: Ints) -> list[Fraction]:
        """Return each experiment's share of the batches; the shares sum to 1.

        Raises
        ------
        DynaclrError
            If a weight is given to an experiment that the table does not have, or to none that it has.
        """
        if self.weights is None or not self.columns:
            weights = [Fraction(int(size)) for size in sizes]
        else:
            given = _by_label(self.weights, names, "experiment_weights")
            weights = [exact(given.get(name, 0)) for name in names]
        total = sum(weights)
        return [weight / total for weight in weights]


@dataclass(frozen=True)
class LeakAxis:
    """A fixed number of a batch's anchors comes from the other experiments.

    Parameters
    ----------
    leaky
        Fraction of the batch, in [0, 1).
    """

    leaky: float = 0.0

    def __post_init__(self) -> None:
        if not is_number(self.leaky) or not 0 <= self.leaky < 1:
            raise DynaclrError(f"leaky={self.leaky!r} needs a number in [0, 1)")

    def count(self, batch_size: int, groups: int) -> int:
        """Return ``floor(leaky * batch_size)``, in exact arithmetic; 0 where there is no other experiment."""
        return int(exact(self.leaky) * batch_size) if groups > 1 else 0


@dataclass(frozen=True)
class ConditionAxis:
    """The primary anchors of a batch are shared out over the conditions in fixed proportions.

    Parameters
    ----------
    columns
        Columns whose labels make a condition; none where conditions are not balanced.
    ratio
        Proportion by condition; equal proportions with ``None``.
    """

    columns: tuple[str, ...] = ("condition",)
    ratio: Mapping[Hashable, float] | None = None

    def __post_init__(self) -> None:
        if self.ratio is not None:
            object.__setattr__(self, "ratio", _proportions(self.ratio, "condition_ratio"))

    def of_table(self, names: Sequence[Hashable]) -> ConditionAxis:
        """Return the axis with its ratio by the conditions of the table.

        Raises
        ------
        DynaclrError
            If the ratio names a condition that the table does not have, or leaves one out.
        """
        if self.ratio is None or not self.columns:
            return self
        ratio = _by_label(self.ratio, names, "condition_ratio")
        left_out = [repr(spelled(name)) for name in names if name not in ratio]
        if left_out:
            raise DynaclrError(
                f"condition_ratio={dict(self.ratio)!r} leaves out {', '.join(left_out)}, "
                "but needs a number for every condition of the table (0 for one that is not to be drawn)"
            )
        return replace(self, ratio=ratio)

    def quotas(self, present: Sequence[Hashable], count: int, group: Hashable) -> SystematicRounding:
        """Share `count` anchors out over the conditions that are `present` in a group.

        Raises
        ------
        DynaclrError
            If the ratio gives 0 to every condition of the group.
        """
        if self.ratio is None or not self.columns:
            parts = [Fraction(1)] * len(present)
        else:
            parts = [exact(self.ratio[name]) for name in present]
        if not any(parts):
            raise DynaclrError(
                f"condition_ratio={dict(self.ratio or {})!r} gives 0 to every condition of experiment {group!r}; "
                f"one of {', '.join(map(repr, present))} needs a number above 0, or the experiment the weight 0"
            )
        return SystematicRounding.of([count * part / sum(parts) for part in parts])


@dataclass(frozen=True)
class TimeAxis:
    """Part of a batch's primary anchors lies within a window around one focal HPI.

    Parameters
    ----------
    window_hours
        Largest distance of a focal anchor from the focal HPI, in hours.
    global_fraction
        Fraction of the primary anchors that is drawn from all times, in [0, 1].
    """

    window_hours: float = 2.0
    global_fraction: float = 0.3
    columns: tuple[str, ...] = (HPI,)

    def __post_init__(self) -> None:
        if not is_number(self.window_hours) or self.window_hours < 0:
            raise DynaclrError(
                f"temporal_window_hours={self.window_hours!r} needs a finite number of hours that is not negative"
            )
        object.__setattr__(self, "window_hours", float(exact(self.window_hours)))  # 0.7 is meant by float32(0.7) too
        if not is_number(self.global_fraction) or not 0 <= self.global_fraction <= 1:
            raise DynaclrError(f"temporal_global_fraction={self.global_fraction!r} needs a number in [0, 1]")

    def focal_count(self, primary: int) -> int:
        """Return how many of the `primary` anchors are focal: ``primary - floor(global_fraction * primary)``."""
        return primary - int(exact(self.global_fraction) * primary)

    def windows(self, values: NDArray[np.float64]) -> tuple[Ints, Ints]:
        """Return, for each of the ascending `values` as focal HPI, the run of values within the window around it.

        Parameters
        ----------
        values : ndarray of float64, shape (V,)
            Distinct HPI values, in hours.

        Returns
        -------
        low, high : ndarray of int64, shape (V,)
            The run is ``values[low:high]``: those with ``|value - focal| <= window``, rounding aside.
        """
        reach = self.window_hours + slack(np.abs(values) + self.window_hours)
        return np.searchsorted(values, values - reach), np.searchsorted(values, values + reach, side="right")


@dataclass(frozen=True)
class ExclusiveAxis:
    """No two anchors of a batch share a value of this column, where that is possible.

    Parameters
    ----------
    columns
        Column such as ``"lineage_id"``, or several whose combination counts.
    """

    columns: tuple[str, ...]
