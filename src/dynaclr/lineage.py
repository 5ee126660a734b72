"""Tracks and who descends from whom, as arrays: no disk, no tables, no Python loop over rows or tracks.

The tracks of all FOVs form one forest. Numbered in preorder, a track and its descendants are the interval
``[preorder, preorder + subtree_size)``; with the observations sorted by (FOV, frame, preorder), those on an
anchor's line of descent ``tau`` frames later are one slice, found by two binary searches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dynaclr.errors import DynaclrError
from dynaclr.sorted_keys import SortedKeys

IntArray = npt.NDArray[np.int64]

FOUNDER = -1
"""The parent of a track that has none."""


@dataclass(frozen=True, eq=False, slots=True)
class TrackGroups:
    """The tracks that a table of observations holds, in the order of (FOV, track id).

    Attributes
    ----------
    track
        For each row, the position of its track in the other three arrays.
    fov, track_id
        The FOV code and the id of each track.
    parent
        The position of each track's parent, or ``FOUNDER``.
    """

    track: IntArray
    fov: IntArray
    track_id: IntArray
    parent: IntArray

    @property
    def num_tracks(self) -> int:
        """The number of tracks."""
        return self.track_id.size


def group_tracks(fov: npt.ArrayLike, track_id: npt.ArrayLike, parent: npt.ArrayLike) -> TrackGroups:
    """Gather rows into tracks and resolve each track's parent within its FOV.

    Parameters
    ----------
    fov
        FOV code of each row, shape ``(rows,)``.
    track_id
        Track id of each row, unique within a FOV only.
    parent
        Id of the parent track, the same on all rows of a track. A negative id, the track's own id and an id that
        the FOV does not have mean a founder.

    Examples
    --------
    >>> groups = group_tracks([0, 0, 1], [5, 7, 7], [-1, 5, 5])
    >>> groups.parent.tolist()
    [-1, 0, -1]
    """
    fov, track_id, parent = _int64(fov), _int64(track_id), _int64(parent)
    order = np.lexsort((track_id, fov))
    sorted_fov, sorted_id = fov[order], track_id[order]
    is_first = run_starts(sorted_fov, sorted_id)
    track = np.empty(order.size, np.int64)
    track[order] = np.cumsum(is_first) - 1
    track_fov, ids = sorted_fov[is_first], sorted_id[is_first]

    # (FOV, id) as one sorted number per track; ranks of ids instead of ids, so that huge ids cannot overflow.
    known_ids = np.unique(ids)
    keys = track_fov * known_ids.size + np.searchsorted(known_ids, ids)
    wanted = parent[order][is_first]
    rank = np.searchsorted(known_ids, wanted)
    position, is_known = find_sorted(keys, track_fov * known_ids.size + rank)
    is_known &= (wanted >= 0) & (ids[position] == wanted) & (wanted != ids)
    return TrackGroups(track, track_fov, ids, np.where(is_known, position, FOUNDER))


def run_starts(*columns: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Mark the first row of every run of equal rows.

    Examples
    --------
    >>> run_starts(np.array([4, 4, 5]), np.array([0, 0, 0])).tolist()
    [True, False, True]
    """
    starts = np.zeros(columns[0].size, bool)
    starts[:1] = True
    for column in columns:
        starts[1:] |= column[1:] != column[:-1]
    return starts


def find_sorted(keys: IntArray, wanted: IntArray) -> tuple[IntArray, npt.NDArray[np.bool_]]:
    """Return for each wanted key its position in the sorted keys, and whether it is there.

    Where it is not, the position is a valid one all the same (the nearest), so that it can be indexed with; only
    an empty ``keys`` with a wanted key is impossible and raises ``IndexError``.
    """
    position = np.minimum(np.searchsorted(keys, wanted), max(keys.size - 1, 0))
    return position, keys[position] == wanted


def tracks_on_cycles(parent: npt.ArrayLike) -> IntArray:
    """Return the tracks that are their own ancestors, in ascending order.

    Parameters
    ----------
    parent
        Position of each track's parent, ``FOUNDER`` where it has none.

    Examples
    --------
    >>> tracks_on_cycles([-1, 2, 3, 1, 1]).tolist()
    [1, 2, 3]
    """
    parent = _int64(parent)
    count = parent.size
    # A walk that goes up at least `count` steps has either left the forest or is on a cycle, and comes by every
    # track of the cycle as others walk from there; squaring the step reaches that many in log2(count) rounds.
    up = np.append(np.where(parent < 0, count, parent), count)
    for _ in range(count.bit_length()):
        up = up[up]
    reached = up[:-1]
    return np.unique(reached[reached < count])


@dataclass(frozen=True, eq=False, slots=True)
class Forest:
    """A forest of tracks, numbered in preorder.

    Attributes
    ----------
    preorder
        The preorder number of each track; founders and siblings follow each other in the order of the tracks.
    subtree_size
        The number of tracks among a track and its descendants: these have the preorder numbers
        ``[preorder, preorder + subtree_size)``.
    founder
        The founder of each track's lineage.
    parent
        Position of each track's parent, ``FOUNDER`` where it has none.
    generations
        The tracks of each generation, founders first.
    """

    preorder: IntArray
    subtree_size: IntArray
    founder: IntArray
    parent: IntArray
    generations: tuple[IntArray, ...]

    @classmethod
    def from_parents(cls, parent: npt.ArrayLike) -> Forest:
        """Return the forest in which each track has this parent, or ``FOUNDER``.

        Raises
        ------
        DynaclrError
            If some tracks are their own ancestors.

        Examples
        --------
        >>> forest = Forest.from_parents([-1, -1, 0, 0, 2])
        >>> forest.preorder.tolist(), forest.subtree_size.tolist(), forest.founder.tolist()
        ([0, 4, 1, 3, 2], [4, 1, 2, 1, 1], [0, 1, 0, 0, 0])
        """
        parent = _int64(parent)
        generations = _generations(parent)
        if sum(generation.size for generation in generations) < parent.size:
            cycle = tracks_on_cycles(parent)[:5].tolist()
            raise DynaclrError(f"parent needs to lead every track to a founder, but goes in a circle at {cycle}")
        size = np.ones(parent.size, np.int64)
        for generation in reversed(generations[1:]):
            np.add.at(size, parent[generation], size[generation])
        preorder = np.zeros(parent.size, np.int64)
        founder = np.arange(parent.size)
        for depth, generation in enumerate(generations):
            before = np.cumsum(size[generation]) - size[generation]
            if depth:
                mother = parent[generation]
                is_eldest = run_starts(mother)
                elder_siblings = before - before[is_eldest][np.cumsum(is_eldest) - 1]
                preorder[generation] = preorder[mother] + 1 + elder_siblings
                founder[generation] = founder[mother]
            else:
                preorder[generation] = before
        return cls(preorder, size, founder, parent, generations)

    def latest(self, values: IntArray) -> IntArray:
        """Return for each track the largest value among itself and its descendants."""
        largest = values.copy()
        for generation in reversed(self.generations[1:]):
            np.maximum.at(largest, self.parent[generation], largest[generation])
        return largest


def _generations(parent: IntArray) -> tuple[IntArray, ...]:
    """Return the tracks of each generation, siblings together; tracks behind a cycle of parents are in none."""
    by_parent = np.argsort(parent, kind="stable")
    num_founders = int(np.count_nonzero(parent < 0))
    num_children = np.bincount(parent[parent >= 0], minlength=parent.size)
    first_child = num_founders + np.cumsum(num_children) - num_children
    generations = []
    generation = by_parent[:num_founders]
    while generation.size:
        generations.append(generation)
        counts = num_children[generation]
        offsets = first_child[generation] - (np.cumsum(counts) - counts)
        generation = by_parent[np.repeat(offsets, counts) + np.arange(counts.sum())]
    return tuple(generations)


@dataclass(frozen=True, eq=False, slots=True)
class Descent:
    """Observations in an order in which the candidates of any anchor and any tau are one slice.

    Attributes
    ----------
    order
        The rows, sorted by (FOV, frame, preorder number of the track).
    sorted_keys
        That triple as one number, sorted.
    row_key
        The same number for each row, in the order of the table.
    t, track
        Frame and track of each row, in the order of the table.
    forest
        The forest of the tracks.
    """

    order: IntArray
    sorted_keys: SortedKeys
    row_key: IntArray
    t: IntArray
    track: IntArray
    forest: Forest

    @classmethod
    def of_rows(cls, fov: npt.ArrayLike, t: npt.ArrayLike, track: npt.ArrayLike, forest: Forest) -> Descent:
        """Sort the rows of a table of observations.

        Parameters
        ----------
        fov, t, track
            FOV code, frame (0 or larger) and track (position in the forest) of each row, shape ``(rows,)``.
        forest
            The tracks; it may hold tracks that have no row left.

        Raises
        ------
        DynaclrError
            If FOVs x frames x tracks do not fit into a 64-bit number.
        """
        fov, t, track = _int64(fov), _int64(t), _int64(track)
        num_frames = int(t.max(initial=-1)) + 1
        num_fovs = int(fov.max(initial=-1)) + 1
        num_tracks = forest.preorder.size
        if num_fovs * num_frames * num_tracks > np.iinfo(np.int64).max:
            raise DynaclrError(
                f"t needs to be a frame number, got up to {num_frames - 1}: {num_fovs} FOVs of so many frames with "
                f"{num_tracks} tracks cannot be numbered in 64 bits"
            )
        row_key = (fov * num_frames + t) * num_tracks + forest.preorder[track]
        # By merging: most tables have the rows of a track one behind the other, so there are long runs to merge.
        order = np.argsort(row_key, kind="stable")
        return cls(order, SortedKeys(row_key[order]), row_key, t, track, forest)

    def candidate_ranges(self, rows: npt.ArrayLike, taus: npt.ArrayLike) -> tuple[IntArray, IntArray]:
        """Find the observations on each row's line of descent, ``tau`` frames later.

        Parameters
        ----------
        rows
            Rows of the table.
        taus
            Offsets in frames, 0 or larger, of the same shape as ``rows`` or broadcast to it.

        Returns
        -------
        start, stop
            Such that the candidates of row r at tau are the table's rows ``order[start:stop]``: its own track's
            observation and those of the track's descendants. At tau 0 it is the row itself, alone.
        """
        rows, taus = _int64(rows), _int64(taus)
        # Beyond the movie this lands among the frames of the next FOV, where nobody has these preorder numbers.
        low = self.row_key[rows] + taus * self.forest.preorder.size
        # A mother may live on beside her daughters: at tau 0 they are other cells of the same frame.
        high = low + np.where(taus == 0, 1, self.forest.subtree_size[self.track[rows]])
        # Looking a key up in a large table is mostly waiting for memory, and nearly all ranges hold one row or none:
        # the key that was found and its neighbour settle those, only the others are looked up again.
        start = self.sorted_keys.below(low)
        stop = np.asarray(start + self.sorted_keys.is_below(start, high))
        longer = self.sorted_keys.is_below(stop, high)
        stop[longer] = self.sorted_keys.below(high[longer])
        return start, stop

    def has_candidate(self, tau_min: npt.ArrayLike, tau_max: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Tell for each row whether some tau of ``[tau_min, tau_max]`` has a candidate.

        Parameters
        ----------
        tau_min, tau_max
            The range of offsets in frames, both ends included; one for all rows or one per row.
        """
        tau, tau_max = (np.broadcast_to(_int64(bound), self.t.shape) for bound in (tau_min, tau_max))
        last = np.full(self.forest.preorder.size, -1, np.int64)
        np.maximum.at(last, self.track, self.t)
        longest = np.minimum(tau_max, self.forest.latest(last)[self.track] - self.t)
        found = np.zeros(self.t.size, bool)
        # Nearly every row is settled by its smallest tau; only those in a gap go on to the next one. In the order of
        # the keys, since ascending ones are looked up faster.
        pending = self.order[(tau <= longest)[self.order]]
        taus = tau[pending]
        while pending.size:
            start, stop = self.candidate_ranges(pending, taus)
            found[pending[stop > start]] = True
            undecided = (stop == start) & (taus < longest[pending])
            pending, taus = pending[undecided], taus[undecided] + 1
        return found


def _int64(values: npt.ArrayLike) -> IntArray:
    return np.asarray(values, dtype=np.int64)
