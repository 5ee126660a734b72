"""Laws 9, 13 and 14, and the uniformity of draws: what our batches are over an epoch and over many."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from dynaclr_strategies.holding import hold
from dynaclr_strategies.options import sampler_cases
from dynaclr_strategies.oracles.sampler import CascadeOracle
from dynaclr_strategies.sampler_descriptions import SamplerCase
from dynaclr_strategies.tables import anchor_tables

ON, OFF, NOBODY = st.just(True), st.just(False), st.none()
# Hundreds of batches per case: fewer cases, of smaller tables.
STATISTICAL = settings(max_examples=max(6, settings().max_examples // 8))
SMALL = anchor_tables(max_strata=5, max_times=4, max_cells=4)


def _leaks(case: SamplerCase) -> bool:
    return CascadeOracle(case.frame(), case.options).num_leaked > 0


@STATISTICAL
@given(case=sampler_cases(tables=SMALL, condition_balanced=ON))
def test_condition_unbiased(case: SamplerCase) -> None:
    """Rounding favours no condition."""
    hold("condition-unbiased", case)


@given(case=sampler_cases(temporal_enrichment=OFF, exclusive_by=NOBODY))
def test_fair_pass(case: SamplerCase) -> None:
    """No anchor is drawn twice more than another of its stratum."""
    hold("fair-pass", case)


@STATISTICAL
@given(case=sampler_cases(tables=SMALL, temporal_enrichment=ON, exclusive_by=NOBODY))
def test_plain_when_global(case: SamplerCase) -> None:
    """All-global enrichment is no enrichment."""
    hold("plain-when-global", case)


@STATISTICAL
@given(case=sampler_cases(tables=SMALL, experiment_aware=ON))
def test_experiment_order(case: SamplerCase) -> None:
    """Experiments come in any order, another one each epoch."""
    hold("experiment-order", case)


@STATISTICAL
@given(case=sampler_cases(tables=SMALL, experiment_aware=ON, exclusive_by=NOBODY).filter(_leaks))
def test_leak_uniform(case: SamplerCase) -> None:
    """Every anchor of the other experiments leaks alike."""
    hold("leak-uniform", case)


@STATISTICAL
@given(case=sampler_cases(tables=SMALL, temporal_enrichment=ON))
def test_focal_hpi_uniform(case: SamplerCase) -> None:
    """Every time that serves is focal alike."""
    hold("focal-hpi-uniform", case)


@STATISTICAL
@given(case=sampler_cases(tables=SMALL, condition_balanced=ON, temporal_enrichment=ON, exclusive_by=NOBODY))
def test_focal_quota_unbiased(case: SamplerCase) -> None:
    """Rounding favours no condition near the focal HPI either."""
    hold("focal-quota-unbiased", case)


@STATISTICAL
@given(case=sampler_cases(tables=SMALL, temporal_enrichment=ON, exclusive_by=NOBODY))
def test_focal_uniform(case: SamplerCase) -> None:
    """Every anchor of the window is focal alike, every other global alike."""
    hold("focal-uniform", case)
