"""The samplers under test, and how one law is run on one case."""

from __future__ import annotations

import warnings
from typing import Any

import pandas as pd
from hypothesis import assume

from dynaclr.errors import RepeatedAnchorsWarning
from dynaclr.sampler import FlexibleBatchSampler
from dynaclr_strategies.invariants import INVARIANTS
from dynaclr_strategies.oracles.sampler import CascadeOracle
from dynaclr_strategies.sampler_descriptions import SamplerCase, SamplerOptions


def make_flexible(table: pd.DataFrame, options: SamplerOptions) -> FlexibleBatchSampler:
    """Build the sampler; tables too small for their batches are drawn on purpose, so its warning says nothing new."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RepeatedAnchorsWarning)
        return FlexibleBatchSampler(table, **options.kwargs())


def hold(law: str, case: SamplerCase, make_sampler: Any = make_flexible, **context: Any) -> None:
    """Check one law on one case, or tell Hypothesis that the law does not apply to it."""
    table = case.frame()
    assume(INVARIANTS[law].applies(CascadeOracle(table, case.options)))
    INVARIANTS[law].check(make_sampler, table, case.options, **context)
