# ruff: noqa: D102 - the protocol says what is asked; what it means is said where it is kept
"""What the laws of the registry have in common: what they ask of it, and what must come of a mistake."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from dynaclr_strategies.cases import RegistryCase
from dynaclr_strategies.descriptions import ExperimentDescription
from dynaclr_strategies.invariants.base import InvariantViolation
from dynaclr_strategies.oracles.registry import RegistryOracle

__all__ = ["AnyRegistry", "MakeRegistry", "check_experiments", "differences", "refusal", "value_of"]


class AnyRegistry(Protocol):
    """What the laws ask of a registry."""

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def num_source_channels(self) -> int: ...

    @property
    def channel_maps(self) -> Mapping[str, Mapping[int, int]]: ...

    def get_experiment(self, name: str, /) -> Any: ...

    def positions(self, name: str, /) -> Mapping[str, Any]: ...

    def condition_of(self, name: str, well: str, /) -> str: ...

    def tau_range_frames(self, name: str, tau_range_hours: Any, /) -> tuple[int, int]: ...

    def subset(self, names: Any, /) -> AnyRegistry: ...

    def to_yaml(self, path: Any, /) -> None: ...


MakeRegistry = Callable[[Path, RegistryCase], AnyRegistry]


def differences(
    registry: AnyRegistry, oracle: RegistryOracle, experiment: ExperimentDescription, folder: Path
) -> Iterator[tuple[str, Any, Any]]:
    """Yield the fields of an experiment that are not as described, with what they are and what they should be.

    Parameters
    ----------
    registry
        The registry.
    oracle, experiment
        Who knows, and what is asked about.
    folder
        Where stores and tracks are.
    """
    config = registry.get_experiment(experiment.name)
    for field, expected in oracle.fields(experiment).items():
        seen = value_of(getattr(config, field, None))
        if seen != expected:
            yield field, seen, expected
    for field, place in oracle.paths(experiment).items():
        seen = getattr(config, field, None)
        if seen is None or Path(seen).resolve() != (folder / place).resolve():
            yield field, seen, folder / place


def value_of(value: Any) -> Any:
    """Return lists for the sequences that an implementation may prefer."""
    if isinstance(value, Mapping):
        return {key: value_of(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def check_experiments(
    registry: AnyRegistry, oracle: RegistryOracle, names: Iterable[str], folder: Path, where: str, law: str
) -> None:
    """Raise unless a registry has the experiments of these names, in this order, with all their fields."""
    expected = list(names)
    if list(registry.names) != expected:
        raise InvariantViolation(where, f"experiments {list(registry.names)}", f"{expected}", law)
    for experiment in oracle.registry.experiments:
        if experiment.name in expected:
            for field, seen, wanted in differences(registry, oracle, experiment, folder):
                place = f"{field} of experiment {experiment.name!r} in {where}"
                raise InvariantViolation(place, f"{seen!r}", f"{wanted!r}", law)


def refusal(make: MakeRegistry, yaml: Path, case: RegistryCase) -> str | None:
    """Return the text of the error with which a registry is refused; None if it is accepted."""
    try:
        make(yaml, case)
    except Exception as error:  # noqa: BLE001 - which it is, is another law's question
        return str(error)
    return None
