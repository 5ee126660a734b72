"""Descriptions of registries: what to write, as frozen dataclasses of plain values.

A description is what Hypothesis draws and shrinks, what a failure prints and what a bundle holds; bulk
(pixels, rows of a tracking CSV) is expanded from it deterministically by `dynaclr_strategies.writers`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from dynaclr_strategies.codec import Plain

__all__ = [
    "ExperimentDescription",
    "FovDescription",
    "NoParent",
    "RegistryDescription",
    "TrackDescription",
    "WellDescription",
]

NoParent = Literal["empty", "-1", "0", "own id", "unknown id"]
"""The ways in which files write that a cell has no parent."""


@dataclass(frozen=True, kw_only=True)
class TrackDescription(Plain):
    """One cell on its way through a movie, in a straight line.

    Attributes
    ----------
    track_id
        Number of the track in its FOV.
    frames
        Frames (ascending) in which the cell is seen; gaps are allowed.
    y, x
        Centroid in the first frame, in pixels.
    dy, dx
        Movement in pixels per frame.
    parent
        Track that divided into this one; None for a founder.
    no_parent
        How the file writes that a founder has no parent.
    """

    track_id: int
    frames: tuple[int, ...]
    y: float = 0.0
    x: float = 0.0
    dy: float = 0.0
    dx: float = 0.0
    parent: int | None = None
    no_parent: NoParent = "empty"

    def position(self, frame: int) -> tuple[float, float]:
        """Return the centroid ``(y, x)`` in a frame, in pixels."""
        elapsed = frame - self.frames[0]
        return self.y + self.dy * elapsed, self.x + self.dx * elapsed


@dataclass(frozen=True, kw_only=True)
class FovDescription(Plain):
    """One field of view: an image array and the tracks seen in it.

    Attributes
    ----------
    name
        Name inside the well, such as ``"0"``.
    frames, z, y, x
        Extent of the array.
    tracks
        The cells.
    has_csv
        Whether there is a tracking CSV at all.
    """

    name: str
    frames: int = 1
    z: int = 1
    y: int = 8
    x: int = 8
    tracks: tuple[TrackDescription, ...] = ()
    has_csv: bool = True

    @cached_property
    def row_ids(self) -> dict[tuple[int, int], int]:
        """The ``id`` of each row of the tracking table, by track and frame: rows count from 1."""
        places = ((track.track_id, t) for track in self.tracks for t in track.frames)
        return {place: number for number, place in enumerate(places, 1)}


@dataclass(frozen=True, kw_only=True)
class WellDescription(Plain):
    """One well, named ``row/column``, and its fields of view."""

    name: str
    fovs: tuple[FovDescription, ...]


@dataclass(frozen=True, kw_only=True)
class ExperimentDescription(Plain):
    """One experiment: what its YAML entry says, and what its store and its tracks hold.

    Attributes
    ----------
    name, channel_names, source_channel, condition_wells, interval_minutes, start_hpi, organelle, date, moi
        The fields of ``dynaclr.experiment.ExperimentConfig``; ``condition_wells`` as pairs (label, wells).
    founder_parent, impossible_parents
        The two fields of the config that settle what odd parents mean.
    wells
        The plate, wells that no condition names included.
    store
        Name of the store and of the tracks folder, without suffix; two experiments may share one. None: the
        experiment's own name if it is a plain word, else ``experiment_<number>``.
    ome_version
        ``"0.4"`` is zarr format 2, ``"0.5"`` is zarr format 3.
    axes
        How the axes are called: by letters as the standard has them, or by capitals as iohub writes them.
    dtype
        One of the names in `dynaclr_strategies.pixels.DTYPES`.
    chunks
        Chunk shape over (T, C, Z, Y, X), cut to the array; None is one frame with all its channels.
    shards
        How many chunks a shard holds along each of the five dimensions (0.5 only); None is no sharding.
    compressed
        Whether chunks are compressed (by zarr's default).
    normalization
        Whether the FOVs' metadata hold ``normalization`` statistics.
    optional_columns
        Columns written besides ``track_id, t, y, x``; without ``parent_track_id``, the two ``id`` and ``parent_id``
        tell the lineage, row by row.
    """

    name: str
    channel_names: tuple[str, ...]
    source_channel: tuple[str, ...]
    condition_wells: tuple[tuple[str, tuple[str, ...]], ...]
    wells: tuple[WellDescription, ...]
    interval_minutes: float = 30.0
    start_hpi: float = 0.0
    organelle: str = ""
    date: str = ""
    moi: float = 0.0
    founder_parent: int | None = None
    impossible_parents: Literal["error", "founder"] = "error"
    store: str | None = None
    ome_version: Literal["0.4", "0.5"] = "0.4"
    axes: Literal["tczyx", "TCZYX"] = "tczyx"
    dtype: str = "float32"
    chunks: tuple[int, int, int, int, int] | None = None
    shards: tuple[int, int, int, int, int] | None = None
    compressed: bool = False
    normalization: bool = False
    optional_columns: tuple[Literal["z", "id", "parent_track_id", "parent_id"], ...] = ("parent_track_id",)

    def fovs(self) -> Iterator[tuple[str, FovDescription]]:
        """Yield ``("A/1/0", fov)`` for every FOV of the plate, in plate order."""
        for well in self.wells:
            for fov in well.fovs:
                yield f"{well.name}/{fov.name}", fov

    def fov(self, fov_name: str) -> FovDescription:
        """Return the FOV of that name (``"A/1/0"``); `KeyError` if there is none."""
        return dict(self.fovs())[fov_name]

    def condition_of(self, well: str) -> str | None:
        """Return the label that owns a well, None for a well without one."""
        return next((label for label, wells in self.condition_wells if well in wells), None)


@dataclass(frozen=True, kw_only=True)
class RegistryDescription(Plain):
    """Experiments that are trained on together."""

    experiments: tuple[ExperimentDescription, ...]

    def experiment(self, name: str) -> ExperimentDescription:
        """Return the experiment of that name; `KeyError` if there is none."""
        return {experiment.name: experiment for experiment in self.experiments}[name]

    def store_of(self, name: str) -> str:
        """Return the name of an experiment's store and tracks folder, without suffix."""
        position, experiment = next(
            (i, experiment) for i, experiment in enumerate(self.experiments) if experiment.name == name
        )
        if experiment.store is not None:
            return experiment.store
        return name if re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,59}", name) else f"experiment_{position}"
