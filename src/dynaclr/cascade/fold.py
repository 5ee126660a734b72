"""The sampling cascade: the axes folded over one table, from which any batch of any epoch can be composed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from dynaclr.cascade.composition import Composition, Role, enriched, leaked, shuffled
from dynaclr.cascade.exclusive import ExclusiveDraws
from dynaclr.cascade.passes import FairPasses
from dynaclr.cascade.schedule import Schedule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dynaclr.cascade.recipe import Recipe

    Ints = NDArray[np.int64]

_TIME_OF: Final = {  # (role, outside the window) -> what `explain` calls it
    (Role.FOCAL, False): "focal",
    (Role.FOCAL, True): "widened",
    **dict.fromkeys([(role, far) for role in (Role.PRIMARY, Role.GLOBAL) for far in (False, True)], "global"),
    **dict.fromkeys([(Role.LEAKED, far) for far in (False, True)]),
}
_EPOCHS_KEPT: Final = 2  # the running one and, for `explain` and `batch`, another


class Cascade:
    """Composes the batches of a recipe.

    Parameters
    ----------
    recipe
        What stays the same for all batches.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._epochs: dict[int, _Epoch] = {}

    def shared_values(self, composition: Composition) -> int:
        """Return how many of these batches hold two anchors of one exclusive value."""
        if self.recipe.exclusive is None:
            return 0
        codes = np.sort(self.recipe.exclusive[composition.place], axis=1)
        return int((codes[:, 1:] == codes[:, :-1]).any(axis=1).sum())

    def rows(self, composition: Composition) -> Ints:
        """Return the rows of the table that were composed, shape ``(K, B)``."""
        return self.recipe.strata.order[composition.place]

    def compose(self, numbers: Ints, epoch: int) -> Composition:
        """Compose these global batches of an epoch, shape ``(K,)``, ascending; the fold over the axes."""
        recipe = self.recipe
        plan = self._plan(epoch, int(numbers[-1]) // recipe.num_batches + 1)
        group, focal = plan.schedule.group[numbers], np.full(len(numbers), -1)
        if recipe.is_of_one_draw:
            place = plan.passes.take(numbers)  # in random order as it is
            return Composition(place, np.full(place.shape, Role.PRIMARY), focal)
        if plan.exclusive is not None:
            batch, place, role, focal = plan.exclusive.compose(numbers)
        elif recipe.focus is None:
            place = plan.passes.take(numbers).ravel()
            batch, role = np.repeat(np.arange(len(numbers)), recipe.primary), np.full(len(place), Role.PRIMARY)
        else:
            shares = recipe.quotas.shares(group, plan.schedule.offset[numbers])
            batch, place, role, focal = enriched(recipe, epoch, shares, numbers, group)
        if recipe.leaked and plan.exclusive is None:
            leak_batch, leak_place = leaked(recipe, epoch, numbers, group)
            batch, place = np.concatenate([batch, leak_batch]), np.concatenate([place, leak_place])
            role = np.concatenate([role, np.full(len(leak_batch), Role.LEAKED)])
        return Composition(*shuffled(recipe, epoch, numbers, batch, place, role), focal)

    def explain(self, number: int, epoch: int) -> pd.DataFrame:
        """Return the provenance table of one global batch (see `FlexibleBatchSampler.explain`)."""
        composed, strata = self.compose(np.array([number]), epoch), self.recipe.strata
        place, role, focal = composed.place[0], composed.role[0], int(composed.focal[0])
        stratum = np.searchsorted(strata.start, place, side="right") - 1
        anchor = strata.order[place]
        columns: dict[str, Any] = {
            "anchor": anchor,
            "experiment": _objects([strata.groups[at] for at in strata.stratum_group[stratum]]),
            "condition": _objects([strata.conditions[at] for at in strata.condition[stratum]]),
            "source": np.where(role == Role.LEAKED, "leaked", "primary"),
            "time": _objects([None] * len(place)),
            "repeated": pd.Series(anchor).duplicated().to_numpy(),
        }
        if self.recipe.time is not None:
            columns["hpi"] = hpi = strata.times_at(place)
            far = np.abs(hpi - strata.values[focal]) > self.recipe.time.window_hours
            columns["time"] = _objects([_TIME_OF[kind, away] for kind, away in zip(role, far, strict=True)])
        table = pd.DataFrame(columns)
        table.attrs["focal_hpi"] = None if focal < 0 else float(strata.values[focal])
        return table

    def _plan(self, epoch: int, rounds: int) -> _Epoch:
        """Return the plan of an epoch with at least so many rounds, made when first asked for."""
        plan = self._epochs.pop(epoch, None)
        if plan is None or plan.rounds < rounds:
            plan = _Epoch(self.recipe, epoch, rounds)
        self._epochs[epoch] = plan  # last in, so that the oldest goes first
        while len(self._epochs) > _EPOCHS_KEPT:
            del self._epochs[next(iter(self._epochs))]
        return plan


class _Epoch:
    """The schedule of one epoch and the state of its passes."""

    def __init__(self, recipe: Recipe, epoch: int, rounds: int) -> None:
        self.rounds = rounds
        self.schedule = schedule = Schedule.of(recipe.seed, epoch, recipe.shares, recipe.num_batches, rounds)
        self.exclusive = None if recipe.exclusive is None else ExclusiveDraws(recipe, epoch, schedule)
        self.passes = FairPasses(recipe, epoch, schedule)


def _objects(values: list[Any]) -> pd.Series[Any]:
    """Return a column of these very objects; tuples and None stay what they are."""
    return pd.Series(values, dtype=object)
