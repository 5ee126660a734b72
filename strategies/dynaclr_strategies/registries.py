"""Whole experiments and registries, and the formats that their stores are written in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any, Literal

from hypothesis import event
from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument

from dynaclr_strategies.channels import channel_sets
from dynaclr_strategies.descriptions import (
    ExperimentDescription,
    FovDescription,
    RegistryDescription,
    TrackDescription,
    WellDescription,
)
from dynaclr_strategies.lineages import lineages
from dynaclr_strategies.parts import ConditionWells
from dynaclr_strategies.pixels import DTYPES
from dynaclr_strategies.times import time_axes

__all__ = ["ConditionWells", "conditions", "experiments", "registries", "stores"]

LABELS = ("uninfected", "ZIKV", "DENV µ", "mock 24 h", "no", "1e3")
Columns = tuple[Literal["z", "id", "parent_track_id", "parent_id"], ...]
COLUMNS: tuple[Columns, ...] = (("parent_track_id",), ("z", "id", "parent_track_id", "parent_id"), ("id", "parent_id"))
Version = Literal["0.4", "0.5"]
VERSIONS: tuple[Version, ...] = ("0.4", "0.5")
NAMES = ("exp_a", "exp_b", "2024_07_22", "exp Ä β", "true")


Cells = Callable[..., st.SearchStrategy[tuple[TrackDescription, ...]]]
"""Makes the strategy for the tracks of a FOV; takes what `lineages` takes."""

_shared = lru_cache(maxsize=1024)


@st.composite
def conditions(draw: st.DrawFn, *, max_conditions: int = 3, max_wells: int = 2) -> ConditionWells:
    """Strategy for condition labels and their wells.

    Generates one to several conditions, unbalanced numbers of wells, wells without a label, and labels that YAML or a
    float parser would like to read as something else. Promises that no well and no label occurs twice and that each
    condition has a well. Shrinks towards ``"uninfected"`` in well ``"A/1"``.

    Parameters
    ----------
    max_conditions, max_wells
        Bounds of the number of conditions, and of wells per condition.
    """
    if not 1 <= max_conditions <= len(LABELS) or max_wells < 1:
        raise InvalidArgument(
            f"max_conditions={max_conditions!r} must lie between 1 and {len(LABELS)}, max_wells={max_wells!r} above 0"
        )
    labels = draw(st.lists(st.sampled_from(LABELS), min_size=1, max_size=max_conditions, unique=True), label="labels")
    pairs, taken = [], 0
    for label in labels:
        count = draw(st.integers(1, max_wells), label=f"wells of {label}")
        pairs.append((label, tuple(f"{'ABCDEFGH'[n // 4]}/{n % 4 + 1}" for n in range(taken, taken + count))))
        taken += count
    spare = ("H/1",) if draw(st.booleans(), label="well without label") else ()
    return ConditionWells(condition_wells=tuple(pairs), unlabelled=spare)


# Made once for each set of bounds: to make a strategy takes longer than to draw from it.
_channel_sets, _time_axes = _shared(channel_sets), _shared(time_axes)
_just: Any = _shared(st.just)
_CONDITIONS = conditions()


_Sizes = st.SearchStrategy[tuple[int, int, int]]


@_shared
def _made(cells: Cells, **bounds: Any) -> st.SearchStrategy[tuple[TrackDescription, ...]]:
    return cells(**bounds)


# One strategy for each FOV and each well: so Hypothesis can take any of them out when it shrinks, not just the last.
@st.composite
def _fov(
    draw: st.DrawFn, name: str, frames: int, max_tracks: int, size: _Sizes, cells: Cells, *, is_seen: bool
) -> FovDescription:
    z, y, x = draw(size, label="size")
    seen = _made(cells, frames=frames, size=(y, x), min_tracks=int(is_seen), max_tracks=max_tracks)
    tracks = draw(seen, label="tracks")
    has_csv = is_seen or not draw(st.booleans(), label="no CSV")
    return FovDescription(name=name, frames=frames, z=z, y=y, x=x, tracks=tracks, has_csv=has_csv)


@st.composite
def _fovs(
    draw: st.DrawFn, frames: int, max_fovs: int, max_tracks: int, size: _Sizes, cells: Cells, *, is_labelled: bool
) -> tuple[FovDescription, ...]:
    # Something to train on in every labelled well; spare wells and further FOVs may be empty or untracked.
    return tuple(
        draw(_one_fov(str(number), frames, max_tracks, size, cells, is_seen=number == 0 and is_labelled), label="FOV")
        for number in range(draw(st.integers(1, max_fovs), label="number of FOVs"))
    )


_one_fov, _all_fovs = _shared(_fov), _shared(_fovs)


def _wells(
    draw: st.DrawFn,
    plate: ConditionWells,
    frames: int,
    max_fovs: int,
    max_tracks: int,
    size: _Sizes,
    cells: Cells,
) -> tuple[WellDescription, ...]:
    wells = []
    for well in plate.wells():
        fovs = _all_fovs(frames, max_fovs, max_tracks, size, cells, is_labelled=well not in plate.unlabelled)
        wells.append(WellDescription(name=well, fovs=draw(fovs, label=f"FOVs of {well}")))
    return tuple(wells)


@lru_cache(maxsize=1024)
def _sizes(min_size: int, max_size: int, max_z: int) -> st.SearchStrategy[tuple[int, int, int]]:
    return st.tuples(st.integers(1, max_z), st.integers(min_size, max_size), st.integers(min_size, max_size))


@st.composite
def experiments(
    draw: st.DrawFn,
    *,
    names: st.SearchStrategy[str] | None = None,
    num_sources: st.SearchStrategy[int] | None = None,
    plates: st.SearchStrategy[ConditionWells] | None = None,
    min_frames: int = 1,
    max_frames: int = 8,
    min_size: int = 8,
    max_size: int = 16,
    max_z: int = 2,
    max_fovs: int = 2,
    max_tracks: int = 7,
    cells: Cells = lineages,
) -> ExperimentDescription:
    """Strategy for one experiment with plate, FOVs and tracks.

    Generates every field of the configuration, FOV names that are the same in every well and experiment, FOVs of
    different size, FOVs without a CSV, tracking tables with and without the optional columns. Promises that the
    configuration is valid and that each labelled well has a FOV with a tracked cell inside the image. Shrinks towards
    one well with one FOV of 8 x 8 pixels in one frame with one cell.

    Parameters
    ----------
    names
        The experiment's name; by default one of `NAMES`.
    num_sources
        How many channels are trained on; see `dynaclr_strategies.channels.channel_sets`.
    plates
        Conditions and wells; by default `conditions`.
    min_frames, max_frames, min_size, max_size, max_z, max_fovs, max_tracks
        Bounds of the movie's length, of the images' height and width, of the stacks' depth, of the FOVs per well, and
        of the tracks per FOV.
    cells
        Makes the strategy for the tracks of a FOV, from its length and size; see `lineages`.
    """
    if not 1 <= min_size <= max_size or min(max_z, max_fovs, max_tracks) < 1:
        raise InvalidArgument(
            f"min_size={min_size!r} must lie between 1 and max_size={max_size!r}, "
            f"max_z={max_z!r}, max_fovs={max_fovs!r} and max_tracks={max_tracks!r} above 0"
        )
    channels = draw(_channel_sets(num_sources=num_sources), label="channels")
    time = draw(_time_axes(min_frames=min_frames, max_frames=max_frames), label="time axis")
    plate = draw(_CONDITIONS if plates is None else plates, label="conditions")
    return ExperimentDescription(
        name=draw(st.sampled_from(NAMES) if names is None else names, label="name"),
        channel_names=channels.channel_names,
        source_channel=channels.source_channel,
        condition_wells=plate.condition_wells,
        wells=_wells(draw, plate, time.frames, max_fovs, max_tracks, _sizes(min_size, max_size, max_z), cells),
        interval_minutes=time.interval_minutes,
        start_hpi=time.start_hpi,
        organelle=draw(st.sampled_from(("", "mitochondria", "ER")), label="organelle"),
        date=draw(st.sampled_from(("", "2024-07-22", "2024_07")), label="date"),
        moi=draw(st.sampled_from((0.0, 5.0, 0.1)), label="moi"),
        founder_parent=draw(st.sampled_from((None, -1, 0, 1, 2)), label="founder_parent"),
        impossible_parents=draw(st.sampled_from(("error", "founder")), label="impossible_parents"),
        optional_columns=draw(st.sampled_from(COLUMNS), label="optional columns"),
    )


_experiments = _shared(experiments)


def _with_names_of_their_own(drawn: list[ExperimentDescription]) -> list[ExperimentDescription]:
    """Give an experiment whose name is taken the first name that is free."""
    taken: dict[str, ExperimentDescription] = {}
    for experiment in drawn:
        free = next(name for name in (experiment.name, *NAMES) if name not in taken)
        taken[free] = replace(experiment, name=free)
    return list(taken.values())


@st.composite
def registries(
    draw: st.DrawFn,
    *,
    min_experiments: int = 1,
    max_experiments: int = 2,
    min_sources: int = 1,
    max_sources: int = 3,
    plates: st.SearchStrategy[ConditionWells] | None = None,
    min_frames: int = 1,
    max_frames: int = 8,
    min_size: int = 8,
    max_size: int = 16,
    max_z: int = 2,
    max_fovs: int = 2,
    max_tracks: int = 7,
    cells: Cells = lineages,
) -> RegistryDescription:
    """Strategy for registries of experiments that fit together.

    Generates experiments with different channels, plates and time axes, whose FOV names collide as they
    do in reality, some of which share one store. Promises different names and equal numbers of source channels.
    Shrinks towards one experiment of the smallest kind.

    Parameters
    ----------
    min_experiments, max_experiments, min_sources, max_sources
        Bounds of the number of experiments and of their source channels.
    plates, min_frames, max_frames, min_size, max_size, max_z, max_fovs, max_tracks, cells
        Conditions, wells, cells, and bounds of the experiments; see `experiments`.
    """
    if not 1 <= min_experiments <= max_experiments <= len(NAMES):
        raise InvalidArgument(
            f"min_experiments={min_experiments!r} and max_experiments={max_experiments!r} must lie between 1 and "
            f"{len(NAMES)}"
        )
    if not 1 <= min_sources <= max_sources:
        raise InvalidArgument(f"min_sources={min_sources!r} must lie between 1 and max_sources={max_sources!r}")
    sources = _just(draw(st.integers(min_sources, max_sources), label="number of source channels"))
    one = _experiments(
        num_sources=sources,
        plates=plates,
        min_frames=min_frames,
        max_frames=max_frames,
        min_size=min_size,
        max_size=max_size,
        max_z=max_z,
        max_fovs=max_fovs,
        max_tracks=max_tracks,
        cells=cells,
    )
    drawn = _with_names_of_their_own(draw(st.lists(one, min_size=min_experiments, max_size=max_experiments)))
    # Drawn for one experiment too: else taking the other one out would shift all that is drawn later.
    is_shared = draw(st.booleans(), label="one store for two experiments")
    if len(drawn) > 1 and is_shared:
        event("registries: shared store")
        drawn[0] = replace(drawn[0], store="shared")
        drawn[1] = replace(drawn[0], name=drawn[1].name)
    return RegistryDescription(experiments=tuple(drawn))


SHARDS = ((1, 2, 1, 2, 2), (1, 1, 1, 1, 1), (2, 1, 2, 3, 1), (1, 3, 1, 1, 2))
"""Chunks of a shard along T, C, Z, Y and X."""


def _chunks(draw: st.DrawFn) -> tuple[int, int, int, int, int]:
    t, c, z, y, x = draw(
        st.tuples(*(st.sampled_from(sizes) for sizes in ((1, 2), (1, 3), (1, 2), (16, 5, 8), (16, 5, 8)))),
        label="chunks",
    )
    return t, c, z, y, x


@st.composite
def stores(draw: st.DrawFn, *, registry: st.SearchStrategy[RegistryDescription] | None = None) -> RegistryDescription:
    """Strategy for registries in all formats that a store can have on disk.

    Generates OME-Zarr 0.4 and 0.5, axes in small and in capital letters, all dtypes of
    `dynaclr_strategies.pixels.DTYPES`, chunks that divide the images or do not, shards, compression, and metadata with
    or without normalization statistics. Promises what `registries` does, in a form that
    `dynaclr_strategies.writers.write_registry` writes. Shrinks towards the smallest registry in uncompressed float32
    chunks of OME-Zarr 0.4.

    Parameters
    ----------
    registry
        What is to be stored; by default `registries`.
    """
    description = draw(registries() if registry is None else registry, label="registry")
    formatted: dict[str, ExperimentDescription] = {}
    for experiment in description.experiments:
        store = description.store_of(experiment.name)
        if store not in formatted:
            formatted[store] = _formatted(draw, experiment)
    return RegistryDescription(
        experiments=tuple(
            replace(formatted[description.store_of(experiment.name)], name=experiment.name)
            for experiment in description.experiments
        )
    )


def _formatted(draw: st.DrawFn, experiment: ExperimentDescription) -> ExperimentDescription:
    version: Version = draw(st.sampled_from(VERSIONS), label="OME-Zarr version")
    chunks = _chunks(draw) if draw(st.booleans(), label="chunked") else None
    shards = None
    if version == "0.5" and chunks is not None and draw(st.booleans(), label="sharded"):
        event("stores: shards")
        shards = draw(st.sampled_from(SHARDS), label="shards")
    dtypes = ("float32", "uint16", *sorted(set(DTYPES) - {"float32", "uint16"}))
    return replace(
        experiment,
        ome_version=version,
        dtype=draw(st.sampled_from(dtypes), label="dtype"),
        chunks=chunks,
        shards=shards,
        compressed=draw(st.booleans(), label="compressed"),
        normalization=draw(st.booleans(), label="normalization"),
        axes=draw(st.sampled_from(("tczyx", "TCZYX")), label="names of the axes"),
    )
