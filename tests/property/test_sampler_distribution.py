"""Laws 9, 13 and 14: what our batches are over an epoch and over many."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from sampler_subjects import hold

from dynaclr_strategies.options import sampler_cases
from dynaclr_strategies.sampler_descriptions import SamplerCase
from dynaclr_strategies.tables import anchor_tables

ON, OFF, NOBODY = st.just(True), st.just(False), st.none()
# Hundreds of batches per case: fewer cases, of smaller tables.
STATISTICAL = settings(max_examples=max(10, settings().max_examples // 4))
SMALL = anchor_tables(max_strata=5, max_times=4, max_cells=4)


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
