# ruff: noqa: D401 - the docstring of a fault says what goes wrong, it does not command
"""Faults that a scientist would suffer from, put into the code while it runs: ``DYNACLR_PLANTED=<name>``.

A plugin of pytest (``-p planted_faults``) for the suite, and ``python planted_faults.py BUNDLE`` for a replay with the
fault still there.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

FAULTS: dict[str, Callable[[], None]] = {}


def fault(plant: Callable[[], None]) -> Callable[[], None]:
    """List a fault by its name."""
    FAULTS[plant.__name__] = plant
    return plant


@fault
def wrong_channel_map() -> None:
    """Channels are read in the order of the store, not in that of ``source_channel``."""
    from dynaclr import dataset

    images = dataset._images

    def sorted_channels(index: Any) -> Any:
        numbers, found = images(index)
        return numbers, [(replace(i, channels=tuple(sorted(i.channels))), *rest) for i, *rest in found]

    dataset._images = sorted_channels


@fault
def cache_keyed_by_fov_name() -> None:
    """Open arrays are remembered by the name of the FOV alone, which two experiments may share."""
    from dynaclr.pixels import PatchReader

    def opened(self: Any, numbers: list[int]) -> Any:
        with self._lock:
            for image in (self._images[number] for number in numbers):
                if image.fov_name not in self._stores:
                    self._stores[image.fov_name] = self._source(image, self._open(image))
            return {number: self._stores[self._images[number].fov_name] for number in numbers}

    PatchReader._opened = opened  # type: ignore[method-assign]


@fault
def remainder_to_the_last_condition() -> None:
    """Quotas are rounded down, and the last condition gets what is left."""
    from dynaclr.cascade.quotas import Quotas
    from dynaclr.cascade.rounding import SystematicRounding

    begin = Quotas.__init__

    def to_the_last(rounding: Any) -> Any:
        never = 2**64
        lifts = [Fraction(int(never - 1 - int(at)), never) for at in rounding.threshold]
        sums = [int(whole) + lift for whole, lift in zip(rounding.whole, lifts, strict=True)]
        parts = [Fraction(int(high - low)) for low, high in itertools.pairwise(sums)]
        parts[-1] = int(rounding.whole[-1]) - sum(parts[:-1], Fraction(0))
        return SystematicRounding.of(parts)

    def init(self: Any, strata: Any, per_group: Any) -> None:
        begin(self, strata, [to_the_last(rounding) for rounding in per_group])

    Quotas.__init__ = init  # type: ignore[method-assign]


@fault
def enrichment_ignores_conditions() -> None:
    """Temporal enrichment switches the balance of conditions off."""
    from dynaclr.sampler import FlexibleBatchSampler

    begin = FlexibleBatchSampler.__init__

    def init(self: Any, *args: Any, **options: Any) -> None:
        balanced = options.get("condition_balanced", True) and not options.get("temporal_enrichment", False)
        ratio = options.get("condition_ratio") if balanced else None
        begin(self, *args, **{**options, "condition_balanced": balanced, "condition_ratio": ratio})

    FlexibleBatchSampler.__init__ = init  # type: ignore[method-assign]


@fault
def unequal_ranks() -> None:
    """The epoch is not continued to a multiple of the ranks, so that some have a batch less."""
    from dynaclr.sampler import FlexibleBatchSampler

    def length(self: Any) -> int:
        return len(range(self._resume_at + self.rank, self.num_batches, self.num_replicas))

    FlexibleBatchSampler.__len__ = length  # type: ignore[method-assign]


@fault
def tau_zero_as_positive() -> None:
    """The draw of tau begins at 0, where the positive is the anchor itself."""
    from dynaclr import positives

    table = positives._tau_table
    positives._tau_table = lambda ranges, *rest: table([(0, tau_max) for _, tau_max in ranges], *rest)


@fault
def sister_as_positive() -> None:
    """Candidates are the whole family of the founder, not the line of descent."""
    from dynaclr.lineage import Descent, _int64

    def family(self: Any, rows: Any, taus: Any) -> Any:
        rows, taus = _int64(rows), _int64(taus)
        track, forest = self.track[rows], self.forest
        founder = forest.founder[track]
        low = self.row_key[rows] + taus * forest.preorder.size + forest.preorder[founder] - forest.preorder[track]
        return self.sorted_keys.below(low), self.sorted_keys.below(low + forest.subtree_size[founder])

    Descent.candidate_ranges = family  # type: ignore[method-assign]


@fault
def dropout_in_validation() -> None:
    """Nobody switches the random part of the transforms off."""
    from dynaclr.datamodule import MultiExperimentDataModule

    def hook(self: Any, batch: Any, dataloader_idx: int) -> Any:  # noqa: ARG001 - as Lightning calls it
        return self.transforms(batch, training=True) if "anchor" in batch else batch

    MultiExperimentDataModule.on_after_batch_transfer = hook  # type: ignore[method-assign]


@fault
def unseeded_positives() -> None:
    """Positives are drawn from NumPy's global generator."""
    from dynaclr import positives

    def words(_seed: Any, _epoch: Any, _purpose: Any, anchors: Any) -> Any:
        return np.random.randint(0, 2**63, len(anchors), dtype=np.uint64)  # noqa: NPY002

    positives.keys = words


if os.environ.get("DYNACLR_PLANTED"):
    FAULTS[os.environ["DYNACLR_PLANTED"]]()

if __name__ == "__main__":
    from dynaclr_strategies.reproduction.replay import main

    sys.exit(main())
