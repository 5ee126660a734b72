"""A table of anchors, and short ways to a sampler on it and to its batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from dynaclr.sampler import FlexibleBatchSampler

RNG = np.random.default_rng(0)
TABLE = pd.DataFrame(
    {
        "experiment": RNG.choice(list("ab"), 200),
        "condition": RNG.choice(list("iu"), 200),
        "hours_post_infection": RNG.integers(0, 30, 200) * 0.5,
        "lineage_id": RNG.integers(0, 60, 200),
    }
)
TIMED: dict[str, Any] = {"temporal_enrichment": True}


def sampler(table: pd.DataFrame = TABLE, batch_size: int = 16, **options: Any) -> FlexibleBatchSampler:
    """Make a sampler on that table, or on another."""
    return FlexibleBatchSampler(table, batch_size, **options)


def batches(made: FlexibleBatchSampler) -> list[list[int]]:
    """Return all batches of an epoch."""
    return list(made)
