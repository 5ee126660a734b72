"""Statistics for normalization: computed once from the pixels, kept in each FOV's own metadata.

For each channel ``normalization: {channel: {...}}`` gets ``fov_statistics``, ``dataset_statistics``,
``timepoint_statistics`` (by frame, ``{"0": {...}, ...}``) and ``computed_from``, which tells a later run whether
they still hold. The data set of a FOV are all FOVs of its store whose well has a condition in some experiment of
the registry: two experiments on one store share them, since the FOV's metadata have room for one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dynaclr.checks import truth
from dynaclr.errors import DynaclrError, did_you_mean
from dynaclr.experiment import ExperimentRegistry
from dynaclr.files import locked, write_atomically, write_bytes_atomically
from dynaclr.normalization import check_statistics, is_complete
from dynaclr.plate import Position, attributes_file, read_json
from dynaclr.summaries import Accumulator, Summary
from dynaclr.wording import listed

__all__ = ["WORK_FOLDER", "PreprocessReport", "check_statistics", "compute_statistics"]

WORK_FOLDER = ".dynaclr-statistics"
"""Folder in a store that holds the FOVs finished so far; it goes when the store is finished."""

_BLOCK_BYTES = 2**26
"""Planes are read together up to this size; a single plane is never cut."""

_CACHE_BYTES = 2**28
"""Chunks that hold several planes or frames are decoded once and kept, up to this size."""


@dataclass(frozen=True)
class PreprocessReport:
    """What a run did.

    Parameters
    ----------
    computed
        FOVs whose metadata were written, as ``"<store>/<fov>"``.
    skipped
        FOVs whose statistics were there already.
    """

    computed: tuple[str, ...]
    skipped: tuple[str, ...]


@dataclass(frozen=True)
class _Job:
    """A store, its FOVs in use, and the channels whose statistics are wanted of it."""

    store: Path
    positions: Mapping[str, Position]
    channels: tuple[str, ...]

    @property
    def data_set(self) -> str:
        """Return a short text that differs when the FOVs or their shapes differ."""
        parts = [[name, *position.shape] for name, position in sorted(self.positions.items())]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def origin(self, position: Position) -> dict[str, Any]:
        """Return what the statistics of a FOV were computed from."""
        return {"shape": list(position.shape), "dtype": position.dtype.name, "data_set": self.data_set}


def compute_statistics(
    registry: ExperimentRegistry,
    *,
    channels: Sequence[str] | None = None,
    progress: bool = True,
    overwrite: bool = False,
) -> PreprocessReport:
    """Compute the statistics that normalizations need and write them to the FOVs' metadata.

    Each FOV is read once, frame by frame. Mean, std, min and max are exact; quantiles (median, iqr, p1, p99)
    are exact for 8 and 16 bits and within 0.05 % of the voxels in rank otherwise, see `dynaclr.summaries`.
    Interrupted, it leaves every metadata file whole, and the FOVs finished so far in a work folder of the
    store, where the next run finds them. Runs at the same time do not harm each other: for the same channels of a store
    they do the work twice, to one result, and those of other channels stay (where the file system has locks).

    Parameters
    ----------
    registry
        The experiments; their positions are read again at the end.
    channels
        Names of the channels; None for each experiment's source channels.
    progress
        Whether to show a progress bar.
    overwrite
        Whether to compute again what is there.

    Returns
    -------
    PreprocessReport
        Which FOVs were computed, and which were done already.

    Raises
    ------
    DynaclrError
        If a channel is unknown, a store cannot be written to or read, or holds voxels that are not finite.
    """
    progress, overwrite = truth("progress", progress), truth("overwrite", overwrite)
    registry.refresh()
    jobs = _jobs(registry, channels)
    pending = {job.store: job.channels if overwrite else _unfinished(job) for job in jobs}
    unfinished = [job for job in jobs if pending[job.store]]
    for job in unfinished:
        _check_writable(job)
    for job in unfinished:
        _prepare(job, fresh=overwrite)
    frames = sum(p.shape[0] for job in unfinished for p in job.positions.values())
    computed: list[str] = []
    skipped: list[str] = []
    with tqdm(total=frames, unit="frame", desc="preprocess", disable=not progress or not frames) as bar:
        for job in jobs:
            if pending[job.store]:
                _run(job, pending[job.store], bar)
            names = computed if pending[job.store] else skipped
            names.extend(f"{job.store.name}/{fov}" for fov in job.positions)
    if computed:
        registry.refresh()
    return PreprocessReport(tuple(computed), tuple(skipped))


def _jobs(registry: ExperimentRegistry, channels: Sequence[str] | None) -> list[_Job]:
    """Group the registry by store, so that one store is read once however many experiments it has."""
    if channels is not None:
        _check_channels(registry, channels)
    positions: dict[Path, dict[str, Position]] = {}
    wanted: dict[Path, dict[str, None]] = {}
    for config in registry.experiments:
        store = config.data_path.resolve()
        positions.setdefault(store, {}).update(registry.positions(config.name))
        of_store = config.source_channel if channels is None else config.channel_names
        named = [name for name in of_store if channels is None or name in channels]
        wanted.setdefault(store, {}).update(dict.fromkeys(named))
    return [_Job(store, fovs, tuple(wanted[store])) for store, fovs in positions.items() if fovs]


def _check_channels(registry: ExperimentRegistry, channels: Sequence[str]) -> None:
    """Refuse channels that no experiment has."""
    if isinstance(channels, str) or not channels:
        raise DynaclrError(f"channels is {channels!r}, but needs a list of at least one channel name")
    known = list(dict.fromkeys(name for config in registry.experiments for name in config.channel_names))
    for name in channels:
        if name not in known:
            hint = did_you_mean(name, known)
            raise DynaclrError(f"channels names {name!r}, but the stores have {listed(known)}{hint}")


def _unfinished(job: _Job) -> tuple[str, ...]:
    """Return the channels that some FOV lacks statistics of, or has them of other data."""
    if (job.store / WORK_FOLDER).exists():  # a run was interrupted, perhaps while it wrote
        return job.channels

    def finished(position: Position, channel: str) -> bool:
        entry = (position.normalization or {}).get(channel)
        if not isinstance(entry, dict) or not is_complete(entry, position.shape[0]):
            return False
        # Statistics without our mark are somebody else's (the format is public), and theirs to keep.
        return bool(entry.get("computed_from", job.origin(position)) == job.origin(position))

    return tuple(channel for channel in job.channels if not all(finished(p, channel) for p in job.positions.values()))


def _check_writable(job: _Job) -> None:
    """Refuse a store that cannot be written to, before hours are spent on it and before anything is deleted."""
    folder = job.store / WORK_FOLDER
    if folder.exists() and not folder.is_dir():
        raise _read_only(job.store, f"its {WORK_FOLDER} is no folder")
    for path in (folder if folder.exists() else job.store, *(position.path for position in job.positions.values())):
        if not os.access(path, os.W_OK):
            raise _read_only(path, "Permission denied")


def _prepare(job: _Job, *, fresh: bool) -> None:
    """Make the work folder, empty if the work of an interrupted run is of no use."""
    folder = job.store / WORK_FOLDER
    try:
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise _read_only(job.store, error.strerror) from error


def _read_only(path: Path, reason: str | None) -> DynaclrError:
    return DynaclrError(
        f"the statistics cannot be written to {str(path)!r} ({reason}), but preprocess needs a store that it may "
        f"write to, such as a copy"
    )


def _run(job: _Job, channels: tuple[str, ...], bar: tqdm[Any]) -> None:
    """Compute one store's statistics, and only then write all of them."""
    totals = {channel: Accumulator() for channel in channels}
    entries: dict[str, dict[str, dict[str, Any]]] = {}
    for fov, found in _finished_fovs(job, channels, bar):
        entries[fov] = {}
        for channel, (summary, frames) in found.items():
            entries[fov][channel] = {"fov_statistics": summary.statistics(), "timepoint_statistics": frames}
            totals[channel].add(summary)
    data_set = {channel: total.result().statistics() for channel, total in totals.items()}
    for fov, position in job.positions.items():
        for channel, entry in entries[fov].items():
            entry |= {"dataset_statistics": data_set[channel], "computed_from": job.origin(position)}
        _write(position, entries[fov])
    # Another run on this store may have removed it, or still write there and remove it later.
    shutil.rmtree(job.store / WORK_FOLDER, ignore_errors=True)


def _finished_fovs(job: _Job, channels: tuple[str, ...], bar: tqdm[Any]) -> Iterator[tuple[str, _Found]]:
    """Yield each FOV's summaries, those that an interrupted run kept without reading the FOV again."""
    broken: list[str] = []
    for fov, position in job.positions.items():
        work = job.store / WORK_FOLDER / fov.replace("/", "_")
        found = _load(work, position, channels)
        if found is not None:
            bar.update(position.shape[0])
        else:
            try:
                found = _summarise(position, channels, bar)
            except _NotFiniteError as error:
                broken.append(str(error))
                continue
            _save(work, position, found)
        yield fov, found
    if broken:
        raise DynaclrError(f"statistics need finite voxels, but store {str(job.store)!r} has: {'; '.join(broken)}")


class _NotFiniteError(DynaclrError):
    """A FOV with voxels that are no numbers; the others are still finished before anybody is told."""


_Found = dict[str, tuple[Summary, dict[str, dict[str, float]]]]
"""For each channel the FOV's summary and the statistics of its frames."""


def _summarise(position: Position, channels: Sequence[str], bar: tqdm[Any]) -> _Found:
    """Read a FOV, frame by frame."""
    totals = {channel: Accumulator() for channel in channels}
    frames: dict[str, dict[str, dict[str, float]]] = {channel: {} for channel in channels}
    current = {channel: Accumulator() for channel in channels}
    broken: dict[str, int] = dict.fromkeys(channels, 0)
    for frame, channel, block, last in _blocks(position, channels):
        finite = block[np.isfinite(block)] if block.dtype.kind == "f" else block
        broken[channel] += block.size - finite.size
        if finite.size:
            current[channel].add(Summary.of(finite))
        if last:
            if not broken[channel]:
                summary = current[channel].result()
                frames[channel][str(frame)] = summary.statistics()
                totals[channel].add(summary)
            current[channel] = Accumulator()
        if last and channel == channels[-1]:
            bar.update(1)
    if any(broken.values()):
        what = ", ".join(f"{number} in channel {name!r}" for name, number in broken.items() if number)
        raise _NotFiniteError(f"position {position.fov_name} {what} that are NaN or infinite")
    return {channel: (totals[channel].result(), frames[channel]) for channel in channels}


def _blocks(position: Position, channels: Sequence[str]) -> Iterator[tuple[int, str, np.ndarray[Any, Any], bool]]:
    """Yield ``(frame, channel, voxels (Z, Y, X), whether the frame's last)``, the next one already being read."""
    import tensorstore

    spec = {
        "driver": "zarr" if position.zarr_format == 2 else "zarr3",
        "kvstore": {"driver": "file", "path": str(position.array_path)},
        "context": {"cache_pool": {"total_bytes_limit": _CACHE_BYTES}},
    }
    frames, _, planes, height, width = position.shape
    step = max(1, _BLOCK_BYTES // max(1, height * width * position.dtype.itemsize))
    places = [
        (frame, channel, start) for frame in range(frames) for channel in channels for start in range(0, planes, step)
    ]
    indices = {channel: position.channel_names.index(channel) for channel in channels}
    try:
        array = tensorstore.open(spec, open=True, read=True).result()
        reads = (array[t, indices[channel], z : min(z + step, planes)].read() for t, channel, z in places)
        coming: Any = next(reads)
        for frame, channel, z in places:
            now, coming = coming, next(reads, None)
            yield frame, channel, np.asarray(now.result()), z + step >= planes
    except (ValueError, OSError) as error:
        raise DynaclrError(f"position {position.fov_name} cannot be read: {error}") from error


def _fingerprint(position: Position, channels: Sequence[str]) -> dict[str, Any]:
    """Return what must be unchanged for the work of an interrupted run to be of use."""
    metadata = position.array_path / ("zarr.json" if position.zarr_format == 3 else ".zarray")
    return {
        "fov": position.fov_name,
        "shape": list(position.shape),
        "dtype": position.dtype.name,
        "channels": list(channels),
        "written": metadata.stat().st_mtime_ns,
    }


def _save(work: Path, position: Position, found: _Found) -> None:
    """Keep a finished FOV, in one file, for a run after an interruption."""
    summaries = [summary.to_bytes() for summary, _ in found.values()]
    head = {
        "fingerprint": _fingerprint(position, list(found)),
        "frames": {channel: frames for channel, (_, frames) in found.items()},
        "sizes": [len(summary) for summary in summaries],
    }
    content = b"".join([json.dumps(head).encode(), b"\n", *summaries])
    try:
        write_bytes_atomically(work, b"\n".join([_digest(content), content]))
    except FileNotFoundError:
        return  # another run has finished this store and removed the folder; it wrote what this one will write
    except OSError as error:
        raise _read_only(work, error.strerror) from error


def _load(work: Path, position: Position, channels: Sequence[str]) -> _Found | None:
    """Return a FOV that an interrupted run finished, or None; so too if the file is damaged."""
    try:
        digest, _, content = work.read_bytes().partition(b"\n")
    except OSError:
        return None
    if digest != _digest(content):
        return None
    first, _, rest = content.partition(b"\n")
    head = json.loads(first)
    if head["fingerprint"] != _fingerprint(position, channels):
        return None
    found: _Found = {}
    for channel, size in zip(channels, head["sizes"], strict=True):
        found[channel] = Summary.from_bytes(rest[:size]), head["frames"][channel]
        rest = rest[size:]
    return found


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def _write(position: Position, entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Put the statistics into the FOV's metadata and touch nothing else there."""
    path = attributes_file(position.path, position.zarr_format)
    with locked(position.path):
        content = _with_statistics(read_json(path), position.zarr_format, entries)
        try:
            write_atomically(path, json.dumps(content, indent=2))
        except OSError as error:
            raise _read_only(path, error.strerror) from error


def _with_statistics(
    content: dict[str, Any], zarr_format: int, entries: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return a FOV's metadata with these channels' statistics, beside those of other channels."""
    attributes = content.setdefault("attributes", {}) if zarr_format == 3 else content
    normalization = attributes.get("normalization")
    if not isinstance(normalization, dict):
        normalization = attributes["normalization"] = {}
    for channel, entry in entries.items():
        old = normalization.get(channel)
        normalization[channel] = {**(old if isinstance(old, dict) else {}), **entry}
    return content
