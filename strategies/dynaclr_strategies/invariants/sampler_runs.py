"""Running a sampler and naming what was seen: shared by the laws of the sampler."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dynaclr_strategies.invariants.base import InvariantViolation
from dynaclr_strategies.invariants.evidence import BatchEvidence
from dynaclr_strategies.oracles.sampler import CascadeOracle
from dynaclr_strategies.sampler_descriptions import Label, SamplerOptions

__all__ = [
    "Batch",
    "MakeSampler",
    "alone",
    "at_epoch",
    "blame",
    "compare",
    "epoch_of",
    "global_batches",
    "observed",
    "on_ranks",
    "pool_name",
    "span",
    "stratum_name",
    "transcript",
]

MakeSampler = Callable[[pd.DataFrame, SamplerOptions], Any]


@dataclass(frozen=True)
class Batch:
    """One batch as it came out of an iteration.

    Attributes
    ----------
    anchors
        What the sampler yielded.
    number, epoch
        Which global batch of which epoch it is.
    sampler
        Where it came from.
    """

    anchors: list[Any]
    number: int
    epoch: int
    sampler: Any

    def __str__(self) -> str:
        return f"batch {self.number} of epoch {self.epoch}"

    def provenance(self) -> pd.DataFrame | None:
        """Return the sampler's own account of the batch; None if it gives none."""
        if not hasattr(self.sampler, "explain"):
            return None
        account: pd.DataFrame = self.sampler.explain(self.number, epoch=self.epoch)
        return account

    def owner(self, oracle: CascadeOracle) -> list[Label | None]:
        """Return the experiments that the batch may belong to: one, if the composition or the sampler tells."""
        possible = oracle.batch_groups(self.anchors)
        if len(possible) < 2 or (account := self.provenance()) is None:
            return possible
        primary = account.loc[account["source"] == "primary", "anchor"]
        return [oracle.group(int(primary.iloc[0]))]

    def by_condition(self, oracle: CascadeOracle, owner: Label | None) -> dict[Label | None, list[int]]:
        """Return the primary anchors of a batch that belongs to this experiment, by condition."""
        members: dict[Label | None, list[int]] = {}
        for anchor in oracle.split(self.anchors, owner)[0]:
            members.setdefault(oracle.condition(anchor), []).append(anchor)
        return members


def blame(
    batch: Batch, seen: str, expected: str, law: str, offenders: Iterable[Any] = (), *, detail: str = ""
) -> InvariantViolation:
    """Return the violation of a law by a batch, with the batch as its evidence.

    Parameters
    ----------
    batch, seen, expected, law
        As in `InvariantViolation`.
    offenders
        Anchors of the batch that break the law; none where it is the batch as a whole.
    detail
        What to add to the batch's name, such as the position in it.
    """
    evidence = BatchEvidence(tuple(batch.anchors), tuple(offenders))
    return InvariantViolation(f"{batch}{detail}", seen, expected, law, evidence=evidence)


def at_epoch(sampler: Any, epoch: int) -> Any:
    """Return the sampler after ``set_epoch``, or as it is for one that knows no epochs."""
    if hasattr(sampler, "set_epoch"):
        sampler.set_epoch(epoch)
    return sampler


def observed(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> Iterator[Batch]:
    """Yield the batches of this rank in the first two epochs."""
    sampler = make_sampler(table, options)
    step, first = options.num_replicas or 1, options.rank or 0
    for epoch in range(2 if hasattr(sampler, "set_epoch") else 1):
        for place, batch in enumerate(at_epoch(sampler, epoch)):
            yield Batch(list(batch), first + place * step, epoch, sampler)


def alone(options: SamplerOptions) -> SamplerOptions:
    """Return the options of a single process."""
    return options if options.num_replicas is None else dataclasses.replace(options, num_replicas=1, rank=0)


def on_ranks(
    make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions, replicas: int, epoch: int = 0
) -> list[Any]:
    """Return one sampler per rank."""
    per_rank = [dataclasses.replace(options, num_replicas=replicas, rank=rank) for rank in range(replicas)]
    return [at_epoch(make_sampler(table, each), epoch) for each in per_rank]


def epoch_of(sampler: Any, epoch: int) -> list[list[int]]:
    """Return the batches of one epoch."""
    return [list(batch) for batch in at_epoch(sampler, epoch)]


def transcript(make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions) -> list[list[int]]:
    """Return the batches of the first two epochs behind each other."""
    return [batch.anchors for batch in observed(make_sampler, table, options)]


def global_batches(
    make_sampler: MakeSampler, table: pd.DataFrame, options: SamplerOptions, wanted: int
) -> Iterator[Batch]:
    """Yield whole epochs of a single process until there are so many batches."""
    sampler = make_sampler(table, alone(options))
    produced = 0
    for epoch in range(wanted):
        for number, batch in enumerate(at_epoch(sampler, epoch)):
            yield Batch(list(batch), number, epoch, sampler)
            produced += 1
        if produced >= wanted or not hasattr(sampler, "set_epoch"):
            return


def pool_name(group: Label | None) -> str:
    """Return what an experiment is called in a sentence, also where the axis is off."""
    return "the table" if group is None else f"experiment {group!r}"


def stratum_name(group: Label | None, condition: Label | None) -> str:
    """Return what a stratum is called in a sentence, without the axes that are off."""
    labels = [repr(label) for label in (group, condition) if label is not None]
    return f"stratum {', '.join(labels)}" if labels else pool_name(None)


def span(fewest: int, most: int) -> str:
    """Return two numbers as what may lie between them."""
    return str(most) if fewest == most else f"{fewest} to {most}"


def compare(seen: list[list[int]], expected: list[list[int]], law: str, what: str) -> None:
    """Raise at the first batch in which two sequences differ; its anchors that the other one lacks are to blame."""
    for number, (left, right) in enumerate(zip(seen, expected, strict=False)):
        if left != right:
            evidence = BatchEvidence(tuple(left), tuple(a for a in left if a not in right))
            raise InvariantViolation(f"batch {number} {what}", f"anchors={left}", f"{right}", law, evidence=evidence)
    if len(seen) != len(expected):
        raise InvariantViolation(f"sequence {what}", f"{len(seen)} batches", f"{len(expected)}", law)
