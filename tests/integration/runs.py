"""What the end-to-end runs share: a small registry on disk, a small encoder, and a record of what training saw."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from dynaclr.datamodule import MultiExperimentDataModule
from dynaclr.engine import ContrastiveModule
from dynaclr.loss import NTXentHCL
from dynaclr_strategies.ready_made import two_experiments
from dynaclr_strategies.writers import write_registry

BATCH_SIZE = 4

LIGHTNING_WARNINGS = (
    # Advice about process workers; ours are threads.
    "ignore:.*does not have many workers.*",
    "ignore:.*persistent_workers=True.*",
    # Lightning 2.6 with PyTorch 2.13: a deprecated name in Lightning's own code.
    "ignore:.*treespec, LeafSpec.*:FutureWarning",
    # Runs of a few steps.
    "ignore:The number of training batches .* is smaller than the logging interval.*",
    # Runs that end or begin with a checkpoint on purpose.
    "ignore:Be aware that when using `ckpt_path`, callbacks used to create the checkpoint.*",
    "ignore:.*was called without a model. The last model of the previous.*",
    "ignore:.*is set, but there is no last checkpoint available.*",
    # The tests' own choice of hardware.
    "ignore:GPU available but not used.*",
    "ignore:Checkpoint directory .* exists and is not empty.*",
)


class TinyEncoder(nn.Module):
    """A convolution and two linear layers: features of 8 numbers, projections of 4."""

    def __init__(self, channels: int = 2, depth: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv3d(channels, 8, (depth, 5, 5), stride=(1, 4, 4)), nn.ReLU(), nn.Flatten(2))
        self.features = nn.Linear(8, 8)
        self.projection = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and projections of images ``(B, C, Z, Y, X)``."""
        features = self.features(self.body(x / 255).mean(-1))
        return features, self.projection(features)


def make_model(channels: int = 2, kind: Any = ContrastiveModule, **options: Any) -> Any:
    """Return a model, a `ContrastiveModule` of some kind, with weights that are the same every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = TinyEncoder(channels)
    return kind(encoder, NTXentHCL(0.07, 0.5), example_input_array_shape=None, **options)


def write_two_experiments(root: Path, **options: Any) -> Path:
    """Write exp_alpha and exp_beta, by default one well and one FOV each with 5 tracks in 10 frames."""
    return write_registry(two_experiments(**{"wells": ("A/1",), "conditions": ("mock",), **options}), root)


def make_data(registry: Path, **options: Any) -> MultiExperimentDataModule:
    """Return a data module of small patches that leaves pixels as they are unless told otherwise."""
    defaults: dict[str, Any] = {
        "z_range": (0, 1),
        "yx_patch_size": (32, 32),
        "final_yx_patch_size": (24, 24),
        "val_experiments": ["exp_beta"],
        "batch_size": BATCH_SIZE,
        "num_workers": 1,
        "channel_dropout_prob": 0.0,
    }
    return MultiExperimentDataModule(registry, **{**defaults, **options})


def make_trainer(root: Path, **options: Any) -> Trainer:
    """Return a trainer on the CPU that prints and logs nothing."""
    defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "default_root_dir": root,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
    }
    return Trainer(**{**defaults, **options})


def digest(batch: dict[str, Any]) -> str:
    """Return a name for the pixels of a batch, anchors and positives in their order."""
    parts = [batch[key].contiguous().numpy().tobytes() for key in ("anchor", "positive") if key in batch]
    return hashlib.blake2b(b"".join(parts), digest_size=6).hexdigest()


class Recorder(Callback):
    """Keeps which batches training and validation saw, by epoch."""

    def __init__(self) -> None:
        self.trained: list[tuple[int, str]] = []
        self.validated: list[tuple[int, str]] = []
        self.sanity: list[str] = []
        self.losses: list[float] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Record a training batch before anything can go wrong with it."""
        self.trained.append((trainer.current_epoch, digest(batch)))

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *rest: Any) -> None:  # noqa: ARG002
        """Record the loss."""
        self.losses.append(float(outputs["loss"]))

    def on_validation_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, *rest: int) -> None:  # noqa: ARG002
        """Record a validation batch, those of the sanity check apart."""
        if trainer.sanity_checking:
            self.sanity.append(digest(batch))
        else:
            self.validated.append((trainer.current_epoch, digest(batch)))

    def epoch(self, number: int) -> list[str]:
        """Return the training batches of an epoch."""
        return [name for epoch, name in self.trained if epoch == number]
