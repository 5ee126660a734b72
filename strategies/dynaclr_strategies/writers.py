"""Description to files: HCS OME-Zarr stores, tracking CSVs and the YAML of a registry.

Nothing here uses a reader of ``dynaclr`` or iohub, so that a bug of a reader cannot hide in the writer:
metadata is written as JSON, chunks as plain files (compressed or sharded arrays by zarr itself).
"""

from __future__ import annotations

import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dynaclr_strategies.codec import yaml_text
from dynaclr_strategies.descriptions import (
    ExperimentDescription,
    FovDescription,
    RegistryDescription,
    TrackDescription,
)
from dynaclr_strategies.pixels import expected_patch, fov_pixels, what_was_read

__all__ = [
    "check_names",
    "expected_patch",
    "registry_yaml",
    "what_was_read",
    "write_registry",
    "write_store",
    "write_tracks",
]

Metadata = dict[str, Any]


def write_registry(description: RegistryDescription, root: Path) -> Path:
    """Write stores, tracking CSVs and ``experiments.yml`` below a folder.

    Parameters
    ----------
    description
        What to write.
    root
        Folder, made if it is missing: ``<store>.zarr``, ``tracks/<store>/<row>/<col>/<fov>/tracks.csv`` and
        ``experiments.yml`` with paths relative to itself.

    Returns
    -------
    Path
        The YAML file.

    Raises
    ------
    ValueError
        If a name would lead out of the folder; see `check_names`.
    """
    check_names(description)
    root.mkdir(parents=True, exist_ok=True)
    written: set[str] = set()
    for experiment in description.experiments:
        store = description.store_of(experiment.name)
        if store not in written:
            write_store(description, experiment.name, root / f"{store}.zarr")
            write_tracks(experiment, root / "tracks" / store)
            written.add(store)
    path = root / "experiments.yml"
    path.write_text(registry_yaml(description), encoding="utf-8")
    return path


def check_names(description: RegistryDescription) -> None:
    """Check that stores, wells and FOVs have names that stay inside the folder that they are written to.

    Raises
    ------
    ValueError
        If one does not.
    """
    for experiment in description.experiments:
        names = [("store", experiment.store or "-"), *(("FOV", name) for name, _ in experiment.fovs())]
        for what, name in [*names, *(("well", well.name) for well in experiment.wells)]:
            parts = name.split("/")
            if not all(re.fullmatch(r"[^/\\:\0]+", part) and part.strip(" .") for part in parts):
                raise ValueError(f"{what} name {name!r} of experiment {experiment.name!r} leads out of its folder")


def registry_yaml(description: RegistryDescription) -> str:
    """Return the text of ``experiments.yml``; fields at their defaults are left out."""
    entries = []
    for experiment in description.experiments:
        store = description.store_of(experiment.name)
        entry: Metadata = {
            "name": experiment.name,
            "data_path": f"{store}.zarr",
            "tracks_path": f"tracks/{store}",
            "channel_names": list(experiment.channel_names),
            "source_channel": list(experiment.source_channel),
            "condition_wells": {label: list(wells) for label, wells in experiment.condition_wells},
            "interval_minutes": experiment.interval_minutes,
            "start_hpi": experiment.start_hpi,
        }
        defaults = {
            "organelle": "",
            "date": "",
            "moi": 0.0,
            "founder_parent": None,
            "impossible_parents": "error",
        }
        for field, default in defaults.items():
            if getattr(experiment, field) != default:
                entry[field] = getattr(experiment, field)
        entries.append(entry)
    return yaml_text({"experiments": entries})


# --- tracks ------------------------------------------------------------------------------------------------


def write_tracks(experiment: ExperimentDescription, root: Path) -> None:
    """Write one ``<row>/<col>/<fov>/tracks.csv`` per FOV that has one; rows by track, then frame."""
    root.mkdir(parents=True, exist_ok=True)
    for fov_name, fov in experiment.fovs():
        if not fov.has_csv:
            continue
        folder = root / fov_name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tracks.csv").write_text(_tracks_csv(experiment, fov), encoding="utf-8")


def _tracks_csv(experiment: ExperimentDescription, fov: FovDescription) -> str:
    columns = ["track_id", "t", "y", "x", *experiment.optional_columns]
    ids = fov.row_ids
    last = {track.track_id: ids[track.track_id, track.frames[-1]] for track in fov.tracks}
    lines = [",".join(columns)]
    for track in fov.tracks:
        # An observation points at the one before it, the first of a daughter at the last of its parent (ultrack).
        before = str(last.get(track.parent, -1)) if track.parent is not None else "-1"
        for t in track.frames:
            y, x = track.position(t)
            row = {
                "track_id": str(track.track_id),
                "t": str(t),
                "y": repr(y),
                "x": repr(x),
                "z": str(fov.z // 2),
                "id": str(ids[track.track_id, t]),
                "parent_track_id": _parent_text(track),
                "parent_id": before,
            }
            lines.append(",".join(row[column] for column in columns))
            before = row["id"]
    return "\n".join(lines) + "\n"


def _parent_text(track: TrackDescription) -> str:
    if track.parent is not None:
        return str(track.parent)
    own, unknown = str(track.track_id), str(10**6 + track.track_id)
    return {"empty": "", "-1": "-1", "0": "0", "own id": own, "unknown id": unknown}[track.no_parent]


# --- stores ------------------------------------------------------------------------------------------------


def write_store(description: RegistryDescription, experiment: str, root: Path) -> None:
    """Write one experiment's plate as an HCS OME-Zarr store at ``root``."""
    config = description.experiment(experiment)
    pixels = {name: fov_pixels(description, experiment, name) for name, _ in config.fovs()}
    dataset = _channel_statistics(config, list(pixels.values())) if config.normalization else {}
    _write_group(root, config.ome_version, {"plate": _plate_metadata(config)})
    for row in dict.fromkeys(well.name.split("/")[0] for well in config.wells):
        _write_group(root / row, config.ome_version, {})
    for well in config.wells:
        images = [{"path": fov.name, "acquisition": 0} for fov in well.fovs]
        metadata = {"well": {"version": config.ome_version, "images": images}}
        _write_group(root / well.name, config.ome_version, metadata)
        for fov in well.fovs:
            array = pixels[f"{well.name}/{fov.name}"]
            extra = _normalization(config, array, dataset) if config.normalization else {}
            _write_group(root / well.name / fov.name, config.ome_version, _image_metadata(config, fov), extra)
            _write_array(root / well.name / fov.name / "0", config, array)


def _write_group(path: Path, version: str, ome: Metadata, extra: Metadata | None = None) -> None:
    """Write a zarr group with OME metadata (under ``ome`` since 0.5) and other attributes beside it."""
    path.mkdir(parents=True, exist_ok=True)
    if version == "0.4":
        (path / ".zgroup").write_text('{"zarr_format": 2}', encoding="utf-8")
        (path / ".zattrs").write_text(json.dumps({**ome, **(extra or {})}), encoding="utf-8")
        return
    attributes = {**({"ome": {"version": version, **ome}} if ome else {}), **(extra or {})}
    group = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    (path / "zarr.json").write_text(json.dumps(group), encoding="utf-8")


def _plate_metadata(config: ExperimentDescription) -> Metadata:
    names = [well.name.split("/") for well in config.wells]
    rows = list(dict.fromkeys(row for row, _ in names))
    columns = list(dict.fromkeys(column for _, column in names))
    return {
        "version": config.ome_version,
        "name": config.name,
        "acquisitions": [{"id": 0}],
        "rows": [{"name": row} for row in rows],
        "columns": [{"name": column} for column in columns],
        "wells": [
            {"path": f"{row}/{column}", "rowIndex": rows.index(row), "columnIndex": columns.index(column)}
            for row, column in names
        ],
    }


def _image_metadata(config: ExperimentDescription, fov: FovDescription) -> Metadata:
    time, channel, *space = list(config.axes)
    window = {"start": 0.0, "end": 255.0, "min": 0.0, "max": 65535.0}
    multiscale: Metadata = {
        "version": config.ome_version,
        "name": fov.name,
        "axes": [
            {"name": time, "type": "time", "unit": "second"},
            {"name": channel, "type": "channel"},
            *({"name": name, "type": "space", "unit": "micrometer"} for name in space),
        ],
        "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1.0] * 5}]}],
    }
    channels = [{"label": name, "color": "FFFFFF", "active": True, "window": window} for name in config.channel_names]
    rdefs = {"defaultT": 0, "defaultZ": 0, "model": "color", "projection": "normal"}
    omero = {"version": config.ome_version, "id": 0, "name": fov.name, "channels": channels, "rdefs": rdefs}
    return {"multiscales": [multiscale], "omero": omero}


def _write_array(path: Path, config: ExperimentDescription, array: npt.NDArray[Any]) -> None:
    wanted = config.chunks or (1, *array.shape[1:])
    chunks = tuple(min(size, extent) for size, extent in zip(wanted, array.shape, strict=True))
    if config.compressed or config.shards is not None:
        _write_array_with_zarr(path, config, array, chunks)
        return
    path.mkdir(parents=True, exist_ok=True)
    if config.ome_version == "0.4":
        (path / ".zarray").write_text(json.dumps(_array_metadata_v2(array, chunks)), encoding="utf-8")
        (path / ".zattrs").write_text("{}", encoding="utf-8")
        prefix = path
    else:
        (path / "zarr.json").write_text(json.dumps(_array_metadata_v3(array, chunks, config.axes)), encoding="utf-8")
        prefix = path / "c"
    _write_chunks(prefix, array, chunks)


def _write_chunks(prefix: Path, array: npt.NDArray[Any], chunks: tuple[int, ...]) -> None:
    grid = [math.ceil(extent / size) for extent, size in zip(array.shape, chunks, strict=True)]
    # Chunks at the far border are stored whole, whatever lies beyond the array.
    spare = [(0, n * size - extent) for n, size, extent in zip(grid, chunks, array.shape, strict=True)]
    full = np.pad(array, spare).astype(array.dtype.newbyteorder("<"), copy=False)
    for index in itertools.product(*(range(n) for n in grid)):
        if index[-1] == 0:
            folder = prefix.joinpath(*(str(i) for i in index[:-1]))
            folder.mkdir(parents=True, exist_ok=True)
        window = tuple(slice(i * size, (i + 1) * size) for i, size in zip(index, chunks, strict=True))
        with (folder / str(index[-1])).open("wb") as file:
            file.write(full[window].tobytes())


def _array_metadata_v2(array: npt.NDArray[Any], chunks: tuple[int, ...]) -> Metadata:
    return {
        "zarr_format": 2,
        "shape": list(array.shape),
        "chunks": list(chunks),
        "dtype": array.dtype.newbyteorder("<").str,
        "compressor": None,
        "fill_value": 0,
        "order": "C",
        "filters": None,
        "dimension_separator": "/",
    }


def _array_metadata_v3(array: npt.NDArray[Any], chunks: tuple[int, ...], axes: str) -> Metadata:
    codec: Metadata = {"name": "bytes"}
    if array.dtype.itemsize > 1:
        codec["configuration"] = {"endian": "little"}
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(array.shape),
        "data_type": array.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunks)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [codec],
        "attributes": {},
        "dimension_names": list(axes),
    }


def _write_array_with_zarr(
    path: Path, config: ExperimentDescription, array: npt.NDArray[Any], chunks: tuple[int, ...]
) -> None:
    import zarr

    shards = None
    if config.shards is not None:
        shards = tuple(n * size for n, size in zip(config.shards, chunks, strict=True))
    version_2 = config.ome_version == "0.4"
    written = zarr.create_array(
        str(path),
        shape=array.shape,
        dtype=array.dtype,
        chunks=chunks,
        shards=shards,
        compressors="auto" if config.compressed else None,
        zarr_format=2 if version_2 else 3,
        fill_value=0,
        chunk_key_encoding={"name": "v2" if version_2 else "default", "separator": "/"},
        dimension_names=None if version_2 else list(config.axes),
    )
    written[:] = array


# --- statistics --------------------------------------------------------------------------------------------


def _statistics(values: npt.NDArray[Any]) -> dict[str, float]:
    values = values.astype(np.float64)
    p1, q1, median, q3, p99 = (float(q) for q in np.percentile(values, [1, 25, 50, 75, 99]))
    return {
        "mean": float(values.mean()),
        "std": float(values.std()),
        "median": median,
        "iqr": q3 - q1,
        "min": float(values.min()),
        "max": float(values.max()),
        "p1": p1,
        "p99": p99,
    }


def _channel_statistics(config: ExperimentDescription, arrays: list[npt.NDArray[Any]]) -> dict[str, dict[str, float]]:
    return {
        channel: _statistics(np.concatenate([array[:, c].ravel() for array in arrays]))
        for c, channel in enumerate(config.channel_names)
    }


def _normalization(
    config: ExperimentDescription, array: npt.NDArray[Any], dataset: dict[str, dict[str, float]]
) -> Metadata:
    fov = _channel_statistics(config, [array])
    return {
        "normalization": {
            channel: {
                "dataset_statistics": dataset[channel],
                "fov_statistics": fov[channel],
                "timepoint_statistics": {str(t): _statistics(frame) for t, frame in enumerate(array[:, c])},
            }
            for c, channel in enumerate(config.channel_names)
        }
    }
