# ruff: noqa: D401 - the docstring of a check states a law, it does not command
"""The promises of whole runs: real trainers on generated registries, from the files to the gradients.

Every check is called as ``check(make, case, root)``, where ``make(experiments_yaml, case, **options)`` trains as the
`TrainingCase` says, with further options of the trainer, and returns what
`dynaclr_strategies.subjects.training.Run` lists; ``root`` is an empty folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dynaclr_strategies.cases import TrainingCase
from dynaclr_strategies.invariants.base import InvariantViolation, invariant
from dynaclr_strategies.invariants.datamodule_hooks import global_generators_at
from dynaclr_strategies.writers import write_registry

__all__ = [
    "check_gradients_everywhere",
    "check_same_seed_same_weights",
    "check_training_learns",
    "check_training_leaves_inputs",
]

STEPS = 2


def _shows_something(case: TrainingCase) -> bool:
    data = case.data
    every = set(range(len(data.index.registry.experiments[0].source_channel)))
    return data.channel_dropout_prob == 0 or set(data.channel_dropout_channels) != every


SHOWN = "not every channel can be dropped"


@invariant("gradients-everywhere", subject="training", when=SHOWN, applies=_shows_something)
def check_gradients_everywhere(make: Any, case: TrainingCase, root: Path) -> None:
    """A ``fast_dev_run`` ends with a finite loss and finite gradients, somewhere not zero in every parameter."""
    law = "gradients-everywhere"
    run = make(write_registry(case.data.index.registry, root), case, fast_dev_run=True)
    if len(run.losses) != 1 or not np.isfinite(run.losses).all():
        raise InvariantViolation("the step", f"losses {run.losses}", "one finite number", law)
    for name, gradient in run.gradients.items():
        values = None if gradient is None else np.asarray(gradient)
        if values is None or not np.isfinite(values).all() or not values.any():
            seen = "no gradient" if values is None else f"a gradient of {values.ravel()[:4]}"
            raise InvariantViolation(f"parameter {name}", seen, "finite and not all zero", law)


@invariant("training-learns", subject="training", when=SHOWN, applies=_shows_something)
def check_training_learns(make: Any, case: TrainingCase, root: Path) -> None:
    """Training changes every parameter and leaves each finite."""
    run = make(write_registry(case.data.index.registry, root), case, max_steps=STEPS)
    for name, before in run.weights_before.items():
        after = np.asarray(run.weights[name])
        if np.array_equal(after, np.asarray(before)) or not np.isfinite(after).all():
            seen = "what it was" if np.isfinite(after).all() else f"{after.ravel()[:4]}"
            raise InvariantViolation(f"parameter {name}", seen, "changed, and finite", "training-learns")


@invariant("same-seed-same-weights", subject="training")
def check_same_seed_same_weights(make: Any, case: TrainingCase, root: Path) -> None:
    """Two runs with one seed end with the same weights to the last bit, whatever the global generators hold."""
    runs = []
    for number in range(2):
        with global_generators_at(number):
            yaml = write_registry(case.data.index.registry, root / str(number))
            runs.append(make(yaml, case, max_steps=STEPS))
    for name, weights in runs[0].weights.items():
        first, second = np.asarray(weights), np.asarray(runs[1].weights[name])
        if not np.array_equal(first, second):
            far = float(np.abs(first - second).max())
            raise InvariantViolation(f"parameter {name}", f"a difference of {far}", "none", "same-seed-same-weights")


@invariant("training-leaves-inputs", subject="training")
def check_training_leaves_inputs(make: Any, case: TrainingCase, root: Path) -> None:
    """Training changes no file of the registry, adds none to it, and leaves the batches that the model is given."""
    law = "training-leaves-inputs"
    yaml = write_registry(case.data.index.registry, root)
    before = _files(root)
    run = make(yaml, case, max_steps=STEPS)
    after = _files(root)
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            seen = "missing" if name not in after else "changed" if name in before else "new"
            raise InvariantViolation(f"file {name}", seen, "as it was" if name in before else "absent", law)
    if run.changed:
        number, key = run.changed[0]
        raise InvariantViolation(f"batch {number}, {key}", "changed by the step", "as it was given", law)


def _files(root: Path) -> Mapping[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
