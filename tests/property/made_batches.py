"""Batches as a loader gives them, made by hand."""

from __future__ import annotations

from typing import Any

import torch


def raw_batch(samples: int, channels: int = 2, size: int = 9) -> dict[str, Any]:
    """Return a batch whose pixels say where they are."""
    shape = (samples, channels, 1, size, size)
    pixels = torch.arange(torch.tensor(shape).prod(), dtype=torch.float32).reshape(shape)
    norm_meta = [{"ch_0": {"fov_statistics": {"mean": 1.0, "std": 2.0}}}] * samples
    return {
        "anchor": pixels,
        "positive": pixels + 1,
        "anchor_norm_meta": norm_meta,
        "positive_norm_meta": norm_meta,
        "lineage": torch.arange(samples),
    }
