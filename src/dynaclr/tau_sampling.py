"""How far ahead a positive lies: hours turned into frames, and the draw of one offset tau."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil, exp, floor
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dynaclr.checks import is_list, is_number
from dynaclr.errors import DynaclrError
from dynaclr.exact import exact

_STEEPEST_GROWTH = -700.0
"""Below this decay rate ``exp`` leaves the range of float64."""

_FARTHEST = 2**62
"""Frames beyond the end of any movie, which 64 bits hold: whoever asks for more gets this many."""


def hours_range(tau_range_hours: Sequence[float], parameter: str = "tau_range") -> tuple[Fraction, Fraction]:
    """Check a range of hours and return it exactly, as it was meant.

    Parameters
    ----------
    tau_range_hours
        The smallest and the largest offset in hours, both included.
    parameter
        What errors call it.

    Returns
    -------
    tuple of Fraction
        The two bounds in hours; 0.1 is one tenth, not the nearest binary float.

    Raises
    ------
    DynaclrError
        If the range is not two finite numbers with ``0 <= min <= max``.

    Examples
    --------
    >>> hours_range((0.5, 2.0))
    (Fraction(1, 2), Fraction(2, 1))
    """
    bounds = _two_numbers(tau_range_hours)
    if bounds is None:
        raise DynaclrError(f"{parameter} is {tau_range_hours!r}, but needs two finite numbers of hours, (min, max)")
    if bounds[0] < 0:
        raise DynaclrError(f"{parameter} is {tau_range_hours!r}, but needs hours that are not negative")
    if bounds[0] > bounds[1]:
        raise DynaclrError(f"{parameter} is {tau_range_hours!r}, but needs the smaller number of hours first")
    return exact(bounds[0]), exact(bounds[1])


def _two_numbers(given: Any) -> tuple[float, float] | None:
    """Return the two numbers of a pair, or None where it is no pair of finite numbers."""
    numbers: list[Any] = list(given) if is_list(given) or (isinstance(given, np.ndarray) and given.ndim == 1) else []
    if len(numbers) != 2 or not all(isinstance(bound, Fraction) or is_number(bound) for bound in numbers):
        return None
    return numbers[0], numbers[1]


def frames_in_range(interval_minutes: float, tau_range_hours: Sequence[float]) -> tuple[int, int] | None:
    """Return the smallest and the largest whole number of frames whose offset lies in a range of hours.

    Both bounds belong to the range, and the smallest is at least 1: an offset of 0 frames is only for those
    who ask for ``(0, 0)``. The arithmetic is exact, so 0.5 h at 60 min is no frame, and 0.3 h at 6 min is frame 3. What
    is beyond 2**62 frames, and so beyond any movie, is that many.

    Parameters
    ----------
    interval_minutes
        Minutes between two frames, positive and finite.
    tau_range_hours
        The smallest and the largest offset in hours.

    Returns
    -------
    tuple of int or None
        The bounds in frames, or None where no whole number of frames lies in the range.

    Raises
    ------
    DynaclrError
        If the range is not two finite numbers with ``0 <= min <= max``.

    Examples
    --------
    >>> frames_in_range(30.0, (0.5, 2.0))
    (1, 4)
    >>> frames_in_range(60.0, (0.0, 0.5)) is None
    True
    >>> frames_in_range(60.0, (0, 0))
    (0, 0)
    """
    first_hour, last_hour = hours_range(tau_range_hours)
    if last_hour == 0:
        return 0, 0
    interval = exact(interval_minutes)
    first, last = max(1, ceil(first_hour * 60 / interval)), floor(last_hour * 60 / interval)
    return (min(first, _FARTHEST), min(last, _FARTHEST)) if first <= last else None


def tau_weights(taus: ArrayLike, tau_min: int, tau_max: int, decay_rate: float = 2.0) -> NDArray[np.float64]:
    """Return how much each offset counts, not normalised.

    The weight is ``exp(-decay_rate * (tau - tau_min) / (tau_max - tau_min))`` -> ``shared/spec/pipeline.md``,
    section `dynaclr.dataset`; one for every offset where ``tau_max == tau_min``.

    Parameters
    ----------
    taus
        Offsets in frames, of any shape.
    tau_min, tau_max
        The range of frames that the decay is measured on.
    decay_rate
        How fast the weight falls over the range; 0 weighs all offsets equally.

    Returns
    -------
    ndarray of float64
        The weights, in the shape of `taus`.

    Raises
    ------
    DynaclrError
        If the range is negative or reversed, or the rate is not finite.

    Examples
    --------
    >>> tau_weights([1, 2, 3], 1, 3, decay_rate=0.0).tolist()
    [1.0, 1.0, 1.0]
    """
    _check_draw(tau_min, tau_max, decay_rate)
    offsets = np.asarray(taus, dtype=np.float64)
    if tau_min == tau_max:
        return np.ones_like(offsets)
    weights: NDArray[np.float64] = np.exp(-decay_rate * ((offsets - tau_min) / (tau_max - tau_min)))
    return weights


def sample_tau(tau_min: int, tau_max: int, rng: np.random.Generator, decay_rate: float = 2.0) -> int:
    """Draw one offset from ``tau_min`` to ``tau_max``, near ones more often than far ones.

    This is the unconditional draw: it knows nothing of which offsets a cell has a positive at.

    Parameters
    ----------
    tau_min, tau_max
        The smallest and the largest offset in frames, both included.
    rng
        The generator that is asked for one number.
    decay_rate
        See `tau_weights`.

    Returns
    -------
    int
        The offset in frames.

    Raises
    ------
    DynaclrError
        If the range is negative or reversed, or the rate is not finite.

    Examples
    --------
    >>> sample_tau(4, 4, np.random.default_rng(0))
    4
    """
    _check_draw(tau_min, tau_max, decay_rate)
    cumulative = np.cumsum(tau_weights(np.arange(tau_min, tau_max + 1), tau_min, tau_max, decay_rate))
    # `random` is at most 1 - 2**-53, and no float times that rounds to itself: the place is never beyond the last.
    return int(tau_min) + int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))


def _check_draw(tau_min: int, tau_max: int, decay_rate: float) -> None:
    """Refuse a range of frames or a decay rate that no draw can be made from."""
    if not 0 <= tau_min <= tau_max:
        raise DynaclrError(f"tau_min={tau_min!r} and tau_max={tau_max!r}, but they need 0 <= tau_min <= tau_max")
    checked_decay_rate(decay_rate)


def checked_decay_rate(decay_rate: float) -> float:
    """Return a decay rate that offsets can be weighed with.

    Parameters
    ----------
    decay_rate
        See `tau_weights`.

    Raises
    ------
    DynaclrError
        If it is no such number.
    """
    if not is_number(decay_rate) or decay_rate < _STEEPEST_GROWTH:
        raise DynaclrError(
            f"tau_decay_rate is {decay_rate!r}, but needs a finite number, at least {_STEEPEST_GROWTH}, "
            f"because exp({-_STEEPEST_GROWTH:.0f}) = {exp(-_STEEPEST_GROWTH):.0e} is the largest weight"
        )
    return decay_rate
