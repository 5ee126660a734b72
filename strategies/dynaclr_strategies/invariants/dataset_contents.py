# ruff: noqa: D401 - the docstring of a check states a law, it does not command
"""Laws about what a batch says of its observations: statistics, lineages, names."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from dynaclr_strategies.cases import DatasetCase
from dynaclr_strategies.invariants.base import InvariantViolation, invariant
from dynaclr_strategies.invariants.dataset_runs import MakeDataset, Run, started, tracks_evidence
from dynaclr_strategies.oracles.dataset import Observation

__all__ = ["check_every_observation_read", "check_lineage_codes", "check_statistics_of_observation"]


@invariant("statistics-of-observation", subject="dataset")
def check_statistics_of_observation(make: MakeDataset, case: DatasetCase, root: Path) -> None:
    """A crop comes with the statistics of its own FOV and frame, ``ch_i`` being source channel i, or with None."""
    run = started(make, case, root)
    for indices in run.batches:
        batch = run.dataset.__getitems__(indices)
        _check_statistics(run, "anchor", batch["anchor_norm_meta"], [run.anchors[index] for index in indices], root)
        if case.fit:
            rows = run.positives(indices, case.epoch)
            _check_statistics(run, "positive", batch["positive_norm_meta"], [run.rows[row] for row in rows], root)


def _check_statistics(run: Run, what: str, metas: list[Any], shown: list[Observation], root: Path) -> None:
    law = "statistics-of-observation"
    for number, (seen, one) in enumerate(zip(metas, shown, strict=True)):
        expected, where = run.oracle.statistics(one, root), f"the {what} of row {number} ({one})"
        if seen == expected:
            continue
        if seen is None or expected is None or list(seen) != list(expected):
            raise InvariantViolation(
                where, f"statistics of {seen and list(seen)}", f"{expected and list(expected)}", law
            )
        key = next(key for key in expected if seen[key] != expected[key])
        level = next((name for name in expected[key] if seen[key].get(name) != expected[key][name]), "more than that")
        channel = run.oracle.channels(one.experiment)[int(key.removeprefix("ch_"))]
        found, wanted = seen[key].get(level), expected[key].get(level)
        raise InvariantViolation(where, f"{level} of {key} are {found}", f"those of `{channel}`, {wanted}", law)


@invariant("lineage-codes", subject="dataset")
def check_lineage_codes(make: MakeDataset, case: DatasetCase, root: Path) -> None:
    """Two anchors of a batch have the same lineage code if, and only if, they have the same founder."""
    run = started(make, case, root)
    for indices in run.batches:
        codes = [int(code) for code in run.dataset.__getitems__(indices)["lineage"]]
        names = [run.oracle.lineage(run.anchors[index]) for index in indices]
        first: dict[str, int] = {}
        owner: dict[int, int] = {}
        for number, (code, name) in enumerate(zip(codes, names, strict=True)):
            for other in (first.setdefault(name, number), owner.setdefault(code, number)):
                if (codes[other] == code) == (names[other] == name):
                    continue
                anchor, before = run.anchors[indices[number]], run.anchors[indices[other]]
                kin = [one for one in run.oracle.observations if run.oracle.lineage(one) == name]
                raise InvariantViolation(
                    f"rows {other} and {number} of batch {indices} ({before}, {anchor})",
                    f"lineage codes {codes[other]} and {code}",
                    "equal" if names[other] == name else "different",
                    "lineage-codes",
                    evidence=tracks_evidence(anchor, [before], kin),
                )


@invariant("every-observation-read", subject="dataset")
def check_every_observation_read(make: MakeDataset, case: DatasetCase, root: Path) -> None:
    """Without ``fit`` the indices count every observation inside an image, once, each named by its own columns."""
    run = started(make, replace(case, fit=False), root)
    every = list(range(len(run.dataset)))
    named = run.dataset.__getitems__(every)["index"]
    seen = [Observation(*(one[field] for field in Observation._fields)) for one in named]
    law = "every-observation-read"
    for number, (one, columns) in enumerate(zip(seen, named, strict=True)):
        if one not in run.oracle.observations:
            raise InvariantViolation(f"row {number}", f"{one}", "an observation inside an image", law)
        if seen.index(one) != number:
            problem = f"{one}, as in row {seen.index(one)}"
            evidence = tracks_evidence(one, [one], run.oracle.observations)
            raise InvariantViolation(f"row {number}", problem, "another one", law, evidence=evidence)
        _check_columns(f"row {number} ({one})", columns, run.oracle.identity(one), law)
    missing = [one for one in run.oracle.observations if one not in set(seen)]
    if missing:
        there = [one for one in run.oracle.observations if one[:2] == missing[0][:2]]
        evidence = tracks_evidence(missing[0], [one for one in there if one not in missing], there)
        problem = f"{len(every)} observations, without {missing[0]}"
        raise InvariantViolation("all rows", problem, str(len(run.oracle.observations)), law, evidence=evidence)


def _check_columns(where: str, seen: dict[str, Any], expected: dict[str, Any], law: str) -> None:
    for name, value in expected.items():
        if name not in seen:
            raise InvariantViolation(where, f"columns {sorted(seen)}", f"{name} among them", law)
        found = seen[name]
        close = isinstance(value, float) and math.isclose(found, value, rel_tol=1e-9, abs_tol=1e-9)
        if not close and (found != value or isinstance(found, str) != isinstance(value, str)):
            raise InvariantViolation(where, f"{name} is {found!r}", repr(value), law)
