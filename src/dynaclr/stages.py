"""The part of a data module that reads: registry, split, indexes and sampler of a stage, everything but pixels."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from dynaclr.batch_transforms import BatchTransforms
from dynaclr.cascade.recipe import Axes
from dynaclr.checks import whole, whole_pair
from dynaclr.errors import DynaclrError
from dynaclr.experiment import ExperimentRegistry
from dynaclr.fovs import check_entries, checked_z_range
from dynaclr.index import MultiExperimentIndex
from dynaclr.normalization import check_normalizations
from dynaclr.on_device import TransformsOnDevice
from dynaclr.sampler import FlexibleBatchSampler
from dynaclr.splits import (
    Split,
    check_anchors,
    check_weights,
    entries_for,
    mixes_experiments,
    split_experiments,
    warn_of_shared_images,
)
from dynaclr.tau_sampling import hours_range
from dynaclr.trainers import check_encoder, check_trainer
from dynaclr.transforms.base import Bounds

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Parts:
    """What was read for one stage."""

    stage: str
    registry: ExperimentRegistry
    train: MultiExperimentIndex | None = None
    val: MultiExperimentIndex | None = None
    predict: MultiExperimentIndex | None = None
    sampler: FlexibleBatchSampler | None = None


class StageReader(TransformsOnDevice):
    """Reads what the stages of Lightning need, and refuses what cannot work before anything is begun.

    What is made of it, loaders and checkpoints, is the business of who inherits.

    Parameters
    ----------
    experiments_yaml, z_range, yx_patch_size, val_experiments, tau_range, batch_size, include_wells, exclude_fovs
        As for `dynaclr.datamodule.MultiExperimentDataModule`.
    final_yx_patch_size
        Height and width in pixels of what the encoder sees.
    sampling
        The other options of `dynaclr.sampler.FlexibleBatchSampler`.
    transforms, seed
        As for `dynaclr.on_device.TransformsOnDevice`.

    Attributes
    ----------
    registry
        The registry, after `setup`.
    train_index, val_index, predict_index
        The observations of each part, after `setup` of the stage that needs it, else None.
    train_sampler
        The sampler of training batches on this rank, after ``setup("fit")``.

    Raises
    ------
    DynaclrError
        If an argument is not what it should be.
    """

    def __init__(
        self,
        experiments_yaml: str | os.PathLike[str],
        z_range: tuple[int, int],
        yx_patch_size: tuple[int, int],
        final_yx_patch_size: tuple[int, int],
        val_experiments: Sequence[str],
        tau_range: tuple[float, float],
        batch_size: int,
        sampling: Mapping[str, Any],
        include_wells: Sequence[str] | None,
        exclude_fovs: Sequence[str] | None,
        transforms: BatchTransforms,
        seed: int,
    ) -> None:
        super().__init__(transforms, whole("seed", seed))
        if not isinstance(experiments_yaml, str | os.PathLike):
            raise DynaclrError(f"experiments_yaml is {experiments_yaml!r}, but needs the path of a YAML file")
        self.experiments_yaml = experiments_yaml
        self.z_range = checked_z_range(
            z_range if isinstance(z_range, slice) else slice(*whole_pair("z_range", z_range))
        )
        self.yx_patch_size = whole_pair("yx_patch_size", yx_patch_size, at_least=1)
        self.final_yx_patch_size = final_yx_patch_size
        _check_crop(self.yx_patch_size, final_yx_patch_size)
        if not isinstance(val_experiments, Sequence):
            raise DynaclrError(
                f"val_experiments is {val_experiments!r}, but needs a list of names; use [] to train without validating"
            )
        self.val_experiments = val_experiments
        hours_range(tau_range)
        self.tau_range = tau_range
        self.batch_size = whole("batch_size", batch_size, at_least=1)
        self.sampling = dict(sampling)
        Axes.of_options(**self.sampling)  # says what is wrong with an option, whatever the anchors
        check_entries("include_wells", include_wells)
        check_entries("exclude_fovs", exclude_fovs)
        self.include_wells = include_wells
        self.exclude_fovs = exclude_fovs
        self.registry: ExperimentRegistry | None = None
        self.train_index: MultiExperimentIndex | None = None
        self.val_index: MultiExperimentIndex | None = None
        self.predict_index: MultiExperimentIndex | None = None
        self.train_sampler: FlexibleBatchSampler | None = None
        self._prepared: _Parts | None = None

    def setup(self, stage: str) -> None:
        """Take what `prepare` read, if that was for this very stage; else read it now.

        Parameters
        ----------
        stage
            ``"fit"``, ``"validate"`` or ``"predict"``.

        Raises
        ------
        DynaclrError
            As `prepare`; before any training.
        """
        trainer, model = self.trainer, getattr(self.trainer, "lightning_module", None)
        parts, self._prepared = self._prepared, None
        if parts is None or parts.stage != stage or not self._is_of_this_rank(parts.sampler):
            parts = self._read(stage, trainer, model)
        else:
            # They may be others than those that `prepare` was given.
            self._check_run(stage, parts.registry, trainer, model)
        self.registry = parts.registry
        if stage == "fit":
            self.train_index, self.train_sampler = parts.train, parts.sampler
        if stage in {"fit", "validate"}:
            self.val_index = parts.val
        if stage == "predict":
            self.predict_index = parts.predict

    def prepare(self, stage: str, trainer: Trainer | None = None, model: LightningModule | None = None) -> None:
        """Read all that a stage needs but pixels, for who starts a run and wants to know first whether it can work.

        The next `setup` takes what was read, if it is for the same stage. Nothing is kept of what is refused: it may be
        mended, and read anew.

        Parameters
        ----------
        stage
            As for `setup`.
        trainer, model
            What is to run, and what on; None where nobody knows.

        Raises
        ------
        DynaclrError
            If the stage, the trainer, the registry, the split, the channels, the encoder's sizes, the tracks, the sizes
            of images, the options of sampling or the statistics cannot work.
        """
        self._prepared = None
        self._prepared = self._read(stage, trainer, model)

    def _read(self, stage: str, trainer: Trainer | None, model: LightningModule | None) -> _Parts:
        """Read the parts of a stage, after what is cheap to refuse."""
        if stage not in {"fit", "validate", "predict"}:
            raise DynaclrError(
                f"stage={getattr(stage, 'value', stage)!r} needs to be 'fit', 'validate' or 'predict'; there are no "
                "test data: hold experiments out with val_experiments and use the stage 'validate'"
            )
        registry = ExperimentRegistry.from_yaml(self.experiments_yaml)
        self.transforms.check_channels(registry.num_source_channels)
        self.transforms.warn_of_single_image_transforms()
        split = split_experiments(registry, self.val_experiments)
        if stage == "validate" and not split.val:
            raise DynaclrError("val_experiments is empty, but the stage 'validate' needs at least one experiment")
        if stage == "fit":
            check_weights(split, Axes.of_options(**self.sampling).experiment)
        self._check_run(stage, registry, trainer, model)
        if stage == "predict":
            # No observation needs a positive, so any interval will do.
            parts = _Parts(stage, registry, predict=self._index(registry, registry.names, (0, 0)))
        else:
            parts = self._anchors(stage, registry, split, trainer)
        check_normalizations(self.transforms.steps, registry, (parts.train, parts.val, parts.predict))
        return parts

    def _anchors(self, stage: str, registry: ExperimentRegistry, split: Split, trainer: Trainer | None) -> _Parts:
        """Read the parts of a stage that works on anchors."""
        train = val = sampler = None
        if stage == "fit":
            train = self._index(registry, split.train, self.tau_range)
            check_anchors(train, "train on")
            if mixes_experiments(self.sampling):
                warn_of_shared_images(train, "leaky=0 with experiment_aware keeps them apart")
            if self.batch_size == 1:
                _logger.warning("batch_size=1: without another anchor in its batch, none has a negative to learn from")
            sampler = self._sampler(train, trainer)
        if split.val:
            val = self._index(registry, split.val, self.tau_range)
            check_anchors(val, "validate on")
            # Its batches are of all experiments held out.
            warn_of_shared_images(val, "name one of them in val_experiments")
        return _Parts(stage, registry, train, val, sampler=sampler)

    def _check_run(
        self, stage: str, registry: ExperimentRegistry, trainer: Trainer | None, model: LightningModule | None
    ) -> None:
        """Refuse a trainer and an encoder that cannot work with these data."""
        if trainer is not None:
            check_trainer(trainer, stage)
        if self.transforms.keep_shapes:
            depth = self.z_range.stop - self.z_range.start
            check_encoder(model, (self.batch_size, registry.num_source_channels, depth, *self.final_yx_patch_size))

    def _index(self, registry: ExperimentRegistry, names: Sequence[str], tau_range: Bounds) -> MultiExperimentIndex:
        return MultiExperimentIndex(
            registry.subset(names),
            self.z_range,
            self.yx_patch_size,
            tau_range,
            entries_for(registry, names, self.include_wells),
            entries_for(registry, names, self.exclude_fovs),
        )

    def _sampler(self, index: MultiExperimentIndex, trainer: Trainer | None) -> FlexibleBatchSampler:
        ranks, rank = self._ranks(trainer)
        return FlexibleBatchSampler(
            index.valid_anchors, self.batch_size, num_replicas=ranks, rank=rank, seed=self.seed, **self.sampling
        )

    def _is_of_this_rank(self, sampler: FlexibleBatchSampler | None) -> bool:
        return sampler is None or (sampler.num_replicas, sampler.rank) == self._ranks(self.trainer)

    def _ranks(self, trainer: Trainer | None) -> tuple[int, int]:
        """Return the number of processes, and the number of this one."""
        return (1, 0) if trainer is None else (trainer.world_size, trainer.global_rank)


def _check_crop(first: tuple[int, int], final: tuple[int, int]) -> None:
    if min(final) < 1 or final[0] > first[0] or final[1] > first[1]:
        raise DynaclrError(
            f"final_yx_patch_size is {final}, but needs to be at least 1 and to fit into yx_patch_size, {first}"
        )
