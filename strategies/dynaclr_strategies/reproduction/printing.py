"""Strangers' texts, as they may reach a terminal or a page."""

from __future__ import annotations

import sys

__all__ = ["say", "spelled_out"]


def spelled_out(text: str) -> str:
    """Return a text in which signs that nobody sees, or that turn text around, are written as escapes."""
    return "".join(
        sign if sign.isprintable() or sign == "\n" else sign.encode("unicode_escape").decode() for sign in text
    )


def say(text: str) -> None:
    """Print a line of a command, and what follows it indented: a message must not look like another such line.

    Signs that steer a terminal are spelled out, and so are those that this one cannot show.
    """
    encoding = sys.stdout.encoding or "utf-8"
    shown = spelled_out(text).replace("\n", "\n    ")
    sys.stdout.write(shown.encode(encoding, "backslashreplace").decode(encoding) + "\n")
