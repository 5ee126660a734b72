"""The checkpoints of a run: which one it begins with, and which it leaves."""

from __future__ import annotations

import logging
import os
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from lightning.fabric.utilities.cloud_io import get_filesystem
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from dynaclr.errors import DynaclrError
from dynaclr.weights import check_checkpoint

__all__ = ["FoundCheckpoint", "check_folders", "check_origin", "is_local", "tell_checkpoints"]

_log = logging.getLogger(__name__)

_NAMES = ("best", "last", "hpc", "registry")
"""What Lightning finds by itself when a checkpoint is asked for by one of these words."""


def is_local(path: str) -> bool:
    """Whether this is the path of a file here, not an address or one that Lightning finds by itself.

    Parameters
    ----------
    path
        What the user asked for.
    """
    return path not in _NAMES and "://" not in path


def check_origin(path: str, command: str) -> None:
    """Refuse a checkpoint that cannot be loaded, before anything is made or written.

    Parameters
    ----------
    path
        What the user asked for: a path, an address, or a word for one that Lightning finds by itself.
    command
        The command that is to begin with it.

    Raises
    ------
    DynaclrError
        If there is none, or as `dynaclr.weights.check_checkpoint` of a file here.
    """
    if path in _NAMES:
        _check_name(path, command)
    elif is_local(path):
        check_checkpoint(path, resumes=command == "fit")
    else:
        _check_address(path)


def _check_name(name: str, command: str) -> None:
    """Refuse a name that nothing can be found under; whether there is a last one is seen later."""
    # A best one is known only to the process that trained.
    if name == "best" or (name == "registry" and not find_spec("litmodels")):
        raise _not_found(name, command)


def _not_found(name: str, command: str) -> DynaclrError:
    return DynaclrError(f"ckpt_path={name!r} names no checkpoint that {command} can find: give the path of the file")


class FoundCheckpoint(Callback):
    """Ends a run before it begins where Lightning has found no checkpoint, of which it only warns.

    A fit may ask for its last checkpoint before there is any; who validates or predicts would use random weights.

    Parameters
    ----------
    name
        What the user asked for.
    command
        The command that is to begin with it.
    """

    def __init__(self, name: str, command: str) -> None:
        self.name = name
        self.command = command

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Look what was loaded."""
        if trainer.ckpt_path is None:
            raise _not_found(self.name, self.command)

    on_predict_start = on_validation_start


def _check_address(address: str) -> None:
    """Refuse an address at which there is nothing, or that needs a package which is not installed."""
    try:
        found = get_filesystem(address).exists(address)
    except Exception as error:  # each kind of storage raises its own
        raise DynaclrError(f"ckpt_path={address!r} cannot be reached: {' '.join(str(error).split())}") from error
    if not found:
        raise DynaclrError(f"ckpt_path={address!r} does not exist")


def check_folders(trainer: Trainer) -> None:
    """Refuse a folder that no checkpoint can be written to, which Lightning finds out after an epoch.

    Parameters
    ----------
    trainer
        Whose callbacks are to write them.

    Raises
    ------
    DynaclrError
        If a `ModelCheckpoint` has a ``dirpath`` that cannot be made or written to.
    """
    for callback in _keepers(trainer):
        if callback.dirpath is None or not is_local(str(callback.dirpath)):
            continue
        folder = Path(callback.dirpath)
        above = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
        try:
            with TemporaryDirectory(dir=above):  # permissions alone do not tell: root has all, also in /proc
                pass
        except OSError as error:
            raise DynaclrError(
                f"dirpath={str(folder)!r} of ModelCheckpoint needs to be a folder that can be written to, but "
                f"{str(above)!r} cannot: {error.strerror}"
            ) from error


def tell_checkpoints(trainer: Trainer) -> None:
    """Say which checkpoints there are, or that training has left none.

    Parameters
    ----------
    trainer
        Has trained.
    """
    kept = _keepers(trainer)
    named = dict.fromkeys(path for each in kept for path in (each.best_model_path, each.last_model_path) if path)
    # One that could not be written, or that a resumed run left elsewhere, is named all the same.
    found = [path for path in named if not is_local(path) or Path(path).exists()]
    if found:
        _log.info("Checkpoints: %s", ", ".join(os.path.relpath(path) if is_local(path) else path for path in found))
    elif named:
        _log.warning("There is no checkpoint at %s.", ", ".join(named))
    elif kept and trainer.global_step:
        _log.warning("No checkpoint was written: the ModelCheckpoint callbacks had no occasion to.")


def _keepers(trainer: Trainer) -> list[ModelCheckpoint]:
    return [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]
