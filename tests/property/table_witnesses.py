# ruff: noqa: D102, D401 - overrides and makers do the wrong thing on purpose, as their docstrings say
"""Broken registries and indexes: ``dynaclr``'s own with a single defect, and a case on which it shows."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml as pyyaml

from dynaclr.errors import RegistryError
from dynaclr.experiment import ExperimentRegistry
from dynaclr.index import MultiExperimentIndex
from dynaclr_strategies.cases import IndexCase, RegistryCase
from dynaclr_strategies.codec import Plain
from dynaclr_strategies.descriptions import ExperimentDescription, RegistryDescription, TrackDescription
from dynaclr_strategies.invariants.index_runs import cells_of
from dynaclr_strategies.oracles.index import Cell, IndexOracle
from dynaclr_strategies.ready_made import two_experiments
from dynaclr_strategies.subjects.tables import make_index, make_registry

Make = Callable[[Path, Any], Any]


@dataclass(frozen=True)
class Witness:
    """A broken maker and a case on which its law has to notice."""

    law: str
    name: str
    make: Make
    case: Plain


REGISTRY_WITNESSES: list[Witness] = []
INDEX_WITNESSES: list[Witness] = []

# --- registries -------------------------------------------------------------------------------------------------------


def _small() -> RegistryDescription:
    """Return two experiments with a well that nobody names, sources not in the order of the store, odd labels."""
    small = two_experiments(
        tracks=3, frames=2, size=(4, 5), fovs=2, wells=("A/1", "B/1", "B/2"), interval_minutes=(30.0, 6.0)
    )
    labelled = (("no", ("B/2",)), ("ZIKV", ("A/1",)))
    alpha, beta = (replace(e, condition_wells=labelled, chunks=(9, 9, 9, 9, 9), moi=5.0) for e in small.experiments)
    beta = replace(beta, source_channel=("StressGranules", "Phase3D"), date="2024_07", start_hpi=24.0)
    # In this order neither names nor wells are sorted.
    return RegistryDescription(experiments=(beta, replace(alpha, wells=alpha.wells[::-1])))


SMALL = RegistryCase(registry=_small())


def registry_witness(law: str, case: RegistryCase = SMALL) -> Callable[[Any], Any]:
    """List a broken class, or a broken maker, as the witness of a law."""

    def enlist(broken: Any) -> Any:
        make = (lambda path, _: broken.from_yaml(path)) if isinstance(broken, type) else broken
        REGISTRY_WITNESSES.append(Witness(law, broken.__name__, make, case))
        return broken

    return enlist


@registry_witness("registry-accepted")
@registry_witness("registry-yaml-round-trip")
class SortedByName(ExperimentRegistry):
    """Forgets the order of the file."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(super().names))


@registry_witness("registry-accepted")
def label_no_is_false(path: Path, case: RegistryCase) -> ExperimentRegistry:
    """Takes the label "no" for a truth value and refuses it."""
    if any(label == "no" for e in case.registry.experiments for label, _ in e.condition_wells):
        raise ValueError("condition_wells has the label False")
    return make_registry(path, case)


@registry_witness("positions-of-labelled-wells")
class SortedPlate(ExperimentRegistry):
    """Lists FOVs by name, not in the order of the plate."""

    def positions(self, name: str) -> Mapping[str, Any]:
        return dict(sorted(super().positions(name).items()))


@registry_witness("positions-of-labelled-wells")
class FirstFovs(ExperimentRegistry):
    """Takes the first FOV of each well only."""

    def positions(self, name: str) -> Mapping[str, Any]:
        return {fov: position for fov, position in super().positions(name).items() if fov.endswith("/0")}


@registry_witness("channels-by-position")
class ChannelsOfTheStore(ExperimentRegistry):
    """Numbers the source channels in the order of the store."""

    @property
    def channel_maps(self) -> dict[str, dict[int, int]]:
        return {name: dict(enumerate(sorted(places.values()))) for name, places in super().channel_maps.items()}


@registry_witness("channels-by-position")
class ChannelsOfTheFirst(ExperimentRegistry):
    """Takes the first experiment's places for those of all."""

    @property
    def channel_maps(self) -> dict[str, dict[int, int]]:
        return dict.fromkeys(self.names, super().channel_maps[self.names[0]])


@registry_witness("source-channel-count")
class AllChannels(ExperimentRegistry):
    """Counts the channels of the store."""

    @property
    def num_source_channels(self) -> int:
        return len(self.experiments[0].channel_names)


@registry_witness("registry-subset")
class InTheOrderAsked(ExperimentRegistry):
    """Orders a subset as it was asked for."""

    def subset(self, names: Iterable[str]) -> ExperimentRegistry:
        return ExperimentRegistry([self.get_experiment(name) for name in names])


@registry_witness("registry-subset")
class PositionsOfTheFirst(ExperimentRegistry):
    """Loses FOVs in a subset."""

    def subset(self, names: Iterable[str]) -> ExperimentRegistry:
        part = super().subset(names)
        part.__class__ = FirstFovs
        return part


@registry_witness("registry-yaml-round-trip")
class AbsolutePaths(ExperimentRegistry):
    """Writes where the stores are now, so that nothing can be moved."""

    def to_yaml(self, path: Any) -> None:
        super().to_yaml(path)
        content = pyyaml.safe_load(Path(path).read_text(encoding="utf-8"))
        for entry in content["experiments"]:
            entry |= {key: str(Path(path).parent / entry[key]) for key in ("data_path", "tracks_path")}
        Path(path).write_text(pyyaml.safe_dump(content), encoding="utf-8")


@registry_witness("registry-yaml-round-trip")
class NoMoi(ExperimentRegistry):
    """Forgets a field."""

    def to_yaml(self, path: Any) -> None:
        super().to_yaml(path)
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        Path(path).write_text("\n".join(line for line in lines if "moi:" not in line), encoding="utf-8")


@registry_witness("tau-frames-exact")
class FloatingPoint(ExperimentRegistry):
    """Divides floating point numbers: 0.3 h at 6 min is no whole number of frames."""

    def tau_range_frames(self, name: str, tau_range_hours: Sequence[float]) -> tuple[int, int]:
        interval = self.get_experiment(name).interval_minutes
        low, high = (hours / (interval / 60) for hours in tau_range_hours)
        if high == 0:
            return 0, 0
        first, last = max(1, int(np.ceil(low))), int(np.floor(high))
        if first > last:
            raise ValueError(f"{name!r}: no frame at {interval} minutes")
        return first, last


@registry_witness("tau-frames-exact")
@registry_witness("tau-zero-only-when-asked")
class Rounding(ExperimentRegistry):
    """Lets Python's `round` decide: half a frame is none."""

    def tau_range_frames(self, name: str, tau_range_hours: Sequence[float]) -> tuple[int, int]:
        low, high = (round(hours * 60 / self.get_experiment(name).interval_minutes) for hours in tau_range_hours)
        return low, high


@registry_witness("tau-zero-only-when-asked")
class AtLeastOne(ExperimentRegistry):
    """Has no tau 0 at all."""

    def tau_range_frames(self, name: str, tau_range_hours: Sequence[float]) -> tuple[int, int]:
        low, high = super().tau_range_frames(name, tau_range_hours)
        return max(1, low), max(1, high)


# --- registries that overlook mistakes --------------------------------------------------------------------------------


def _repair(path: Path, is_trusted: Callable[[list[str], list[str]], bool]) -> None:
    """Give the positions that are trusted the channels of their experiment, as if nobody looked at theirs."""
    for entry in pyyaml.safe_load(path.read_text(encoding="utf-8"))["experiments"]:
        files = sorted((path.parent / entry["data_path"]).glob("*/*/*/.zattrs"))
        for file in files:
            content = json.loads(file.read_text(encoding="utf-8"))
            channels = content["omero"]["channels"]
            if is_trusted([channel["label"] for channel in channels], entry["channel_names"]) and file != files[0]:
                for channel, name in zip(channels, entry["channel_names"], strict=True):
                    channel["label"] = name
                file.write_text(json.dumps(content), encoding="utf-8")


@registry_witness("every-position-checked")
def first_position_only(path: Path, case: RegistryCase) -> ExperimentRegistry:
    """Looks at the channels of the first position and trusts the others."""
    _repair(path, lambda _, __: True)
    return make_registry(path, case)


@registry_witness("every-position-checked")
def names_in_any_order(path: Path, case: RegistryCase) -> ExperimentRegistry:
    """Compares channel names as sets."""
    _repair(path, lambda seen, named: sorted(seen) == sorted(named))
    return make_registry(path, case)


@registry_witness("every-position-checked")
def position_not_named(path: Path, case: RegistryCase) -> ExperimentRegistry:
    """Says that channels differ, and not where."""
    try:
        return make_registry(path, case)
    except RegistryError as error:
        raise RegistryError([problem.partition(" in position")[0] for problem in error.problems]) from error


@registry_witness("every-problem-listed")
def first_problem_only(path: Path, case: RegistryCase) -> ExperimentRegistry:
    """Stops at the first problem."""
    try:
        return make_registry(path, case)
    except RegistryError as error:
        raise RegistryError(error.problems[:1]) from error


@registry_witness("every-problem-listed")
def first_experiment_only(path: Path, case: RegistryCase) -> ExperimentRegistry:
    """Stops at the first experiment that has problems."""
    try:
        return make_registry(path, case)
    except RegistryError as error:
        names = [repr(experiment.name) for experiment in case.registry.experiments]
        first = next(name for name in names if any(name in problem for problem in error.problems))
        raise RegistryError([problem for problem in error.problems if first in problem]) from error


@registry_witness("every-problem-listed")
def everybody_to_blame(path: Path, case: RegistryCase) -> ExperimentRegistry:
    """Blames all experiments for the mistake of one."""
    try:
        return make_registry(path, case)
    except RegistryError as error:
        raise RegistryError([*error.problems, f"one of {list(case.registry.experiments)}"]) from error


# --- indexes ----------------------------------------------------------------------------------------------------------


def _tracked() -> RegistryDescription:
    """Return two experiments with the same FOV names: a division, gaps, cells on the border and outside the image."""
    cells = (
        TrackDescription(track_id=1, frames=(0, 1), y=0.75, x=8.75),
        TrackDescription(track_id=2, frames=(2, 3, 4), y=3.75, x=2.0, parent=1),
        TrackDescription(track_id=3, frames=(2, 3), y=5.0, x=1.25, parent=1),
        TrackDescription(track_id=4, frames=(4, 5), y=5.75, x=4.0, parent=3),
        TrackDescription(track_id=5, frames=(0, 5), y=11.5, x=9.0),
        TrackDescription(track_id=6, frames=(0, 1, 2), y=-1.0, x=3.0, dy=1.0),
    )
    two = two_experiments(frames=6, size=(12, 10), start_hpi=(3.0, 24.0), interval_minutes=(30.0, 20.0))
    columns = ("z", "id", "parent_track_id", "parent_id")

    def described(experiment: ExperimentDescription, number: int) -> ExperimentDescription:
        wells = tuple(replace(well, fovs=(replace(well.fovs[0], tracks=cells),)) for well in experiment.wells)
        owned = experiment.condition_wells if number == 0 else (("infected", ("A/1",)), ("mock", ("B/1",)))
        return replace(experiment, wells=wells, condition_wells=owned, optional_columns=columns)

    return RegistryDescription(experiments=tuple(described(e, i) for i, e in enumerate(two.experiments)))


TRACKED = IndexCase(registry=_tracked(), yx_patch_size=(5, 4))
ALPHA = TRACKED.registry.experiments[0]
CHOSEN = replace(TRACKED, include_wells=("exp_alpha:A/1",))
SHARED = replace(
    TRACKED,
    registry=RegistryDescription(
        experiments=(replace(ALPHA, store="shared"), replace(ALPHA, store="shared", name="exp_beta"))
    ),
)


def index_witness(law: str, case: IndexCase = TRACKED) -> Callable[[Any], Any]:
    """List a function that spoils an index, ``spoil(index, case, yaml)``, as the witness of a law."""

    def enlist(spoil: Callable[[Any, IndexCase, Path], None]) -> Any:
        def make(path: Path, made_of: IndexCase) -> MultiExperimentIndex:
            index: MultiExperimentIndex = make_index(path, made_of)
            spoil(index, made_of, path)
            return index

        INDEX_WITNESSES.append(Witness(law, spoil.__name__, make, case))
        return spoil

    return enlist


def index_maker_witness(law: str, case: IndexCase = TRACKED) -> Callable[[Any], Any]:
    """List a broken maker as the witness of a law."""

    def enlist(make: Make) -> Any:
        INDEX_WITNESSES.append(Witness(law, make.__name__, make, case))
        return make

    return enlist


def _set(index: Any, column: str, values: Iterable[Any]) -> None:
    index.tracks = index.tracks.assign(**{column: list(values)})


@index_witness("one-row-per-observation")
def last_row_lost(index: Any, _: IndexCase, __: Path) -> None:
    """Stops one row early."""
    index.tracks = index.tracks.iloc[:-1]


@index_witness("one-row-per-observation")
def a_row_twice(index: Any, _: IndexCase, __: Path) -> None:
    """Reads a row twice."""
    index.tracks = pd.concat([index.tracks, index.tracks.iloc[:1]])


@index_witness("one-row-per-observation")
def cells_outside_kept(index: Any, case: IndexCase, _: Path) -> None:
    """Keeps a centroid that lies outside its image, and moves it inside."""
    first = index.tracks.iloc[:1].assign(track_id=6, t=0, y=0.0, x=3.0)
    assert Cell(case.registry.experiments[0].name, "A/1/0", 6, 0) not in IndexOracle(case).cells
    index.tracks = pd.concat([index.tracks, first])


@index_maker_witness("selected-fovs", CHOSEN)
def nothing_selected(path: Path, case: IndexCase) -> Any:
    """Ignores what the user wants."""
    return make_index(path, replace(case, include_wells=None, exclude_fovs=None))


@index_maker_witness("selected-fovs", CHOSEN)
def entries_for_all(path: Path, case: IndexCase) -> Any:
    """Takes an entry for one experiment to restrict all."""
    return make_index(path, replace(case, include_wells=("A/1",)))


@index_maker_witness("selected-fovs", replace(TRACKED, exclude_fovs=("exp_beta:B/1/0",)))
def excluded_by_name(path: Path, case: IndexCase) -> Any:
    """Leaves the FOV of that name out of every experiment."""
    return make_index(path, replace(case, exclude_fovs=("B/1/0",)))


@index_witness("rows-tell-their-experiment")
@index_witness("experiments-do-not-mix")
def conditions_by_well_name(index: Any, _: IndexCase, __: Path) -> None:
    """Looks conditions up by well name, as if it were unique."""
    known = dict(zip(index.tracks["well_name"][::-1], index.tracks["condition"][::-1], strict=True))
    _set(index, "condition", index.tracks["well_name"].map(known))


@index_witness("centroids-kept")
def axes_swapped(index: Any, _: IndexCase, __: Path) -> None:
    """Takes y for x."""
    index.tracks = index.tracks.rename(columns={"y": "x", "x": "y"})


@index_witness("centroids-kept")
def whole_pixels(index: Any, _: IndexCase, __: Path) -> None:
    """Rounds centroids to pixels."""
    _set(index, "y", index.tracks["y"].round())


@index_witness("hours-post-infection")
def interval_of_the_first(index: Any, case: IndexCase, _: Path) -> None:
    """Uses one interval for all experiments."""
    first = case.registry.experiments[0]
    elapsed = index.tracks["t"] * first.interval_minutes / 60
    starts = {experiment.name: experiment.start_hpi for experiment in case.registry.experiments}
    _set(index, "hours_post_infection", index.tracks["experiment"].astype(str).map(starts) + elapsed)


@index_witness("hours-post-infection")
def hours_from_the_first_frame(index: Any, case: IndexCase, _: Path) -> None:
    """Forgets when the movie began."""
    intervals = {experiment.name: experiment.interval_minutes for experiment in case.registry.experiments}
    minutes = index.tracks["experiment"].astype(str).map(intervals)
    _set(index, "hours_post_infection", index.tracks["t"] * minutes / 60)


@index_witness("global-track-id")
@index_witness("one-store-two-names", SHARED)
def ids_without_experiment(index: Any, _: IndexCase, __: Path) -> None:
    """Leaves the experiment out of the global id."""
    names = zip(index.tracks["fov_name"], index.tracks["track_id"], strict=True)
    _set(index, "global_track_id", (f"{fov}_{track}" for fov, track in names))


@index_witness("one-store-two-names", SHARED)
def one_store_once(index: Any, _: IndexCase, __: Path) -> None:
    """Takes two experiments with one store for the same."""
    index.tracks = index.tracks[index.tracks["experiment"] == "exp_alpha"]


@index_witness("csv-columns-kept")
def ids_counted_anew(index: Any, _: IndexCase, __: Path) -> None:
    """Replaces a column of the file by its own."""
    _set(index, "id", range(len(index.tracks)))


@index_witness("csv-columns-kept")
def no_depth(index: Any, _: IndexCase, __: Path) -> None:
    """Drops a column of the file."""
    index.tracks = index.tracks.drop(columns="z")


@index_witness("groups-partition-anchors")
def groups_of_rows(index: Any, _: IndexCase, __: Path) -> None:
    """Counts rows instead of anchors."""
    labels = index.tracks["experiment"]
    index.experiment_groups = {name: np.flatnonzero(labels == name) for name in index.experiment_groups}


@index_witness("groups-partition-anchors")
def conditions_of_one_experiment(index: Any, _: IndexCase, __: Path) -> None:
    """Lets each experiment overwrite the conditions of the one before."""
    last = np.flatnonzero(index.valid_anchors["experiment"] == "exp_beta")
    index.condition_groups = {name: np.intersect1d(rows, last) for name, rows in index.condition_groups.items()}


# --- lineages ---------------------------------------------------------------------------------------------------------


@index_witness("founder-names-lineage")
def mother_for_founder(index: Any, case: IndexCase, _: Path) -> None:
    """Goes up one generation only."""
    oracle = IndexOracle(case)
    mothers = [cell._replace(track_id=oracle.line(cell)[:2][-1]) for cell in cells_of(index.tracks)]
    _set(index, "lineage_id", map(oracle.global_track_id, mothers))


@index_witness("founder-names-lineage")
def each_track_alone(index: Any, _: IndexCase, __: Path) -> None:
    """Knows no divisions."""
    _set(index, "lineage_id", index.tracks["global_track_id"])


@index_witness("codes-follow-founders")
def codes_of_each_fov(index: Any, case: IndexCase, _: Path) -> None:
    """Counts lineages from 0 in every FOV."""
    oracle = IndexOracle(case)
    index.lineage_codes = np.array([oracle.line(cell)[-1] for cell in cells_of(index.tracks)])


@index_witness("codes-follow-founders")
def codes_of_tracks(index: Any, _: IndexCase, __: Path) -> None:
    """Counts tracks instead of lineages."""
    index.lineage_codes = pd.factorize(index.tracks["global_track_id"])[0]


def offer(index: Any, offered: Callable[[Cell, int, Cell], bool]) -> None:
    """Let an index offer those rows as positives of which ``offered(anchor, tau, row)`` is true."""
    cells = cells_of(index.tracks)

    def candidate_ranges(rows: Sequence[int], taus: Sequence[int]) -> tuple[Any, Any]:
        lists = [
            [row for row, cell in enumerate(cells) if offered(cells[anchor], tau, cell)]
            for anchor, tau in zip(rows, taus, strict=True)
        ]
        ends = np.cumsum([0, *map(len, lists)])
        index.descent_order = np.array([row for found in lists for row in found], int)
        return ends[:-1], ends[1:]

    index.candidate_ranges = candidate_ranges


@index_witness("line-of-descent")
def sisters_too(index: Any, case: IndexCase, _: Path) -> None:
    """Offers everybody of the lineage: sisters and cousins too."""
    oracle = IndexOracle(case)
    offer(
        index,
        lambda anchor, tau, cell: (
            cell.t == anchor.t + tau and cell[:2] == anchor[:2] and oracle.line(cell)[-1] == oracle.line(anchor)[-1]
        ),
    )


@index_witness("line-of-descent")
def own_track_only(index: Any, _: IndexCase, __: Path) -> None:
    """Loses a cell when it divides."""
    offer(index, lambda anchor, tau, cell: cell == anchor._replace(t=anchor.t + tau))


@index_witness("line-of-descent")
def equal_names(index: Any, case: IndexCase, _: Path) -> None:
    """Looks relatives up by FOV name and track id, as if these were unique."""
    oracle = IndexOracle(case)
    offer(
        index,
        lambda anchor, tau, cell: (
            cell.t == anchor.t + tau and cell.fov_name == anchor.fov_name and anchor.track_id in oracle.line(cell)
        ),
    )


@index_witness("line-of-descent", replace(TRACKED, tau_range_hours=(0.0, 0.0)))
def any_cell_at_tau_0(index: Any, _: IndexCase, __: Path) -> None:
    """Offers the whole frame where the anchor itself is asked for."""
    offer(index, lambda anchor, tau, cell: cell[:2] == anchor[:2] and cell.t == anchor.t + tau)


def _keep_anchors(index: Any, rows: Sequence[int]) -> None:
    index.valid_anchors = index.tracks.iloc[list(rows)].assign(row=list(rows)).reset_index(drop=True)


@index_witness("valid-anchors")
def everybody_an_anchor(index: Any, _: IndexCase, __: Path) -> None:
    """Asks for no positive."""
    _keep_anchors(index, range(len(index.tracks)))


@index_witness("valid-anchors")
def smallest_tau_only(index: Any, case: IndexCase, _: Path) -> None:
    """Tries the smallest tau alone, and loses the cells that are not seen then."""
    oracle, cells = IndexOracle(case), cells_of(index.tracks)
    _keep_anchors(index, [i for i, cell in enumerate(cells) if oracle.positives(cell, oracle.taus(cell.experiment)[0])])


@index_witness("valid-anchors")
def taus_of_the_first(index: Any, case: IndexCase, _: Path) -> None:
    """Uses the first experiment's range of frames for all."""
    oracle, cells = IndexOracle(case), cells_of(index.tracks)
    taus = oracle.taus("exp_alpha")
    _keep_anchors(index, [i for i, cell in enumerate(cells) if any(oracle.positives(cell, tau) for tau in taus)])


@index_witness("anchors-point-at-rows")
def index_of_the_rows(index: Any, _: IndexCase, __: Path) -> None:
    """Numbers anchors as the rows that they are."""
    index.valid_anchors = index.valid_anchors.set_index(index.valid_anchors["row"].to_numpy())


@index_witness("anchors-point-at-rows")
def rows_counted_anew(index: Any, _: IndexCase, __: Path) -> None:
    """Takes the number of an anchor for that of its row."""
    index.valid_anchors = index.valid_anchors.assign(row=range(len(index.valid_anchors)))


# --- patches ----------------------------------------------------------------------------------------------------------


@index_witness("patch-inside-image")
def over_the_border(index: Any, _: IndexCase, __: Path) -> None:
    """Puts the patch around the centroid, wherever that is."""
    _set(index, "y_clamp", np.floor(index.tracks["y"] + 0.5).astype(int))


@index_witness("patch-inside-image", replace(TRACKED, yx_patch_size=(5, 10)))
def odd_sizes_only(index: Any, case: IndexCase, _: Path) -> None:
    """Moves patches inward by half a patch on both sides, as if all sizes were odd."""
    half = case.yx_patch_size[1] // 2
    _set(index, "x_clamp", np.minimum(index.tracks["x_clamp"], 10 - half - 1))


@index_witness("patch-nearest-centroid")
def always_the_middle(index: Any, _: IndexCase, __: Path) -> None:
    """Cuts out the middle of the image."""
    _set(index, "y_clamp", [6] * len(index.tracks))


@index_witness("patch-nearest-centroid")
def cut_off(index: Any, _: IndexCase, __: Path) -> None:
    """Cuts the centroid's decimals off."""
    _set(index, "y_clamp", index.tracks["y"].astype(int).clip(2, 9))


# --- two runs ---------------------------------------------------------------------------------------------------------


@index_witness("row-order-irrelevant")
def rows_as_in_the_file(index: Any, case: IndexCase, path: Path) -> None:
    """Keeps the rows in the order of the file."""
    place: dict[Cell, int] = {}
    for experiment in case.registry.experiments:
        for name, _ in experiment.fovs():
            with (path.parent / "tracks" / experiment.name / name / "tracks.csv").open(encoding="utf-8") as file:
                for line in csv.DictReader(file):
                    place[Cell(experiment.name, name, int(line["track_id"]), int(line["t"]))] = len(place)
    index.tracks = index.tracks.iloc[np.argsort([place[cell] for cell in cells_of(index.tracks)])]


@index_witness("experiments-do-not-mix")
def anchors_by_name(index: Any, _: IndexCase, __: Path) -> None:
    """Takes an anchor of one experiment for that of the same name in another."""
    names = index.valid_anchors[["fov_name", "track_id", "t"]].astype(str).agg(" ".join, axis=1)
    index.valid_anchors = index.valid_anchors[~names.duplicated()].reset_index(drop=True)
