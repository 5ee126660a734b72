"""What a registry has to say, read off the description that its file was written from, field by field."""

from __future__ import annotations

import dataclasses
from typing import Any

from dynaclr_strategies.cases import RegistryCase
from dynaclr_strategies.descriptions import ExperimentDescription, RegistryDescription
from dynaclr_strategies.oracles.sampler import stands_for

__all__ = ["RegistryOracle", "frames_in_range"]

FIELDS = (
    "name",
    "channel_names",
    "source_channel",
    "condition_wells",
    "interval_minutes",
    "start_hpi",
    "organelle",
    "date",
    "moi",
    "founder_parent",
    "impossible_parents",
)
"""The fields of an experiment that are not paths."""


class RegistryOracle:
    """Answers about the registry of one case.

    Parameters
    ----------
    case
        The registry.
    """

    def __init__(self, case: RegistryCase) -> None:
        self.registry: RegistryDescription = case.registry
        self.names = [experiment.name for experiment in case.registry.experiments]

    def fields(self, experiment: ExperimentDescription) -> dict[str, Any]:
        """Return the values of an experiment's fields, paths left out, as its file has them."""
        described = {field.name: getattr(experiment, field.name) for field in dataclasses.fields(experiment)}
        values = {name: described[name] for name in FIELDS}
        lists = {name: list(values[name]) for name in ("channel_names", "source_channel")}
        return {**values, **lists, "condition_wells": {label: list(w) for label, w in experiment.condition_wells}}

    def paths(self, experiment: ExperimentDescription) -> dict[str, str]:
        """Return where store and tracks of an experiment are, from the folder of the registry."""
        store = self.registry.store_of(experiment.name)
        return {"data_path": f"{store}.zarr", "tracks_path": f"tracks/{store}"}

    def channel_map(self, experiment: ExperimentDescription) -> dict[int, int]:
        """Return for each source position the number of its channel in the store."""
        numbers = {}
        for position, source in enumerate(experiment.source_channel):
            for number, channel in enumerate(experiment.channel_names):
                if channel == source:
                    numbers[position] = number
        return numbers

    def positions(self, experiment: ExperimentDescription) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the FOVs in labelled wells, by name, in the order of the plate."""
        return {
            name: (fov.frames, len(experiment.channel_names), fov.z, fov.y, fov.x)
            for name, fov in experiment.fovs()
            if experiment.condition_of(name.rpartition("/")[0]) is not None
        }


def frames_in_range(interval_minutes: float, hours: tuple[float, float]) -> tuple[int, int] | None:
    """Return the first and the last number of frames whose offset lies in a range of hours, found by counting.

    Numbers mean what was written: 0.1 is a tenth. The offset of 0 frames lies only in the range (0, 0); None means
    that no number does.
    """
    first, last = (stands_for(bound) for bound in hours)
    if first == last == 0:
        return 0, 0
    step = stands_for(interval_minutes) / 60
    inside, frame = [], 1
    while frame * step <= last:
        if frame * step >= first:
            inside.append(frame)
        frame += 1
    return (inside[0], inside[-1]) if inside else None
