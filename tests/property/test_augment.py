"""Channel dropout beside its laws: its gradient, what it refuses, and the GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from dynaclr.augment import ChannelDropout
from dynaclr.errors import DynaclrError


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
        ([0], "0.5", r"p='0.5' must be a probability"),
        ([0], True, r"p=True must be a probability"),
        ([0], np.float32(1.5), r"p=.*1.5.* must be a probability"),
    ],
)
def test_wrong_parameters_are_refused(channels: Any, p: float, sentence: str) -> None:
    """Channels and probability are checked when the module is made."""
    with pytest.raises(DynaclrError, match=sentence):
        ChannelDropout(channels, p)


@pytest.mark.parametrize("kind", [float, np.float16, np.float32, np.float64])
def test_a_probability_may_be_a_number_of_numpy(kind: type) -> None:
    """The same seed drops the same channels."""
    dropped = []
    for p in (0.5, kind(0.5)):
        torch.manual_seed(0)
        dropped.append(ChannelDropout([1], p)(torch.ones(9, 2)))
    assert torch.equal(*dropped)


@pytest.mark.parametrize("training", [True, False])
def test_channels_the_batch_lacks_are_refused(training: bool) -> None:
    """A position beyond the batch's channels is an error that names both, in validation too."""
    with pytest.raises(DynaclrError, match=r"channels=\[0, 2\] are not all in a batch of shape \(1, 2, 1, 4, 4\)"):
        ChannelDropout([0, 2]).train(training)(torch.ones(1, 2, 1, 4, 4))


@pytest.mark.parametrize(("channels", "p"), [([], 1.0), ([0], 0.0), ([0, 1], 0)])
def test_where_nothing_can_be_dropped_the_batch_is_passed_on(channels: list[int], p: float) -> None:
    """Itself, not a copy, and no random number is drawn."""
    batch, before = torch.ones(3, 2), torch.get_rng_state()
    assert ChannelDropout(channels, p)(batch) is batch
    assert torch.equal(torch.get_rng_state(), before)


def test_samples_and_channels_are_enough() -> None:
    """A batch need not have pixels."""
    assert ChannelDropout([1], p=1.0)(torch.ones(3, 2)).tolist() == [[1.0, 0.0]] * 3


def test_a_number_that_is_the_probability_drops_nothing() -> None:
    """A channel is dropped with probability p, not with p and a little more."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        p = torch.rand(1, 1).item()
        torch.manual_seed(0)
        assert ChannelDropout([0], p)(torch.ones(1, 1)).item() == 1.0


def test_the_mask_goes_where_the_batch_is() -> None:
    """The device ``meta`` stands for a GPU."""
    assert ChannelDropout([0])(torch.ones(3, 2, 4, device="meta")).device.type == "meta"


def test_a_printed_model_shows_the_parameters() -> None:
    """As they were given."""
    assert repr(ChannelDropout((2, 0), 0.25)) == "ChannelDropout(channels=[2, 0], p=0.25)"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: dropout on the GPU is not run")
def test_the_gpu_drops_what_the_cpu_drops() -> None:
    """A seed drops the same channels on both devices."""
    batch, drop = torch.ones(64, 2, 1, 1, 1), ChannelDropout([0, 1])
    with torch.random.fork_rng():
        torch.manual_seed(2)
        expected = drop(batch)
        torch.manual_seed(2)
        assert torch.equal(drop(batch.cuda()).cpu(), expected)
