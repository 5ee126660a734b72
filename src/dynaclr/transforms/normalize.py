"""Normalization: by the statistics of the store, or by the percentiles of the sample itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import kornia
import numpy as np
import torch
from torch import Tensor

from dynaclr.checks import is_number, truth
from dynaclr.errors import DynaclrError, did_you_mean
from dynaclr.transforms.base import BatchTransform

Level = Literal["fov_statistics", "dataset_statistics", "timepoint_statistics"]
Subtrahend = Literal["mean", "median"]
Divisor = Literal["std", "iqr"]


class NormalizeSampled(BatchTransform):
    """Subtracts a statistic of each sample's FOV, dataset or frame and divides by another.

    The statistics are those that ``dynaclr preprocess`` wrote to the store; the batch carries them for its samples:
    ``norm_meta[i]["ch_0"]["fov_statistics"]["mean"]`` and so on.

    Parameters
    ----------
    keys
        The channels to normalise.
    level
        What the statistics were taken over.
    subtrahend, divisor
        Which of them to subtract, and which to divide by.
    allow_missing_keys
        Whether keys that the batch lacks are skipped.

    Raises
    ------
    DynaclrError
        If a parameter is no known name. When called, if a sample's statistics are missing, not finite, or not above
        zero in the divisor.
    """

    voxelwise = True

    def __init__(
        self,
        keys: Sequence[str] | str,
        level: Level = "fov_statistics",
        subtrahend: Subtrahend = "mean",
        divisor: Divisor = "std",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        for name, value, known in (
            ("level", level, get_args(Level)),
            ("subtrahend", subtrahend, get_args(Subtrahend)),
            ("divisor", divisor, get_args(Divisor)),
        ):
            if value not in known:
                names = " or ".join(map(repr, known))
                raise DynaclrError(f"{name}={value!r} must be {names}{did_you_mean(value, known)}")
        self.level = level
        self.subtrahend = subtrahend
        self.divisor = divisor

    def transform(self, data: Mapping[str, Any], volumes: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the volumes normalised by the statistics in ``data["norm_meta"]``."""
        return {key: self._normalized(key, volume, data.get("norm_meta")) for key, volume in volumes.items()}

    def _normalized(self, key: str, volume: Tensor, norm_meta: object) -> Tensor:
        if not isinstance(norm_meta, Sequence) or len(norm_meta) != len(volume):
            seen = f"{len(norm_meta)} entries" if isinstance(norm_meta, Sequence) else repr(norm_meta)
            raise DynaclrError(f"'norm_meta' of the batch must be a list of {len(volume)} entries, but is {seen}")
        stored = [self._statistics(key, norm_meta, name) for name in (self.subtrahend, self.divisor)]
        center, spread = torch.tensor(stored, dtype=volume.dtype).unbind(0)
        unusable = (spread <= 0).nonzero()  # compared here, since a divisor may be 0 in the dtype of the volume only
        if len(unusable):
            i = int(unusable[0])
            raise DynaclrError(
                f"sample {i} has {self.level} {self.divisor}={float(stored[1][i])!r} of {key!r}, but a divisor must be "
                f"above 0 in {volume.dtype}"
            )
        channels = volume.shape[1]
        center, spread = (values[:, None].expand(-1, channels).to(volume.device) for values in (center, spread))
        normalized: Tensor = kornia.enhance.normalize(volume, center, spread)
        return normalized

    def _statistics(self, key: str, norm_meta: Sequence[Any], name: str) -> list[float]:
        """Return one statistic of all samples."""
        values: list[Any] = []
        try:
            for meta in norm_meta:
                values.append(meta[key][self.level][name])  # noqa: PERF401 - says how far it got
        except (KeyError, TypeError, IndexError):  # no such entry, or None and the like where a dictionary should be
            remedy = "; `dynaclr preprocess` writes statistics to the store"
            raise DynaclrError(f"sample {len(values)} has no {self.level} {name!r} of {key!r}{remedy}") from None
        if not all(map(is_number, values)):
            i, value = next((i, value) for i, value in enumerate(values) if not is_number(value))
            raise DynaclrError(f"sample {i} has {self.level} {name}={value!r} of {key!r}, which is not finite")
        return values


class ScaleIntensityRangePercentilesd(BatchTransform):
    """Maps the range between two percentiles of each sample's channels linearly to a given one.

    A channel whose percentiles are equal is only shifted: to `b_min`, where it is constant.

    Parameters
    ----------
    keys
        The channels to scale.
    lower, upper
        The percentiles, in [0, 100].
    b_min, b_max
        What they are mapped to; None for 0 and 1.
    clip
        Whether values beyond are set to `b_min` and `b_max`.
    relative
        Whether `b_min` and `b_max` stand for percentiles 0 and 100 instead, `lower` and `upper` being mapped to as
        much in between.
    allow_missing_keys
        Whether keys that the batch lacks are skipped.

    Raises
    ------
    DynaclrError
        If the percentiles or the target range are out of order.
    """

    def __init__(
        self,
        keys: Sequence[str] | str,
        lower: float,
        upper: float,
        b_min: float | None,
        b_max: float | None,
        clip: bool = False,
        relative: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if not (is_number(lower) and is_number(upper) and 0 <= lower < upper <= 100):
            raise DynaclrError(f"lower={lower!r} and upper={upper!r} must be percentiles, 0 <= lower < upper <= 100")
        low, high = 0.0 if b_min is None else b_min, 1.0 if b_max is None else b_max
        if not (is_number(low) and is_number(high) and low < high):
            raise DynaclrError(f"b_min={b_min!r} and b_max={b_max!r} must be finite numbers, b_min below b_max")
        self.lower, self.upper = float(lower), float(upper)
        self.clip = truth("clip", clip)
        low, high = float(low), float(high)
        width = high - low
        ends = (low + width * self.lower / 100, low + width * self.upper / 100)
        self.target = ends if truth("relative", relative) else (low, high)

    def transform(self, data: Mapping[str, Any], volumes: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the volumes scaled."""
        del data
        return {key: self._scaled(volume) for key, volume in volumes.items()}

    def _scaled(self, volume: Tensor) -> Tensor:
        low, high = _percentiles(volume.flatten(2), self.lower, self.upper)
        width = high - low
        shape = (*volume.shape[:2], 1, 1, 1)
        scaled = volume - low.reshape(shape)
        stretched = scaled / width.reshape(shape) * (self.target[1] - self.target[0])
        scaled = torch.where(width.reshape(shape) > 0, stretched, scaled) + self.target[0]
        return scaled.clamp(*self.target) if self.clip else scaled


def _percentiles(rows: Tensor, lower: float, upper: float) -> tuple[Tensor, Tensor]:
    """Return two percentiles along the last axis."""
    wide = rows.detach().to(torch.promote_types(rows.dtype, torch.float32))
    if rows.device.type == "cpu":  # NumPy selects where torch sorts: ten times faster on a core
        both = torch.from_numpy(np.percentile(wide.numpy(), [lower, upper], axis=-1))
    else:
        fractions = torch.tensor([lower / 100, upper / 100], dtype=wide.dtype, device=wide.device)
        both = torch.quantile(wide, fractions, dim=-1)
    low, high = both.to(rows.dtype).unbind(0)
    return low, high
