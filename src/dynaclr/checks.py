"""What a parameter must be, checked in one place for all that ask for it."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np

from dynaclr.errors import DynaclrError


def is_list(values: object) -> TypeGuard[Sequence[Any]]:
    """Tell whether a value is a list, a tuple or another sequence, and no text."""
    return isinstance(values, Sequence) and not isinstance(values, str)


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value is a real, finite number of Python or NumPy; a bool is a mistake here, not a number.

    Examples
    --------
    >>> is_number(3), is_number(np.float32(0.5)), is_number(math.nan), is_number("3"), is_number(True)
    (True, True, False, False, False)
    """
    if type(value) is float:  # as nearly all are: the other questions take several times as long
        return math.isfinite(value)
    if not isinstance(value, int | float | np.integer | np.floating) or isinstance(value, bool):
        return False
    if isinstance(value, int):
        return abs(value) <= sys.float_info.max  # beyond the largest float an integer is no use either
    return math.isfinite(value)


def is_whole(value: object) -> bool:
    """Tell whether a value is a whole number of any integer type; a bool is none.

    Examples
    --------
    >>> is_whole(3), is_whole(np.int8(3)), is_whole(3.0), is_whole(True)
    (True, True, False, False)
    """
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def truth(name: str, value: Any) -> bool:
    """Return a truth value as a bool.

    Parameters
    ----------
    name
        What the parameter is called.
    value
        What it was given.

    Raises
    ------
    DynaclrError
        If it is neither True nor False, of Python or NumPy; a text such as ``"no"`` would count as true.

    Examples
    --------
    >>> truth("drop_last", np.False_)
    False
    >>> truth("drop_last", "no")
    Traceback (most recent call last):
    dynaclr.errors.DynaclrError: drop_last='no' needs True or False
    """
    if not isinstance(value, bool | np.bool_):
        raise DynaclrError(f"{name}={value!r} needs True or False")
    return bool(value)


def probability(name: str, value: Any) -> float:
    """Return a probability.

    Parameters
    ----------
    name
        What the parameter is called.
    value
        What it was given.

    Raises
    ------
    DynaclrError
        If it is no number in [0, 1].

    Examples
    --------
    >>> probability("prob", 0.5)
    0.5
    >>> probability("prob", 1.5)
    Traceback (most recent call last):
    dynaclr.errors.DynaclrError: prob=1.5 must be a probability in [0, 1]
    """
    if not is_number(value) or not 0 <= value <= 1:
        raise DynaclrError(f"{name}={value!r} must be a probability in [0, 1]")
    return value


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
    if not _is_good(value, at_least):
        raise DynaclrError(f"{name}={value!r} needs a whole number{_bound(at_least)}")
    return int(value)


def whole_pair(name: str, values: Any, at_least: int | None = None) -> tuple[int, int]:
    """Return two whole numbers as ints.

    Parameters
    ----------
    name, at_least
        As for `whole`.
    values
        A list or another sequence; no text.

    Raises
    ------
    DynaclrError
        If these are not two whole numbers, or one is too small.

    Examples
    --------
    >>> whole_pair("yx_patch_size", [np.int64(160), 160])
    (160, 160)
    >>> whole_pair("yx_patch_size", (0, 160), at_least=1)
    Traceback (most recent call last):
    dynaclr.errors.DynaclrError: yx_patch_size=(0, 160) needs two whole numbers of at least 1
    """
    numbers = list(values) if is_list(values) else []
    if len(numbers) != 2 or not all(_is_good(number, at_least) for number in numbers):
        raise DynaclrError(f"{name}={values!r} needs two whole numbers{_bound(at_least)}")
    return int(numbers[0]), int(numbers[1])


def _is_good(value: Any, at_least: int | None) -> bool:
    return is_whole(value) and (at_least is None or bool(value >= at_least))


def _bound(at_least: int | None) -> str:
    return "" if at_least is None else f" of at least {at_least}"
