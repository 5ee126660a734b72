"""Stores written by the property library, beside iohub's writer and beside plain file calls."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.baselines import write_with_iohub
from benchmarks.limits import write_files
from benchmarks.model import Entry, Figure, Scale, at_most
from benchmarks.timing import interleaved
from dynaclr_strategies.descriptions import RegistryDescription
from dynaclr_strategies.pixels import fov_pixels
from dynaclr_strategies.ready_made import two_experiments
from dynaclr_strategies.writers import write_registry

GROUP = "stores"
_MEMORY = Path("/dev/shm")  # noqa: S108  only as the place of a new folder


def describe(fovs: int) -> RegistryDescription:
    """Two experiments with half of the FOVs each, of 6 frames x 3 channels x 1 plane x 32 x 32."""
    return two_experiments(wells=("A/1",), conditions=("mock",), fovs=fovs // 2, frames=6, size=(32, 32))


def measure(scale: Scale) -> Iterator[Entry]:
    """Measure the row of the stores."""
    figures = []
    for version in ("0.4", "0.5"):
        for fovs in scale.sizes(2, 4, 16, 64, quick=(2, 4)):
            description = describe(fovs)
            experiments = tuple(replace(one, ome_version=version) for one in description.experiments)
            figures.append(_one(scale, replace(description, experiments=experiments), fovs, version))
            yield figures[-1]
    worst = max(figure.over_limit or 0 for figure in figures)
    yield at_most(GROUP, "generated registries", "times plain file calls of the same bytes, at every size", worst, 3)


def _one(scale: Scale, description: RegistryDescription, fovs: int, version: str) -> Figure:
    # In memory where the system offers it: a disk that writes back what is long deleted is slower than all sides.
    with tempfile.TemporaryDirectory(dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None) as folder:
        root = Path(folder)
        write_registry(description, root / "once")
        files = [path for path in (root / "once").rglob("*") if path.is_file()]
        content = {str(path.relative_to(root / "once")): path.read_bytes() for path in files}
        images = {
            one.name: {name: fov_pixels(description, one.name, name) for name, _ in one.fovs()}
            for one in description.experiments
        }

        def clear() -> None:
            shutil.rmtree(root / "new", ignore_errors=True)

        def with_iohub() -> None:
            for one in description.experiments:
                path = root / "new" / f"{one.name}.zarr"
                write_with_iohub(path, list(one.channel_names), images[one.name], version)

        calls = {
            "ours": ((lambda: write_registry(description, root / "new")), 1),
            "limit": ((lambda: write_files(content, root / "new")), 1),
            "baseline": (with_iohub, 1),
        }
        taken = interleaved(calls, scale.budget / 2, dict.fromkeys(calls, clear))
    return Figure(GROUP, f"registry, OME-Zarr {version}", fovs, "FOVs", "registry", taken)
