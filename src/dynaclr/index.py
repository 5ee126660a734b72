"""One row per cell and frame over all experiments, and which of them are anchors with a positive."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from tqdm import tqdm

from dynaclr.checks import whole_pair
from dynaclr.errors import TracksError
from dynaclr.experiment import ExperimentRegistry
from dynaclr.fovs import (
    Fov,
    all_fovs,
    check_windows,
    checked_z_range,
    find_csvs,
    find_frames,
    select_fovs,
)
from dynaclr.lineage import Descent, Forest, IntArray, group_tracks
from dynaclr.observations import (
    anchor_table,
    categorical,
    global_track_ids,
    image_sizes,
    is_inside,
    observation_table,
    row_groups,
    stack_tables,
)
from dynaclr.tau_sampling import hours_range
from dynaclr.tracks import BoolArray, CheckedTracks, check_tracks, read_tracks
from dynaclr.wording import counted, listed

_logger = logging.getLogger(__name__)

_READERS = 4


class MultiExperimentIndex:
    """All observations of a registry's experiments, and the anchors among them.

    Parameters
    ----------
    registry
        The experiments.
    z_range
        The planes to read, ``slice(start, stop)`` inside every FOV's stack.
    yx_patch_size
        Height and width of a patch in pixels; no FOV may be smaller.
    tau_range_hours
        Smallest and largest time from an anchor to its positive, in hours.
    include_wells, exclude_fovs
        Wells (``"A/1"``) and FOVs (``"A/1/0"``) of every experiment, or of one (``"exp_a:A/1/0"``): keep only these,
        leave these out.
    frames
        Tracking tables to index instead of the registry's CSVs, by experiment and FOV name: ``{("exp_a", "A/1/0"):
        table}``. Errors name their rows by their index.

    Attributes
    ----------
    tracks
        One row per cell and frame, in the order of experiment, FOV, track id and frame, whatever the order in the
        files: ``experiment, condition, well_name, fov_name, track_id, t, y, x, global_track_id, lineage_id,
        hours_post_infection, fluorescence_channel, organelle, date, moi, y_clamp, x_clamp, parent_track_id`` (``-1``
        for founders) and what the CSVs brought. A CSV column that has one of these names otherwise is kept as
        ``<name>_csv``. Labels are categorical columns of strings. The patch of a row is the pixels ``[y_clamp - height
        // 2, y_clamp - height // 2 + height)`` and the same in x.
    valid_anchors
        The rows of ``tracks`` with at least one positive, indexed from 0, with their position in ``tracks`` in the
        column ``row``.
    experiment_groups, condition_groups
        Positions in ``valid_anchors`` of each experiment, and of each condition over all experiments.
    lineage_codes
        A number for each row of ``tracks``, the same for the rows of one lineage, shape ``(len(tracks),)``.
    descent_order
        Rows of ``tracks`` in the order of which `candidate_ranges` gives slices.
    registry, z_range, yx_patch_size, tau_range_hours
        What the index was made with.

    Raises
    ------
    DynaclrError
        If ``tau_range_hours`` is no range, a FOV is smaller than the window, ``include_wells`` or ``exclude_fovs`` is
        no list or has an entry that matches nothing, or an experiment is left without a row.
    TracksError
        With all tracking tables that are not what they should be; see `dynaclr.tracks.check_tracks`.

    Notes
    -----
    A centroid is inside an image of Y rows if ``0 <= y < Y``; other observations are dropped and counted. Pixel i is
    taken to be at y = i, so the patch is centred on the pixel ``floor(y + 0.5)`` unless the border is near. Lineages
    are settled before anything is dropped: a daughter whose mother was seen outside the image only keeps her lineage.
    """

    def __init__(
        self,
        registry: ExperimentRegistry,
        z_range: slice,
        yx_patch_size: Sequence[int],
        tau_range_hours: tuple[float, float] = (0.5, 2.0),
        include_wells: Sequence[str] | None = None,
        exclude_fovs: Sequence[str] | None = None,
        *,
        frames: Mapping[tuple[str, str], pd.DataFrame] | None = None,
    ) -> None:
        self.registry = registry
        self.z_range = checked_z_range(z_range)
        self.yx_patch_size = whole_pair("yx_patch_size", yx_patch_size, at_least=1)
        hours_range(tau_range_hours, "tau_range_hours")
        self.tau_range_hours = (tau_range_hours[0], tau_range_hours[1])
        self._tau_frames = {name: registry.tau_range_frames(name, self.tau_range_hours) for name in registry.names}
        fovs = select_fovs(all_fovs(registry), include_wells, exclude_fovs)
        sources = find_csvs(fovs) if frames is None else find_frames(fovs, frames)
        fovs = [fov for fov, _ in sources]
        check_windows(fovs, self.z_range, self.yx_patch_size)
        checked = _read_all(sources)
        _log_empty(fovs, checked)
        _log_parents(sources, checked)
        self._assemble(fovs, checked)

    def _assemble(self, fovs: Sequence[Fov], checked: Sequence[CheckedTracks]) -> None:
        fov = np.repeat(np.arange(len(fovs)), [len(one.frame) for one in checked])
        columns = stack_tables([one.frame for one in checked])
        groups = group_tracks(fov, columns["track_id"], columns["parent_track_id"])
        forest = Forest.from_parents(groups.parent)

        inside = is_inside(columns["y"], columns["x"], image_sizes(fovs)[fov])
        self._dropped = _dropped_per_group(fovs, fov, inside)
        if not inside.all():
            columns = {name: values[inside] for name, values in columns.items()}
        fov, track = fov[inside], groups.track[inside]
        _check_none_is_empty(self.registry, fovs, fov)

        self.lineage_codes: IntArray = forest.founder[track]
        self._descent = Descent.of_rows(fov, columns["t"], track, forest)
        self.descent_order = self._descent.order
        global_ids = global_track_ids(fovs, groups)
        labels = {
            "global_track_id": categorical(track, global_ids),
            "lineage_id": categorical(self.lineage_codes, global_ids),
        }
        self.tracks = observation_table(fovs, fov, columns, labels, self.yx_patch_size)
        taus = np.array([self._tau_frames[one.experiment.name] for one in fovs]).reshape(-1, 2)[fov]
        rows = np.flatnonzero(self._descent.has_candidate(taus[:, 0], taus[:, 1]))
        self.valid_anchors = anchor_table(self.tracks, rows)
        self.experiment_groups = row_groups(self.valid_anchors["experiment"], self.tracks["experiment"])
        self.condition_groups = row_groups(self.valid_anchors["condition"], self.tracks["condition"])

    def tau_range_frames(self, experiment: str) -> tuple[int, int]:
        """Return the smallest and the largest tau of an experiment, in frames.

        Raises
        ------
        KeyError
            If the registry has no such experiment.
        """
        return self.registry.tau_range_frames(experiment, self.tau_range_hours)

    def candidate_ranges(self, rows: npt.ArrayLike, taus: npt.ArrayLike) -> tuple[IntArray, IntArray]:
        """Find the positives of rows of ``tracks``, each at its own tau.

        Parameters
        ----------
        rows
            Positions in ``tracks``.
        taus
            Offsets in frames, 0 or larger, of the same shape or broadcast to it.

        Returns
        -------
        start, stop
            The positives of row r at tau are the rows ``descent_order[start:stop]`` of ``tracks``: observations of its
            own track and of that track's descendants at ``t + tau``; at tau 0, the row itself alone.
        """
        return self._descent.candidate_ranges(rows, taus)

    def summary(self) -> str:
        """Describe the index in words and a table: one line per experiment and condition."""
        tracks = self.tracks
        is_anchor = np.zeros(len(tracks), bool)
        is_anchor[self.valid_anchors["row"]] = True
        by = tracks.assign(is_anchor=is_anchor).groupby(["experiment", "condition"], observed=True, sort=False)
        hpi = by["hours_post_infection"].agg(["min", "max"])
        table = pd.DataFrame(
            {
                "FOVs": by["fov_name"].nunique(),
                "tracks": by["global_track_id"].nunique(),
                "lineages": by["lineage_id"].nunique(),
                "observations": by.size(),
                "valid anchors": by["is_anchor"].sum(),
                "HPI": [f"{low:g} to {high:g}" for low, high in zip(hpi["min"], hpi["max"], strict=True)],
            }
        )
        # Also the groups of which nothing is left.
        groups = pd.MultiIndex.from_tuples(self._dropped, names=["experiment", "condition"])
        table.index = pd.MultiIndex.from_tuples(table.index, names=groups.names)
        table = table.reindex(groups, fill_value=0).reset_index()
        table["HPI"] = table["HPI"].replace(0, "-")
        taus = table["experiment"].astype(str).map(self._tau_frames)
        table["tau (frames)"] = [f"{low} to {high}" for low, high in taus]
        keys = zip(table["experiment"], table["condition"], strict=True)
        table["dropped outside image"] = [self._dropped.get(key, 0) for key in keys]
        shortest, longest = self.tau_range_hours
        head = f"{self._counts}; positives {shortest:g} to {longest:g} h after the anchor"
        return f"{head}\n{table.to_string(index=False)}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._counts})"

    @property
    def _counts(self) -> str:
        numbers = {
            "experiment": len(self.registry.names),
            "observation": len(self.tracks),
            "valid anchor": len(self.valid_anchors),
        }
        return ", ".join(counted(number, noun) for noun, number in numbers.items())


def _read_all(sources: Sequence[tuple[Fov, Path | pd.DataFrame]]) -> list[CheckedTracks]:
    """Read and check the tables, in order; a few at a time, since they often lie on a network drive.

    Raises
    ------
    TracksError
        With what is wrong with each table of which something is.
    """

    def read(job: tuple[Fov, Path | pd.DataFrame]) -> CheckedTracks | TracksError:
        fov, source = job
        try:
            if isinstance(source, pd.DataFrame):
                return check_tracks(source, source=fov.label, **fov.rules)
            return read_tracks(source, **fov.rules)
        except TracksError as problem:
            return problem

    checked: list[CheckedTracks] = []
    problems: list[TracksError] = []
    with ThreadPoolExecutor(_READERS) as pool:
        results = pool.map(read, sources)
        # Shown on a terminal only, and only if it takes more than two seconds.
        for one in tqdm(results, "reading tracks", total=len(sources), unit="FOV", delay=2, disable=None):
            if isinstance(one, TracksError):
                problems.append(one)
            else:
                checked.append(one)
    # Several experiments may read one table.
    sentences = dict.fromkeys(map(str, problems))
    if len(sentences) == 1:
        raise problems[0]
    if sentences:
        listing = "".join(f"\n  - {sentence}" for sentence in sentences)
        raise TracksError(f"problems in {counted(len(sentences), 'tracking table')}:{listing}")
    return checked


def _log_empty(fovs: Sequence[Fov], checked: Sequence[CheckedTracks]) -> None:
    empty = [fov.label for fov, one in zip(fovs, checked, strict=True) if one.frame.empty]
    if empty:
        _logger.warning("%s without a row in the tracking table: %s", counted(len(empty), "FOV"), listed(empty, str))


def _log_parents(sources: Sequence[tuple[Fov, Path | pd.DataFrame]], checked: Sequence[CheckedTracks]) -> None:
    """Tell, experiment by experiment, which parents were not believed, and which columns of parents were not read."""
    impossible, unread = Counter[str](), Counter[tuple[str, str]]()
    zeros: dict[str, list[str]] = {}
    for (fov, source), one in zip(sources, checked, strict=True):
        impossible[fov.experiment.name] += one.impossible_parents
        if one.impossible_zeros:
            table = fov.label if isinstance(source, pd.DataFrame) else str(source)
            zeros.setdefault(fov.experiment.name, []).append(table)
        if one.unread_parents is not None:
            unread[fov.experiment.name, one.unread_parents] += 1
    for name, count in impossible.items():
        if count:
            _logger.warning(
                "experiment %r: made founders of %s whose parent does not start before them",
                *(name, counted(count, "track")),
            )
    for name, tables in zeros.items():
        _logger.warning(
            "experiment %r: %s with a parent of 0 that does not start before its daughter: %s; if 0 means 'no parent' "
            "there, set `founder_parent: 0` for the experiment, since other tracks with a parent of 0 stay daughters",
            *(name, counted(len(tables), "tracking table"), listed(tables, str)),
        )
    for (name, column), count in unread.items():
        _logger.warning(
            "experiment %r: %s without a parent, though with a column %r; parents are read from 'parent_track_id', or "
            "from 'id' and 'parent_id' together",
            *(name, counted(count, "tracking table"), column),
        )


def _dropped_per_group(fovs: Sequence[Fov], fov: IntArray, inside: BoolArray) -> dict[tuple[str, str], int]:
    """Count and log the observations outside the image, per experiment and condition; warn where none is left."""
    counts, left = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for rows, into in ((fov[~inside], counts), (fov[inside], left)):
        for one, count in zip(fovs, np.bincount(rows, minlength=len(fovs)).tolist(), strict=True):
            into[one.group] += count
    for (experiment, condition), count in counts.items():
        if count:
            gone = "" if left[experiment, condition] else ", so nothing is left of it"
            _logger.log(
                logging.WARNING if gone else logging.INFO,
                "experiment %r, condition %r: dropped %s outside the image%s",
                *(experiment, condition, counted(count, "observation"), gone),
            )
    return dict(counts)


def _check_none_is_empty(registry: ExperimentRegistry, fovs: Sequence[Fov], fov: IntArray) -> None:
    filled = {fovs[i].experiment.name for i in np.unique(fov)}
    for config in registry.experiments:
        if config.name not in filled:
            count = sum(one.experiment.name == config.name for one in fovs)
            raise TracksError(
                f"experiment {config.name!r} needs at least one observation inside an image, but is left with none: "
                f"{count} of its FOVs have a CSV under {config.tracks_path}"
            )
