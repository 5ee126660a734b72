# ruff: noqa: D401 - the docstring of a check states a law, it does not command
"""Two indexes whose difference must not matter: files in another order, an experiment alone, one store twice."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from dynaclr_strategies.cases import IndexCase
from dynaclr_strategies.descriptions import RegistryDescription
from dynaclr_strategies.invariants.base import InvariantViolation, invariant
from dynaclr_strategies.invariants.index_runs import (
    MakeIndex,
    Run,
    cells_of,
    columns_of,
    evidence,
    listed,
    positives_of,
    started,
)
from dynaclr_strategies.oracles.index import Cell, places_of

__all__ = ["check_experiments_do_not_mix", "check_one_store_two_names", "check_row_order_irrelevant"]

COLUMNS = (
    "condition",
    "well_name",
    "y",
    "x",
    "global_track_id",
    "lineage_id",
    "hours_post_infection",
    "y_clamp",
    "x_clamp",
)
Rows = dict[Cell, tuple[Any, ...]]


def _rows(run: Run, experiment: str, law: str) -> Rows:
    """Return what the rows of one experiment say, by cell."""
    columns = columns_of(run.index.tracks, COLUMNS, law)
    values = zip(*columns.values(), strict=True)
    return {cell: row for cell, row in zip(run.cells, values, strict=True) if cell.experiment == experiment}


def _anchors(run: Run, experiment: str) -> list[Cell]:
    return [cell for cell in cells_of(run.index.valid_anchors) if cell.experiment == experiment]


def _check_same(one: Run, other: Run, experiment: str, whose: str, law: str) -> None:
    """Raise unless one experiment has the same rows, anchors and positives in two indexes."""
    seen, expected = _rows(one, experiment, law), _rows(other, experiment, law)
    for cell in dict.fromkeys([*expected, *seen]):
        if seen.get(cell) != expected.get(cell):
            shown = [
                "no row" if rows.get(cell) is None else str(dict(zip(COLUMNS, rows[cell], strict=True)))
                for rows in (seen, expected)
            ]
            picture = evidence(cell, seen, expected, is_anchor=False)
            raise InvariantViolation(f"{cell} {whose}", shown[0], shown[1], law, evidence=picture)
    anchors = [_anchors(run, experiment) for run in (one, other)]
    if anchors[0] != anchors[1]:
        first = next(a or b for a, b in itertools.zip_longest(*anchors) if a != b)
        picture = evidence(first, *anchors, is_anchor=False)
        shown = [", ".join(map(str, cells)) or "none" for cells in anchors]
        where = f"the anchors of {experiment!r} {whose}"
        raise InvariantViolation(where, shown[0], shown[1], law, evidence=picture)
    for cell in anchors[0]:
        for tau in one.oracle.taus(experiment):
            found = [sorted(positives_of(run, run.cells.index(cell), tau)) for run in (one, other)]
            if found[0] != found[1]:
                where = f"the positives of {cell} at tau {tau} {whose}"
                raise InvariantViolation(
                    where, listed(found[0]), listed(found[1]), law, evidence=evidence(cell, *found)
                )


# --- the order of rows ------------------------------------------------------------------------------------------------

Lines = list[str]


def _reversed(lines: Lines) -> Lines:
    return lines[::-1]


def _by_frame(lines: Lines) -> Lines:
    """Sort by frame, as trackers write that go through a movie frame by frame."""
    return sorted(lines, key=lambda line: int(line.split(",")[1]))


def _rotated(lines: Lines) -> Lines:
    return lines[1:] + lines[:1]


@invariant("row-order-irrelevant", subject="index")
def check_row_order_irrelevant(make: MakeIndex, case: IndexCase, root: Path) -> None:
    """The order of the rows in the tracking tables changes neither rows nor anchors nor positives, nor their order."""
    law = "row-order-irrelevant"
    run = started(make, case, root)
    for shuffle in (_reversed, _by_frame, _rotated):
        for path in sorted((root / "tracks").rglob("*.csv")):
            _rewrite(path, shuffle)
        other = Run(make(run.yaml, case), case, run.yaml)
        whose = f"with rows {shuffle.__name__.strip('_').replace('_', ' ')}"
        for experiment in run.oracle.experiments:
            _check_same(other, run, experiment, whose, law)
        if other.cells != run.cells:
            first = next(i for i, (a, b) in enumerate(zip(other.cells, run.cells, strict=True)) if a != b)
            raise InvariantViolation(f"row {first} {whose}", str(other.cells[first]), str(run.cells[first]), law)


def _rewrite(path: Path, change: Callable[[Lines], Lines]) -> None:
    head, *lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([head, *change(lines)]) + "\n", encoding="utf-8")


# --- experiments ------------------------------------------------------------------------------------------------------


def _alone(case: IndexCase) -> Iterator[tuple[str, IndexCase]]:
    """Yield each experiment with the case that has it alone, without the entries that mean nothing in it."""
    for experiment in case.registry.experiments:
        places = set().union(*(places_of(experiment.name, name) for name, _ in experiment.fovs()))
        include, exclude = (
            None if entries is None else tuple(entry for entry in entries if entry in places) or None
            for entries in (case.include_wells, case.exclude_fovs)
        )
        registry = RegistryDescription(experiments=(experiment,))
        yield experiment.name, replace(case, registry=registry, include_wells=include, exclude_fovs=exclude)


@invariant(
    "experiments-do-not-mix",
    subject="index",
    when="two experiments or more, and no selection, which may name what one of them alone does not have",
    applies=lambda case: len(case.registry.experiments) > 1 and case.include_wells is case.exclude_fovs is None,
)
def check_experiments_do_not_mix(make: MakeIndex, case: IndexCase, root: Path) -> None:
    """An experiment has the same rows, anchors and positives alone as beside others with the same FOV names."""
    together = started(make, case, root / "together")
    for number, (experiment, only) in enumerate(_alone(case)):
        alone = started(make, only, root / f"alone {number}")
        _check_same(together, alone, experiment, "beside other experiments", "experiments-do-not-mix")


def _sharing(case: IndexCase) -> list[tuple[str, str]]:
    """Return the pairs of experiments that have one store."""
    pairs = itertools.combinations([experiment.name for experiment in case.registry.experiments], 2)
    return [(one, two) for one, two in pairs if case.registry.store_of(one) == case.registry.store_of(two)]


@invariant(
    "one-store-two-names",
    subject="index",
    when="two experiments that have one store",
    applies=lambda case: bool(_sharing(case)),
)
def check_one_store_two_names(make: MakeIndex, case: IndexCase, root: Path) -> None:
    """One store under two names gives two experiments: the same cells in the FOVs of both, and no track in common."""
    law = "one-store-two-names"
    run = started(make, case, root)
    ids = columns_of(run.index.tracks, ["global_track_id"], law)["global_track_id"]
    for one, two in _sharing(case):
        common = {name for e, name in run.oracle.fovs if e == one} & {name for e, name in run.oracle.fovs if e == two}
        cells = [
            {cell[1:]: row for row, cell in enumerate(run.cells) if cell.experiment == name and cell.fov_name in common}
            for name in (one, two)
        ]
        for place in dict.fromkeys([*cells[0], *cells[1]]):
            if (place in cells[0]) != (place in cells[1]):
                owner, other = (one, two) if place in cells[0] else (two, one)
                cell = Cell(owner, *place)
                seen = f"a row in {owner!r} and none in {other!r}"
                raise InvariantViolation(str(cell), seen, "a row in both, which have one store", law)
            if ids[cells[0][place]] == ids[cells[1][place]]:
                seen = f"global_track_id {ids[cells[0][place]]!r} in {two!r} too"
                raise InvariantViolation(str(Cell(one, *place)), seen, "another id in each experiment", law)
