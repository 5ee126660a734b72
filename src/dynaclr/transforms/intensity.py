"""Random changes of intensity, drawn for each sample and channel."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from kornia.enhance import adjust_gamma
from kornia.filters import filter3d, get_gaussian_erf_kernel1d
from torch import Tensor

from dynaclr.checks import is_number, truth
from dynaclr.errors import DynaclrError
from dynaclr.transforms.base import Bounds, RandBatchTransform, pair, per_sample

TRUNCATE = 4.0
"""Gaussian kernels end at this many standard deviations, as in MONAI."""


class RandAdjustContrastd(RandBatchTransform):
    """Raises each sample, scaled to its own minimum and maximum, to a random power.

    Parameters
    ----------
    keys
        The channels to change.
    prob
        Probability of each sample to be changed.
    gamma
        Range of the exponent; a number g above 0.5 stands for (0.5, g).
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
        gamma: Bounds | float = (0.5, 4.5),
        allow_missing_keys: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys, generator)
        if is_number(gamma) and not gamma > 0.5:
            raise DynaclrError(f"gamma={gamma!r} must be above 0.5, or a pair of numbers: it stands for (0.5, gamma)")
        self.gamma = pair("gamma", (0.5, gamma) if is_number(gamma) else gamma, at_least=0)

    def change(self, volume: Tensor) -> Tensor:
        """Return the samples with other contrasts."""
        gamma = self.uniform(self.gamma, len(volume))
        low, high = volume.amin((1, 2, 3, 4), keepdim=True), volume.amax((1, 2, 3, 4), keepdim=True)
        span = high - low
        scaled = (volume - low) / span.clamp(min=torch.finfo(volume.dtype).tiny)
        adjusted: Tensor = adjust_gamma(scaled, gamma.to(volume.device, volume.dtype))
        return adjusted * span + low


class RandScaleIntensityd(RandBatchTransform):
    """Multiplies each sample by 1 + a random factor.

    Parameters
    ----------
    keys
        The channels to change.
    prob
        Probability of each sample to be changed.
    factors
        Range of the factor; a number f stands for (-f, f).
    allow_missing_keys
        Whether keys that the batch lacks are skipped.
    generator
        Where random numbers come from; by default torch's global generator.

    Raises
    ------
    DynaclrError
        If a parameter is outside its range.
    """

    voxelwise = True

    def __init__(
        self,
        keys: Sequence[str] | str,
        prob: float = 0.1,
        factors: Bounds | float = 0.1,
        allow_missing_keys: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys, generator)
        self.factors = pair("factors", (-float(factors), factors) if is_number(factors) else factors)

    def change(self, volume: Tensor) -> Tensor:
        """Return the samples scaled."""
        return volume * per_sample(1 + self.uniform(self.factors, len(volume)), volume)


class RandGaussianSmoothd(RandBatchTransform):
    """Smooths each sample with a Gaussian of random width along each axis; what lies outside repeats the border.

    Parameters
    ----------
    keys
        The channels to change.
    prob
        Probability of each sample to be changed.
    sigma_x, sigma_y, sigma_z
        Ranges of the standard deviation in pixels along the axes X, Y and Z (MONAI counts its axes from the first
        and would smooth Z by ``sigma_x``). 0 leaves an axis as it is.
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
        sigma_x: Bounds = (0.25, 1.5),
        sigma_y: Bounds = (0.25, 1.5),
        sigma_z: Bounds = (0.25, 1.5),
        allow_missing_keys: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys, generator)
        self.sigma_x = pair("sigma_x", sigma_x, at_least=0)
        self.sigma_y = pair("sigma_y", sigma_y, at_least=0)
        self.sigma_z = pair("sigma_z", sigma_z, at_least=0)

    def change(self, volume: Tensor) -> Tensor:
        """Return the samples smoothed."""
        for axis, bounds in ((2, self.sigma_z), (3, self.sigma_y), (4, self.sigma_x)):
            # Drawn for flat axes too, so that a seed means the same for every depth.
            sigma = self.uniform(bounds, len(volume), 1)
            if bounds[1] == 0 or volume.shape[axis] == 1:
                continue
            size = 2 * math.ceil(TRUNCATE * bounds[1]) + 1
            kernels = get_gaussian_erf_kernel1d(size, sigma.clamp(min=1e-3))
            shape = [len(volume), *(size if axis == other else 1 for other in (2, 3, 4))]
            volume = filter3d(volume, kernels.reshape(shape), border_type="replicate")
        return volume


class RandGaussianNoised(RandBatchTransform):
    """Adds Gaussian noise, independent in every voxel of every channel.

    Parameters
    ----------
    keys
        The channels to change.
    prob
        Probability of each sample to be changed.
    mean, std
        Mean and standard deviation of the noise.
    sample_std
        Whether each sample has a standard deviation of its own, uniform between 0 and `std`.
    allow_missing_keys
        Whether keys that the batch lacks are skipped.
    generator
        Where random numbers come from; by default torch's global generator.

    Raises
    ------
    DynaclrError
        If a parameter is outside its range.
    """

    voxelwise = True

    def __init__(
        self,
        keys: Sequence[str] | str,
        prob: float = 0.1,
        mean: float = 0.0,
        std: float = 0.1,
        sample_std: bool = True,
        allow_missing_keys: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys, generator)
        if not is_number(mean):
            raise DynaclrError(f"mean={mean!r} must be a finite number")
        if not is_number(std) or std < 0:
            raise DynaclrError(f"std={std!r} must be a finite number of at least 0")
        self.mean = float(mean)
        self.std = float(std)
        self.sample_std = truth("sample_std", sample_std)

    def change(self, volume: Tensor) -> Tensor:
        """Return the samples with noise."""
        bounds = (0.0 if self.sample_std else self.std, self.std)
        std = per_sample(self.uniform(bounds, len(volume)), volume)
        noise = self.draw(torch.randn, volume.shape, volume.device).to(volume.dtype).mul_(std)
        return noise.add_(self.mean).add_(volume) if self.mean else noise.add_(volume)
