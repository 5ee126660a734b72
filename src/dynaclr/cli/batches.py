"""The command batches: what the configuration of a fit makes the sampler draw; neither model nor trainer is made."""

from __future__ import annotations

import os
from argparse import SUPPRESS
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser

from dynaclr.checks import whole
from dynaclr.cli.sentences import ConfigurationError
from dynaclr.cli.training import TrainingCLI, run_training_cli
from dynaclr.datamodule import MultiExperimentDataModule
from dynaclr.report.batches import batch_summary, batch_table, plot_batches

__all__ = ["batches"]


class BatchesCLI(TrainingCLI):
    """Reads the configuration of a fit, and makes its data only: four GPUs need not be there to look at batches."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Return the command whose configuration is read."""
        return {"fit": TrainingCLI.subcommands()["fit"]}

    def setup_parser(self, *args: Any, **kwargs: Any) -> None:
        """Make the parser, whose usage line begins with what the user types."""
        super().setup_parser(*args, **kwargs)
        parser = self._parser("fit")
        parser.prog, parser.description = "dynaclr batches", "Show what the batches of a fit hold, without training."

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add those of a fit, of which the data alone must be given."""
        parser.add_lightning_class_args(Trainer, "trainer")
        parser.add_lightning_class_args(LightningModule, "model", subclass_mode=True, required=False)
        parser.add_lightning_class_args(LightningDataModule, "data", subclass_mode=True)

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        parser.add_argument("--epoch", type=int, default=0, help="Which epoch.")
        parser.add_argument("--batches", type=int, default=24, help="How many of its batches, at most.")
        parser.add_argument("--output", type=str | None, help="The PNG file to draw them in.")
        shown = ("help", "config", "data", "epoch", "batches", "output")
        for action in parser._actions:  # noqa: SLF001  argparse lets nobody else look at them
            if action.dest.partition(".")[0] not in shown:
                action.help = SUPPRESS  # accepted, since it is a fit's command line, and of no effect
        return parser

    def before_instantiate_classes(self) -> None:
        """Check what is asked for before anything expensive begins."""
        whole("epoch", self._get(self.config, "epoch"), at_least=0)
        whole("batches", self._get(self.config, "batches"), at_least=1)
        output = self._get(self.config, "output")
        if output is None:
            return
        folder = Path(output).absolute().parent
        writable = folder.is_dir() and os.access(folder, os.W_OK) and not Path(output).is_dir()
        if Path(output).suffix.lower() != ".png" or not writable:
            raise ConfigurationError(f"output={output!r} needs to be a PNG file in a folder that can be written to")

    def make(self) -> None:
        """Make the data only."""
        only = Namespace(data=self._get(self.config, "data"))  # type: ignore[no-untyped-call]
        self.datamodule = self._parser("fit").instantiate(only).data

    def _run_subcommand(self, subcommand: str) -> None:
        """Print the index and what the batches hold, and draw them."""
        data = self.datamodule
        if not isinstance(data, MultiExperimentDataModule):
            raise ConfigurationError(
                f"data is a {type(data).__name__}, but its batches can be shown of a MultiExperimentDataModule only"
            )
        data.setup(subcommand)
        sampler, index = data.train_sampler, data.train_index
        assert sampler is not None  # noqa: S101  set up for fit
        assert index is not None  # noqa: S101
        epoch = self._get(self.config, "epoch")
        table = batch_table(sampler, index.valid_anchors, epoch=epoch, batches=self._get(self.config, "batches"))
        drawn = table["batch"].max() + 1
        title = f"Epoch {epoch}: {drawn} of {sampler.num_batches} batches of {sampler.batch_size} anchors"
        print(f"{index.summary()}\n\n{title}\n{batch_summary(sampler, table).to_string(index=False)}")
        output = self._get(self.config, "output")
        if output is not None:
            print(f"\ndrawn in {plot_batches(table, Path(output), title=title)}")


def batches(arguments: Sequence[str]) -> None:
    """Run ``dynaclr batches --config FILE [--epoch E] [--batches N] [--output FILE.png]``.

    Parameters
    ----------
    arguments
        What follows the command.
    """
    run_training_cli("fit", arguments, BatchesCLI)
