"""Numbers as the user meant them, for arithmetic in which the last bit decides."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SIMPLE: Final = 1000  # denominators up to this are taken for what was meant
_LARGE: Final = 100.0  # hours; what is left of such times when a table counts from another moment is as inexact
_ROUNDINGS: Final = 16 * np.finfo(np.float64).eps  # more than a few sums and products of float64 can be off by


def exact(number: float | np.number[Any] | Fraction) -> Fraction:
    """Return the number that a float stands for, as an exact fraction.

    A float that is the nearest one to a simple fraction stands for that fraction (``20 / 3`` minutes), any other for
    its shortest decimal text (``0.29``), rather than for the binary number that stores it.

    Parameters
    ----------
    number
        A finite number of Python or NumPy; a ``float32`` means the decimal text that it prints, and a fraction itself.

    Examples
    --------
    >>> int(0.29 * 100), int(exact(0.29) * 100)
    (28, 29)
    >>> exact(20 / 3)
    Fraction(20, 3)
    """
    if isinstance(number, Fraction):
        return number
    plain = number.item() if isinstance(number, np.integer) else float(str(number))
    simple = Fraction(plain).limit_denominator(_SIMPLE)
    return simple if float(simple) == plain else Fraction(str(plain))


def slack(size: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far apart two float64 hours of this size may be and still mean the same time.

    Where a table says 20-minute frames in hours, two frames that are three apart may be a hair less or more than one
    hour apart, depending on when the movie began.

    Parameters
    ----------
    size
        The larger absolute value, any shape.
    """
    return _ROUNDINGS * np.maximum(np.abs(size), _LARGE)
