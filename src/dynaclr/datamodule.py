"""Loaders, splits and ranks: what Lightning needs to train on many experiments at once."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import SequentialSampler

from dynaclr.augment import ChannelDropout
from dynaclr.batch_transforms import BatchTransforms, Sample
from dynaclr.cascade.recipe import Axes
from dynaclr.checks import is_list, probability, whole, whole_pair
from dynaclr.dataset import MultiExperimentTripletDataset
from dynaclr.errors import DynaclrError
from dynaclr.experiment import ExperimentRegistry
from dynaclr.fovs import all_fovs, checked_z_range, select_fovs
from dynaclr.index import MultiExperimentIndex
from dynaclr.loader import BatchLoader, EvenBatches, ResumableBatchLoader
from dynaclr.normalization import check_normalizations
from dynaclr.on_device import TransformsOnDevice
from dynaclr.sampler import FlexibleBatchSampler
from dynaclr.splits import (
    Split,
    check_anchors,
    check_weights,
    entries_for,
    split_experiments,
    warn_of_shared_images,
)
from dynaclr.tau_sampling import hours_range, tau_weights
from dynaclr.trainers import (
    Unvalidated,
    check_encoder,
    check_trainer,
    correct_progress,
    state_left_behind,
    trained_batches,
)
from dynaclr.transforms.base import Bounds

logger = logging.getLogger(__name__)


class MultiExperimentDataModule(TransformsOnDevice):
    """Trains on many experiments at once, holds whole experiments out for validation, predicts all observations.

    - *fit*: batches of `FlexibleBatchSampler` over the anchors of the training experiments, read ahead by threads,
      resumable in the middle of an epoch (also on another number of ranks).
    - *validate*, also in fit: the anchors of ``val_experiments`` without the sampler, the same batches with the same
      positives every time, shared out over the ranks, each anchor once (where ranks outnumber the last anchors, some
      are repeated, so that all make equally many steps). They are dealt out: batch k of K takes anchors k, k + K, ...
      of the index, so that a batch mixes cells, FOVs and held-out experiments. Runs of neighbours would show one cell
      each, without a true negative. On another number of ranks, or with another batch size, batches and hence
      ``loss/val`` are others.
    - *predict*: every observation of every experiment once, in the order of the index. (A rank for which none is left
      repeats the first; `dynaclr.embeddings.EmbeddingWriter` writes it once.)
    - *test*: an error; there is no third part of the data.

    With a distributed strategy (``ddp``, on one device too) the trainer needs ``use_distributed_sampler=False``, since
    the loaders know their ranks themselves.

    A batch comes from the loader raw (see `dynaclr.dataset.MultiExperimentTripletDataset`); what happens to it on the
    device is told in `dynaclr.on_device.TransformsOnDevice`.

    Parameters
    ----------
    experiments_yaml
        The registry, see `dynaclr.experiment.ExperimentRegistry`.
    z_range
        First plane to read and the one after the last.
    yx_patch_size
        Height and width in pixels of the patches that are read: large enough that augmentations do not pull the border
        into the centre.
    final_yx_patch_size
        Height and width in pixels of what the encoder sees.
    val_experiments
        Names of the experiments to hold out; ``[]`` trains without validating.
    tau_range
        Smallest and largest time from an anchor to its positive, in hours; predictions need no positive.
    tau_decay_rate
        How fast far positives become rare; 0 for not at all.
    batch_size
        Anchors in a batch, on each rank.
    num_workers
        Batches to read at the same time, by threads, while the last one is trained on.
    experiment_aware, condition_balanced, leaky, temporal_enrichment, temporal_window_hours, temporal_global_fraction
        The axes of sampling, see `dynaclr.sampler.FlexibleBatchSampler`.
    experiment_weights, condition_ratio
        Shares by experiment and by condition, ibidem.
    channel_dropout_channels, channel_dropout_prob
        Source positions of the channels that training drops, and how often; ``[]`` drops none.
    normalizations
        Transforms of every batch; the keys are ``ch_0, ch_1, ...`` by source position.
    augmentations
        Transforms of training batches; anchor and positive get independent draws.
    hcl_beta
        Not used here: accepted so that published YAML files load. The loss owns beta (`dynaclr.loss.NTXentHCL`).
    cache_pool_bytes
        Bytes of decoded chunks to keep in memory, for training and validation each.
    seed
        Seed of sampling, of the choice of positives, and of augmentations and channel dropout.
    include_wells, exclude_fovs
        Wells and FOVs to keep and to leave out, see `dynaclr.index.MultiExperimentIndex`; an entry may concern the
        training or the validation experiments alone.
    group_by, stratify_by
        Column of the anchors, or columns, that make what sampling takes for an experiment and for a condition:
        ``["experiment", "organelle"]``, say, and ``["condition", "moi"]``. Besides the columns of
        `dynaclr.index.MultiExperimentIndex.tracks`, among them ``organelle``, ``date`` and ``moi`` of the registry,
        those of the tracking tables can be used.
    exclusive_by
        Column, such as ``"lineage_id"``, of which no value may occur twice in a batch; None for no such rule.

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
        tau_range: tuple[float, float] = (0.5, 2.0),
        tau_decay_rate: float = 2.0,
        batch_size: int = 128,
        num_workers: int = 1,
        experiment_aware: bool = True,
        condition_balanced: bool = True,
        leaky: float = 0.0,
        temporal_enrichment: bool = False,
        temporal_window_hours: float = 2.0,
        temporal_global_fraction: float = 0.3,
        experiment_weights: Mapping[str, float] | None = None,
        condition_ratio: Mapping[str, float] | None = None,
        channel_dropout_channels: Sequence[int] = (1,),
        channel_dropout_prob: float = 0.5,
        normalizations: Sequence[Callable[[Sample], Sample]] = (),
        augmentations: Sequence[Callable[[Sample], Sample]] = (),
        hcl_beta: float = 0.5,
        cache_pool_bytes: int = 0,
        seed: int = 0,
        include_wells: Sequence[str] | None = None,
        exclude_fovs: Sequence[str] | None = None,
        group_by: str | Sequence[str] = "experiment",
        stratify_by: str | Sequence[str] = "condition",
        exclusive_by: str | Sequence[str] | None = None,
    ) -> None:
        final = whole_pair("final_yx_patch_size", final_yx_patch_size)
        dropout = _dropout(channel_dropout_channels, channel_dropout_prob)
        super().__init__(BatchTransforms(normalizations, augmentations, final, dropout), whole("seed", seed))
        if not isinstance(experiments_yaml, str | os.PathLike):
            raise DynaclrError(f"experiments_yaml is {experiments_yaml!r}, but needs the path of a YAML file")
        self.experiments_yaml = experiments_yaml
        self.z_range = checked_z_range(
            z_range if isinstance(z_range, slice) else slice(*whole_pair("z_range", z_range))
        )
        self.yx_patch_size = whole_pair("yx_patch_size", yx_patch_size, at_least=1)
        self.final_yx_patch_size = final
        self.channel_dropout_channels = dropout.channels
        _check_crop(self.yx_patch_size, final)
        if not isinstance(val_experiments, Sequence):
            raise DynaclrError(
                f"val_experiments is {val_experiments!r}, but needs a list of names; use [] to train without validating"
            )
        self.val_experiments = val_experiments
        hours_range(tau_range)
        self.tau_range = tau_range
        tau_weights([], 0, 0, tau_decay_rate)  # says what is wrong with the rate
        self.tau_decay_rate = tau_decay_rate
        self.batch_size = whole("batch_size", batch_size, at_least=1)
        self.num_workers = whole("num_workers", num_workers, at_least=0)
        self.sampling: dict[str, Any] = {
            "experiment_aware": experiment_aware,
            "condition_balanced": condition_balanced,
            "leaky": leaky,
            "temporal_enrichment": temporal_enrichment,
            "temporal_window_hours": temporal_window_hours,
            "temporal_global_fraction": temporal_global_fraction,
            "experiment_weights": experiment_weights,
            "condition_ratio": condition_ratio,
            "group_by": group_by,
            "stratify_by": stratify_by,
            "exclusive_by": exclusive_by,
        }
        Axes.of_options(**self.sampling)  # says what is wrong with an option, whatever the anchors
        self.hcl_beta = hcl_beta  # the loss owns beta: nothing reads this
        self.cache_pool_bytes = whole("cache_pool_bytes", cache_pool_bytes, at_least=0)
        self.include_wells = include_wells
        self.exclude_fovs = exclude_fovs
        self.registry: ExperimentRegistry | None = None
        self._opened: ExperimentRegistry | None = None
        self.train_index: MultiExperimentIndex | None = None
        self.val_index: MultiExperimentIndex | None = None
        self.predict_index: MultiExperimentIndex | None = None
        self.train_sampler: FlexibleBatchSampler | None = None
        self._train_loader: ResumableBatchLoader | None = None
        self._written: dict[str, Any] | None = None
        self._unvalidated: Unvalidated | None = None

    # ------------------------------------------------------------------ stages

    def setup(self, stage: str) -> None:
        """Read the registry and index the experiments that a stage needs.

        Parameters
        ----------
        stage
            ``"fit"``, ``"validate"`` or ``"predict"``.

        Raises
        ------
        DynaclrError
            If the registry, the split, the tracks, the sampling options or the statistics cannot work; before
            any training.
        """
        trainer = self.trainer
        registry, split = self.check(stage, trainer, getattr(trainer, "lightning_module", None))
        self.registry, self._opened = registry, None
        if stage == "fit":
            self.train_index = self._index(registry, split.train, self.tau_range)
            check_anchors(self.train_index, "train on")
            warn_of_shared_images(self.train_index, self.sampling)
            if self.batch_size == 1:
                logger.warning("batch_size=1: without another anchor in its batch, none has a negative to learn from")
            self.train_sampler, self._written = self._sampler(self.train_index), None
        if stage in {"fit", "validate"}:
            self.val_index = self._index(registry, split.val, self.tau_range) if split.val else None
            if self.val_index is not None:
                check_anchors(self.val_index, "validate on")
        if stage == "fit" and not split.val and self.trainer is not None:
            self._give_back()
            self._unvalidated = Unvalidated(self.trainer)
        if stage == "predict":
            self.predict_index = self._index(registry, registry.names, (0, 0))  # no positive: any interval will do
        indexes = {"fit": (self.train_index, self.val_index), "validate": (self.val_index,)}
        check_normalizations(self.transforms.steps, registry, indexes.get(stage, (self.predict_index,)))

    def check(
        self, stage: str, trainer: Trainer | None = None, model: LightningModule | None = None
    ) -> tuple[ExperimentRegistry, Split]:
        """Refuse what cannot work, as far as it shows without the tracks; `setup` asks, and who starts a run may too.

        The registry that it opens is the one that the next `setup` takes.

        Parameters
        ----------
        stage
            As for `setup`.
        trainer, model
            What is to run, and what on; None where nobody knows.

        Returns
        -------
        registry, split
            The experiments, and which of them train and validate.

        Raises
        ------
        DynaclrError
            If the stage, the trainer, the registry, the split, the weights of experiments, the channels or the
            encoder's sizes cannot work.
        """
        if stage not in {"fit", "validate", "predict"}:
            raise DynaclrError(
                f"stage={getattr(stage, 'value', stage)!r} needs to be 'fit', 'validate' or 'predict'; there are no "
                "test data: hold experiments out with val_experiments and use the stage 'validate'"
            )
        if trainer is not None:
            check_trainer(trainer)
        opened, self._opened = self._opened, None  # nothing is kept of what is refused: it may be mended, and read anew
        registry = ExperimentRegistry.from_yaml(self.experiments_yaml) if opened is None else opened
        select_fovs(all_fovs(registry), self.include_wells, self.exclude_fovs)
        self.transforms.check_channels(registry.num_source_channels)
        split = split_experiments(registry, self.val_experiments)
        if stage == "validate" and not split.val:
            raise DynaclrError("val_experiments is empty, but the stage 'validate' needs at least one experiment")
        if stage == "fit":
            check_weights(split, Axes.of_options(**self.sampling).experiment)
        if self.transforms.keep_shapes:
            depth = self.z_range.stop - self.z_range.start
            check_encoder(model, (self.batch_size, registry.num_source_channels, depth, *self.final_yx_patch_size))
        self._opened = registry
        return registry, split

    def teardown(self, stage: str) -> None:  # noqa: ARG002  (Lightning passes it)
        """End reading ahead, and give the trainer its settings back."""
        if self._train_loader is not None:
            self._train_loader.close()
        self._give_back()

    def on_exception(self, exception: BaseException) -> None:
        """Give the trainer its settings back: after an error Lightning calls no `teardown`."""
        super().on_exception(exception)
        self._give_back()

    def train_dataloader(self) -> ResumableBatchLoader:
        """Return the loader of this rank's training batches."""
        index, sampler = _made(self.train_index, "fit"), _made(self.train_sampler, "fit")
        if sampler.batch_size != self.batch_size:  # Lightning's BatchSizeFinder sets it, and asks for a loader anew
            most = len(index.valid_anchors)
            if self.batch_size > most:  # it doubles the size once more before it compares it with what there is
                logger.warning("batch_size=%r is more than the %d anchors, and becomes that", self.batch_size, most)
                self.batch_size = most
            sampler = self.train_sampler = self._sampler(index)
        if self._train_loader is not None:
            self._train_loader.close()
        trainer = self.trainer
        self._train_loader = ResumableBatchLoader(
            self._dataset(index),
            batch_sampler=sampler,
            num_workers=self.num_workers,
            trained=None if trainer is None else lambda: trained_batches(trainer),
            on_resume=None
            if trainer is None
            else lambda behind, begun: correct_progress(trainer, sampler.epoch, behind, begun),
            left_behind=None if trainer is None else lambda: state_left_behind(trainer),
        )
        return self._train_loader

    def val_dataloader(self) -> BatchLoader | list[BatchLoader]:
        """Return the loader of this rank's validation batches, or no loader if no experiment is held out."""
        if self.val_index is None:
            _made(self.train_index, "fit")
            return []
        return self._sequential(self._dataset(self.val_index), dealt=True)

    def test_dataloader(self) -> BatchLoader:
        """Refuse: there are no test data, see `setup`."""
        raise DynaclrError("there are no test data; use the stage 'validate'")

    def predict_dataloader(self) -> BatchLoader:
        """Return the loader of this rank's observations, in order."""
        return self._sequential(self._dataset(_made(self.predict_index, "predict"), fit=False), dealt=False)

    # ------------------------------------------------------------------ checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Return from what and how the training batches are drawn, for `load_state_dict` to compare with."""
        if self.train_sampler is None:
            return {}
        self._written = dict(self.train_sampler.fingerprint)
        return {"sampling": self._written}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Say in what the anchors or the options of sampling are not those of the checkpoint.

        From the end of an epoch a run may go on with others, so this is no error; from its middle it may not.
        """
        was = state_dict.get("sampling")
        if self.train_sampler is None or not was or was == self._written:
            return  # Lightning's BatchSizeFinder goes back to where this very run was
        _, rank = self._ranks()
        if rank == 0 and (different := self.train_sampler.differences(was)):
            logger.warning(
                "The checkpoint was written with other anchors or other options of sampling: %s", ", ".join(different)
            )

    # ------------------------------------------------------------------ parts

    def _index(self, registry: ExperimentRegistry, names: Sequence[str], tau_range: Bounds) -> MultiExperimentIndex:
        return MultiExperimentIndex(
            registry.subset(names),
            self.z_range,
            self.yx_patch_size,
            tau_range,
            entries_for(registry, names, self.include_wells),
            entries_for(registry, names, self.exclude_fovs),
        )

    def _dataset(self, index: MultiExperimentIndex, fit: bool = True) -> MultiExperimentTripletDataset:
        return MultiExperimentTripletDataset(
            index, fit, index.tau_range_hours, self.tau_decay_rate, self.cache_pool_bytes, self.seed
        )

    def _sampler(self, index: MultiExperimentIndex) -> FlexibleBatchSampler:
        ranks, rank = self._ranks()
        return FlexibleBatchSampler(
            index.valid_anchors, self.batch_size, num_replicas=ranks, rank=rank, seed=self.seed, **self.sampling
        )

    def _sequential(self, dataset: MultiExperimentTripletDataset, dealt: bool) -> BatchLoader:
        ranks, rank = self._ranks()
        batches = EvenBatches(
            SequentialSampler(dataset),
            self.batch_size,
            num_replicas=ranks,
            rank=rank,
            # Validation synchronizes the ranks, predictions should not repeat a row.
            equal_steps=dealt,
            dealt=dealt,
        )
        return BatchLoader(dataset, batch_sampler=batches, num_workers=self.num_workers)

    def _ranks(self) -> tuple[int, int]:
        return (1, 0) if self.trainer is None else (self.trainer.world_size, self.trainer.global_rank)

    def _give_back(self) -> None:
        """Undo what `setup` did to a trainer that has nothing to validate on."""
        if self._unvalidated is not None:
            self._unvalidated.give_back()
            self._unvalidated = None


def _made(part: Any, stage: str) -> Any:
    if part is None:
        raise DynaclrError(f"the loader of stage {stage!r} needs setup({stage!r}) first")
    return part


def _dropout(channels: Sequence[int], prob: float) -> ChannelDropout:
    if not is_list(channels):
        raise DynaclrError(
            f"channel_dropout_channels is {channels!r}, but needs a list of source positions; use [] to drop none"
        )
    return ChannelDropout(channels, probability("channel_dropout_prob", prob))


def _check_crop(first: tuple[int, int], final: tuple[int, int]) -> None:
    if min(final) < 1 or final[0] > first[0] or final[1] > first[1]:
        raise DynaclrError(
            f"final_yx_patch_size is {final}, but needs to be at least 1 and to fit into yx_patch_size, {first}"
        )
