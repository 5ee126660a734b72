"""Faults of tracking tables: the paragraph on tracks of the page on the pipeline."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dynaclr_strategies.cases import IndexCase
from dynaclr_strategies.descriptions import FovDescription
from dynaclr_strategies.fault_arms.registry import entries_of, experiment_numbers, write_entries
from dynaclr_strategies.fault_arms.stores import FovPlace, labelled_fovs, users_of
from dynaclr_strategies.fault_descriptions import Expected, Given, fault

__all__ = ["tracked_fovs"]

Row = dict[str, str]
RowPlace = tuple[FovPlace, int]


def _fov(case: IndexCase, place: FovPlace) -> FovDescription:
    return case.registry.experiments[place[0]].fov(place[1])


def tracked_fovs(case: IndexCase) -> Iterator[FovPlace]:
    """Yield the labelled FOVs that have a tracking table with rows."""
    for place in labelled_fovs(case.registry):
        fov = _fov(case, place)
        if fov.has_csv and fov.tracks:
            yield place


def _tracked_rows(case: IndexCase) -> Iterator[RowPlace]:
    for place in tracked_fovs(case):
        for row in range(sum(len(track.frames) for track in _fov(case, place).tracks)):
            yield place, row


class _Table:
    """A tracking table as text, to be changed cell by cell; rows are named as editors count, the header being 1."""

    def __init__(self, given: Given, case: IndexCase, place: FovPlace) -> None:
        store = case.registry.store_of(case.registry.experiments[place[0]].name)
        self.path = given.folder / "tracks" / store / place[1] / "tracks.csv"
        with self.path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            self.rows: list[Row] = list(reader)
            self.columns = list(reader.fieldnames or ())
        fov = _fov(case, place)
        self.frames = fov.frames
        self.next_id = 1 + max(track.track_id for track in fov.tracks)
        # What errors have to call it.
        self.name = f"{place[1]}/tracks.csv"

    @property
    def parents(self) -> str:
        """The column that tells the lineage."""
        return "parent_track_id" if "parent_track_id" in self.columns else "parent_id"

    def add(self, track_id: int, t: int, *, parent: int | None = None) -> int:
        """Add a row and return its number; `parent` is a track id, or an `id` where rows are linked."""
        row = dict.fromkeys(self.columns, "0") | {"track_id": str(track_id), "t": str(t), "y": "1.0", "x": "1.0"}
        for column in {"parent_track_id", "parent_id"} & set(self.columns):
            row[column] = "-1" if column != self.parents or parent is None else str(parent)
        if "id" in row:
            row["id"] = str(1_000_000 + len(self.rows))
        self.rows.append(row)
        return len(self.rows) + 1

    def link(self, track_id: int, row: int) -> int:
        """Return what a row has to name as its parent to mean a track, one row of which is given by its number."""
        return track_id if self.parents == "parent_track_id" else int(self.rows[row - 2]["id"])

    def save(self) -> None:
        """Write the table."""
        with self.path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, self.columns, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)


def _cell_fault(name: str, promise: str, values: Callable[[int], dict[str, Any]], *texts: str) -> None:
    """List a fault of one frame number; `values` are functions of the movie's length, by name."""

    @fault(name, "index", promise, needs="experiments", places=_tracked_rows, values=tuple(values(1)))
    def _(given: Given, case: IndexCase, place: RowPlace, value: str) -> Expected:
        table = _Table(given, case, place[0])
        written = values(table.frames)[value]
        table.rows[place[1]]["t"] = written
        table.save()
        shown = repr(written) if value == "text" else written
        return [(table.name, "t needs", *([shown] if shown else []), f"row {place[1] + 2}", *texts)]


_cell_fault("t-no-number", "non-numeric or fractional `t`", lambda _: {"text": "first", "empty": ""})
_cell_fault("t-fractional", "non-numeric or fractional `t`", lambda _: {"half": "0.5", "infinite": "inf"}, "whole")
_cell_fault("t-outside-movie", "`t` outside the movie", lambda n: {"after": str(n), "before": "-1"}, "frames")


@fault(
    "column-of-tracks-missing",
    "index",
    "CSV columns `track_id, t, y, x` (required) [...] Errors name the file and the rows: missing columns",
    needs="experiments",
    places=tracked_fovs,
    values=("track_id", "t", "y", "x"),
)
def _(given: Given, case: IndexCase, place: FovPlace, column: str) -> Expected:
    table = _Table(given, case, place)
    table.columns.remove(column)
    table.save()
    return [(table.name, repr([column]), repr(table.columns))]


@fault("two-csvs", "index", "Exactly one CSV per FOV", needs="experiments", places=tracked_fovs)
def _(given: Given, case: IndexCase, place: FovPlace, _: None) -> Expected:
    table = _Table(given, case, place)
    shutil.copy(table.path, table.path.with_name("again.csv"))
    return [(place[1], "2", "tracks.csv", "again.csv")]


@fault("two-rows-in-one-frame", "index", "two rows for one track and frame", needs="experiments", places=_tracked_rows)
def _(given: Given, case: IndexCase, place: RowPlace, _: None) -> Expected:
    table = _Table(given, case, place[0])
    first = table.rows[place[1]]
    second = table.add(int(first["track_id"]), int(first["t"]))
    for column in {"parent_track_id"} & set(table.columns):
        table.rows[-1][column] = first[column]
    table.save()
    return [(table.name, f"track {first['track_id']}", f"frame {first['t']}", f"rows {place[1] + 2}, {second}")]


@fault("parents-in-a-circle", "index", "a cycle of parents", needs="experiments", places=tracked_fovs, values=(2, 3))
def _(given: Given, case: IndexCase, place: FovPlace, length: int) -> Expected:
    _be_strict(given, case, place[0])
    table = _Table(given, case, place)
    ids = list(range(table.next_id, table.next_id + length))
    rows = [table.add(track_id, 0) for track_id in ids]
    for i, row in enumerate(rows):
        table.rows[row - 2][table.parents] = str(table.link(ids[i - 1], rows[i - 1]))
    table.save()
    return [(table.name, table.parents, ", ".join(map(str, ids)), f"rows {', '.join(map(str, rows))}")]


@fault(
    "parent-not-before-child",
    "index",
    "a parent that does not start before its child [...] the default is the error",
    needs="experiments",
    places=tracked_fovs,
    values=("in the same frame", "later"),
)
def _(given: Given, case: IndexCase, place: FovPlace, value: str) -> Expected:
    _be_strict(given, case, place[0])
    table = _Table(given, case, place)
    mother, start = table.next_id, table.frames - 1 if value == "later" else 0
    row = table.add(mother + 1, 0, parent=table.link(mother, table.add(mother, start)))
    table.save()
    told = (f"track {mother + 1}", f"track {mother},", f"t={start}", "t=0", f"row {row}", "impossible_parents: founder")
    return [(table.name, table.parents, *told)]


@fault(
    "parent-zero-cannot-be-real",
    "index",
    "Where a track 0 exists and the parent 0 cannot be real [...], the error says so and names the config field "
    "`founder_parent` that settles it",
    needs="parents by track",
    places=tracked_fovs,
)
def _(given: Given, case: IndexCase, place: FovPlace, _: None) -> Expected:
    _be_strict(given, case, place[0])
    table = _Table(given, case, place)
    if all(row["track_id"] != "0" for row in table.rows):
        table.add(0, table.frames - 1)
    start = min(int(row["t"]) for row in table.rows if row["track_id"] == "0")
    row = table.add(table.next_id, 0, parent=0)
    table.save()
    return [(table.name, "parent_track_id 0", "track 0,", f"t={start}", str(row), "founder_parent: 0")]


def _be_strict(given: Given, case: IndexCase, number: int) -> None:
    """Let the experiment's registry entry say what is the default: parents are parents, impossible ones errors."""
    entries = entries_of(given)
    names = {one.name for one in users_of(case.registry, number)}
    for entry in entries:
        if entry["name"] in names:
            for field in ("impossible_parents", "founder_parent"):
                entry.pop(field, None)
    write_entries(given, entries)


@fault(
    "experiment-without-rows",
    "index",
    "an experiment left with no rows at all is an error",
    needs="experiments",
    places=experiment_numbers,
    values=("no CSV", "no row", "nothing inside the image"),
)
def _(given: Given, case: IndexCase, number: int, value: str) -> Expected:
    experiment = case.registry.experiments[number]
    root = given.folder / "tracks" / case.registry.store_of(experiment.name)
    for path in sorted(root.rglob("tracks.csv")):
        _empty(path, value)
    # Where several experiments have the store, the first of them is named.
    return [(repr(users_of(case.registry, number)[0].name), "at least one", root.name)]


def _empty(path: Path, how: str) -> None:
    if how == "no CSV":
        path.unlink()
        return
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    kept = (
        [] if how == "no row" else [[*row[: header.index("y")], "-1.0", *row[header.index("y") + 1 :]] for row in rows]
    )
    path.write_text("\n".join(",".join(row) for row in [header, *kept]) + "\n", encoding="utf-8")
