"""What makers are called in files and commands: a label, which may be a name to import, and need not be."""

from __future__ import annotations

import operator
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["can_be_imported", "found_in", "is_label", "maker_name", "maker_note", "needed_beside", "sampler_option"]

_LABEL = re.compile(r"[\w<][\w.<>-]{0,200}:[\w.<>-]{1,200}")


def maker_name(make: Callable[..., Any]) -> str:
    """Return ``"module:function"`` where importing that gives the maker, else a label with angle brackets in it."""
    named = make if hasattr(make, "__qualname__") else type(make)
    module, name = str(named.__module__), named.__qualname__
    if "<" not in name and not _is_found(make, module, name):
        name = f"<{name}>"
    # Anybody can give a function another name: what the reader would refuse is no use in a file.
    return ":".join(re.sub(r"[^\w.<>-]", "_", part)[:200] for part in (module, name))


def _is_found(make: Callable[..., Any], module: str, name: str) -> bool:
    # What is called ``__main__`` here is something else in the process that replays.
    if module == "__main__" or module not in sys.modules or not is_label(f"{module}:{name}"):
        return False
    try:
        found = operator.attrgetter(name)(sys.modules[module])
    except AttributeError:
        return False
    # A method of a class is made anew whenever it is asked for.
    return found is make or (hasattr(make, "__self__") and bool(found == make))


def _folder_of(maker: str | None) -> Path | None:
    """Return where this process found a maker's module; None if it is installed, or was not found by its name."""
    name = (maker or "").partition(":")[0]
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if not maker or not can_be_imported(maker) or file is None:
        return None
    folder = Path(file).absolute().parents[name.count(".") + hasattr(module, "__path__")]
    return None if folder.is_relative_to(sys.prefix) else folder


def found_in(maker: str | None) -> str | None:
    """Return where this process found a maker's module, if a new one would not look there; a sentence."""
    name, folder = (maker or "").partition(":")[0], _folder_of(maker)
    if folder is None or folder == Path.cwd():
        return None
    return f"the module {name} was found in {folder}: replay from there, or name the folder in PYTHONPATH"


def needed_beside(maker: str | None) -> str | None:
    """Return what somebody on another machine needs besides a bundle, if a maker is not installed; a sentence."""
    if _folder_of(maker) is None:
        return None
    name = (maker or "").partition(":")[0]
    return f"The module `{name}` has to be found: installed, or in a folder that `PYTHONPATH` names."


def is_label(maker: object) -> bool:
    """Tell whether something from a file is the name of a maker: two names, with nothing in them to run or to end."""
    return isinstance(maker, str) and _LABEL.fullmatch(maker) is not None


def can_be_imported(maker: str) -> bool:
    """Tell whether a name may be one to import; Python writes what has no such name in angle brackets."""
    return "<" not in maker


def sampler_option(maker: str) -> str:
    """Return what ``--sampler`` needs for a maker, as far as its name says that."""
    return maker if can_be_imported(maker) else "MODULE:FUNCTION"


def maker_note(maker: str | None) -> str | None:
    """Return what a reader has to know to replay with a maker; None where the command says it all."""
    if maker is None or can_be_imported(maker):
        return None
    return f"`{maker}` cannot be imported by that name: give --sampler the name of something that makes the same"
