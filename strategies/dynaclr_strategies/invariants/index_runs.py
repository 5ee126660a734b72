"""What the laws of the index have in common: what is made, how its rows are named, and what pictures need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt
import pandas as pd

from dynaclr_strategies.cases import IndexCase
from dynaclr_strategies.invariants.base import InvariantViolation
from dynaclr_strategies.invariants.evidence import TracksEvidence
from dynaclr_strategies.oracles.index import Cell, IndexOracle
from dynaclr_strategies.writers import write_registry

__all__ = ["AnyIndex", "MakeIndex", "Run", "cells_of", "columns_of", "evidence", "listed", "positives_of", "started"]


class AnyIndex(Protocol):
    """What the laws ask of an index."""

    tracks: pd.DataFrame
    valid_anchors: pd.DataFrame
    experiment_groups: Mapping[str, npt.NDArray[Any]]
    condition_groups: Mapping[str, npt.NDArray[Any]]
    lineage_codes: npt.NDArray[Any]
    descent_order: npt.NDArray[Any]

    def candidate_ranges(self, rows: Any, taus: Any, /) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return where in ``descent_order`` the positives of rows begin and end."""
        ...


MakeIndex = Callable[[Path, IndexCase], AnyIndex]


@dataclass(frozen=True)
class Run:
    """An index that was made from a case, and the one who knows what it must hold.

    Attributes
    ----------
    index, case, yaml
        The index, what it was made from, and the registry on disk.
    """

    index: AnyIndex
    case: IndexCase
    yaml: Path

    @cached_property
    def oracle(self) -> IndexOracle:
        """What there is to know from the description."""
        return IndexOracle(self.case)

    @cached_property
    def cells(self) -> list[Cell]:
        """The cells of the rows of ``tracks``."""
        return cells_of(self.index.tracks)

    @cached_property
    def known(self) -> list[tuple[int, Cell]]:
        """The rows of cells that are there, by number: whether there are others is a law of its own."""
        inside = set(self.oracle.cells)
        return [(row, cell) for row, cell in enumerate(self.cells) if cell in inside]


def started(make: MakeIndex, case: IndexCase, root: Path) -> Run:
    """Write the registry of a case below a folder and index it."""
    yaml = write_registry(case.registry, root)
    return Run(make(yaml, case), case, yaml)


def cells_of(table: pd.DataFrame) -> list[Cell]:
    """Return the cell of each row of a table."""
    columns = [table[name].tolist() for name in Cell._fields]
    return [Cell(str(e), str(f), int(track), int(t)) for e, f, track, t in zip(*columns, strict=True)]


def columns_of(table: pd.DataFrame, names: Iterable[str], law: str) -> dict[str, list[Any]]:
    """Return columns of a table as lists; a violation of the law if it lacks one."""
    for name in names:
        if name not in table.columns:
            raise InvariantViolation("the table of rows", f"columns {list(table.columns)}", f"{name!r} among them", law)
    return {name: table[name].tolist() for name in names}


def positives_of(run: Run, row: int, tau: int) -> list[Cell]:
    """Return the cells that the index offers as positives of a row at a tau."""
    (start,), (stop,) = run.index.candidate_ranges([row], [tau])
    return [run.cells[int(other)] for other in run.index.descent_order[int(start) : int(stop)]]


def evidence(anchor: Cell, seen: Iterable[Cell], expected: Iterable[Cell], *, is_anchor: bool = True) -> TracksEvidence:
    """Return what the picture of a law about tracks shows: the cells in the FOV of one of them."""
    here = [
        tuple((cell.track_id, cell.t) for cell in cells if cell[:2] == anchor[:2])
        for cells in (list(seen), list(expected))
    ]
    at = (anchor.track_id, anchor.t) if is_anchor else None
    return TracksEvidence(anchor.experiment, anchor.fov_name, at, *here)


def listed(cells: Iterable[Cell]) -> str:
    """Return cells of one FOV in words."""
    return ", ".join(f"track {cell.track_id} at t={cell.t}" for cell in sorted(cells)) or "nobody"
