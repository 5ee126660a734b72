"""The sampler as a subject, a batch at a time and over its life: ``make_sampler(table, options)``."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pandas as pd

from dynaclr_strategies.invariants.base import Invariant
from dynaclr_strategies.invariants.sampler_endings import ending
from dynaclr_strategies.oracles.sampler import CascadeOracle
from dynaclr_strategies.sampler_descriptions import LifeCase, SamplerCase, SamplerOptions
from dynaclr_strategies.subjects.base import Subject, subject

__all__ = ["OF_SAMPLERS", "make_flexible"]

OF_SAMPLERS = ("sampler", "life")
"""The subjects that are about samplers: their makers return an iterable of batches."""


def make_flexible(table: pd.DataFrame, options: SamplerOptions) -> Any:
    """Return ``dynaclr``'s sampler; tables too small for their batches are drawn on purpose, so nobody warns."""
    from dynaclr.errors import RepeatedAnchorsWarning
    from dynaclr.sampler import FlexibleBatchSampler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RepeatedAnchorsWarning)
        return FlexibleBatchSampler(table, **options.kwargs())


def _check(law: Invariant, case: SamplerCase, make: Any) -> bool:
    table = case.frame()
    if not law.applies(CascadeOracle(table, case.options)):
        return False
    law.check(ending(make, law.law), table, case.options)
    return True


def _check_life(law: Invariant, case: LifeCase, make: Any) -> bool:
    law.check(make, case.frame(), case.options, case.ranks, case.steps)
    return True


def _materialise(case: SamplerCase | LifeCase, folder: Path) -> None:
    case.frame().to_csv(folder / "anchors.csv", index_label="index")


subject(Subject("sampler", SamplerCase, make_flexible, _check, _materialise))
subject(Subject("life", LifeCase, make_flexible, _check_life, _materialise))
