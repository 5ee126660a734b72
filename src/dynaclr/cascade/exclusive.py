"""Exclusive draws: no two anchors of a batch from one lineage, where the stratum has enough lineages.

Whether an anchor may join depends on what the batch holds already, so these batches are composed one by one. Each costs
the order of its size, times the number of anchors that one lineage has in the window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dynaclr.cascade.composition import Part, Role, focal_hpi, focal_quotas
from dynaclr.cascade.distinct import Batch, Places, Values, evenly, first_new, most_even
from dynaclr.cascade.draws import balanced
from dynaclr.randomness import below, generator, keys, lanes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dynaclr.cascade.recipe import Recipe
    from dynaclr.cascade.schedule import Schedule

    Ints = NDArray[np.int64]
    Address = tuple[int, int, str, *tuple[int, ...]]


class _Share(NamedTuple):
    """What one condition contributes to one batch.

    Parameters
    ----------
    stratum, quota, near
        The stratum, its number of anchors in the batch, and how many of these are drawn near the focal HPI.
    low, high
        The run of places of the stratum within the window.
    crowded
        Whether the stratum has fewer values than anchors in the batch.
    """

    stratum: int
    quota: int
    near: int
    low: int
    high: int
    crowded: bool


class ExclusiveDraws:
    """The batches of one round of an epoch under exclusivity.

    Parameters
    ----------
    recipe
        Strata, quotas and exclusive values.
    epoch, number, schedule
        The epoch, the number of the round, and its schedule.
    """

    def __init__(self, recipe: Recipe, epoch: int, number: int, schedule: Schedule) -> None:
        assert recipe.exclusive is not None  # noqa: S101  only made with exclusivity
        self._recipe = recipe
        self._values = Values(recipe.exclusive)
        self._epoch, self._number, self._schedule = epoch, number, schedule
        self._first = number * recipe.num_batches  # the global number of the round's first batch
        self._passes: dict[int, _GroupPasses] = {}

    def compose(self, numbers: Ints) -> tuple[list[Part], Ints]:
        """Compose these global batches; return what they are made of and the focal HPI codes."""
        group = self._schedule.group[numbers - self._first]
        if self._recipe.focus is None:
            focal = np.full(len(numbers), -1)
            batches = map(self._passing, group.tolist(), self._schedule.nth[numbers - self._first].tolist())
        else:
            focal, shares = self._shares(numbers, group)
            batches = map(self._enriched, numbers.tolist(), focal.tolist(), shares)
        composed = []
        # One after the other, since a batch is forgotten once the next one adds the same values.
        for batch, number, own in zip(batches, numbers.tolist(), group.tolist(), strict=True):
            self._leak(batch, number, own)
            composed.append(batch)
        parts = []
        for role in Role:
            found = [batch.places_of(role) for batch in composed]
            count = np.array([sum(map(len, places)) for places in found])
            if count.any():
                parts.append(Part(role, count, np.concatenate([places for of_batch in found for places in of_batch])))
        return parts, focal

    def _passing(self, group: int, nth: int) -> Batch:
        """Return the experiment's batch number `nth`, from its fair passes."""
        if group not in self._passes:
            self._passes[group] = _GroupPasses(
                self._recipe, self._epoch, self._number, self._schedule, group, self._values
            )
        batch = Batch(self._values)
        for places in self._passes[group].batch(nth):
            batch.add(places, Role.PRIMARY)
        return batch

    def _address(self, purpose: str, *counters: int) -> Address:
        """Return where the random numbers of one draw come from."""
        return self._recipe.seed, self._epoch, purpose, *counters

    def _shares(self, numbers: Ints, group: Ints) -> tuple[Ints, list[list[_Share]]]:
        """Return the focal HPI codes of these batches, and what each condition contributes to each of them.

        The strata with the fewest values to spare come first: they choose first.
        """
        recipe, focus = self._recipe, self._recipe.focus
        assert focus is not None  # noqa: S101  only called with a time axis
        shares = recipe.quotas.shares(group, self._schedule.offset[numbers - self._first])
        near = focal_quotas(recipe, self._epoch, shares, numbers)
        focal = focal_hpi(recipe, self._epoch, shares, numbers, group)
        low, high = focus.window(shares.stratum, focal[shares.batch])
        spare = recipe.exclusive_values[shares.stratum] - shares.quota
        columns = (shares.stratum, shares.quota, near, low, high, spare < 0)
        of_batch: list[list[_Share]] = [[] for _ in numbers]
        order = np.lexsort((spare, shares.batch))
        rows = zip(*(column[order].tolist() for column in columns), strict=True)
        for batch, row in zip(shares.batch[order].tolist(), rows, strict=True):
            of_batch[batch].append(_Share(*row))
        return focal, of_batch

    def _enriched(self, number: int, focal: int, shares: list[_Share]) -> Batch:
        """Return a batch of focal anchors, then global ones."""
        batch = Batch(self._values)
        for share in shares:
            batch.add(self._near(batch, number, share, focal), Role.FOCAL)
        for share, chosen in zip(shares, batch.places[:], strict=True):
            batch.add(self._others(batch, number, share, chosen), Role.GLOBAL)
        return batch

    def _near(self, batch: Batch, number: int, share: _Share, focal: int) -> Ints:
        """Draw focal anchors: from the window as far as it has any, then the nearest beyond."""
        begin, end = self._recipe.strata.start[share.stratum : share.stratum + 2]
        copies = np.tile(np.arange(begin, end), share.near // (end - begin))
        count = share.near - len(copies)
        address = self._address("focal", number, share.stratum)
        if share.crowded:
            chosen = evenly(batch, _permuted(share.low, share.high, address), count, copies)
        else:
            chosen = _draw_new(batch, share.low, share.high - share.low, count, address)
        if len(chosen) < count:
            chosen = self._widened(batch, chosen, share, count, focal, address)
        return np.concatenate([copies, chosen])

    def _widened(self, batch: Batch, chosen: Ints, share: _Share, count: int, focal: int, address: Address) -> Ints:
        """Complete `chosen` by the anchors nearest to the focal HPI."""
        focus = self._recipe.focus
        assert focus is not None  # noqa: S101
        size, reach = int(np.diff(self._recipe.strata.start)[share.stratum]), 4 * count
        key = keys(*address)
        while True:
            reach = min(reach, size)
            near = focus.nearest(share.stratum, reach, focal)
            order = np.lexsort((lanes(key, near), focus.ranks(near, focal)))
            candidates = np.concatenate([chosen, near[order][~np.isin(near[order], chosen)]])
            found = candidates[:count] if share.crowded else first_new(batch, candidates, count)
            if len(found) == count:
                return found
            if reach == size:  # values shared between strata have run out: take what is nearest all the same
                rest = candidates[~np.isin(candidates, found)]
                in_stratum, _ = batch.before(rest, found)
                nearest = rest[np.argsort(in_stratum, kind="stable")]
                return np.concatenate([found, nearest[: count - len(found)]])
            reach *= 4

    def _others(self, batch: Batch, number: int, share: _Share, chosen: Ints) -> Ints:
        """Draw global anchors from what remains of the stratum."""
        begin, end = (int(edge) for edge in self._recipe.strata.start[share.stratum : share.stratum + 2])
        count = share.quota - share.near
        address = self._address("global", number, share.stratum)
        if not share.crowded:
            found = _draw_new(batch, begin, end - begin, count, address)
            if len(found) == count:
                return found
        everything = _permuted(begin, end, address)
        times = np.bincount(chosen - begin, minlength=end - begin)[everything - begin]
        fresh = everything[times == times.min()]
        found = evenly(batch, fresh, min(count, len(fresh)), chosen)
        size, rest = np.array([end - begin]), np.array([count - len(found)])
        again = keys(*self._address("again", number, share.stratum))
        return np.concatenate([found, begin + balanced(size, rest, again)[1]])

    def _leak(self, batch: Batch, number: int, group: int) -> None:
        """Add leaked anchors from the other experiments, of values that are new as far as there are any."""
        recipe, count = self._recipe, self._recipe.leaked
        if not count:
            return
        begin, end = (int(edge) for edge in recipe.strata.group_start[group : group + 2])
        others = len(recipe.strata.order) - (end - begin)
        address = self._address("leaked", number)
        found = _draw_new(batch, 0, others, count, address, gap=(begin, end - begin))
        if len(found) < count:
            places = _permuted(0, others, address)
            places += np.where(places >= begin, end - begin, 0)
            found = evenly(batch, places, min(count, others), places[:0])
        rest = balanced(np.array([others]), np.array([count - len(found)]), keys(*address))[1]
        batch.add(np.concatenate([found, rest + np.where(rest >= begin, end - begin, 0)]), Role.LEAKED)


def _draw_new(batch: Batch, low: int, size: int, count: int, address: Address, gap: tuple[int, int] = (0, 0)) -> Ints:
    """Draw up to `count` places whose values are new to the batch, uniformly from a run of places with a gap in it.

    Drawing with replacement is enough, since an anchor drawn again brings no new value. Only where that finds too few
    is the whole run looked at: it then holds few values, so that it is no longer than these have anchors.
    """
    if not size:
        return np.empty(0, dtype=np.int64)

    def beyond_gap(value: Ints) -> Ints:
        return low + value + np.where(value >= gap[0], gap[1], 0)

    found = first_new(batch, beyond_gap(below(lanes(keys(*address), np.arange(3 * count + 8)), size)), count)
    return found if len(found) == count else first_new(batch, beyond_gap(_permuted(0, size, address)), count)


def _permuted(low: int, high: int, address: Address) -> Ints:
    """Return all places of a run in random order."""
    places: Ints = generator(*address).permutation(high - low)
    return places + low


class _GroupPasses:
    """Fair passes of one experiment's strata, deferring anchors whose value the batch holds already."""

    def __init__(self, recipe: Recipe, epoch: int, number: int, schedule: Schedule, group: int, values: Values) -> None:
        self._values = values
        first, last = recipe.strata.group_stratum[group : group + 2]
        self._queues = [_Queue(recipe, epoch, number, int(stratum)) for stratum in range(first, last)]
        self._quotas = recipe.quotas.per_group[group].counts(schedule.offset[schedule.batches_of(group)])
        self._distinct = recipe.exclusive_values[first:last]
        self._done: list[list[Ints]] = []

    def batch(self, nth: int) -> list[Ints]:
        """Return the places of the experiment's batch number `nth`, stratum by stratum."""
        while len(self._done) <= nth:
            quotas = self._quotas[len(self._done)]
            batch = Batch(self._values)
            for at in np.argsort(self._distinct - quotas, kind="stable"):
                if quotas[at]:
                    taken = self._queues[at].take(batch, int(quotas[at]), bool(self._distinct[at] < quotas[at]))
                    batch.add(taken, Role.PRIMARY)
            self._done.append(batch.places)
        return self._done[nth]


class _Queue:
    """Anchors of one stratum waiting to be drawn: deferred ones first, then what is left of the passes.

    Each anchor carries the number of the pass in which it was to be drawn.
    """

    def __init__(self, recipe: Recipe, epoch: int, number: int, stratum: int) -> None:
        self._begin, self._end = (int(edge) for edge in recipe.strata.start[stratum : stratum + 2])
        self._address = (recipe.seed, epoch, "pass", number, stratum)
        self._passes = 0
        self._places = Places(self._end - self._begin)
        self._deferred = np.empty((2, 0), dtype=np.int64)  # rows: place, number of the pass
        self._coming = np.empty((2, 0), dtype=np.int64)

    def take(self, batch: Batch, count: int, crowded: bool) -> Ints:
        """Remove `count` places from the queue, each of a value that is new to the batch unless that is impossible."""
        size = self._end - self._begin
        copies = np.tile(np.arange(self._begin, self._end), count // size)
        count -= len(copies)
        look = self._deferred.shape[1] + self._coming.shape[1] if crowded else 2 * count + 16
        while True:
            window = np.concatenate([self._deferred, self._coming[:, : max(0, look - self._deferred.shape[1])]], axis=1)
            first = np.flatnonzero(self._places.is_first(window[0] - self._begin))  # it may wait once for each pass
            complete = len(first) == size  # what cannot keep values apart needs all anchors to spread them evenly
            at = self._chosen(batch, window[0, first], first, count, crowded) if complete or not crowded else first[:0]
            if len(at) == count:
                break
            if window.shape[1] < self._deferred.shape[1] + self._coming.shape[1]:
                look = 4 * max(look, window.shape[1])
            elif not complete:
                self._add_pass()
                look = window.shape[1] + size
            else:
                crowded = True  # all anchors wait, yet too few values are new: other strata hold them
        # Only what was passed over is deferred; what lies behind the last one taken keeps coming.
        passed = max(int(at.max(initial=-1)) + 1, self._deferred.shape[1])
        left = np.ones(passed, dtype=bool)
        left[at] = False
        self._coming = self._coming[:, passed - self._deferred.shape[1] :]
        self._deferred = np.compress(left, window[:, :passed], axis=1)  # brackets take five times as long
        return np.concatenate([copies, window[0, at]])

    def _chosen(self, batch: Batch, waiting: Ints, at: Ints, count: int, crowded: bool) -> Ints:
        """Return positions in the window: different values first, and of these the ones that have waited longest."""
        chosen: Ints = (
            at[batch.is_new(waiting)][:count] if not crowded else at[most_even(batch, waiting, count, waiting[:0])]
        )
        return chosen

    def _add_pass(self) -> None:
        """Shuffle the stratum behind the queue, without anchors that have missed a whole pass: they wait already."""
        rng = generator(*self._address, self._passes)
        shuffled = rng.permutation(self._end - self._begin) + self._begin
        queue = np.concatenate([self._deferred, self._coming], axis=1)
        shuffled = shuffled[~np.isin(shuffled, queue[0, queue[1] < self._passes - 1])]
        self._coming = np.concatenate([self._coming, [shuffled, np.full(len(shuffled), self._passes)]], axis=1)
        self._passes += 1
