"""The part of a data module that works on the device: batches arrive raw, and leave as the encoder sees them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch import Tensor

from dynaclr.batch_transforms import BatchTransforms
from dynaclr.randomness import keys
from dynaclr.trainers import number_in_transfer


class TransformsOnDevice(LightningDataModule, ABC):
    """Normalizes batches, crops them in the centre, and in training augments them and drops single channels.

    Where the batches come from is the business of who inherits.

    Parameters
    ----------
    transforms
        What is done to a batch.
    seed
        Seed of augmentations and channel dropout.
    """

    def __init__(self, transforms: BatchTransforms, seed: int) -> None:
        super().__init__()
        self.transforms = transforms
        self.seed = seed

    @abstractmethod
    def setup(self, stage: str) -> None:
        """Make ready what the loaders of a stage read."""

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move the tensors of a batch, without walking through its lists of statistics."""
        if not _is_batch(batch):
            return super().transfer_batch_to_device(batch, device, dataloader_idx)
        # CUDA has taken what is in ordinary memory when the call returns. Elsewhere (MPS) a copy may still read memory
        # that `dynaclr.memory.ArrayPool` has lent out again.
        overlap = device.type == "cuda"
        return {
            key: value.to(device, non_blocking=overlap) if isinstance(value, Tensor) else value
            for key, value in batch.items()
        }

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:  # noqa: ARG002  (Lightning passes it)
        """Transform a batch, with everything random only while the trainer trains.

        What is drawn depends on `seed`, epoch, number of the batch in the epoch and rank alone: ranks draw differently,
        a resumed run draws what the uninterrupted one does, and torch's global generator stays where it is.

        Lightning also passes the model's example input through here; that is no batch and stays as it is.
        """
        if not _is_batch(batch):
            return batch
        if self.trainer is None or not self.trainer.training:
            return self.transforms(batch, training=False)
        return self.transforms(batch, training=True, seed=self._draw_seed(self.trainer))

    def _draw_seed(self, trainer: Trainer) -> int:
        """Return what the random transforms of the batch that is being transferred draw from."""
        number = number_in_transfer(trainer)
        return int(keys(self.seed, trainer.current_epoch, "augmentation", number, trainer.global_rank)[0])


def _is_batch(batch: Any) -> bool:
    return isinstance(batch, dict) and "anchor" in batch
