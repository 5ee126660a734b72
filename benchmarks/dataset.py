"""Dataset: throughput of whole batches against bare TensorStore reads of the same windows.

Both read the same anchors and positives from the same files. The bare side opens the arrays beforehand, issues one
read per window, all at once, and keeps the results as they come: no choice of positives, no statistics, no batch. With
integers in the store it is measured twice, since the network needs float32: as it is, and with TensorStore's own
conversion. Runs alternate and the shortest of each counts, so that a busy machine disturbs all alike.

    python benchmarks/dataset.py [--batch-size 128] [--patch 128] [--planes 8] [--dtype float32] [--rounds 20]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts

from dynaclr.dataset import EpochIndices, MultiExperimentTripletDataset
from dynaclr.experiment import ExperimentRegistry
from dynaclr.index import MultiExperimentIndex
from dynaclr_strategies.ready_made import two_experiments
from dynaclr_strategies.writers import write_registry

FRAMES = 12


def make_dataset(root: Path, args: argparse.Namespace) -> MultiExperimentTripletDataset:
    """Write two experiments, chunked as microscopes' converters do, and index them."""
    plate: dict[str, Any] = {"wells": ("A/1",), "conditions": ("mock",), "tracks": 60, "frames": FRAMES}
    both = two_experiments(**plate, size=(512, 512), z=args.planes, dtype=args.dtype)
    chunks = (1, 1, args.planes, 256, 256)
    experiments = tuple(
        replace(one, chunks=chunks, compressed=args.compressed, ome_version=args.ome) for one in both.experiments
    )
    registry = ExperimentRegistry.from_yaml(write_registry(replace(both, experiments=experiments), root))
    index = MultiExperimentIndex(registry, slice(0, args.planes), (args.patch, args.patch))
    return MultiExperimentTripletDataset(index)


class BareReads:
    """The same windows, read with TensorStore and nothing else."""

    def __init__(self, dataset: MultiExperimentTripletDataset, batches: list[EpochIndices], convert: bool) -> None:
        index = dataset.index
        tracks, height = index.tracks, index.yx_patch_size[0]
        context = ts.Context({"cache_pool": {"total_bytes_limit": 0}})
        stores: dict[tuple[str, str], Any] = {}
        self.windows = []
        for batch in batches:
            rows = [*index.valid_anchors["row"].iloc[list(batch)], *dataset.positives(batch)[0].tolist()]
            windows = []
            for row in tracks.iloc[rows].itertuples():
                key = (row.experiment, row.fov_name)
                if key not in stores:
                    position = index.registry.positions(row.experiment)[row.fov_name]
                    driver = {2: "zarr", 3: "zarr3"}[position.zarr_format]
                    spec = {"driver": driver, "kvstore": {"driver": "file", "path": str(position.array_path)}}
                    store = ts.open(spec, open=True, read=True, context=context).result()
                    stores[key] = ts.cast(store, ts.float32) if convert else store
                top, left = row.y_clamp - height // 2, row.x_clamp - height // 2
                window = (row.t, slice(0, 2), index.z_range, slice(top, top + height), slice(left, left + height))
                windows.append((stores[key], window))
            self.windows.append(windows)

    def __call__(self, number: int) -> list[np.ndarray[Any, Any]]:
        """Read one batch."""
        futures = [store[window].read() for store, window in self.windows[number]]
        return [future.result() for future in futures]


def shortest(functions: dict[str, Callable[[int], Any]], batches: int, rounds: int) -> dict[str, float]:
    """Return the shortest time in seconds that each function took for all batches."""
    best = dict.fromkeys(functions, float("inf"))
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            for number in range(batches):
                function(number)
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--patch", type=int, default=128)
    parser.add_argument("--planes", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--dtype", choices=["uint8", "uint16", "float32", "float64"], default="float32")
    parser.add_argument("--ome", choices=["0.4", "0.5"], default="0.4")
    parser.add_argument("--compressed", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        dataset = make_dataset(Path(folder), args)
        rng = np.random.default_rng(0)
        batches = [EpochIndices(rng.integers(len(dataset), size=args.batch_size).tolist(), i) for i in range(4)]
        bare = BareReads(dataset, batches, convert=False)
        read = dataset.__getitems__(batches[0])
        expected = np.stack(bare(0)).astype(np.float32)
        assert np.array_equal(np.concatenate([read["anchor"], read["positive"]]), expected)
        functions: dict[str, Callable[[int], Any]] = {
            "dataset": lambda number: dataset.__getitems__(batches[number]),
            f"bare reads, {args.dtype}": bare,
        }
        if args.dtype != "float32":
            functions["bare reads, float32"] = BareReads(dataset, batches, convert=True)
        best = shortest(functions, len(batches), args.rounds)
    ours = best["dataset"]
    for name, seconds in best.items():
        speed = expected.size * len(batches) / seconds / 1e6
        print(f"{name:20s} {seconds / len(batches) * 1e3:8.1f} ms per batch {speed:8.0f} million voxels/s", end="")
        print("" if name == "dataset" else f"; the dataset has {seconds / ours:.2f} of its throughput")


if __name__ == "__main__":
    main()
