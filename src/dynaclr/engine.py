"""The training loop's side of the model: which loss of which pairs, what is logged."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from numpy.typing import NDArray
from pytorch_metric_learning.losses import BaseMetricLossFunction
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from dynaclr.checks import is_number, is_whole, whole
from dynaclr.encoder import ContrastiveEncoder
from dynaclr.errors import DynaclrError
from dynaclr.loss import NTXentHCL
from dynaclr.sample_grid import middle_slices, sample_grid
from dynaclr.schedules import Schedule, check_end, checked_schedule, rate_factor
from dynaclr.weights import load_weights

__all__ = ["ContrastiveModule", "pair_statistics"]

_log = logging.getLogger(__name__)

Batch = dict[str, Any]
Stage = Literal["train", "val"]

_NEVER = torch.iinfo(torch.int64).max
_LOOK_EVERY = 32

_COUNTS = 2**30
"""How much more a batch with negatives weighs than one without, in means over them: beside it, that one counts nothing;
alone, it gives its 0 and no 0 / 0."""


class ContrastiveModule(LightningModule):
    """Train an encoder so that a cell and its own later self lie close together and other cells apart.

    A batch holds ``anchor`` and ``positive``, tensors ``(B, C, Z, Y, X)``, ``lineage`` if there is one, and
    ``negative`` where the loss needs it. Losses of pytorch-metric-learning, such as ``NTXentLoss`` and ``NTXentHCL``,
    get the 2B projections with labels that pair each anchor with its positive: all others are its negatives.
    ``torch.nn.TripletMarginLoss`` and ``torch.nn.CosineEmbeddingLoss`` compare with ``negative``.

    Logged are, for the stages ``train`` and ``val``: ``loss/<stage>`` once an epoch, and
    ``loss/train_step`` each step; ``metrics/cosine_similarity_positive/<stage>``, with
    ``euclidean_distance`` and ``negative`` likewise (`pair_statistics`); ``false_negatives/<stage>``, the share of the
    other cells of a batch that are of the anchor's own lineage, which `NTXentHCL` leaves out if it has
    ``mask_same_lineage``; ``hcl/published_beta`` and ``hcl/clamped_share/<stage>`` for `NTXentHCL`; and the images
    ``samples/<stage>`` (`sample_grid`), if the logger takes images as TensorBoard does. An epoch's means over
    negatives, and its ``false_negatives``, are those of its batches of two or more, and 0 if it has none.

    Parameters
    ----------
    encoder
        Maps ``(B, C, Z, Y, X)`` to features and projections, such as `ContrastiveEncoder`.
    loss_function
        One of the losses above.
    lr
        Learning rate of AdamW.
    schedule
        ``"Constant"``, or ``"WarmupCosine"``: up in the first tenth of the run's steps, then down to zero along
        half a cosine (`dynaclr.schedules.warmup_cosine`).
    log_batches_per_epoch, log_samples_per_batch
        How many batches of an epoch, and how many of each batch's samples, the images show; 0 for none.
    example_input_array_shape
        Shape ``(B, C, Z, Y, X)`` of the images for which Lightning's summary states the sizes of the layers; None to
        leave sizes out. Channels and slices are those of a `ContrastiveEncoder`, whatever is written here; of another
        encoder nobody knows what it takes, so with the default sizes are left out.
    ckpt_path
        A checkpoint whose weights to begin with. To resume a run instead, give the checkpoint to ``fit``.

    Raises
    ------
    DynaclrError
        If a value is impossible, or the checkpoint is missing or does not fit.
    """

    def __init__(
        self,
        encoder: nn.Module,
        loss_function: nn.Module,
        lr: float = 1e-3,
        schedule: Schedule = "Constant",
        log_batches_per_epoch: int = 8,
        log_samples_per_batch: int = 1,
        example_input_array_shape: Sequence[int] | None = (1, 2, 15, 256, 256),
        ckpt_path: str | Path | None = None,
    ) -> None:
        super().__init__()
        _check_loss(loss_function)
        if not (is_number(lr) and lr > 0):
            raise DynaclrError(f"lr={lr!r} needs a positive, finite number")
        self.encoder = encoder
        self.loss_function = loss_function
        self.lr = lr
        self.schedule = checked_schedule(schedule)
        self.log_batches_per_epoch = whole("log_batches_per_epoch", log_batches_per_epoch, at_least=0)
        self.log_samples_per_batch = whole("log_samples_per_batch", log_samples_per_batch, at_least=0)
        self.example_input_array = _example_input(encoder, example_input_array_shape)
        self._samples: dict[Stage, list[NDArray[np.float32]]] = {"train": [], "val": []}
        self._first_bad_step: Tensor | None = None
        if ckpt_path is not None:
            load_weights(self, ckpt_path)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and projections of images ``(B, C, Z, Y, X)``."""
        features, projections = self.encoder(x)
        return features, projections

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of a batch."""
        loss = self._step(batch, batch_idx, "train")
        self._watch(loss, batch_idx)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the loss of a batch."""
        self._step(batch, batch_idx, "val")

    def predict_step(self, batch: Batch, batch_idx: int) -> Batch:  # noqa: ARG002  (Lightning passes it)
        """Return ``features``, ``projections`` and the ``index`` of who they belong to."""
        _check_is_dictionary(batch)
        features, projections = self(batch["anchor"])
        return {"features": features, "projections": projections, "index": batch.get("index")}

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return AdamW, with the learning rate's schedule counted in steps."""
        # One fused kernel is several times faster, but its gradients cannot be clipped under mixed precision.
        fused = not (self._trainer and self._trainer.gradient_clip_val)
        self.check_fit(self._trainer)
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr, fused=fused)
        if self.schedule == "Constant":
            return optimizer
        scheduler = LambdaLR(optimizer, rate_factor(self.trainer))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def check_fit(self, trainer: Trainer | None = None) -> None:
        """Refuse what cannot be trained; `configure_optimizers` asks, and who starts a run may before.

        Parameters
        ----------
        trainer
            What the model is to be trained on; None where nobody knows.

        Raises
        ------
        DynaclrError
            If the encoder has no parameter to train, or the schedule needs an end that the run does not have.
        """
        if not any(parameter.requires_grad for parameter in self.parameters()):
            raise DynaclrError(
                f"encoder={type(self.encoder).__name__} has no parameter to train, but needs at least one"
            )
        if trainer is not None and self.schedule == "WarmupCosine":
            check_end(trainer)

    def on_train_start(self) -> None:
        """Say what beta means, since two conventions are in use."""
        loss = self.loss_function
        if isinstance(loss, NTXentHCL):
            _log.info(
                "NTXentHCL: beta=%g on the %s is beta=%g as published.", loss.beta, loss.beta_on, loss.published_beta
            )

    def on_train_epoch_end(self) -> None:
        """Log the epoch's sample grid; no epoch ends with a loss that is not finite."""
        self._raise_if_not_finite()
        self._log_samples("train")

    def on_validation_epoch_end(self) -> None:
        """Log the validation's sample grid, and tell of a loss that no checkpoint should be chosen by."""
        self._log_samples("val")
        loss = self.trainer.callback_metrics.get("loss/val")
        if self.trainer.is_global_zero and loss is not None and not torch.isfinite(loss):
            _log.warning(
                "loss/val is %g: look for images of the experiments held out that are not finite after normalization",
                float(loss),
            )

    def _step(self, batch: Batch, batch_idx: int, stage: Stage) -> Tensor:
        _check_is_dictionary(batch)
        missing = [name for name in _needed_views(self.loss_function) if name not in batch]
        if missing:
            raise DynaclrError(
                f"loss_function={type(self.loss_function).__name__} needs the key {missing[0]!r} in the batch, which "
                f"holds {sorted(batch)}; NTXentLoss and NTXentHCL take their negatives from the batch itself"
            )
        views: dict[str, Tensor] = {name: batch[name] for name in ("anchor", "positive", "negative") if name in batch}
        projections = {name: _at_least_single(self(view)[1]) for name, view in views.items()}
        lineage = batch.get("lineage")
        loss = _loss(self.loss_function, projections, lineage)
        self._log_scalars(loss, projections, lineage, stage)
        self._keep_samples(list(views.values()), batch_idx, stage)
        return loss

    def _log_scalars(
        self, loss: Tensor, projections: Mapping[str, Tensor], lineage: Tensor | None, stage: Stage
    ) -> None:
        size = len(projections["anchor"])
        log = partial(self.log, on_epoch=True, sync_dist=True)  # once an epoch: the mean is that of all ranks
        if stage == "train":
            self.log("loss/train_step", loss, on_step=True, prog_bar=True, batch_size=size)
        log(f"loss/{stage}", loss, on_step=False, prog_bar=True, batch_size=size)
        scalars = {f"{name}/{stage}": value for name, value in pair_statistics(projections, lineage).items()}
        if isinstance(self.loss_function, NTXentHCL):
            scalars["hcl/published_beta"] = loss.new_tensor(self.loss_function.published_beta)
            scalars[f"hcl/clamped_share/{stage}"] = self.loss_function.last_clamped_share
        for name, value in scalars.items():
            # A batch of one has no negatives, yet every rank logs every name, as syncing needs.
            weight = (1 if size == 1 else size * _COUNTS) if "negative" in name else size
            log(name, value, on_step=False, batch_size=weight)

    def _watch(self, loss: Tensor, batch_idx: int) -> None:
        """Stop at a loss that is not finite, looking only where the loop waits for the device anyway."""
        self._remember(loss, self.global_step)
        if loss.device.type == "cpu" or batch_idx % _LOOK_EVERY == 0:
            self._raise_if_not_finite()

    def _remember(self, loss: Tensor, step: int) -> None:
        """Keep on the device which step was the first without a finite loss."""
        here = torch.full((), step, dtype=torch.int64, device=loss.device)
        bad = torch.where(torch.isfinite(loss.detach()), torch.full_like(here, _NEVER), here)
        known = bad if self._first_bad_step is None else self._first_bad_step
        self._first_bad_step = torch.minimum(known, bad)

    def _raise_if_not_finite(self) -> None:
        if self._first_bad_step is None:
            return
        step, self._first_bad_step = int(self._first_bad_step), None
        if step != _NEVER:
            raise DynaclrError(
                f"loss/train was not finite at step {step} (noticed in epoch {self.current_epoch}): "
                f"lower lr={self.lr!r}, or look for images that are not finite after normalization"
            )

    def _keep_samples(self, views: list[Tensor], batch_idx: int, stage: Stage) -> None:
        wanted = batch_idx < self.log_batches_per_epoch and self.log_samples_per_batch > 0
        if wanted and self.trainer.is_global_zero and not self.trainer.sanity_checking and self._image_logs():
            self._samples[stage].append(middle_slices(views, self.log_samples_per_batch))

    def _log_samples(self, stage: Stage) -> None:
        planes, self._samples[stage] = self._samples[stage], []
        if planes:
            picture = sample_grid(np.concatenate(planes))
            for add_image in self._image_logs():
                add_image(f"samples/{stage}", picture, self.global_step, dataformats="HW")

    def _image_logs(self) -> list[Callable[..., None]]:
        """Return what takes pictures: the loggers of TensorBoard's kind."""
        takers = [getattr(getattr(logger, "experiment", None), "add_image", None) for logger in self.loggers]
        return [taker for taker in takers if callable(taker)]


def pair_statistics(projections: Mapping[str, Tensor], lineage: Tensor | None = None) -> dict[str, Tensor]:
    """Return how near anchors are to their positives and to their negatives.

    Parameters
    ----------
    projections
        ``anchor``, ``positive`` and perhaps ``negative``, each ``(B, D)``. Without ``negative``, an anchor's negatives
        are the positives of the other anchors, but for those of its own lineage.
    lineage
        Codes ``(B,)``; equal codes are relatives.

    Returns
    -------
    dict of str to Tensor
        The means ``metrics/cosine_similarity_positive``, ``metrics/euclidean_distance_positive`` and, 0 where there is
        no negative, ``metrics/cosine_similarity_negative`` and ``metrics/euclidean_distance_negative``; with
        ``lineage`` also ``false_negatives``, the share of the pairs of different samples that are of one lineage.
    """
    with torch.no_grad():
        anchor, positive = projections["anchor"], projections["positive"]
        values = {
            "metrics/cosine_similarity_positive": nn.functional.cosine_similarity(anchor, positive).mean(),
            "metrics/euclidean_distance_positive": (anchor - positive).norm(dim=1).mean(),
        }
        others = ~torch.eye(len(anchor), dtype=torch.bool, device=anchor.device)
        if lineage is not None:
            relatives = others & (lineage[:, None] == lineage[None, :]).to(anchor.device)
            values["false_negatives"] = _mean_where(relatives.to(anchor.dtype), others)
            others = others & ~relatives
        if "negative" in projections:
            negative = projections["negative"]
            values["metrics/cosine_similarity_negative"] = nn.functional.cosine_similarity(anchor, negative).mean()
            values["metrics/euclidean_distance_negative"] = (anchor - negative).norm(dim=1).mean()
        else:
            cosine = nn.functional.normalize(anchor) @ nn.functional.normalize(positive).T
            values["metrics/cosine_similarity_negative"] = _mean_where(cosine, others)
            values["metrics/euclidean_distance_negative"] = _mean_where(torch.cdist(anchor, positive), others)
    return values


def _mean_where(values: Tensor, mask: Tensor) -> Tensor:
    return values.masked_fill(~mask, 0).sum() / mask.sum().clamp(min=1)


def _check_loss(loss: nn.Module) -> None:
    if not isinstance(loss, (BaseMetricLossFunction, nn.TripletMarginLoss, nn.CosineEmbeddingLoss)):
        raise DynaclrError(
            f"loss_function={loss!r} needs to be NTXentHCL, another loss of pytorch-metric-learning such as "
            "NTXentLoss, torch.nn.TripletMarginLoss or torch.nn.CosineEmbeddingLoss"
        )


def _check_is_dictionary(batch: object) -> None:
    """Refuse what data modules of other models yield."""
    if not isinstance(batch, Mapping):
        raise DynaclrError(
            f"the batch is a {type(batch).__name__}, but needs to be a dictionary with images (B, C, Z, Y, X) under "
            "'anchor' and, to train or validate, under 'positive'"
        )


def _needed_views(loss: nn.Module) -> tuple[str, ...]:
    pairs_only = isinstance(loss, BaseMetricLossFunction)
    return ("anchor", "positive") if pairs_only else ("anchor", "positive", "negative")


def _loss(loss: nn.Module, projections: Mapping[str, Tensor], lineage: Tensor | None) -> Tensor:
    anchor, positive = projections["anchor"], projections["positive"]
    value: Tensor
    if isinstance(loss, nn.TripletMarginLoss):
        value = loss(anchor, positive, projections["negative"])
    elif isinstance(loss, nn.CosineEmbeddingLoss):
        ones = anchor.new_ones(len(anchor))
        others = torch.cat((positive, projections["negative"]))
        value = loss(torch.cat((anchor, anchor)), others, torch.cat((ones, -ones)))
    else:
        # Labels stay on the CPU: NTXentHCL finds the pairs there, without waiting for the device.
        labels = torch.arange(len(anchor)).repeat(2)
        value = loss(torch.cat((anchor, positive)), labels, **_lineage_argument(loss, lineage))
    return value


def _lineage_argument(loss: nn.Module, lineage: Tensor | None) -> dict[str, Tensor]:
    if not getattr(loss, "mask_same_lineage", False):
        return {}
    if lineage is None:
        raise DynaclrError("mask_same_lineage=True needs the key 'lineage' in the batch")
    return {"lineage": torch.cat((lineage, lineage))}


def _at_least_single(projections: Tensor) -> Tensor:
    """Return half precision as float32, in which sums over a batch are exact enough."""
    return projections.float() if projections.dtype in (torch.float16, torch.bfloat16) else projections


def _example_input(encoder: nn.Module, shape: Sequence[int] | None) -> Tensor | None:
    if shape is None:
        return None
    sizes = list(shape)
    if len(sizes) != 5 or not all(is_whole(size) and size > 0 for size in sizes):
        raise DynaclrError(f"example_input_array_shape={shape!r} needs five positive whole numbers (B, C, Z, Y, X)")
    if isinstance(encoder, ContrastiveEncoder):
        sizes[1:3] = encoder.in_channels, encoder.in_stack_depth
    elif sizes == [1, 2, 15, 256, 256]:  # the default, which nobody chose for this encoder
        return None
    return torch.zeros(sizes)
