"""Cases for the laws of registry and index: a registry together with parameters that are valid for it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from typing import Any

from hypothesis import event
from hypothesis import strategies as st

from dynaclr_strategies.cases import IndexCase, RegistryCase
from dynaclr_strategies.descriptions import ExperimentDescription, FovDescription, RegistryDescription, TrackDescription
from dynaclr_strategies.lineages import lineages
from dynaclr_strategies.oracles.index import IndexOracle, places_of, well_of
from dynaclr_strategies.oracles.registry import frames_in_range
from dynaclr_strategies.parts import ConditionWells
from dynaclr_strategies.registries import VERSIONS, Version, conditions, registries

__all__ = ["index_cases", "registry_cases"]

TAU_RANGES = ((0.5, 2.0), (0.0, 0.0), (1.0, 1.25))

PLATES = (
    ConditionWells(condition_wells=(("uninfected", ("A/1",)),)),
    ConditionWells(condition_wells=(("uninfected", ("A/1",)), ("ZIKV", ("A/2",)))),
    ConditionWells(condition_wells=(("no", ("A/2",)),), unlabelled=("A/1",)),
    ConditionWells(condition_wells=(("ZIKV", ("B/1", "A/1")),)),
    ConditionWells(condition_wells=(("DENV µ", ("A/2", "B/1")), ("uninfected", ("A/1",)))),
)
"""Plates to index: their wells have the same names and other conditions; the smallest first."""

Tracks = tuple[TrackDescription, ...]
Selection = tuple[str, ...] | None


def _tau_ranges(registry: RegistryDescription) -> st.SearchStrategy[tuple[float, float]]:
    intervals = [experiment.interval_minutes for experiment in registry.experiments]
    # Short ones too, so that a movie of a few frames has anchors however short its interval is.
    frames = [math.ceil(Fraction(count * max(intervals)) / 60 * 10_000) / 10_000 for count in (1, 2, 4)]
    ranges = dict.fromkeys([*TAU_RANGES, *((0.0, hours) for hours in frames)])
    return st.sampled_from(
        [hours for hours in ranges if all(frames_in_range(interval, hours) for interval in intervals)]
    )


def _stored(registry: st.SearchStrategy[RegistryDescription]) -> st.SearchStrategy[RegistryDescription]:
    """Strategy for the same registries in both versions of OME-Zarr, which keep metadata in different places."""

    def store(registry: RegistryDescription, version: Version) -> RegistryDescription:
        return RegistryDescription(experiments=tuple(replace(e, ome_version=version) for e in registry.experiments))

    return st.builds(store, registry, st.sampled_from(VERSIONS))


_FEW = _stored(registries(plates=conditions(max_conditions=2, max_wells=2), max_frames=3, max_tracks=1, max_size=9))


@st.composite
def registry_cases(draw: st.DrawFn, *, registry: st.SearchStrategy[RegistryDescription] | None = None) -> RegistryCase:
    """Strategy for registries together with a range of hours.

    Generates what `registries` does. Promises that the range leaves every experiment a frame. Shrinks towards the
    smallest registry and half an hour to two hours.

    Parameters
    ----------
    registry
        Where the registry comes from; by default `registries`, in both versions of OME-Zarr and with few cells.
    """
    drawn = draw(_FEW if registry is None else registry, label="registry")
    return RegistryCase(registry=drawn, tau_range_hours=draw(_tau_ranges(drawn), label="tau range in hours"))


# --- registries to index ----------------------------------------------------------------------------------------------

_SMALL: dict[str, Any] = {
    "plates": st.sampled_from(PLATES),
    "max_frames": 6,
    "max_tracks": 1,
    "max_size": 10,
    "max_sources": 2,
}

_SEEN = ((0,), (0, 1), (0, 2), (0, 1, 2, 3))
"""In which frames a relative is seen, from its first one on: gaps included."""

_PLACES = ((0.0, 0.0, 0.0), (3.5, 6.99, 0.0), (7.0, 7.25, 0.5), (2.0, 3.0, -3.0), (-1.01, 2.0, 0.0))
"""Where a relative begins (y, x) and its movement in y: between pixels, on the border, out of the image."""

_Relative = tuple[int, int, tuple[int, ...], tuple[float, float, float]]
"""The number of its mother among those before it (0 is nobody), how late it is born, when it is seen and where."""

_lineages = lru_cache(maxsize=1024)(lineages)

_RELATIVES: st.SearchStrategy[list[_Relative]] = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 2), st.sampled_from(_SEEN), st.sampled_from(_PLACES)),
    max_size=4,
)


@st.composite
def _families(draw: st.DrawFn, /, **bounds: Any) -> Tracks:
    """Strategy for the tracks of a FOV with the relatives of its first cell, which are drawn where the FOV is."""
    tracks = draw(_lineages(**bounds), label="tracks")
    return _grown(tracks, draw(_RELATIVES, label="family"), bounds["frames"]) if tracks else ()


@lru_cache(maxsize=8)
def _plates(min_experiments: int) -> st.SearchStrategy[RegistryDescription]:
    # Generations take time: half of the movies are long enough for some.
    bounds = {"min_experiments": min_experiments, "cells": _families, **_SMALL}
    return st.one_of([registries(min_frames=frames, **bounds) for frames in (1, 5)])


@st.composite
def _tracked_registries(draw: st.DrawFn, min_experiments: int) -> RegistryDescription:
    """Strategy for registries with small plates and large families.

    Generates sisters, cousins, mothers that live on beside their daughters, ids that do not ascend from mother to
    daughter, and centroids between pixels. Promises what `registries` does. Shrinks towards what `registries` does.
    """
    registry = draw(_plates(min_experiments))
    if draw(st.booleans(), label="ids descend"):
        registry = _with_tracks(registry, _descending)
    shift = draw(st.sampled_from((0.0, 0.5, 0.99)), label="shift")
    return _with_tracks(registry, lambda tracks, _: tuple(replace(t, y=t.y + shift, x=t.x + shift) for t in tracks))


def _with_tracks(registry: RegistryDescription, change: Callable[[Tracks, int], Tracks]) -> RegistryDescription:
    """Change the tracks of every FOV that has some; ``change`` gets them and the length of the movie."""

    def changed(fov: FovDescription) -> FovDescription:
        return replace(fov, tracks=change(fov.tracks, fov.frames)) if fov.tracks else fov

    experiments: list[ExperimentDescription] = []
    for experiment in registry.experiments:
        wells = tuple(replace(well, fovs=tuple(map(changed, well.fovs))) for well in experiment.wells)
        is_shared = bool(experiments) and experiment.store is not None and experiment.store == experiments[0].store
        experiments.append(replace(experiment, wells=experiments[0].wells if is_shared else wells))
    return RegistryDescription(experiments=tuple(experiments))


def _grown(tracks: Tracks, relatives: list[_Relative], frames: int) -> Tracks:
    """Add relatives to the first cell of a FOV; those who would be born after the movie are founders instead."""
    grown = list(tracks)
    for number, delay, seen, (y, x, dy) in relatives:
        mother = grown[(number - 1) % len(grown)] if number else None
        first = delay if mother is None else mother.frames[0] + 1 + delay
        if first >= frames:
            mother, first = None, 0
        relative = TrackDescription(
            track_id=grown[0].track_id + len(grown),
            frames=tuple(first + t for t in seen if first + t < frames),
            y=y,
            x=x,
            dy=dy,
            parent=None if mother is None else mother.track_id,
        )
        grown.append(relative)
    return tuple(grown)


def _descending(tracks: Tracks, _: int) -> Tracks:
    """Give the same ids to the tracks the other way round."""
    ids = [track.track_id for track in tracks]
    other = dict(zip(ids, reversed(ids), strict=True))
    return tuple(
        replace(track, track_id=other[track.track_id], parent=None if track.parent is None else other[track.parent])
        for track in tracks
    )


# --- what is cut out of them ------------------------------------------------------------------------------------------


def _selected(draw: st.DrawFn, case: IndexCase) -> IndexCase:
    """Draw wells and FOVs to include and to exclude; keep those lists that leave every experiment something."""
    names = [
        (experiment.name, name)
        for experiment in case.registry.experiments
        for name, _ in experiment.fovs()
        if experiment.condition_of(well_of(name)) is not None
    ]
    entries = st.sampled_from(sorted({place for name in names for place in places_of(*name)}))
    chosen = st.none() | st.lists(entries, max_size=3, unique=True).map(tuple)
    including = replace(case, include_wells=draw(chosen, label="include_wells"))
    case = including if IndexOracle(including).leaves_none_empty() else case
    excluding = replace(case, exclude_fovs=draw(chosen, label="exclude_fovs"))
    return excluding if IndexOracle(excluding).leaves_none_empty() else case


@st.composite
def index_cases(
    draw: st.DrawFn,
    *,
    registry: st.SearchStrategy[RegistryDescription] | None = None,
    min_experiments: int = 1,
    selected: st.SearchStrategy[bool] | None = None,
) -> IndexCase:
    """Strategy for registries together with what is cut out of them.

    Generates what `registries` does, sisters and cousins, mothers that live on beside their daughters, centroids
    between pixels, patches of odd and even size up to the smallest image, one plane or more, several ranges of tau,
    tau 0 included, and lists of wells and FOVs to include and to exclude. Promises that the index accepts them, and
    that every experiment has an observation. Shrinks towards the smallest registry, patches of one pixel, the first
    plane, half an hour to two hours, and nothing selected.

    Parameters
    ----------
    registry
        Where the registry comes from.
    min_experiments
        How many experiments there are at least, one or two, where the registry is left to the strategy.
    selected
        Whether wells and FOVs may be selected; by default only where the registry is left to the strategy.
    """
    drawn = draw(_tracked_registries(min_experiments) if registry is None else registry, label="registry")
    fovs = [fov for experiment in drawn.experiments for _, fov in experiment.fovs()]
    deep, high, wide = (min(getattr(fov, side) for fov in fovs) for side in ("z", "y", "x"))
    start = draw(st.integers(0, deep - 1), label="first plane")
    case = IndexCase(
        registry=drawn,
        z_range=(start, draw(st.integers(start + 1, deep), label="end of the planes")),
        yx_patch_size=(draw(st.integers(1, high), label="height"), draw(st.integers(1, wide), label="width")),
        tau_range_hours=draw(_tau_ranges(drawn), label="tau range in hours"),
    )
    if registry is None if selected is None else draw(selected, label="selected"):
        case = _selected(draw, case)
        for parameter in ("include_wells", "exclude_fovs"):
            if getattr(case, parameter):
                event(f"index cases: {parameter}")
    return case
