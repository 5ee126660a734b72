"""Which law is searched next: each at least once, then those more often in which new behaviour still shows up."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence

import numpy as np

__all__ = ["Schedule"]

_RECENT = 3


class Schedule:
    """Deals slices of time out to laws.

    Every second slice goes round all laws, so that none is forgotten. The others are drawn, with chances in proportion
    to the arcs per second that a law's last slices discovered.

    Parameters
    ----------
    laws
        Names of the laws.
    seed
        Decides the draws.
    """

    def __init__(self, laws: Sequence[str], seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._rounds = dict.fromkeys(laws, 0)
        self._recent: dict[str, deque[tuple[float, int]]] = {law: deque(maxlen=_RECENT) for law in laws}
        self._first: list[str] = []
        self._dealt = 0

    @property
    def left(self) -> list[str]:
        """Laws that have not been retired."""
        return list(self._rounds)

    def deal(self, running: Collection[str]) -> str | None:
        """Return the next law; None if all are retired.

        Parameters
        ----------
        running
            Laws that are being searched now. They are not dealt out again, unless there is nothing else to do.
        """
        free = [law for law in self._rounds if law not in running] or self.left
        if not free:
            return None
        waiting = [law for law in self._first if law in free]
        if waiting:
            self._first.remove(waiting[0])
            return waiting[0]
        self._dealt += 1
        least = min(free, key=self._rounds.__getitem__)
        if self._dealt % 2 or not self._rounds[least]:
            self._rounds[least] += 1
            return least
        chances = np.array([self._discoveries(law) for law in free])
        return free[int(self._rng.choice(len(free), p=chances / chances.sum()))]

    def told(self, law: str, seconds: float, new_arcs: int) -> None:
        """Take in what a slice was good for."""
        self._recent[law].append((seconds, new_arcs))

    def put_first(self, law: str) -> None:
        """Deal a law out next: its slice was cut off."""
        if law in self._rounds:
            self._first.append(law)

    def retire(self, law: str) -> None:
        """Deal a law out never again."""
        self._rounds.pop(law, None)

    def _discoveries(self, law: str) -> float:
        """Return arcs per second, with one arc more than there were, so that no law is given up."""
        recent = self._recent[law]
        return (1 + sum(new for _, new in recent)) / max(sum(seconds for seconds, _ in recent), 0.1)
