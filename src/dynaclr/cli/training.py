"""The commands fit, validate and predict: a Lightning CLI with our manners."""

from __future__ import annotations

import logging
import traceback
import warnings
from argparse import ArgumentError
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback

import dynaclr
from dynaclr.cli.checkpoints import FoundCheckpoint, check_folders, check_origin, is_local, tell_checkpoints
from dynaclr.cli.sentences import ConfigurationError, plain_sentence, sentence_of_unknown
from dynaclr.datamodule import MultiExperimentDataModule
from dynaclr.embeddings import EmbeddingWriter
from dynaclr.engine import ContrastiveModule
from dynaclr.errors import DynaclrError, did_you_mean
from dynaclr.files import read_yaml
from dynaclr.paths import expanded
from dynaclr.weights import check_weights

__all__ = ["TrainingCLI", "fit", "predict", "run_training_cli", "validate"]

_log = logging.getLogger(__name__)


class _SaveFitConfig(SaveConfigCallback):
    """Keep a fit's configuration beside its log; without a logger there is no folder that is the run's own."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write ``config.yaml``, in place of an earlier one."""
        if stage == "fit" and trainer.loggers:
            super().setup(trainer, pl_module, stage)


class TrainingCLI(LightningCLI):
    """Lightning's command line for any model and data given by ``class_path``.

    Parameters
    ----------
    arguments
        Command and options, such as ``["fit", "--config", "fit.yml"]``.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        quiet: dict[str, Any] = {"exit_on_error": False, "allow_abbrev": False}
        super().__init__(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=_SaveFitConfig,
            save_config_kwargs={"overwrite": True},
            seed_everything_default=0,
            load_from_checkpoint_support=False,  # our modules keep no hyperparameters: a checkpoint is only weights
            # jsonargparse will know no abbreviations either: what they mean changes with every option that is new.
            parser_kwargs={"prog": "dynaclr", **quiet, **{name: dict(quiet) for name in self.subcommands()}},
            args=list(arguments),
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Return Lightning's commands but for test, which our data has no set for."""
        commands = LightningCLI.subcommands()
        return {name: commands[name] for name in ("fit", "validate", "predict")}

    def setup_parser(self, *args: Any, **kwargs: Any) -> None:
        """Make the parsers, whose usage lines begin with what the user types."""
        super().setup_parser(*args, **kwargs)
        for name, parser in self._subcommand_parsers.items():
            parser.prog = f"dynaclr {name}"

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand == "predict":
            parser.set_defaults(return_predictions=False)
            parser.add_argument("--output", type=str | None, help="The AnnData Zarr store for the embeddings.")
            parser.add_argument(
                "--overwrite", type=bool, nargs="?", const=True, default=False, help="Whether to replace that store."
            )
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the arguments, with a look at the files they name that says what is wrong with them."""
        for path in _config_paths(args):
            if _is_pipe(path):  # it is read twice
                raise ConfigurationError(f"the configuration {path!r} is a pipe, but needs to be a regular file")
            if not isinstance(content := read_yaml(path), dict):
                raise ConfigurationError(f"the configuration {path!r} needs keys such as model, data and trainer")
            self._check_sections(args[0], content)
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            unknown = sentence_of_unknown(str(error), self._subcommand_parsers[args[0]])
            if unknown is None:
                raise
            raise ConfigurationError(unknown) from error
        command = self.config.get("subcommand")
        if command:
            _check_numbers(self.config[command])
        checkpoint = self.config[command].get("ckpt_path") if command else None
        if checkpoint is not None:  # Lightning opens it next
            check_origin(checkpoint, command)
            if checkpoint.startswith("~"):  # predict notes which file it was
                self.config[command]["ckpt_path"] = str(expanded(checkpoint))

    def _check_sections(self, command: str, content: dict[str, Any]) -> None:
        """Refuse sections that nobody reads: of those without content the parser says nothing."""
        parser = self._subcommand_parsers[command]
        names = {action.dest for action in parser._actions}  # noqa: SLF001  argparse has no other way
        known = {name.partition(".")[0] for name in names}
        for key, value in content.items():
            section, dot, _ = str(key).partition(".")  # "trainer.max_epochs: 5" is read too
            if section not in known or (dot and value == {} and key not in names):
                raise ConfigurationError(
                    f"the configuration has a key {key!r} that nobody reads{did_you_mean(str(key), sorted(known))}"
                )

    def before_instantiate_classes(self) -> None:
        """Look for the files that are needed later, before anything expensive begins."""
        checkpoint = self._get(self.config, "ckpt_path")
        if self.subcommand != "fit" and checkpoint is None and not self._model_has_checkpoint():
            _log.warning("No --ckpt_path: %s works with random weights.", self.subcommand)
        self._writer = self._make_writer() if self.subcommand == "predict" else None

    def instantiate_classes(self) -> None:
        """Make model, data and trainer; a value that one of them refuses is a mistake of the configuration."""
        try:
            self.make()
        except (ValueError, TypeError, ImportError, MisconfigurationException) as error:
            if isinstance(error, DynaclrError) or _is_ours(error):
                raise
            raise ConfigurationError(plain_sentence(str(error))) from error
        self._check_weights()
        self._check_run()

    def _check_run(self) -> None:
        """Refuse what cannot work before a log is begun."""
        data, trainer = getattr(self, "datamodule", None), getattr(self, "trainer", None)
        if trainer is None:
            return
        if self.subcommand == "fit" and isinstance(self.model, ContrastiveModule):
            self.model.check_fit(trainer)
        if isinstance(data, MultiExperimentDataModule):
            data.prepare(str(self.subcommand), trainer, self.model)
        if self.subcommand == "fit" and trainer.is_global_zero:
            check_folders(trainer)

    def _check_weights(self) -> None:
        """Refuse a checkpoint of another model; of models that are not ours nobody knows what they make of one."""
        checkpoint = self._get(self.config, "ckpt_path")
        model = getattr(self, "model", None)
        if checkpoint is None or not is_local(checkpoint):
            return
        if isinstance(model, ContrastiveModule) and model.strict_loading:
            check_weights(model, checkpoint)

    def make(self) -> None:
        """Make what the command needs of model, data and trainer: all of it."""
        super().instantiate_classes()

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Make the trainer, with the writer of embeddings among its callbacks."""
        trainer: Any = super().instantiate_trainer(**kwargs)
        if trainer.fast_dev_run:  # Lightning 2.6 suppresses checkpoints, but for the last one, which looks like a run's
            trainer.callbacks = [each for each in trainer.callbacks if not isinstance(each, Checkpoint)]
        if trainer.world_size > 1:
            _save_together(trainer)
        if self._writer is not None:
            trainer.callbacks.append(self._writer)
        if self.subcommand != "fit" and (name := self._get(self.config, "ckpt_path")) is not None:
            trainer.callbacks.append(FoundCheckpoint(name, str(self.subcommand)))
        writes = any(isinstance(callback, EmbeddingWriter) for callback in trainer.callbacks)
        if self.subcommand == "predict" and not writes:
            raise ConfigurationError("predict needs --output, the AnnData Zarr store to write, such as embeddings.zarr")
        return trainer

    def _run_subcommand(self, subcommand: str) -> None:
        """Run the command, and say in the end, whichever it is, where a fit's checkpoints are."""
        try:
            super()._run_subcommand(subcommand)
        finally:
            if subcommand == "fit" and self.trainer.is_global_zero:
                tell_checkpoints(self.trainer)

    def _make_writer(self) -> EmbeddingWriter | None:
        path = self._get(self.config, "output")
        if path is None:
            return None
        config = self._parser(self.subcommand).dump(self.config[str(self.subcommand)])
        writer = EmbeddingWriter(path, overwrite=self._get(self.config, "overwrite"), notes={"config": config})
        writer.check_path()
        return writer

    def _model_has_checkpoint(self) -> bool:
        model = self._get(self.config, "model")
        return model is not None and model.get("init_args.ckpt_path") is not None


def _save_together(trainer: Trainer) -> None:
    """Let no rank save alone when it fails: in Lightning (2.6) it waits for the others, and those for its step."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.save_on_exception:
            callback.save_on_exception = False
            if trainer.is_global_zero:
                _log.info("save_on_exception is off, since several ranks would wait for each other.")


def fit(arguments: Sequence[str]) -> None:
    """Run ``dynaclr fit --config FILE``.

    Parameters
    ----------
    arguments
        What follows the command.
    """
    run_training_cli("fit", arguments)


def validate(arguments: Sequence[str]) -> None:
    """Run ``dynaclr validate --config FILE --ckpt_path FILE``.

    Parameters
    ----------
    arguments
        What follows the command.
    """
    run_training_cli("validate", arguments)


def predict(arguments: Sequence[str]) -> None:
    """Run ``dynaclr predict --config FILE --ckpt_path FILE --output STORE``.

    Parameters
    ----------
    arguments
        What follows the command.
    """
    run_training_cli("predict", arguments)


def run_training_cli(command: str, arguments: Sequence[str], kind: type[TrainingCLI] = TrainingCLI) -> None:
    """Read the configuration of a command, and run the command.

    Parameters
    ----------
    command
        One of the subcommands of `kind`.
    arguments
        What follows the command.
    kind
        What reads and runs.
    """
    _silence()
    try:
        kind([command, *arguments])
    except SystemExit as leaving:
        # Lightning ends the program by itself after Ctrl-C, with the code of a failure.
        if isinstance(leaving.__context__, KeyboardInterrupt):
            raise leaving.__context__ from None
        raise


def _silence() -> None:
    """Keep what Lightning says to nobody's use from the user's eyes."""
    # Our loaders read with threads of their own; workers would not help.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*persistent_workers=True.*")
    # A checkpoint of one run, used in another, is no accident.
    warnings.filterwarnings("ignore", message="The dirpath has changed from.*")
    # A registry without validation experiments is a choice.
    warnings.filterwarnings("ignore", message=".*have no `val_dataloader`.*")
    # Lightning 2.6 asks jsonargparse for something that version 5 will not have.
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"lightning\.pytorch\.cli")
    # Lightning 2.6 asks torch 2.13 for something that torch has renamed.
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*", category=FutureWarning)
    # Of weights whose second axis has length 1, as a depthwise convolution's: its stride means nothing.
    warnings.filterwarnings("ignore", message=r"(?s)Grad strides do not match.*grad\.sizes\(\) = \[\d+, 1, ")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_no_advertisement)


def _is_no_advertisement(record: logging.LogRecord) -> bool:
    return "Tip:" not in record.getMessage()


def _check_numbers(config: Any) -> None:
    """Refuse numbers that Lightning divides by or seeds with, and does not look at."""
    seed = config.get("seed_everything")
    if not isinstance(seed, bool) and isinstance(seed, int) and not 0 <= seed < 2**32:
        raise ConfigurationError(f"seed_everything={seed!r} needs to be from 0 to {2**32 - 1}, true or false")
    for name in ("accumulate_grad_batches", "check_val_every_n_epoch", "val_check_interval"):
        value = config.get(f"trainer.{name}")
        if isinstance(value, int | float) and value <= 0:
            raise ConfigurationError(f"trainer.{name}={value!r} needs to be above 0")


def _is_pipe(path: str) -> bool:
    with suppress(OSError):  # what is wrong with it is said where it is read
        return expanded(path).is_fifo()
    return False


def _config_paths(arguments: Sequence[str]) -> list[str]:
    """Return the values of ``--config``, ``--config=`` and ``-c``."""
    paths = [word.partition("=")[2] for word in arguments if word.startswith("--config=")]
    return paths + [path for flag, path in pairwise(arguments) if flag in ("-c", "--config")]


def _is_ours(error: BaseException) -> bool:
    """Whether the innermost frame is in this package, where only a `DynaclrError` is a user's mistake."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and Path(frames[-1].f_code.co_filename).is_relative_to(Path(dynaclr.__file__).parent)
