"""Pixels that know where they are.

Every voxel of a generated store is a function of store, FOV, frame, channel, z, y and x: a keyed 64-bit hash
of these coordinates, cut to as many bits as the store's dtype (and float32, which readers convert to) holds
exactly. A patch that was read can therefore be compared with what should be there, exactly, and a wrong one says
where it is from.

Two different places agree by chance in one voxel with probability ``2**-bits`` (`DTYPES`: 24 bits for 32- and
64-bit types, 16 for uint16, 8 for uint8), in n voxels with ``2**-(bits * n)``: a uint8 patch of 4 x 4 pixels is
as good as unique, a single uint8 pixel is not.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dynaclr_strategies.descriptions import ExperimentDescription, RegistryDescription

__all__ = ["DTYPES", "Reading", "expected_patch", "fov_pixels", "what_was_read"]

DTYPES: dict[str, int] = {
    "uint8": 8,
    "int8": 7,
    "uint16": 16,
    "int16": 15,
    "uint32": 24,
    "int32": 24,
    "float16": 11,
    "float32": 24,
    "float64": 24,
}
"""Supported dtypes and the number of hash bits that a voxel of each carries."""

# Constants of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014): every bit of the key changes every bit.
_STEP, _MIX_A, _MIX_B = (
    np.uint64(0x9E3779B97F4A7C15),
    np.uint64(0xBF58476D1CE4E5B9),
    np.uint64(0x94D049BB133111EB),
)
# One odd multiplier per dimension (T, C, Z, Y, X): of coordinates, so the array's shape does not matter.
_STRIDES = (
    0xD6E8FEB86659FD93,
    0xA0761D6478BD642F,
    0xE7037ED1A0B428DB,
    0x8EBC6AF09C88C6E3,
    0x589965CC75374CC3,
)


@dataclass(frozen=True)
class Reading:
    """Where the voxels of one channel of a patch are from.

    Attributes
    ----------
    experiment, fov_name, t, channel
        The image that was read; ``channel`` is a name.
    z, y, x
        First voxel of the patch; negative if the patch hangs over the border.
    share
        Fraction of the patch's voxels that agree with that place.
    """

    experiment: str
    fov_name: str
    t: int
    channel: str
    z: int
    y: int
    x: int
    share: float = 1.0

    def __str__(self) -> str:
        image = f"`{self.channel}` of {self.experiment} {self.fov_name}"
        place = f"{image} t={self.t} z={self.z} y={self.y} x={self.x}"
        return place if self.share == 1.0 else f"{place} ({self.share:.0%} of the voxels)"


def _hash(store: str, fov_name: str, coordinates: Sequence[npt.NDArray[np.uint64]]) -> npt.NDArray[np.uint64]:
    digest = hashlib.blake2b(f"{store}\0{fov_name}".encode(), digest_size=8).digest()
    key: npt.NDArray[np.uint64] = np.full((1,) * 5, int.from_bytes(digest, "little"), dtype=np.uint64)
    for stride, coordinate in zip(_STRIDES, coordinates, strict=True):
        key = key + (coordinate + np.uint64(1)) * np.uint64(stride)
    key = key + _STEP
    key ^= key >> np.uint64(30)
    key *= _MIX_A
    key ^= key >> np.uint64(27)
    key *= _MIX_B
    key ^= key >> np.uint64(31)
    return key


def _voxels(store: str, fov_name: str, dtype: str, axes: Sequence[Sequence[int] | range]) -> npt.NDArray[Any]:
    """Return the voxels (T, C, Z, Y, X) at the given coordinates along each axis."""
    grid = np.ix_(*(np.asarray(axis, dtype=np.int64) for axis in axes))
    keys = _hash(store, fov_name, [coordinate.astype(np.uint64) for coordinate in grid])
    bits = DTYPES[dtype]
    values = keys >> np.uint64(64 - bits)
    if dtype in {"float32", "float64"}:
        # [0, 256) in steps of 2**-16: exact in float32, and no number that a float32 network chokes on.
        return (values.astype(np.float64) * 2.0**-16).astype(dtype)
    return values.astype(dtype)


def fov_pixels(description: RegistryDescription, experiment: str, fov_name: str) -> npt.NDArray[Any]:
    """Return the whole array (T, C, Z, Y, X) of a FOV, in the dtype of its store."""
    config = description.experiment(experiment)
    fov = config.fov(fov_name)
    axes = [range(fov.frames), range(len(config.channel_names)), range(fov.z), range(fov.y), range(fov.x)]
    return _voxels(description.store_of(experiment), fov_name, config.dtype, axes)


def expected_patch(
    description: RegistryDescription,
    experiment: str,
    fov_name: str,
    t: int,
    channels: Sequence[str],
    z: slice,
    y: slice,
    x: slice,
) -> npt.NDArray[Any]:
    """Return what a patch must contain.

    Parameters
    ----------
    description
        The registry that was written.
    experiment, fov_name, t
        The image; ``fov_name`` as in ``"A/1/0"``.
    channels
        Channel names, in the order of the patch.
    z, y, x
        Slices with start and stop, inside the array.

    Returns
    -------
    numpy.ndarray
        Patch (C, Z, Y, X) in the dtype of the store; exact in float32 too.
    """
    config = description.experiment(experiment)
    numbers = [config.channel_names.index(channel) for channel in channels]
    axes = [[t], numbers, *(range(part.start, part.stop) for part in (z, y, x))]
    patch: npt.NDArray[Any] = _voxels(description.store_of(experiment), fov_name, config.dtype, axes)[0]
    return patch


def what_was_read(description: RegistryDescription, patch: npt.NDArray[Any]) -> list[Reading | None]:
    """Tell, channel by channel, from where the voxels of a patch are.

    Parameters
    ----------
    description
        The registry that was written.
    patch
        Pixels (C, Z, Y, X) as they were read, in any dtype that holds them exactly.

    Returns
    -------
    list
        One `Reading` per channel: the place that explains most voxels, also of a patch that hangs over the
        border and was padded; None where no voxel of any place fits.
    """
    return [_best_reading(description, np.asarray(channel, dtype=np.float64)) for channel in patch]


def _images(
    description: RegistryDescription,
) -> Iterator[tuple[ExperimentDescription, str, int, int, npt.NDArray[np.float64]]]:
    for experiment in description.experiments:
        for fov_name, _ in experiment.fovs():
            pixels = _cached_pixels(description, experiment.name, fov_name)
            for t in range(pixels.shape[0]):
                for c in range(pixels.shape[1]):
                    yield experiment, fov_name, t, c, pixels[t, c]


@functools.lru_cache(maxsize=64)
def _cached_pixels(description: RegistryDescription, experiment: str, fov_name: str) -> npt.NDArray[np.float64]:
    return fov_pixels(description, experiment, fov_name).astype(np.float64)


def _best_reading(description: RegistryDescription, patch: npt.NDArray[np.float64]) -> Reading | None:
    best: Reading | None = None
    for experiment, fov_name, t, c, image in _images(description):
        for offset in _offsets(image, patch):
            share = _agreement(image, patch, offset)
            if share > 0 and (best is None or share > best.share):
                best = Reading(experiment.name, fov_name, t, experiment.channel_names[c], *offset, share)
    return best


def _offsets(image: npt.NDArray[np.float64], patch: npt.NDArray[np.float64]) -> set[tuple[int, int, int]]:
    """Return where the patch may begin, judged by its corners and its middle."""
    last = [length - 1 for length in patch.shape]
    probes = {(0, 0, 0), (last[0], 0, last[2]), (0, last[1], 0), (last[0], last[1], last[2])}
    probes.add((last[0] // 2, last[1] // 2, last[2] // 2))
    found: set[tuple[int, int, int]] = set()
    for probe in probes:
        for z, y, x in np.argwhere(image == patch[probe]).tolist():
            found.add((z - probe[0], y - probe[1], x - probe[2]))
    return found


def _agreement(image: npt.NDArray[np.float64], patch: npt.NDArray[np.float64], offset: tuple[int, int, int]) -> float:
    inside_image, inside_patch = [], []
    for start, length, extent in zip(offset, patch.shape, image.shape, strict=True):
        first, stop = max(start, 0), min(start + length, extent)
        inside_image.append(slice(first, stop))
        inside_patch.append(slice(first - start, stop - start))
    return float((image[tuple(inside_image)] == patch[tuple(inside_patch)]).sum() / patch.size)
