"""What two epochs are compared by: all their batches, and each of the things that were drawn for them.

Comparing a part says something only where both epochs drew from the same: the leaked anchors of two batches of one
experiment, say. So each comparison says "alike", "different" or nothing, and where it says something and the draws are
independent, "alike" is right by chance in one case out of two at most.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dynaclr_strategies.invariants.sampler_runs import Batch
from dynaclr_strategies.oracles.sampler import CascadeOracle, meant
from dynaclr_strategies.sampler_descriptions import Label

__all__ = ["WHOLE", "Aspect", "Sight", "aspects"]


class Sight:
    """One epoch of one sampler, looked at no further than needed.

    Parameters
    ----------
    start
        Returns the sampler, with the epoch selected.
    epoch
        Its number.
    """

    def __init__(self, start: Callable[[], Any], epoch: int) -> None:
        self._start, self._epoch = start, epoch

    @cached_property
    def first(self) -> Batch:
        """The first batch; one without anchors if the epoch has none."""
        sampler = self._start()
        return Batch(list(next(iter(sampler), [])), 0, self._epoch, sampler)

    @cached_property
    def whole(self) -> list[Batch]:
        """All batches."""
        sampler = self._start()
        return [Batch(list(anchors), number, self._epoch, sampler) for number, anchors in enumerate(sampler)]

    @cached_property
    def focal_hpi(self) -> float | None:
        """What the sampler says is the focal HPI of the first batch; None if it does not say."""
        account = self.first.provenance()
        return None if account is None else account.attrs["focal_hpi"]


@dataclass(frozen=True)
class Aspect:
    """Something by which epochs are compared.

    Attributes
    ----------
    name
        What is the same where they are alike.
    alike
        Tells whether two epochs are; None if they do not show it.
    """

    name: str
    alike: Callable[[Sight, Sight], bool | None]


def _whole(one: Sight, other: Sight) -> bool:
    if one.first.anchors != other.first.anchors:
        return False
    return [batch.anchors for batch in one.whole] == [batch.anchors for batch in other.whole]


WHOLE = Aspect("batches", _whole)
"""All there is."""


def aspects(oracle: CascadeOracle) -> list[Aspect]:
    """Return everything that must differ between two epochs of a table."""
    found = [WHOLE]
    if sum(math.floor(oracle.share(group)) >= 1 for group in oracle.groups) > 1:
        found.append(Aspect("order of experiments", lambda a, b: _order(oracle, a, b)))
    found.append(Aspect("primary anchors in their first batch", lambda a, b: _primary(oracle, a, b)))
    if oracle.num_leaked and not oracle.options.exclusive_by:
        found.append(Aspect("leaked anchors in their first batch", lambda a, b: _leaked(oracle, a, b)))
    if oracle.options.temporal_enrichment and oracle.num_focal:
        found.append(Aspect("focal HPI of their first batch", lambda a, b: _focal(oracle, a, b)))
    return found


def _is_told(oracle: CascadeOracle, batch: Batch) -> bool:
    """Tell whether every batch shows which experiment it belongs to, whatever was drawn for it."""
    return oracle.num_leaked < oracle.num_primary or hasattr(batch.sampler, "explain")


def _owners(oracle: CascadeOracle, batches: list[Batch]) -> list[Label | None] | None:
    owners = [batch.owner(oracle) for batch in batches]
    clear = all(len(possible) == 1 and _is_told(oracle, batch) for possible, batch in zip(owners, batches, strict=True))
    return [possible[0] for possible in owners] if clear else None


def _order(oracle: CascadeOracle, one: Sight, other: Sight) -> bool | None:
    mine, theirs = _owners(oracle, one.whole), _owners(oracle, other.whole)
    return None if mine is None or theirs is None else mine == theirs


def _common_owner(oracle: CascadeOracle, one: Sight, other: Sight) -> list[Label | None]:
    """Return the experiment of both first batches, if it is one; a list, since None is the one of no axis."""
    mine, theirs = _owners(oracle, [one.first]), _owners(oracle, [other.first])
    return [] if mine is None or mine != theirs else mine


def _primary(oracle: CascadeOracle, one: Sight, other: Sight) -> bool | None:
    for owner in _common_owner(oracle, one, other):
        if any(oracle.stratum_varies(owner, condition) for condition in oracle.strata[owner]):
            mine, theirs = (sorted(oracle.split(sight.first.anchors, owner)[0]) for sight in (one, other))
            return mine == theirs
    return None


def _leaked(oracle: CascadeOracle, one: Sight, other: Sight) -> bool | None:
    for owner in _common_owner(oracle, one, other):
        if oracle.num_leaked % len(oracle.others(owner)):
            mine, theirs = (sorted(oracle.split(sight.first.anchors, owner)[1]) for sight in (one, other))
            return mine == theirs
    return None


def _focal(oracle: CascadeOracle, one: Sight, other: Sight) -> bool | None:
    for owner in _common_owner(oracle, one, other):
        drawn = [{oracle.condition(a) for a in oracle.split(s.first.anchors, owner)[0]} for s in (one, other)]
        if all(len(oracle.focal_values(owner, conditions)) > 1 for conditions in drawn):
            hours = [sight.focal_hpi for sight in (one, other)]
            return None if None in hours else len({meant(each) for each in hours if each is not None}) == 1
    return None
