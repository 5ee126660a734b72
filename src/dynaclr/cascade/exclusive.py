"""Exclusive draws: no two anchors of a batch from one lineage, where the stratum has enough lineages.

Whether an anchor may join depends on what the batch holds already, so these batches are composed one by one. Each costs
the order of its size, times the number of anchors that one lineage has in the window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dynaclr.cascade.composition import Part, Role, focal_hpi, focal_quotas
from dynaclr.cascade.draws import balanced
from dynaclr.randomness import below, generator, keys, lanes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dynaclr.cascade.quotas import Shares
    from dynaclr.cascade.recipe import Recipe
    from dynaclr.cascade.schedule import Schedule

    Ints = NDArray[np.int64]
    Words = NDArray[np.uint64]


class _Places:
    """Room for one number per code, so that finding the first of equal codes needs no sorting.

    Nothing is ever cleared: what is read was written just before.
    """

    def __init__(self, codes: int) -> None:
        self._at = np.zeros(codes, dtype=np.int32)

    def is_first(self, codes: Ints) -> NDArray[np.bool_]:
        """Tell which elements have no equal before them."""
        place = np.arange(len(codes), dtype=np.int32)
        self._at[codes[::-1]] = place[::-1]  # of equal indices, the one assigned last stays
        first: NDArray[np.bool_] = self._at[codes] == place
        return first

    def times_in(self, held: Ints, codes: Ints) -> Ints:
        """Return how often each of these codes is held."""
        if not len(held):
            return np.zeros(len(codes), dtype=np.int64)
        self._at[codes] = 0
        different, times = np.unique(held, return_counts=True)
        self._at[different] = times
        return self._at[codes].astype(np.int64)


class _Values:
    """The exclusive value of each place, and which batch held each value last.

    Parameters
    ----------
    codes
        The exclusive value of each place of `Strata.order`.
    """

    def __init__(self, codes: Ints) -> None:
        count = int(codes.max()) + 1
        self.codes, self.places = codes, _Places(count)
        self.holder, self.batches = np.zeros(count, dtype=np.int32), 0


class _Batch:
    """The anchors chosen for one batch so far, and the exclusive values that they hold.

    One batch at a time: what a batch holds is forgotten once the next one adds the same values.
    """

    def __init__(self, values: _Values) -> None:
        values.batches += 1
        self._values, self._number = values, values.batches
        self.places: list[Ints] = []
        self.roles: list[Role] = []

    def add(self, places: Ints, role: Role) -> None:
        self.places.append(places)
        self.roles.append(role)
        self._values.holder[self._values.codes[places]] = self._number

    def places_of(self, role: Role) -> list[Ints]:
        """Return the anchors that are in the batch for this reason, as they were added."""
        return [places for places, of in zip(self.places, self.roles, strict=True) if of is role]

    def is_new(self, candidates: Ints) -> NDArray[np.bool_]:
        """Tell which candidates have a value that neither the batch holds nor a candidate before them."""
        codes = self._values.codes[candidates]
        new: NDArray[np.bool_] = self._values.places.is_first(codes) & (self._values.holder[codes] != self._number)
        return new

    def before(self, candidates: Ints, own: Ints) -> tuple[Ints, Ints]:
        """Return how many anchors with its value stand before each candidate: in its stratum, and in the batch.

        Parameters
        ----------
        candidates : ndarray of int64
            Anchors of one stratum; those before a candidate count for both.
        own : ndarray of int64
            Anchors of that stratum that are chosen already.
        """
        codes = self._values.codes[candidates]
        layer = _occurrence(codes)

        def among(places: Ints) -> Ints:
            return layer + self._values.places.times_in(self._values.codes[places], codes)

        return among(own), among(np.concatenate([own[:0], *self.places]))


def _first_new(batch: _Batch, candidates: Ints, count: int) -> Ints:
    """Return up to `count` candidates, in their order, of values that are new to the batch."""
    new: Ints = candidates[batch.is_new(candidates)][:count]
    return new


def _evenly(batch: _Batch, candidates: Ints, count: int, own: Ints) -> Ints:
    """Return `count` candidates whose values come up as evenly as possible: in their stratum, then in the batch."""
    chosen: Ints = candidates[_even(batch, candidates, count, own)]
    return chosen


def _even(batch: _Batch, candidates: Ints, count: int, own: Ints) -> Ints:
    """Return the positions of the candidates that `_evenly` returns."""
    in_stratum, in_batch = batch.before(candidates, own)
    # By the first of the two alone most come too late, and need not be sorted.
    enough = np.searchsorted(np.cumsum(np.bincount(in_stratum)), count)
    near = np.flatnonzero(in_stratum <= enough)
    even: Ints = near[np.lexsort((in_batch[near], in_stratum[near]))[:count]]
    return even


def _occurrence(codes: Ints) -> Ints:
    """Return how many elements with its code stand before each element."""
    # Sixteen bits are sorted in linear time; the codes of one stratum mostly lie close together.
    near = codes - codes.min(initial=np.iinfo(np.int64).max)
    order = np.argsort(near.astype(np.uint16) if near.max(initial=0) < 2**16 else near, kind="stable")
    ordered, place = near[order], np.arange(len(codes))
    begin = np.maximum.accumulate(np.where(np.diff(ordered, prepend=-1) != 0, place, 0))
    occurrence = np.empty(len(codes), dtype=np.int64)
    occurrence[order] = place - begin
    return occurrence


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
        self._values = _Values(recipe.exclusive)
        self._epoch, self._number, self._schedule = epoch, number, schedule
        self._first = number * recipe.num_batches  # the global number of the round's first batch
        self._passes: dict[int, _GroupPasses] = {}

    def compose(self, numbers: Ints) -> tuple[list[Part], Ints]:
        """Compose these global batches; return what they are made of and the focal HPI codes."""
        composed = [self._one(int(number)) for number in numbers]
        parts = []
        for role in Role:
            found = [batch.places_of(role) for batch, _ in composed]
            count = np.array([sum(map(len, places)) for places in found])
            if count.any():
                parts.append(Part(role, count, np.concatenate([places for of_batch in found for places in of_batch])))
        return parts, np.array([focal for _, focal in composed])

    def _one(self, number: int) -> tuple[_Batch, int]:
        recipe, in_round = self._recipe, np.array([number - self._first])
        group = self._schedule.group[in_round]
        if recipe.focus is None:
            drawn = self._passes_of(int(group[0])).batch(int(self._schedule.nth[in_round[0]]))
            batch, focal = _Batch(self._values), -1
            for places in drawn:
                batch.add(places, Role.PRIMARY)
        else:
            batch, chunk = _Batch(self._values), np.array([number])
            shares = recipe.quotas.shares(group, self._schedule.offset[in_round])
            near = focal_quotas(recipe, self._epoch, shares, chunk)
            focal = int(focal_hpi(recipe, self._epoch, shares, chunk, group)[0])
            self._enrich(batch, number, shares, near, focal)
        self._leak(batch, number, int(group[0]))
        return batch, focal

    def _passes_of(self, group: int) -> _GroupPasses:
        if group not in self._passes:
            self._passes[group] = _GroupPasses(
                self._recipe, self._epoch, self._number, self._schedule, group, self._values
            )
        return self._passes[group]

    def _key(self, purpose: str, number: int, stratum: int) -> Words:
        return keys(self._recipe.seed, self._epoch, purpose, number, stratum)

    def _enrich(self, batch: _Batch, number: int, shares: Shares, near: Ints, focal: int) -> None:
        """Add focal anchors, then global ones; the strata with the fewest values to spare choose first."""
        values = self._recipe.exclusive_values[shares.stratum]
        order = np.argsort(values - shares.quota, kind="stable")
        crowded = values < shares.quota
        for at in order:
            places = self._near(batch, number, int(shares.stratum[at]), int(near[at]), focal, bool(crowded[at]))
            batch.add(places, Role.FOCAL)
        for at in order:
            chosen = batch.places[int(np.flatnonzero(order == at)[0])]
            count = int(shares.quota[at] - near[at])
            batch.add(
                self._others(batch, number, int(shares.stratum[at]), count, chosen, bool(crowded[at])), Role.GLOBAL
            )

    def _near(self, batch: _Batch, number: int, stratum: int, count: int, focal: int, crowded: bool) -> Ints:
        strata, focus = self._recipe.strata, self._recipe.focus
        assert focus is not None  # noqa: S101  only called with a time axis
        begin, end = strata.start[stratum : stratum + 2]
        copies = np.tile(np.arange(begin, end), count // (end - begin))
        count -= len(copies)
        key = self._key("focal", number, stratum)
        low, high = (int(edge[0]) for edge in focus.window(np.array([stratum]), np.array([focal])))
        if crowded:
            chosen = _evenly(batch, _permuted(low, high, key), count, copies)
        else:
            chosen = _draw_new(batch, low, high - low, count, key)
        if len(chosen) < count:
            chosen = self._widened(batch, chosen, stratum, count, focal, key, crowded)
        return np.concatenate([copies, chosen])

    def _widened(
        self, batch: _Batch, chosen: Ints, stratum: int, count: int, focal: int, key: Words, crowded: bool
    ) -> Ints:
        """Complete `chosen` by the anchors nearest to the focal HPI."""
        strata, focus = self._recipe.strata, self._recipe.focus
        assert focus is not None  # noqa: S101
        size, reach = int(strata.start[stratum + 1] - strata.start[stratum]), 4 * count
        while True:
            reach = min(reach, size)
            near = focus.nearest(stratum, reach, focal)
            order = np.lexsort((lanes(key, near), focus.ranks(near, focal)))
            candidates = np.concatenate([chosen, near[order][~np.isin(near[order], chosen)]])
            found = candidates[:count] if crowded else _first_new(batch, candidates, count)
            if len(found) == count:
                return found
            if reach == size:  # values shared between strata have run out: take what is nearest all the same
                rest = candidates[~np.isin(candidates, found)]
                in_stratum, _ = batch.before(rest, found)
                nearest = rest[np.argsort(in_stratum, kind="stable")]
                return np.concatenate([found, nearest[: count - len(found)]])
            reach *= 4

    def _others(self, batch: _Batch, number: int, stratum: int, count: int, chosen: Ints, crowded: bool) -> Ints:
        """Draw global anchors from what remains of the stratum."""
        begin, end = (int(edge) for edge in self._recipe.strata.start[stratum : stratum + 2])
        key = self._key("global", number, stratum)
        if not crowded:
            found = _draw_new(batch, begin, end - begin, count, key)
            if len(found) == count:
                return found
        everything = _permuted(begin, end, key)
        times = np.bincount(chosen - begin, minlength=end - begin)[everything - begin]
        fresh = everything[times == times.min()]
        found = _evenly(batch, fresh, min(count, len(fresh)), chosen)
        size, rest = np.array([end - begin]), np.array([count - len(found)])
        return np.concatenate([found, begin + balanced(size, rest, self._key("again", number, stratum))[1]])

    def _leak(self, batch: _Batch, number: int, group: int) -> None:
        """Add leaked anchors from the other experiments, of values that are new as far as there are any."""
        recipe, count = self._recipe, self._recipe.leaked
        if not count:
            return
        begin, end = (int(edge) for edge in recipe.strata.group_start[group : group + 2])
        others = len(recipe.strata.order) - (end - begin)
        key = keys(recipe.seed, self._epoch, "leaked", number)
        found = _draw_new(batch, 0, others, count, key, gap=(begin, end - begin))
        if len(found) < count:
            places = _permuted(0, others, key)
            places += np.where(places >= begin, end - begin, 0)
            found = _evenly(batch, places, min(count, others), places[:0])
        rest = balanced(np.array([others]), np.array([count - len(found)]), key)[1]
        batch.add(np.concatenate([found, rest + np.where(rest >= begin, end - begin, 0)]), Role.LEAKED)


def _draw_new(batch: _Batch, low: int, size: int, count: int, key: Words, gap: tuple[int, int] = (0, 0)) -> Ints:
    """Draw up to `count` places whose values are new to the batch, uniformly from a run of places with a gap in it.

    Drawing with replacement is enough, since an anchor drawn again brings no new value. Only where that finds too few
    is the whole run looked at: it then holds few values, so that it is no longer than these have anchors.
    """
    if not size:
        return np.empty(0, dtype=np.int64)

    def beyond_gap(value: Ints) -> Ints:
        return low + value + np.where(value >= gap[0], gap[1], 0)

    found = _first_new(batch, beyond_gap(below(lanes(key, np.arange(3 * count + 8)), size)), count)
    return found if len(found) == count else _first_new(batch, beyond_gap(_permuted(0, size, key)), count)


def _permuted(low: int, high: int, key: Words) -> Ints:
    """Return all places of a run in random order."""
    places = np.arange(low, high)
    return places[np.argsort(lanes(key, places))]


class _GroupPasses:
    """Fair passes of one experiment's strata, deferring anchors whose value the batch holds already."""

    def __init__(
        self, recipe: Recipe, epoch: int, number: int, schedule: Schedule, group: int, values: _Values
    ) -> None:
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
            batch = _Batch(self._values)
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
        self._places = _Places(self._end - self._begin)
        self._deferred = np.empty((2, 0), dtype=np.int64)  # rows: place, number of the pass
        self._coming = np.empty((2, 0), dtype=np.int64)

    def take(self, batch: _Batch, count: int, crowded: bool) -> Ints:
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
        self._deferred = window[:, :passed][:, left]
        return np.concatenate([copies, window[0, at]])

    def _chosen(self, batch: _Batch, waiting: Ints, at: Ints, count: int, crowded: bool) -> Ints:
        """Return positions in the window: different values first, and of these the ones that have waited longest."""
        chosen: Ints = (
            at[batch.is_new(waiting)][:count] if not crowded else at[_even(batch, waiting, count, waiting[:0])]
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
