"""What conformance draws for a law shows defects that are rare among samplers' cases, with as many as it draws."""

from __future__ import annotations

from typing import Any

import pytest
from composition_witnesses import CarelessPasses, FocusOfTheEpoch, FocusOfTheEpochInSecret
from hypothesis import HealthCheck, Phase, given, seed, settings

from dynaclr_strategies.conformance.contract import Contract
from dynaclr_strategies.conformance.plans import PLANS, drawn_cases
from dynaclr_strategies.conformance.running import EXAMPLES
from dynaclr_strategies.invariants import InvariantViolation, UndecidedError
from dynaclr_strategies.sampler_descriptions import SamplerCase
from dynaclr_strategies.subjects import run_law


def _is_found(law: str, contract: Contract, nth: int) -> bool:
    found: list[SamplerCase] = []

    @seed(nth)
    @settings(
        max_examples=EXAMPLES // 4 if PLANS[law].costly else EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=drawn_cases(law, contract.claims))
    def search(case: Any) -> None:
        if not found:
            try:
                run_law(law, case, contract.make)
            except InvariantViolation:
                found.append(case)
            except UndecidedError:
                return

    search()
    return bool(found)


@pytest.mark.parametrize(
    ("law", "sampler"),
    [
        ("no-needless-repeat", CarelessPasses),
        ("focal-hpi-uniform", FocusOfTheEpoch),
        ("focal-hpi-uniform", FocusOfTheEpochInSecret),
    ],
)
def test_a_rare_defect_is_found_in_nearly_every_run(law: str, sampler: Any) -> None:
    """In four of five runs at least. The seeds are fixed: of twenty others, 19 and more had found it."""
    contract = Contract.of(sampler, sampler.__name__)
    assert sum(_is_found(law, contract, nth) for nth in range(5)) >= 4
