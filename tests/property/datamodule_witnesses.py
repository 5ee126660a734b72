# ruff: noqa: D401 - the docstring of a witness says what is wrong with it, it does not command
"""Broken data modules and broken runs: dynaclr's own with a single defect, and a case on which it shows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer

from dynaclr.datamodule import MultiExperimentDataModule
from dynaclr.loader import BatchLoader, EvenBatches, ResumableBatchLoader
from dynaclr.trainers import number_in_transfer
from dynaclr_strategies.cases import DataModuleCase, IndexCase, TrainingCase
from dynaclr_strategies.ready_made import two_experiments
from dynaclr_strategies.sampler_descriptions import SamplerOptions
from dynaclr_strategies.subjects.datamodule import make_datamodule
from dynaclr_strategies.subjects.training import Run, fit, make_model, make_run

REGISTRY = two_experiments(wells=("A/1",), conditions=("mock",), tracks=3, frames=5, size=(16, 16))
CASE = DataModuleCase(
    index=IndexCase(registry=REGISTRY, yx_patch_size=(8, 8)),
    sampling=SamplerOptions(batch_size=2, seed=1),
    val_experiments=("exp_beta",),
    final_yx_patch_size=(5, 6),
    channel_dropout_channels=(1,),
    channel_dropout_prob=0.5,
    num_workers=2,
)
NOISY = replace(CASE, augmented=True)
TRAINED = TrainingCase(data=CASE)


@dataclass(frozen=True)
class Witness:
    """What makes a broken thing, and the case on which its law has to notice."""

    law: str
    make: Callable[..., Any]
    case: DataModuleCase | TrainingCase

    @property
    def name(self) -> str:
        """The name of what is broken."""
        return self.make.__name__


WITNESSES: list[Witness] = []

Kind = type[MultiExperimentDataModule]


def witness(law: str, shown_by: DataModuleCase = CASE) -> Callable[[Kind], Kind]:
    """List a broken data module as the witness of a law."""

    def enlist(kind: Kind) -> Kind:
        def make(yaml: Path, case: DataModuleCase) -> Any:
            return broken(kind, yaml, case)

        make.__name__, make.__doc__ = kind.__name__, kind.__doc__
        WITNESSES.append(Witness(law, make, shown_by))
        return kind

    return enlist


def broken(kind: Kind, yaml: Path, case: DataModuleCase) -> Any:
    """Return the data module of a case as another class."""
    datamodule = make_datamodule(yaml, case)
    datamodule.__class__ = kind
    return datamodule


def run_witness(law: str, shown_by: TrainingCase = TRAINED) -> Callable[[Callable[..., Run]], Callable[..., Run]]:
    """List a broken run as the witness of a law."""

    def enlist(make: Callable[..., Run]) -> Callable[..., Run]:
        WITNESSES.append(Witness(law, make, shown_by))
        return make

    return enlist


# --- splits -----------------------------------------------------------------------------------------------------------


@witness("split-disjoint")
class TrainsOnEverybody(MultiExperimentDataModule):
    """Trains on the held-out experiments too."""

    def setup(self, stage: str) -> None:
        """Index all of them."""
        super().setup(stage)
        assert self.registry is not None
        self.train_index = self._index(self.registry, self.registry.names, self.tau_range)


@witness("split-disjoint")
class SwapsTheSides(MultiExperimentDataModule):
    """Validates on what it should train on."""

    def setup(self, stage: str) -> None:
        """Mix them up."""
        super().setup(stage)
        self.train_index, self.val_index = self.val_index, self.train_index


@witness("split-disjoint")
class LosesAnAnchor(MultiExperimentDataModule):
    """Forgets the last anchor of the training experiments."""

    def setup(self, stage: str) -> None:
        """Cut the table."""
        super().setup(stage)
        assert self.train_index is not None
        self.train_index.valid_anchors = self.train_index.valid_anchors.iloc[:-1]


# --- loaders ----------------------------------------------------------------------------------------------------------


@witness("loader-follows-sampler")
class ReadsRowsInOrder(MultiExperimentDataModule):
    """Reads the training rows one after the other, whatever the sampler says."""

    def train_dataloader(self) -> Any:
        """Cut the rows into batches."""
        assert self.train_index is not None
        dataset, size = self._dataset(self.train_index), self.batch_size
        rows = [list(range(first, first + size)) for first in range(0, len(dataset) - size + 1, size)]
        return BatchLoader(dataset, batch_sampler=rows)


class _WithoutEpochs(ResumableBatchLoader):
    def _read(self, requests: Any) -> Any:
        return super()._read(list(indices) for indices in requests)


@witness("loader-follows-sampler")
class PositivesOfEpochZero(MultiExperimentDataModule):
    """Draws the positives of the first epoch in every epoch."""

    def train_dataloader(self) -> Any:
        """Do not tell the dataset the epoch."""
        assert self.train_index is not None
        assert self.train_sampler is not None
        return _WithoutEpochs(self._dataset(self.train_index), batch_sampler=self.train_sampler)


class _StateOfTheSampler(ResumableBatchLoader):
    def state_dict(self) -> dict[str, Any]:
        return {"sampler": self._sampler.state_dict()}


@witness("resumes-with-the-next")
class SkipsWhatWasReadAhead(MultiExperimentDataModule):
    """Takes a batch for consumed as soon as it is read ahead."""

    def train_dataloader(self) -> Any:
        """Return a loader that saves where its sampler is."""
        loader = super().train_dataloader()
        loader.__class__ = _StateOfTheSampler
        return loader


class _BeginsAnew(ResumableBatchLoader):
    def load_state_dict(self, state_dict: Any) -> None:
        pass


@witness("resumes-with-the-next")
class RepeatsTheFirst(MultiExperimentDataModule):
    """Begins the epoch anew when it is resumed, as a plain loader does."""

    def train_dataloader(self) -> Any:
        """Return a loader that forgets what it is told."""
        loader = super().train_dataloader()
        loader.__class__ = _BeginsAnew
        return loader


class _OtherOrders:
    """Batches of one row in another order every time."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.seed = 0

    def __iter__(self) -> Iterator[list[int]]:
        self.seed += 1
        order = torch.randperm(self.length, generator=torch.Generator().manual_seed(self.seed))
        return iter([[row] for row in order.tolist()])

    def __len__(self) -> int:
        return self.length


@witness("validation-repeats")
class ShufflesValidation(MultiExperimentDataModule):
    """Validates in another order every time."""

    def val_dataloader(self) -> Any:
        """Return a loader that shuffles."""
        assert self.val_index is not None
        dataset = self._dataset(self.val_index)
        return BatchLoader(dataset, batch_sampler=_OtherOrders(len(dataset)))  # type: ignore[arg-type]


@witness("validation-repeats")
class PositivesByEpoch(MultiExperimentDataModule):
    """Draws other positives in every epoch of validation."""

    def val_dataloader(self) -> Any:
        """Return a loader whose dataset counts how often it is read."""
        loader = super().val_dataloader()
        read = loader.dataset.__getitems__  # type: ignore[union-attr]

        def later(indices: list[int]) -> Any:
            loader.dataset.epoch += 1  # type: ignore[union-attr]
            return read(indices)

        loader._read_batch = later  # type: ignore[union-attr]
        return loader


@witness("validation-complete")
class LeavesTheLastBatchOut(MultiExperimentDataModule):
    """Does not validate what does not fill a batch."""

    def val_dataloader(self) -> Any:
        """Return a loader of full batches."""
        assert self.val_index is not None
        dataset, size = self._dataset(self.val_index), self.batch_size
        rows = [list(range(first, first + size)) for first in range(0, len(dataset) - size, size)]
        return BatchLoader(dataset, batch_sampler=rows)


@witness("validation-complete", replace(CASE, sampling=replace(CASE.sampling, batch_size=4)))
class ValidatesThroughTheSampler(MultiExperimentDataModule):
    """Validates the batches of a sampler, which are full ones only."""

    def val_dataloader(self) -> Any:
        """Return a loader that samples."""
        assert self.val_index is not None
        sampler = self._sampler(self.val_index, self.trainer)
        return ResumableBatchLoader(self._dataset(self.val_index), batch_sampler=sampler)


@witness("predict-in-order")
class PredictsAnchorsOnly(MultiExperimentDataModule):
    """Leaves the observations without a positive out."""

    def predict_dataloader(self) -> Any:
        """Return a loader of anchors."""
        assert self.registry is not None
        anchors = self._index(self.registry, self.registry.names, self.tau_range)
        rows = [[int(row)] for row in anchors.valid_anchors["row"]]
        return BatchLoader(self._dataset(anchors, fit=False), batch_sampler=rows)


@witness("predict-in-order")
class PredictsBackwards(MultiExperimentDataModule):
    """Reads from the last observation to the first."""

    def predict_dataloader(self) -> Any:
        """Return a loader of reversed rows."""
        assert self.predict_index is not None
        dataset = self._dataset(self.predict_index, fit=False)
        return BatchLoader(dataset, batch_sampler=[[row] for row in reversed(range(len(dataset)))])


@witness("ranks-share-out")
class EachRankReadsAll(MultiExperimentDataModule):
    """Validates and predicts everything on every rank."""

    def _ranks(self, trainer: Any) -> tuple[int, int]:  # noqa: ARG002
        return 1, 0


@witness("ranks-share-out")
class OneRankPredictsAll(MultiExperimentDataModule):
    """Predicts everything on the first rank, and nothing on the others."""

    def predict_dataloader(self) -> Any:
        """Return a loader of all rows, or of none."""
        assert self.predict_index is not None
        dataset = self._dataset(self.predict_index, fit=False)
        rank = self._ranks(self.trainer)[1]
        return BatchLoader(dataset, batch_sampler=[[row] for row in range(len(dataset))] if rank == 0 else [])


@witness("ranks-share-out")
class UnequalSteps(MultiExperimentDataModule):
    """Leaves the last ranks without a batch where there are not enough for all."""

    def val_dataloader(self) -> Any:
        """Return a loader that does not even out."""
        loader = super().val_dataloader()
        batches = loader.batch_sampler  # type: ignore[union-attr]
        assert isinstance(batches, EvenBatches)
        # Whoever comes last has a step less.
        batches.equal_steps = False
        rows = list(batches)
        kept = rows[:-1] if batches.rank == batches.num_replicas - 1 else rows
        return BatchLoader(loader.dataset, batch_sampler=kept)  # type: ignore[union-attr]


# --- between loader and model -----------------------------------------------------------------------------------------


@witness("dropout-only-in-training", replace(CASE, channel_dropout_prob=1.0))
class DropsInValidation(MultiExperimentDataModule):
    """Never switches the random part of the transforms off."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:  # noqa: ARG002
        """Treat every batch as one of training."""
        return self.transforms(batch, training=True)


@witness("dropout-only-in-training", replace(CASE, channel_dropout_prob=1.0))
class DropsInTheSanityCheck(MultiExperimentDataModule):
    """Takes the sanity check, which comes before training, for training."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:  # noqa: ARG002
        """Look at the wrong switch."""
        assert self.trainer is not None
        return self.transforms(batch, training=not self.trainer.validating and self.trainer.state.stage != "validate")


@witness("dropout-only-in-training", replace(CASE, channel_dropout_prob=1.0))
class NeverDrops(MultiExperimentDataModule):
    """Forgets to switch dropout on."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:  # noqa: ARG002
        """Treat every batch as one of validation."""
        return self.transforms(batch, training=False)


@witness("dropout-only-in-training", replace(CASE, channel_dropout_channels=(0,), channel_dropout_prob=1.0))
class DropsTheOtherChannel(MultiExperimentDataModule):
    """Counts channels from the end."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Turn the channels around."""
        batch = super().on_after_batch_transfer(batch, dataloader_idx)
        return {key: value.flip(1) if key in {"anchor", "positive"} else value for key, value in batch.items()}


@witness("noise-only-in-training", NOISY)
class AugmentsValidation(DropsInValidation):
    """Adds noise to what validates."""


@witness("noise-only-in-training", NOISY)
class NeverAugments(NeverDrops):
    """Trains on crops as they are."""


@witness("centre-crop")
class CropsTheCorner(MultiExperimentDataModule):
    """Keeps the corner at the top left."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Cut before anybody else does."""
        height, width = self.final_yx_patch_size
        views = {view: batch[view][..., :height, :width] for view in ("anchor", "positive")}
        return super().on_after_batch_transfer({**batch, **views}, dataloader_idx)


@witness("centre-crop")
class RoundsUp(MultiExperimentDataModule):
    """Takes the odd pixel off at the top."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Turn crops upside down while they are cut."""
        turned = {**batch, **{view: batch[view].flip(-2) for view in ("anchor", "positive")}}
        cut = super().on_after_batch_transfer(turned, dataloader_idx)
        return {**cut, **{view: cut[view].flip(-2) for view in ("anchor", "positive")}}


@witness("centre-crop")
class DoesNotCrop(MultiExperimentDataModule):
    """Leaves crops as large as they are read."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:  # noqa: ARG002
        """Do nothing."""
        return batch


@witness("same-seed-same-batches", NOISY)
class UnseededDraws(MultiExperimentDataModule):
    """Draws noise and dropout from torch's global generator."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:  # noqa: ARG002
        """Forget the seeds."""
        assert self.trainer is not None
        return self.transforms(batch, training=self.trainer.training)


@witness("noise-drawn-anew", NOISY)
class OneSeedForBothViews(MultiExperimentDataModule):
    """Does to the positive what it does to the anchor."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Transform each view alone, from the same seed."""
        views = {key: batch[key] for key in ("anchor", "positive") if key in batch}
        for key, view in views.items():
            one = {"anchor": view, "anchor_norm_meta": batch[f"{key}_norm_meta"]}
            batch = batch | {key: super().on_after_batch_transfer(one, dataloader_idx)["anchor"]}
        return batch


@witness("noise-drawn-anew", NOISY)
class SameDrawsEveryEpoch(MultiExperimentDataModule):
    """Forgets the epoch when it seeds."""

    def _draw_seed(self, trainer: Trainer) -> int:
        return self.seed + number_in_transfer(trainer)


@witness("another-seed-other-batches", NOISY)
class DrawsWithoutTheSeed(MultiExperimentDataModule):
    """Draws the same noise whatever the seed."""

    def _draw_seed(self, _: Trainer) -> int:
        return 1


@witness("another-seed-other-batches", NOISY)
class SamplesWithoutTheSeed(MultiExperimentDataModule):
    """Seeds everything but the sampler."""

    def _sampler(self, index: Any, trainer: Any) -> Any:
        seed, self.seed = self.seed, 0
        sampler = super()._sampler(index, trainer)
        self.seed = seed
        return sampler


# --- whole runs -------------------------------------------------------------------------------------------------------


@run_witness("gradients-everywhere")
def detaches_features(yaml: Path, case: TrainingCase, **options: Any) -> Run:
    """Cuts the encoder's first layer off from the loss."""
    model = make_model(case)
    body = model.encoder.body
    body.register_forward_hook(lambda _module, _given, out: out.detach())
    return fit(make_datamodule(yaml, case.data), model, **options)


@run_witness("gradients-everywhere")
def overflows_backwards(yaml: Path, case: TrainingCase, **options: Any) -> Run:
    """Has a loss that is a number, and gradients that are none."""
    model = make_model(case)
    model.encoder.projection.weight.register_hook(lambda gradient: gradient * float("inf"))
    return fit(make_datamodule(yaml, case.data), model, **options)


@run_witness("training-learns")
def forgets_a_layer(yaml: Path, case: TrainingCase, **options: Any) -> Run:
    """Does not hand the projection to the optimizer."""
    model = make_model(case)
    model.encoder.projection.requires_grad_(False)
    return fit(make_datamodule(yaml, case.data), model, **options)


@run_witness("same-seed-same-weights")
def starts_anywhere(yaml: Path, case: TrainingCase, **options: Any) -> Run:
    """Takes the first weights from torch's global generator."""
    model = make_model(case)
    torch.nn.init.normal_(model.encoder.body.weight)
    return fit(make_datamodule(yaml, case.data), model, **options)


@run_witness("same-seed-same-weights")
def trains_on_unseeded_draws(yaml: Path, case: TrainingCase, **options: Any) -> Run:
    """Draws dropout from torch's global generator."""
    return fit(broken(UnseededDraws, yaml, case.data), make_model(case), **options)


@run_witness("training-leaves-inputs")
def writes_statistics(yaml: Path, case: TrainingCase, **options: Any) -> Run:
    """Leaves what it computed in the metadata of the store."""
    run = make_run(yaml, case, **options)
    attributes = next(yaml.parent.rglob("0/.zattrs"))
    attributes.write_text(json.dumps({**json.loads(attributes.read_text()), "normalization": {}}))
    return run


@run_witness("training-leaves-inputs")
def leaves_logs(yaml: Path, case: TrainingCase, **options: Any) -> Run:
    """Writes beside the data."""
    run = make_run(yaml, case, **options)
    (yaml.parent / "metrics.csv").write_text("loss\n")
    return run


@run_witness("training-leaves-inputs")
def normalizes_in_place(yaml: Path, case: TrainingCase, **options: Any) -> Run:
    """Shifts the crops that it is given in place."""
    model = make_model(case)
    step = model.training_step

    def in_place(batch: Any, batch_idx: int) -> Any:
        batch["anchor"].sub_(1)
        return step(batch, batch_idx)

    model.training_step = in_place
    return fit(make_datamodule(yaml, case.data), model, **options)
