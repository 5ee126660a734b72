"""Experiments against each other and against their stores on disk, with every problem found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dynaclr.config import Draft
from dynaclr.errors import DynaclrError, RegistryError, did_you_mean
from dynaclr.plate import Plate, Position, read_fov_names, read_plate, read_position
from dynaclr.wording import listed


@dataclass(frozen=True)
class Store:
    """What a registry uses of one experiment's store.

    Parameters
    ----------
    positions
        The FOVs in wells with a condition, by name, in plate order.
    left_out
        The plate's wells that no condition names.
    """

    positions: dict[str, Position] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


def open_stores(drafts: Sequence[Draft]) -> list[Store]:
    """Check experiments together and read their stores' metadata.

    Parameters
    ----------
    drafts
        The experiments, as far as each is right by itself.

    Returns
    -------
    list of Store
        One for each experiment.

    Raises
    ------
    RegistryError
        With the problems of the drafts, those between them, and those between each and its store.
    """
    if not drafts:
        raise RegistryError(["experiments is an empty list, but needs at least one experiment"])
    problems = [problem for draft in drafts for problem in draft.problems]
    problems += [*_name_problems(drafts), *_count_problems(drafts)]
    stores = []
    for draft in drafts:
        found, store = _check_disk(draft)
        problems += found
        stores.append(store)
    if problems:
        raise RegistryError(problems)
    return stores


def _name_problems(drafts: Sequence[Draft]) -> list[str]:
    """Say which names several experiments share."""
    names = [draft.fields["name"] for draft in drafts if "name" in draft.fields]
    return [
        f"experiment {name!r}: name is {name!r} in {names.count(name)} experiments, but needs to be unique"
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]


def _count_problems(drafts: Sequence[Draft]) -> list[str]:
    """Say which experiments differ in the number of source channels."""
    known = [draft for draft in drafts if "source_channel" in draft.fields]
    counts = {len(draft.fields["source_channel"]) for draft in known}
    if len(counts) < 2:
        return []
    found = ", ".join(
        f"{draft.label} {len(draft.fields['source_channel'])} {draft.fields['source_channel']}" for draft in known
    )
    return [f"source_channel needs the same number of channels in every experiment, but has: {found}"]


def _check_disk(draft: Draft) -> tuple[list[str], Store]:
    """Compare one experiment with its store, as far as its fields are right."""
    problems: list[str] = []
    store = Store()
    if "data_path" in draft.fields:
        try:
            plate = read_plate(draft.fields["data_path"])
        except DynaclrError as error:
            problems.append(f"{draft.label}: data_path needs an HCS OME-Zarr store, but {error}")
        else:
            well_problems, store = _check_plate(draft, plate)
            problems += well_problems
    tracks = draft.fields.get("tracks_path")
    if tracks is not None and not tracks.is_dir():
        problems.append(f"{draft.label}: tracks_path is {str(tracks)!r}, but there is no such folder")
    return problems, store


def _check_plate(draft: Draft, plate: Plate) -> tuple[list[str], Store]:
    """Compare wells and channels with the plate's."""
    conditions: Mapping[str, Sequence[str]] = draft.fields.get("condition_wells", {})
    wanted = {well: label for label, wells in conditions.items() for well in wells}
    problems = [
        f"{draft.label}: condition_wells names well {well!r} under {label!r}, but the plate has the wells "
        f"{listed(plate.wells)}{did_you_mean(well, plate.wells)}"
        for well, label in wanted.items()
        if well not in plate.wells
    ]
    positions: dict[str, Position] = {}
    for well in plate.wells:
        if well in wanted:
            try:
                names = read_fov_names(plate, well)
            except DynaclrError as error:
                problems.append(f"{draft.label}: data_path: {error}")
                continue
            problems += _read_positions(draft, plate, names, positions)
    channels = draft.fields.get("channel_names")
    if channels is not None:
        problems += _channel_problems(draft, channels, positions)
    return problems, Store(positions, tuple(well for well in plate.wells if well not in wanted))


def _read_positions(draft: Draft, plate: Plate, names: Iterable[str], positions: dict[str, Position]) -> list[str]:
    """Read a well's FOVs into `positions`; return what is wrong with the others."""
    problems = []
    for name in names:
        try:
            positions[name] = read_position(plate, name)
        except DynaclrError as error:
            problems.append(f"{draft.label}: data_path: {error}")
    return problems


def _channel_problems(draft: Draft, channels: list[str], positions: Mapping[str, Position]) -> list[str]:
    """Say which positions have other channels than the experiment; one sentence for each other list."""
    others: dict[tuple[str, ...], list[str]] = {}
    for name, position in positions.items():
        if list(position.channel_names) != channels:
            others.setdefault(position.channel_names, []).append(name)
    return [
        f"{draft.label}: channel_names is {channels}, but the store has {list(found)} in position"
        f"{'s' if len(names) > 1 else ''} {listed(names)}"
        for found, names in others.items()
    ]
