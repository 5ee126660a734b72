"""Descriptions of what the tensors' laws are checked on: batches of embeddings for the loss, batches of pixels.

Both are small and are expanded to arrays deterministically; what is drawn is what a fault may depend on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dynaclr_strategies.codec import Plain

__all__ = [
    "FLOATS",
    "MAX_ROWS",
    "MAX_VOXELS",
    "AugmentCase",
    "EmbeddingsDescription",
    "FloatDtype",
    "FloatFormat",
    "Level",
    "LossCase",
    "Pixels",
    "RowDescription",
    "Transform",
]

FloatDtype = Literal["float64", "float32", "float16", "bfloat16"]
Transform = Literal["dropout", "affine", "rotate", "contrast", "scale", "smooth", "noise", "normalize", "percentiles"]
Pixels = Literal["all different", "equal images", "constant", "one bright"]
Level = Literal["fov_statistics", "dataset_statistics", "timepoint_statistics"]

MAX_ROWS, MAX_VOXELS = 4096, 2**22
"""A description from a stranger must not fill the memory."""


@dataclass(frozen=True)
class FloatFormat:
    """A floating-point format: binary digits, and the powers of two of its smallest number and of its bound.

    Attributes
    ----------
    digits
        Length of the significand, the hidden digit included.
    smallest
        ``2 ** smallest`` is the smallest number above zero.
    bound
        All numbers are below ``2 ** bound``.
    """

    digits: int
    smallest: int
    bound: int

    @property
    def roundoff(self) -> float:
        """How much rounding to nearest changes a number at most, relatively."""
        return math.ldexp(1.0, -self.digits)

    @property
    def largest(self) -> float:
        """The largest number."""
        return math.ldexp(1 - math.ldexp(1.0, -self.digits), self.bound)


FLOATS: dict[FloatDtype, FloatFormat] = {
    "float64": FloatFormat(53, -1074, 1024),
    "float32": FloatFormat(24, -149, 128),
    "float16": FloatFormat(11, -24, 16),
    "bfloat16": FloatFormat(8, -133, 128),
}


@dataclass(frozen=True, kw_only=True)
class RowDescription(Plain):
    """One embedding: ``entries * 2 ** exponent``, which every format holds exactly if it is in its range.

    Attributes
    ----------
    entries
        Its direction in small integers; what a wider row of the batch has beyond them is 0 here.
    label
        Rows of one label are positives of each other.
    exponent
        How long it is.
    lineage
        Code of its lineage.
    """

    entries: tuple[int, ...]
    label: int = 0
    exponent: int = 0
    lineage: int = 0


@dataclass(frozen=True, kw_only=True)
class EmbeddingsDescription(Plain):
    """A batch of embeddings and their labels.

    Raises
    ------
    ValueError
        If there are too many rows, or a number that the dtype cannot hold exactly.
    """

    rows: tuple[RowDescription, ...]
    dtype: FloatDtype = "float64"

    def __post_init__(self) -> None:
        if len(self.rows) > MAX_ROWS or self.width > MAX_ROWS:
            raise ValueError(f"rows must be at most {MAX_ROWS} of as many entries, got {len(self.rows)}")
        kind = FLOATS[self.dtype]
        for row in self.rows:
            largest = max(map(abs, row.entries), default=0)
            fits = largest < 2 ** min(kind.digits, kind.bound - row.exponent) if row.exponent < kind.bound else False
            if row.exponent < kind.smallest or not fits:
                raise ValueError(f"entries={row.entries!r} times 2 ** {row.exponent} must be exact in {self.dtype}")

    @property
    def width(self) -> int:
        """Number of features."""
        return max([1, *(len(row.entries) for row in self.rows)])

    @property
    def labels(self) -> tuple[int, ...]:
        """The label of each row."""
        return tuple(row.label for row in self.rows)

    @property
    def lineages(self) -> tuple[int, ...]:
        """The code of each row's lineage."""
        return tuple(row.lineage for row in self.rows)

    def array(self) -> npt.NDArray[np.float64]:
        """Return the embeddings, shape (rows, width)."""
        array = np.zeros((len(self.rows), self.width))
        for i, row in enumerate(self.rows):
            array[i, : len(row.entries)] = [math.ldexp(entry, row.exponent) for entry in row.entries]
        return array


@dataclass(frozen=True, kw_only=True)
class LossCase(Plain):
    """A batch of embeddings, and the parameters of ``NTXentHCL``."""

    embeddings: EmbeddingsDescription
    temperature: float = 0.5
    beta: float = 0.0
    beta_on: Literal["cosine", "logit"] = "cosine"
    tau_plus: float = 0.0
    mask_same_lineage: bool = False


@dataclass(frozen=True, kw_only=True)
class AugmentCase(Plain):
    """A batch of pixels, and what is done to it.

    Attributes
    ----------
    transform
        What is done.
    samples, channels, depth, height, width
        Shape of the batch.
    dtype
        Of the pixels.
    pixels
        Whether all voxels differ, or differ within an image that is the same for all samples and channels, or are
        constant, or constant but for one bright one per channel.
    scale
        Size of the pixel values.
    listed
        Positions of the channels that may change.
    prob
        Probability of a sample to change (of a channel of a sample, for dropout).
    seed
        Of the random numbers.
    own_generator
        Whether they come from a generator of the transform's own, instead of torch's.
    level, subtrahend, divisor
        Parameters of ``NormalizeSampled``.
    percentiles, target, clip, relative
        Parameters of ``ScaleIntensityRangePercentilesd``.

    Raises
    ------
    ValueError
        If the batch is too large, or does not have the channels.
    """

    transform: Transform
    samples: int = 1
    channels: int = 1
    depth: int = 1
    height: int = 3
    width: int = 3
    dtype: FloatDtype = "float32"
    pixels: Pixels = "all different"
    scale: float = 1.0
    listed: tuple[int, ...] = (0,)
    prob: float = 0.5
    seed: int = 0
    own_generator: bool = False
    level: Level = "fov_statistics"
    subtrahend: Literal["mean", "median"] = "mean"
    divisor: Literal["std", "iqr"] = "std"
    percentiles: tuple[float, float] = (1.0, 99.0)
    target: tuple[float, float] = (0.0, 1.0)
    clip: bool = False
    relative: bool = False

    def __post_init__(self) -> None:
        if min(self.shape) < 1 or math.prod(self.shape) > MAX_VOXELS:
            raise ValueError(f"shape={self.shape!r} must be of 1 to {MAX_VOXELS} voxels")
        if len(set(self.listed)) != len(self.listed) or not set(self.listed) <= set(range(self.channels)):
            raise ValueError(f"listed={self.listed!r} must be different positions below channels={self.channels}")

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """Samples, channels, depth, height and width."""
        return self.samples, self.channels, self.depth, self.height, self.width

    @property
    def names(self) -> tuple[str, ...]:
        """What the channels are called."""
        return tuple(f"ch_{i}" for i in range(self.channels))

    @property
    def keys(self) -> tuple[str, ...]:
        """What the channels that may change are called."""
        return tuple(f"ch_{i}" for i in self.listed)

    @property
    def is_random(self) -> bool:
        """Whether random numbers decide what is done."""
        return self.transform not in ("normalize", "percentiles")

    def array(self) -> npt.NDArray[np.float64]:
        """Return the pixels; the dtype rounds them. None is zero."""
        count = math.prod(self.shape[2:] if self.pixels == "equal images" else self.shape)
        values = np.full(count, 0.75)
        if self.pixels in ("all different", "equal images"):
            # Multiples of the golden ratio fill the unit interval evenly and never meet.
            values = (np.arange(1, count + 1) * 0.6180339887498949) % 1 - 0.25
        if self.pixels == "equal images":
            values = np.broadcast_to(values.reshape(self.shape[2:]), self.shape)
        values = values.reshape(self.shape) * self.scale
        if self.pixels == "one bright":
            values[:, :, -1, -1, -1] *= 20
        return values

    def norm_meta(self) -> list[dict[str, Any]]:
        """Return statistics for each sample and channel; no two of them are the same number."""
        places = ("fov_statistics", "dataset_statistics", "timepoint_statistics")
        statistics = ("mean", "std", "median", "iqr")
        return [
            {
                name: {
                    place: {
                        statistic: 0.5 + ((sample * self.channels + channel) * 3 + i) * 4 + j
                        for j, statistic in enumerate(statistics)
                    }
                    for i, place in enumerate(places)
                }
                for channel, name in enumerate(self.names)
            }
            for sample in range(self.samples)
        ]
