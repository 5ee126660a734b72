"""Batches of pixels, and what is done to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument

from dynaclr_strategies.loss_descriptions import AugmentCase, FloatDtype, Level, Pixels, Transform

__all__ = ["augment_cases"]

SCALES: dict[FloatDtype, tuple[float, ...]] = {
    "float32": (1.0, 65535.0, 1e-30, 1e30),
    "float64": (1.0, 65535.0, 1e-30, 1e30),
    "bfloat16": (1.0, 65535.0, 1e-30, 1e30),
    "float16": (1.0, 1000.0, 2.0**-10),
}
"""Sizes of pixels that leave the dtype room for what the transforms add."""

UNSEEDED: tuple[Transform, ...] = ("dropout", "normalize", "percentiles")
"""What takes no generator of its own."""


def _case(
    transform: Transform, dtype: FloatDtype, scale: int, left_out: list[bool], own_generator: bool, **parameters: Any
) -> AugmentCase:
    listed = tuple(i for i, out in enumerate(left_out) if not out)
    if not listed and transform != "dropout":
        listed = (0,)  # transforms need a channel
    return AugmentCase(
        transform=transform,
        dtype=dtype,
        scale=SCALES[dtype][scale % len(SCALES[dtype])],
        channels=len(left_out),
        listed=listed,
        own_generator=own_generator and transform not in UNSEEDED,
        **parameters,
    )


def augment_cases(
    *, transforms: Sequence[Transform] = get_args(Transform), max_channels: int = 3
) -> st.SearchStrategy[AugmentCase]:
    """Strategy for batches of pixels, each with a transform and its parameters.

    Generates single planes and stacks, all float dtypes, images of a camera's range, of a tiny and of a huge one,
    constant images and images with one bright voxel; some channels listed, all of them, and for dropout none;
    probabilities 0 and 1 among others; torch's generator or one of the transform's own. Promises listed channels that
    differ and that the batch has. Shrinks towards the first of ``transforms`` on one sample of one channel, listed, in
    float32 with probability 0.5.

    Parameters
    ----------
    transforms
        What may be done.
    max_channels
        Largest number of channels.
    """
    if not transforms or any(transform not in get_args(Transform) for transform in transforms):
        raise InvalidArgument(f"transforms={transforms!r} must name at least one of {list(get_args(Transform))}")
    if max_channels < 1:
        raise InvalidArgument(f"max_channels={max_channels!r} must be at least 1")
    return st.builds(
        _case,
        transform=st.sampled_from(list(transforms)),
        dtype=st.sampled_from(tuple(SCALES)),
        scale=st.integers(0, 3),
        left_out=st.lists(st.booleans(), min_size=1, max_size=max_channels),
        own_generator=st.booleans(),
        samples=st.integers(1, 4),
        depth=st.integers(1, 3),
        height=st.integers(3, 6),
        width=st.integers(3, 6),
        pixels=st.sampled_from(get_args(Pixels)),
        prob=st.sampled_from((0.5, 0.0, 1.0, 0.3, 0.9)),
        seed=st.integers(0, 2**32),
        level=st.sampled_from(get_args(Level)),
        subtrahend=st.sampled_from(("mean", "median")),
        divisor=st.sampled_from(("std", "iqr")),
        percentiles=st.sampled_from(((1.0, 99.0), (0.0, 100.0), (50.0, 99.9), (25.0, 75.0))),
        target=st.sampled_from(((0.0, 1.0), (-1.0, 3.0))),
        clip=st.booleans(),
        relative=st.booleans(),
    )
