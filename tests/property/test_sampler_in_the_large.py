"""The statistical laws on many batches of a few cases.

On a drawn case they look at some hundred batches, which cannot tell 0.6 from 0.5 without false alarms. From n batches
of an experiment they tell what is further than ``sqrt(log(1 / FALSE_ALARM) / 2 / n)`` from p: 0.03 for all batches
here, and 0.06 where the sampler has to explain each.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dynaclr_strategies import INVARIANTS, InvariantViolation
from dynaclr_strategies.conformance import Claims
from dynaclr_strategies.conformance.contract import Contract
from dynaclr_strategies.invariants.sampler_distribution import DRAWN_BATCHES
from dynaclr_strategies.oracles.reference_sampler import ReferenceSampler
from dynaclr_strategies.oracles.sampler import CascadeOracle
from dynaclr_strategies.sampler_descriptions import SamplerCase, SamplerOptions, StratumDescription, TableDescription
from dynaclr_strategies.subjects.sampler import make_flexible

BATCHES, EXPLAINED = 20_000, 5_000

TIMES = (0.0, 0.5, 1.0, 4.0, 9.0)
TABLE = TableDescription(
    strata=tuple(
        StratumDescription(experiment=experiment, condition=condition, hpi=TIMES, cells=cells)
        for experiment, condition, cells in (
            ("a", "c", 3),
            ("a", "d", 1),
            ("a", "e", 2),
            ("b", "c", 2),
            ("b", "d", 2),
            ("f", "d", 4),
        )
    )
)


def _case(**options: Any) -> SamplerCase:
    return SamplerCase(table=TABLE, options=SamplerOptions(**options))


ENRICHED = {"temporal_enrichment": True, "temporal_window_hours": 0.5}
CASES = {
    "condition-unbiased": [
        _case(batch_size=1),
        _case(batch_size=5, leaky=0.3, condition_ratio=(("c", 0.3), ("d", 1 / 3), ("e", 0.1))),
    ],
    "experiment-order": [_case(batch_size=7, experiment_weights=(("a", 1.0), ("b", 0.5), ("f", 3.0)))],
    "experiment-unbiased": [_case(batch_size=10, experiment_weights=(("a", 1.0), ("b", 0.1), ("f", 3.0)))],
    "leak-uniform": [_case(batch_size=5, leaky=0.4), _case(batch_size=3, leaky=1 / 3, **ENRICHED)],
    "plain-when-global": [_case(batch_size=4, **ENRICHED)],
    "passes-shuffled": [_case(batch_size=5), _case(batch_size=4, leaky=0.3, condition_balanced=False)],
    "relatives-alike": [_case(batch_size=4, exclusive_by="lineage_id")],
    "focal-hpi-uniform": [_case(batch_size=4, **ENRICHED), _case(batch_size=4, exclusive_by="lineage_id", **ENRICHED)],
    "focal-quota-unbiased": [_case(batch_size=5, temporal_global_fraction=0.5, **ENRICHED)],
    "batch-order": [_case(batch_size=5, leaky=0.3), _case(batch_size=4, **ENRICHED)],
    "focal-uniform": [_case(batch_size=3, temporal_global_fraction=1 / 3, **ENRICHED)],
}


def _check(law: str, case: SamplerCase, make: Any, batches: int) -> None:
    assert INVARIANTS[law].applies(CascadeOracle(case.frame(), case.options))
    INVARIANTS[law].check(make, case.frame(), case.options, batches=batches)


@pytest.mark.parametrize(("law", "case"), [(law, case) for law, cases in CASES.items() for case in cases])
def test_many_batches(law: str, case: SamplerCase) -> None:
    """Every share is what it should be, within a few hundredths."""
    _check(law, case, make_flexible, EXPLAINED if law in {"focal-quota-unbiased", "focal-uniform"} else BATCHES)


def _silent(table: Any, options: SamplerOptions) -> Any:
    """Return our sampler as one that explains nothing."""
    return Contract.of(make_flexible, "silent", Claims(explain=False)).make(table, options)


TWO_TIMES = TableDescription(
    strata=tuple(replace(stratum, hpi=(0.0, 9.0), cells=8) for stratum in TABLE.strata if stratum.experiment != "f")
)


@pytest.mark.parametrize("law", ["focal-quota-unbiased", "focal-uniform"])
def test_many_batches_of_a_sampler_that_explains_nothing(law: str) -> None:
    """What its batches show by themselves is as it should be."""
    options = SamplerOptions(batch_size=7, temporal_enrichment=True, temporal_window_hours=0.0)
    _check(law, SamplerCase(table=TWO_TIMES, options=options), _silent, EXPLAINED)


class _Leaning(ReferenceSampler):
    """Rounds with a coin that lands on one side in 55 of 100 throws and on the other in 45."""

    def quotas(self, owner: Any, rng: Any) -> Any:
        """Return the quotas of a batch."""
        return self.round(self.oracle.quotas(owner), rng.random() ** 0.86)  # below 1/2 with probability 0.447


def test_many_batches_tell_what_some_hundred_cannot() -> None:
    """A coin of 55 to 45 passes for a fair one on a drawn case, and does not here."""
    case = SamplerCase(table=TableDescription(strata=TABLE.strata[3:5]), options=SamplerOptions(batch_size=1))
    _check("condition-unbiased", case, _Leaning, DRAWN_BATCHES)
    with pytest.raises(InvariantViolation, match="condition-unbiased"):
        _check("condition-unbiased", case, _Leaning, BATCHES)
