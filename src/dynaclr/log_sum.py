"""The logarithm of a sum in which large terms count more, with a gradient that is a single product."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["log_weighted_mean"]


def log_weighted_mean(logits: Tensor, largest: Tensor, times: Tensor | None, beta: float) -> Tensor:
    r"""Return the logarithm of the weighted mean of each row's exponentials, or of their sum if `beta` is 0.

    .. math::

        \log \frac{\sum_j e^{(1 + \beta) l_j}}{\sum_j e^{\beta l_j}}

    All exponents are relative to the largest of the row, so they are at most 0 and exact near it.

    Parameters
    ----------
    logits
        Shape (n, m), of which a gradient is wanted; minus infinity where an entry does not count.
    largest
        The largest entry of each row, shape (n, 1); 0 for a row without any, whose mean is arbitrary and finite.
    times
        How often each entry counts, shape (n, m); None for once.
    beta
        How much more large entries count.

    Returns
    -------
    Tensor
        Shape (n, 1).
    """
    mean: Tensor = _LogWeightedMean.apply(logits, largest, times, beta)  # type: ignore[no-untyped-call]
    return mean + largest


class _LogWeightedMean(torch.autograd.Function):
    """The mean, relative to the largest entry; its gradient is made along with it, where its terms are at hand."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, largest: Tensor, times: Tensor | None, beta: float) -> Tensor:
        mean, (terms, total), weights = _composed(logits, largest, times, beta)
        # In place, since each of them is as large as the logits: d mean / d logits.
        slope = terms.mul_((1 + beta) / total)
        if weights is not None:
            slope.addcmul_(weights[0], -beta / weights[1])
        ctx.beta = beta
        ctx.save_for_backward(logits, largest, times, slope)
        return mean

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        logits, largest, times, slope = ctx.saved_tensors
        if torch.is_grad_enabled():  # to be differentiated again
            mean = _composed(logits, largest, times, ctx.beta)[0]
            return (*torch.autograd.grad(mean, logits, gradient, create_graph=True), None, None, None)
        return slope * gradient, None, None, None


_Terms = tuple[Tensor, Tensor]
"""A matrix, and the sums of its rows; 1 for those that have no term."""


def _composed(
    logits: Tensor, largest: Tensor, times: Tensor | None, beta: float
) -> tuple[Tensor, _Terms, _Terms | None]:
    """Return the mean relative to the largest entry, the terms above and, unless all are 1, the weights below."""
    above = _terms(logits, largest, times, 1 + beta)
    if not beta:
        return above[1].log(), above, None
    below = _terms(logits, largest, times, beta)
    return (above[1] / below[1]).log(), above, below


def _terms(logits: Tensor, largest: Tensor, times: Tensor | None, factor: float) -> _Terms:
    terms = (logits - largest).mul_(factor).exp_()
    if times is not None:
        terms = terms * times
    total = terms.sum(1, keepdim=True)
    return terms, total.masked_fill(total == 0, 1)
