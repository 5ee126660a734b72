"""Augmentation by forgetting: channels that the encoder must learn to do without."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dynaclr.checks import is_whole, probability
from dynaclr.errors import DynaclrError

__all__ = ["ChannelDropout"]


class ChannelDropout(nn.Module):
    """Zeroes each listed channel of each sample independently, in training mode only.

    What is kept is not scaled up: a channel is either as it was or absent, as in an experiment that lacks it.

    Parameters
    ----------
    channels
        Positions of the channels that may be dropped.
    p
        Probability that a listed channel of a sample is dropped, in [0, 1].

    Raises
    ------
    DynaclrError
        If `channels` are not distinct positions from 0 on, or `p` is no probability.

    Examples
    --------
    >>> drop = ChannelDropout([1], p=1.0)
    >>> drop(torch.ones(1, 2, 1, 1, 2)).flatten().tolist()
    [1.0, 1.0, 0.0, 0.0]
    >>> drop.eval()(torch.ones(1, 2, 1, 1, 2)).flatten().tolist()
    [1.0, 1.0, 1.0, 1.0]
    """

    def __init__(self, channels: Sequence[int], p: float = 0.5) -> None:
        super().__init__()
        positions = list(channels) if isinstance(channels, Sequence) else [None]
        numbers = all(is_whole(c) and c >= 0 for c in positions)
        if not numbers or len(set(positions)) != len(positions):
            raise DynaclrError(f"channels={channels!r} must be a list of distinct integers from 0 on")
        self.channels = tuple(positions)
        self.p = probability("p", p)

    def forward(self, x: Tensor) -> Tensor:
        """Return the batch with dropped channels at zero.

        Parameters
        ----------
        x
            Shape (B, C, Z, Y, X), or any other that begins with samples and channels. It is not changed.

        Returns
        -------
        Tensor
            A new tensor; in evaluation mode, or if nothing can be dropped, `x` itself.

        Raises
        ------
        DynaclrError
            If `x` does not have all of `channels`.
        """
        if x.ndim < 2 or any(channel >= x.shape[1] for channel in self.channels):
            raise DynaclrError(
                f"channels={list(self.channels)} are not all in a batch of shape {tuple(x.shape)}, "
                "which must be (samples, channels, ...) with more channels than the largest position"
            )
        if not self.training or not self.channels or self.p == 0:
            return x
        dropped = torch.zeros(x.shape[:2], dtype=torch.bool)
        # Drawn on the CPU, so that a seed drops the same channels whatever the device.
        dropped[:, list(self.channels)] = torch.rand(len(x), len(self.channels)) < self.p
        rows = dropped.flatten().nonzero().squeeze(1).to(x.device, non_blocking=x.is_cuda)
        return x.flatten(0, 1).index_fill(0, rows, 0).reshape(x.shape)

    def extra_repr(self) -> str:
        """Return the parameters as they appear in a printed model."""
        return f"channels={list(self.channels)}, p={self.p}"
