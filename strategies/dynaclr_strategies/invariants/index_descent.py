# ruff: noqa: D401 - the docstring of a check states a law, it does not command
"""Lineages, anchors and their positives."""

from __future__ import annotations

from pathlib import Path

from dynaclr_strategies.cases import IndexCase
from dynaclr_strategies.invariants.base import InvariantViolation, invariant
from dynaclr_strategies.invariants.index_runs import (
    MakeIndex,
    cells_of,
    columns_of,
    evidence,
    listed,
    positives_of,
    started,
)
from dynaclr_strategies.oracles.index import Cell, IndexOracle

__all__ = [
    "check_anchors_point_at_rows",
    "check_codes_follow_founders",
    "check_founder_names_lineage",
    "check_line_of_descent",
    "check_valid_anchors",
]


def _family(oracle: IndexOracle, cell: Cell) -> list[Cell]:
    """Return the cells of a lineage."""
    founder = oracle.line(cell)[-1]
    return [other for other in oracle.cells if other[:2] == cell[:2] and oracle.line(other)[-1] == founder]


@invariant("founder-names-lineage", subject="index")
def check_founder_names_lineage(make: MakeIndex, case: IndexCase, root: Path) -> None:
    """The lineage of a row has the global track id of the founder, the last mother on the way up from its track."""
    law = "founder-names-lineage"
    run = started(make, case, root)
    ids = columns_of(run.index.tracks, ["lineage_id"], law)["lineage_id"]
    for row, cell in run.known:
        expected = run.oracle.global_track_id(run.oracle.founder(cell))
        if ids[row] != expected:
            together = [other for number, other in run.known if ids[number] == ids[row]]
            picture = evidence(cell, together, _family(run.oracle, cell))
            seen = f"lineage_id is {ids[row]!r}"
            raise InvariantViolation(f"row {row} ({cell})", seen, repr(expected), law, evidence=picture)


@invariant("codes-follow-founders", subject="index")
def check_codes_follow_founders(make: MakeIndex, case: IndexCase, root: Path) -> None:
    """Two rows have the same lineage code exactly if they have the same founder."""
    law = "codes-follow-founders"
    run = started(make, case, root)
    codes = [int(code) for code in run.index.lineage_codes]
    if len(codes) != len(run.cells):
        raise InvariantViolation("lineage_codes", f"{len(codes)} codes", f"one for each of {len(run.cells)} rows", law)
    founders: dict[int, str] = {}
    owners: dict[str, int] = {}
    for row, cell in run.known:
        founder = run.oracle.global_track_id(run.oracle.founder(cell))
        code = owners.setdefault(founder, codes[row])
        other = founders.setdefault(codes[row], founder)
        if code != codes[row] or other != founder:
            together = [other for number, other in run.known if codes[number] == codes[row]]
            picture = evidence(cell, together, _family(run.oracle, cell))
            seen = f"code {codes[row]}, as rows of founder {other!r} have" if other != founder else f"code {codes[row]}"
            expected = f"{code}, as the lineage of {founder!r} has" if code != codes[row] else "a code of its own"
            raise InvariantViolation(f"row {row} ({cell})", seen, expected, law, evidence=picture)


@invariant("line-of-descent", subject="index")
def check_line_of_descent(make: MakeIndex, case: IndexCase, root: Path) -> None:
    """The positives of a row at tau are its own track and that track's descendants at ``t + tau``, and nobody else."""
    run = started(make, case, root)
    for row, anchor in run.known:
        for tau in run.oracle.taus(anchor.experiment):
            seen, expected = positives_of(run, row, tau), run.oracle.positives(anchor, tau)
            if sorted(seen) != sorted(expected):
                elsewhere = [str(cell) for cell in seen if cell[:2] != anchor[:2]]
                raise InvariantViolation(
                    f"row {row} ({anchor}) at tau {tau}",
                    f"positives are {', '.join(elsewhere) or listed(seen)}",
                    listed(expected),
                    "line-of-descent",
                    evidence=evidence(anchor, seen, expected),
                )


@invariant("valid-anchors", subject="index")
def check_valid_anchors(make: MakeIndex, case: IndexCase, root: Path) -> None:
    """A row is an anchor, once, exactly if some tau of its experiment's range has a positive for it."""
    law = "valid-anchors"
    run = started(make, case, root)
    anchors = cells_of(run.index.valid_anchors)
    expected = set(run.oracle.anchors)
    for cell in dict.fromkeys([*run.oracle.cells, *anchors]):
        if anchors.count(cell) != (cell in expected):
            found = {tau: run.oracle.positives(cell, tau) for tau in run.oracle.taus(cell.experiment)}
            told = "; ".join(f"at tau {tau} {listed(cells)}" for tau, cells in found.items() if cells)
            raise InvariantViolation(
                str(cell),
                f"anchor {anchors.count(cell)} times",
                f"once, with the positives {told}" if told else "none, without a positive",
                law,
                evidence=evidence(cell, [], [other for cells in found.values() for other in cells]),
            )


@invariant("anchors-point-at-rows", subject="index")
def check_anchors_point_at_rows(make: MakeIndex, case: IndexCase, root: Path) -> None:
    """The anchors are numbered from 0, in the order of their rows, and each says which row it is."""
    law = "anchors-point-at-rows"
    run = started(make, case, root)
    table = run.index.valid_anchors
    if table.index.tolist() != list(range(len(table))):
        raise InvariantViolation("the anchors", f"index {table.index.tolist()}", f"0 to {len(table) - 1}", law)
    rows = [int(row) for row in columns_of(table, ["row"], law)["row"]]
    for number, (anchor, row) in enumerate(zip(cells_of(table), rows, strict=True)):
        cell = run.cells[row] if 0 <= row < len(run.cells) else None
        if cell != anchor:
            where = f"anchor {number} ({anchor})"
            raise InvariantViolation(where, f"row {row} ({cell})", f"row {_row_of(run.cells, anchor)}", law)
    if rows != sorted(rows):
        raise InvariantViolation("the anchors", f"rows {rows}", "ascending", law)


def _row_of(cells: list[Cell], cell: Cell) -> int | None:
    return cells.index(cell) if cell in cells else None
