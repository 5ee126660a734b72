"""Laws 1 to 8, 10 to 12, 30 and 31: what one batch of ours is made of, on drawn tables and options."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from math import ceil, floor

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynaclr.sampler import FlexibleBatchSampler
from dynaclr_strategies.holding import hold
from dynaclr_strategies.law_cases import law_cases
from dynaclr_strategies.options import sampler_cases
from dynaclr_strategies.sampler_descriptions import LifeCase, SamplerCase
from dynaclr_strategies.tables import anchor_tables

ON, OFF = st.just(True), st.just(False)
# So few strata that an epoch passes over each of them more than once.
FEW_STRATA = anchor_tables(max_strata=3)


def _without_the_first(case: SamplerCase) -> SamplerCase:
    """Give the first experiment weight 0 and all others weight 1."""
    weights = tuple((name, float(place > 0)) for place, name in enumerate(case.table.labels_of(case.options.group_by)))
    return replace(case, options=replace(case.options, experiment_weights=weights, condition_ratio=None))


@given(case=sampler_cases())
def test_indices_in_range(case: SamplerCase) -> None:
    """Indices are ints in range."""
    hold("indices-in-range", case)


@given(case=sampler_cases())
def test_batch_size_exact(case: SamplerCase) -> None:
    """Every batch is full."""
    hold("batch-size-exact", case)


@given(case=sampler_cases())
def test_len_matches_iteration(case: SamplerCase) -> None:
    """The announced length is the real one."""
    hold("len-matches-iteration", case)


@given(case=sampler_cases())
def test_batches_per_epoch(case: SamplerCase) -> None:
    """An epoch is as long as table and batch size make it."""
    hold("batches-per-epoch", case)


@given(case=sampler_cases(experiment_aware=ON))
def test_single_experiment(case: SamplerCase) -> None:
    """A batch belongs to one experiment."""
    hold("single-experiment", case)


@given(case=sampler_cases(experiment_aware=ON))
def test_leak_exact(case: SamplerCase) -> None:
    """The leak has the size that the number means."""
    hold("leak-exact", case)


@given(
    case=sampler_cases(experiment_aware=ON)
    .filter(lambda case: len(case.table.labels_of(case.options.group_by)) > 1)
    .map(_without_the_first)
)
def test_zero_weight_excluded(case: SamplerCase) -> None:
    """An experiment with weight 0 stays out."""
    hold("zero-weight-excluded", case)


@given(case=sampler_cases(experiment_aware=ON))
def test_experiment_share(case: SamplerCase) -> None:
    """Each experiment owns its share of the batches."""
    hold("experiment-share", case)


@given(case=sampler_cases(condition_balanced=ON))
def test_condition_quota(case: SamplerCase) -> None:
    """Each condition gets its quota."""
    hold("condition-quota", case)


@given(
    held=st.lists(st.sets(st.sampled_from("abcd"), min_size=1), min_size=2, max_size=4),
    ratio=st.fixed_dictionaries({condition: st.integers(1, 9) for condition in "abcd"}),
    seed=st.integers(0, 99),
)
def test_experiments_of_other_conditions_have_quotas_of_their_own(
    held: list[set[str]], ratio: dict[str, int], seed: int
) -> None:
    """The ratio is normalised over the conditions of the batch's experiment, whichever they are and however many."""
    rows = [(f"e{nth}", condition) for nth, own in enumerate(held) for condition in sorted(own) for _ in range(12)]
    table = pd.DataFrame(rows, columns=["experiment", "condition"])
    ratio = {condition: part for condition, part in ratio.items() if condition in set().union(*held)}
    for batch in FlexibleBatchSampler(table, 12, condition_ratio=ratio, seed=seed):
        [owner] = set(table["experiment"][batch])
        own = held[int(owner[1:])]
        drawn = Counter(table["condition"][batch])
        for condition in own:
            expected = Fraction(12 * ratio[condition], sum(ratio[each] for each in own))
            assert drawn.pop(condition, 0) in (floor(expected), ceil(expected))
        assert not drawn


@given(case=sampler_cases(temporal_enrichment=ON))
def test_focal_concentration(case: SamplerCase) -> None:
    """Focal anchors lie within the window as far as there are any."""
    hold("focal-concentration", case)


@given(case=sampler_cases(experiment_aware=ON, condition_balanced=ON, temporal_enrichment=ON))
def test_axes_compose(case: SamplerCase) -> None:
    """No axis switches another off."""
    hold("axes-compose", case)


@given(case=sampler_cases())
def test_no_needless_repeat(case: SamplerCase) -> None:
    """Anchors repeat only where they must, and then by turns."""
    hold("no-needless-repeat", case)


@given(case=sampler_cases(tables=FEW_STRATA, temporal_enrichment=OFF, exclusive_by=st.none()))
def test_no_needless_repeat_between_passes(case: SamplerCase) -> None:
    """Anchors do not repeat where a batch straddles two passes."""
    hold("no-needless-repeat", case)


@given(case=law_cases("lineage-exclusive"))
def test_lineage_exclusive(case: SamplerCase) -> None:
    """Lineages meet only where they must."""
    hold("lineage-exclusive", case)


@given(case=sampler_cases())
def test_explained(case: SamplerCase) -> None:
    """The provenance table tells the truth."""
    hold("explained", case)


@pytest.mark.parametrize(
    "law",
    [
        "no-needless-repeat",
        "deterministic",
        "random-access",
        "resume",
        "resume-on-ranks",
        "ranks-partition",
        "elastic",
        "relabel",
        "dtype",
        "extra-columns",
        "explained",
        "life",
    ],
)
def test_lineages_may_live_in_several_strata(law: str) -> None:
    """Where exclusivity ties strata to each other, what is drawn from one still depends on nothing but its address."""

    def is_shared(case: SamplerCase | LifeCase) -> bool:
        return case.table.shared_lineages and case.options.exclusive_by is not None

    @settings(max_examples=max(6, settings().max_examples // 8))
    @given(case=law_cases(law).filter(is_shared))
    def holds(case: SamplerCase | LifeCase) -> None:
        hold(law, case)

    holds()
