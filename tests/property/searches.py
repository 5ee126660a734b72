"""What a strategy gets to, and what it shrinks towards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, find, settings
from hypothesis import strategies as st

# Which parts of the smallest value could be otherwise is nobody's question here, and takes longer than all the rest.
SEARCH = settings(
    max_examples=5000,
    database=None,
    suppress_health_check=list(HealthCheck),
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
)


def reached(strategy: st.SearchStrategy[Any], *wanted: Callable[[Any], Any]) -> None:
    """Check that a strategy gets to values with each of some properties; `NoSuchExample` if it does not."""
    left = list(wanted)

    def none_is_left(value: Any) -> bool:
        left[:] = [one for one in left if not one(value)]
        return not left

    # Whether they are reached is the question, not how small they can be made: shrinking would take most of the time.
    find(strategy, none_is_left, settings=settings(SEARCH, phases=[Phase.generate]))


def smallest(strategy: st.SearchStrategy[Any]) -> Any:
    """Return what a strategy shrinks towards."""
    return find(strategy, lambda _: True, settings=SEARCH)
