"""How many examples of each law are checked in a second, so that a slow law shows."""

from __future__ import annotations

import time
from collections.abc import Iterator

from hypothesis import HealthCheck, Phase, given, settings

from benchmarks.model import Entry, Rate, Scale
from dynaclr_strategies import INVARIANTS
from dynaclr_strategies.codec import Plain
from dynaclr_strategies.law_cases import law_cases
from dynaclr_strategies.reproduction.attached import check_law

GROUP = "laws"
_ONCE = ("training",)  # subjects whose every example is a whole training


def measure(scale: Scale) -> Iterator[Entry]:
    """Check every law on cases of its own, drawn and not shrunk; the first example warms up."""
    for law, invariant in INVARIANTS.items():
        few = invariant.subject in _ONCE or scale.quick
        yield _rate(law, invariant.subject, 3 if few else 20)


def _rate(law: str, subject: str, examples: int) -> Rate:
    cases, applied = 0, 0
    begin = 0.0

    @settings(
        max_examples=examples + 1,
        database=None,
        derandomize=True,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=law_cases(law))
    def check(case: Plain) -> None:
        nonlocal cases, applied, begin
        applied += check_law(law, case)
        cases += 1
        if cases == 1:
            begin = time.perf_counter()

    check()
    return Rate(law, subject, cases - 1, applied, time.perf_counter() - begin)
