"""The weighted mean of exponentials: its value, its gradient and the gradient's own, beside one row at a time."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from dynaclr.log_sum import log_weighted_mean

ENTRIES = st.tuples(st.sampled_from([0.0, 1.0, -3.5, 14.0, -math.inf]), st.integers(1, 3))
ROWS = st.integers(1, 4).flatmap(lambda m: st.lists(st.lists(ENTRIES, min_size=m, max_size=m), min_size=1, max_size=3))
BETAS = st.sampled_from([0.0, 0.25, 3.0])


def _taken_apart(rows: list[list[tuple[float, int]]]) -> tuple[Tensor, Tensor, Tensor]:
    logits = torch.tensor([[value for value, _ in row] for row in rows], dtype=torch.float64)
    times = torch.tensor([[float(count) for _, count in row] for row in rows], dtype=torch.float64)
    largest = logits.amax(1, keepdim=True)
    return logits, largest.masked_fill(largest == -torch.inf, 0), times


@given(rows=ROWS, beta=BETAS, repeated=st.booleans())
def test_it_is_the_mean_of_each_row(rows: list[list[tuple[float, int]]], beta: float, repeated: bool) -> None:
    """As the formula has it, entries that occur several times written out; rows without entries are finite."""
    logits, largest, times = _taken_apart(rows)
    seen = log_weighted_mean(logits, largest, times if repeated else None, beta)
    assert seen.shape == (len(rows), 1)
    for row, value in zip(rows, seen.flatten().tolist(), strict=True):
        entries = [v for v, count in row for _ in range(count if repeated else 1) if v > -math.inf]
        if not entries:
            assert math.isfinite(value)
            continue
        above = math.fsum(math.exp((1 + beta) * v) for v in entries)
        below = math.fsum(math.exp(beta * v) for v in entries) if beta else 1
        assert value == pytest.approx(math.log(above / below), abs=1e-12)


@given(rows=ROWS, beta=BETAS, repeated=st.booleans())
@example(rows=[[(0.0, 1), (1.0, 3), (-3.5, 2)]], beta=0.25, repeated=True)
def test_its_gradients_are_its_derivatives(rows: list[list[tuple[float, int]]], beta: float, repeated: bool) -> None:
    """Of the first order and of the second; what does not count has none."""
    logits, _, times = _taken_apart(rows)
    counts = logits > -torch.inf
    inner = (logits.masked_fill(~counts, 0) / 7).requires_grad_()

    def mean(values: Tensor) -> Tensor:
        masked = values.masked_fill(~counts, -torch.inf)
        largest = masked.detach().amax(1, keepdim=True)
        largest = largest.masked_fill(largest == -torch.inf, 0)
        return log_weighted_mean(masked, largest, times if repeated else None, beta)

    assert torch.autograd.gradcheck(mean, (inner,))
    assert torch.autograd.gradgradcheck(mean, (inner,))


def test_a_gradient_can_be_taken_twice() -> None:
    """It is kept as it is for a second pass over the same graph, and the logits are not touched."""
    logits = torch.tensor([[0.0, 1.0, -2.0]], requires_grad=True)
    mean = log_weighted_mean(logits, torch.tensor([[1.0]]), None, 0.5)
    first, second = (torch.autograd.grad(mean.sum(), logits, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(logits, torch.tensor([[0.0, 1.0, -2.0]]))
    assert first.sum().item() == pytest.approx(1)
