"""How large a case from a stranger may be: a small file can ask for arrays, batches and ranks of any size.

The bounds are far above all that strategies draw. Besides, numbers are refused that no sampler takes, so that nobody
reads the refusal as a broken law.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

from dynaclr_strategies.cases import DataModuleCase, DatasetCase, IndexCase, RegistryCase
from dynaclr_strategies.descriptions import ExperimentDescription, FovDescription, RegistryDescription
from dynaclr_strategies.sampler_descriptions import LifeCase, SamplerCase, SamplerOptions, TableDescription

__all__ = ["MAX_ROWS", "MAX_VOXELS", "check_sizes", "fields_of"]

MAX_ROWS, MAX_VOXELS = 10**6, 2**26
MAX_BATCH, MAX_RANKS, MAX_RANKS_AT_ONCE, MAX_WORKERS = 2**16, 2**10, 64, 32
MAX_CHUNKS, MAX_CHUNKS_IN_SHARD, MAX_SHARD_VOXELS, MAX_TAU_FRAMES = 10**5, 10**4, 2**24, 10**5

_COLUMNS = ("experiment", "condition", "organelle", "moi", "hours_post_infection", "lineage_id")


def fields_of(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield names and values of all fields of a description, the inner ones included."""
    if isinstance(value, tuple):
        for item in value:
            yield from fields_of(item)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            inner = getattr(value, field.name)
            yield field.name, inner
            yield from fields_of(inner)


def check_sizes(case: Any, *, max_voxels: int = MAX_VOXELS, max_rows: int = MAX_ROWS) -> None:
    """Check that nothing that is computed from a case fills memory or time.

    Raises
    ------
    ValueError
        If something does, or is no number of its kind at all; the sentence names it.
    """
    for part in (case, *(value for _, value in fields_of(case))):
        if isinstance(part, RegistryDescription):
            _check_voxels(part, max_voxels)
            for experiment in part.experiments:
                _check_store(experiment)
        if isinstance(part, TableDescription):
            _check_rows(part, max_rows)
        for kind, check in _CHECKS.items():
            if isinstance(part, kind):
                check(part)


def _within(name: str, value: float, least: float, most: float) -> None:
    # Written so that what is not a number lies outside.
    if not least <= value <= most:
        raise ValueError(f"{name}={value!r} of the case needs to lie between {least} and {most}")


# --- registries -------------------------------------------------------------------------------------------------------


def _shape(experiment: ExperimentDescription, fov: FovDescription) -> tuple[int, ...]:
    return fov.frames, len(experiment.channel_names), fov.z, fov.y, fov.x


def _check_voxels(registry: RegistryDescription, most: int) -> None:
    shapes = [_shape(experiment, fov) for experiment in registry.experiments for _, fov in experiment.fovs()]
    # An empty side does not make the others small: coordinates are counted along each of them.
    voxels = sum(math.prod(max(1, side) for side in shape) for shape in shapes)
    if voxels > most or any(side < 0 for shape in shapes for side in shape):
        raise ValueError(f"the registry of the case has {voxels} voxels, but needs at most {most}")


def _check_store(experiment: ExperimentDescription) -> None:
    interval = experiment.interval_minutes
    if not 0 < interval < math.inf:
        raise ValueError(f"interval_minutes={interval!r} of the case needs to be finite and above 0")
    for name in ("chunks", "shards"):
        numbers = getattr(experiment, name)
        if numbers is not None and min(numbers) < 1:
            raise ValueError(f"{name}={numbers!r} of the case needs numbers of at least 1")
    chunks = 0
    for _, fov in experiment.fovs():
        shape = _shape(experiment, fov)
        chunk = [min(one, side) or 1 for one, side in zip(experiment.chunks or (1, *shape[1:]), shape, strict=True)]
        chunks += math.prod(-(-side // one) for side, one in zip(shape, chunk, strict=True))
        inside = math.prod(experiment.shards or (1,))
        shard = inside * math.prod(chunk)
        if inside > MAX_CHUNKS_IN_SHARD or shard > MAX_SHARD_VOXELS:
            raise ValueError(
                f"shards={experiment.shards!r} of the case have {inside} chunks of {shard} voxels together, but each "
                f"needs at most {MAX_CHUNKS_IN_SHARD} and {MAX_SHARD_VOXELS}"
            )
    if chunks > MAX_CHUNKS:
        raise ValueError(f"chunks={experiment.chunks!r} of the case makes {chunks}, but it needs at most {MAX_CHUNKS}")


def _check_tau(case: RegistryCase | IndexCase) -> None:
    hours, registry = case.tau_range_hours, case.registry
    shortest = min((experiment.interval_minutes for experiment in registry.experiments), default=1.0)
    if shortest > 0 and not all(abs(hour) * 60 / shortest <= MAX_TAU_FRAMES for hour in hours):
        raise ValueError(
            f"tau_range_hours={hours!r} of the case, of {shortest!r} minutes a frame, needs to end within "
            f"{MAX_TAU_FRAMES} frames"
        )


def _patch_voxels(case: IndexCase, name: str, size: tuple[int, int], rows: int = 1) -> None:
    sources = max((len(experiment.source_channel) for experiment in case.registry.experiments), default=1)
    planes = max(1, case.z_range[1] - case.z_range[0])
    voxels = rows * sources * planes * math.prod(max(1, side) for side in size)
    if voxels > MAX_VOXELS:
        raise ValueError(
            f"z_range={case.z_range!r} and {name}={size!r} of the case make {rows} patches of {voxels} voxels "
            f"together, but it needs at most {MAX_VOXELS}"
        )


def _check_index(case: IndexCase) -> None:
    _check_tau(case)
    _patch_voxels(case, "yx_patch_size", case.yx_patch_size)


def _check_dataset(case: DatasetCase) -> None:
    rows = len(case.batch)
    if rows > MAX_BATCH:
        raise ValueError(f"the batch with {rows} rows of the case needs at most {MAX_BATCH}")
    _patch_voxels(case.index, "yx_patch_size", case.index.yx_patch_size, rows)


def _check_datamodule(case: DataModuleCase) -> None:
    _within("num_workers", case.num_workers, 0, MAX_WORKERS)
    for name, size in (
        ("yx_patch_size", case.index.yx_patch_size),
        ("final_yx_patch_size", case.final_yx_patch_size),
    ):
        _patch_voxels(case.index, name, size, case.sampling.batch_size)


# --- samplers ---------------------------------------------------------------------------------------------------------


def _check_rows(table: TableDescription, most: int) -> None:
    for stratum in table.strata:
        _within("cells", stratum.cells, 0, most)
    if table.size > most:
        raise ValueError(f"the table of the case has {table.size} rows, but needs at most {most}")


def _check_options(options: SamplerOptions) -> None:
    _within("batch_size", options.batch_size, 1, MAX_BATCH)
    _within("leaky", options.leaky, 0, math.nextafter(1, 0))
    _within("temporal_global_fraction", options.temporal_global_fraction, 0, 1)
    _within("temporal_window_hours", options.temporal_window_hours, 0, math.nextafter(math.inf, 0))
    if options.num_replicas is not None:
        _within("num_replicas", options.num_replicas, 1, MAX_RANKS)
        _within("rank", options.rank or 0, 0, options.num_replicas - 1)


def _check_columns(case: SamplerCase | LifeCase) -> None:
    options = case.options
    exclusive = () if options.exclusive_by is None else (options.exclusive_by,)
    for name, columns in (
        ("group_by", options.group_by),
        ("stratify_by", options.stratify_by),
        ("exclusive_by", exclusive),
    ):
        if not set(columns) <= {*_COLUMNS, *(("t", "note") if case.table.extra_columns else ())}:
            given = getattr(options, name)
            raise ValueError(f"{name}={given!r} needs to be of the columns of the table: {', '.join(_COLUMNS)}")


def _check_life(case: LifeCase) -> None:
    _check_columns(case)
    _within("ranks", case.ranks, 1, MAX_RANKS_AT_ONCE)


_CHECKS: dict[type, Callable[[Any], None]] = {
    RegistryCase: _check_tau,
    IndexCase: _check_index,
    DatasetCase: _check_dataset,
    DataModuleCase: _check_datamodule,
    SamplerOptions: _check_options,
    SamplerCase: _check_columns,
    LifeCase: _check_life,
}
