"""What a registry must find: other channels in any position, and every problem of every experiment at once."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from dynaclr_strategies.cases import RegistryCase
from dynaclr_strategies.descriptions import RegistryDescription
from dynaclr_strategies.fault_arms.registry import entries_of, write_entries
from dynaclr_strategies.fault_arms.stores import FovPlace, edit_attributes, labelled_fovs, users_of
from dynaclr_strategies.fault_descriptions import Given
from dynaclr_strategies.invariants.base import InvariantViolation, invariant
from dynaclr_strategies.invariants.registry_runs import MakeRegistry, refusal
from dynaclr_strategies.writers import write_registry

__all__ = ["check_every_position_checked", "check_every_problem_listed"]

Channels = list[dict[str, Any]]


# --- positions --------------------------------------------------------------------------------------------------------


def _renamed(channels: Channels) -> Channels:
    return [*channels[:-1], {**channels[-1], "label": "~ another"}]


def _swapped(channels: Channels) -> Channels:
    return [*channels[1:], channels[0]]


def _change_channels(
    yaml: Path, registry: RegistryDescription, place: FovPlace, change: Callable[[Channels], Channels]
) -> tuple[Path, str]:
    """Change the channel names of one position; return the file and what was in it before."""
    path, content, attributes = edit_attributes(Given({}, yaml=yaml), registry, place)
    before = path.read_text(encoding="utf-8")
    omero = attributes.get("ome", attributes)["omero"]
    omero["channels"] = change(omero["channels"])
    path.write_text(json.dumps(content), encoding="utf-8")
    return path, before


@invariant("every-position-checked", subject="registry")
def check_every_position_checked(make: MakeRegistry, case: RegistryCase, root: Path) -> None:
    """Other channel names, or another order, in any one position are refused by name of experiment and position."""
    law = "every-position-checked"
    yaml = write_registry(case.registry, root)
    for number, fov_name in labelled_fovs(case.registry):
        names = case.registry.experiments[number].channel_names
        for change in (_renamed, _swapped)[: len(names)]:
            path, before = _change_channels(yaml, case.registry, (number, fov_name), change)
            text = refusal(make, yaml, case)
            path.write_text(before, encoding="utf-8")
            what = f"channel {names[-1]!r} renamed" if change is _renamed else "channels in another order"
            where = f"a registry with {what} in position {fov_name} of {case.registry.experiments[number].name!r}"
            for user in users_of(case.registry, number):
                needed = f"refused with an error that names {user.name!r} and {fov_name}"
                if text is None:
                    raise InvariantViolation(where, "accepted", needed, law)
                if not any(user.name in line and _names_position(line, fov_name) for line in text.splitlines()):
                    raise InvariantViolation(where, f"error {text!r}", needed, law)


def _names_position(line: str, fov_name: str) -> bool:
    """Tell whether a line names a position, and not only a path that ends like it or another that begins like it."""
    return re.search(rf"(?<![\w/]){re.escape(fov_name)}(?![\w/])", line) is not None


# --- problems ---------------------------------------------------------------------------------------------------------

Entry = dict[str, Any]
Problem = tuple[str, ...]
"""Texts that one line of the error must have."""


def _break_entry(entry: Entry) -> Iterator[Problem]:
    """Break what can be broken in an entry without one problem hiding another."""
    entry["interval_minutes"] = -30.0
    yield "interval_minutes", "-30.0"
    entry["start_hpi"] = "early"
    yield "start_hpi", "'early'"
    entry["source_channel"][-1] = "no such channel"
    yield "source_channel", "'no such channel'"
    next(iter(entry["condition_wells"].values())).append("Z/9")
    yield "condition_wells", "'Z/9'"
    entry["tracks_path"] = "nowhere"
    yield "tracks_path", "nowhere"


def _break(yaml: Path, registry: RegistryDescription, numbers: Iterable[int]) -> Iterator[tuple[str, Problem]]:
    """Break some experiments, file and store; yield the names of experiments and their problems."""
    given = Given({}, yaml=yaml)
    entries = entries_of(given)
    stores = set()
    for number in numbers:
        name = registry.experiments[number].name
        yield from ((name, problem) for problem in _break_entry(entries[number]))
        if registry.store_of(name) not in stores:
            stores.add(registry.store_of(name))
            fov_name = [fov for owner, fov in labelled_fovs(registry) if owner == number][-1]
            _change_channels(yaml, registry, (number, fov_name), _renamed)
            yield from ((user.name, ("channel_names", fov_name)) for user in users_of(registry, number))
    write_entries(given, entries)


@invariant("every-problem-listed", subject="registry")
def check_every_problem_listed(make: MakeRegistry, case: RegistryCase, root: Path) -> None:
    """One error lists every problem of every experiment, a line each, and blames no experiment that has none."""
    law, registry = "every-problem-listed", case.registry
    everybody = range(len(registry.experiments))
    selections = [everybody, *([[number] for number in everybody] if len(everybody) > 1 else [])]
    for count, numbers in enumerate(selections):
        yaml = write_registry(registry, root / str(count))
        problems = list(_break(yaml, registry, numbers))
        where = f"a registry with {len(problems)} problems in {sorted({name for name, _ in problems})}"
        text = refusal(make, yaml, case)
        if text is None:
            raise InvariantViolation(where, "accepted", "refused", law)
        lines = text.splitlines()
        for name, problem in problems:
            if not any(all(part in line for part in (repr(name), *problem)) for line in lines):
                needed = f"one with a line that names {name!r}, {', '.join(problem)}"
                raise InvariantViolation(where, f"error {text!r}", needed, law)
        for experiment in registry.experiments:
            blamed = any(repr(experiment.name) in line for line in lines)
            if blamed and experiment.name not in {name for name, _ in problems}:
                raise InvariantViolation(where, f"error {text!r}", f"none about {experiment.name!r}", law)
