"""What batches show of how their focal anchors were drawn, where the sampler does not tell which these are.

The focal HPI of a batch and the number of a condition's focal anchors are then unknown, though not what they are drawn
from: any of the values that serve, alike, and the floor or the ceiling of a share. So the probability that a batch
holds none of some anchors is known exactly, as a mean over them, and with it that of any event made of such ones. (A
sampler that draws focal HPIs or rounds quotas in another way shows here too, as these promises cannot be told apart.)
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from dynaclr_strategies.oracles.sampler import CascadeOracle

__all__ = ["Draw", "focal_numbers"]

_MOST_SPREADS = 4


def _thinned(ordered: list[Fraction], most: int) -> list[Fraction]:
    """Return so many of some numbers, evenly spaced, or all."""
    return ordered[:: -(-len(ordered) // most)] if ordered else []


def focal_numbers(oracle: CascadeOracle, drawn: int) -> Iterator[tuple[int, Fraction]]:
    """Yield how many of a condition's drawn anchors may be focal, each number with its probability."""
    share = Fraction(oracle.num_focal * drawn, oracle.num_primary)
    few = math.floor(share)
    yield few, few + 1 - share
    if share > few:
        yield few + 1, share - few


@dataclass(frozen=True)
class Draw:
    """How some anchors of a stratum are drawn into a batch, as far as the batch shows it.

    Attributes
    ----------
    oracle
        Knows table and options.
    stratum
        The anchors to draw from.
    drawn
        How many of them the batch holds, each once.
    values
        The HPI values of which one is focal.
    """

    oracle: CascadeOracle
    stratum: tuple[int, ...]
    drawn: int
    values: frozenset[Fraction]

    @cached_property
    def is_from_windows(self) -> bool:
        """Whether every window holds enough anchors; of those beyond a window, it is the nearest that are focal."""
        most = max(number for number, _ in focal_numbers(self.oracle, self.drawn))
        return all(len(self.oracle.in_window(self.stratum, value)) >= most for value in self.values)

    def without(self, some: Collection[int]) -> Fraction:
        """Return the probability that none of some anchors is drawn."""
        total, every = Fraction(0), len(self.stratum)
        for value in self.values:
            window = self.oracle.in_window(self.stratum, value)
            hit = len(set(some).intersection(window))
            for focal, probability in focal_numbers(self.oracle, self.drawn):
                near = Fraction(math.comb(len(window) - hit, focal), math.comb(len(window), focal))
                if near:
                    others = every - focal, self.drawn - focal
                    total += probability * near * math.comb(others[0] - len(some), others[1]) / math.comb(*others)
        return total / len(self.values)

    @property
    def of_more_than_the_floor(self) -> Fraction:
        """The probability that the window of the one focal value yields more than the floor of the focal number."""
        (few, probability), *_ = focal_numbers(self.oracle, self.drawn)
        (value,) = self.values
        every, inside = len(self.stratum), len(self.oracle.in_window(self.stratum, value))
        others = self.drawn - few
        return 1 - probability * Fraction(math.comb(every - inside, others), math.comb(every - few, others))

    @cached_property
    def of_each(self) -> dict[int, Fraction]:
        """The probability of each anchor to be drawn."""
        times = {time: 1 - self.without(anchors[:1]) for time, anchors in self._by_time.items()}
        return {anchor: times[self.oracle.hpi(anchor)] for anchor in self.stratum}

    @cached_property
    def of_spreads(self) -> dict[Fraction, Fraction]:
        """The probability that the first and the last drawn anchor lie no farther apart than some hours."""
        times = sorted(self._by_time)
        apart = sorted({late - early for early in times for late in times if late >= early})[:-1]
        # What one window holds is no farther apart; beyond it there are global ones too.
        inside = [hours for hours in apart if hours <= 2 * self.oracle.window]
        some = [*_thinned(inside, _MOST_SPREADS), *_thinned(apart[len(inside) :], 1)]
        return {hours: self._within(hours) for hours in some}

    def _within(self, hours: Fraction) -> Fraction:
        """Return the probability of a spread: over the time of the first drawn anchor, in all those from it on."""
        total = Fraction(0)
        for first in self._by_time:
            outside = [anchor for anchor in self.stratum if not first <= self.oracle.hpi(anchor) <= first + hours]
            total += self.without(outside) - self.without([*outside, *self._by_time[first]])
        return total

    @cached_property
    def _by_time(self) -> dict[Fraction, list[int]]:
        members: dict[Fraction, list[int]] = {}
        for anchor in self.stratum:
            members.setdefault(self.oracle.hpi(anchor), []).append(anchor)
        return members
