"""What makes the subject of a replay: found by its name, and watched while it is tried."""

from __future__ import annotations

import importlib
import inspect
import reprlib
import sys
from collections.abc import Callable
from typing import Any

from dynaclr_strategies.reproduction.case_files import CannotRunError
from dynaclr_strategies.subjects import SUBJECTS
from dynaclr_strategies.subjects.sampler import OF_SAMPLERS

__all__ = ["WatchedMaker", "load_maker", "look_into"]


def look_into(folder: str) -> None:
    """Let Python look into a folder, ``""`` for the current one, before all others, as ``python -m`` does.

    What is tried out lies there more often than in an installed package.
    """
    if folder not in sys.path:
        sys.path.insert(0, folder)


def load_maker(spec: str) -> Callable[..., Any]:
    """Import ``"module:function"``.

    Raises
    ------
    CannotRunError
        If there is no such module or function, or importing it goes wrong.
    """
    module, _, name = spec.partition(":")
    needed = f"sampler={spec!r} needs to be module:function, but"
    if not module or module.startswith("."):
        raise CannotRunError(f"{needed} {module!r} is no name of a module")
    try:
        made: Any = importlib.import_module(module)
        for part in name.split("."):
            made = getattr(made, part)
    except KeyboardInterrupt:
        raise
    except ImportError as problem:
        raise CannotRunError(
            f"sampler={spec!r} needs a module that can be imported: installed, in the current folder, or in one that "
            f"PYTHONPATH names; {_in_one_line(problem)}"
        ) from problem
    except AttributeError as problem:
        raise CannotRunError(f"{needed} {_in_one_line(problem)}") from problem
    # What ends or skips a run is no Exception: it must not pass for the verdict, or break off the run of somebody else.
    except BaseException as problem:
        text = f"{type(problem).__name__}: {_in_one_line(problem)}"
        raise CannotRunError(f"sampler={spec!r} cannot be imported: {text}") from problem
    if not callable(made):
        raise CannotRunError(f"sampler={spec!r} is {made!r}, but needs to be something that can be called")
    checked: Callable[..., Any] = made
    return checked


def _in_one_line(problem: BaseException) -> str:
    return " ".join(str(problem).split()) or "no reason given"


class WatchedMaker:
    """A maker that tells afterwards whether it was called at all, and whether it is one.

    Parameters
    ----------
    subject
        Name of what it makes, see `dynaclr_strategies.subjects.SUBJECTS`.
    maker, spec
        The maker, and what the user called it; by default ``dynaclr``'s own.

    Attributes
    ----------
    is_called
        Whether a law has asked it for anything yet.
    unfit
        Why it is none, in one sentence; None as long as nothing speaks against it.
    """

    def __init__(self, subject: str, maker: Callable[..., Any] | None = None, spec: str = "dynaclr's own") -> None:
        self._subject, self._spec = SUBJECTS[subject], spec
        self._maker = maker or self._subject.make
        self.is_called = False
        self.unfit: str | None = None

    def __call__(self, *given: Any, **options: Any) -> Any:
        """Make what a law is checked on."""
        self.is_called = True
        try:
            made = self._maker(*given, **options)
        except TypeError as problem:
            # Raised by the call itself, rather than by anything inside: what is called takes something else.
            if problem.__traceback__ is not None and problem.__traceback__.tb_next is None:
                self.unfit = f"sampler={self._spec!r} needs to take {self._taken()}, but {_in_one_line(problem)}"
            raise
        if self._subject.name in OF_SAMPLERS and not hasattr(made, "__iter__"):
            self.unfit = (
                f"sampler={self._spec!r} returned {reprlib.repr(made)}, but needs to return an iterable of batches"
            )
        return made

    def _taken(self) -> str:
        parameters = inspect.signature(self._subject.make).parameters.values()
        return f"({', '.join(one.name for one in parameters if one.kind is not one.VAR_KEYWORD)})"
