"""Index: lineages and valid anchors, beside reading the CSVs; and the positives of a batch."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import limits
from benchmarks.baselines import NaivePositives, lineages_and_anchors
from benchmarks.model import Entry, Figure, Memory, Scale, at_least, at_most
from benchmarks.timing import Call, added_peak, interleaved
from dynaclr.experiment import ExperimentRegistry
from dynaclr.index import MultiExperimentIndex
from dynaclr.lineage import Descent, Forest, group_tracks
from dynaclr.positives import PositiveDraw
from dynaclr_strategies.descriptions import FovDescription, RegistryDescription
from dynaclr_strategies.ready_made import two_experiments
from dynaclr_strategies.writers import write_registry

GROUP, POSITIVES = "index", "positives"
FRAMES, SIDE, FOVS = 50, 16, 200
_INTERVAL = 15.0
_WINDOW = (slice(0, 1), (8, 8))


def describe(num_fovs: int) -> RegistryDescription:
    """Two experiments with half of the FOVs each; the tables are made by `tracking_table`."""
    description = two_experiments(interval_minutes=(_INTERVAL, _INTERVAL), dtype="uint8")
    fovs = tuple(FovDescription(name=str(i), frames=FRAMES, y=SIDE, x=SIDE) for i in range(num_fovs // 4))
    experiments = tuple(
        replace(experiment, wells=tuple(replace(well, fovs=fovs) for well in experiment.wells))
        for experiment in description.experiments
    )
    return replace(description, experiments=experiments)


def tracking_table(rng: np.random.Generator, num_rows: int) -> pd.DataFrame:
    """Cells that divide every ten frames or so, each seen in nine frames of ten, rows in the order of frames."""
    length, mothers = 10, num_rows // FRAMES + 1
    generations = FRAMES // length
    track = np.arange(mothers * generations)
    generation = track // mothers
    parent = np.where(generation > 0, (generation - 1) * mothers + rng.integers(0, mothers, track.size), -1)
    rows = pd.DataFrame(
        {
            "track_id": np.repeat(track, length) + 1,
            "t": np.repeat(generation * length, length) + np.tile(np.arange(length), track.size),
            "y": rng.uniform(0, SIDE, track.size * length).round(3),
            "x": rng.uniform(0, SIDE, track.size * length).round(3),
            "id": np.arange(track.size * length) + 1,
            "parent_track_id": np.repeat(np.where(parent >= 0, parent + 1, -1), length),
        }
    )
    return rows.sample(num_rows, random_state=0).sort_values(["t", "track_id"], ignore_index=True)


class Movies:
    """A registry of many FOVs with tracking tables of so many rows in all, on disk and in memory."""

    def __init__(self, root: Path, rows: int, fovs: int = FOVS) -> None:
        rng = np.random.default_rng(0)
        self.registry = ExperimentRegistry.from_yaml(write_registry(describe(fovs), root))
        self.frames, self.paths = {}, []
        for config in self.registry.experiments:
            for fov_name in self.registry.positions(config.name):
                table = tracking_table(rng, rows // fovs)
                self.frames[config.name, fov_name] = table
                self.paths.append(config.tracks_path / fov_name / "tracks.csv")
                table.to_csv(self.paths[-1], index=False)

    def index(self) -> MultiExperimentIndex:
        """Index the tables in memory."""
        return MultiExperimentIndex(self.registry, *_WINDOW, frames=self.frames)

    def index_from_disk(self) -> MultiExperimentIndex:
        """Index the CSVs."""
        return MultiExperimentIndex(self.registry, *_WINDOW)


def lineages(tracks: pd.DataFrame, taus: tuple[int, int]) -> Call:
    """Return a call that finds lineages and valid anchors of a table in memory, as the index does."""
    pairs = tracks["experiment"].cat.codes.to_numpy(np.int64) * 1000 + tracks["fov_name"].cat.codes.to_numpy(np.int64)
    fov = np.unique(pairs, return_inverse=True)[1]
    track_id, parent, t = (tracks[name].to_numpy() for name in ("track_id", "parent_track_id", "t"))

    def work() -> object:
        groups = group_tracks(fov, track_id, parent)
        forest = Forest.from_parents(groups.parent)
        descent = Descent.of_rows(fov, t, groups.track, forest)
        return np.flatnonzero(descent.has_candidate(*taus)), forest.founder[groups.track]

    return work


def measure(scale: Scale) -> Iterator[Entry]:
    """Measure the rows of the index and of the positives."""
    sizes = scale.sizes(100_000, 1_000_000, quick=(10_000, 20_000))
    for rows in sizes:
        with tempfile.TemporaryDirectory() as folder:
            movies = Movies(Path(folder), rows, fovs=FOVS if not scale.quick else 20)
            index = movies.index()
            yield from _lineages(scale, rows, index, movies)
            yield from _index(scale, rows, movies)
            if rows == sizes[-1]:
                yield from _positives(scale, index)
    memory = added_peak("benchmarks.index:indexed", rows=sizes[-1])
    yield Memory(GROUP, "whole index, tables in memory", sizes[-1], "rows", memory)


def _lineages(scale: Scale, rows: int, index: MultiExperimentIndex, movies: Movies) -> Iterator[Entry]:
    taus = index.tau_range_frames("exp_alpha")
    tracks = index.tracks
    calls = {
        "ours": (lineages(tracks, taus), 1),
        "limit": ((lambda: limits.read_csvs(movies.paths)), 1),
    }
    if rows <= 100_000:
        calls["baseline"] = ((lambda: lineages_and_anchors(tracks, taus)), 1)
    figure = Figure(GROUP, "lineages and anchors", rows, "rows", "table", interleaved(calls, scale.budget, least=2))
    yield figure
    if rows <= 100_000:
        asked = f"of the baseline's speed at {rows:.0e} rows"
        yield at_least(GROUP, "lineages and anchors", asked, figure.over_baseline, 200)
    else:
        asked = f"times reading the CSVs, {rows:.0e} rows"
        yield at_most(GROUP, "lineages and anchors", asked, figure.over_limit, 1)


def _index(scale: Scale, rows: int, movies: Movies) -> Iterator[Entry]:
    taken = interleaved(
        {
            "ours": (movies.index, 1),
            "disk": (movies.index_from_disk, 1),
            "limit": ((lambda: limits.read_csvs(movies.paths)), 1),
        },
        2 * scale.budget,
    )
    disk = taken.pop("disk")
    yield Figure(GROUP, "whole index, tables in memory", rows, "rows", "table", taken)
    yield Figure(GROUP, "whole index, CSVs included", rows, "rows", "table", {"ours": disk, "limit": taken["limit"]})


def _positives(scale: Scale, index: MultiExperimentIndex) -> Iterator[Entry]:
    draw = PositiveDraw(index)
    naive = NaivePositives(index.tracks, index.tau_range_frames("exp_alpha"))
    rng = np.random.default_rng(0)
    anchors = index.valid_anchors["row"].to_numpy()
    columns = [index.descent_order, index.lineage_codes]
    for size in (128, 1024):
        batches = [rng.integers(len(anchors), size=size) for _ in range(20)]
        taken = interleaved(
            {
                "ours": ((lambda: [draw(anchors[batch], batch, 0) for batch in batches]), len(batches)),  # noqa: B023
                "baseline": ((lambda: naive(anchors[batches[0]])), 1),  # noqa: B023
                "limit": ((lambda: [limits.gather(columns, anchors[batch]) for batch in batches]), len(batches)),  # noqa: B023
            },
            scale.budget / 2,
        )
        figure = Figure(POSITIVES, "positives of a batch", size, "batch size", "batch", taken)
        yield figure
    yield at_least(POSITIVES, f"batch of {figure.size}", "of the baseline's speed", figure.over_baseline, 100)


def indexed(rows: int) -> Call:
    """Prepare tables; the call indexes them."""
    with tempfile.TemporaryDirectory() as folder:
        return Movies(Path(folder), rows).index
