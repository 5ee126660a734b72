# ruff: noqa: D102, ARG002, S311, NPY002 - overrides do the wrong thing on purpose, as their class says
"""Broken datasets for each law: one that reads descriptions instead of files, with a single defect, and a case."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from dynaclr_strategies.cases import DatasetCase, IndexCase
from dynaclr_strategies.oracles.dataset import DatasetOracle, Observation
from dynaclr_strategies.pixels import expected_patch
from dynaclr_strategies.ready_made import two_experiments
from dynaclr_strategies.subjects.tables import make_dataset, make_index

Candidates = dict[int, list[Observation]]


def observations(table: pd.DataFrame) -> list[Observation]:
    """Return what the rows of a table of the index show."""
    return [Observation(*row) for row in table[list(Observation._fields)].itertuples(index=False)]


class ReferenceDataset:
    """Answers as the laws want it, without reading a pixel from disk."""

    def __init__(self, yaml: Path, case: DatasetCase) -> None:
        self.case, self.root, self.epoch = case, yaml.parent, 0
        self.oracle = DatasetOracle(case)
        self.index = make_index(yaml, case.index)
        self.rows = observations(self.index.tracks)
        self.shown = observations(self.index.valid_anchors) if case.fit else self.rows
        self.choices: dict[int, tuple[Candidates, list[float]]] = {}
        self.founders = sorted({self.oracle.lineage(one) for one in self.rows})

    def __len__(self) -> int:
        return len(self.shown)

    def random(self, anchor: int, occurrence: int) -> random.Random:
        return random.Random(f"{self.case.seed}/{self.epoch}/{anchor}/{occurrence}")

    def occurrence(self, indices: list[int], place: int) -> int:
        return indices[:place].count(indices[place])

    def candidates(self, anchor: Observation) -> Candidates:
        return self.oracle.candidates(anchor)

    def weights(self, anchor: Observation) -> dict[int, float]:
        return {tau: float(share) for tau, share in self.oracle.tau_probabilities(anchor).items()}

    def draw(self, anchor: int, occurrence: int) -> tuple[Observation, int]:
        if anchor not in self.choices:
            own, weights = self.candidates(self.shown[anchor]), self.weights(self.shown[anchor])
            self.choices[anchor] = own, [weights.get(tau, 1.0) for tau in own]
        generator, (own, shares) = self.random(anchor, occurrence), self.choices[anchor]
        tau = generator.choices(list(own), shares)[0]
        return generator.choice(own[tau]), tau

    def positives(self, indices: list[int]) -> tuple[list[int], list[int]]:
        drawn = [self.draw(index, self.occurrence(indices, place)) for place, index in enumerate(indices)]
        return [self.rows.index(one) for one, _ in drawn], [tau for _, tau in drawn]

    def patch(self, shown: Observation) -> npt.NDArray[Any]:
        return self.oracle.patch(shown)

    def stack(self, shown: Iterable[Observation]) -> torch.Tensor:
        return torch.from_numpy(np.stack([self.patch(one) for one in shown]))

    def statistics(self, shown: Observation) -> dict[str, Any] | None:
        return self.oracle.statistics(shown, self.root)

    def lineage(self, shown: Observation) -> int:
        return self.founders.index(self.oracle.lineage(shown))

    def identity(self, shown: Observation) -> dict[str, Any]:
        return self.oracle.identity(shown)

    def __getitems__(self, indices: list[int]) -> dict[str, Any]:
        anchors = [self.shown[index] for index in indices]
        batch = {
            "anchor": self.stack(anchors),
            "anchor_norm_meta": [self.statistics(one) for one in anchors],
            "lineage": torch.tensor([self.lineage(one) for one in anchors]),
        }
        if not self.case.fit:
            return {**batch, "index": [self.identity(one) for one in anchors]}
        positives = [self.rows[row] for row in self.positives(indices)[0]]
        positive = {"positive": self.stack(positives), "positive_norm_meta": [self.statistics(p) for p in positives]}
        return {**batch, **positive}


def case(
    *,
    tau_range_hours: tuple[float, float] = (0.5, 2.0),
    patch: tuple[int, int] = (4, 4),
    fit: bool = True,
    **options: Any,
) -> DatasetCase:
    """Return a mother and her two daughters in two experiments with the same FOV names, and how they are read."""
    movie: dict[str, Any] = {"frames": 4, "size": (12, 10), "tracks": 3, "normalization": True, **options}
    both = two_experiments(wells=("A/1",), conditions=("mock",), **movie)
    turned = replace(both.experiments[1], source_channel=("RFP", "Phase3D"))
    registry = replace(both, experiments=(both.experiments[0], turned))
    index = IndexCase(registry=registry, tau_range_hours=tau_range_hours, yx_patch_size=patch)
    return DatasetCase(index=index, batch=(0, 5, 5, 2), epoch=1, fit=fit, cache_pool_bytes=1000)


PLAIN = case()
LONG = case(frames=8, tracks=2, divisions=0)


@dataclass(frozen=True)
class Witness:
    """A broken dataset and a case on which its law has to notice."""

    law: str
    make: Any
    case: DatasetCase


WITNESSES: list[Witness] = []


def witness(*laws: str, shown_by: DatasetCase = PLAIN) -> Any:
    """List a broken dataset as the witness of some laws."""

    def enlist(make: Any) -> Any:
        WITNESSES.extend(Witness(law, make, shown_by) for law in laws)
        return make

    return enlist


# --- pixels -----------------------------------------------------------------------------------------------------------


@witness("anchor-pixels", "positive-pixels")
class StoreOrder(ReferenceDataset):
    """Reads channels in the order of the store."""

    def patch(self, shown: Observation) -> npt.NDArray[Any]:
        names = self.oracle.registry.experiment(shown.experiment).channel_names
        order = sorted(self.oracle.channels(shown.experiment), key=names.index)
        return super().patch(shown)[[self.oracle.channels(shown.experiment).index(name) for name in order]]


@witness("anchor-pixels", "order-of-reading")
class CachedByFovName(ReferenceDataset):
    """Remembers the image of whichever experiment asked for a FOV name first."""

    def patch(self, shown: Observation) -> npt.NDArray[Any]:
        first = self.__dict__.setdefault("owners", {}).setdefault(shown.fov_name, shown.experiment)
        return super().patch(shown._replace(experiment=first))


@witness("anchor-pixels", "positive-pixels")
class TruncatedCentres(ReferenceDataset):
    """Cuts the fraction of a centroid off instead of rounding it."""

    def patch(self, shown: Observation) -> npt.NDArray[Any]:
        z, y, x = self.oracle.window(shown)
        at = self.oracle.identity(shown)["y"]
        first = min(max(math.floor(at) - (y.stop - y.start) // 2, 0), 12 - (y.stop - y.start))
        y = slice(first, first + y.stop - y.start)
        channels = self.oracle.channels(shown.experiment)
        return expected_patch(self.oracle.registry, *shown[:2], shown.t, channels, z, y, x)


@witness("positive-pixels")
class LiesAboutPositives(ReferenceDataset):
    """Tells other positives than it has read."""

    def positives(self, indices: list[int]) -> tuple[list[int], list[int]]:
        asked = self.__dict__.setdefault("asked", [])
        self.epoch, epoch = self.epoch + len(asked), self.epoch
        told = super().positives(indices)
        self.epoch = epoch
        asked.append(told)
        return told


@witness("float32-batches", shown_by=case(dtype="uint16", fit=False))
class StoresOwnType(ReferenceDataset):
    """Hands over numbers as the store has them."""

    def patch(self, shown: Observation) -> npt.NDArray[Any]:
        return super().patch(shown).astype(np.uint16)


@witness("float32-batches")
class WithoutDepth(ReferenceDataset):
    """Drops the axis of a single plane."""

    def patch(self, shown: Observation) -> npt.NDArray[Any]:
        return super().patch(shown)[:, 0]


@witness("window-outside-is-an-error", shown_by=case(patch=(12, 5)))
class PaddedWithZeros:
    """Fills with zeros what lies outside the image."""

    def __init__(self, yaml: Path, case: DatasetCase) -> None:
        self.inner, self.case = make_dataset(yaml, case), case
        self.index, self.epoch = self.inner.index, 0

    def __len__(self) -> int:
        return len(self.inner)

    def __getitems__(self, indices: list[int]) -> dict[str, Any]:
        try:
            return dict(self.inner.__getitems__(indices))
        except Exception:  # noqa: BLE001 - what it does wrong
            return {"anchor": torch.zeros(len(indices), *DatasetOracle(self.case).shape())}


# --- which positive ---------------------------------------------------------------------------------------------------


@witness("positive-on-line-of-descent")
class WholeFamily(ReferenceDataset):
    """Takes sisters for positives."""

    def candidates(self, anchor: Observation) -> Candidates:
        taus, founder = self.oracle.taus(anchor.experiment), self.oracle.lineage(anchor)
        kin = [one for one in self.rows if self.oracle.lineage(one) == founder and one.t - anchor.t in taus]
        return {one.t - anchor.t: [other for other in kin if other.t == one.t] for one in kin}


@witness("positive-on-line-of-descent")
class OtherExperiment(ReferenceDataset):
    """Looks for tracks by FOV name alone."""

    def draw(self, anchor: int, occurrence: int) -> tuple[Observation, int]:
        positive, tau = super().draw(anchor, occurrence)
        return positive._replace(experiment="exp_alpha"), tau


@witness("tau-in-range", "positive-is-another-frame")
class TauZero(ReferenceDataset):
    """Begins the range of tau at 0."""

    def candidates(self, anchor: Observation) -> Candidates:
        return {0: [anchor], **super().candidates(anchor)}


@witness("tau-in-range", shown_by=case(tau_range_hours=(0.5, 0.9)))
class OneFrameFurther(ReferenceDataset):
    """Rounds the end of the range up."""

    def candidates(self, anchor: Observation) -> Candidates:
        later = [one for one in self.rows if self.oracle.is_on_line(anchor, one) and one.t == anchor.t + 2]
        return {**super().candidates(anchor), **({2: later} if later else {})}


@witness("tau-in-range")
class WrongTau(ReferenceDataset):
    """Tells another tau than it drew."""

    def positives(self, indices: list[int]) -> tuple[list[int], list[int]]:
        rows, taus = super().positives(indices)
        return rows, [tau + 1 for tau in taus]


@witness("positive-is-another-frame", shown_by=case(tau_range_hours=(0.0, 0.0)))
class NeverTheAnchor(ReferenceDataset):
    """Knows no tau 0."""

    def candidates(self, anchor: Observation) -> Candidates:
        others = [one for one in self.rows if self.oracle.is_on_line(anchor, one) and one != anchor]
        return {0: others} if others else super().candidates(anchor)


@witness("tau-distribution", shown_by=LONG)
class EqualTaus(ReferenceDataset):
    """Draws all taus equally often."""

    def weights(self, anchor: Observation) -> dict[int, float]:
        return {}


@witness("tau-distribution", shown_by=LONG)
class OwnRange(ReferenceDataset):
    """Stretches the decay over the taus that the anchor has, not over the experiment's range."""

    def weights(self, anchor: Observation) -> dict[int, float]:
        own = list(self.candidates(anchor))
        return {tau: math.exp(-2.0 * (tau - own[0]) / max(own[-1] - own[0], 1)) for tau in own}


@witness("tau-distribution", shown_by=LONG)
class CutOff(ReferenceDataset):
    """Draws from the whole range, and takes the last tau that there is instead of one that is not."""

    def weights(self, anchor: Observation) -> dict[int, float]:
        own, taus = list(self.candidates(anchor)), self.oracle.taus(anchor.experiment)
        shares = {tau: math.exp(-2.0 * (tau - taus[0]) / (taus[-1] - taus[0])) for tau in taus}
        return {tau: shares[tau] if tau < own[-1] else sum(shares[t] for t in taus if t >= tau) for tau in own}


@witness("positive-uniform")
class FirstDaughter(ReferenceDataset):
    """Takes the first daughter, always."""

    def candidates(self, anchor: Observation) -> Candidates:
        return {tau: some[:1] for tau, some in super().candidates(anchor).items()}


# --- what a batch depends on ------------------------------------------------------------------------------------------


@witness("batches-repeatable")
class GlobalGenerator(ReferenceDataset):
    """Draws from NumPy's global generator."""

    def random(self, anchor: int, occurrence: int) -> random.Random:
        return random.Random(int(np.random.randint(2**31)))


@witness("batches-repeatable")
class TorchGenerator(ReferenceDataset):
    """Draws from torch's global generator."""

    def random(self, anchor: int, occurrence: int) -> random.Random:
        return random.Random(int(torch.randint(2**31, ())))


@witness("batches-repeatable", "order-of-reading")
class OneGenerator(ReferenceDataset):
    """Has a generator of its own, which goes on from batch to batch."""

    def random(self, anchor: int, occurrence: int) -> random.Random:
        generator: random.Random = self.__dict__.setdefault("generator", random.Random(self.case.seed))
        return generator


@witness("workers-change-nothing")
class SeededPerProcess(ReferenceDataset):
    """Gets a new seed in each process."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.case = replace(self.case, seed=self.case.seed + 1)


@witness("cache-changes-nothing")
class CacheWithoutFrames(ReferenceDataset):
    """Caches images of a FOV whatever the frame."""

    def patch(self, shown: Observation) -> npt.NDArray[Any]:
        cached = self.__dict__.setdefault("cache", {})
        key = shown[:3] if self.case.cache_pool_bytes else shown
        return np.asarray(cached.setdefault(key, super().patch(shown)))


@witness("positive-by-address")
class ByPlace(ReferenceDataset):
    """Draws by the anchor's place in the batch."""

    def occurrence(self, indices: list[int], place: int) -> int:
        return place


@witness("positives-by-seed")
class SeedIgnored(ReferenceDataset):
    """Has no use for the seed."""

    def random(self, anchor: int, occurrence: int) -> random.Random:
        return random.Random(f"{self.epoch}/{anchor}/{occurrence}")


@witness("positives-by-seed")
class SeedPlusEpoch(ReferenceDataset):
    """Adds seed and epoch, so that runs repeat each other."""

    def random(self, anchor: int, occurrence: int) -> random.Random:
        return random.Random(f"{self.case.seed + self.epoch}/{anchor}/{occurrence}")


@witness("positives-by-epoch")
class EpochIgnored(ReferenceDataset):
    """Draws once and for all."""

    def random(self, anchor: int, occurrence: int) -> random.Random:
        return random.Random(f"{self.case.seed}/{anchor}/{occurrence}")


@witness("positives-by-occurrence")
class OccurrenceIgnored(ReferenceDataset):
    """Gives an anchor that occurs twice the same positive twice."""

    def occurrence(self, indices: list[int], place: int) -> int:
        return 0


# --- what else a batch holds ------------------------------------------------------------------------------------------


@witness("statistics-of-observation")
class StatisticsInStoreOrder(ReferenceDataset):
    """Counts the statistics' channels in another order than the patch's."""

    def statistics(self, shown: Observation) -> dict[str, Any] | None:
        found = super().statistics(shown)
        return found and dict(zip(found, reversed(list(found.values())), strict=True))


@witness("statistics-of-observation")
class StatisticsOfFirstFrame(ReferenceDataset):
    """Looks every frame up as frame 0."""

    def statistics(self, shown: Observation) -> dict[str, Any] | None:
        return super().statistics(shown._replace(t=0))


@witness("statistics-of-observation")
class NoStatistics(ReferenceDataset):
    """Finds nothing."""

    def statistics(self, shown: Observation) -> dict[str, Any] | None:
        return None


@witness("lineage-codes")
class TrackCodes(ReferenceDataset):
    """Takes each track for a lineage of its own."""

    def lineage(self, shown: Observation) -> int:
        return 100 * self.founders.index(self.oracle.lineage(shown)) + shown.track_id


@witness("lineage-codes")
class CodesWithinAFov(ReferenceDataset):
    """Numbers founders in each FOV anew."""

    def lineage(self, shown: Observation) -> int:
        return int(self.oracle.lineage(shown).rpartition("_")[2])


@witness("every-observation-read")
class AnchorsOnly(ReferenceDataset):
    """Leaves out the observations without a positive."""

    def __init__(self, yaml: Path, case: DatasetCase) -> None:
        super().__init__(yaml, case)
        self.shown = observations(self.index.valid_anchors)


@witness("every-observation-read")
class LastTwice(ReferenceDataset):
    """Reads an observation twice, as a sampler that pads does."""

    def __init__(self, yaml: Path, case: DatasetCase) -> None:
        super().__init__(yaml, case)
        self.shown = [*self.rows, self.rows[-1]]


@witness("every-observation-read")
class HoursOfMovie(ReferenceDataset):
    """Counts hours from the first frame in frames."""

    def identity(self, shown: Observation) -> dict[str, Any]:
        return {**super().identity(shown), "hours_post_infection": float(shown.t)}


@witness("every-observation-read")
class WithoutLineage(ReferenceDataset):
    """Leaves a column out."""

    def identity(self, shown: Observation) -> dict[str, Any]:
        return {name: value for name, value in super().identity(shown).items() if name != "lineage_id"}
