"""Strata and shares made by hand, for tests of single modules of the cascade."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from dynaclr.cascade.strata import Labels, Strata


def expected_of(weights: list[int], total: int) -> list[Fraction]:
    """Share a total out, in fractions."""
    return [Fraction(weight * total, sum(weights)) for weight in weights]


def timed_strata(times: list[list[list[float]]]) -> Strata:
    """Return anchors of so many experiments, each with strata whose anchors have these HPI, in hours."""
    rows = [
        (group, nth, hpi) for group, strata in enumerate(times) for nth, stratum in enumerate(strata) for hpi in stratum
    ]
    group, condition, hpi = np.array(rows, dtype=np.float64).reshape(-1, 3).T
    groups = Labels(tuple(range(len(times))), group.astype(np.uint8))
    conditions = Labels(tuple(range(max(map(len, times)))), condition.astype(np.uint8))
    return Strata.of(groups, np.ones(len(times), dtype=bool), conditions, hpi)


def strata_of(sizes: list[list[int]]) -> Strata:
    """Return anchors of so many experiments, each with strata of these sizes, all at one time."""
    return timed_strata([[[0.0] * size for size in strata] for strata in sizes])
