"""What a dataset of crops has to return, read off the description that its stores were written from.

Nothing here looks at an index: an observation is a tuple, its relatives are found by going from daughter to mother, a
window is clipped with ``min`` and ``max``, and pixels come from the function that says what each voxel holds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dynaclr_strategies.cases import DatasetCase
from dynaclr_strategies.descriptions import TrackDescription
from dynaclr_strategies.oracles.sampler import stands_for
from dynaclr_strategies.pixels import Reading, expected_patch

__all__ = ["DatasetOracle", "Observation"]

Window = tuple[slice, slice, slice]


class Observation(NamedTuple):
    """One cell in one frame."""

    experiment: str
    fov_name: str
    track_id: int
    t: int

    def __str__(self) -> str:
        return f"track {self.track_id} of {self.experiment} {self.fov_name} at t={self.t}"


class DatasetOracle:
    """Answers about the dataset of one case.

    Parameters
    ----------
    case
        The registry, and how it is indexed and read.
    """

    def __init__(self, case: DatasetCase) -> None:
        self.case = case
        self.registry = case.index.registry
        self._found: dict[Observation, dict[int, list[Observation]]] = {}

    # --- which observations there are ---------------------------------------------------------------------------------

    @cached_property
    def observations(self) -> list[Observation]:
        """All cells in all frames inside the images, in the order of experiments, FOVs, track ids and frames."""
        return list(self._observations())

    def _observations(self) -> Iterator[Observation]:
        for experiment in self.registry.experiments:
            for fov_name, fov in experiment.fovs():
                if not fov.has_csv or not self._is_selected(experiment.name, fov_name):
                    continue
                for track in sorted(fov.tracks, key=lambda track: track.track_id):
                    for t in track.frames:
                        y, x = track.position(t)
                        if 0 <= y < fov.y and 0 <= x < fov.x:
                            yield Observation(experiment.name, fov_name, track.track_id, t)

    def _is_selected(self, experiment: str, fov_name: str) -> bool:
        well = fov_name.rpartition("/")[0]
        if self.registry.experiment(experiment).condition_of(well) is None:
            return False
        names = {well, fov_name, f"{experiment}:{well}", f"{experiment}:{fov_name}"}
        wanted, unwanted = self.case.index.include_wells, self.case.index.exclude_fovs
        return (wanted is None or bool(names & set(wanted))) and not names & set(unwanted or ())

    def identity(self, seen: Observation) -> dict[str, Any]:
        """Return what names an observation; HPI is exact."""
        experiment = self.registry.experiment(seen.experiment)
        well = seen.fov_name.rpartition("/")[0]
        y, x = self._track(seen).position(seen.t)
        elapsed = seen.t * stands_for(experiment.interval_minutes) / 60
        return {
            "experiment": seen.experiment,
            "condition": experiment.condition_of(well),
            "well_name": well,
            "fov_name": seen.fov_name,
            "track_id": seen.track_id,
            "t": seen.t,
            "y": y,
            "x": x,
            "global_track_id": f"{seen.experiment}_{seen.fov_name}_{seen.track_id}",
            "lineage_id": self.lineage(seen),
            "hours_post_infection": float(stands_for(experiment.start_hpi) + elapsed),
        }

    # --- who descends from whom ---------------------------------------------------------------------------------------

    def _tracks(self, seen: Observation) -> dict[int, TrackDescription]:
        fov = self.registry.experiment(seen.experiment).fov(seen.fov_name)
        return {track.track_id: track for track in fov.tracks}

    def _track(self, seen: Observation) -> TrackDescription:
        return self._tracks(seen)[seen.track_id]

    def _line(self, seen: Observation) -> list[int]:
        """Return the track of an observation, its mother, her mother and so on, as far as the files tell."""
        columns = self.registry.experiment(seen.experiment).optional_columns
        told = "parent_track_id" in columns or {"id", "parent_id"} <= set(columns)
        tracks, line = self._tracks(seen), [seen.track_id]
        while told and (mother := tracks[line[-1]].parent) in tracks and mother not in line:
            line.append(mother)
        return line

    def is_on_line(self, anchor: Observation, other: Observation) -> bool:
        """Tell whether another observation shows the anchor's own cell or a descendant of it."""
        return other[:2] == anchor[:2] and anchor.track_id in self._line(other)

    def lineage(self, seen: Observation) -> str:
        """Return the founder's name."""
        return f"{seen.experiment}_{seen.fov_name}_{self._line(seen)[-1]}"

    def taus(self, experiment: str) -> range:
        """Return the whole numbers of frames whose offset lies in the range of hours."""
        first, last = (stands_for(hours) for hours in self.case.index.tau_range_hours)
        if last == 0:
            return range(1)
        frame = stands_for(self.registry.experiment(experiment).interval_minutes) / 60
        return range(max(1, math.ceil(first / frame)), math.floor(last / frame) + 1)

    def candidates(self, anchor: Observation) -> dict[int, list[Observation]]:
        """Return the possible positives of an anchor by tau, for each tau that has some."""
        if anchor not in self._found:
            self._found[anchor] = self._candidates(anchor)
        return self._found[anchor]

    def _candidates(self, anchor: Observation) -> dict[int, list[Observation]]:
        taus, found = self.taus(anchor.experiment), dict[int, list[Observation]]()
        if taus == range(1):
            return {0: [anchor]}
        for other in self.observations:
            if other.t - anchor.t in taus and self.is_on_line(anchor, other):
                found.setdefault(other.t - anchor.t, []).append(other)
        return dict(sorted(found.items()))

    def tau_probabilities(self, anchor: Observation) -> dict[int, Fraction]:
        """Return how likely each tau of an anchor is: exponential in tau, among the taus that have a candidate."""
        taus = self.taus(anchor.experiment)
        span = max(taus[-1] - taus[0], 1)
        powers = {tau: -self.case.tau_decay_rate * (tau - taus[0]) / span for tau in self.candidates(anchor)}
        # Relative to the largest, so that the sum is at least 1 whatever the rate.
        weights = {tau: Fraction(math.exp(power - max(powers.values()))) for tau, power in powers.items()}
        return {tau: weight / sum(weights.values()) for tau, weight in weights.items()}

    # --- what a crop shows --------------------------------------------------------------------------------------------

    def channels(self, experiment: str) -> tuple[str, ...]:
        """Return what the encoder sees, in its order."""
        return self.registry.experiment(experiment).source_channel

    def shape(self) -> tuple[int, int, int, int]:
        """Return channels, planes, height and width of a patch."""
        first, stop = self.case.index.z_range
        height, width = self.case.index.yx_patch_size
        return len(self.registry.experiments[0].source_channel), stop - first, height, width

    def window(self, seen: Observation) -> Window:
        """Return which planes, rows and columns the crop of an observation holds, moved inward at the border."""
        fov = self.registry.experiment(seen.experiment).fov(seen.fov_name)
        spans = [slice(*self.case.index.z_range)]
        for at, size, extent in zip(
            self._track(seen).position(seen.t), self.case.index.yx_patch_size, (fov.y, fov.x), strict=True
        ):
            first = min(max(math.floor(at + 0.5) - size // 2, 0), extent - size)
            spans.append(slice(first, first + size))
        return spans[0], spans[1], spans[2]

    def patch(self, seen: Observation) -> npt.NDArray[np.float32]:
        """Return the crop of an observation (C, Z, Y, X)."""
        channels = self.channels(seen.experiment)
        patch = expected_patch(self.registry, seen.experiment, seen.fov_name, seen.t, channels, *self.window(seen))
        return patch.astype(np.float32)

    def reading(self, seen: Observation, channel: int) -> Reading:
        """Return the place that one channel of the crop of an observation has to be from."""
        z, y, x = (part.start for part in self.window(seen))
        return Reading(seen.experiment, seen.fov_name, seen.t, self.channels(seen.experiment)[channel], z, y, x)

    def statistics(self, seen: Observation, root: Path) -> dict[str, Any] | None:
        """Return the channel statistics of an observation, by source position, as they stand in the store.

        Parameters
        ----------
        seen
            The observation.
        root
            Folder that the registry was written to.
        """
        experiment = self.registry.experiment(seen.experiment)
        fov = root / f"{self.registry.store_of(experiment.name)}.zarr" / seen.fov_name
        if experiment.ome_version == "0.4":
            attributes = json.loads((fov / ".zattrs").read_text(encoding="utf-8"))
        else:
            attributes = json.loads((fov / "zarr.json").read_text(encoding="utf-8"))["attributes"]
        if "normalization" not in attributes:
            return None
        found = {}
        for position, channel in enumerate(experiment.source_channel):
            stored = attributes["normalization"][channel]
            found[f"ch_{position}"] = {**stored, "timepoint_statistics": stored["timepoint_statistics"][str(seen.t)]}
        return found
