# ruff: noqa: D102, ARG001, ARG005, S311, NPY002 - overrides do the wrong thing on purpose, as their class says
"""Broken dropouts and transforms for each law: ours with a single defect, and a case on which it shows."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynaclr.augment import ChannelDropout
from dynaclr_strategies.loss_descriptions import AugmentCase
from dynaclr_strategies.subjects.augment import make_augment

Batch = dict[str, Any]

DROPOUT = AugmentCase(transform="dropout", samples=4, channels=3, listed=(0, 2), prob=0.5)
NOISE = AugmentCase(transform="noise", samples=4, channels=2, listed=(0,), prob=1.0)
AFFINE = replace(NOISE, transform="affine", listed=(0, 1), prob=0.5)
CONTRAST = replace(NOISE, transform="contrast", prob=0.5)
NORMALIZE = AugmentCase(transform="normalize", samples=2, channels=2, listed=(0, 1))
PERCENTILES = AugmentCase(transform="percentiles", samples=2, channels=2, listed=(0, 1), clip=True)


class Transform:
    """Ours, to be broken; called as ours are."""

    def __init__(self, case: AugmentCase) -> None:
        self.case = case
        self.ours = make_augment(case)

    def __call__(self, batch: Batch) -> Batch:
        result: Batch = self.ours(batch)
        return result

    def of_each(self, batch: Batch, change: Callable[[str, Tensor], Tensor]) -> Batch:
        """Return the batch with each listed channel changed."""
        return {**batch, **{key: change(key, batch[key]) for key in self.case.keys}}


class Dropout(ChannelDropout):
    """Ours, to be broken."""

    def __init__(self, case: AugmentCase) -> None:
        super().__init__(case.listed, case.prob)

    def keep(self, x: Tensor, kept: Tensor) -> Tensor:
        """Return the batch where `kept`, of samples and channels, is true, and 0 elsewhere; never in evaluation."""
        if not self.training:
            return x
        unlisted = torch.ones(x.shape[1], dtype=torch.bool)
        unlisted[list(self.channels)] = False
        return x * (kept | unlisted).reshape(*kept.shape, 1, 1, 1)


@dataclass(frozen=True)
class Witness:
    """Something broken and a case on which its law has to notice."""

    law: str
    make: Callable[[AugmentCase], Any]
    case: AugmentCase

    @property
    def name(self) -> str:
        """What a test is called."""
        return f"{self.law}: {self.make.__name__}"


WITNESSES: list[Witness] = []


def witness(law: str, shown_by: AugmentCase) -> Any:
    """List something broken as a witness of a law."""

    def enlist(make: Any) -> Any:
        WITNESSES.append(Witness(law, make, shown_by))
        return make

    return enlist


# --- habits of all ----------------------------------------------------------------------------------------------------


@witness("augment-leaves-inputs-alone", DROPOUT)
class DropsInPlace(Dropout):
    """Zeroes the batch that it was given."""

    def forward(self, x: Tensor) -> Tensor:
        return x.copy_(super().forward(x))


@witness("augment-leaves-inputs-alone", NOISE)
class ChangesInPlace(Transform):
    """Writes into the tensors of the batch."""

    def __call__(self, batch: Batch) -> Batch:
        return self.of_each(batch, lambda key, volume: volume.add_(1))


@witness("augment-leaves-inputs-alone", NOISE)
class WritesIntoTheBatch(Transform):
    """Replaces the tensors in the dictionary that it was given."""

    def __call__(self, batch: Batch) -> Batch:
        batch.update(super().__call__(batch))
        return batch


@witness("augment-leaves-inputs-alone", NOISE)
class ForgetsTheRest(Transform):
    """Returns channels and nothing else, so that statistics are lost on the way."""

    def __call__(self, batch: Batch) -> Batch:
        return {key: value for key, value in super().__call__(batch).items() if key.startswith("ch_")}


@witness("augment-keeps-dtype-and-shape", replace(NOISE, dtype="float16"))
class AlwaysSingle(Transform):
    """Returns single precision whatever came."""

    def __call__(self, batch: Batch) -> Batch:
        after = super().__call__(batch)
        return self.of_each(after, lambda key, volume: volume.float())


@witness("augment-keeps-dtype-and-shape", replace(DROPOUT, prob=1.0))
class TakesChannelsOut(Dropout):
    """Returns the batch without what it dropped."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, [c for c in range(x.shape[1]) if c not in self.channels]]


@witness("augment-is-finite", replace(CONTRAST, pixels="constant"))
class DividesByTheRange(Transform):
    """Scales to the image's range, which is 0 where it is constant."""

    def __call__(self, batch: Batch) -> Batch:
        return self.of_each(batch, lambda key, volume: (volume - volume.min()) / (volume.max() - volume.min()))


@witness("augment-is-finite", replace(NOISE, transform="scale", dtype="float16", scale=1000.0))
class SquaresFirst(Transform):
    """Passes through numbers that half precision does not hold."""

    def __call__(self, batch: Batch) -> Batch:
        return self.of_each(batch, lambda key, volume: (volume * volume).sqrt())


@witness("augment-listed-channels-only", DROPOUT)
class DropsAnyChannel(Dropout):
    """Drops what is not listed too."""

    def __init__(self, case: AugmentCase) -> None:
        super().__init__(replace(case, listed=tuple(range(case.channels))))


@witness("augment-listed-channels-only", NOISE)
class ChangesAnyChannel(Transform):
    """Transforms all that looks like a channel."""

    def __init__(self, case: AugmentCase) -> None:
        super().__init__(replace(case, listed=tuple(range(case.channels))))


@witness("augment-seed-decides", replace(DROPOUT, samples=64))
class DropsByAnotherSeed(Dropout):
    """Draws from Python's generator, which nobody seeds."""

    def forward(self, x: Tensor) -> Tensor:
        kept = torch.tensor([[random.random() > self.p for _ in row] for row in x])
        return self.keep(x, kept)


@witness("augment-seed-decides", AFFINE)
class AlwaysTheSame(Transform):
    """Brings a seed of its own along."""

    def __call__(self, batch: Batch) -> Batch:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            return make_augment(replace(self.case, own_generator=False))(batch)  # type: ignore[no-any-return]


@witness("augment-generator-left-alone", NOISE)
class DrawsFromNumpy(Transform):
    """Draws from NumPy's global generator."""

    def __call__(self, batch: Batch) -> Batch:
        return self.of_each(batch, lambda key, volume: volume + np.random.rand())


@witness("augment-generator-left-alone", replace(NOISE, own_generator=True))
class IgnoresItsGenerator(Transform):
    """Draws from torch's generator though it was given its own."""

    def __init__(self, case: AugmentCase) -> None:
        super().__init__(replace(case, own_generator=False))


@witness("augment-generator-left-alone", NORMALIZE)
class SeedsTorch(Transform):
    """Seeds torch's generator, which is not its business."""

    def __call__(self, batch: Batch) -> Batch:
        torch.default_generator.manual_seed(7)
        return super().__call__(batch)


# --- probabilities ----------------------------------------------------------------------------------------------------


@witness("augment-probability-zero-is-identity", AFFINE)
@witness("augment-probability-is-of-a-sample", AFFINE)
class ChangesAll(Transform):
    """Does not look at its probability."""

    def __init__(self, case: AugmentCase) -> None:
        super().__init__(replace(case, prob=1.0))


@witness("augment-probability-zero-is-identity", replace(DROPOUT, prob=0.0))
class NeverZero(Dropout):
    """Takes a probability of 0 for one that was not given."""

    def __init__(self, case: AugmentCase) -> None:
        super().__init__(replace(case, prob=case.prob or 0.5))


@witness("augment-drawn-per-sample", CONTRAST)
class DrawsOncePerBatch(Transform):
    """Changes all samples alike."""

    def __call__(self, batch: Batch) -> Batch:
        amount = torch.rand(())
        return self.of_each(batch, lambda key, volume: volume * (1 + amount))


@witness("augment-drawn-per-sample", AFFINE)
class DrawsForPairs(Transform):
    """Gives every other sample what the one before it got."""

    def __call__(self, batch: Batch) -> Batch:
        after = super().__call__(batch)
        return self.of_each(after, lambda key, volume: volume[torch.arange(len(volume)) // 2])


@witness("augment-probability-is-of-a-sample", CONTRAST)
class OneCoinForTheBatch(Transform):
    """Changes the whole batch, or none of it."""

    def __call__(self, batch: Batch) -> Batch:
        changed = make_augment(replace(self.case, prob=1.0))
        return changed(batch) if torch.rand(()) < self.case.prob else batch  # type: ignore[no-any-return]


@witness("augment-probability-is-of-a-sample", CONTRAST)
class CoinsForPairs(Transform):
    """Changes samples in pairs, each with the right probability."""

    def __call__(self, batch: Batch) -> Batch:
        changed = make_augment(replace(self.case, prob=1.0))(batch)
        coins = (torch.rand(len(batch["ch_0"])) < self.case.prob)[torch.arange(len(batch["ch_0"])) // 2]
        return self.of_each(batch, lambda key, volume: torch.where(coins.reshape(-1, 1, 1, 1, 1), changed[key], volume))


@witness("augment-moves-channels-together", AFFINE)
class MovesEachChannel(Transform):
    """Draws a motion for each channel, and tears the cell apart."""

    def __call__(self, batch: Batch) -> Batch:
        for channel in self.case.listed:
            batch = make_augment(replace(self.case, listed=(channel,)))(batch)
        return batch


@witness("augment-channels-on-their-own", NOISE)
class OneNoiseForAll(Transform):
    """Changes all channels alike."""

    def __call__(self, batch: Batch) -> Batch:
        noise = torch.randn(batch["ch_0"].shape)
        return self.of_each(batch, lambda key, volume: volume + noise)


# --- dropout ----------------------------------------------------------------------------------------------------------


@witness("dropout-whole-channels", DROPOUT)
class DropsVoxels(Dropout):
    """Zeroes voxels."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (torch.rand(x.shape) >= self.p)


@witness("dropout-whole-channels", DROPOUT)
class ScalesTheRest(Dropout):
    """Makes up for what is dropped, as dropout of features does."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / (1 - self.p)


@witness("dropout-probability-one-drops-all", DROPOUT)
class KeepsOneChannel(Dropout):
    """Never drops all that is listed."""

    def __init__(self, case: AugmentCase) -> None:
        super().__init__(replace(case, listed=case.listed[1:]))


@witness("dropout-off-in-evaluation", DROPOUT)
class DropsInEvaluation(Dropout):
    """Does not look at its mode."""

    def forward(self, x: Tensor) -> Tensor:
        self.training = True
        return super().forward(x)


@witness("dropout-off-in-evaluation", DROPOUT)
class DrawsInEvaluation(Dropout):
    """Draws before it looks at its mode."""

    def forward(self, x: Tensor) -> Tensor:
        return self.keep(x, torch.rand(x.shape[:2]) >= self.p)


@witness("dropout-independent", DROPOUT)
class SharedBySamples(Dropout):
    """Draws once for the whole batch."""

    def forward(self, x: Tensor) -> Tensor:
        return self.keep(x, (torch.rand(x.shape[1]) >= self.p).expand(x.shape[:2]))


@witness("dropout-independent", DROPOUT)
class SharedByChannels(Dropout):
    """Draws once for all channels of a sample."""

    def forward(self, x: Tensor) -> Tensor:
        return self.keep(x, (torch.rand(len(x), 1) >= self.p).expand(x.shape[:2]))


@witness("dropout-independent", DROPOUT)
class SharedByNeighbours(Dropout):
    """Draws for two samples at a time."""

    def forward(self, x: Tensor) -> Tensor:
        return self.keep(x, torch.rand(x.shape[:2])[torch.arange(len(x)) // 2] >= self.p)


@witness("dropout-independent", replace(DROPOUT, prob=0.3))
class KeepsInstead(Dropout):
    """Takes the probability of dropping for that of keeping."""

    def forward(self, x: Tensor) -> Tensor:
        return self.keep(x, torch.rand(x.shape[:2]) < self.p)


# --- what is not random -----------------------------------------------------------------------------------------------


def _with_meta(batch: Batch, meta: list[Any]) -> Batch:
    return {**batch, "norm_meta": meta}


@witness("augment-equals-statistics", NORMALIZE)
class StatisticsOfAnotherChannel(Transform):
    """Normalises all channels by the statistics of the first."""

    def __call__(self, batch: Batch) -> Batch:
        return super().__call__(_with_meta(batch, [dict.fromkeys(meta, meta["ch_0"]) for meta in batch["norm_meta"]]))


@witness("augment-equals-statistics", NORMALIZE)
class StatisticsOfAnotherSample(Transform):
    """Normalises all samples by the statistics of the first."""

    def __call__(self, batch: Batch) -> Batch:
        return super().__call__(_with_meta(batch, batch["norm_meta"][:1] * len(batch["norm_meta"])))


@witness("augment-equals-statistics", replace(NORMALIZE, subtrahend="median", level="timepoint_statistics"))
class StatisticsOfTheWholeMovie(Transform):
    """Always takes the statistics of the FOV."""

    def __init__(self, case: AugmentCase) -> None:
        super().__init__(replace(case, level="fov_statistics"))


@witness("augment-equals-statistics", NORMALIZE)
class DividesByTheVariance(Transform):
    """Takes the divisor twice."""

    def __call__(self, batch: Batch) -> Batch:
        after = super().__call__(batch)
        deviation = [
            [meta[key][self.case.level][self.case.divisor] for key in self.case.keys] for meta in batch["norm_meta"]
        ]
        divisors = torch.tensor(deviation)
        place = self.case.keys.index
        return self.of_each(after, lambda key, volume: volume / divisors[:, place(key)].reshape(-1, 1, 1, 1, 1))


@witness("augment-equals-percentiles", PERCENTILES)
class PercentilesOfTheBatch(Transform):
    """Takes the percentiles over all samples."""

    def __call__(self, batch: Batch) -> Batch:
        low, high = (p / 100 for p in self.case.percentiles)

        def change(key: str, volume: Tensor) -> Tensor:
            bottom, top = volume.quantile(low), volume.quantile(high)
            return ((volume - bottom) / (top - bottom)).clamp(0, 1)

        return self.of_each(batch, change)


@witness("augment-equals-percentiles", PERCENTILES)
class NeverClips(Transform):
    """Lets values beyond the target pass."""

    def __init__(self, case: AugmentCase) -> None:
        super().__init__(replace(case, clip=False))


@witness("augment-equals-percentiles", replace(PERCENTILES, relative=True))
class NeverRelative(Transform):
    """Takes the target as it is."""

    def __init__(self, case: AugmentCase) -> None:
        super().__init__(replace(case, relative=False))


@witness("augment-equals-percentiles", PERCENTILES)
class NearestPercentile(Transform):
    """Takes the voxel nearest to a percentile, without interpolation."""

    def __call__(self, batch: Batch) -> Batch:
        def change(key: str, volume: Tensor) -> Tensor:
            rows = volume.flatten(1)
            bottom, top = (
                torch.quantile(rows, p / 100, dim=1, interpolation="nearest").reshape(-1, 1, 1, 1, 1)
                for p in self.case.percentiles
            )
            return ((volume - bottom) / (top - bottom)).clamp(0, 1)

        return self.of_each(batch, change)
