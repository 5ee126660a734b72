"""What an index has to hold, read off the description that its stores and tables were written from.

Nothing here is fast, and nothing is shared with the index: an observation is a tuple, relatives are found by going from
daughter to mother, and the place of a patch by trying every place in the image.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import cached_property
from typing import Any, NamedTuple

from dynaclr_strategies.cases import IndexCase
from dynaclr_strategies.descriptions import ExperimentDescription, FovDescription, TrackDescription
from dynaclr_strategies.oracles.registry import frames_in_range
from dynaclr_strategies.oracles.sampler import stands_for

__all__ = ["Cell", "IndexOracle", "places_of", "well_of"]


class Cell(NamedTuple):
    """One observation: a cell in one frame."""

    experiment: str
    fov_name: str
    track_id: int
    t: int

    def __str__(self) -> str:
        return f"track {self.track_id} of {self.experiment}:{self.fov_name} at t={self.t}"


class IndexOracle:
    """Answers about the index of one case.

    Parameters
    ----------
    case
        The registry, and how it is indexed.
    """

    def __init__(self, case: IndexCase) -> None:
        self.case = case
        self.experiments = {experiment.name: experiment for experiment in case.registry.experiments}

    # --- which rows there are -----------------------------------------------------------------------------------------

    @cached_property
    def fovs(self) -> dict[tuple[str, str], FovDescription]:
        """The FOVs to index, by experiment and name: those of labelled wells that the user selects."""
        return {
            (experiment.name, name): fov
            for experiment in self.experiments.values()
            for name, fov in experiment.fovs()
            if experiment.condition_of(well_of(name)) is not None and self.is_selected(experiment.name, name)
        }

    @cached_property
    def cells(self) -> list[Cell]:
        """All observations inside the images, in the order of experiments, FOVs, track ids and frames."""
        return list(self._inside())

    def _inside(self) -> Iterator[Cell]:
        for (experiment, fov_name), fov in self.fovs.items():
            for track in sorted(fov.tracks if fov.has_csv else (), key=lambda track: track.track_id):
                for t in track.frames:
                    y, x = track.position(t)
                    if 0 <= y < fov.y and 0 <= x < fov.x:
                        yield Cell(experiment, fov_name, track.track_id, t)

    def is_selected(self, experiment: str, fov_name: str) -> bool:
        """Tell whether ``include_wells`` and ``exclude_fovs`` leave a FOV in."""
        places = places_of(experiment, fov_name)
        if places & set(self.case.exclude_fovs or ()):
            return False
        if self.case.include_wells is None:
            return True
        # An entry for one experiment says nothing about the others.
        general = [entry for entry in self.case.include_wells if ":" not in entry]
        own = [entry for entry in self.case.include_wells if entry.startswith(f"{experiment}:")]
        return bool(places & {*general, *own}) or (bool(self.case.include_wells) and not general and not own)

    def leaves_none_empty(self) -> bool:
        """Tell whether every experiment has a row."""
        return {cell.experiment for cell in self.cells} == set(self.experiments)

    # --- what a row says ----------------------------------------------------------------------------------------------

    def experiment(self, cell: Cell) -> ExperimentDescription:
        """Return the experiment of a cell."""
        return self.experiments[cell.experiment]

    def fov(self, cell: Cell) -> FovDescription:
        """Return the FOV of a cell."""
        return self.fovs[cell[:2]]

    def track(self, cell: Cell) -> TrackDescription:
        """Return the track of a cell."""
        return self._tracks(cell)[cell.track_id]

    def _tracks(self, cell: Cell) -> dict[int, TrackDescription]:
        return {track.track_id: track for track in self.fov(cell).tracks}

    def labels(self, cell: Cell) -> dict[str, Any]:
        """Return what a row says about its experiment and its well."""
        experiment = self.experiment(cell)
        return {
            "well_name": well_of(cell.fov_name),
            "condition": experiment.condition_of(well_of(cell.fov_name)),
            "fluorescence_channel": "+".join(experiment.source_channel[1:]),
            "organelle": experiment.organelle,
            "date": experiment.date,
            "moi": experiment.moi,
        }

    def hpi(self, cell: Cell) -> Fraction:
        """Return the hours post infection, exactly."""
        experiment = self.experiment(cell)
        return stands_for(experiment.start_hpi) + cell.t * stands_for(experiment.interval_minutes) / 60

    def global_track_id(self, cell: Cell) -> str:
        """Return the name of a track that no other track of any experiment has."""
        return f"{cell.experiment}_{cell.fov_name}_{cell.track_id}"

    # --- who descends from whom ---------------------------------------------------------------------------------------

    def line(self, cell: Cell) -> list[int]:
        """Return the track of a cell, its mother, her mother and so on, as far as the file tells."""
        experiment, tracks = self.experiment(cell), self._tracks(cell)
        by_row = "parent_track_id" not in experiment.optional_columns
        if by_row and not {"id", "parent_id"} <= set(experiment.optional_columns):
            return [cell.track_id]
        line = [cell.track_id]
        while (mother := tracks[line[-1]].parent) is not None and mother in tracks:
            # A file without `parent_track_id` names the mother's last row instead.
            written = self.fov(cell).row_ids[mother, tracks[mother].frames[-1]] if by_row else mother
            if written == experiment.founder_parent or tracks[mother].frames[0] >= tracks[line[-1]].frames[0]:
                break
            line.append(mother)
        return line

    def founder(self, cell: Cell) -> Cell:
        """Return the founder of a cell's lineage, at the time of the cell."""
        return cell._replace(track_id=self.line(cell)[-1])

    def taus(self, experiment: str) -> range:
        """Return the offsets in frames that lie in the range of hours."""
        frames = frames_in_range(self.experiments[experiment].interval_minutes, self.case.tau_range_hours)
        return range(frames[0], frames[1] + 1) if frames else range(0)

    def positives(self, anchor: Cell, tau: int) -> list[Cell]:
        """Return the cells on an anchor's line of descent ``tau`` frames later; at tau 0 the anchor alone."""
        if tau == 0:
            return [anchor]
        return [
            cell
            for cell in self.cells
            if cell[:2] == anchor[:2] and cell.t == anchor.t + tau and anchor.track_id in self.line(cell)
        ]

    @cached_property
    def anchors(self) -> list[Cell]:
        """The cells that have a positive at some tau of their experiment."""
        return [cell for cell in self.cells if any(self.positives(cell, tau) for tau in self.taus(cell.experiment))]

    # --- patches ------------------------------------------------------------------------------------------------------

    def nearest_centres(self, cell: Cell, axis: int) -> list[int]:
        """Return the pixels nearest to the centroid, along y (0) or x (1), that can be the middle of a patch.

        The patch of ``size`` pixels around a pixel begins ``size // 2`` before it, and has to lie in the image. There
        are two nearest pixels where the centroid lies halfway between them.
        """
        at = Fraction(self.track(cell).position(cell.t)[axis])
        size, extent = self.case.yx_patch_size[axis], (self.fov(cell).y, self.fov(cell).x)[axis]
        possible = [first + size // 2 for first in range(extent - size + 1)]
        shortest = min(abs(centre - at) for centre in possible)
        return [centre for centre in possible if abs(centre - at) == shortest]


def well_of(fov_name: str) -> str:
    """Return ``"A/1"`` of ``"A/1/0"``."""
    return fov_name.rpartition("/")[0]


def places_of(experiment: str, fov_name: str) -> set[str]:
    """Return the entries of ``include_wells`` and ``exclude_fovs`` that mean a FOV."""
    places = {well_of(fov_name), fov_name}
    return places | {f"{experiment}:{place}" for place in places}
