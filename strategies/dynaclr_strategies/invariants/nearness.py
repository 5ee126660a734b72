"""How near a case came to breaking its law, for a search that climbs towards failures.

Laws that allow a margin, for rounding or for chance, say how much of it was used. Nobody listens unless somebody asks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["listening", "used"]

_scores: dict[str, float] | None = None


@contextmanager
def listening() -> Iterator[dict[str, float]]:
    """Collect what laws say while this is open: the most that was used of each margin."""
    global _scores  # noqa: PLW0603 - the laws are plain functions, which nobody could hand a listener
    before, _scores = _scores, {}
    try:
        yield _scores
    finally:
        _scores = before


def used(margin: str, share: float) -> None:
    """Say how much of a margin was used.

    Parameters
    ----------
    margin
        What is allowed for: ``"rounding"``, ``"chance"``.
    share
        0 if nothing of it, 1 at the limit, beyond which the law is broken. What is no finite number is not counted.
    """
    if _scores is not None and math.isfinite(share):
        _scores[margin] = max(share, _scores.get(margin, 0.0))
