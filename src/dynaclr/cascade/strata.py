"""The anchors, sorted once by experiment, condition and time: every pool of the cascade becomes a contiguous range."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype

from dynaclr.cascade.draws import starts_of
from dynaclr.errors import DynaclrError
from dynaclr.exact import slack

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Codes = NDArray[np.unsignedinteger[Any]]
    Ints = NDArray[np.int64]

HPI = "hours_post_infection"
_NUMBERS = frozenset({"floating", "integer", "mixed-integer-float", "integer-na", "empty"})  # in pandas' words


@dataclass(frozen=True)
class Labels:
    """Integer codes of the labels in one or more columns, numbered in the order of the labels.

    Parameters
    ----------
    names
        The distinct labels, ascending; tuples where there are several columns.
    codes : ndarray of unsigned integers, shape (N,)
        For each row the position of its label in `names`; a byte or two each, where that is enough.
    """

    names: tuple[Hashable, ...]
    codes: Codes

    @classmethod
    def one(cls, rows: int) -> Labels:
        """Give all rows the same label, ``None``: the axis is off."""
        return cls((None,), np.zeros(rows, dtype=np.uint8))

    @classmethod
    def of(cls, table: pd.DataFrame, columns: Sequence[str], parameter: str) -> Labels:
        """Encode `columns`; equal labels get equal codes whatever dtype holds them, unused categories get none.

        Raises
        ------
        DynaclrError
            If a row has no label; the sentence names `parameter`, the column and how many rows.
        """
        first, *others = (cls._of_column(table, column, parameter) for column in columns)
        if not others:
            return first
        combined = first.codes.astype(np.int64)
        names: list[tuple[Hashable, ...]] = [(name,) for name in first.names]
        for labels in others:
            combined = combined * len(labels.names) + labels.codes
            codes, present = pd.factorize(combined, sort=True)
            names = [(*names[key // len(labels.names)], labels.names[key % len(labels.names)]) for key in present]
            combined = codes.astype(np.int64, copy=False)
        return cls(tuple(names), combined.astype(_smallest(len(names))))

    @classmethod
    def _of_column(cls, table: pd.DataFrame, column: str, parameter: str) -> Labels:
        values = table[column].array
        if isinstance(values, pd.Categorical):
            codes, present = values.codes, values.categories
        else:
            try:
                codes, present = pd.factorize(table[column])
            except TypeError as problem:  # a list, say, or a dictionary
                raise DynaclrError(
                    f"{parameter}={column!r} has labels that cannot be compared, but needs texts or numbers ({problem})"
                ) from problem
        missing = int((codes < 0).sum())
        if missing:
            raise DynaclrError(
                f"{parameter}={column!r} has {missing} of {len(table)} rows without a label "
                f"(the first is row {int(np.argmax(codes < 0))}), but every anchor needs one"
            )
        used = np.flatnonzero(np.bincount(codes, minlength=len(present)))  # there may be categories of no row
        names = [name.item() if isinstance(name, np.generic) else name for name in present[used]]
        ascending = _ascending(names)
        rank = np.empty(len(present), dtype=_smallest(len(present)))
        rank[used[ascending]] = np.arange(len(names))
        return cls(tuple(names[place] for place in ascending), rank[codes])


def _smallest(count: int) -> np.dtype[np.unsignedinteger[Any]]:
    """Return the smallest type that holds numbers below `count`, since fetching memory takes longer than counting."""
    return np.min_scalar_type(count)


def _ascending(names: Sequence[Any]) -> list[int]:
    """Return the order of labels: their own where they have one, by type and text where types are mixed."""
    try:
        return sorted(range(len(names)), key=lambda place: names[place])
    except TypeError:
        return sorted(range(len(names)), key=lambda place: (type(names[place]).__name__, repr(names[place])))


def hours(table: pd.DataFrame, experiments: Labels) -> NDArray[np.float64]:
    """Return the anchors' HPI in hours, shape ``(N,)``.

    Raises
    ------
    DynaclrError
        If a value is missing, infinite or no number; the sentence says how many rows of which experiments.
    """
    # Timedeltas would become nanoseconds, texts their numbers and booleans 0 and 1: none of these are hours.
    held = table[HPI].cat.categories if isinstance(table[HPI].dtype, pd.CategoricalDtype) else table[HPI]
    if infer_dtype(held, skipna=True) not in _NUMBERS:
        raise DynaclrError(
            f"{HPI} has dtype {str(table[HPI].dtype)!r}, but temporal_enrichment needs hours as plain numbers"
        )
    hpi: NDArray[np.float64] = table[HPI].to_numpy(dtype=np.float64, na_value=np.nan)
    bad = ~np.isfinite(hpi)
    if bad.any():
        where = sorted({str(experiments.names[code]) for code in np.unique(experiments.codes[bad])})
        named = f" (experiments {', '.join(map(repr, where))})" if experiments.names != (None,) else ""
        raise DynaclrError(
            f"{HPI} is missing or not finite in {int(bad.sum())} of {len(hpi)} rows{named}, but temporal_enrichment "
            "needs a finite time for every anchor"
        )
    is_single = getattr(held.dtype, "numpy_dtype", held.dtype) == np.float32
    return _of_single_precision(hpi, experiments) if is_single else hpi


def _of_single_precision(hpi: NDArray[np.float64], experiments: Labels) -> NDArray[np.float64]:
    """Return the times that float32 hours stand for: whole seconds, if all of an experiment are within its rounding.

    Else two frames that are a window apart, say a third of an hour, would be a hair more than that apart. Where such a
    rounding is half a second or more (from 580 h on), any time would be near a whole one: they stay as they are.
    """
    rounding = 2 * np.finfo(np.float32).eps * np.abs(hpi)
    seconds = np.round(hpi * 3600) / 3600
    is_other = (np.abs(seconds - hpi) > rounding) | (rounding >= 0.5 / 3600)
    others = np.bincount(experiments.codes[is_other], minlength=len(experiments.names))
    return np.where(others[experiments.codes] == 0, seconds, hpi)


@dataclass(frozen=True)
class Strata:
    """Anchors in the order (group, condition, HPI, row), and where each group, stratum and time begins.

    A *cell* is what shares group, condition and HPI: a window in time is a run of cells, found by binary search among
    the cells, however many anchors they hold.

    Parameters
    ----------
    order : ndarray of int64, shape (M,)
        Rows of the caller's table; anchors of groups without weight are absent.
    groups, conditions
        Labels of the G groups and of the conditions.
    group_stratum : ndarray of int64, shape (G + 1,)
        First stratum of each group.
    condition : ndarray of int64, shape (S,)
        Condition code of each stratum.
    start : ndarray of int64, shape (S + 1,)
        First place of each stratum in `order`.
    values : ndarray of float64, shape (V,)
        The distinct HPI values, ascending (a single 0 without a time axis); the first of those that rounding tells
        apart.
    cell_key : ndarray of int64, shape (U,)
        ``stratum * V + value`` of each cell, ascending.
    cell_start : ndarray of int64, shape (U + 1,)
        First place of each cell in `order`.
    """

    order: Ints
    groups: tuple[Hashable, ...]
    conditions: tuple[Hashable, ...]
    group_stratum: Ints
    condition: Ints
    start: Ints
    values: NDArray[np.float64]
    cell_key: Ints
    cell_start: Ints

    @classmethod
    def of(cls, groups: Labels, kept: NDArray[np.bool_], conditions: Labels, hpi: NDArray[np.float64] | None) -> Strata:
        """Sort the table; `kept` says which groups take part, shape ``(len(groups.names),)``."""
        # Groups that are left out get the highest codes, so that they end up behind everything and can be cut off.
        new_code = np.where(kept, np.cumsum(kept) - 1, kept.sum())
        values, times = _distinct_times(hpi)
        highest = (int(kept.sum()) + 1) * len(conditions.names) * len(values)
        # NumPy's stable sort of 16-bit integers is a radix sort: linear in the rows.
        dtype = np.uint16 if highest <= np.iinfo(np.uint16).max else np.int64
        key: NDArray[Any] = new_code.astype(dtype)[groups.codes]
        key *= len(conditions.names)
        key += conditions.codes
        if times is not None:
            key *= len(values)
            key += times
        order = np.argsort(key, kind="stable")
        key = key[order]
        # A limit of the key's own type: any other would make a wider copy of the keys.
        rows = int(np.searchsorted(key, dtype(int(kept.sum()) * len(conditions.names) * len(values))))
        key = key[:rows]
        first = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
        return cls._from_cells(
            order[:rows],
            tuple(name for name, keep in zip(groups.names, kept, strict=True) if keep),
            conditions.names,
            values,
            key[first].astype(np.int64),
            np.append(first, rows),
        )

    @classmethod
    def _from_cells(
        cls,
        order: Ints,
        groups: tuple[Hashable, ...],
        conditions: tuple[Hashable, ...],
        values: NDArray[np.float64],
        key: Ints,
        cell_start: Ints,
    ) -> Strata:
        pair, time = key // len(values), key % len(values)
        begins = np.concatenate([[True], pair[1:] != pair[:-1]])
        first, stratum = np.flatnonzero(begins), np.cumsum(begins) - 1
        pair = pair[first]
        return cls(
            order=order,
            groups=groups,
            conditions=conditions,
            group_stratum=np.searchsorted(pair, np.arange(len(groups) + 1) * len(conditions)),
            condition=pair % len(conditions),
            start=np.append(cell_start[first], len(order)),
            values=values,
            cell_key=stratum * len(values) + time,
            cell_start=cell_start,
        )

    @property
    def group_start(self) -> Ints:
        """First place of each group in `order`, shape ``(G + 1,)``."""
        return self.start[self.group_stratum]

    @property
    def stratum_group(self) -> Ints:
        """Group of each stratum, shape ``(S,)``."""
        return np.repeat(np.arange(len(self.groups)), np.diff(self.group_stratum))

    def group_times(self) -> tuple[Ints, Ints]:
        """Return the distinct times of each group as codes into `values`, and where each group's begin (CSR)."""
        group = self.stratum_group[self.cell_key // len(self.values)]
        pairs = np.unique(group * len(self.values) + self.cell_key % len(self.values))
        counts = np.bincount(pairs // len(self.values), minlength=len(self.groups))
        return pairs % len(self.values), starts_of(counts)

    def places(self, stratum: Ints, time: Ints) -> Ints:
        """Return the first place in each `stratum` whose time code is at least `time` (broadcast)."""
        found: Ints = self.cell_start[np.searchsorted(self.cell_key, stratum * len(self.values) + time)]
        return found

    def times_at(self, place: Ints) -> NDArray[np.float64]:
        """Return the HPI of the anchors at these places of `order`."""
        found: NDArray[np.float64] = self.values[self.codes_at(place)]
        return found

    def codes_at(self, place: Ints) -> Ints:
        """Return the positions in `values` of the anchors at these places of `order`."""
        cell = np.searchsorted(self.cell_start, place, side="right") - 1
        codes: Ints = self.cell_key[cell] % len(self.values)
        return codes


def _distinct_times(hpi: NDArray[np.float64] | None) -> tuple[NDArray[np.float64], Codes | None]:
    """Return the distinct values, ascending, and each row's code; hashing keeps this linear in the rows.

    Values that differ by rounding only are one: two movies that begin at different hours show the same ones.
    """
    if hpi is None:
        return np.zeros(1), None
    codes, present = pd.factorize(hpi + 0.0)  # + 0.0 makes one value of -0.0 and 0.0
    ascending = np.argsort(present, kind="stable")
    values = present[ascending]
    later = np.diff(values, prepend=-np.inf) > slack(values)
    rank = np.empty(len(present), dtype=_smallest(len(present)))
    rank[ascending] = np.cumsum(later) - 1
    return values[later], rank[codes]
