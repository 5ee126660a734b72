"""The loss as a subject: ``make(case)``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from dynaclr_strategies.loss_descriptions import LossCase
from dynaclr_strategies.subjects.base import Subject, in_memory, subject

__all__ = ["make_loss"]


def make_loss(case: LossCase) -> Any:
    """Return ``dynaclr``'s loss."""
    from dynaclr.loss import NTXentHCL

    return NTXentHCL(
        case.temperature,
        case.beta,
        beta_on=case.beta_on,
        tau_plus=case.tau_plus,
        mask_same_lineage=case.mask_same_lineage,
    )


def _materialise(case: LossCase, folder: Path) -> None:
    """Write a row per embedding: label, lineage and features."""
    batch = case.embeddings
    features = {f"feature_{i}": column for i, column in enumerate(batch.array().T)}
    table = pd.DataFrame({"label": batch.labels, "lineage": batch.lineages, **features})
    table.to_csv(folder / "embeddings.csv", index=False)


subject(Subject("loss", LossCase, make_loss, in_memory, _materialise))
