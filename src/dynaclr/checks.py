"""What a parameter must be, checked in one place for all that ask for it."""

from __future__ import annotations

from typing import Any

import numpy as np

from dynaclr.errors import DynaclrError


def is_whole(value: object) -> bool:
    """Tell whether a value is a whole number of any integer type; a bool is none.

    Examples
    --------
    >>> is_whole(3), is_whole(np.int8(3)), is_whole(3.0), is_whole(True)
    (True, True, False, False)
    """
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def whole(name: str, value: Any, at_least: int | None = None) -> int:
    """Return a whole number as an int.

    Parameters
    ----------
    name
        What the parameter is called.
    value
        What it was given.
    at_least
        The smallest value that it may have; by default any.

    Raises
    ------
    DynaclrError
        If it is no whole number, or too small.

    Examples
    --------
    >>> whole("batch_size", np.int64(4), at_least=1)
    4
    >>> whole("batch_size", 0, at_least=1)
    Traceback (most recent call last):
    dynaclr.errors.DynaclrError: batch_size=0 needs a whole number of at least 1
    """
    if not is_whole(value) or (at_least is not None and value < at_least):
        bound = "" if at_least is None else f" of at least {at_least}"
        raise DynaclrError(f"{name}={value!r} needs a whole number{bound}")
    return int(value)
