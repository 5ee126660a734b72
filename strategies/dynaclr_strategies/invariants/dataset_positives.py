# ruff: noqa: D401 - the docstring of a check states a law, it does not command
"""Laws about which observation is the positive of an anchor, and how likely it is.

The statistical laws compare counts with exact probabilities by the bound of `is_improbable`: one comparison fails by
chance with a probability below 1e-14, a case makes some hundred of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from dynaclr_strategies.cases import DatasetCase
from dynaclr_strategies.invariants.base import InvariantViolation, invariant
from dynaclr_strategies.invariants.dataset_runs import MakeDataset, Run, is_fit, started, tracks_evidence
from dynaclr_strategies.invariants.sampler_distribution import is_improbable
from dynaclr_strategies.oracles.dataset import Observation

__all__ = [
    "check_positive_is_another_frame",
    "check_positive_on_line_of_descent",
    "check_positive_uniform",
    "check_tau_distribution",
    "check_tau_in_range",
]

EPOCHS = 4
"""How many epochs a law about single positives looks at, and over how many a statistical one spreads its draws."""


def _all_positives(run: Run) -> Iterator[tuple[str, Observation, Observation, int]]:
    """Yield place, anchor, positive and the tau that the dataset tells, for every anchor in some epochs."""
    for epoch in range(run.case.epoch, run.case.epoch + EPOCHS):
        for indices in run.batches:
            run.dataset.epoch = epoch
            rows, taus = run.dataset.positives(indices)
            for index, row, tau in zip(indices, rows, taus, strict=True):
                anchor = run.anchors[index]
                where = f"anchor {index} ({anchor}) in epoch {epoch}"
                yield where, anchor, run.rows[int(row)], int(tau)


@invariant("positive-on-line-of-descent", subject="dataset", when="fit", applies=is_fit)
def check_positive_on_line_of_descent(make: MakeDataset, case: DatasetCase, root: Path) -> None:
    """A positive is the anchor's own cell or a descendant of it, never a sister, a cousin or a stranger."""
    run = started(make, case, root)
    for where, anchor, positive, _ in _all_positives(run):
        if run.oracle.is_on_line(anchor, positive):
            continue
        line = [one for one in run.oracle.observations if run.oracle.is_on_line(anchor, one)]
        tracks = sorted({one.track_id for one in line})
        raise InvariantViolation(
            where,
            f"the positive is {positive}",
            f"of {anchor.experiment} {anchor.fov_name}, track {' or '.join(str(track) for track in tracks)}",
            "positive-on-line-of-descent",
            evidence=tracks_evidence(anchor, [positive], line),
        )


@invariant("tau-in-range", subject="dataset", when="fit", applies=is_fit)
def check_tau_in_range(make: MakeDataset, case: DatasetCase, root: Path) -> None:
    """A positive is seen tau frames after its anchor, for the tau that is told and that lies in the range of hours."""
    run = started(make, case, root)
    for where, anchor, positive, tau in _all_positives(run):
        taus = run.oracle.taus(anchor.experiment)
        elapsed = positive.t - anchor.t
        if elapsed in taus and elapsed == tau:
            continue
        own = [one for some in run.oracle.candidates(anchor).values() for one in some]
        expected = f"{taus[0]} to {taus[-1]} frames later, and tau the same"
        seen = f"the positive is {positive}, {elapsed} frames later, and tau is {tau}"
        raise InvariantViolation(
            where, seen, expected, "tau-in-range", evidence=tracks_evidence(anchor, [positive], own)
        )


@invariant("positive-is-another-frame", subject="dataset", when="fit", applies=is_fit)
def check_positive_is_another_frame(make: MakeDataset, case: DatasetCase, root: Path) -> None:
    """An anchor is its own positive if, and only if, the range of hours is ``(0, 0)``."""
    run = started(make, case, root)
    same = tuple(case.index.tau_range_hours) == (0, 0)
    for where, anchor, positive, _ in _all_positives(run):
        if (positive == anchor) != same:
            own = [one for some in run.oracle.candidates(anchor).values() for one in some]
            expected = "the anchor itself" if same else "a later frame"
            raise InvariantViolation(
                where,
                f"the positive is {positive}",
                expected,
                "positive-is-another-frame",
                evidence=tracks_evidence(anchor, [positive], own),
            )


# --- how likely -------------------------------------------------------------------------------------------------------


def _draws(run: Run, indices: list[int], draws: int) -> Iterator[tuple[Observation, Observation]]:
    """Yield anchors and positives, about so many in all; each is a draw of its own, by epoch and by occurrence."""
    batch = indices * max(1, draws // (EPOCHS * len(indices)))
    for epoch in range(run.case.epoch, run.case.epoch + EPOCHS):
        for index, row in zip(batch, run.positives(batch, epoch), strict=True):
            yield run.anchors[index], run.rows[row]


@invariant("tau-distribution", subject="dataset", when="fit", applies=is_fit)
def check_tau_distribution(make: MakeDataset, case: DatasetCase, root: Path) -> None:
    """Tau has the probability ``exp(-rate * (tau - min) / (max - min))``, normalised over the taus with a positive."""
    run = started(make, case, root)
    alike: dict[tuple[str, tuple[int, ...]], list[int]] = {}
    for index, anchor in enumerate(run.anchors):
        alike.setdefault((anchor.experiment, tuple(run.oracle.candidates(anchor))), []).append(index)
    for (_, taus), indices in alike.items():
        if len(taus) < 2:
            continue
        anchor = run.anchors[indices[0]]
        counts = Counter(positive.t - one.t for one, positive in _draws(run, indices[:16], 2048))
        for tau, share in run.oracle.tau_probabilities(anchor).items():
            if is_improbable(counts[tau], counts.total(), share):
                own = run.oracle.candidates(anchor)
                raise InvariantViolation(
                    f"{counts.total()} draws of anchors like {indices[0]} ({anchor}), which have positives at {taus}",
                    f"tau {tau} was drawn {counts[tau]} times",
                    f"about {float(share * counts.total()):.1f} times",
                    "tau-distribution",
                    evidence=tracks_evidence(anchor, own.get(tau, []), [one for some in own.values() for one in some]),
                )


@invariant("positive-uniform", subject="dataset", when="fit", applies=is_fit)
def check_positive_uniform(make: MakeDataset, case: DatasetCase, root: Path) -> None:
    """Where several observations are candidates at the tau that was drawn, each of them is equally likely."""
    run = started(make, case, root)
    several = [
        index
        for index, anchor in enumerate(run.anchors)
        if any(len(some) > 1 for some in run.oracle.candidates(anchor).values())
    ][:6]
    counts = Counter(_draws(run, several, 512 * len(several))) if several else Counter()
    for anchor in (run.anchors[index] for index in several):
        for tau, candidates in run.oracle.candidates(anchor).items():
            total = sum(counts[anchor, one] for one in candidates)
            for one in candidates:
                if is_improbable(counts[anchor, one], total, Fraction(1, len(candidates))):
                    raise InvariantViolation(
                        f"{total} draws of {anchor} at tau {tau}",
                        f"{one} was drawn {counts[anchor, one]} times",
                        f"about {total / len(candidates):.1f} times",
                        "positive-uniform",
                        evidence=tracks_evidence(anchor, [one], candidates),
                    )
