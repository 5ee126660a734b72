# ruff: noqa: D401 - the docstring of a check states a law, it does not command
"""The promises of whole runs: real trainers on generated registries.

Every check is called as ``check(make, case, root)``, where ``make(experiments_yaml, case)`` trains and returns what
`dynaclr_strategies.subjects.training.Run` lists; ``root`` is an empty folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dynaclr_strategies.cases import DataModuleCase
from dynaclr_strategies.invariants.base import InvariantViolation, invariant
from dynaclr_strategies.writers import write_registry

__all__ = [
    "check_dropout_only_in_training",
    "check_gradients_everywhere",
    "check_same_seed_same_weights",
    "check_validation_repeats",
]

Array = npt.NDArray[np.float32]


def _run(make: Any, case: DataModuleCase, root: Path, **options: Any) -> Any:
    return make(write_registry(case.index.registry, root), case, **options)


def _patches(batches: list[Mapping[str, Any]]) -> Array:
    return np.concatenate([np.asarray(batch["anchor"], dtype=np.float32) for batch in batches])


def _centre(patches: Array, size: tuple[int, int]) -> Array:
    top, left = ((extent - wanted) // 2 for extent, wanted in zip(patches.shape[-2:], size, strict=True))
    return patches[..., top : top + size[0], left : left + size[1]]


def _whole(datamodule: Any, index: Any, case: DataModuleCase) -> Array:
    """Return the centres of all anchors' crops, read one by one and not transformed."""
    dataset = datamodule.val_dataloader().dataset
    crops = [np.asarray(dataset.__getitems__([row])["anchor"], np.float32) for row in range(len(index.valid_anchors))]
    return _centre(np.concatenate(crops), case.final_yx_patch_size)


def _has_validation(case: DataModuleCase) -> bool:
    return bool(case.val_experiments)


@invariant("validation-repeats", subject="training", when="there are val_experiments", applies=_has_validation)
def check_validation_repeats(make: Any, case: DataModuleCase, root: Path) -> None:
    """Every epoch validates each anchor of the held-out experiments once, as it is and in the same order."""
    run = _run(make, case, root, max_epochs=2, num_sanity_val_steps=1, limit_train_batches=1)
    expected = Counter(patch.tobytes() for patch in _whole(run.datamodule, run.datamodule.val_index, case))
    epochs = {epoch: _patches([b for e, b in run.validated if e == epoch]) for epoch in (-1, 0, 1)}
    for epoch in (0, 1):
        seen = Counter(patch.tobytes() for patch in epochs[epoch])
        if seen != expected:
            extra, lacking = (seen - expected).total(), (expected - seen).total()
            what = f"{len(epochs[epoch])} crops, {extra} too many and {lacking} missing"
            raise InvariantViolation(
                f"validation of epoch {epoch}", what, f"each of {expected.total()} once", "validation-repeats"
            )
    for name, seen_again in (("epoch 1", epochs[1]), ("the sanity check", epochs[-1])):
        if not np.array_equal(seen_again, epochs[0][: len(seen_again)]):
            raise InvariantViolation(
                f"validation of {name}", "other crops", "those of epoch 0 in their order", "validation-repeats"
            )


@invariant("dropout-only-in-training", subject="training")
def check_dropout_only_in_training(make: Any, case: DataModuleCase, root: Path) -> None:
    """Training drops exactly the listed channels as often as asked; validation and its sanity check drop none."""
    run = _run(make, case, root, max_epochs=1, num_sanity_val_steps=1)
    for where, batches in (("training", run.trained), ("validation", run.validated)):
        for number, (epoch, batch) in enumerate(batches):
            for view in ("anchor", "positive"):
                _check_dropped(f"{where} of epoch {epoch}, batch {number}, {view}", batch[view], where, case)


def _check_dropped(where: str, patches: Any, stage: str, case: DataModuleCase) -> None:
    is_listed = np.isin(np.arange(patches.shape[1]), case.channel_dropout_channels)
    p = case.channel_dropout_prob if stage == "training" else 0.0
    zeroed: npt.NDArray[np.bool_] = (np.asarray(patches) == 0).all(axis=(2, 3, 4))
    wrong = np.argwhere(zeroed & (~is_listed | (p == 0)))
    if len(wrong):
        seen, expected = f"channel {wrong[0, 1]} is zero", "the pixels of its crop"
        raise InvariantViolation(f"{where} {wrong[0, 0]}", seen, expected, "dropout-only-in-training")
    kept = np.argwhere(~zeroed & is_listed & (p == 1))
    if len(kept):
        seen, expected = f"channel {kept[0, 1]} has pixels", "none, as it is dropped with p=1"
        raise InvariantViolation(f"{where} {kept[0, 0]}", seen, expected, "dropout-only-in-training")


@invariant("gradients-everywhere", subject="training")
def check_gradients_everywhere(make: Any, case: DataModuleCase, root: Path) -> None:
    """A ``fast_dev_run`` ends with a finite loss and with finite gradients that reach every parameter."""
    # Of channels that are dropped no gradient can come.
    run = _run(make, replace(case, channel_dropout_prob=0.0), root, fast_dev_run=True)
    if len(run.losses) != 1 or not np.isfinite(run.losses).all():
        raise InvariantViolation("the step", f"losses {run.losses}", "one finite number", "gradients-everywhere")
    for name, gradient in run.gradients.items():
        values = None if gradient is None else np.asarray(gradient)
        if values is None or not np.isfinite(values).all() or not values.any():
            seen = "no gradient" if values is None else f"{values.ravel()[:4]}"
            raise InvariantViolation(f"parameter {name}", seen, "finite, not all zero", "gradients-everywhere")


@invariant("same-seed-same-weights", subject="training")
def check_same_seed_same_weights(make: Any, case: DataModuleCase, root: Path) -> None:
    """Two runs with one seed end with the same weights to the last bit, whatever the global generators hold."""
    import torch

    runs = []
    for number in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(number)
            runs.append(_run(make, case, root / str(number), max_epochs=2))
    for name, weights in runs[0].weights.items():
        if not torch.equal(weights, runs[1].weights[name]):
            far = float((weights - runs[1].weights[name]).abs().max())
            raise InvariantViolation(f"parameter {name}", f"a difference of {far}", "none", "same-seed-same-weights")
