"""An epoch ends: what laws iterate stops soon after it should have, and says so instead of going on for ever."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from dynaclr_strategies.invariants.base import InvariantViolation
from dynaclr_strategies.invariants.sampler_runs import MakeSampler
from dynaclr_strategies.sampler_descriptions import SamplerOptions

__all__ = ["ending"]

_MOST_ANNOUNCED = 100_000  # some samplers without an end announce the largest number that there is
_SOME_MORE = 100


def ending(make_sampler: MakeSampler, law: str) -> MakeSampler:
    """Return what makes the same samplers, each iteration of which raises where it goes on far beyond an epoch.

    An epoch of the wrong length is left to the laws about lengths. This is about twice what the sampler announces, or
    the contract has for all ranks together, and a hundred batches more.

    Parameters
    ----------
    make_sampler
        Makes the sampler of a rank.
    law
        What the violation is one of.
    """

    def make(table: pd.DataFrame, options: SamplerOptions) -> _Ending:
        return _Ending(make_sampler(table, options), math.ceil(len(table) / options.batch_size), law)

    return make


class _Ending:
    """A sampler as it is, but for iterations without an end."""

    def __init__(self, sampler: Any, batches: int, law: str) -> None:
        self._sampler, self._batches, self._law = sampler, batches, law

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sampler, name)

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self) -> Iterator[Any]:
        return self._until_the_end(iter(self._sampler))  # which begins now, not with the first batch

    def _until_the_end(self, batches: Iterator[Any]) -> Iterator[Any]:
        most = 2 * self._batches + _SOME_MORE
        for number, batch in enumerate(batches):
            if number == most:
                # Asked no earlier, and only what shows: whoever keeps within the contract need not have a length.
                expected = max(self._batches, self._announced())
                most = 2 * expected + _SOME_MORE
                if number >= most:
                    seen, should = f"more than {most} of them", f"an epoch's {expected}"
                    raise InvariantViolation("batches do not end", seen, should, self._law)
            yield batch

    def _announced(self) -> int:
        try:
            announced = len(self._sampler)
        except (TypeError, NotImplementedError):
            return 0
        return announced if announced <= _MOST_ANNOUNCED else 0
