"""Faults of stores and of the places where registries look for them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dynaclr_strategies.cases import IndexCase
from dynaclr_strategies.descriptions import ExperimentDescription, RegistryDescription
from dynaclr_strategies.fault_arms.registry import entries_of, experiment_numbers, write_entries
from dynaclr_strategies.fault_descriptions import Expected, Given, fault

__all__ = ["FovPlace", "edit_attributes", "labelled_fovs", "users_of"]

FovPlace = tuple[int, str]
"""Number of an experiment and name of a FOV."""


def labelled_fovs(registry: RegistryDescription) -> Iterator[FovPlace]:
    """Yield the FOVs in wells with a condition."""
    for number, experiment in enumerate(registry.experiments):
        for name, _ in experiment.fovs():
            if experiment.condition_of(name.rpartition("/")[0]) is not None:
                yield number, name


def users_of(registry: RegistryDescription, number: int) -> list[ExperimentDescription]:
    """Return the experiments that have the same store as one of them."""
    store = registry.store_of(registry.experiments[number].name)
    return [one for one in registry.experiments if registry.store_of(one.name) == store]


def store_folder(given: Given, registry: RegistryDescription, number: int) -> Path:
    """Return the folder of an experiment's store."""
    return given.folder / f"{registry.store_of(registry.experiments[number].name)}.zarr"


def edit_attributes(given: Given, registry: RegistryDescription, place: FovPlace) -> tuple[Path, Any, Any]:
    """Return a FOV's metadata file, its content, and the part of it that holds the attributes."""
    number, fov_name = place
    folder = store_folder(given, registry, number) / fov_name
    old = registry.experiments[number].ome_version == "0.4"
    path = folder / (".zattrs" if old else "zarr.json")
    content = json.loads(path.read_text(encoding="utf-8"))
    return path, content, content if old else content["attributes"]


@fault("store-missing", "registry", "missing store or tracks folder", needs="experiments", places=experiment_numbers)
def _(given: Given, case: IndexCase, number: int, _: None) -> Expected:
    folder = store_folder(given, case.registry, number)
    shutil.rmtree(folder)
    return [(repr(one.name), "data_path", folder.name) for one in users_of(case.registry, number)]


@fault(
    "tracks-folder-missing",
    "registry",
    "missing store or tracks folder",
    needs="experiments",
    places=experiment_numbers,
    values=("removed", "a file"),
)
def _(given: Given, case: IndexCase, number: int, value: str) -> Expected:
    entries = entries_of(given)
    folder = given.folder / entries[number]["tracks_path"]
    if value == "removed":
        shutil.rmtree(folder)
        return [(repr(one.name), "tracks_path", folder.name) for one in users_of(case.registry, number)]
    entries[number]["tracks_path"] = "experiments.yml"
    write_entries(given, entries)
    return [(repr(entries[number]["name"]), "tracks_path", "experiments.yml")]


@fault(
    "store-no-plate",
    "registry",
    "a path that is no HCS plate",
    needs="experiments",
    places=experiment_numbers,
    values=("the tracks", "a well", "a field of view"),
)
def _(given: Given, case: IndexCase, number: int, value: str) -> Expected:
    entries = entries_of(given)
    entry = entries[number]
    well = case.registry.experiments[number].wells[0]
    inside = {"a well": well.name, "a field of view": f"{well.name}/{well.fovs[0].name}"}
    entry["data_path"] = f"{entry['data_path']}/{inside[value]}" if value in inside else entry["tracks_path"]
    write_entries(given, entries)
    return [(repr(entry["name"]), "data_path", entry["data_path"], "plate" if value in inside else "Zarr")]


def _positions(case: IndexCase) -> Iterator[FovPlace]:
    return labelled_fovs(case.registry)


@fault(
    "position-channels-differ",
    "registry",
    "**channel names of every position** (not only the first) equal to the config's, order included",
    needs="experiments",
    places=_positions,
    values=("renamed", "another order"),
)
def _(given: Given, case: IndexCase, place: FovPlace, value: str) -> Expected:
    path, content, attributes = edit_attributes(given, case.registry, place)
    ome = attributes.get("ome", attributes)
    channels = ome["omero"]["channels"]
    if value == "another order" and len(channels) > 1:
        channels.append(channels.pop(0))
    else:
        channels[-1]["label"] = "~ another"
    path.write_text(json.dumps(content), encoding="utf-8")
    found = [channel["label"] for channel in channels]
    return [
        (repr(one.name), "channel_names", repr(list(one.channel_names)), repr(found), repr(place[1]))
        for one in users_of(case.registry, place[0])
    ]


@fault(
    "position-metadata-missing",
    "registry",
    "one error that lists *every* problem [...] a path that is no HCS plate",
    needs="experiments",
    places=_positions,
    values=("multiscales", "omero"),
)
def _(given: Given, case: IndexCase, place: FovPlace, key: str) -> Expected:
    path, content, attributes = edit_attributes(given, case.registry, place)
    del attributes.get("ome", attributes)[key]
    path.write_text(json.dumps(content), encoding="utf-8")
    return [(repr(one.name), "data_path", place[1], key) for one in users_of(case.registry, place[0])]
