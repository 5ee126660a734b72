"""The promises of the data module: who trains and who validates, on which batches, and what is random when.

Every check is called as ``check(make, case, root)``, where ``make(experiments_yaml, case)`` returns a data module as it
is before any setup; ``root`` is an empty folder.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dynaclr_strategies.cases import DataModuleCase
from dynaclr_strategies.invariants.base import InvariantViolation, invariant
from dynaclr_strategies.invariants.evidence import PatchEvidence
from dynaclr_strategies.writers import write_registry

__all__ = [
    "check_loader_follows_sampler",
    "check_predict_in_order",
    "check_split_disjoint",
]

Array = npt.NDArray[np.float32]


def _set_up(make: Any, case: DataModuleCase, root: Path, stage: str) -> Any:
    datamodule = make(write_registry(case.index.registry, root), case)
    with warnings.catch_warnings():
        # Cases are small on purpose.
        warnings.filterwarnings("ignore", message="batch_size=.* repeats anchors")
        datamodule.setup(stage)
    return datamodule


def _names(index: Any) -> set[str]:
    return set() if index is None else set(index.tracks["experiment"].astype(str))


def _array(batch: Any, view: str) -> Array:
    return np.asarray(batch[view], dtype=np.float32)


@invariant("split-disjoint", subject="datamodule")
def check_split_disjoint(make: Any, case: DataModuleCase, root: Path) -> None:
    """Exactly the named experiments validate, all others train, and no store is on both sides."""
    datamodule, registry = _set_up(make, case, root, "fit"), case.index.registry
    train, val = _names(datamodule.train_index), _names(datamodule.val_index)
    everybody = {experiment.name for experiment in registry.experiments}
    for side, seen, expected in (
        ("training", train, everybody - set(case.val_experiments)),
        ("validation", val, set(case.val_experiments)),
    ):
        if seen != expected:
            raise InvariantViolation(side, f"experiments {sorted(seen)}", f"{sorted(expected)}", "split-disjoint")
    shared = {registry.store_of(name) for name in train} & {registry.store_of(name) for name in val}
    if shared:
        raise InvariantViolation("both sides", f"stores {sorted(shared)}", "none", "split-disjoint")


@invariant("loader-follows-sampler", subject="datamodule")
def check_loader_follows_sampler(make: Any, case: DataModuleCase, root: Path) -> None:
    """In every epoch the training loader yields the batches that the sampler says, in its order, and no others."""
    datamodule = _set_up(make, case, root, "fit")
    sampler, loader = datamodule.train_sampler, datamodule.train_dataloader()
    for epoch in range(2):
        sampler.set_epoch(epoch)
        batches = list(loader)
        if len(batches) != len(sampler):
            raise InvariantViolation(
                f"epoch {epoch}", f"{len(batches)} batches", str(len(sampler)), "loader-follows-sampler"
            )
        loader.dataset.epoch = epoch
        for number, batch in enumerate(batches):
            wanted = loader.dataset.__getitems__(sampler.batch(number, epoch=epoch))
            for view in ("anchor", "positive"):
                _compare(f"batch {number} of epoch {epoch}, {view}", batch, wanted, view, case)


def _compare(where: str, batch: Any, wanted: Any, view: str, case: DataModuleCase) -> None:
    """Raise for the first patch that is not the one it should be."""
    law = "loader-follows-sampler"
    seen, expected = _array(batch, view), _array(wanted, view)
    if seen.shape != expected.shape:
        raise InvariantViolation(where, f"shape {seen.shape}", f"{expected.shape}", law)
    for place, (left, right) in enumerate(zip(seen, expected, strict=True)):
        if not np.array_equal(left, right):
            channels = case.index.registry.experiments[0].source_channel
            differing = int((left != right).sum())
            raise InvariantViolation(
                f"{where} {place}",
                f"{differing} of {left.size} voxels differ",
                "those of the crop that belongs there",
                law,
                evidence=PatchEvidence(left, right, channels),
            )


@invariant("predict-in-order", subject="datamodule")
def check_predict_in_order(make: Any, case: DataModuleCase, root: Path) -> None:
    """Prediction reads every observation of every experiment once, in the order of the index."""
    datamodule = _set_up(make, case, root, "predict")
    columns = ["experiment", "fov_name", "track_id", "t"]
    tracks = datamodule.predict_index.tracks
    expected = list(tracks[columns].astype(object).itertuples(index=False, name=None))
    seen = [
        tuple(row[column] for column in columns) for batch in datamodule.predict_dataloader() for row in batch["index"]
    ]
    described = sum(
        0 <= y < fov.y and 0 <= x < fov.x
        for experiment in case.index.registry.experiments
        for name, fov in experiment.fovs()
        if fov.has_csv and experiment.condition_of(name.rpartition("/")[0]) is not None
        for track in fov.tracks
        for y, x in (track.position(t) for t in track.frames)
    )
    if len(seen) != described:
        raise InvariantViolation("prediction", f"{len(seen)} observations", str(described), "predict-in-order")
    for place, (left, right) in enumerate(zip(seen, expected, strict=True)):
        if left != right:
            raise InvariantViolation(f"observation {place}", f"{left}", f"{right}", "predict-in-order")
