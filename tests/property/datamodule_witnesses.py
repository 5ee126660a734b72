# ruff: noqa: D401 - the docstring of a witness says what is wrong with it, it does not command
"""Broken data modules and broken runs: dynaclr's own with a single defect, and a case on which it shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dynaclr.datamodule import MultiExperimentDataModule
from dynaclr.loader import BatchLoader
from dynaclr_strategies.cases import DataModuleCase, IndexCase
from dynaclr_strategies.ready_made import two_experiments
from dynaclr_strategies.sampler_descriptions import SamplerOptions
from dynaclr_strategies.subjects.datamodule import make_datamodule
from dynaclr_strategies.subjects.training import Run, fit

REGISTRY = two_experiments(wells=("A/1",), conditions=("mock",), tracks=3, frames=5, size=(16, 16))
CASE = DataModuleCase(
    index=IndexCase(registry=REGISTRY, yx_patch_size=(8, 8)),
    sampling=SamplerOptions(batch_size=3, seed=1),
    val_experiments=("exp_beta",),
    final_yx_patch_size=(6, 6),
    channel_dropout_channels=(1,),
    channel_dropout_prob=1.0,
)


@dataclass(frozen=True)
class Witness:
    """What makes a broken thing, and the case on which its law has to notice."""

    law: str
    make: Callable[..., Any]
    case: DataModuleCase = CASE

    @property
    def name(self) -> str:
        """The name of what is broken."""
        return self.make.__name__


WITNESSES: list[Witness] = []


def witness(law: str, shown_by: DataModuleCase = CASE) -> Any:
    """List a maker as the witness of a law."""

    def enlist(make: Callable[..., Any]) -> Callable[..., Any]:
        WITNESSES.append(Witness(law, make, shown_by))
        return make

    return enlist


def broken(kind: type[MultiExperimentDataModule], yaml: Path, case: DataModuleCase) -> Any:
    """Return the data module of a case as another class."""
    datamodule = make_datamodule(yaml, case)
    datamodule.__class__ = kind
    return datamodule


# --- data modules -----------------------------------------------------------------------------------------------------


@witness("split-disjoint")
def trains_on_everybody(yaml: Path, case: DataModuleCase) -> Any:
    """Trains on the held-out experiments too."""

    class TrainsOnEverybody(MultiExperimentDataModule):
        def setup(self, stage: str) -> None:
            super().setup(stage)
            assert self.registry is not None
            self.train_index = self._index(self.registry, self.registry.names)

    return broken(TrainsOnEverybody, yaml, case)


@witness("split-disjoint")
def swaps_the_sides(yaml: Path, case: DataModuleCase) -> Any:
    """Validates on what it should train on."""

    class SwapsTheSides(MultiExperimentDataModule):
        def setup(self, stage: str) -> None:
            super().setup(stage)
            self.train_index, self.val_index = self.val_index, self.train_index

    return broken(SwapsTheSides, yaml, case)


@witness("loader-follows-sampler")
def reads_rows_in_order(yaml: Path, case: DataModuleCase) -> Any:
    """Reads the training rows one after the other, whatever the sampler says."""

    class ReadsRowsInOrder(MultiExperimentDataModule):
        def train_dataloader(self) -> Any:
            assert self.train_index is not None
            dataset = self._dataset(self.train_index)
            size = self.batch_size
            rows = [list(range(first, first + size)) for first in range(0, len(dataset) - size + 1, size)]
            return BatchLoader(dataset, batch_sampler=rows)

    return broken(ReadsRowsInOrder, yaml, case)


@witness("predict-in-order")
def predicts_anchors_only(yaml: Path, case: DataModuleCase) -> Any:
    """Leaves the observations without a positive out."""

    class PredictsAnchorsOnly(MultiExperimentDataModule):
        def predict_dataloader(self) -> Any:
            assert self.predict_index is not None
            dataset = self._dataset(self.predict_index, fit=False)
            rows = [[int(row)] for row in self.predict_index.valid_anchors["row"]]
            return BatchLoader(dataset, batch_sampler=rows)

    return broken(PredictsAnchorsOnly, yaml, case)


@witness("predict-in-order")
def predicts_backwards(yaml: Path, case: DataModuleCase) -> Any:
    """Reads from the last observation to the first."""

    class PredictsBackwards(MultiExperimentDataModule):
        def predict_dataloader(self) -> Any:
            assert self.predict_index is not None
            dataset = self._dataset(self.predict_index, fit=False)
            return BatchLoader(dataset, batch_sampler=[[row] for row in reversed(range(len(dataset)))])

    return broken(PredictsBackwards, yaml, case)


# --- runs -------------------------------------------------------------------------------------------------------------


@witness("dropout-only-in-training")
def drops_in_validation(yaml: Path, case: DataModuleCase, **options: Any) -> Run:
    """Never switches the random part of the transforms off."""

    class DropsInValidation(MultiExperimentDataModule):
        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:  # noqa: ARG002
            return self.transforms(batch, training=True)

    return fit(broken(DropsInValidation, yaml, case), case.sampling.seed, **options)


@witness("dropout-only-in-training")
def never_drops(yaml: Path, case: DataModuleCase, **options: Any) -> Run:
    """Forgets to switch dropout on."""
    never = replace(case, channel_dropout_prob=0.0)
    return fit(make_datamodule(yaml, never), case.sampling.seed, **options)


@witness("dropout-only-in-training")
def drops_another_channel(yaml: Path, case: DataModuleCase, **options: Any) -> Run:
    """Drops channel 0 instead of the listed one."""
    other = replace(case, channel_dropout_channels=(0,))
    return fit(make_datamodule(yaml, other), case.sampling.seed, **options)


@witness("validation-repeats")
def shuffles_validation(yaml: Path, case: DataModuleCase, **options: Any) -> Run:
    """Validates in another order every time."""

    class ShufflesValidation(MultiExperimentDataModule):
        def val_dataloader(self) -> Any:
            assert self.val_index is not None
            dataset = self._dataset(self.val_index)

            class Shuffled:
                def __iter__(self) -> Any:
                    return iter([[row] for row in torch.randperm(len(dataset)).tolist()])

                def __len__(self) -> int:
                    return len(dataset)

            return BatchLoader(dataset, batch_sampler=Shuffled())  # type: ignore[arg-type]

    return fit(broken(ShufflesValidation, yaml, case), case.sampling.seed, **options)


@witness("validation-repeats")
def drops_the_last_batch(yaml: Path, case: DataModuleCase, **options: Any) -> Run:
    """Leaves out what does not fill a batch."""

    class DropsTheLastBatch(MultiExperimentDataModule):
        def val_dataloader(self) -> Any:
            assert self.val_index is not None
            dataset = self._dataset(self.val_index)
            return BatchLoader(dataset, batch_sampler=[[row] for row in range(len(dataset) - 1)])

    return fit(broken(DropsTheLastBatch, yaml, case), case.sampling.seed, **options)


@witness("gradients-everywhere")
def detaches_features(yaml: Path, case: DataModuleCase, **options: Any) -> Run:
    """Cuts the encoder's body off from the loss."""
    run = fit(make_datamodule(yaml, case), case.sampling.seed, **options)
    run.gradients = {name: None if "body" in name else value for name, value in run.gradients.items()}
    return run


@witness("gradients-everywhere")
def overflows(yaml: Path, case: DataModuleCase, **options: Any) -> Run:
    """Ends with an infinite loss."""
    run = fit(make_datamodule(yaml, case), case.sampling.seed, **options)
    run.losses = [float("inf")]
    return run


@witness("same-seed-same-weights")
def starts_anywhere(yaml: Path, case: DataModuleCase, **options: Any) -> Run:
    """Takes the encoder's weights from torch's global generator."""
    return fit(make_datamodule(yaml, case), int(torch.randint(0, 2**31, ())), **options)
