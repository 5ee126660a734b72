"""The registry: many experiments, checked together and against their stores before any training."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn, Self

import yaml

from dynaclr.config import Draft, ExperimentConfig, draft_experiment, json_schema, read_drafts
from dynaclr.errors import DynaclrError, RegistryError, did_you_mean
from dynaclr.files import read_yaml, write_atomically
from dynaclr.paths import expanded
from dynaclr.plate import Position
from dynaclr.store_checks import open_stores
from dynaclr.tau_sampling import frames_in_range
from dynaclr.wording import listed

__all__ = ["ExperimentConfig", "ExperimentRegistry", "UnknownExperimentError", "json_schema"]

_logger = logging.getLogger(__name__)


class UnknownExperimentError(DynaclrError, KeyError):
    """An experiment, or a well of one, that the registry does not have; the sentence lists those it has."""

    __str__ = Exception.__str__  # KeyError's puts the sentence in quotes


class ExperimentRegistry:
    """The experiments that one encoder is trained on.

    Channels are aligned by position: the i-th source channel of every experiment is the encoder's channel i,
    whatever its name. Everything is checked when the registry is made, against the stores' metadata on disk.

    Parameters
    ----------
    experiments
        The experiments, at least one; mappings hold the fields of `ExperimentConfig`, as the YAML file does, but
        relative paths are relative to the working directory.

    Raises
    ------
    DynaclrError
        If this is no list of experiments at all.
    RegistryError
        With every problem of every experiment.
    """

    def __init__(self, experiments: Iterable[ExperimentConfig | Mapping[str, Any]]) -> None:
        self._open(_drafts(experiments))

    def _open(self, drafts: Sequence[Draft]) -> None:
        """Check everything, then keep it."""
        stores = open_stores(drafts)
        configs = [draft.config for draft in drafts if draft.config is not None]
        self._keep(configs, {config.name: store.positions for config, store in zip(configs, stores, strict=True)})
        for config, store in zip(configs, stores, strict=True):
            if store.left_out:
                _logger.warning(
                    "experiment %r: wells left out, since no condition names them: %s",
                    config.name,
                    ", ".join(store.left_out),
                )
        _tell_moved_channels(configs)

    def _keep(self, configs: Sequence[ExperimentConfig], positions: Mapping[str, Mapping[str, Position]]) -> None:
        """Take experiments that have been checked."""
        self._experiments = {config.name: config for config in configs}
        self._positions = dict(positions)
        self._conditions = {
            config.name: {well: label for label, wells in config.condition_wells.items() for well in wells}
            for config in configs
        }

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str]) -> Self:
        """Read a registry from a YAML file.

        Parameters
        ----------
        path
            A file with the one key ``experiments``, with ``~`` for the home folder; relative paths in it are relative
            to its folder.

        Returns
        -------
        ExperimentRegistry
            The registry, checked.

        Raises
        ------
        DynaclrError
            If the file is missing or is no registry at all.
        RegistryError
            With every problem of every experiment.
        """
        drafts = read_drafts(read_yaml(path), str(path))
        registry = cls.__new__(cls)
        registry._open([_anchored(draft, expanded(path).absolute().parent) for draft in drafts])  # noqa: SLF001
        return registry

    def to_yaml(self, path: str | os.PathLike[str]) -> None:
        """Write the registry as a YAML file that `from_yaml` reads back.

        Parameters
        ----------
        path
            The file; stores and tracks in its folder or below are written as relative paths, others as absolute
            ones.

        Raises
        ------
        DynaclrError
            If the file cannot be written.
        """
        folder = Path(path).absolute().parent
        entries = []
        for config in self.experiments:
            entry = config.model_dump()
            for key in ("data_path", "tracks_path"):
                place = entry[key].absolute()
                entry[key] = str(place.relative_to(folder) if place.is_relative_to(folder) else place)
            entries.append(entry)
        content = {"experiments": entries}
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        if yaml.safe_load(text) != content:  # PyYAML leaves U+0085 unescaped, and reads it as a line break
            text = yaml.safe_dump(content, sort_keys=False, allow_unicode=False)
        try:
            write_atomically(path, text)
        except OSError as error:
            raise DynaclrError(f"the file {str(path)!r} cannot be written: {error.strerror}") from error

    def __len__(self) -> int:
        return len(self._experiments)

    def __iter__(self) -> Iterator[ExperimentConfig]:
        return iter(self.experiments)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ExperimentRegistry) and self.experiments == other.experiments

    __hash__ = None  # type: ignore[assignment]  # its experiments hold lists

    def __repr__(self) -> str:
        return f"ExperimentRegistry(experiments={list(self.experiments)!r})"

    @property
    def experiments(self) -> tuple[ExperimentConfig, ...]:
        """The experiments, in the order they were given."""
        return tuple(self._experiments.values())

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, in the same order."""
        return tuple(self._experiments)

    @property
    def num_source_channels(self) -> int:
        """How many channels the encoder sees."""
        return len(self.experiments[0].source_channel)

    @property
    def channel_maps(self) -> dict[str, dict[int, int]]:
        """For each experiment, which channel of its store lies at which source position."""
        return {
            config.name: {
                position: config.channel_names.index(channel) for position, channel in enumerate(config.source_channel)
            }
            for config in self.experiments
        }

    def get_experiment(self, name: str) -> ExperimentConfig:
        """Return the experiment of this name.

        Parameters
        ----------
        name
            The name.

        Raises
        ------
        UnknownExperimentError
            If there is none; it is a `KeyError`.
        """
        if name not in self._experiments:
            self._refuse_name(name)
        return self._experiments[name]

    def positions(self, name: str) -> Mapping[str, Position]:
        """Return the FOVs of an experiment that lie in wells with a condition, in plate order.

        Parameters
        ----------
        name
            The experiment's name.

        Returns
        -------
        mapping of str to Position
            ``{"A/1/0": Position(...), ...}``, not to be changed.

        Raises
        ------
        UnknownExperimentError
            If there is no such experiment.
        """
        self.get_experiment(name)
        return MappingProxyType(dict(self._positions[name]))

    def condition_of(self, name: str, well: str) -> str:
        """Return the treatment label of a well.

        Parameters
        ----------
        name
            The experiment's name.
        well
            The well, such as ``"A/1"``.

        Raises
        ------
        UnknownExperimentError
            If there is no such experiment, or no condition names the well; it is a `KeyError`.
        """
        self.get_experiment(name)
        if well not in self._conditions[name]:
            raise UnknownExperimentError(
                f"no condition of experiment {name!r} names the well {well!r}; "
                f"the wells are {listed(self._conditions[name])}"
            )
        return self._conditions[name][well]

    def tau_range_frames(self, name: str, tau_range_hours: Sequence[float]) -> tuple[int, int]:
        """Return the smallest and the largest number of frames whose offset lies in a range of hours.

        Parameters
        ----------
        name
            The experiment's name.
        tau_range_hours
            The smallest and the largest offset in hours, both included; ``(0, 0)`` asks for the same frame.

        Returns
        -------
        tuple of int
            At least 1 each, but for ``(0, 0)``.

        Raises
        ------
        UnknownExperimentError
            If there is no such experiment.
        DynaclrError
            If the range is no range of hours, or no whole number of frames lies in it.
        """
        config = self.get_experiment(name)
        frames = frames_in_range(config.interval_minutes, tau_range_hours)
        if frames is None:
            raise DynaclrError(
                f"experiment {name!r}: at interval_minutes={config.interval_minutes!r} no whole number of frames, "
                f"at least 1, lies in tau_range={tuple(tau_range_hours)!r} hours"
            )
        return frames

    def subset(self, names: Iterable[str]) -> ExperimentRegistry:
        """Return a registry of some of the experiments, in this registry's order; nothing is read again.

        Parameters
        ----------
        names
            Their names.

        Raises
        ------
        UnknownExperimentError
            If there is no experiment of one of the names.
        RegistryError
            If no name is given.
        """
        wanted = {names} if isinstance(names, str) else set(names)
        for name in sorted(wanted - set(self.names), key=str):
            self._refuse_name(name)
        if not wanted:
            raise RegistryError(["names is empty, but a subset needs at least one experiment"])
        kept = [config for config in self.experiments if config.name in wanted]
        part = ExperimentRegistry.__new__(ExperimentRegistry)
        part._keep(kept, {config.name: self._positions[config.name] for config in kept})  # noqa: SLF001
        return part

    def refresh(self) -> None:
        """Read the stores' metadata again, after statistics have been written to them.

        Raises
        ------
        RegistryError
            If the stores no longer agree with the experiments.
        """
        stores = open_stores([Draft.of(config) for config in self.experiments])
        self._positions = {name: store.positions for name, store in zip(self.names, stores, strict=True)}

    def _refuse_name(self, name: object) -> NoReturn:
        hint = did_you_mean(name, self.names)
        raise UnknownExperimentError(f"there is no experiment {name!r}; there are {listed(self.names)}{hint}")


def _drafts(experiments: object) -> list[Draft]:
    """Check the experiments that somebody gave in Python, each as an object or as a mapping of its fields."""
    is_one = isinstance(experiments, (Mapping, ExperimentConfig))
    if is_one or isinstance(experiments, (str, bytes)) or not isinstance(experiments, Iterable):
        hint = "; put the one experiment in a list" if is_one else ""
        raise DynaclrError(f"experiments is {experiments!r}, but needs a list of experiments{hint}")
    return [draft_experiment(raw, number) for number, raw in enumerate(experiments, start=1)]


def _anchored(draft: Draft, folder: Path) -> Draft:
    """Make relative paths absolute, from the folder of the YAML file."""
    paths = {key: folder / draft.fields[key] for key in ("data_path", "tracks_path") if key in draft.fields}
    config = None if draft.config is None else draft.config.model_copy(update=paths)
    return Draft(draft.label, {**draft.fields, **paths}, draft.problems, config)


def _tell_moved_channels(configs: Sequence[ExperimentConfig]) -> None:
    """Warn where one name is several of the encoder's channels: positions count, but that is seldom meant."""
    places: dict[str, dict[int, str]] = {}
    for config in configs:
        for position, channel in enumerate(config.source_channel):
            places.setdefault(channel, {}).setdefault(position, config.name)
    for channel, owners in places.items():
        if len(owners) > 1:
            _logger.warning(
                "source_channel: channel %r is at position %s, which are different channels to the encoder",
                channel,
                " and ".join(f"{position} of {name!r}" for position, name in sorted(owners.items())),
            )
