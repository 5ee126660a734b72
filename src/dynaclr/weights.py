"""Weights of a model from a checkpoint file, read without running anything in it."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

from dynaclr.errors import DynaclrError

__all__ = ["load_weights"]

_SHOWN = 3


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
    module.load_state_dict(state, strict=False)


def _read_state(path: str | Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DynaclrError(f"ckpt_path={str(path)!r} does not exist") from None
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise DynaclrError(f"ckpt_path={str(path)!r} is not a checkpoint that can be read safely") from error
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise DynaclrError(f"ckpt_path={str(path)!r} holds no weights: it needs a checkpoint with a 'state_dict'")
    return state
