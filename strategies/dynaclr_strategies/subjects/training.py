"""Training as a subject: ``make(experiments_yaml, case)`` trains a small encoder and tells what it saw."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dynaclr_strategies.cases import TrainingCase
from dynaclr_strategies.invariants.datamodule_runs import quiet, trainer_options
from dynaclr_strategies.subjects.base import Subject, on_disk, subject
from dynaclr_strategies.subjects.datamodule import make_datamodule, materialise_datamodule

__all__ = ["Run", "fit", "make_model", "make_run"]


@dataclass
class Run:
    """What happened in a run of a trainer.

    Attributes
    ----------
    losses
        The training losses, step by step.
    gradients
        The gradients at the last step, by parameter; None where none arrived.
    weights_before, weights
        The parameters before and after the run.
    changed
        Number and key of what a step changed in the batch that it was given.
    """

    losses: list[float] = field(default_factory=list)
    gradients: dict[str, Any] = field(default_factory=dict)
    weights_before: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, Any] = field(default_factory=dict)
    changed: list[tuple[int, str]] = field(default_factory=list)


def make_run(experiments_yaml: Path, case: TrainingCase, **options: Any) -> Run:
    """Train a small encoder with ``dynaclr``'s data module, module and NTXentHCL, with a real trainer on the CPU.

    Parameters
    ----------
    experiments_yaml, case
        What to train on, and how.
    **options
        Of the trainer.
    """
    return fit(make_datamodule(experiments_yaml, case.data), make_model(case), **options)


def fit(datamodule: Any, model: Any, **options: Any) -> Run:
    """Train a model on a data module as `make_run` does."""
    from lightning.pytorch import Trainer

    run = Run(weights_before=_weights(model))
    with quiet():
        trainer = Trainer(**{**trainer_options(), **options}, callbacks=[_recorder(run)], num_sanity_val_steps=0)
        trainer.fit(model, datamodule=datamodule)
    run.weights = _weights(model)
    return run


def _weights(model: Any) -> dict[str, Any]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def make_model(case: TrainingCase) -> Any:
    """Return ``dynaclr``'s module around a small encoder; its weights are the same for the same seed."""
    import torch

    from dynaclr.engine import ContrastiveModule
    from dynaclr.loss import NTXentHCL

    first, stop = case.data.index.z_range
    height, width = case.data.final_yx_patch_size
    channels = len(case.data.index.registry.experiments[0].source_channel)

    class Encoder(torch.nn.Module):
        """Three layers without a kink, so that every weight gets a gradient."""

        def __init__(self) -> None:
            super().__init__()
            self.body = torch.nn.Linear(channels * (stop - first) * height * width, 6)
            self.features = torch.nn.Linear(6, 5)
            self.projection = torch.nn.Linear(5, 4)

        def forward(self, x: Any) -> tuple[Any, Any]:
            """Return features and projections of pixels between 0 and 256."""
            features = self.features(torch.tanh(self.body(x.flatten(1) / 128 - 1)))
            return features, self.projection(torch.tanh(features))

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(case.data.sampling.seed)
        encoder = Encoder()
    loss = NTXentHCL(case.temperature, case.beta)
    return ContrastiveModule(encoder, loss, lr=1e-2, example_input_array_shape=None)


def _recorder(run: Run) -> Any:
    import torch
    from lightning.pytorch import Callback

    given: dict[str, Any] = {}

    class Recorder(Callback):
        """Keeps what a step is given, and what it leaves."""

        def on_train_batch_start(self, _trainer: Any, _module: Any, batch: Any, _number: int) -> None:
            given.clear()
            given.update({key: value.clone() for key, value in batch.items() if isinstance(value, torch.Tensor)})

        def on_before_optimizer_step(self, _trainer: Any, module: Any, _optimizer: Any) -> None:
            run.gradients = {
                name: None if value.grad is None else value.grad.detach().clone()
                for name, value in module.named_parameters()
            }

        def on_train_batch_end(self, _trainer: Any, _module: Any, outputs: Any, batch: Any, number: int) -> None:
            run.losses.append(float(outputs["loss"]))
            # Bit by bit: what is not a number is the same as itself here.
            run.changed += [
                (number, key) for key, value in given.items() if not torch.equal(_bits(value), _bits(batch[key]))
            ]

    return Recorder()


def _bits(value: Any) -> Any:
    import torch

    return value.contiguous().view(torch.uint8)


def _materialise(case: TrainingCase, folder: Path) -> None:
    materialise_datamodule(case.data, folder)


subject(Subject("training", TrainingCase, make_run, on_disk, _materialise))
