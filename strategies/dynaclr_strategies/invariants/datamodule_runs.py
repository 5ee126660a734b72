"""What the laws of the data module have in common: its parts, and what a real trainer does with it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dynaclr_strategies.cases import DataModuleCase, DatasetCase
from dynaclr_strategies.invariants.base import InvariantViolation
from dynaclr_strategies.invariants.evidence import PatchEvidence
from dynaclr_strategies.oracles.dataset import DatasetOracle, Observation
from dynaclr_strategies.writers import write_registry

__all__ = [
    "VIEWS",
    "Step",
    "arrays",
    "centre",
    "check_same_crops",
    "named",
    "oracle_of",
    "quiet",
    "set_up",
    "trainer_options",
    "watched",
]

Array = npt.NDArray[np.float32]
Crops = Mapping[str, Array]
VIEWS = ("anchor", "positive")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep advice out of thousands of runs that are small on purpose."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "dynaclr")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        # Whatever the warnings, a run shows what it does by its batches, its losses and its weights.
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def set_up(make: Any, case: DataModuleCase, root: Path, stage: str, trainer: Any = None) -> Any:
    """Write the registry of a case and return a data module after its setup, where need be with a trainer."""
    datamodule = make(write_registry(case.index.registry, root), case)
    datamodule.trainer = trainer
    with quiet():
        datamodule.setup(stage)
    return datamodule


def oracle_of(case: DataModuleCase) -> DatasetOracle:
    """Return the one who knows which observations there are, and what their crops show."""
    return DatasetOracle(DatasetCase(index=case.index, tau_decay_rate=case.tau_decay_rate))


def named(table: Any) -> list[Observation]:
    """Return the observations of a table, row by row."""
    columns = [table[name].tolist() for name in Observation._fields]
    return [Observation(str(e), str(f), int(track), int(t)) for e, f, track, t in zip(*columns, strict=True)]


def arrays(batch: Mapping[str, Any]) -> dict[str, Array]:
    """Return copies of the crops of a batch, by view."""
    return {view: np.asarray(batch[view]).astype(np.float32) for view in VIEWS if view in batch}


def centre(crops: Array, size: tuple[int, int]) -> Array:
    """Cut crops (B, C, Z, Y, X) to their centre: as many pixels go at the top as at the bottom, or one fewer."""
    top, left = ((extent - wanted) // 2 for extent, wanted in zip(crops.shape[-2:], size, strict=True))
    return crops[..., top : top + size[0], left : left + size[1]]


def check_same_crops(where: str, seen: Crops, expected: Crops, case: DataModuleCase, law: str, meant: str) -> None:
    """Raise for the first crop of a batch that is not the one it should be; ``meant`` says which that is."""
    for view in VIEWS:
        if view not in seen or seen[view].shape != expected[view].shape:
            shape = seen[view].shape if view in seen else "missing"
            raise InvariantViolation(f"{where}, {view}", f"shape {shape}", f"{expected[view].shape}", law)
        for place, (left, right) in enumerate(zip(seen[view], expected[view], strict=True)):
            if not np.array_equal(left, right):
                raise InvariantViolation(
                    f"{where}, {view} {place}",
                    f"{int((left != right).sum())} of {left.size} voxels differ",
                    meant,
                    law,
                    evidence=PatchEvidence(left, right, case.index.registry.experiments[0].source_channel),
                )


# --- with a trainer ---------------------------------------------------------------------------------------------------


def trainer_options() -> dict[str, Any]:
    """Return what every trainer here is told: the CPU, and neither files nor bars."""
    return {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
    }


@dataclass(frozen=True)
class Step:
    """A batch on its way to the model.

    Attributes
    ----------
    stage
        In which state of the trainer.
    epoch, number
        The epoch, and the number of the batch in it.
    raw, seen
        The crops (B, C, Z, Y, X) as the loader gave them, and as the model saw them; by view.
    """

    stage: Literal["training", "validation", "sanity check"]
    epoch: int
    number: int
    raw: Crops
    seen: Crops

    def __str__(self) -> str:
        return f"{self.stage}, batch {self.number} of epoch {self.epoch}"


def watched(datamodule: Any, **options: Any) -> list[Step]:
    """Let a real trainer run over a data module, with a model that learns nothing, and return all steps.

    Parameters
    ----------
    datamodule
        As it is before any setup.
    **options
        Of the trainer.
    """
    from lightning.pytorch import Trainer

    steps: list[Step] = []
    with quiet():
        Trainer(**{**trainer_options(), **options}).fit(_watcher(steps), datamodule=datamodule)
    return steps


def _watcher(steps: list[Step]) -> Any:
    import torch
    from lightning.pytorch import LightningModule

    class Watcher(LightningModule):
        """Notes each batch before and after what the data module does to it."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))
            self.raw: Crops = {}

        def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:  # noqa: ARG002 - Lightning's name
            # Lightning asks the model only where the data module has no such hook, as ours.
            self.raw = arrays(batch)
            return batch

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self._note("training", batch, batch_idx)
            return self.weight * 0.0

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self._note("sanity check" if self.trainer.sanity_checking else "validation", batch, batch_idx)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.0)

        def _note(self, stage: Any, batch: Any, number: int) -> None:
            steps.append(Step(stage, self.trainer.current_epoch, number, self.raw, arrays(batch)))

    return Watcher()
