"""What all transforms of batches share: their keys, their dice and the rule that inputs stay as they are."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import EllipsisType
from typing import Any, ClassVar

import torch
from monai.transforms.transform import MapTransform
from torch import Tensor

from dynaclr.checks import is_list, is_number, probability, truth
from dynaclr.errors import DynaclrError, did_you_mean

Bounds = tuple[float, float]
Window = tuple[EllipsisType, slice, slice]
"""Rows and columns of planes, as a volume is indexed."""

_CPU = torch.device("cpu")

WHOLE: Window = (..., slice(None), slice(None))


class BatchTransform(MapTransform):
    """A transform of some keys of a batch.

    One of whose result each voxel depends on the same voxel of the input alone, beside what is drawn or known for its
    sample, says so by ``voxelwise = True``: it may then be given what a later crop keeps and no more.

    Parameters
    ----------
    keys
        The channels to transform, such as ``["ch_0", "ch_1"]``.
    allow_missing_keys
        Whether keys that the batch lacks are skipped; otherwise they are an error.

    Raises
    ------
    DynaclrError
        If there are no keys.
    """

    voxelwise: ClassVar[bool] = False

    def __init__(self, keys: Sequence[str] | str, allow_missing_keys: bool = False) -> None:
        if not keys:
            raise DynaclrError(f"keys={keys!r} must name at least one channel, such as ['ch_0']")
        super().__init__(keys, truth("allow_missing_keys", allow_missing_keys))
        self.names = (keys,) if isinstance(keys, str) else tuple(keys)

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return a new dictionary with the transformed channels; `data` and its tensors are not changed.

        Parameters
        ----------
        data
            Float tensors of shape (B, C, Z, Y, X) under the keys; whatever else it holds is passed on.

        Raises
        ------
        DynaclrError
            If a key is missing, or what it holds is not such a tensor.
        """
        return {**data, **self.transform(data, self._volumes(data))}

    def centre(self, data: Mapping[str, Any], size: tuple[int, int]) -> dict[str, Any]:
        """Return what a call returns, the transform's keys cropped in the centre.

        Parameters
        ----------
        data
            As for a call.
        size
            Height and width in pixels, at most those of the planes.

        Raises
        ------
        DynaclrError
            As a call does.
        """
        changed = self.transform(data, self._volumes(data))
        return {**data, **{key: volume[centre_window(volume.shape, size)] for key, volume in changed.items()}}

    @abstractmethod
    def transform(self, data: Mapping[str, Any], volumes: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the transformed `volumes`, which are those of `data` under the transform's keys."""

    def _volumes(self, data: Mapping[str, Any]) -> dict[str, Tensor]:
        volumes = {key: data[key] for key in self.names if key in data}
        for key in self.names:
            if key not in data and not self.allow_missing_keys:
                raise DynaclrError(
                    f"keys of {type(self).__name__}: the batch has no {key!r}, only {sorted(data)}"
                    f"{did_you_mean(key, data)}"
                )
        for key, volume in volumes.items():
            if not isinstance(volume, Tensor) or volume.ndim != 5 or not volume.is_floating_point():
                seen = f"{volume.dtype} {tuple(volume.shape)}" if isinstance(volume, Tensor) else type(volume).__name__
                raise DynaclrError(f"{key!r} holds {seen}, but must hold a float tensor of shape (B, C, Z, Y, X)")
        sizes = {key: len(volume) for key, volume in volumes.items()}
        if len(set(sizes.values())) > 1:
            raise DynaclrError(f"keys of {type(self).__name__} differ in their number of samples: {sizes}")
        return volumes


class RandBatchTransform(BatchTransform):
    """A transform that befalls each sample with some probability, with parameters of its own.

    Parameters
    ----------
    keys
        The channels to transform.
    prob
        Probability of each sample to be transformed, in [0, 1].
    allow_missing_keys
        Whether keys that the batch lacks are skipped.
    generator
        Where random numbers come from; by default torch's global generator of the CPU.

    Raises
    ------
    DynaclrError
        If there are no keys, or `prob` is no probability.
    """

    def __init__(
        self,
        keys: Sequence[str] | str,
        prob: float = 0.1,
        allow_missing_keys: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.prob = probability("prob", prob)
        self.generator = generator

    def transform(self, data: Mapping[str, Any], volumes: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the volumes, each with its own samples chosen and its own parameters drawn."""
        del data
        return {key: change_some(volume, self.choose(len(volume)), self.change) for key, volume in volumes.items()}

    def change(self, volume: Tensor) -> Tensor:
        """Return all samples of `volume` changed, each with newly drawn parameters, without changing it."""
        raise NotImplementedError

    def choose(self, count: int) -> Tensor:
        """Return which of `count` samples are transformed, ascending."""
        # `rand` is below 1, so that prob=1 chooses all of them and prob=0 none.
        return torch.nonzero(self.fractions(count) < self.prob).squeeze(1)

    def uniform(self, bounds: Bounds, *shape: int) -> Tensor:
        """Return numbers between the bounds, on the CPU."""
        low, high = bounds
        return self.fractions(*shape).mul_(high - low).add_(low)

    def fractions(self, *shape: int) -> Tensor:
        """Return numbers from 0 on and below 1, on the CPU."""
        return self.draw(torch.rand, shape, _CPU)

    def draw(self, kind: Callable[..., Tensor], shape: Sequence[int], device: torch.device) -> Tensor:
        """Return ``kind(shape)`` on a device, drawn from this transform's generator.

        Without one, draws are decided by torch's generator of the CPU whatever the device, which is what the data
        module seeds for each batch: on another device it seeds a generator of that device for this one draw.
        """
        if self.generator is None and device.type != "cpu":
            seed = int(torch.randint(2**63 - 1, ()))
            return kind(*shape, generator=torch.Generator(device).manual_seed(seed), device=device)
        if self.generator is None:
            return kind(*shape, device=device)
        return kind(*shape, generator=self.generator, device=self.generator.device).to(device)


def change_some(volume: Tensor, chosen: Tensor, change: Callable[[Tensor], Tensor], window: Window = WHOLE) -> Tensor:
    """Return the window of `volume`, for the chosen samples that of ``change``, which returns it alone.

    It is `volume` itself if no sample is chosen and the window is all of it.
    """
    if len(chosen) == len(volume):
        return change(volume)
    kept = volume if window == WHOLE else volume[window]
    if len(chosen) == 0:
        return kept
    chosen = chosen.to(volume.device, non_blocking=volume.is_cuda)
    # `index_select` and not brackets, which take four times as long on a CPU.
    return kept.index_copy(0, chosen, change(volume.index_select(0, chosen)))


def centre_window(shape: Sequence[int], size: tuple[int, int]) -> Window:
    """Return the rows and columns in the centre of a plane; an odd one is left at the bottom and on the right.

    Parameters
    ----------
    shape
        Its last two entries are the height and width of the plane in pixels.
    size
        Height and width of the window, at most those of the plane.
    """
    top, left = ((whole - part) // 2 for whole, part in zip(shape[-2:], size, strict=True))
    return ..., slice(top, top + size[0]), slice(left, left + size[1])


def per_sample(values: Tensor, volume: Tensor) -> Tensor:
    """Return one value per sample on the volume's device and in its dtype, in a shape that multiplies it."""
    return values.to(volume.device, volume.dtype, non_blocking=volume.is_cuda).reshape(-1, 1, 1, 1, 1)


def pair(name: str, value: object, *, at_least: float = -math.inf) -> Bounds:
    """Return a range as (low, high).

    Raises
    ------
    DynaclrError
        If it is not a pair of finite numbers, in either order and not below `at_least`.
    """
    numbers = list(value) if is_list(value) else []
    if len(numbers) != 2 or not all(is_number(number) and number >= at_least for number in numbers):
        bound = "" if at_least == -math.inf else f" of at least {at_least:g}"
        raise DynaclrError(f"{name}={value!r} must be a pair of finite numbers{bound}")
    low, high = sorted(map(float, numbers))
    return low, high
