"""Faults of the entries of a registry's YAML file, and of what is asked of a registry."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import yaml

from dynaclr_strategies.cases import IndexCase
from dynaclr_strategies.codec import yaml_text
from dynaclr_strategies.fault_descriptions import Expected, Given, Needs, fault

__all__ = ["entries_of", "experiment_numbers", "write_entries"]

NAN, INF = math.nan, math.inf
Entry = dict[str, Any]


def entries_of(given: Given) -> list[Entry]:
    """Return the entries of the registry's file."""
    if given.yaml is None:
        raise ValueError("there is no registry to read")
    entries: list[Entry] = yaml.safe_load(given.yaml.read_text(encoding="utf-8"))["experiments"]
    return entries


def write_entries(given: Given, entries: list[Entry]) -> None:
    """Write the entries as the registry's file."""
    if given.yaml is None:
        raise ValueError("there is no registry to write")
    given.yaml.write_text(yaml_text({"experiments": entries}), encoding="utf-8")


def experiment_numbers(case: IndexCase) -> range:
    """Return the numbers of the experiments: each of them can be broken."""
    return range(len(case.registry.experiments))


def _entry_fault(
    name: str, promise: str, *, values: tuple[Any, ...] = (None,), needs: Needs = "experiments"
) -> Callable[[Callable[[Entry, Any], tuple[str, ...]]], None]:
    """List a fault of one entry: the decorated function breaks the entry and returns texts that must be told.

    The experiment's name is one of them, unless that is what is broken.
    """

    def enlist(break_entry: Callable[[Entry, Any], tuple[str, ...]]) -> None:
        @fault(name, "registry", promise, needs=needs, places=experiment_numbers, values=values)
        def _(given: Given, case: IndexCase, number: int, value: Any) -> Expected:
            entries = entries_of(given)
            texts = break_entry(entries[number], value)
            write_entries(given, entries)
            was = case.registry.experiments[number].name
            label = repr(was) if entries[number].get("name") == was else f"number {number + 1}"
            return [(label, *texts)]

    return enlist


# --- names ------------------------------------------------------------------------------------------------------------


@fault("registry-empty", "registry", "empty list", needs="experiments")
def _(given: Given, _: IndexCase, __: None, ___: None) -> Expected:
    write_entries(given, [])
    return [("experiments", "empty")]


@fault("name-twice", "registry", "duplicate or empty names", needs="several experiments")
def _(given: Given, _: IndexCase, __: None, ___: None) -> Expected:
    entries = entries_of(given)
    entries[1]["name"] = entries[0]["name"]
    write_entries(given, entries)
    return [("name", repr(entries[0]["name"]), "unique")]


@_entry_fault("name-empty", "duplicate or empty names", values=("", "  "))
def _(entry: Entry, value: str) -> tuple[str, ...]:
    entry["name"] = value
    return "name", repr(value), "empty"


@_entry_fault(
    "name-no-text",
    "YAML's traps are caught in words: [...] a name `2024` that became a number",
    values=(2024, False, None),
)
def _(entry: Entry, value: Any) -> tuple[str, ...]:
    entry["name"] = value
    return "name", repr(value), "text", "YAML"


# --- channels ---------------------------------------------------------------------------------------------------------


@_entry_fault("source-channel-unknown", "a `source_channel` that the store lacks")
def _(entry: Entry, _: None) -> tuple[str, ...]:
    entry["source_channel"][-1] = "no such channel"
    return "source_channel", "'no such channel'", *map(repr, entry["channel_names"])


@_entry_fault("source-channel-twice", "a `source_channel` that the store lacks, or twice", needs="two channels")
def _(entry: Entry, _: None) -> tuple[str, ...]:
    entry["source_channel"][-1] = entry["source_channel"][0]
    return "source_channel", repr(entry["source_channel"][0]), "2 times"


@fault(
    "source-channel-counts-differ",
    "registry",
    "different numbers of source channels between experiments",
    needs="two channels",
    places=experiment_numbers,
)
def _(given: Given, _: IndexCase, number: int, __: None) -> Expected:
    entries = entries_of(given)
    del entries[number]["source_channel"][-1]
    write_entries(given, entries)
    counts = [f"{e['name']!r} {len(e['source_channel'])}" for e in entries]
    return [("source_channel", "same number", *counts)]


@_entry_fault("source-channel-one-text", "YAML's traps are caught in words")
def _(entry: Entry, _: None) -> tuple[str, ...]:
    entry["source_channel"] = entry["source_channel"][0]
    return "source_channel", repr(entry["source_channel"]), "list"


# --- numbers ----------------------------------------------------------------------------------------------------------


@_entry_fault("interval-not-positive", "interval not positive and finite", values=(0, -30.0))
def _(entry: Entry, value: float) -> tuple[str, ...]:
    entry["interval_minutes"] = value
    return "interval_minutes", repr(float(value)), "positive"


@_entry_fault("interval-not-finite", "interval not positive and finite", values=(INF, NAN, "fast", True, None))
def _(entry: Entry, value: Any) -> tuple[str, ...]:
    entry["interval_minutes"] = value
    return "interval_minutes", repr(value), "finite"


@_entry_fault("start-hpi-not-finite", "`start_hpi` not finite", values=(NAN, INF, -INF, "early", False, None))
def _(entry: Entry, value: Any) -> tuple[str, ...]:
    entry["start_hpi"] = value
    return "start_hpi", repr(value), "finite"


# --- wells ------------------------------------------------------------------------------------------------------------


@_entry_fault("condition-wells-empty", "empty `condition_wells`")
def _(entry: Entry, _: None) -> tuple[str, ...]:
    entry["condition_wells"] = {}
    return "condition_wells", "{}", "at least one"


@_entry_fault("condition-without-well", "empty `condition_wells`")
def _(entry: Entry, _: None) -> tuple[str, ...]:
    entry["condition_wells"]["~ new"] = []
    return "condition_wells", "'~ new'", "empty", "at least one"


@_entry_fault("well-twice", "a well named twice", values=("same label", "other label"))
def _(entry: Entry, value: str) -> tuple[str, ...]:
    label, wells = next(iter(entry["condition_wells"].items()))
    well = wells[0]
    if value == "same label":
        wells.append(well)
        return "condition_wells", repr(well), "2 times", repr(label)
    entry["condition_wells"]["~ new"] = [well]
    return "condition_wells", repr(well), "2 times", repr(label), "'~ new'"


@_entry_fault("well-not-on-plate", "a well named twice or absent from the plate", values=("Z/9", "A1", "a/1"))
def _(entry: Entry, well: str) -> tuple[str, ...]:
    label, wells = next(iter(entry["condition_wells"].items()))
    others = [one for named in entry["condition_wells"].values() for one in named]
    wells.append(well)
    return "condition_wells", repr(well), repr(label), *map(repr, others)


@_entry_fault("label-no-text", "a label `no` that became `False`", values=(False, True, 2024, None))
def _(entry: Entry, label: Any) -> tuple[str, ...]:
    wells = entry["condition_wells"]
    wells[label] = wells.pop(next(iter(wells)))
    return "condition_wells", repr(label), "text", "YAML"


@_entry_fault("wells-one-text", "a well list given as one string")
def _(entry: Entry, _: None) -> tuple[str, ...]:
    label, wells = next(iter(entry["condition_wells"].items()))
    entry["condition_wells"][label] = wells[0]
    return "condition_wells", repr(label), repr(wells[0]), "list"


# --- keys -------------------------------------------------------------------------------------------------------------

TYPOS = {
    "name": "names",
    "data_path": "data_paht",
    "tracks_path": "track_path",
    "channel_names": "chanel_names",
    "source_channel": "source_channels",
    "condition_wells": "conditions_wells",
    "interval_minutes": "interval_minute",
    "start_hpi": "start_hpy",
}


@_entry_fault("key-unknown", "unknown keys are errors that suggest the nearest known one", values=tuple(TYPOS))
def _(entry: Entry, key: str) -> tuple[str, ...]:
    # Beside the right key, so that nothing is missing.
    entry[TYPOS[key]] = entry[key]
    return repr(TYPOS[key]), "unknown", repr(key)


@_entry_fault(
    "key-missing",
    "one error that lists *every* problem of *every* experiment, each naming experiment, field",
    values=("data_path", "tracks_path", "channel_names", "source_channel", "condition_wells"),
)
def _(entry: Entry, key: str) -> tuple[str, ...]:
    del entry[key]
    return key, "missing"


@fault(
    "top-level-key-unknown",
    "registry",
    "top-level key `experiments` [...] unknown keys are errors that suggest the nearest known one",
    needs="experiments",
    values=("experiment", "Experiments"),
)
def _(given: Given, _: IndexCase, __: None, key: str) -> Expected:
    text = yaml_text({key: entries_of(given)})
    if given.yaml is not None:
        given.yaml.write_text(text, encoding="utf-8")
    return [("experiments.yml", repr(key), "'experiments'")]


# --- what is asked ----------------------------------------------------------------------------------------------------


@fault(
    "experiment-unknown",
    "experiment",
    "`.get_experiment(name)` (`KeyError` that lists the names)",
    needs="experiments",
    values=("nobody", "EXP_A", ""),
    error=KeyError,
)
def _(given: Given, case: IndexCase, _: None, name: str) -> Expected:
    given.arguments["name"] = name
    return [(repr(name), *(repr(experiment.name) for experiment in case.registry.experiments))]


@fault(
    "tau-range-without-frame",
    "experiment",
    "an interval that leaves none is an error that names the experiment, its interval and the range",
    needs="experiments",
    places=experiment_numbers,
    # The second is what Python's `round` would take for a frame.
    values=(0.25, 0.75),
)
def _(given: Given, case: IndexCase, number: int, frames: float) -> Expected:
    experiment = case.registry.experiments[number]
    hours = (0.0, frames * experiment.interval_minutes / 60)
    given.arguments |= {"name": experiment.name, "tau_range_hours": hours}
    return [(repr(experiment.name), repr(experiment.interval_minutes), repr(hours[1]))]


@fault(
    "config-made-in-python",
    "config",
    "Validation fails fast [...] each naming experiment, field, what was found",
    needs="experiments",
    places=experiment_numbers,
    values=("interval_minutes", "start_hpi", "condition_wells"),
)
def _(given: Given, case: IndexCase, number: int, field: str) -> Expected:
    experiment = case.registry.experiments[number]
    given.arguments |= {"number": number, field: {} if field == "condition_wells" else NAN}
    return [(repr(experiment.name), field, repr(given.arguments[field]))]
