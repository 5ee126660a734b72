"""How long the index takes for a million observations, beside reading the same CSVs with pandas.

Run ``python benchmarks/index.py`` (options: ``--observations``, ``--fovs``). Prints seconds and ratios.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from dynaclr.experiment import ExperimentRegistry
from dynaclr.index import MultiExperimentIndex
from dynaclr_strategies.descriptions import FovDescription, RegistryDescription
from dynaclr_strategies.ready_made import two_experiments
from dynaclr_strategies.writers import write_registry

T = TypeVar("T")

FRAMES = 50
SIDE = 16


def describe(num_fovs: int) -> RegistryDescription:
    """Two experiments with half of the FOVs each; the tables are made by `tracking_table`."""
    description = two_experiments()
    per_well = num_fovs // 4
    fovs = tuple(FovDescription(name=str(i), frames=FRAMES, y=SIDE, x=SIDE) for i in range(per_well))
    experiments = tuple(
        replace(
            experiment,
            interval_minutes=15.0,
            dtype="uint8",
            wells=tuple(replace(well, fovs=fovs) for well in experiment.wells),
        )
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


def seconds(work: Callable[[], T], repeats: int = 3) -> tuple[float, T]:
    """Return the best time of a few runs, and the result."""
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - start)
    return float(best), result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--observations", type=int, default=1_000_000)
    parser.add_argument("--fovs", type=int, default=200)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        registry = ExperimentRegistry.from_yaml(write_registry(describe(options.fovs), Path(folder)))
        frames = {}
        for config in registry.experiments:
            for fov_name in registry.positions(config.name):
                table = tracking_table(rng, options.observations // options.fovs)
                frames[config.name, fov_name] = table
                table.to_csv(config.tracks_path / fov_name / "tracks.csv", index=False)
        paths = [
            config.tracks_path / f / "tracks.csv"
            for config in registry.experiments
            for f in registry.positions(config.name)
        ]
        window = {"z_range": slice(0, 1), "yx_patch_size": (8, 8)}
        pandas, _ = seconds(lambda: [pd.read_csv(path) for path in paths])
        in_memory, index = seconds(lambda: MultiExperimentIndex(registry, **window, frames=frames))
        on_disk, _ = seconds(lambda: MultiExperimentIndex(registry, **window))
        rows = np.arange(len(index.tracks))
        taus = np.full_like(rows, 4)
        candidates, _ = seconds(lambda: index.candidate_ranges(rows, taus))
        batch = rng.integers(0, rows.size, 128)
        per_batch, _ = seconds(lambda: [index.candidate_ranges(batch, taus[:128]) for _ in range(1000)])
    print(index.summary())
    print(f"pandas.read_csv of all files    {pandas:7.2f} s   1.00")
    print(f"index, tables in memory         {in_memory:7.2f} s   {in_memory / pandas:.2f}")
    print(f"index, tables on disk           {on_disk:7.2f} s   {on_disk / pandas:.2f}")
    print(f"candidates of the whole table   {candidates:7.2f} s   {candidates / pandas:.2f}")
    print(f"candidates of a batch of 128    {per_batch * 1e3:7.1f} us")


if __name__ == "__main__":
    main()
