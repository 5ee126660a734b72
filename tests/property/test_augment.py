"""Channel dropout: what it may zero, when, and how often."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dynaclr.augment import ChannelDropout
from dynaclr.errors import DynaclrError

shapes = st.tuples(st.integers(1, 6), st.integers(1, 4), *[st.integers(1, 3)] * 3)


@given(shapes, st.data())
def test_channels_are_kept_or_zeroed_whole(shape: tuple[int, ...], data: st.DataObject) -> None:
    """Each channel of each sample is as it was or all zero; those not listed are as they were."""
    channels = data.draw(st.lists(st.integers(0, shape[1] - 1), unique=True), label="channels")
    p = data.draw(st.floats(0, 1), label="p")
    batch = torch.rand(shape) + 1
    before = batch.clone()
    after = ChannelDropout(channels, p)(batch)
    assert torch.equal(batch, before)
    zeroed = (after == 0).flatten(2)
    assert torch.equal(zeroed.all(2), zeroed.any(2))
    assert torch.equal(after, torch.where(after == 0, 0, before))
    dropped = zeroed.all(2)
    others = [c for c in range(shape[1]) if c not in channels]
    assert not dropped[:, others].any()
    if p in (0, 1):
        assert dropped[:, channels].eq(p == 1).all()


@given(shapes, st.floats(0, 1))
def test_evaluation_drops_nothing(shape: tuple[int, ...], p: float) -> None:
    """In evaluation mode the batch passes through, and the generator does not move."""
    batch = torch.rand(shape)
    state = torch.get_rng_state()
    assert torch.equal(ChannelDropout([0], p).eval()(batch), batch)
    assert torch.equal(torch.get_rng_state(), state)


def test_samples_and_channels_are_independent() -> None:
    """Over many samples each channel is dropped with p, and two channels are dropped together with p squared."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        dropped = ChannelDropout([0, 2], p=0.3)(torch.ones(20_000, 3, 1, 1, 1)).flatten(1) == 0
    first, never, second = dropped.float().mean(0).tolist()
    assert never == 0
    assert first == pytest.approx(0.3, abs=0.02)
    assert second == pytest.approx(0.3, abs=0.02)
    assert (dropped[:, 0] & dropped[:, 2]).float().mean().item() == pytest.approx(0.09, abs=0.02)
    repeats = (dropped[1:, 0] & dropped[:-1, 0]).float().mean().item()
    assert repeats == pytest.approx(0.09, abs=0.02)


def test_a_seed_decides() -> None:
    """The same seed of torch's generator drops the same channels."""
    drop, batch = ChannelDropout([0, 1]), torch.ones(64, 2, 1, 1, 1)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first, second = drop(batch), drop(batch)
        torch.manual_seed(1)
        assert torch.equal(drop(batch), first)
    assert not torch.equal(first, second)


def test_gradients_stop_at_dropped_channels() -> None:
    """What was dropped gets no gradient, what was kept gets all of it; values that are not finite go too."""
    batch = torch.full((2, 2, 1, 1, 1), torch.nan, requires_grad=True)
    after = ChannelDropout([1], p=1.0)(batch)
    after.sum().backward()
    assert torch.equal(after[:, 1], torch.zeros(2, 1, 1, 1))
    assert batch.grad is not None
    assert batch.grad.flatten(1).tolist() == [[1, 0], [1, 0]]


@pytest.mark.parametrize(
    ("channels", "p", "sentence"),
    [
        ([-1], 0.5, r"channels=\[-1\] must be a list of distinct integers from 0 on"),
        ([1, 1], 0.5, r"channels=\[1, 1\] must be"),
        ([0.5], 0.5, r"channels=\[0.5\] must be"),
        ([True], 0.5, r"channels=\[True\] must be"),
        (1, 0.5, r"channels=1 must be a list"),
        (None, 0.5, r"channels=None must be a list"),
        ([0], None, r"p=None must be a probability"),
        ([0], 1.5, r"p=1.5 must be a probability in \[0, 1\]"),
        ([0], float("nan"), r"p=nan must be a probability"),
    ],
)
def test_wrong_parameters_are_refused(channels: Any, p: float, sentence: str) -> None:
    """Channels and probability are checked when the module is made."""
    with pytest.raises(DynaclrError, match=sentence):
        ChannelDropout(channels, p)


@pytest.mark.parametrize("training", [True, False])
def test_channels_the_batch_lacks_are_refused(training: bool) -> None:
    """A position beyond the batch's channels is an error that names both, in validation too."""
    with pytest.raises(DynaclrError, match=r"channels=\[0, 2\] are not all in a batch of shape \(1, 2, 1, 4, 4\)"):
        ChannelDropout([0, 2]).train(training)(torch.ones(1, 2, 1, 4, 4))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: dropout on the GPU is not run")
def test_the_gpu_drops_what_the_cpu_drops() -> None:
    """A seed drops the same channels on both devices."""
    batch, drop = torch.ones(64, 2, 1, 1, 1), ChannelDropout([0, 1])
    with torch.random.fork_rng():
        torch.manual_seed(2)
        expected = drop(batch)
        torch.manual_seed(2)
        assert torch.equal(drop(batch.cuda()).cpu(), expected)
