"""Cases for the laws of the dataset: stores that have anchors, and how their crops are read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from hypothesis import event
from hypothesis import strategies as st

from dynaclr_strategies.cases import DatasetCase, IndexCase
from dynaclr_strategies.channels import channel_sets
from dynaclr_strategies.descriptions import (
    ExperimentDescription,
    FovDescription,
    RegistryDescription,
    TrackDescription,
    WellDescription,
)
from dynaclr_strategies.lineages import lineages
from dynaclr_strategies.registries import COLUMNS, stores

__all__ = ["dataset_cases"]

# Every range leaves every interval a frame, at most six of them, so that movies stay short.
INTERVALS = (30.0, 20.0, 29.97, 45.0, 60.0)
TAU_RANGES = ((0.5, 2.0), (0.0, 0.0), (0.0, 1.0), (1.4, 2.25), (1.5, 3.0))
PLACES = (("A/1/0",), ("A/1/0", "A/1/1"), ("A/1/0", "B/2/0"))
EXTENTS = (4, 5, 1, 100)
"""Sizes of a patch, cut to the smallest image."""


@st.composite
def _experiments(draw: st.DrawFn, name: str, num_sources: int) -> ExperimentDescription:
    """Strategy for experiments that differ in what matters for reading: channels, FOVs, lineages, times."""
    channels = draw(channel_sets(num_sources=st.just(num_sources), max_extras=1), label="channels")
    plate: dict[str, list[FovDescription]] = {}
    for place in draw(st.sampled_from(PLACES), label="FOVs"):
        well, fov_name = place.rsplit("/", 1)
        z, y, x = draw(st.tuples(st.integers(1, 2), st.integers(8, 10), st.integers(8, 10)), label="size")
        tracks = draw(lineages(frames=3, size=(y, x), max_tracks=3), label="tracks")
        plate.setdefault(well, []).append(FovDescription(name=fov_name, frames=3, z=z, y=y, x=x, tracks=tracks))
    return ExperimentDescription(
        name=name,
        channel_names=channels.channel_names,
        source_channel=channels.source_channel,
        condition_wells=tuple((f"in {well}", (well,)) for well in plate),
        wells=tuple(WellDescription(name=well, fovs=tuple(fovs)) for well, fovs in plate.items()),
        start_hpi=draw(st.sampled_from((0.0, -2.0, 24.0)), label="start_hpi"),
        optional_columns=draw(st.sampled_from(COLUMNS), label="optional columns"),
    )


@st.composite
def _registries(draw: st.DrawFn) -> RegistryDescription:
    """Strategy for one experiment, or two or three whose FOV names collide, in stores of their own or in one."""
    several = ("exp_a", "exp_b"), ("exp_b", "exp_a"), ("exp_c", "exp_a", "exp_b")
    names = draw(st.sampled_from((("exp_a",), *several)), label="names")
    num_sources = draw(st.integers(1, 2), label="number of source channels")
    drawn = [draw(_experiments(name, num_sources), label=name) for name in names]
    if len(drawn) > 1 and draw(st.sampled_from((False, False, False, True)), label="one store for all experiments"):
        drawn = [replace(drawn[0], name=name, store="shared") for name in names]
    return RegistryDescription(experiments=tuple(drawn))


def _nearest_tau(interval_minutes: float, hours: tuple[float, float]) -> int:
    """Return the smallest tau of a range of hours, in frames."""
    return (
        0 if hours == (0.0, 0.0) else max(1, math.ceil(Fraction(str(hours[0])) * 60 / Fraction(str(interval_minutes))))
    )


@dataclass(frozen=True)
class _Movie:
    """What is drawn for each store besides its registry: its pace, and the life of its first cell."""

    interval_minutes: float
    choices: int
    divides: bool


MOVIES = st.builds(
    _Movie, interval_minutes=st.sampled_from(INTERVALS), choices=st.integers(0, 3), divides=st.booleans()
)


def _with_an_anchor(experiment: ExperimentDescription, movie: _Movie, tau: int) -> ExperimentDescription:
    """Return the experiment with movies in which the first cell of its first labelled well has positives."""
    labelled = next(well for well in experiment.wells if experiment.condition_of(well.name) is not None)
    fov = labelled.fovs[0]
    tracks = _with_positives(fov.tracks, movie, tau)
    frames = max(fov.frames, 1 + max(track.frames[-1] for track in tracks))
    wells = []
    for well in experiment.wells:
        fovs = [replace(fov, frames=frames) for fov in well.fovs]
        if well is labelled:
            fovs[0] = replace(fovs[0], tracks=tracks)
        wells.append(replace(well, fovs=tuple(fovs)))
    return replace(experiment, interval_minutes=movie.interval_minutes, wells=tuple(wells))


def _with_positives(tracks: tuple[TrackDescription, ...], movie: _Movie, tau: int) -> tuple[TrackDescription, ...]:
    """Return the tracks, the first of which is seen again tau frames later and then divides, or goes on."""
    first = tracks[0]
    again = first.frames[0] + tau
    seen = replace(first, frames=tuple(sorted({*first.frames, *range(again, again + movie.choices + 1)})))
    if not movie.divides:
        return (seen, *tracks[1:])
    born, free = seen.frames[-1] + 1, max(track.track_id for track in tracks) + 1
    life = tuple(range(born, born + tau + 1))
    daughters = (replace(seen, track_id=free + n, frames=life, parent=seen.track_id) for n in range(2))
    return (seen, *tracks[1:], *daughters)


def _movies(
    registry: RegistryDescription, movies: Mapping[str, _Movie], hours: tuple[float, float]
) -> RegistryDescription:
    """Return the registry with what was drawn for each store, and an anchor in each of its experiments."""
    changed = []
    for experiment in registry.experiments:
        movie = movies[registry.store_of(experiment.name)]
        changed.append(_with_an_anchor(experiment, movie, _nearest_tau(movie.interval_minutes, hours)))
    return RegistryDescription(experiments=tuple(changed))


@st.composite
def dataset_cases(
    draw: st.DrawFn,
    *,
    registry: st.SearchStrategy[RegistryDescription] | None = None,
    fit: st.SearchStrategy[bool] | None = None,
) -> DatasetCase:
    """Strategy for stores on disk together with what is cut out of them, and how.

    Generates one to three experiments in all formats of `stores`, whose FOV names collide; patches of odd and even
    size, of one pixel and of whole images; several planes; ranges of tau with one and with several frames, tau 0
    included; batches with repeats; several rates of decay and sizes of cache. Promises that the dataset accepts the
    case, and that every experiment has an anchor. Shrinks towards an anchor with one positive in the smallest registry,
    and patches of 4 x 4 pixels.

    Parameters
    ----------
    registry
        Where the registry comes from, by default small `stores`; its intervals are drawn anew, and its first cells
        live as long as positives need.
    fit
        Whether anchors come with positives; by default mostly.
    """
    drawn = draw(stores(registry=_registries()) if registry is None else registry, label="registry")
    hours = draw(st.sampled_from(TAU_RANGES), label="tau range in hours")
    names = dict.fromkeys(drawn.store_of(experiment.name) for experiment in drawn.experiments)
    movies = _movies(drawn, {name: draw(MOVIES, label=f"movie of {name}") for name in names}, hours)
    fovs = [fov for experiment in movies.experiments for _, fov in experiment.fovs()]
    deep, high, wide = (min(getattr(fov, side) for fov in fovs) for side in ("z", "y", "x"))
    planes = draw(st.sampled_from([(i, j) for i in range(deep) for j in range(i + 1, deep + 1)]), label="planes")
    extent = st.sampled_from(EXTENTS)
    patch = min(draw(extent, label="height"), high), min(draw(extent, label="width"), wide)
    index = IndexCase(registry=movies, z_range=planes, yx_patch_size=patch, tau_range_hours=hours)
    batch = draw(st.lists(st.integers(0, 11), min_size=1, max_size=5), label="batch")
    if len(set(batch)) < len(batch):
        event("dataset_cases: an anchor twice")
    return DatasetCase(
        index=index,
        batch=tuple(batch),
        epoch=draw(st.integers(0, 3), label="epoch"),
        fit=draw(st.sampled_from((True, True, True, False)) if fit is None else fit, label="fit"),
        tau_decay_rate=draw(st.sampled_from((2.0, 0.0, -1.0, 1e6)), label="tau_decay_rate"),
        cache_pool_bytes=draw(st.sampled_from((0, 500, 10**8)), label="cache_pool_bytes"),
        seed=draw(st.integers(0, 3), label="seed"),
    )
