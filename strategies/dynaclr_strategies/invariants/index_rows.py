# ruff: noqa: D401 - the docstring of a check states a law, it does not command
"""Which rows an index has, and what they say."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dynaclr_strategies.cases import IndexCase
from dynaclr_strategies.invariants.base import InvariantViolation, invariant
from dynaclr_strategies.invariants.index_runs import MakeIndex, Run, columns_of, evidence, started
from dynaclr_strategies.oracles.index import Cell

__all__ = [
    "check_centroids_kept",
    "check_csv_columns_kept",
    "check_global_track_id",
    "check_groups_partition_anchors",
    "check_hours_post_infection",
    "check_one_row_per_observation",
    "check_rows_tell_their_experiment",
    "check_selected_fovs",
]


@invariant("one-row-per-observation", subject="index")
def check_one_row_per_observation(make: MakeIndex, case: IndexCase, root: Path) -> None:
    """Every observation inside an image has exactly one row, and there are no other rows."""
    law = "one-row-per-observation"
    run = started(make, case, root)
    counts, expected = Counter(run.cells), run.oracle.cells
    wrong = [cell for cell in dict.fromkeys([*expected, *run.cells]) if counts[cell] != (cell in set(expected))]
    for cell in wrong:
        needed = "one row" if cell in set(expected) else "none, since no such cell is inside an image"
        picture = evidence(cell, run.cells, expected, is_anchor=False)
        raise InvariantViolation(str(cell), f"{counts[cell]} rows", needed, law, evidence=picture)


@invariant(
    "selected-fovs",
    subject="index",
    when="include_wells or exclude_fovs",
    applies=lambda case: case.include_wells is not None or case.exclude_fovs is not None,
)
def check_selected_fovs(make: MakeIndex, case: IndexCase, root: Path) -> None:
    """Rows come from the FOVs that ``include_wells`` names and ``exclude_fovs`` does not, experiment by experiment."""
    run = started(make, case, root)
    seen, expected = ({cell[:2]: None for cell in cells} for cells in (run.cells, run.oracle.cells))
    for experiment, fov_name in [*seen, *expected]:
        place = (experiment, fov_name)
        if (place in seen) != (place in expected):
            chosen = f"include_wells={case.include_wells!r}, exclude_fovs={case.exclude_fovs!r}"
            raise InvariantViolation(
                f"FOV {experiment}:{fov_name}",
                "rows of it" if place in seen else "no row of it",
                f"{'none' if place in seen else 'some'} with {chosen}",
                "selected-fovs",
            )


# --- what a row says --------------------------------------------------------------------------------------------------


def _check_columns(
    run: Run, names: Sequence[str], law: str, expected: Callable[[Cell], dict[str, Any]], same: Callable[..., bool]
) -> None:
    """Raise unless every row has in these columns what is expected of its cell."""
    columns = columns_of(run.index.tracks, names, law)
    for row, cell in run.known:
        wanted = expected(cell)
        for name in names:
            seen = columns[name][row]
            if not same(seen, wanted[name]):
                raise InvariantViolation(
                    f"row {row} ({cell})", f"{name} is {seen!r}", f"{wanted[name]!r}", law,
                    evidence=evidence(cell, [], []),
                )  # fmt: skip


def _equal(seen: Any, expected: Any) -> bool:
    return bool(seen == expected)


@invariant("rows-tell-their-experiment", subject="index")
def check_rows_tell_their_experiment(make: MakeIndex, case: IndexCase, root: Path) -> None:
    """A row has its FOV's well, the condition that its own experiment gives that well, and its experiment's fields."""
    run = started(make, case, root)
    names = ("well_name", "condition", "fluorescence_channel", "organelle", "date", "moi")
    _check_columns(run, names, "rows-tell-their-experiment", run.oracle.labels, _equal)


@invariant("centroids-kept", subject="index")
def check_centroids_kept(make: MakeIndex, case: IndexCase, root: Path) -> None:
    """A row has the centroid of its own cell and frame, in pixels, to the last digit."""

    def centroid(cell: Cell) -> dict[str, Any]:
        return dict(zip("yx", run.oracle.track(cell).position(cell.t), strict=True))

    run = started(make, case, root)
    _check_columns(run, ("y", "x"), "centroids-kept", centroid, _equal)


@invariant("hours-post-infection", subject="index")
def check_hours_post_infection(make: MakeIndex, case: IndexCase, root: Path) -> None:
    """The HPI of a row is its experiment's start plus its frame times the experiment's own interval."""

    def same(seen: Any, expected: float) -> bool:
        # Two roundings of numbers of this size: a hundred times less than the smallest interval could explain.
        return math.isclose(seen, expected, rel_tol=1e-12, abs_tol=1e-9)

    run = started(make, case, root)
    name = "hours_post_infection"
    _check_columns(run, (name,), "hours-post-infection", lambda cell: {name: float(run.oracle.hpi(cell))}, same)


@invariant("global-track-id", subject="index")
def check_global_track_id(make: MakeIndex, case: IndexCase, root: Path) -> None:
    """The global id of a track is ``<experiment>_<fov>_<track_id>``, so that no two tracks share one."""
    run = started(make, case, root)
    name = "global_track_id"
    _check_columns(run, (name,), "global-track-id", lambda cell: {name: run.oracle.global_track_id(cell)}, _equal)


@invariant("csv-columns-kept", subject="index")
def check_csv_columns_kept(make: MakeIndex, case: IndexCase, root: Path) -> None:
    """What else a tracking table says about an observation stands in the observation's row."""
    run = started(make, case, root)
    told = {
        (e.name, name): _rows(run, e.name, name) for e in case.registry.experiments for name in ("z", "id", "parent_id")
    }
    for name in ("z", "id", "parent_id"):
        if not any(told[experiment, name] for experiment in run.oracle.experiments):
            continue

        def expected(cell: Cell, name: str = name) -> dict[str, float]:
            return {name: told[cell.experiment, name].get(cell, math.nan)}

        _check_columns(run, (name,), "csv-columns-kept", expected, _equal_or_nan)


def _rows(run: Run, experiment: str, column: str) -> dict[Cell, float]:
    """Return a column of an experiment's tracking tables by cell, as the files have it."""
    found = {}
    tracks = run.yaml.parent / "tracks" / run.case.registry.store_of(experiment)
    for name, fov_name in run.oracle.fovs:
        path = tracks / fov_name / "tracks.csv"
        if name != experiment or not path.is_file():
            continue
        with path.open(encoding="utf-8", newline="") as file:
            for line in csv.DictReader(file):
                if column in line:
                    cell = Cell(experiment, fov_name, int(line["track_id"]), int(line["t"]))
                    found[cell] = float(line[column] or math.nan)
    return found


def _equal_or_nan(seen: float, expected: float) -> bool:
    return seen == expected or (math.isnan(seen) and math.isnan(expected))


# --- groups -----------------------------------------------------------------------------------------------------------


@invariant("groups-partition-anchors", subject="index")
def check_groups_partition_anchors(make: MakeIndex, case: IndexCase, root: Path) -> None:
    """The groups hold the positions of each experiment's, and each condition's, anchors, each anchor once."""
    law = "groups-partition-anchors"
    run = started(make, case, root)
    for column in ("experiment", "condition"):
        groups = getattr(run.index, f"{column}_groups")
        labels = columns_of(run.index.valid_anchors, [column], law)[column]
        for label in dict.fromkeys([*labels, *columns_of(run.index.tracks, [column], law)[column]]):
            if label not in groups:
                raise InvariantViolation(f"{column}_groups", f"groups {sorted(groups)}", f"one of {label!r} too", law)
        for label, rows in groups.items():
            wanted = [row for row, own in enumerate(labels) if own == label]
            if np.asarray(rows).tolist() != wanted:
                seen = f"anchors {np.asarray(rows).tolist()}"
                raise InvariantViolation(f"{column}_groups[{label!r}]", seen, f"{wanted}", law)
