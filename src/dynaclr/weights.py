"""Weights of a model from a checkpoint file, read without running anything in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dynaclr.errors import DynaclrError
from dynaclr.paths import expanded

__all__ = ["check_checkpoint", "check_weights", "load_weights"]

_SHOWN = 3

_STATE_OF_A_RUN = ("optimizer_states", "lr_schedulers")
"""What Lightning leaves out of a checkpoint that it saves with weights only, and asks for when it resumes."""

_PARTS = ("meta.pt", "checkpoint")
"""What is in the folder of a checkpoint that FSDP or DeepSpeed saved in parts."""


def load_weights(module: nn.Module, path: str | Path) -> None:
    """Load the weights of a checkpoint that Lightning wrote, or of a plain state dict.

    Only tensors and plain values are read, no code. What belongs to the loss function is left out.

    Parameters
    ----------
    module
        Whose weights to set, all of them.
    path
        The file.

    Raises
    ------
    DynaclrError
        If the file is missing or no checkpoint, or if names or shapes of weights differ.
    """
    state = {name: value for name, value in _read_state(path).items() if not name.startswith("loss_function.")}
    own = {name: value for name, value in module.state_dict().items() if not name.startswith("loss_function.")}
    _check_fit(own, state, path)
    module.load_state_dict(state, strict=False)


def check_checkpoint(path: str | Path, *, resumes: bool = False) -> None:
    """Refuse what Lightning could not take for a checkpoint, before a run has written anything.

    Parameters
    ----------
    path
        The file; the folders in which FSDP and DeepSpeed keep the parts of a checkpoint are not looked into.
    resumes
        Whether a fit is to go on from there, which needs more than weights.

    Raises
    ------
    DynaclrError
        If the file is missing or no checkpoint that a run of Lightning wrote, or lacks what `resumes` needs.
    """
    if _is_in_parts(path):
        return
    content = _read(path)
    is_run = isinstance(content, dict) and isinstance(content.get("pytorch-lightning_version"), str)
    if not is_run or not isinstance(content.get("state_dict"), dict):
        raise DynaclrError(
            f"ckpt_path={str(path)!r} holds no checkpoint of a Lightning run: it needs 'pytorch-lightning_version' and "
            "'state_dict'; if it holds weights alone, give it to the model's own ckpt_path instead"
        )
    if resumes and not all(name in content for name in _STATE_OF_A_RUN):
        raise DynaclrError(
            f"ckpt_path={str(path)!r} holds weights only, but to resume a run it needs "
            f"{' and '.join(map(repr, _STATE_OF_A_RUN))}; to begin with its weights, give it to the model's own "
            "ckpt_path instead"
        )


def check_weights(module: nn.Module, path: str | Path) -> None:
    """Refuse a checkpoint whose weights are not those of a model, before a run has written anything.

    Parameters
    ----------
    module
        Whose weights are to be set; it is not changed.
    path
        The file; the folders in which FSDP and DeepSpeed keep the parts of a checkpoint are not looked into.

    Raises
    ------
    DynaclrError
        If the file holds no weights, or if names or shapes of weights differ.
    """
    if not _is_in_parts(path):
        _check_fit(module.state_dict(), _read_state(path), path)


def _check_fit(own: Mapping[str, Tensor], state: Mapping[str, Tensor], path: str | Path) -> None:
    problems = [f"{name} is missing" for name in own if name not in state]
    problems += [f"{name} is unknown to the model" for name in state if name not in own]
    problems += [
        f"{name} has the shape {tuple(state[name].shape)}, the model needs {tuple(value.shape)}"
        for name, value in own.items()
        if name in state and state[name].shape != value.shape
    ]
    if problems:
        more = f", and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise DynaclrError(f"ckpt_path={str(path)!r} does not fit the model: {'; '.join(problems[:_SHOWN])}{more}")


def _is_in_parts(path: str | Path) -> bool:
    return any((expanded(path) / name).exists() for name in _PARTS)


def _read_state(path: str | Path) -> dict[str, Tensor]:
    content = _read(path)
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise DynaclrError(f"ckpt_path={str(path)!r} holds no weights: it needs a checkpoint with a 'state_dict'")
    return state


def _read(path: str | Path) -> Any:
    try:
        return torch.load(expanded(path), map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DynaclrError(f"ckpt_path={str(path)!r} does not exist") from None
    except IsADirectoryError:
        raise DynaclrError(f"ckpt_path={str(path)!r} is a folder, but needs to be a file") from None
    except OSError as error:
        raise DynaclrError(f"ckpt_path={str(path)!r} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a damaged file raises whatever its bytes happen to mean
        raise DynaclrError(f"ckpt_path={str(path)!r} is not a checkpoint that can be read safely") from error
