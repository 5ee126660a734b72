"""What the laws of the dataset have in common: what is made and read, and how two readings are compared."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from dynaclr_strategies.cases import DatasetCase
from dynaclr_strategies.invariants.base import InvariantViolation
from dynaclr_strategies.invariants.evidence import PatchEvidence, TracksEvidence
from dynaclr_strategies.oracles.dataset import DatasetOracle, Observation
from dynaclr_strategies.writers import write_registry

__all__ = ["Batch", "MakeDataset", "Run", "check_same", "is_fit", "of_all", "started", "tracks_evidence"]

Batch = dict[str, Any]


class AnyIndex(Protocol):
    """What the laws ask of a dataset's index: tables that name the rows."""

    tracks: pd.DataFrame
    valid_anchors: pd.DataFrame


class AnyDataset(Protocol):
    """What the laws ask of a dataset."""

    index: AnyIndex
    epoch: int

    def __len__(self) -> int: ...
    def __getitems__(self, indices: list[int]) -> Batch: ...
    def positives(self, indices: list[int]) -> tuple[Sequence[int], Sequence[int]]: ...


MakeDataset = Callable[[Path, DatasetCase], AnyDataset]


def is_fit(case: DatasetCase) -> bool:
    """Tell whether anchors come with positives."""
    return case.fit


@dataclass(frozen=True)
class Run:
    """A dataset that was made from a case, and the one who knows what it must return.

    Attributes
    ----------
    make, case
        How it was made, and from what.
    yaml
        The registry on disk.
    """

    make: MakeDataset
    case: DatasetCase
    yaml: Path

    @cached_property
    def dataset(self) -> AnyDataset:
        """The dataset, in the case's epoch."""
        return self.made()

    def made(self, case: DatasetCase | None = None) -> AnyDataset:
        """Return another dataset, of another case on the same registry if need be."""
        dataset = self.make(self.yaml, case or self.case)
        dataset.epoch = (case or self.case).epoch
        return dataset

    @cached_property
    def oracle(self) -> DatasetOracle:
        """What there is to know from the description."""
        return DatasetOracle(self.case)

    @cached_property
    def rows(self) -> list[Observation]:
        """The observations of the index, row by row."""
        return _named(self.dataset.index.tracks)

    @cached_property
    def anchors(self) -> list[Observation]:
        """The observations that the indices of a batch count."""
        return _named(self.dataset.index.valid_anchors) if self.case.fit else self.rows

    @cached_property
    def batches(self) -> list[list[int]]:
        """The case's batch, and one of everything; none where there is nothing to read."""
        count = len(self.anchors)
        return [[number % count for number in self.case.batch], list(range(count))] if count else []

    def snapshot(self, indices: list[int], dataset: AnyDataset | None = None) -> Batch:
        """Return a batch as it is now: what is read later cannot change it, whoever owns the memory."""
        batch = (dataset or self.dataset).__getitems__(indices)
        return {
            key: np.asarray(value).copy() if hasattr(value, "shape") else copy.deepcopy(value)
            for key, value in batch.items()
        }

    def positives(self, indices: list[int], epoch: int, dataset: AnyDataset | None = None) -> list[int]:
        """Return the rows of the positives that a batch gets in an epoch."""
        dataset = dataset or self.dataset
        before, dataset.epoch = dataset.epoch, epoch
        rows, _ = dataset.positives(indices)
        dataset.epoch = before
        return [int(row) for row in rows]


def started(make: MakeDataset, case: DatasetCase, root: Path) -> Run:
    """Write the registry of a case below a folder and get ready to read it."""
    return Run(make, case, write_registry(case.index.registry, root))


def _named(table: pd.DataFrame) -> list[Observation]:
    columns = [table[name].tolist() for name in Observation._fields]
    return [Observation(str(e), str(f), int(track), int(t)) for e, f, track, t in zip(*columns, strict=True)]


def tracks_evidence(
    anchor: Observation, seen: Iterable[Observation], expected: Iterable[Observation]
) -> TracksEvidence:
    """Return the evidence that a law about lineages brings along; cells of other FOVs cannot be drawn."""
    here = [
        tuple((one.track_id, one.t) for one in cells if one[:2] == anchor[:2]) for cells in (list(seen), list(expected))
    ]
    return TracksEvidence(anchor.experiment, anchor.fov_name, (anchor.track_id, anchor.t), *here)


def of_all(run: Run, size: int) -> list[list[int]]:
    """Return batches of a few anchors each, all anchors together; neighbours in the index rarely meet."""
    order = list(range(len(run.anchors)))
    random.Random(0).shuffle(order)  # noqa: S311 - a fixed order
    return [order[first : first + size] for first in range(0, len(order), size)]


# --- two readings of one batch ----------------------------------------------------------------------------------------


def check_same(run: Run, indices: list[int], seen: Batch, expected: Batch, where: str, law: str) -> None:
    """Raise unless two readings of one batch hold the same."""
    if seen.keys() != expected.keys():
        raise InvariantViolation(where, f"keys {sorted(seen)}", f"{sorted(expected)}", law)
    for key in sorted(seen):
        if hasattr(seen[key], "shape"):
            _check_same_array(run, indices, key, np.asarray(seen[key]), np.asarray(expected[key]), where, law)
        elif seen[key] != expected[key]:
            raise InvariantViolation(where, f"{key} is {seen[key]!r}", f"{expected[key]!r}", law)


def _check_same_array(
    run: Run, indices: list[int], key: str, seen: npt.NDArray[Any], expected: npt.NDArray[Any], where: str, law: str
) -> None:
    if seen.shape != expected.shape:
        raise InvariantViolation(where, f"{key} of shape {seen.shape}", f"{expected.shape}", law)
    for number, index in enumerate(indices):
        if not np.array_equal(seen[number], expected[number]):
            raise InvariantViolation(
                f"{where}, anchor {index} ({run.anchors[index]})",
                f"{key} holds {_in_short(seen[number])}",
                f"{_in_short(expected[number])}",
                law,
                evidence=_evidence(run, index, seen[number], expected[number]),
            )


def _in_short(values: npt.NDArray[Any]) -> str:
    first = ", ".join(f"{value:.6g}" for value in values.ravel()[:3].tolist())
    return first if values.size <= 3 else f"{first}, ..."


def _evidence(run: Run, index: int, seen: npt.NDArray[Any], expected: npt.NDArray[Any]) -> PatchEvidence | None:
    channels = run.oracle.channels(run.anchors[index].experiment)
    return PatchEvidence(seen, expected, channels) if seen.ndim == 4 else None
