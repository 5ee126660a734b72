"""How sentences list and count things."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

_SHOWN = 8
"""How many things a sentence lists before it says how many more there are."""


def listed(things: Iterable[Any], show: Callable[[Any], str] = repr) -> str:
    """List things for a sentence, but not hundreds of them.

    Parameters
    ----------
    things
        The things.
    show
        What turns one of them into text.

    Examples
    --------
    >>> listed(["A/1", "A/2"])
    "'A/1', 'A/2'"
    >>> listed(range(11))
    '0, 1, 2, 3, 4, 5, 6, 7 and 3 more'
    >>> listed([])
    'none'
    """
    texts = [show(thing) for thing in things]
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more if texts else "none"


def counted(count: int, noun: str) -> str:
    """Return a number with what it counts.

    Parameters
    ----------
    count
        How many.
    noun
        One of them, a word whose plural ends with s.

    Examples
    --------
    >>> counted(1, "FOV"), counted(2, "valid anchor"), counted(0, "track")
    ('1 FOV', '2 valid anchors', '0 tracks')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
