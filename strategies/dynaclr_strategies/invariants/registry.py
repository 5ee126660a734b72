# ruff: noqa: D401 - the docstring of a check states a law, it does not command
"""The laws of the registry.

Every check is called as ``check(make, case, root)``: it writes the case's registry below the empty folder ``root`` and
calls ``make(experiments_yaml, case)``, which returns the registry. What the laws ask of one is in
`dynaclr_strategies.invariants.registry_runs.AnyRegistry`.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

from dynaclr_strategies.cases import RegistryCase
from dynaclr_strategies.invariants.base import InvariantViolation, invariant
from dynaclr_strategies.invariants.registry_mistakes import check_every_position_checked, check_every_problem_listed
from dynaclr_strategies.invariants.registry_runs import AnyRegistry, MakeRegistry, check_experiments, value_of
from dynaclr_strategies.oracles.registry import RegistryOracle, frames_in_range
from dynaclr_strategies.writers import write_registry

__all__ = [
    "check_channels_by_position",
    "check_every_position_checked",
    "check_every_problem_listed",
    "check_positions_of_labelled_wells",
    "check_registry_accepted",
    "check_registry_subset",
    "check_registry_yaml_round_trip",
    "check_source_channel_count",
    "check_tau_frames_exact",
    "check_tau_zero_only_when_asked",
]


@invariant("registry-accepted", subject="registry")
def check_registry_accepted(make: MakeRegistry, case: RegistryCase, root: Path) -> None:
    """A valid registry is accepted, and has the experiments of its file, in its order, with the fields of its file."""
    law, oracle = "registry-accepted", RegistryOracle(case)
    yaml = write_registry(case.registry, root)
    try:
        registry = make(yaml, case)
    except Exception as error:
        seen = f"refused with {type(error).__name__}: {error}"
        raise InvariantViolation("a valid registry", seen, "accepted", law) from error
    check_experiments(registry, oracle, oracle.names, root, "the registry", law)


@invariant("positions-of-labelled-wells", subject="registry")
def check_positions_of_labelled_wells(make: MakeRegistry, case: RegistryCase, root: Path) -> None:
    """An experiment has the FOVs of the wells that a condition names, in the order of the plate, and no others."""
    law, oracle = "positions-of-labelled-wells", RegistryOracle(case)
    registry = make(write_registry(case.registry, root), case)
    for experiment in case.registry.experiments:
        positions, expected = registry.positions(experiment.name), oracle.positions(experiment)
        where = f"experiment {experiment.name!r}"
        if list(positions) != list(expected):
            raise InvariantViolation(where, f"positions {list(positions)}", f"{list(expected)}", law)
        for name, shape in expected.items():
            well = name.rpartition("/")[0]
            facts = {
                "shape": (tuple(positions[name].shape), shape),
                "channel_names": (value_of(positions[name].channel_names), list(experiment.channel_names)),
                "condition": (registry.condition_of(experiment.name, well), experiment.condition_of(well)),
            }
            for fact, (seen, wanted) in facts.items():
                if seen != wanted:
                    raise InvariantViolation(f"{fact} of {name} in {where}", f"{seen!r}", f"{wanted!r}", law)


@invariant("channels-by-position", subject="registry")
def check_channels_by_position(make: MakeRegistry, case: RegistryCase, root: Path) -> None:
    """Source position i leads to the place that the i-th source channel has in the store, whatever it is called."""
    law, oracle = "channels-by-position", RegistryOracle(case)
    registry = make(write_registry(case.registry, root), case)
    for experiment in case.registry.experiments:
        seen, expected = dict(registry.channel_maps[experiment.name]), oracle.channel_map(experiment)
        if seen != expected:
            where = f"channel map of experiment {experiment.name!r}"
            told = f"{expected} (sources {list(experiment.source_channel)} of {list(experiment.channel_names)})"
            raise InvariantViolation(where, f"{seen}", told, law)


@invariant("source-channel-count", subject="registry")
def check_source_channel_count(make: MakeRegistry, case: RegistryCase, root: Path) -> None:
    """The encoder sees as many channels as every experiment has source channels."""
    registry = make(write_registry(case.registry, root), case)
    for experiment in case.registry.experiments:
        seen, expected = registry.num_source_channels, len(experiment.source_channel)
        if seen != expected:
            where = f"num_source_channels beside experiment {experiment.name!r}"
            raise InvariantViolation(where, f"{seen}", f"{expected}", "source-channel-count")


@invariant("registry-subset", subject="registry")
def check_registry_subset(make: MakeRegistry, case: RegistryCase, root: Path) -> None:
    """A subset has the experiments that are asked for as they are, in the order of the registry, whatever was asked."""
    law, oracle = "registry-subset", RegistryOracle(case)
    whole = make(write_registry(case.registry, root), case)
    for size in range(1, len(oracle.names) + 1):
        for asked in itertools.permutations(oracle.names, size):
            part, where = whole.subset(list(asked)), f"the subset {list(asked)}"
            check_experiments(part, oracle, [name for name in oracle.names if name in asked], root, where, law)
            for name in asked:
                for fact, ours, theirs in _facts(part, whole, name):
                    if ours != theirs:
                        place = f"{fact} of experiment {name!r} in {where}"
                        raise InvariantViolation(place, f"{ours}", f"{theirs}, as in the whole registry", law)


def _facts(part: AnyRegistry, whole: AnyRegistry, name: str) -> Iterator[tuple[str, object, object]]:
    shapes = [{key: tuple(one.shape) for key, one in registry.positions(name).items()} for registry in (part, whole)]
    yield "positions", shapes[0], shapes[1]
    yield "channel map", dict(part.channel_maps[name]), dict(whole.channel_maps[name])


@invariant("registry-yaml-round-trip", subject="registry")
def check_registry_yaml_round_trip(make: MakeRegistry, case: RegistryCase, root: Path) -> None:
    """What ``to_yaml`` writes reads back as the same experiments, from any folder and after a move with the stores."""
    law, oracle, data = "registry-yaml-round-trip", RegistryOracle(case), root / "data"
    registry = make(write_registry(case.registry, data), case)
    for folder in (data, data / "deep", root, root / "elsewhere"):
        folder.mkdir(exist_ok=True)
        path = folder / "again.yml"
        registry.to_yaml(path)
        where = f"what was written to {path.relative_to(root)}"
        check_experiments(_read_back(make, path, case, where, law), oracle, oracle.names, data, where, law)
    moved = root / "moved"
    shutil.move(data, moved)
    where = "what was moved together with its stores"
    again = _read_back(make, moved / "again.yml", case, where, law)
    check_experiments(again, oracle, oracle.names, moved, where, law)


def _read_back(make: MakeRegistry, path: Path, case: RegistryCase, where: str, law: str) -> AnyRegistry:
    try:
        return make(path, case)
    except Exception as error:
        raise InvariantViolation(where, f"refused with {type(error).__name__}: {error}", "accepted", law) from error


# --- tau --------------------------------------------------------------------------------------------------------------

RANGES = ((0.0, 0.0), (0.5, 2.0), (0.0, 0.5), (0.0, 0.25), (0.3, 0.3), (0.7, 0.7), (1.0, 1.25), (0.35, 0.9), (2.0, 3.0))
"""Ranges of hours that every registry is asked about, besides the one of the case."""


def _frames(registry: AnyRegistry, name: str, hours: tuple[float, float]) -> tuple[tuple[int, int] | None, str]:
    """Return what a registry makes of a range of hours, and its error where it makes nothing of it."""
    try:
        first, last = registry.tau_range_frames(name, hours)
    except Exception as error:  # noqa: BLE001 - what it says is what the law asks
        return None, str(error)
    return (first, last), ""


@invariant("tau-frames-exact", subject="registry")
def check_tau_frames_exact(make: MakeRegistry, case: RegistryCase, root: Path) -> None:
    """A range of hours is the first and the last frame inside it, counted exactly, or an error that names them."""
    law = "tau-frames-exact"
    registry = make(write_registry(case.registry, root), case)
    for experiment in case.registry.experiments:
        for hours in (case.tau_range_hours, *RANGES):
            seen, problem = _frames(registry, experiment.name, hours)
            expected = frames_in_range(experiment.interval_minutes, hours)
            where = f"{hours} hours at {experiment.interval_minutes} minutes in experiment {experiment.name!r}"
            if seen != expected:
                needed = f"frames {expected}" if expected else "an error, since no whole number of frames lies in it"
                raise InvariantViolation(where, f"frames {seen}" if seen else f"error {problem!r}", needed, law)
            missing = [text for text in (experiment.name, str(experiment.interval_minutes)) if text not in problem]
            if expected is None and missing:
                needed = f"one that names {' and '.join(missing)} too"
                raise InvariantViolation(where, f"error {problem!r}", needed, law)


@invariant("tau-zero-only-when-asked", subject="registry")
def check_tau_zero_only_when_asked(make: MakeRegistry, case: RegistryCase, root: Path) -> None:
    """Tau 0 comes of the range (0, 0) and of no other, which always means at least one frame."""
    law = "tau-zero-only-when-asked"
    registry = make(write_registry(case.registry, root), case)
    for experiment in case.registry.experiments:
        for hours in (case.tau_range_hours, (0.0, 0.0), (0.0, experiment.interval_minutes / 120), *RANGES):
            seen, _ = _frames(registry, experiment.name, hours)
            is_zero = seen is not None and 0 in seen
            if is_zero != (hours == (0.0, 0.0)) or (is_zero and seen != (0, 0)):
                where = f"{hours} hours at {experiment.interval_minutes} minutes in experiment {experiment.name!r}"
                needed = "(0, 0)" if hours == (0.0, 0.0) else "at least 1 each"
                raise InvariantViolation(where, f"frames {seen}", needed, law)
