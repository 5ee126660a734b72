"""Training as a subject: ``make(experiments_yaml, case)`` trains a small encoder and tells what it saw."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dynaclr_strategies.cases import DataModuleCase
from dynaclr_strategies.subjects.base import Subject, on_disk, subject
from dynaclr_strategies.subjects.datamodule import make_datamodule, materialise_datamodule

__all__ = ["Run", "fit", "make_run"]


@dataclass
class Run:
    """What happened in a run of a trainer.

    Attributes
    ----------
    datamodule
        The data module that was trained on.
    trained, validated
        The transformed batches by epoch, in their order; those of the sanity check are validated in epoch -1.
    losses
        The training losses, step by step.
    gradients
        The gradients at the last step, by parameter; None where none arrived.
    weights
        The parameters after the run.
    """

    datamodule: Any
    trained: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    validated: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    gradients: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, Any] = field(default_factory=dict)


def make_run(experiments_yaml: Path, case: DataModuleCase, **options: Any) -> Run:
    """Train a small encoder with ``dynaclr``'s data module, module and NTXentHCL, with a real trainer on the CPU.

    Parameters
    ----------
    experiments_yaml, case
        What to train on; the seed of the sampling is that of the encoder's weights too.
    **options
        Of the trainer.
    """
    return fit(make_datamodule(experiments_yaml, case), case.sampling.seed, **options)


def fit(datamodule: Any, seed: int, **options: Any) -> Run:
    """Train on a data module as `make_run` does."""
    from lightning.pytorch import Trainer

    run = Run(datamodule)
    with _quiet():
        model = _model(datamodule, seed)
        trainer = Trainer(
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            callbacks=[_recorder(run)],
            **options,
        )
        trainer.fit(model, datamodule=datamodule)
    run.weights = {name: value.detach().clone() for name, value in model.named_parameters()}
    return run


def _model(datamodule: Any, seed: int) -> Any:
    import torch

    from dynaclr.engine import ContrastiveModule
    from dynaclr.experiment import ExperimentRegistry
    from dynaclr.loss import NTXentHCL

    channels = ExperimentRegistry.from_yaml(datamodule.experiments_yaml).num_source_channels
    planes = datamodule.z_range.stop - datamodule.z_range.start
    height, width = datamodule.final_yx_patch_size

    class Encoder(torch.nn.Module):
        """Three layers without a kink, so that every weight gets a gradient."""

        def __init__(self) -> None:
            super().__init__()
            self.body = torch.nn.Linear(channels * planes * height * width, 6)
            self.features = torch.nn.Linear(6, 5)
            self.projection = torch.nn.Linear(5, 4)

        def forward(self, x: Any) -> tuple[Any, Any]:
            """Return features and projections."""
            features = self.features(torch.tanh(self.body(x.flatten(1) / 256)))
            return features, self.projection(torch.tanh(features))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = Encoder()
    return ContrastiveModule(encoder, NTXentHCL(0.07, 0.5), lr=1e-2, example_input_array_shape=None)


def _recorder(run: Run) -> Any:
    from lightning.pytorch import Callback

    class Recorder(Callback):
        """Keeps what the model sees, before anything can go wrong with it."""

        def on_train_batch_start(self, trainer: Any, _module: Any, batch: Any, _number: int) -> None:
            run.trained.append((trainer.current_epoch, batch))

        def on_validation_batch_start(self, trainer: Any, _module: Any, batch: Any, *_: int) -> None:
            run.validated.append((-1 if trainer.sanity_checking else trainer.current_epoch, batch))

        def on_train_batch_end(self, _trainer: Any, _module: Any, outputs: Any, *_: Any) -> None:
            run.losses.append(float(outputs["loss"]))

        def on_before_optimizer_step(self, _trainer: Any, module: Any, _optimizer: Any) -> None:
            run.gradients = {
                name: None if value.grad is None else value.grad.detach().clone()
                for name, value in module.named_parameters()
            }

    return Recorder()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's advice out of thousands of runs of a few steps."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "dynaclr")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


subject(Subject("training", DataModuleCase, make_run, on_disk, materialise_datamodule))
