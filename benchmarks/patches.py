"""Patches: whole batches of the dataset beside bare TensorStore reads of the same windows."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.baselines import NaivePatches
from benchmarks.limits import BareReads
from benchmarks.model import Entry, Figure, Scale, at_least
from benchmarks.timing import Call, in_own_process, interleaved, middle_process
from dynaclr.dataset import EpochIndices, MultiExperimentTripletDataset
from dynaclr.experiment import ExperimentRegistry
from dynaclr.index import MultiExperimentIndex
from dynaclr_strategies.ready_made import two_experiments
from dynaclr_strategies.writers import write_registry

GROUP = "patches"
SIDE, PATCH, FRAMES, BATCH = 512, 160, 12, 128
PROCESSES = 5


@dataclass(frozen=True)
class Kind:
    """How the pixels lie on disk, and what is kept of them."""

    name: str
    chunk: int
    dtype: str = "float32"
    cold: bool = False
    cache_pool_bytes: int = 0


KINDS = (
    Kind("chunks of a plane, cold", SIDE, cold=True),
    Kind("chunks of a plane, warm", SIDE),
    Kind("chunks of a plane, warm, uint16", SIDE, "uint16"),
    Kind("chunks of 64 x 64, cold", 64, cold=True),
    Kind("chunks of 64 x 64, warm", 64),
    Kind("chunks of 64 x 64, warm, uint16", 64, "uint16"),
    Kind("chunks of a plane, in TensorStore's cache", SIDE, cache_pool_bytes=4 << 30),
)


class Plates:
    """Two experiments on disk, their dataset, and batches of its anchors.

    Parameters
    ----------
    root
        Where they are written.
    kind
        How.
    batch_size
        Anchors in a batch.
    """

    def __init__(self, root: Path, kind: Kind, batch_size: int) -> None:
        self.root, self.kind = root, kind
        both = two_experiments(
            wells=("A/1",), conditions=("mock",), tracks=60, frames=FRAMES, size=(SIDE, SIDE), dtype=kind.dtype
        )
        chunks = (1, 1, 1, kind.chunk, kind.chunk)
        experiments = tuple(replace(one, chunks=chunks) for one in both.experiments)
        self.registry = ExperimentRegistry.from_yaml(write_registry(replace(both, experiments=experiments), root))
        os.sync()  # only clean pages can be dropped
        index = MultiExperimentIndex(self.registry, slice(0, 1), (PATCH, PATCH))
        self.dataset = MultiExperimentTripletDataset(index, cache_pool_bytes=kind.cache_pool_bytes)
        rng = np.random.default_rng(0)
        self.batches = [
            EpochIndices(rng.integers(len(self.dataset), size=batch_size).tolist(), epoch) for epoch in range(4)
        ]
        self.rows = [
            np.concatenate([index.valid_anchors["row"].to_numpy()[list(batch)], self.dataset.positives(batch)[0]])
            for batch in self.batches
        ]

    def arrays(self) -> dict[tuple[str, str], tuple[Path, int]]:
        """Return path and format of each FOV's array."""
        return {
            (name, fov): (position.array_path, position.zarr_format)
            for name in self.registry.names
            for fov, position in self.registry.positions(name).items()
        }

    def ours(self) -> Call:
        """Return a call that reads the next batch with the dataset, and lets go of it."""
        batches = cycle(self.batches)
        return lambda: self.dataset.__getitems__(next(batches))["anchor"].shape

    def forget(self) -> None:
        """Drop the files from the system's cache."""
        for path in self.root.rglob("*"):
            if path.is_file():
                file = os.open(path, os.O_RDONLY)
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(file)


def measure(scale: Scale) -> Iterator[Entry]:
    """Measure the rows of the patches."""
    size = scale.sizes(BATCH, quick=(16,))[0]
    processes = scale.sizes(PROCESSES, quick=(1,))[0]
    for number, kind in enumerate(KINDS):
        arguments = {"kind": number, "batch_size": size, "budget": 4 * scale.budget / processes}
        taken = [in_own_process("benchmarks.patches:one_process", **arguments) for _ in range(processes)]
        figure = Figure(GROUP, kind.name, size, "batch size", "batch", middle_process(taken, "ours", "limit"))
        yield figure
        assert figure.over_limit is not None
        yield at_least(GROUP, kind.name, "of the throughput of bare reads", 1 / figure.over_limit, 0.95)


def one_process(kind: int, batch_size: int, budget: float) -> dict[str, float]:
    """Return the seconds that each side takes for a batch in this process.

    Parameters
    ----------
    kind
        Which of `KINDS`.
    batch_size
        Anchors in a batch.
    budget
        Seconds to spend on the turns.
    """
    with tempfile.TemporaryDirectory() as folder:
        return _turns(Plates(Path(folder), KINDS[kind], batch_size), budget)


def _turns(plates: Plates, budget: float) -> dict[str, float]:
    kind, tracks = plates.kind, plates.dataset.index.tracks
    where = (slice(0, 2), slice(0, 1), (PATCH, PATCH))
    bare = BareReads(plates.arrays(), kind.cache_pool_bytes)
    windows = [bare.windows(tracks, rows, *where) for rows in plates.rows]
    naive = NaivePatches(tracks, _lazy(plates), *where)
    _check_all_read_the_same(plates, bare, windows[0], naive)

    of_bare = cycle(windows)
    # A batch a turn, so that turns are many and what else the machine does falls to both sides alike.
    calls: dict[str, tuple[Call, int]] = {
        "ours": (plates.ours(), 1),
        "limit": ((lambda: len(bare.read(next(of_bare)))), 1),
    }
    if not kind.cache_pool_bytes:  # the baseline keeps no chunks
        calls["baseline"] = ((lambda: naive(plates.rows[0])), 1)
    before = dict.fromkeys(calls, plates.forget) if kind.cold else None
    return interleaved(calls, budget, before, least=5, of_turns=median)


def _lazy(plates: Plates) -> dict[tuple[str, str], Any]:
    import zarr

    return {key: zarr.open_array(path, mode="r") for key, (path, _) in plates.arrays().items()}


def _check_all_read_the_same(plates: Plates, bare: BareReads, windows: list[Any], naive: NaivePatches) -> None:
    read = plates.dataset.__getitems__(plates.batches[0])
    ours = np.concatenate([read["anchor"], read["positive"]])
    assert np.array_equal(ours, np.stack(bare.read(windows)).astype(np.float32))
    assert np.array_equal(ours, naive(plates.rows[0]))
