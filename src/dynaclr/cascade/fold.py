"""The sampling cascade: the axes folded over one table, from which any batch of any epoch can be composed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from dynaclr.cascade.composition import Composition, Orders, Part, Role, enriched, leaked
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
_ROUNDS_KEPT: Final = 2  # the running one and, for `explain` and `batch`, another
# Anchors composed at once: enough to hide what a call of NumPy costs, few enough to stay in the cache.
_CHUNK: Final = 100_000
_ONE_BY_ONE: Final = 16  # batches handed on at once where they are composed one by one


class Cascade:
    """Composes the batches of a recipe.

    Parameters
    ----------
    recipe
        What stays the same for all batches.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._rounds: dict[tuple[int, int], _Round] = {}
        self._chunk = _ONE_BY_ONE if recipe.exclusive is not None else max(1, _CHUNK // recipe.batch_size)

    def shared_values(self, composition: Composition) -> int:
        """Return how many of these batches hold two anchors of one exclusive value."""
        if self.recipe.exclusive is None:
            return 0
        codes = np.sort(self.recipe.exclusive[composition.place], axis=1)
        return int((codes[:, 1:] == codes[:, :-1]).any(axis=1).sum())

    def rows(self, composition: Composition) -> Ints:
        """Return the rows of the table that were composed, shape ``(K, B)``."""
        return self.recipe.strata.order.take(composition.place)

    def compositions(self, numbers: Ints, epoch: int) -> Iterator[Composition]:
        """Compose these global batches of an epoch, ascending, a chunk of one round at a time."""
        for of_round in np.split(numbers, np.flatnonzero(np.diff(numbers // self.recipe.num_batches)) + 1):
            # In equal chunks, of about that size: none is left with a rest that costs as many calls as the others.
            for chunk in np.array_split(of_round, max(1, round(len(of_round) / self._chunk))) if len(of_round) else ():
                yield self.compose(chunk, epoch)

    def compose(self, numbers: Ints, epoch: int) -> Composition:
        """Compose these global batches of one round of an epoch, shape ``(K,)``; the fold over the axes."""
        recipe = self.recipe
        number = int(numbers[0]) // recipe.num_batches
        plan, in_round = self._plan(epoch, number), numbers - number * recipe.num_batches
        group, focal = plan.schedule.group[in_round], np.full(len(numbers), -1)
        if plan.exclusive is not None:
            parts, focal = plan.exclusive.compose(numbers)
        elif recipe.focus is None:
            count = np.full(len(numbers), recipe.primary)
            parts = [Part(Role.PRIMARY, count, plan.passes.take(in_round).ravel())]
        else:
            shares = recipe.quotas.shares(group, plan.schedule.offset[in_round])
            parts, focal = enriched(recipe, epoch, shares, numbers, group)
        if recipe.leaked and plan.exclusive is None:
            parts.append(leaked(recipe, epoch, numbers, group))
        order = None if recipe.is_of_one_draw else plan.orders.of(numbers)
        return Composition(parts, len(numbers), order, focal)

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
            columns["hpi"] = strata.times_at(place)
            focus = self.recipe.focus
            far = np.zeros(len(place), dtype=bool) if focus is None else ~focus.holds(place, focal)
            columns["time"] = _objects([_TIME_OF[kind, away] for kind, away in zip(role, far, strict=True)])
        table = pd.DataFrame(columns)
        table.attrs["focal_hpi"] = None if focal < 0 else float(strata.values[focal])
        return table

    def asked(self) -> pd.DataFrame:
        """Return what is asked of each stratum (see `FlexibleBatchSampler.strata`)."""
        recipe, strata = self.recipe, self.recipe.strata
        group = strata.stratum_group
        asked = {
            "experiment": [strata.groups[at] for at in group],
            "condition": [strata.conditions[at] for at in strata.condition],
            "anchors": np.diff(strata.start).tolist(),
            "batches": recipe.shares.expected()[group].tolist(),
            "quota": np.concatenate([each.expected() for each in recipe.quotas.per_group]).tolist(),
        }
        for name, size in recipe.census.items():
            if name not in strata.groups:
                for column, value in zip(asked, (name, None, size, 0.0, 0.0), strict=True):
                    asked[column].append(value)
        labels = {column: _objects(asked[column]) for column in ("experiment", "condition")}
        return pd.DataFrame(asked | labels)

    def _plan(self, epoch: int, number: int) -> _Round:
        """Return the plan of one round of an epoch, made when first asked for."""
        plan = self._rounds.pop((epoch, number), None) or _Round(self.recipe, epoch, number)
        self._rounds[epoch, number] = plan  # last in, so that the oldest goes first
        while len(self._rounds) > _ROUNDS_KEPT:
            del self._rounds[next(iter(self._rounds))]
        return plan


class _Round:
    """The schedule of one round of an epoch and the state of its passes."""

    def __init__(self, recipe: Recipe, epoch: int, number: int) -> None:
        self._of = (recipe, epoch, number)
        self.schedule = schedule = Schedule.of(recipe.seed, epoch, number, recipe.shares)
        self.exclusive = None if recipe.exclusive is None else ExclusiveDraws(recipe, epoch, number, schedule)
        self.orders = Orders(recipe, epoch)

    @cached_property
    def passes(self) -> FairPasses:
        """The streams of the strata, for which some axes have no use."""
        return FairPasses(*self._of, self.schedule)


def _objects(values: list[Any]) -> pd.Series[Any]:
    """Return a column of these very objects; tuples and None stay what they are."""
    return pd.Series(values, dtype=object)
