"""Transforms of whole batches on their device, with random parameters per sample.

Each takes ``{"ch_0": (B, 1, Z, Y, X), "ch_1": ..., "norm_meta": list of B}`` and returns a new dictionary. The
names and arguments are MONAI's. Two habits are not: axes are (Z, Y, X) and called by their names (``sigma_z`` smooths
along Z), and each channel draws its own intensity parameters, as different contrasts vary independently; spatial
transforms move all channels of a sample alike. Random numbers come from torch's global generator, which Lightning
seeds, or from ``generator``; parameters are drawn on the CPU, so a seed means the same on every device.

The data module crops as early as it can without changing a voxel of the result: those of these transforms that are
``voxelwise`` only see the centre of a patch if nothing behind them needs more.
"""

from __future__ import annotations

from dynaclr.transforms.intensity import (
    RandAdjustContrastd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandScaleIntensityd,
)
from dynaclr.transforms.normalize import NormalizeSampled, ScaleIntensityRangePercentilesd
from dynaclr.transforms.spatial import RandAffined

__all__ = [
    "NormalizeSampled",
    "RandAdjustContrastd",
    "RandAffined",
    "RandGaussianNoised",
    "RandGaussianSmoothd",
    "RandScaleIntensityd",
    "ScaleIntensityRangePercentilesd",
]
