"""How sentences list things."""

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
