"""What is done to batches of pixels as a subject: ``make(case)``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from dynaclr_strategies.loss_descriptions import AugmentCase
from dynaclr_strategies.subjects.base import Subject, in_memory, subject

__all__ = ["make_augment"]

PARAMETERS: dict[str, tuple[str, dict[str, Any]]] = {
    "affine": (
        "RandAffined",
        {
            "rotate_range": [3.14, 0.5, 0.5],
            "shear_range": [0, 0.1, 0.1, 0.1],
            "translate_range": [0.5, 2, 2],
            "scale_range": [0, 0.2, 0.2],
        },
    ),
    "rotate": ("RandAffined", {"rotate_range": 3.14, "mode": "nearest"}),
    "contrast": ("RandAdjustContrastd", {"gamma": (0.5, 0.9)}),
    "scale": ("RandScaleIntensityd", {"factors": 0.5}),
    "smooth": ("RandGaussianSmoothd", {}),
    "noise": ("RandGaussianNoised", {"std": 0.2}),
}
"""Class and ranges of the random transforms."""


def make_augment(case: AugmentCase) -> Any:
    """Return ``dynaclr``'s dropout, or one of its transforms."""
    import torch

    from dynaclr import transforms
    from dynaclr.augment import ChannelDropout

    if case.transform == "dropout":
        return ChannelDropout(case.listed, case.prob)
    if case.transform == "normalize":
        return transforms.NormalizeSampled(case.keys, case.level, case.subtrahend, case.divisor)
    if case.transform == "percentiles":
        percentiles = (*case.percentiles, *case.target)
        return transforms.ScaleIntensityRangePercentilesd(case.keys, *percentiles, case.clip, case.relative)
    name, ranges = PARAMETERS[case.transform]
    generator = torch.Generator().manual_seed(case.seed) if case.own_generator else None
    return getattr(transforms, name)(case.keys, prob=case.prob, generator=generator, **ranges)


def _materialise(case: AugmentCase, folder: Path) -> None:
    """Write the pixels as they go in, in float64, and the statistics that go with them."""
    np.save(folder / "pixels.npy", case.array(), allow_pickle=False)
    (folder / "norm_meta.json").write_text(json.dumps(case.norm_meta(), indent=1) + "\n", encoding="utf-8")


subject(Subject("augment", AugmentCase, make_augment, in_memory, _materialise))
