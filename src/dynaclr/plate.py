"""The metadata of an HCS OME-Zarr plate, read from its JSON files: no array is opened.

OME-Zarr 0.4 lies in Zarr format 2 (``.zattrs``, ``.zarray``), 0.5 in Zarr format 3 (``zarr.json``, with the OME
metadata under the attribute ``ome``). Layout -> https://ngff.openmicroscopy.org/0.5/#hcs-layout.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dynaclr.errors import DynaclrError

AXES = "TCZYX"
"""The axes that every image must have, in this order."""


@dataclass(frozen=True)
class Plate:
    """What a plate says of itself.

    Parameters
    ----------
    path
        Absolute path of the store.
    zarr_format
        2 or 3.
    ome_zarr_version
        The OME-Zarr version that the metadata name, such as ``"0.4"``.
    wells
        Names of the wells, such as ``"A/1"``, in the plate's own order.
    """

    path: Path
    zarr_format: Literal[2, 3]
    ome_zarr_version: str
    wells: tuple[str, ...]


@dataclass(frozen=True)
class Position:
    """One field of view (FOV): where it is and what its metadata say.

    Parameters
    ----------
    fov_name, well_name
        Names inside the plate, such as ``"A/1/0"`` and ``"A/1"``.
    path
        Absolute path of the position's group.
    array_path
        Absolute path of the array of full resolution.
    shape
        Numbers of frames, channels, planes, rows and columns (T, C, Z, Y, X).
    dtype
        Type of the array's voxels.
    channel_names
        Names of the channels, in the order of the array.
    zarr_format
        2 or 3.
    ome_zarr_version
        The OME-Zarr version that the metadata name.
    normalization
        The metadata under the key ``normalization``, ``{channel: {"fov_statistics": {...}, ...}}``, or None.
    """

    fov_name: str
    well_name: str
    path: Path
    array_path: Path
    shape: tuple[int, int, int, int, int]
    dtype: np.dtype[Any]
    channel_names: tuple[str, ...]
    zarr_format: Literal[2, 3]
    ome_zarr_version: str
    normalization: Mapping[str, Any] | None = None


def read_plate(path: str | os.PathLike[str]) -> Plate:
    """Read which wells a plate has.

    Parameters
    ----------
    path
        The folder of the store.

    Returns
    -------
    Plate
        Names and format, read from one file.

    Raises
    ------
    DynaclrError
        If the folder is missing or holds no HCS plate.
    """
    root = Path(path).resolve()  # TensorStore takes no ".." in a path
    if not root.is_dir():
        raise DynaclrError(f"there is no folder {str(root)!r}")
    if (root / "zarr.json").is_file():
        zarr_format: Literal[2, 3] = 3
    elif (root / ".zattrs").is_file() or (root / ".zgroup").is_file():
        zarr_format = 2
    else:
        raise DynaclrError(f"{str(root)!r} is no Zarr store (it has neither a zarr.json nor a .zattrs)")
    ome = _ome(group_attributes(root, zarr_format), zarr_format)
    if "plate" not in ome:
        raise DynaclrError(f"{str(root)!r} is a Zarr group but no HCS plate (its metadata have no key 'plate')")
    try:
        wells = tuple(str(well["path"]) for well in ome["plate"]["wells"])
        version = ome.get("version", ome["plate"].get("version", _usual_version(zarr_format)))
    except (KeyError, TypeError, AttributeError) as error:
        raise DynaclrError(f"{str(root)!r} has a 'plate' without a list of wells and their paths") from error
    return Plate(root, zarr_format, str(version), wells)


def read_fov_names(plate: Plate, well_name: str) -> tuple[str, ...]:
    """Read which FOVs a well has.

    Parameters
    ----------
    plate
        The plate.
    well_name
        One of its wells.

    Returns
    -------
    tuple of str
        Names such as ``"A/1/0"``, in the well's own order.

    Raises
    ------
    DynaclrError
        If the well has no readable metadata.
    """
    ome = _ome(group_attributes(plate.path / well_name, plate.zarr_format), plate.zarr_format)
    try:
        return tuple(f"{well_name}/{image['path']}" for image in ome["well"]["images"])
    except (KeyError, TypeError) as error:
        raise DynaclrError(f"well {well_name} has no metadata that list its images") from error


def read_position(plate: Plate, fov_name: str) -> Position:
    """Read what a FOV's metadata say.

    Parameters
    ----------
    plate
        The plate.
    fov_name
        A name such as ``"A/1/0"``.

    Returns
    -------
    Position
        Shape, type, channels and statistics, read from two files.

    Raises
    ------
    DynaclrError
        If metadata are missing or the image does not have the axes TCZYX.
    """
    path = plate.path / fov_name
    attributes = group_attributes(path, plate.zarr_format)
    ome = _ome(attributes, plate.zarr_format)
    array_path = path / _level_zero(ome, fov_name)
    shape, dtype = _array_type(array_path, plate.zarr_format)
    channel_names = _channel_names(ome, fov_name)
    if len(shape) != len(AXES):
        raise DynaclrError(f"position {fov_name} has an array of shape {shape}, but needs the five axes {AXES}")
    if min(shape) < 1:
        raise DynaclrError(f"position {fov_name} has an empty array of shape {shape}, but needs at least one voxel")
    if len(channel_names) != shape[1]:
        raise DynaclrError(
            f"position {fov_name} has {len(channel_names)} channel names {list(channel_names)} for the "
            f"{shape[1]} channels of its array of shape {shape}"
        )
    normalization = attributes.get("normalization")
    return Position(
        fov_name=fov_name,
        well_name=fov_name.rpartition("/")[0],
        path=path,
        array_path=array_path,
        shape=shape,  # type: ignore[arg-type]  # five entries, checked above
        dtype=dtype,
        channel_names=channel_names,
        zarr_format=plate.zarr_format,
        ome_zarr_version=plate.ome_zarr_version,
        normalization=normalization if isinstance(normalization, dict) else None,
    )


def attributes_file(group: Path, zarr_format: int) -> Path:
    """Return the file that holds the attributes of a Zarr group.

    Parameters
    ----------
    group
        Folder of the group.
    zarr_format
        2 or 3.

    Returns
    -------
    Path
        ``.zattrs`` in format 2, ``zarr.json`` in format 3.
    """
    return group / ("zarr.json" if zarr_format == 3 else ".zattrs")


def group_attributes(group: Path, zarr_format: int) -> dict[str, Any]:
    """Read the attributes of a Zarr group.

    Parameters
    ----------
    group
        Folder of the group.
    zarr_format
        2 or 3.

    Returns
    -------
    dict
        The attributes, empty for a group of format 2 without a ``.zattrs``.

    Raises
    ------
    DynaclrError
        If there is no such group, or its metadata are no JSON object.
    """
    if zarr_format == 2:
        if not (group / ".zattrs").is_file() and (group / ".zgroup").is_file():
            return {}
        return read_json(group / ".zattrs")
    attributes = read_json(group / "zarr.json").get("attributes", {})
    return attributes if isinstance(attributes, dict) else {}


def read_json(path: Path) -> dict[str, Any]:
    """Read a metadata file.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    dict
        Its content.

    Raises
    ------
    DynaclrError
        If it is missing, unreadable, no JSON or no object.
    """
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DynaclrError(f"the metadata file {str(path)!r} is missing") from None
    except OSError as error:
        raise DynaclrError(f"the metadata file {str(path)!r} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DynaclrError(f"the metadata file {str(path)!r} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise DynaclrError(f"the metadata file {str(path)!r} holds no JSON object")
    return content


def _ome(attributes: dict[str, Any], zarr_format: int) -> dict[str, Any]:
    """Return the OME part of a group's attributes, which is all of them in format 2."""
    ome = attributes if zarr_format == 2 else attributes.get("ome")
    return ome if isinstance(ome, dict) else {}


def _usual_version(zarr_format: int) -> str:
    """Return the OME-Zarr version that goes with a Zarr format."""
    return "0.4" if zarr_format == 2 else "0.5"


def _level_zero(ome: dict[str, Any], fov_name: str) -> str:
    """Return the path of the array of full resolution, once the image's axes are the five we know."""
    try:
        image = ome["multiscales"][0]
        names = [str(axis["name"] if isinstance(axis, dict) else axis) for axis in image["axes"]]
        path = str(image["datasets"][0]["path"])
    except (KeyError, IndexError, TypeError) as error:
        raise DynaclrError(
            f"position {fov_name} has no OME-Zarr image metadata (multiscales with axes and datasets)"
        ) from error
    if [name.upper() for name in names] != list(AXES):
        raise DynaclrError(f"position {fov_name} has the axes {names}, but needs {list(AXES)} in this order")
    return path


def _channel_names(ome: dict[str, Any], fov_name: str) -> tuple[str, ...]:
    """Return the labels of the channels."""
    try:
        return tuple(str(channel["label"]) for channel in ome["omero"]["channels"])
    except (KeyError, TypeError) as error:
        raise DynaclrError(f"position {fov_name} has no channel names (omero metadata with labels)") from error


def _array_type(path: Path, zarr_format: int) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type of an array from its metadata file."""
    metadata = read_json(path / (".zarray" if zarr_format == 2 else "zarr.json"))
    key = "dtype" if zarr_format == 2 else "data_type"
    try:
        shape, dtype = tuple(int(size) for size in metadata["shape"]), np.dtype(metadata[key])
    except (KeyError, TypeError, ValueError) as error:
        raise DynaclrError(f"the array {str(path)!r} has no shape and number type that NumPy knows") from error
    if dtype.kind not in "buif":
        raise DynaclrError(f"the array {str(path)!r} holds {dtype}, but needs integers or real numbers")
    return shape, dtype
