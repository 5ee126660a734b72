# ruff: noqa: D401 - the docstring of a check states a law, it does not command
"""Laws about what a crop shows: every voxel, its type, and nothing where there is no image."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dynaclr_strategies.cases import DatasetCase
from dynaclr_strategies.descriptions import ExperimentDescription, RegistryDescription
from dynaclr_strategies.invariants.base import InvariantViolation, invariant
from dynaclr_strategies.invariants.dataset_runs import MakeDataset, Run, is_fit, started
from dynaclr_strategies.invariants.evidence import PatchEvidence
from dynaclr_strategies.oracles.dataset import DatasetOracle, Observation
from dynaclr_strategies.pixels import what_was_read
from dynaclr_strategies.writers import write_registry

__all__ = [
    "check_anchor_pixels",
    "check_float32_batches",
    "check_positive_pixels",
    "check_window_outside_is_an_error",
]


def _check_patch(oracle: DatasetOracle, seen: npt.NDArray[Any], shown: Observation, where: str, law: str) -> None:
    """Compare a patch with the crop of an observation, and say from where the first wrong channel is."""
    expected, what = oracle.patch(shown), law.partition("-")[0]
    if np.array_equal(seen, expected):
        return
    evidence = PatchEvidence(seen, expected, oracle.channels(shown.experiment))
    if seen.shape != expected.shape:
        problem = f"the {what}'s shape is {seen.shape}"
        raise InvariantViolation(where, problem, str(expected.shape), law, evidence=evidence)
    wrong = next(c for c in range(len(seen)) if not np.array_equal(seen[c], expected[c]))
    reading = what_was_read(oracle.registry, seen[wrong : wrong + 1])[0]
    problem = f"channel {wrong} of the {what} is {reading or 'from nowhere in these stores'}"
    raise InvariantViolation(where, problem, str(oracle.reading(shown, wrong)), law, evidence=evidence)


def _check_patches(run: Run, key: str) -> None:
    run.dataset.epoch = run.case.epoch
    for indices in run.batches:
        patches = np.asarray(run.dataset.__getitems__(indices)[key])
        shown = [run.anchors[index] for index in indices]
        if key == "positive":
            shown = [run.rows[row] for row in run.positives(indices, run.case.epoch)]
        for number, (index, one) in enumerate(zip(indices, shown, strict=True)):
            where = f"row {number} of batch {indices}, anchor {index} ({run.anchors[index]})"
            _check_patch(run.oracle, patches[number], one, where, f"{key}-pixels")


@invariant("anchor-pixels", subject="dataset")
def check_anchor_pixels(make: MakeDataset, case: DatasetCase, root: Path) -> None:
    """Every voxel of an anchor's patch is that of its own store, FOV and frame, channel by channel in source order."""
    _check_patches(started(make, case, root), "anchor")


@invariant("positive-pixels", subject="dataset", when="fit", applies=is_fit)
def check_positive_pixels(make: MakeDataset, case: DatasetCase, root: Path) -> None:
    """Every voxel of a positive's patch is that of the observation that ``positives`` names for the same batch."""
    _check_patches(started(make, case, root), "positive")


@invariant("float32-batches", subject="dataset")
def check_float32_batches(make: MakeDataset, case: DatasetCase, root: Path) -> None:
    """A batch of B holds float32 arrays (B, C, Z, Y, X) and B entries of all else, whatever type the store has."""
    run = started(make, case, root)
    patches = ("anchor", "positive") if case.fit else ("anchor",)
    others = (*(f"{name}_norm_meta" for name in patches), "lineage", *(() if case.fit else ("index",)))
    for indices in run.batches:
        batch, where = run.dataset.__getitems__(indices), f"batch {indices}"
        if set(batch) != {*patches, *others}:
            raise InvariantViolation(
                where, f"keys {sorted(batch)}", str(sorted((*patches, *others))), "float32-batches"
            )
        for name in patches:
            array = np.asarray(batch[name])
            shape = (len(indices), *run.oracle.shape())
            if array.dtype != np.float32 or array.shape != shape:
                seen = f"{name} of {array.dtype} {array.shape}"
                raise InvariantViolation(where, seen, f"float32 {shape}", "float32-batches")
        for name in others:
            if len(batch[name]) != len(indices):
                seen = f"{len(batch[name])} entries of {name}"
                raise InvariantViolation(where, seen, str(len(indices)), "float32-batches")


# --- beyond the image -------------------------------------------------------------------------------------------------


def _without_last_row(description: RegistryDescription) -> RegistryDescription:
    """Return the registry with images that are one row of pixels lower."""

    def lower(experiment: ExperimentDescription) -> ExperimentDescription:
        wells = tuple(
            replace(well, fovs=tuple(replace(fov, y=fov.y - 1) for fov in well.fovs)) for well in experiment.wells
        )
        return replace(experiment, wells=wells)

    return RegistryDescription(experiments=tuple(lower(experiment) for experiment in description.experiments))


def _can_lose_a_row(case: DatasetCase) -> bool:
    return all(fov.y > 1 for experiment in case.index.registry.experiments for _, fov in experiment.fovs())


@invariant("window-outside-is-an-error", subject="dataset", when="images of two rows or more", applies=_can_lose_a_row)
def check_window_outside_is_an_error(make: MakeDataset, case: DatasetCase, root: Path) -> None:
    """A window that is not wholly inside its image, here because the image was cut after indexing, is an error."""
    run = started(make, replace(case, fit=False), root)
    registry = case.index.registry
    outside, came_back = [], []
    for index, shown in enumerate(run.anchors):
        extent = registry.experiment(shown.experiment).fov(shown.fov_name).y
        if run.oracle.window(shown)[1].stop == extent:
            outside.append(index)
    for store in root.glob("*.zarr"):
        shutil.rmtree(store)
    write_registry(_without_last_row(registry), root)
    for index in outside[:8]:
        # Which error it is, is the business of other tests.
        with suppress(Exception):
            patch = np.asarray(run.dataset.__getitems__([index])["anchor"])[0]
            came_back.append((index, patch))
    if came_back:
        index, patch = came_back[0]
        shown = run.anchors[index]
        raise InvariantViolation(
            f"row {index} ({shown}), whose window ends one row below its image",
            f"a patch came back whose last row of pixels begins with {patch[..., -1, :].ravel()[:3].tolist()}",
            "an error",
            "window-outside-is-an-error",
            evidence=PatchEvidence(patch, run.oracle.patch(shown), run.oracle.channels(shown.experiment)),
        )
