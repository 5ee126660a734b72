"""What people use today, re-created naively from its description: the opponents.

Each gives right results (`tests/integration/test_benchmark_baselines.py`), so that beating it means something. Labels
are Python strings, as tables have them; where the description leaves a choice, the faster way is taken: the rows of an
experiment and its distinct times are known beforehand, and draws are those of NumPy's `Generator`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Ints = npt.NDArray[np.int64]
_Track = tuple[str, str, int]


class NaiveSampler:
    """Batches by boolean masks over the chosen experiment's rows; every rank builds every batch.

    Parameters
    ----------
    table
        The anchors: ``experiment``, ``condition``, ``hours_post_infection`` and, with `exclusive`, ``lineage_id``.
    batch_size, experiment_aware, leaky, condition_balanced, temporal_enrichment, window_hours, global_fraction
        As in `dynaclr.sampler.FlexibleBatchSampler`.
    exclusive
        Whether no two anchors of a batch may come from one lineage: they are tried one by one, in random order.
    num_replicas, rank, seed
        Ranks and seed.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        batch_size: int = 128,
        experiment_aware: bool = True,
        leaky: float = 0.0,
        condition_balanced: bool = True,
        temporal_enrichment: bool = False,
        window_hours: float = 2.0,
        global_fraction: float = 0.3,
        exclusive: bool = False,
        num_replicas: int = 1,
        rank: int = 0,
        seed: int = 0,
    ) -> None:
        self.batch_size, self.leaky, self.global_fraction = batch_size, leaky, global_fraction
        self.window_hours, self.num_replicas, self.rank = window_hours, num_replicas, rank
        self.num_batches = len(table) // batch_size
        self.rng = np.random.default_rng(seed)
        names = table["experiment"].astype(str).to_numpy(object) if experiment_aware else np.full(len(table), "all")
        self.rows_of = rows_by_string(names)
        self.names = list(self.rows_of)
        sizes = np.array([len(rows) for rows in self.rows_of.values()])
        self.weights = sizes / sizes.sum()
        self.conditions: npt.NDArray[Any] | None = None
        if condition_balanced:
            self.conditions = table["condition"].astype(str).to_numpy(object)
            self.labels = {name: sorted(set(self.conditions[rows])) for name, rows in self.rows_of.items()}
        self.hpi = table["hours_post_infection"].to_numpy() if temporal_enrichment else None
        if self.hpi is not None:
            self.times = {name: np.unique(self.hpi[rows]) for name, rows in self.rows_of.items()}
        self.lineage = table["lineage_id"].to_numpy() if exclusive else None
        self.held: set[int] = set()

    def __iter__(self) -> Iterator[list[int]]:
        for number in range(self.num_batches):
            batch = self.batch()
            if number % self.num_replicas == self.rank:
                yield batch

    def batch(self) -> list[int]:
        """Build the next batch."""
        self.held = set()
        name = self.names[int(self.rng.choice(len(self.names), p=self.weights))]
        pool = self.rows_of[name]
        leaked = int(self.leaky * self.batch_size) if len(self.names) > 1 else 0
        near: npt.NDArray[np.bool_] | None = None
        if self.hpi is not None:
            near = np.abs(self.hpi[pool] - self.rng.choice(self.times[name])) <= self.window_hours
        parts = []
        for in_stratum, count in self._strata(name, self.batch_size - leaked):
            if near is None:
                parts.append(self._choose(pool if in_stratum is None else pool[in_stratum], count))
                continue
            focal = count - int(self.global_fraction * count)
            mask = near if in_stratum is None else near & in_stratum
            focal = focal if mask.any() else 0
            parts.append(self._choose(pool[mask], focal))
            far = ~near if in_stratum is None else ~near & in_stratum
            far = far if far.any() else mask
            parts.append(self._choose(pool[far], count - focal))
        if leaked:
            others = np.concatenate([rows for other, rows in self.rows_of.items() if other != name])
            parts.append(self._choose(others, leaked))
        batch = np.concatenate(parts)
        self.rng.shuffle(batch)
        chosen: list[int] = batch.tolist()
        return chosen

    def _strata(self, name: str, primary: int) -> Iterator[tuple[npt.NDArray[np.bool_] | None, int]]:
        """Yield a mask over an experiment's rows and the number of anchors, for each of its conditions."""
        if self.conditions is None:
            yield None, primary
            return
        of_row, labels = self.conditions[self.rows_of[name]], self.labels[name]
        share = primary // len(labels)
        for label in labels:
            # The last condition gets what is left.
            yield of_row == label, share if label != labels[-1] else primary - share * (len(labels) - 1)

    def _choose(self, candidates: Ints, count: int) -> Ints:
        if self.lineage is None:
            return self.rng.choice(candidates, count, replace=len(candidates) < count)
        chosen: list[int] = []
        for row in self.rng.permutation(candidates):
            if len(chosen) == count:
                break
            if self.lineage[row] not in self.held:
                self.held.add(self.lineage[row])
                chosen.append(row)
        while len(chosen) < count:  # there are too few lineages: repeat
            chosen.append(self.rng.choice(candidates))
        return np.array(chosen, dtype=np.int64)


def rows_by_string(names: npt.NDArray[Any]) -> dict[str, Ints]:
    """Group rows by a column of Python strings."""
    groups = pd.DataFrame({"name": names}).groupby("name").indices
    return {str(name): np.asarray(rows, dtype=np.int64) for name, rows in groups.items()}


def strings_of(table: pd.DataFrame) -> dict[tuple[str, str], dict[float, list[int]]]:
    """Group rows by experiment, condition and time with dictionaries: what a sampler without codes has to do first."""
    groups: dict[tuple[str, str], dict[float, list[int]]] = {}
    columns = (table["experiment"].astype(str), table["condition"].astype(str), table["hours_post_infection"])
    for row, (experiment, condition, hpi) in enumerate(zip(*columns, strict=True)):
        groups.setdefault((experiment, condition), {}).setdefault(hpi, []).append(row)
    return groups


def lineages_and_anchors(tracks: pd.DataFrame, taus: tuple[int, int]) -> tuple[dict[_Track, int], list[int]]:
    """Find lineages and valid anchors in one loop over the rows, with a dictionary of (FOV, lineage, frame).

    Parameters
    ----------
    tracks
        ``experiment, fov_name, track_id, t, parent_track_id`` (negative for founders), indexed from 0.
    taus
        Smallest and largest tau in frames.

    Returns
    -------
    founder, anchors
        The founder of each (experiment, FOV, track), and the rows that have a positive.
    """
    keys, parent, founder = _families(tracks)
    seen: dict[tuple[str, str, int, int], list[int]] = {}
    for (experiment, fov, track), t in zip(keys, tracks["t"].tolist(), strict=True):
        seen.setdefault((experiment, fov, founder[experiment, fov, track], t), []).append(track)
    anchors = []
    for number, row in tracks.iterrows():
        key = (row["experiment"], row["fov_name"], row["track_id"])
        line = (*key[:2], founder[key])
        later = (seen.get((*line, row["t"] + tau), ()) for tau in range(taus[0], taus[1] + 1))
        if any(_descends(parent, (*key[:2], other), key) for others in later for other in others):
            anchors.append(int(str(number)))
    return founder, anchors


def _families(tracks: pd.DataFrame) -> tuple[list[_Track], dict[_Track, int], dict[_Track, int]]:
    """Return each row's (experiment, FOV, track), and each track's parent and founder."""
    columns = [tracks[name].tolist() for name in ("experiment", "fov_name", "track_id")]
    keys = list(zip(*columns, strict=True))
    parent = dict(zip(keys, tracks["parent_track_id"].tolist(), strict=True))
    founder = {}
    for experiment, fov, track in parent:
        at = track
        while parent.get((experiment, fov, at), -1) >= 0:
            at = parent[experiment, fov, at]
        founder[experiment, fov, track] = at
    return keys, parent, founder


def _descends(parent: Mapping[_Track, int], track: _Track, ancestor: _Track) -> bool:
    while track != ancestor:
        track = (track[0], track[1], parent.get(track, -1))
        if track[2] < 0:
            return False
    return True


class NaivePositives:
    """Positives by ``iterrows`` and look-ups in a dictionary of (FOV, lineage, frame).

    Parameters
    ----------
    tracks
        The observations, indexed from 0.
    taus
        Smallest and largest tau in frames.
    decay_rate, seed
        As in `dynaclr.positives.PositiveDraw`.
    """

    def __init__(self, tracks: pd.DataFrame, taus: tuple[int, int], decay_rate: float = 2.0, seed: int = 0) -> None:
        self.tracks, self.taus = tracks, range(taus[0], taus[1] + 1)
        self.rng = np.random.default_rng(seed)
        self.weights = {tau: np.exp(-decay_rate * (tau - taus[0]) / max(taus[1] - taus[0], 1)) for tau in self.taus}
        self.keys, self.parent, _ = _families(tracks)
        self.rows: dict[tuple[str, Any], list[int]] = {}
        for row, key in enumerate(zip(tracks["lineage_id"].tolist(), tracks["t"].tolist(), strict=True)):
            self.rows.setdefault(key, []).append(row)

    def __call__(self, rows: Ints) -> list[int]:
        """Return the row of one positive for each of these rows."""
        return [self._one(anchor) for _, anchor in self.tracks.iloc[rows].iterrows()]

    def candidates(self, anchor: pd.Series[Any]) -> dict[int, list[int]]:
        """Return an anchor's positives by tau."""
        found = {}
        key = (anchor["experiment"], anchor["fov_name"], anchor["track_id"])
        for tau in self.taus:
            rows = self.rows.get((anchor["lineage_id"], anchor["t"] + tau), ())
            line = [row for row in rows if _descends(self.parent, self.keys[row], key)]
            if line:
                found[tau] = line
        return found

    def _one(self, anchor: pd.Series[Any]) -> int:
        found = self.candidates(anchor)
        weights = np.array([self.weights[tau] for tau in found])
        tau = list(found)[int(self.rng.choice(len(found), p=weights / weights.sum()))]
        return int(self.rng.choice(found[tau]))


class NaivePatches:
    """Patches of one pandas row at a time, a lazy slice each, stacked.

    Parameters
    ----------
    tracks
        The observations, with ``y_clamp`` and ``x_clamp``.
    arrays
        By (experiment, FOV name), the opened array.
    channels, z_range, patch
        What to read.
    """

    def __init__(
        self,
        tracks: pd.DataFrame,
        arrays: Mapping[tuple[str, str], Any],
        channels: slice,
        z_range: slice,
        patch: tuple[int, int],
    ) -> None:
        self.tracks, self.arrays, self.channels, self.z_range, self.patch = tracks, arrays, channels, z_range, patch

    def __call__(self, rows: Ints) -> npt.NDArray[np.float32]:
        """Read the patches of these rows."""
        patches = []
        for number in rows.tolist():
            row = self.tracks.iloc[number]
            array = self.arrays[str(row["experiment"]), str(row["fov_name"])]
            y, x = row["y_clamp"] - self.patch[0] // 2, row["x_clamp"] - self.patch[1] // 2
            lazy = array[row["t"], self.channels, self.z_range, y : y + self.patch[0], x : x + self.patch[1]]
            patches.append(np.asarray(lazy).astype(np.float32))
        return np.stack(patches)


def write_with_iohub(path: Path, channels: list[str], images: Mapping[str, npt.NDArray[Any]], version: str) -> None:
    """Write a plate with iohub, one FOV after the other.

    Parameters
    ----------
    path
        The store.
    channels
        Names of the channels.
    images
        By FOV name (``"A/1/0"``), the array of (T, C, Z, Y, X).
    version
        Of OME-Zarr.
    """
    from iohub.ngff import open_ome_zarr

    with open_ome_zarr(path, layout="hcs", mode="w", channel_names=channels, version=version) as plate:
        for name, image in images.items():
            position = plate.create_position(*name.split("/"))
            position.create_image("0", image, chunks=(1, *image.shape[1:]))
