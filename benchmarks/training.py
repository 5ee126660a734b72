"""A whole training step at the sizes of the demo, beside the encoder's part of it alone."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.model import Entry, Figure, Scale, at_most
from benchmarks.timing import in_own_process, interleaved, middle_process
from dynaclr.datamodule import MultiExperimentDataModule
from dynaclr.demo.movies import write_movies
from dynaclr.encoder import ContrastiveEncoder
from dynaclr.experiment import ExperimentRegistry
from dynaclr.loss import NTXentHCL
from dynaclr.preprocess import compute_statistics
from dynaclr.transforms import NormalizeSampled, RandAffined, RandGaussianNoised

GROUP = "training step"
BATCH, STEPS = 32, 8
PROCESSES = 5


class Demo:
    """The demo's data, encoder, loss and optimizer, put together without a trainer.

    Parameters
    ----------
    root
        Where its movies are written.
    """

    def __init__(self, root: Path) -> None:
        experiments_yaml = write_movies(root)
        compute_statistics(ExperimentRegistry.from_yaml(experiments_yaml))
        keys = ["ch_0", "ch_1"]
        self.data = MultiExperimentDataModule(
            experiments_yaml,
            z_range=(0, 1),
            yx_patch_size=(48, 48),
            final_yx_patch_size=(32, 32),
            val_experiments=[],
            batch_size=BATCH,
            num_workers=1,
            leaky=0.1,
            temporal_enrichment=True,
            temporal_window_hours=1.0,
            normalizations=[NormalizeSampled(keys=keys)],
            augmentations=[
                RandAffined(keys=keys, prob=0.8, rotate_range=(3.14, 0.0, 0.0)),
                RandGaussianNoised(keys=keys, prob=0.5, std=0.1),
            ],
        )
        self.data.setup("fit")
        torch.manual_seed(0)
        self.encoder = ContrastiveEncoder(
            backbone="convnext_zepto",
            in_channels=2,
            in_stack_depth=1,
            stem_kernel_size=(1, 4, 4),
            stem_stride=(1, 4, 4),
            embedding_dim=256,
            projection_dim=32,
        )
        self.loss = NTXentHCL(temperature=0.2, mask_same_lineage=True)
        self.optimizer = torch.optim.AdamW(self.encoder.parameters(), lr=1e-3, fused=True)
        self.batches = self._endless()
        self.raw = next(self.batches)
        self.ready = self.data.transforms(dict(self.raw), training=True)

    def _endless(self) -> Iterator[dict[str, Any]]:
        while True:
            yield from self.data.train_dataloader()

    def step(self, batch: dict[str, Any]) -> None:
        """Train on one batch that is ready for the encoder."""
        anchor, positive = (self.encoder(batch[name])[1] for name in ("anchor", "positive"))
        labels = torch.arange(len(anchor)).repeat(2)
        loss = self.loss(torch.cat([anchor, positive]), labels, lineage=batch["lineage"].repeat(2))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def encode(self) -> None:
        """Pass one batch through the encoder as often: both views forward, as a loss needs both, then backward."""
        for _ in range(STEPS):
            passed = sum(self.encoder(self.ready[name])[1].sum() for name in ("anchor", "positive"))
            # As in a step. With the gradients of the last pass gone before, its memory is given back and fetched anew.
            self.optimizer.zero_grad()
            passed.backward()

    def with_loader(self) -> None:
        """Take batches from the loader and train on them."""
        for batch in islice(self.batches, STEPS):
            self.step(self.data.transforms(batch, training=True))

    def without_loader(self) -> None:
        """Do the same steps, on one batch that is there already."""
        for _ in range(STEPS):
            self.step(self.data.transforms(dict(self.raw), training=True))

    def without_transforms(self) -> None:
        """Do the same steps, on one batch that is transformed already."""
        for _ in range(STEPS):
            self.step(self.ready)


def measure(scale: Scale) -> Iterator[Entry]:
    """Measure the rows of the training step."""
    processes, least = (1, 1) if scale.quick else (PROCESSES, 5)
    arguments = {"budget": 4 * scale.budget / processes, "least": least}
    taken = [in_own_process("benchmarks.training:one_process", **arguments) for _ in range(processes)]
    middle = middle_process(taken, "loader", "encoder")
    for work, ours, limit in (
        ("all of it, beside the step on a batch in memory", "loader", "no loader"),
        ("all of it, beside the training of the encoder: its passes, loss and optimizer", "loader", "no transforms"),
        ("all of it, beside the encoder alone", "loader", "encoder"),
        ("loss and optimizer, beside the encoder alone", "no transforms", "encoder"),
    ):
        figure = Figure(GROUP, work, BATCH, "batch size", "step", {"ours": middle[ours], "limit": middle[limit]})
        yield figure
        if ours == "loader":
            yield at_most(GROUP, work, "times that", figure.over_limit, 1.1)


def one_process(budget: float, least: int) -> dict[str, float]:
    """Return the seconds that a step takes in this process: whole, and with less and less around the encoder.

    Parameters
    ----------
    budget
        Seconds to spend on the turns.
    least
        Fewest turns of each.
    """
    torch.set_num_threads(1)  # as on a GPU, the encoder leaves a core to the loader
    with tempfile.TemporaryDirectory() as folder:
        demo = Demo(Path(folder))
        calls: dict[str, tuple[Callable[[], object], int]] = {
            "loader": (demo.with_loader, STEPS),
            "no loader": (demo.without_loader, STEPS),
            "no transforms": (demo.without_transforms, STEPS),
            "encoder": (demo.encode, STEPS),
        }
        # The loader reads one batch ahead when its turn ends; nobody else shall work meanwhile.
        before = dict.fromkeys(set(calls) - {"loader"}, partial(time.sleep, 0.1))
        return interleaved(calls, budget, before, least=least, of_turns=median)
