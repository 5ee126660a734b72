"""Descriptions of the sampler's input: an anchor table, options, and the two together, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from dynaclr_strategies.codec import Plain

__all__ = [
    "LABEL_DTYPES",
    "PLAIN_TABLE",
    "Label",
    "LabelDtype",
    "LifeCase",
    "LifeStep",
    "SamplerCase",
    "SamplerOptions",
    "StratumDescription",
    "TableDescription",
    "as_label_dtype",
]

Label = str | float | tuple[str | float, ...]
"""What names a group or a stratum: the value of its column, or a tuple where there are several columns."""

LabelDtype = Literal["object", "string", "arrow", "category", "unused category"]
LABEL_DTYPES: tuple[LabelDtype, ...] = ("object", "string", "arrow", "category", "unused category")


@dataclass(frozen=True, kw_only=True)
class StratumDescription(Plain):
    """Anchors that share experiment and condition.

    Attributes
    ----------
    experiment, condition, organelle, moi
        Labels of all these anchors.
    hpi
        Hours post infection, one entry per observation time; values may repeat.
    cells
        Anchors per entry of ``hpi``.
    lineages
        Number of lineages that the anchors are dealt out to in turn; None gives each its own.
    """

    experiment: str
    condition: str
    hpi: tuple[float, ...]
    cells: int = 1
    lineages: int | None = None
    organelle: str = ""
    moi: float = 0.0


@dataclass(frozen=True, kw_only=True)
class TableDescription(Plain):
    """A table of valid anchors.

    Attributes
    ----------
    strata
        The anchors; strata may share labels.
    labels
        What holds the label columns (``"unused category"``: a category that no row has).
    order
        How the strata lie in the table: behind each other, dealt out in turn, or backwards.
    index
        The frame's index: 0..n-1, counting down from 1000, or the same everywhere.
    extra_columns
        Whether there are columns that the sampler does not need.
    shared_lineages
        Whether strata number their lineages alike, as track numbers are, so that one may come up in several.
    """

    strata: tuple[StratumDescription, ...]
    labels: LabelDtype = "object"
    order: Literal["blocks", "interleaved", "reversed"] = "blocks"
    index: Literal["range", "descending", "constant"] = "range"
    extra_columns: bool = False
    shared_lineages: bool = False

    @property
    def size(self) -> int:
        """Number of anchors."""
        return sum(len(stratum.hpi) * stratum.cells for stratum in self.strata)

    def labels_of(self, columns: tuple[str, ...]) -> list[Label]:
        """Return the distinct labels of one or several label columns, ascending."""
        found = {tuple(getattr(stratum, column) for column in columns) for stratum in self.strata}
        return [label[0] if len(columns) == 1 else label for label in sorted(found)]

    def frame(self) -> pd.DataFrame:
        """Return the table as the sampler takes it, a row per anchor."""
        rows = self._rows()
        columns = ["experiment", "condition", "organelle", "moi", "hours_post_infection", "lineage_id"]
        frame = pd.DataFrame(rows, columns=columns)
        for column in ("experiment", "condition", "organelle", "lineage_id"):
            frame[column] = as_label_dtype(frame[column], self.labels)
        if self.extra_columns:
            frame["t"] = np.arange(len(frame))
            frame["note"] = None
        if self.index == "descending":
            frame.index = pd.RangeIndex(1000, 1000 - len(frame), -1)
        elif self.index == "constant":
            frame.index = pd.Index([7] * len(frame))
        return frame

    def _rows(self) -> list[tuple[Any, ...]]:
        prefixes = ["" if self.shared_lineages else f"{number}_" for number in range(len(self.strata))]
        strata = [_stratum_rows(prefix, stratum) for prefix, stratum in zip(prefixes, self.strata, strict=True)]
        if self.order == "interleaved":
            deep = max(len(rows) for rows in strata)
            return [rows[i] for i in range(deep) for rows in strata if i < len(rows)]
        listed = [row for rows in strata for row in rows]
        return listed[::-1] if self.order == "reversed" else listed


PLAIN_TABLE = TableDescription(
    strata=tuple(
        StratumDescription(experiment=experiment, condition=condition, hpi=(0.0, 0.5, 1.0, 4.0), cells=cells)
        for experiment, cells in (("a", 3), ("b", 1))
        for condition in ("c", "d")
    )
)
"""Two experiments of different size with two conditions each: what options are for if no table is given."""


@dataclass(frozen=True, kw_only=True)
class SamplerOptions(Plain):
    """The sampler's parameters, as in the page on the cascade; mappings are pairs, columns are tuples."""

    batch_size: int = 128
    experiment_aware: bool = True
    leaky: float = 0.0
    experiment_weights: tuple[tuple[Label, float], ...] | None = None
    condition_balanced: bool = True
    condition_ratio: tuple[tuple[Label, float], ...] | None = None
    temporal_enrichment: bool = False
    temporal_window_hours: float = 2.0
    temporal_global_fraction: float = 0.3
    group_by: tuple[str, ...] = ("experiment",)
    stratify_by: tuple[str, ...] = ("condition",)
    exclusive_by: str | None = None
    num_replicas: int | None = None
    rank: int | None = None
    seed: int = 0
    drop_last: bool = True

    def kwargs(self) -> dict[str, Any]:
        """Return keyword arguments for ``FlexibleBatchSampler``."""
        given = {name: getattr(self, name) for name in self.__dataclass_fields__}
        for name in ("experiment_weights", "condition_ratio"):
            given[name] = None if given[name] is None else dict(given[name])
        for name in ("group_by", "stratify_by"):
            given[name] = given[name][0] if len(given[name]) == 1 else list(given[name])
        return given

    def columns(self) -> list[str]:
        """Return the columns of the table that the enabled axes need."""
        needed = [*self.group_by] if self.experiment_aware else []
        needed += self.stratify_by if self.condition_balanced else ()
        needed += ["hours_post_infection"] if self.temporal_enrichment else []
        needed += [self.exclusive_by] if self.exclusive_by else []
        return list(dict.fromkeys(needed))


@dataclass(frozen=True, kw_only=True)
class SamplerCase(Plain):
    """A table and options that are valid for it."""

    table: TableDescription
    options: SamplerOptions

    def frame(self) -> pd.DataFrame:
        """Return the anchor table."""
        return self.table.frame()


@dataclass(frozen=True, kw_only=True)
class LifeStep(Plain):
    """Something that happens to samplers: an action and two numbers, whose meaning the action decides.

    Attributes
    ----------
    action
        Take batches (``first``: how many), select an epoch (``first``), begin the iteration anew, keep a state, go on
        from a state (``first``: which) on other ranks (``second``: how many), or ask for batch ``first`` of epoch
        ``second``. Numbers are taken modulo what makes sense; a step that is impossible does nothing.
    first, second
        The numbers.
    """

    action: Literal["train", "set_epoch", "interrupt", "save", "resume", "look"]
    first: int = 0
    second: int = 0


@dataclass(frozen=True, kw_only=True)
class LifeCase(Plain):
    """A table, options, the number of ranks at first, and what happens to them."""

    table: TableDescription
    options: SamplerOptions
    ranks: int = 1
    steps: tuple[LifeStep, ...] = ()

    def frame(self) -> pd.DataFrame:
        """Return the anchor table."""
        return self.table.frame()


def _stratum_rows(prefix: str, stratum: StratumDescription) -> list[tuple[Any, ...]]:
    times = [hpi for hpi in stratum.hpi for _ in range(stratum.cells)]
    lineages = stratum.lineages or len(times)
    labels = (stratum.experiment, stratum.condition, stratum.organelle, stratum.moi)
    return [(*labels, hpi, f"{prefix}{i % lineages}") for i, hpi in enumerate(times)]


def as_label_dtype(column: pd.Series[Any], dtype: LabelDtype) -> pd.Series[Any]:
    """Return the same labels in another kind of column."""
    values = [str(value) for value in column]
    if dtype in {"category", "unused category"}:
        # Backwards, so that nobody mistakes the order of the categories for the order of the labels.
        categories = sorted(set(values), reverse=True) + (["~ nobody"] if dtype == "unused category" else [])
        return pd.Series(pd.Categorical(values, categories=categories), index=column.index, name=column.name)
    kind = {"object": object, "string": "string", "arrow": "string[pyarrow]"}[dtype]
    return pd.Series(values, index=column.index, name=column.name, dtype=kind)  # type: ignore[call-overload,no-any-return]
