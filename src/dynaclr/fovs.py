"""The FOVs of a registry: which of them a user wants, whether they hold the window, and where their tracks are."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dynaclr.checks import is_list, is_whole
from dynaclr.errors import DynaclrError, did_you_mean
from dynaclr.experiment import ExperimentConfig, ExperimentRegistry
from dynaclr.plate import Position
from dynaclr.tracks import find_tracks_csv
from dynaclr.wording import counted, listed

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, slots=True)
class Fov:
    """A field of view and the experiment it belongs to: FOV names alone are not unique."""

    experiment: ExperimentConfig
    condition: str
    position: Position

    @property
    def label(self) -> str:
        """What errors call it, and what a selector may: ``"exp_a:A/1/0"``."""
        return f"{self.experiment.name}:{self.position.fov_name}"

    @property
    def group(self) -> tuple[str, str]:
        """Its experiment and condition."""
        return self.experiment.name, self.condition

    @property
    def selectors(self) -> set[str]:
        """What a user may write to mean this FOV."""
        places = {self.position.well_name, self.position.fov_name}
        return places | {f"{self.experiment.name}:{place}" for place in places}

    @property
    def rules(self) -> dict[str, Any]:
        """What a tracking table of this FOV is checked against."""
        return {
            "num_frames": self.position.shape[0],
            "founder_parent": self.experiment.founder_parent,
            "impossible_parents": self.experiment.impossible_parents,
        }


def all_fovs(registry: ExperimentRegistry) -> list[Fov]:
    """Return the FOVs of all experiments, in the order of the registry and the plates."""
    return [
        Fov(config, registry.condition_of(config.name, position.well_name), position)
        for config in registry.experiments
        for position in registry.positions(config.name).values()
    ]


def check_entries(parameter: str, entries: Sequence[str] | None) -> None:
    """Check that the user's wells and FOVs are a list of texts, which can be gone through again and again, or None.

    Parameters
    ----------
    parameter
        What they are called: ``"include_wells"`` or ``"exclude_fovs"``.
    entries
        What was given.

    Raises
    ------
    DynaclrError
        If it is something else, such as a single text or an iterator.
    """
    if isinstance(entries, str):
        raise DynaclrError(f"{parameter} needs a list of wells or FOVs, got the text {entries!r}; write [{entries!r}]")
    if entries is not None and not (is_list(entries) and all(isinstance(entry, str) for entry in entries)):
        raise DynaclrError(f"{parameter} is {entries!r}, but needs a list of wells or FOVs, such as ['A/1', 'B/1/0']")


class KnownEntries(list[str]):
    """Entries of ``include_wells`` or ``exclude_fovs`` that each match something, if not among these experiments."""


def select_fovs(
    fovs: Sequence[Fov], include_wells: Sequence[str] | None, exclude_fovs: Sequence[str] | None
) -> list[Fov]:
    """Keep the FOVs that the user wants.

    Parameters
    ----------
    fovs
        All FOVs of the registry.
    include_wells
        Wells and FOVs, ``"A/1"`` or ``"A/1/0"`` for every experiment and ``"exp_a:A/1"`` for one; each experiment is
        restricted to what the entries for every experiment and its own name, and stays whole where there are neither.
        None restricts none.
    exclude_fovs
        Wells and FOVs in the same notation; None excludes nothing.

    Raises
    ------
    DynaclrError
        If entries are no list, one matches nothing (and is no `KnownEntries`), or an experiment keeps no FOV.
    """
    _check_matches(fovs, include_wells, "include_wells")
    _check_matches(fovs, exclude_fovs, "exclude_fovs")
    kept = [fov for fov in fovs if _is_included(fov, include_wells) and not fov.selectors & set(exclude_fovs or ())]
    names_kept = {fov.experiment.name for fov in kept}
    for name in dict.fromkeys(fov.experiment.name for fov in fovs):
        if name not in names_kept:
            raise DynaclrError(
                f"include_wells={include_wells!r} and exclude_fovs={exclude_fovs!r} leave no FOV of experiment "
                f"{name!r}; keep at least one, or take the experiment out of the registry"
            )
    return kept


def _is_included(fov: Fov, entries: Sequence[str] | None) -> bool:
    """Tell whether the entries that concern the FOV's experiment name it, or none does."""
    if entries is None:
        return True
    # No experiment's name has a colon. An empty list names no FOV of any experiment, and is not taken for None.
    concerns = [entry for entry in entries if entry.partition(":")[0] == fov.experiment.name or ":" not in entry]
    return bool(fov.selectors & set(concerns)) or (bool(entries) and not concerns)


def _check_matches(fovs: Sequence[Fov], entries: Sequence[str] | None, parameter: str) -> None:
    """Refuse entries that match no FOV."""
    check_entries(parameter, entries)
    if entries is None or isinstance(entries, KnownEntries):
        return
    known = sorted(set().union(*(fov.selectors for fov in fovs)))
    for entry in entries:
        if entry not in known:
            wells = ", ".join(dict.fromkeys(fov.position.well_name for fov in fovs))
            near = did_you_mean(entry, known) or f"; the experiments' wells are {wells}"
            raise DynaclrError(f"{parameter} has {entry!r}, which matches no well and no FOV{near}")


def find_csvs(fovs: Sequence[Fov]) -> list[tuple[Fov, Path]]:
    """Return the FOVs that have a CSV, each with it; warn once per experiment about the others."""
    found = {fov: find_tracks_csv(fov.experiment.tracks_path, fov.position.fov_name) for fov in fovs}
    _warn_skipped([fov for fov, path in found.items() if path is None])
    return [(fov, path) for fov, path in found.items() if path is not None]


def find_frames(fovs: Sequence[Fov], frames: Mapping[tuple[str, str], pd.DataFrame]) -> list[tuple[Fov, pd.DataFrame]]:
    """Return the FOVs that have a table in memory, each with it; warn once per experiment about the others.

    Raises
    ------
    DynaclrError
        If a table belongs to no FOV.
    """
    known = {(fov.experiment.name, fov.position.fov_name): fov for fov in fovs}
    for key in frames:
        if key not in known:
            raise DynaclrError(f"frames has {key!r}, which is no (experiment, FOV name) of the FOVs to index")
    _warn_skipped([fov for key, fov in known.items() if key not in frames])
    return [(fov, frames[key]) for key, fov in known.items() if key in frames]


def _warn_skipped(fovs: Sequence[Fov]) -> None:
    """Log one line per experiment about its FOVs without a tracking table."""
    skipped: dict[str, list[str]] = {}
    for fov in fovs:
        skipped.setdefault(fov.experiment.name, []).append(fov.position.fov_name)
    for name, fov_names in skipped.items():
        _logger.warning(
            "experiment %r: skipped %s without a tracking CSV: %s",
            *(name, counted(len(fov_names), "FOV"), listed(fov_names, str)),
        )


def checked_z_range(z_range: slice) -> slice:
    """Return the planes as ``slice(start, stop)`` of ints.

    Raises
    ------
    DynaclrError
        If it is empty, open, negative or has a step.
    """
    is_plain = isinstance(z_range, slice) and z_range.step in (None, 1)
    if not is_plain or not all(is_whole(bound) for bound in (z_range.start, z_range.stop)):
        raise DynaclrError(f"z_range needs to be slice(start, stop) of whole numbers without a step, got {z_range!r}")
    if not 0 <= z_range.start < z_range.stop:
        raise DynaclrError(f"z_range needs 0 <= start < stop, got {z_range!r}")
    return slice(int(z_range.start), int(z_range.stop))


def check_windows(fovs: Sequence[Fov], z_range: slice, patch: tuple[int, int]) -> None:
    """Check that every FOV holds a patch (height, width) and the planes.

    Raises
    ------
    DynaclrError
        If one does not; the error names it and its sizes.
    """
    for fov in fovs:
        depth, height, width = fov.position.shape[-3:]
        if patch[0] > height or patch[1] > width:
            raise DynaclrError(
                f"yx_patch_size needs to fit into every image, got {patch} for FOV {fov.label!r} of {height} x {width} "
                "pixels"
            )
        if z_range.stop > depth:
            raise DynaclrError(
                f"z_range needs to lie inside every stack, got {z_range.start} to {z_range.stop} for FOV {fov.label!r} "
                f"of {counted(depth, 'plane')}"
            )
