"""Faults of what an index and a dataset are asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from dynaclr_strategies.cases import IndexCase
from dynaclr_strategies.descriptions import FovDescription
from dynaclr_strategies.fault_arms.stores import FovPlace, labelled_fovs, store_folder
from dynaclr_strategies.fault_arms.tracks import tracked_fovs
from dynaclr_strategies.fault_descriptions import Expected, Given, fault

__all__: list[str] = []

SELECTORS = ("Z/9", "A/1/99", "no such experiment:A/1")


def _enlist_selector_fault(parameter: str) -> None:
    """List the faults that the two ways to select FOVs have in common."""

    @fault(
        f"{parameter}-matches-nothing",
        "index",
        "an entry that matches nothing is an error",
        needs="experiments",
        values=SELECTORS,
    )
    def _(given: Given, case: IndexCase, _: None, entry: str) -> Expected:
        known = [well.name for experiment in case.registry.experiments for well in experiment.wells[:1]]
        given.arguments[parameter] = [*(known if parameter == "include_wells" else ()), entry]
        return [(parameter, repr(entry), "matches no")]

    @fault(
        f"{parameter}-leaves-nothing",
        "index",
        "an experiment left with no rows at all is an error",
        needs="experiments",
        places=lambda case: range(len(case.registry.experiments)),
    )
    def _(given: Given, case: IndexCase, number: int, _: None) -> Expected:
        name = case.registry.experiments[number].name
        if parameter == "include_wells":
            given.arguments[parameter] = []
            name = case.registry.experiments[0].name
        else:
            wells = [well.name for well in case.registry.experiments[number].wells]
            labelled = [well for well in wells if case.registry.experiments[number].condition_of(well)]
            given.arguments[parameter] = [f"{name}:{well}" for well in labelled]
        return [(parameter, repr(given.arguments[parameter]), repr(name))]


_enlist_selector_fault("include_wells")
_enlist_selector_fault("exclude_fovs")


@fault(
    "image-smaller-than-patch",
    "index",
    "An image smaller than the patch [...] is an error that names FOV and sizes",
    needs="experiments",
    places=tracked_fovs,
    values=("height", "width"),
)
def _(given: Given, case: IndexCase, place: FovPlace, side: str) -> Expected:
    experiment = case.registry.experiments[place[0]]
    fov = experiment.fov(place[1])
    height, width = case.yx_patch_size
    size = (fov.y + 1, width) if side == "height" else (height, fov.x + 1)
    given.arguments["yx_patch_size"] = size
    name, small = _first_fov(case, lambda fov: fov.y < size[0] or fov.x < size[1])
    return [("yx_patch_size", repr(size), name, str(small.y), str(small.x))]


def _first_fov(case: IndexCase, is_wrong: Callable[[FovDescription], bool]) -> tuple[str, FovDescription]:
    """Return the first FOV in use that is wrong, with its name: of several, errors name this one."""
    for number, name in labelled_fovs(case.registry):
        experiment = case.registry.experiments[number]
        if experiment.fov(name).has_csv and is_wrong(experiment.fov(name)):
            return f"{experiment.name}:{name}", experiment.fov(name)
    raise ValueError("every field of view is as it should be")


@fault(
    "planes-outside-stack",
    "index",
    "a `z_range` outside the stack, is an error that names FOV and sizes",
    needs="experiments",
    values=(1, 10),
)
def _(given: Given, case: IndexCase, _: None, beyond: int) -> Expected:
    stop = beyond + max(fov.z for experiment in case.registry.experiments for _, fov in experiment.fovs())
    given.arguments["z_range"] = slice(case.z_range[0], stop)
    name, shallow = _first_fov(case, lambda fov: fov.z < stop)
    return [("z_range", str(stop), name, f"of {shallow.z} plane")]


@fault(
    "planes-no-range",
    "index",
    "a `z_range` outside the stack, is an error",
    needs="experiments",
    values=((1, 1), (-1, 1), (None, None), (0.0, 1.0)),
)
def _(given: Given, _: IndexCase, __: None, bounds: tuple[Any, Any]) -> Expected:
    given.arguments["z_range"] = slice(*bounds)
    return [("z_range", repr(slice(*bounds)))]


@fault(
    "patch-size-no-pair",
    "index",
    "odd and even patch sizes give exactly the size asked for",
    needs="experiments",
    values=(8, (8,), (0, 8), (8.0, 8.0), (True, 8)),
)
def _(given: Given, _: IndexCase, __: None, size: Any) -> Expected:
    given.arguments["yx_patch_size"] = size
    return [("yx_patch_size", repr(size), "two whole numbers")]


@fault(
    "tau-range-is-another-than-the-index-has",
    "dataset",
    "An anchor and the positives offered for it come from one tau range: index and dataset cannot disagree",
    needs="experiments",
    values=(0.25, 1.0),
)
def _(given: Given, case: IndexCase, _: None, hours: float) -> Expected:
    own = case.tau_range_hours
    other = (own[0], own[1] + hours)
    given.arguments["dataset"] = {"tau_range_hours": other}
    return [("tau_range_hours", repr(other), repr(own))]


@fault(
    "image-shrinks-after-indexing",
    "batch",
    "A window that is not wholly inside the array is an error, never zeros",
    needs="experiments",
    places=tracked_fovs,
    values=("y", "x"),
)
def _(given: Given, case: IndexCase, place: FovPlace, side: str) -> Expected:
    experiment = case.registry.experiments[place[0]]
    array = store_folder(given, case.registry, place[0]) / place[1] / "0"
    path = array / (".zarray" if experiment.ome_version == "0.4" else "zarr.json")

    def shrink() -> None:
        metadata = json.loads(path.read_text(encoding="utf-8"))
        # The smallest patch is a pixel: of an image of no pixels not even that is inside.
        metadata["shape"][{"y": 3, "x": 4}[side]] = 0
        path.write_text(json.dumps(metadata), encoding="utf-8")

    given.late = shrink
    given.arguments["of"] = (experiment.name, place[1])
    return [(repr(experiment.name), place[1])]
