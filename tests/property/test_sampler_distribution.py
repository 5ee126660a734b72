"""Laws 9, 13 and 14, and the uniformity of draws: what our batches are over an epoch and over many."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynaclr_strategies.holding import hold
from dynaclr_strategies.invariants import INVARIANTS, UndecidedError
from dynaclr_strategies.invariants.sampler_distribution import is_improbable
from dynaclr_strategies.law_cases import law_cases
from dynaclr_strategies.options import sampler_cases
from dynaclr_strategies.oracles.reference_sampler import ReferenceSampler
from dynaclr_strategies.oracles.sampler import CascadeOracle
from dynaclr_strategies.sampler_descriptions import PLAIN_TABLE, SamplerCase, SamplerOptions
from dynaclr_strategies.tables import anchor_tables

ON, OFF, NOBODY = st.just(True), st.just(False), st.none()
# Hundreds of batches per case: fewer cases, of smaller tables.
STATISTICAL = settings(max_examples=max(6, settings().max_examples // 8))
SMALL = anchor_tables(max_strata=5, max_times=4, max_cells=4)


def _leaks(case: SamplerCase) -> bool:
    return CascadeOracle(case.frame(), case.options).num_leaked > 0


@pytest.mark.parametrize("tiny", [Fraction(1, 10**400), Fraction(1, 10**18), Fraction(1, 1000)])
def test_what_is_all_but_certain_is_judged(tiny: Fraction) -> None:
    """Also where a float cannot tell the chance from 0 or 1."""
    assert is_improbable(9, 10, tiny)
    assert is_improbable(1, 10, 1 - tiny)
    assert not is_improbable(0, 10, tiny)
    assert not is_improbable(10, 10, 1 - tiny)


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
@given(case=law_cases("passes-shuffled"))
def test_passes_shuffled(case: SamplerCase) -> None:
    """Whatever is drawn first, and whoever is next to it, is chance."""
    hold("passes-shuffled", case)


@STATISTICAL
@given(case=law_cases("relatives-alike"))
def test_relatives_alike(case: SamplerCase) -> None:
    """A lineage is not represented by one of its anchors rather than another."""
    hold("relatives-alike", case)


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
@given(case=sampler_cases(tables=SMALL, experiment_aware=ON))
def test_experiment_unbiased(case: SamplerCase) -> None:
    """Over epochs the mean number of batches of each experiment is its share."""
    hold("experiment-unbiased", case)


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
@given(case=law_cases("batch-order"))
def test_batch_order(case: SamplerCase) -> None:
    """No part of a batch has a place of its own in it."""
    hold("batch-order", case)


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


class _Silent:
    """Batches of the reference sampler, without a word on where they come from."""

    def __init__(self, table: Any, options: SamplerOptions) -> None:
        self._sampler = ReferenceSampler(table, options)
        self.set_epoch = self._sampler.set_epoch

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._sampler)


class _Mixing(_Silent):
    """Lets half of a batch of four come from another experiment, of which nothing should leak."""

    def __iter__(self) -> Iterator[list[int]]:
        pools = [*self._sampler.oracle.pools.values()]
        return ([*pools[0][:2], *pools[1][:2]] for _ in range(len(self._sampler)))


@pytest.mark.parametrize(
    ("law", "make", "options", "reason"),
    [
        ("condition-unbiased", _Silent, {"leaky": 0.5}, "no batch shows which experiment it belongs to"),
        ("fair-pass", _Silent, {"leaky": 0.5}, "no batch shows which experiment it belongs to"),
        ("plain-when-global", _Silent, {"leaky": 0.5}, "no batch shows which experiment it belongs to"),
        ("passes-shuffled", _Silent, {"leaky": 0.5}, "no batch shows which experiment it belongs to"),
        (
            "relatives-alike",
            _Silent,
            {"leaky": 0.5, "exclusive_by": "lineage_id"},
            "no batch shows which experiment it belongs to",
        ),
        ("leak-uniform", _Silent, {"leaky": 0.5}, "as many anchors leak as do not"),
        ("experiment-order", _Silent, {"leaky": 0.5}, "not every batch shows which experiment it belongs to"),
        (
            "focal-uniform",
            _Silent,
            {"temporal_enrichment": True, "temporal_window_hours": 0.0, "experiment_weights": (("b", 1.0),)},
            "there is no explain, and no stratum with enough anchors around every focal HPI",
        ),
        ("focal-quota-unbiased", _Silent, {"temporal_enrichment": True}, "not every batch shows its focal HPI"),
        ("experiment-order", _Mixing, {}, "there are batches that belong to no experiment"),
    ],
)
def test_what_cannot_be_judged_is_said(law: str, make: Any, options: dict[str, Any], reason: str) -> None:
    """A batch of two anchors from each of two experiments does not show whose it is; nothing is taken for granted."""
    case = SamplerCase(table=PLAIN_TABLE, options=SamplerOptions(batch_size=4, **options))
    with pytest.raises(UndecidedError, match=f"^{reason}"):
        INVARIANTS[law].check(make, case.frame(), case.options)
