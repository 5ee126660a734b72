"""What makers are called in files and commands: a label, which may be a name to import, and need not be."""

from __future__ import annotations

import re

__all__ = ["can_be_imported", "is_label", "maker_note", "sampler_option"]

_LABEL = re.compile(r"[\w<][\w.<>-]{0,200}:[\w.<>-]{1,200}")


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
