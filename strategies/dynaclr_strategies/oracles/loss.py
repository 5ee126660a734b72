"""The loss of contrastive learning as its definition reads, in float64, and how far rounding may lead away from it.

A loop for each sum. It works on complex numbers too: where only functions that are analytic are used, the imaginary
part of ``f(x + ih)`` over ``h`` is the derivative, without the cancellation of a difference.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dynaclr_strategies.loss_descriptions import FLOATS, LossCase

__all__ = ["NORM_FLOOR", "DenseLoss", "ntxent"]

Rows = npt.NDArray[Any]

NORM_FLOOR = 1e-12
"""Shorter embeddings are divided by this instead of by their norm."""

_STEP = 1e-30


@dataclass(frozen=True)
class _Pair:
    """An anchor with one of its positives, and what the loss needs to know of its negatives.

    Attributes
    ----------
    positive
        Cosine to the positive over the temperature.
    negatives
        Log of the weighted sum over negatives; None if there are none.
    count
        Number of negatives.
    """

    positive: Any
    negatives: Any
    count: int


class DenseLoss:
    """What the loss of a case should be."""

    def __init__(self, case: LossCase) -> None:
        self.case = case
        self.rows = case.embeddings.array()
        self.beta = case.beta if case.beta_on == "cosine" else case.beta / case.temperature
        self.positives = [[p for p in self._others(i) if self._label(p) == self._label(i)] for i in self._all()]
        self.negatives = [[n for n in self._others(i) if self._is_negative(i, n)] for i in self._all()]

    def _all(self) -> range:
        return range(len(self.rows))

    def _others(self, i: int) -> list[int]:
        return [j for j in self._all() if j != i]

    def _label(self, i: int) -> int:
        return self.case.embeddings.labels[i]

    def _is_negative(self, i: int, n: int) -> bool:
        lineages = self.case.embeddings.lineages
        related = self.case.mask_same_lineage and lineages[i] == lineages[n]
        return self._label(i) != self._label(n) and not related

    @property
    def pairs(self) -> int:
        """Number of pairs of anchor and positive."""
        return sum(map(len, self.positives))

    @property
    def most_negatives(self) -> int:
        """Number of negatives of the anchor that has most."""
        return max(map(len, self.negatives), default=0)

    # --- value ---

    def value(self) -> float:
        """Return the loss."""
        return float(np.real(self._mean(self.rows)))

    def gradient(self) -> Rows:
        """Return the derivative of the loss by each entry of the embeddings."""
        gradient = np.zeros(self.rows.shape)
        for place in np.ndindex(self.rows.shape):
            # A step in proportion to the row, which may be anywhere between the ends of the format.
            step = _STEP * max(float(np.abs(self.rows[place[0]]).max()), NORM_FLOOR)
            moved = self.rows.astype(complex)
            moved[place] += 1j * step
            gradient[place] = np.imag(self._mean(moved)) / step
        return gradient

    def _mean(self, rows: Rows) -> Any:
        losses = [self._loss(pair) for pair in self._pairs(rows)]
        return sum(losses) / len(losses) if losses else 0.0

    def _pairs(self, rows: Rows) -> Iterator[_Pair]:
        units = [_unit(row) for row in rows]
        for i, own in enumerate(units):
            cosines = np.array([np.sum(own * units[n]) for n in self.negatives[i]])
            count, negatives = len(cosines), None
            if count:
                log_weights = self.beta * cosines - _log_sum(self.beta * cosines) + math.log(count)
                negatives = _log_sum(log_weights + cosines / self.case.temperature)
            for p in self.positives[i]:
                yield _Pair(np.sum(own * units[p]) / self.case.temperature, negatives, count)

    def _loss(self, pair: _Pair) -> Any:
        if pair.negatives is None:
            return 0.0
        shift = max(np.real(pair.positive), np.real(pair.negatives))
        top = np.exp(pair.positive - shift)
        seen, floor = self._bottom(pair, shift)
        bottom = floor if self.case.tau_plus and np.real(seen) < floor else seen
        return np.log(top + bottom) - (pair.positive - shift)

    def _bottom(self, pair: _Pair, shift: float) -> tuple[Any, float]:
        """Return the debiased sum over negatives and its floor, both over ``exp(shift)``."""
        tau, count = self.case.tau_plus, pair.count
        biased = tau * count * np.exp(pair.positive - shift)
        debiased = (np.exp(pair.negatives - shift) - biased) / (1 - tau)
        return debiased, count * math.exp(-1 / self.case.temperature - shift)

    def is_near_floor(self) -> bool:
        """Whether rounding may decide if a debiased sum is at its floor, where the loss has a kink."""
        if not self.case.tau_plus:
            return False
        near = max(0.01, self.error())
        for pair in self._pairs(self.rows):
            if pair.negatives is not None:
                seen, floor = self._bottom(pair, pair.positive)
                if abs(seen - floor) <= near * (1 + floor):
                    return True
        return False

    def at_floor(self) -> float:
        """Return the loss with every sum over negatives at its floor, below which it never is."""
        least = [
            np.logaddexp(0, math.log(pair.count) - 1 / self.case.temperature - pair.positive) if pair.count else 0.0
            for pair in self._pairs(self.rows)
        ]
        return float(sum(least) / len(least)) if least else 0.0

    # --- rounding ---

    def error(self) -> float:
        """Return how far from `value` a loss may be that is computed with care, in at least float32.

        To first order in the roundoff u, for embeddings of w features and N negatives at temperature T:

        - a row at length 1 is known to (w/2 + 4) u, hence a cosine to (2w + 8) u;
        - the loss changes by at most ``2/T + 2 beta`` times what cosines change by, and forming its exponents rounds
          numbers of that size up to 9 times;
        - a sum over negatives rounds N times, and is there twice (the weights' mean is one); logarithms of numbers up
          to N, and what is added to them, round about 22 times;
        - the mean over P pairs rounds P + 2 times;
        - a debiased sum is a difference: of relative errors in its terms up to ``1 + 2 tau N / (1 - tau)`` times as
          much arrives in the loss, and forming it rounds about as often again.
        """
        case, width, count = self.case, self.case.embeddings.width, self.most_negatives
        # The reference rounds too, in float64.
        roundoff = self.roundoff + FLOATS["float64"].roundoff
        once = self.slope * (2 * width + 18) + 2 * count + 22 * math.log(max(count, 1)) + 10
        once += (self.pairs + 2) * self.value()
        return roundoff * once * (2 * self._debiasing if case.tau_plus else 1)

    def gradient_error(self) -> Rows:
        """Return the same for each entry of `gradient`, before it is rounded to the dtype of the embeddings.

        A gradient is a sum of slopes, each known as well as the loss, over the length of the row, which is at least
        its largest entry (the length itself may be beyond the format).
        """
        norms = np.abs(self.rows).max(axis=1).clip(min=NORM_FLOOR)
        steepness = 4 * self.slope * (self._debiasing if self.case.tau_plus else 1)
        bound: Rows = np.repeat((steepness * self.error() / norms)[:, None], self.rows.shape[1], axis=1)
        return bound

    @property
    def roundoff(self) -> float:
        """That of the dtype in which the loss is computed."""
        return FLOATS["float64" if self.case.embeddings.dtype == "float64" else "float32"].roundoff

    @property
    def slope(self) -> float:
        """How much the loss changes with its cosines, at most."""
        return 2 / self.case.temperature + 2 * self.beta

    @property
    def _debiasing(self) -> float:
        return 1 + 2 * self.case.tau_plus * self.most_negatives / (1 - self.case.tau_plus)


def _norm(row: Rows) -> float:
    return math.hypot(*np.real(row))


def _unit(row: Rows) -> Rows:
    """Return a row at length 1; one shorter than the floor is divided by the floor."""
    if _norm(row) < NORM_FLOOR:
        return row / NORM_FLOOR
    scaled = row / float(np.abs(np.real(row)).max())  # squares of the entries themselves may be too large
    unit: Rows = scaled / np.sqrt(np.sum(scaled * scaled))
    return unit


def _log_sum(exponents: Rows) -> Any:
    largest = np.real(exponents).max()
    return largest + np.log(np.sum(np.exp(exponents - largest)))


def ntxent(case: LossCase) -> float:
    """Return what ``NTXentLoss`` of pytorch-metric-learning makes of the embeddings, in float64."""
    import torch
    from pytorch_metric_learning.losses import NTXentLoss

    rows, labels = torch.tensor(case.embeddings.array()), torch.tensor(case.embeddings.labels)
    return float(NTXentLoss(case.temperature)(rows, labels))
