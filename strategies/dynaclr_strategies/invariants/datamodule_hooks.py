# ruff: noqa: D401 - the docstring of a check states a law, it does not command
"""The promises of what happens to a batch between loader and model, while a real trainer runs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dynaclr_strategies.cases import DataModuleCase
from dynaclr_strategies.invariants.base import InvariantViolation, invariant
from dynaclr_strategies.invariants.datamodule_loaders import has_validation
from dynaclr_strategies.invariants.datamodule_runs import VIEWS, Step, centre, check_same_crops, set_up, watched
from dynaclr_strategies.invariants.evidence import PatchEvidence
from dynaclr_strategies.invariants.sampler_runs import epoch_of
from dynaclr_strategies.oracles.sampler import CascadeOracle
from dynaclr_strategies.writers import write_registry

__all__ = [
    "check_another_seed_other_batches",
    "check_centre_crop",
    "check_dropout_only_in_training",
    "check_noise_drawn_anew",
    "check_noise_only_in_training",
    "check_same_seed_same_batches",
    "check_validation_repeats",
    "global_generators_at",
]

TELLING = 4
"""Voxels of noise that do not agree by chance: each does with a probability below 1e-5, and they are independent."""
ROUNDING = 2.0**-12
"""More than what noise is off by that was added to a pixel in float32."""
EPOCHS = 64
"""Epochs in which two samplers cannot agree by chance, see `CascadeOracle.must_vary`."""


def _steps(make: Any, case: DataModuleCase, root: Path, **options: Any) -> list[Step]:
    """Return what the model saw in an epoch, with a sanity check where there is a validation."""
    datamodule = make(write_registry(case.index.registry, root), case)
    return watched(datamodule, **{"max_epochs": 1, "num_sanity_val_steps": 1, **options})


def _dropped(crops: Any) -> npt.NDArray[np.bool_]:
    """Tell which channels of which samples hold nothing but zeros: a crop has two pixels at least, never all zero."""
    return np.asarray(~(crops != 0).any(axis=(2, 3, 4)))


# --- training only ----------------------------------------------------------------------------------------------------


@invariant("dropout-only-in-training", subject="datamodule")
def check_dropout_only_in_training(make: Any, case: DataModuleCase, root: Path) -> None:
    """Training drops listed channels only, all of them at 1 and none at 0; validation and sanity check drop none."""
    listed, p = set(case.channel_dropout_channels), case.channel_dropout_prob
    for step in _steps(make, case, root):
        for view in VIEWS:
            for (sample, channel), zero in np.ndenumerate(_dropped(step.seen[view])):
                may = step.stage == "training" and channel in listed and p > 0
                must = may and p == 1
                if zero and not may:
                    raise _blame(step, view, sample, f"channel {channel} is zero", "pixels", case)
                if must and not zero:
                    raise _blame(step, view, sample, f"channel {channel} has pixels", "zero, as p=1", case)


def _blame(step: Step, view: str, sample: int, seen: str, expected: str, case: DataModuleCase) -> InvariantViolation:
    channels = case.index.registry.experiments[0].source_channel
    raw = centre(step.raw[view], case.final_yx_patch_size)[sample]
    evidence = PatchEvidence(step.seen[view][sample], raw, channels)
    law = "dropout-only-in-training"
    return InvariantViolation(f"{step}, {view} {sample}", seen, expected, law, evidence=evidence)


@invariant("noise-only-in-training", subject="datamodule", when="augmented", applies=lambda case: case.augmented)
def check_noise_only_in_training(make: Any, case: DataModuleCase, root: Path) -> None:
    """Augmentations change every crop of training and none of validation or its sanity check."""
    law, channels = "noise-only-in-training", case.index.registry.experiments[0].source_channel
    for step in _steps(make, case, root):
        for view in VIEWS:
            raw, seen = centre(step.raw[view], case.final_yx_patch_size), step.seen[view]
            changed = (raw != seen).any(axis=(2, 3, 4))
            kept = ~_dropped(seen)
            wrong = kept & ~changed if step.stage == "training" else kept & changed
            for sample, channel in np.argwhere(wrong):
                what = "as it was read" if step.stage == "training" else "changed"
                expected = "changed" if step.stage == "training" else "as it was read"
                where = f"{step}, {view} {sample}"
                evidence = PatchEvidence(seen[sample], raw[sample], channels)
                raise InvariantViolation(where, f"channel {channel} is {what}", expected, law, evidence=evidence)


@invariant("centre-crop", subject="datamodule")
def check_centre_crop(make: Any, case: DataModuleCase, root: Path) -> None:
    """The model sees the centre of each crop, in the final size, and where nothing is random as it was read."""
    for step in _steps(make, case, root):
        expected = {view: centre(step.raw[view], case.final_yx_patch_size) for view in VIEWS}
        seen = dict(step.seen)
        for view in VIEWS:
            if step.stage == "training" and seen[view].shape == expected[view].shape:
                random_there = _dropped(seen[view])[..., None, None, None] | case.augmented
                seen[view] = np.where(random_there, expected[view], seen[view])
        check_same_crops(f"{step}", seen, expected, case, "centre-crop", "the centre of its crop")


# --- again, and anew --------------------------------------------------------------------------------------------------


@contextmanager
def global_generators_at(seed: int) -> Iterator[None]:
    """Let the generators that anybody may draw from begin at a seed, and put them back afterwards."""
    import torch

    before, numpys = random.getstate(), np.random.get_state()  # noqa: NPY002 - it is the one that must not matter
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(before)
            np.random.set_state(numpys)  # noqa: NPY002


def _two_runs(make: Any, case: DataModuleCase, root: Path, **options: Any) -> list[list[Step]]:
    """Return two runs of two epochs, between which nothing is the same but the case."""
    runs = []
    for number in range(2):
        with global_generators_at(number):
            runs.append(_steps(make, case, root / str(number), max_epochs=2, **options))
    return runs


def _check_same_steps(name: str, seen: list[Step], expected: list[Step], case: DataModuleCase, law: str) -> None:
    if len(seen) != len(expected):
        raise InvariantViolation(name, f"{len(seen)} batches", f"{len(expected)}", law)
    for step, before in zip(seen, expected, strict=True):
        check_same_crops(f"{name}, {step}", step.seen, before.seen, case, law, f"those of {before}")


@invariant("same-seed-same-batches", subject="datamodule")
def check_same_seed_same_batches(make: Any, case: DataModuleCase, root: Path) -> None:
    """Two runs with one seed train on the same batches to the last bit, whatever the global generators hold."""
    runs = _two_runs(make, case, root, limit_train_batches=3, limit_val_batches=0)
    first, second = ([step for step in run if step.stage == "training"] for run in runs)
    _check_same_steps("the second run", second, first, case, "same-seed-same-batches")


@invariant("validation-repeats", subject="datamodule", when="val_experiments", applies=has_validation)
def check_validation_repeats(make: Any, case: DataModuleCase, root: Path) -> None:
    """Every epoch of every run validates the same batches in the same order, and the sanity check begins like them."""
    law = "validation-repeats"
    first, second = _two_runs(make, case, root, limit_train_batches=1)
    expected = _validated(first, 0)
    if not expected:
        raise InvariantViolation("the first run", "no batch of validation in epoch 0", "one at least", law)
    for name, run in (("the first run", first), ("the second run", second)):
        for epoch in range(2):
            _check_same_steps(name, _validated(run, epoch), expected, case, law)
        sanity = [step for step in run if step.stage == "sanity check"]
        _check_same_steps(name, sanity, expected[:1], case, law)


def _validated(run: list[Step], epoch: int) -> list[Step]:
    return [step for step in run if step.stage == "validation" and step.epoch == epoch]


def _has_telling_noise(case: DataModuleCase) -> bool:
    height, width = case.final_yx_patch_size
    first, stop = case.index.z_range
    return case.augmented and height * width * (stop - first) >= TELLING


NOISY = f"augmented, and {TELLING} voxels at least in a channel"


@invariant("noise-drawn-anew", subject="datamodule", when=NOISY, applies=_has_telling_noise)
def check_noise_drawn_anew(make: Any, case: DataModuleCase, root: Path) -> None:
    """Anchor and positive, and each batch of each epoch, get random draws of their own."""
    law, drawn = "noise-drawn-anew", []
    for step in _steps(make, case, root, max_epochs=2, limit_train_batches=3):
        if step.stage == "training":
            drawn += [(f"the {view} of {step}", *_noise(step, view, case)) for view in VIEWS]
    for place, (name, noise, dropped) in enumerate(drawn):
        for other, others, gone in drawn[:place]:
            same = (np.abs(noise - others) < ROUNDING).all(axis=(2, 3, 4)) & ~dropped & ~gone
            for sample, channel in np.argwhere(same):
                where = f"{name}, channel {channel} of sample {sample}"
                raise InvariantViolation(where, f"the noise that {other} got", "noise of its own", law)


def _noise(step: Step, view: str, case: DataModuleCase) -> tuple[Any, npt.NDArray[np.bool_]]:
    return step.seen[view] - centre(step.raw[view], case.final_yx_patch_size), _dropped(step.seen[view])


@invariant("another-seed-other-batches", subject="datamodule", when=NOISY, applies=_has_telling_noise)
def check_another_seed_other_batches(make: Any, case: DataModuleCase, root: Path) -> None:
    """Another seed brings other random draws in the first batch, and other batches wherever there is a choice."""
    law = "another-seed-other-batches"
    other = replace(case, sampling=replace(case.sampling, seed=case.sampling.seed + 1))
    (step,), (again,) = (
        [s for s in _steps(make, each, root / str(number), max_steps=1) if s.stage == "training"]
        for number, each in enumerate((case, other))
    )
    for view in VIEWS:
        (noise, dropped), (others, gone) = _noise(step, view, case), _noise(again, view, other)
        same = (np.abs(noise - others) < ROUNDING).all(axis=(2, 3, 4)) & ~dropped & ~gone
        for sample, channel in np.argwhere(same):
            where = f"seed {other.sampling.seed}, {again}, {view} {sample}, channel {channel}"
            raise InvariantViolation(where, f"the noise that seed {case.sampling.seed} draws", "other noise", law)
    _check_other_samples(make, case, other, root / "samples")


def _check_other_samples(make: Any, case: DataModuleCase, other: DataModuleCase, root: Path) -> None:
    """Raise if the samplers of two seeds agree in more epochs than they can by chance."""
    modules = [set_up(make, each, root / str(number), "fit") for number, each in enumerate((case, other))]
    oracle = CascadeOracle(modules[0].train_index.valid_anchors, case.sampling)
    samplers = [module.train_sampler for module in modules]
    if oracle.must_vary() and all(epoch_of(samplers[0], e) == epoch_of(samplers[1], e) for e in range(EPOCHS)):
        where = f"seeds {case.sampling.seed} and {other.sampling.seed}, {EPOCHS} epochs"
        raise InvariantViolation(where, "all the same batches", "different ones", "another-seed-other-batches")
