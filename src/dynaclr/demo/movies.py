"""Made-up movies: cells that move, divide and, where they are infected, change their looks over time."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.float64]

_SIZE: Final = 128  # pixels, both ways
_FOUNDERS: Final = 7
_FOVS: Final = ("0", "1")
_WELLS: Final = {"uninfected": "A/1", "infected": "B/1"}
_FULL_EFFECT_HOURS: Final = 8.0


@dataclass(frozen=True)
class Movie:
    """What distinguishes one experiment of the demo from the other.

    Parameters
    ----------
    name, channels, source
        Name of the experiment, all its channels and those to train on.
    interval_minutes, start_hpi, frames
        Its time axis.
    organelle
        What the reporter labels.
    reporter_radius
        Size of the labelled structure in pixels.
    """

    name: str
    channels: tuple[str, ...]
    source: tuple[str, ...]
    interval_minutes: float
    start_hpi: float
    frames: int
    organelle: str
    reporter_radius: float

    def hours(self) -> NDArray[np.float64]:
        """Return the frames' HPI in hours."""
        return self.start_hpi + np.arange(self.frames) * self.interval_minutes / 60


MOVIES: Final = (
    Movie("exp_alpha", ("Phase3D", "GFP", "Mito"), ("Phase3D", "GFP"), 30.0, 2.0, 22, "nucleus", 3.0),
    Movie("exp_beta", ("Phase3D", "RFP", "StressGranules"), ("Phase3D", "RFP"), 20.0, 4.0, 24, "cytosol", 4.5),
)


def write_movies(directory: Path) -> Path:
    """Write stores, tracks and registry of the demo; the same bytes every time.

    Parameters
    ----------
    directory
        Where to put ``exp_alpha.zarr``, ``exp_beta.zarr``, ``tracks/`` and ``experiments.yml``.

    Returns
    -------
    Path
        ``experiments.yml``.
    """
    from dynaclr.experiment import ExperimentConfig, ExperimentRegistry

    configs = []
    for number, movie in enumerate(MOVIES):
        _write_experiment(directory, movie, number)
        configs.append(
            ExperimentConfig(
                name=movie.name,
                data_path=directory / f"{movie.name}.zarr",
                tracks_path=directory / "tracks" / movie.name,
                channel_names=list(movie.channels),
                source_channel=list(movie.source),
                condition_wells={label: [well] for label, well in _WELLS.items()},
                interval_minutes=movie.interval_minutes,
                start_hpi=movie.start_hpi,
                organelle=movie.organelle,
            )
        )
    registry = directory / "experiments.yml"
    ExperimentRegistry(experiments=configs).to_yaml(registry)
    return registry


def _write_experiment(directory: Path, movie: Movie, number: int) -> None:
    from iohub.ngff import open_ome_zarr

    # iohub wonders aloud that a plate which is just being made has no positions yet.
    logging.getLogger("iohub.ngff.nodes").setLevel(logging.ERROR)
    store = directory / f"{movie.name}.zarr"
    with open_ome_zarr(store, layout="hcs", mode="w", channel_names=list(movie.channels), version="0.4") as plate:
        for place, (condition, well) in enumerate(_WELLS.items()):
            for fov in _FOVS:
                rng = np.random.default_rng([number, place, int(fov)])
                cells = _grow(rng, movie.frames)
                row, column = well.split("/")
                images = _render(rng, movie, cells, infected=condition == "infected")
                position = plate.create_position(row, column, fov)
                position.create_image("0", images, chunks=(1, 1, 1, _SIZE, _SIZE))
                tracks = directory / "tracks" / movie.name / row / column / fov
                tracks.mkdir(parents=True)
                cells.to_csv(tracks / "tracks.csv", index=False)


def _grow(rng: np.random.Generator, frames: int) -> pd.DataFrame:
    """Let founders wander and divide; one row per cell and frame, as a tracker writes them."""
    rows: list[dict[str, float]] = []
    alive = [(track, -1, *rng.uniform(16, _SIZE - 16, 2)) for track in range(_FOUNDERS)]
    next_track = _FOUNDERS
    for frame in range(frames):
        survivors = []
        for track, parent, y, x in alive:
            rows.append({"track_id": track, "parent_track_id": parent, "t": frame, "z": 0, "y": y, "x": x})
            if rng.random() < 0.035 and len(alive) < 2 * _FOUNDERS:
                angle = rng.uniform(0, np.pi)
                for side in (-7, 7):
                    survivors.append((next_track, track, y + side * np.sin(angle), x + side * np.cos(angle)))
                    next_track += 1
            else:
                survivors.append((track, parent, *(np.array([y, x]) + rng.normal(0, 1.6, 2))))
        alive = [(track, parent, *np.clip([y, x], 2, _SIZE - 3)) for track, parent, y, x in survivors]
    return pd.DataFrame(rows).sort_values(["track_id", "t"], ignore_index=True).round({"y": 2, "x": 2})


def _render(rng: np.random.Generator, movie: Movie, cells: pd.DataFrame, *, infected: bool) -> NDArray[np.uint16]:
    """Draw the movie, shape ``(T, C, 1, Y, X)``: phase, the reporter, and a third channel that nobody trains on."""
    effect = np.clip(movie.hours() / _FULL_EFFECT_HOURS, 0, 1) * infected
    images = np.empty((movie.frames, len(movie.channels), 1, _SIZE, _SIZE))
    images[:, 0] = 1000.0
    images[:, 1:] = 200.0
    for frame, group in cells.groupby("t"):
        at = int(str(frame))
        for _, cell in group.iterrows():
            y, x = cell["y"], cell["x"]
            images[at, 0, 0] += 500 * _blob(y, x, 6.0) - 260 * _blob(y, x, 10.0)
            # Infection moves the reporter from the centre into a ring, and rounds the cell up.
            core, ring = _blob(y, x, movie.reporter_radius), _blob(y, x, 9.0) - _blob(y, x, 5.0)
            images[at, 1, 0] += 900 * ((1 - 0.8 * effect[at]) * core + 0.9 * effect[at] * ring)
            images[at, 0, 0] += 350 * effect[at] * _blob(y, x, 3.5)
            images[at, 2, 0] += 400 * _blob(y + 4, x - 3, 2.5)
    images += rng.normal(0, 25, images.shape)
    return np.clip(images, 0, np.iinfo(np.uint16).max).astype(np.uint16)


def _blob(y: float, x: float, radius: float) -> Image:
    grid = np.arange(_SIZE)
    image: Image = np.outer(np.exp(-(((grid - y) / radius) ** 2)), np.exp(-(((grid - x) / radius) ** 2)))
    return image
