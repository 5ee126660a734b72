"""Loaders and checkpoints: what Lightning needs to train on many experiments at once."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.utils.data import SequentialSampler

from dynaclr.augment import ChannelDropout
from dynaclr.batch_transforms import BatchTransforms, Sample
from dynaclr.checks import is_list, probability, whole, whole_pair
from dynaclr.dataset import MultiExperimentTripletDataset
from dynaclr.errors import DynaclrError
from dynaclr.index import MultiExperimentIndex
from dynaclr.loader import BatchLoader, EvenBatches, ResumableBatchLoader
from dynaclr.stages import StageReader
from dynaclr.tau_sampling import checked_decay_rate
from dynaclr.trainers import Unvalidated, correct_progress, state_left_behind, trained_batches

logger = logging.getLogger(__name__)


class MultiExperimentDataModule(StageReader):
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
        sampling = {
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
        final = whole_pair("final_yx_patch_size", final_yx_patch_size)
        dropout = _dropout(channel_dropout_channels, channel_dropout_prob)
        super().__init__(
            *(experiments_yaml, z_range, yx_patch_size, final, val_experiments, tau_range, batch_size, sampling),
            *(include_wells, exclude_fovs, BatchTransforms(normalizations, augmentations, final, dropout), seed),
        )
        self.tau_decay_rate = checked_decay_rate(tau_decay_rate)
        self.num_workers = whole("num_workers", num_workers, at_least=0)
        self.channel_dropout_channels = dropout.channels
        self.hcl_beta = hcl_beta  # the loss owns beta: nothing reads this
        self.cache_pool_bytes = whole("cache_pool_bytes", cache_pool_bytes, at_least=0)
        self._train_loader: ResumableBatchLoader | None = None
        self._written: dict[str, Any] | None = None
        self._unvalidated: Unvalidated | None = None

    # ------------------------------------------------------------------ stages

    def setup(self, stage: str) -> None:
        """Take what a stage needs, see `dynaclr.stages.StageReader.setup`."""
        super().setup(stage)
        if stage != "fit":
            return
        self._written = None
        self._give_back()
        if self.val_index is None and self.trainer is not None:
            self._unvalidated = Unvalidated(self.trainer)

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
            sampler = self.train_sampler = self._sampler(index, self.trainer)
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
        """Return from what and how the training batches are drawn and read, for `load_state_dict` to compare with."""
        if self.train_sampler is None:
            return {}
        self._written = {"sampling": dict(self.train_sampler.fingerprint), "reading": self._reading()}
        return self._written

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Say in what the anchors or the options of sampling and reading are not those of the checkpoint.

        From the end of an epoch a run may go on with others, so this is no error; from its middle it may not with other
        anchors or options of sampling.
        """
        if self.train_sampler is None or not state_dict or state_dict == self._written:
            return  # Lightning's BatchSizeFinder goes back to where this very run was
        _, rank = self._ranks(self.trainer)
        reading = state_dict.get("reading", {})
        different = self.train_sampler.differences(was) if (was := state_dict.get("sampling")) else []
        different += [
            f"{name} was {reading[name]!r} and is {value!r}"
            for name, value in self._reading().items()
            if name in reading and reading[name] != value
        ]
        if rank == 0 and different:
            logger.warning(
                "The checkpoint was written with other anchors or options of sampling or reading: %s",
                ", ".join(different),
            )

    def _reading(self) -> dict[str, Any]:
        """Return what decides positives and pixels, beside the anchors and who is in which batch."""
        return {
            "tau_range": list(self.tau_range),
            "tau_decay_rate": self.tau_decay_rate,
            "z_range": [self.z_range.start, self.z_range.stop],
            "yx_patch_size": list(self.yx_patch_size),
            "final_yx_patch_size": list(self.final_yx_patch_size),
        }

    # ------------------------------------------------------------------ parts

    def _dataset(self, index: MultiExperimentIndex, fit: bool = True) -> MultiExperimentTripletDataset:
        return MultiExperimentTripletDataset(
            index, fit, index.tau_range_hours, self.tau_decay_rate, self.cache_pool_bytes, self.seed
        )

    def _sequential(self, dataset: MultiExperimentTripletDataset, dealt: bool) -> BatchLoader:
        ranks, rank = self._ranks(self.trainer)
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
