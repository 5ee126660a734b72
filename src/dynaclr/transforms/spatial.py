"""Random affine transforms of volumes, the same for all channels of a sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial, reduce
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from dynaclr.checks import is_list, is_number
from dynaclr.errors import DynaclrError, did_you_mean
from dynaclr.transforms.base import (
    WHOLE,
    Bounds,
    RandBatchTransform,
    Window,
    centre_window,
    change_some,
    pair,
)

AxisRanges = Sequence[Bounds | float]
Mode = Literal["bilinear", "nearest"]
PaddingMode = Literal["zeros", "border", "reflection"]

_SHEARED = ((0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1))
"""Which axis is displaced in proportion to which, for each of the six factors."""

_IN_PLANE = torch.tensor([*(1, 0, 0), *(0, 0, 0, 1, 0, 1), *(0, 1, 1), *(0, 1, 1)])
"""Which parameters (3 rotations, 6 shears, 3 translations, 3 scales) leave Z alone."""


class RandAffined(RandBatchTransform):
    """Rotates, shears, shifts and scales each sample at random, all its keys alike, about its centre.

    All ranges are MONAI's: one entry per axis in the order Z, Y, X, each a pair (low, high) or a number v for
    (-v, v); what is left out is 0. They say where an output voxel looks in the input, so a positive translation moves
    the content back and a scale above 1 shrinks it. A single plane (Z = 1) has no depth: parameters that would
    leave the plane are drawn and ignored.

    Parameters
    ----------
    keys
        The channels to transform, of one shape.
    prob
        Probability of each sample to be transformed.
    rotate_range
        Angles in radians about Z, Y and X; a number alone rotates about Z, in the plane.
    shear_range
        Six factors: Z by Y, Z by X, Y by Z, Y by X, X by Z, X by Y.
    translate_range
        In voxels.
    scale_range
        Added to 1; above -1.
    mode
        Interpolation: ``"bilinear"`` (trilinear where Z changes) or ``"nearest"``.
    padding_mode
        What lies outside: ``"zeros"``, ``"border"`` or ``"reflection"``.
    allow_missing_keys
        Whether keys that the batch lacks are skipped.
    generator
        Where random numbers come from; by default torch's global generator.

    Raises
    ------
    DynaclrError
        If a parameter is outside its range.
    """

    def __init__(
        self,
        keys: Sequence[str] | str,
        prob: float = 0.1,
        rotate_range: AxisRanges | float | None = None,
        shear_range: AxisRanges | float | None = None,
        translate_range: AxisRanges | float | None = None,
        scale_range: AxisRanges | float | None = None,
        mode: Mode = "bilinear",
        padding_mode: PaddingMode = "reflection",
        allow_missing_keys: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys, generator)
        for name, value, known in (
            ("mode", mode, get_args(Mode)),
            ("padding_mode", padding_mode, get_args(PaddingMode)),
        ):
            if value not in known:
                names = " or ".join(map(repr, known))
                raise DynaclrError(f"{name}={value!r} must be {names}{did_you_mean(value, known)}")
        scales = _ranges("scale_range", scale_range, 3)
        if any(low <= -1 for low, _ in scales):
            raise DynaclrError(f"scale_range={scale_range!r} must stay above -1, because it is added to 1")
        if is_number(rotate_range):
            rotate_range = [rotate_range]
        self.ranges = torch.tensor(
            [
                *_ranges("rotate_range", rotate_range, 3),
                *_ranges("shear_range", shear_range, 6),
                *_ranges("translate_range", translate_range, 3),
                *scales,
            ]
        )
        self._basis = factors_of(self.ranges.any(dim=1))
        self.mode = mode
        self.padding_mode = padding_mode

    def transform(self, data: Mapping[str, Any], volumes: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the volumes, of which the same samples are transformed in the same way."""
        del data
        return self._moved(volumes, None)

    def centre(self, data: Mapping[str, Any], size: tuple[int, int]) -> dict[str, Any]:
        """Return what a call returns, the transform's keys cropped in the centre; nothing else is resampled."""
        return {**data, **self._moved(self._volumes(data), size)}

    def _moved(self, volumes: dict[str, Tensor], size: tuple[int, int] | None) -> dict[str, Tensor]:
        """Return the transformed volumes, or their centres."""
        chosen = self.choose(len(next(iter(volumes.values()), ())))
        low, high = self.ranges.unbind(1)
        parameters = torch.lerp(
            low, high, self.fractions(len(chosen), len(self.ranges)).to(low)
        )  # the default dtype may change
        moved: dict[str, Tensor] = {}
        for keys in _alike(volumes):
            window = WHOLE if size is None else centre_window(volumes[keys[0]].shape, size)
            # One grid serves all channels that lie in memory alike.
            resampled = partial(self._resampled, parameters=parameters, window=window)
            together = change_some(torch.cat([volumes[key] for key in keys], dim=1), chosen, resampled, window)
            parts = torch.split(together, [volumes[key].shape[1] for key in keys], dim=1)
            moved |= dict(zip(keys, parts, strict=True))
        return moved

    def _resampled(self, volume: Tensor, parameters: Tensor, window: Window) -> Tensor:
        flat = volume.shape[2] == 1 or not self.ranges[_IN_PLANE == 0].any()
        matrices = affine_matrices(parameters * _IN_PLANE if flat else parameters, self._basis)
        # Without motion along Z every plane is resampled alike: a 2D transform with planes for channels.
        first = 1 if flat else 0
        pixels = volume.flatten(1, 2) if flat else volume
        dtype = torch.promote_types(volume.dtype, torch.float32)  # half precision cannot address pixels
        relative = _for_unit_cube(matrices[:, first:3, first:], pixels.shape[2:]).to(volume.device, dtype)
        grid = _grid(relative, pixels.shape[2:], window)
        moved = functional.grid_sample(pixels.to(dtype), grid, self.mode, self.padding_mode, align_corners=False)
        return moved.reshape(*volume.shape[:3], *moved.shape[-2:]).to(volume.dtype)


def _alike(volumes: Mapping[str, Tensor]) -> list[list[str]]:
    """Group the keys whose volumes have the same planes, dtype and device."""
    groups: dict[object, list[str]] = {}
    for key, volume in volumes.items():
        groups.setdefault((volume.shape[2:], volume.dtype, volume.device), []).append(key)
    return list(groups.values())


def affine_matrices(parameters: Tensor, basis: Tensor | None = None) -> Tensor:
    """Return the homogeneous matrices that map output voxels to input voxels about the centre.

    Rotation, shear, translation and scale are multiplied in the order of MONAI's ``AffineGrid``, for a whole batch.

    Parameters
    ----------
    parameters
        Shape (n, 15): angles about Z, Y, X; six shears; translations; scales minus 1.
    basis
        The factors of the product that are not the identity for these parameters, from `factors_of`; by default all.

    Returns
    -------
    Tensor
        Shape (n, 4, 4), float64.
    """
    numbers = parameters.double()
    angles = numbers[:, :3]
    moves = torch.cat([angles.sin(), 1 - angles.cos(), numbers[:, 3:]], dim=1)
    factors = torch.tensordot(moves, _BASIS if basis is None else basis, dims=1).add_(_IDENTITY)
    product: Tensor = reduce(torch.matmul, factors.unbind(1))
    return product


def _basis() -> Tensor:
    """Return what the sines, 1 - cosines, shears, shifts and scales add to the identity in each factor of the product.

    Returns
    -------
    Tensor
        Shape (18, 11, 4, 4); the factors are three rotations, six shears, one shift, one scaling.
    """
    basis = torch.zeros(18, 11, 4, 4, dtype=torch.float64)
    for axis, (row, column, sign) in enumerate([(1, 2, 1), (0, 2, -1), (0, 1, 1)]):
        basis[axis, axis, row, column], basis[axis, axis, column, row] = -sign, sign
        basis[3 + axis, axis, row, row] = basis[3 + axis, axis, column, column] = -1
        basis[12 + axis, 9, axis, 3] = 1
        basis[15 + axis, 10, axis, axis] = 1
    for at, (row, column) in enumerate(_SHEARED):
        basis[6 + at, 8 - at, row, column] = 1  # the first one is nearest to the voxel
    return basis


_BASIS = _basis()
_IDENTITY = torch.eye(4, dtype=torch.float64)


def factors_of(used: Tensor) -> Tensor:
    """Return the part of `_BASIS` that the used ones of the 15 parameters move: one factor at least."""
    angles, others = torch.split(used, [3, 12])
    moved = torch.cat([angles, angles, others])
    factors = _BASIS[moved].any(dim=0).flatten(1).any(dim=1)
    factors[0] |= not factors.any()
    return _BASIS[:, factors]


def _for_unit_cube(matrices: Tensor, shape: Sequence[int]) -> Tensor:
    """Return matrices about the centre for axes that go from -1 to 1, with the rows in torch's order, X first.

    Without aligned corners these are the centred axes, divided by half of their length.
    """
    scales = [[other / length for other in (*shape, 2)] for length in shape]
    return (matrices * torch.tensor(scales, dtype=torch.float64)).flip(1)


def _grid(matrices: Tensor, shape: Sequence[int], window: Window) -> Tensor:
    """Return where each voxel of the window looks; torch's ``affine_grid`` takes several times as long on a CPU."""
    ones = [1] * len(shape)
    wanted = (*[slice(None)] * (len(shape) - 2), *window[1:])
    *slopes, grid = matrices.reshape(*matrices.shape, *ones).unbind(2)
    for axis, (slope, length, part) in enumerate(zip(slopes, shape, wanted, strict=True)):
        halves = range(1 - length, length, 2)[part]  # from the centre, in half voxels
        centres = torch.arange(halves.start, halves.stop, 2, dtype=matrices.dtype, device=matrices.device) / length
        grid = grid + slope * centres.reshape(*ones[:axis], -1, *ones[axis + 1 :])
    return grid.movedim(1, -1)


def _ranges(name: str, value: object, count: int) -> list[Bounds]:
    """Return `count` pairs."""
    if value is None:
        value = []
    if not is_list(value) or len(value) > count:
        raise DynaclrError(
            f"{name}={value!r} must be a list of at most {count} entries, each a number or a pair, the first for Z"
        )
    pairs = [
        pair(name, (-float(entry), entry)) if is_number(entry) else pair(f"{name}[{i}]", entry)
        for i, entry in enumerate(value)
    ]
    return pairs + [(0.0, 0.0)] * (count - len(pairs))
