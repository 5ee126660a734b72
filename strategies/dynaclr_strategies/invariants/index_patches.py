# ruff: noqa: D401 - the docstring of a check states a law, it does not command
"""Where the patches of an index lie."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dynaclr_strategies.cases import IndexCase
from dynaclr_strategies.invariants.base import InvariantViolation, invariant
from dynaclr_strategies.invariants.index_runs import MakeIndex, Run, columns_of, evidence, started
from dynaclr_strategies.oracles.index import Cell

__all__ = ["check_patch_inside_image", "check_patch_nearest_centroid"]

AXES = ("y", "x")


def _centres(run: Run, law: str) -> Iterator[tuple[str, Cell, int, int]]:
    """Yield the middle of each row's patch along both axes, with where it is from, the cell and the axis."""
    columns = columns_of(run.index.tracks, [f"{axis}_clamp" for axis in AXES], law)
    for row, cell in run.known:
        for number, axis in enumerate(AXES):
            yield f"{axis} of row {row} ({cell})", cell, number, int(columns[f"{axis}_clamp"][row])


@invariant("patch-inside-image", subject="index")
def check_patch_inside_image(make: MakeIndex, case: IndexCase, root: Path) -> None:
    """The patch of a row, of the height and width asked for, lies wholly inside its own image."""
    law = "patch-inside-image"
    run = started(make, case, root)
    for where, cell, axis, centre in _centres(run, law):
        size, extent = case.yx_patch_size[axis], (run.oracle.fov(cell).y, run.oracle.fov(cell).x)[axis]
        first = centre - size // 2
        if not 0 <= first <= extent - size:
            seen = f"pixels {first} to {first + size - 1}"
            expected = f"{size} of the pixels 0 to {extent - 1}"
            raise InvariantViolation(where, seen, expected, law, evidence=evidence(cell, [], []))


@invariant("patch-nearest-centroid", subject="index")
def check_patch_nearest_centroid(make: MakeIndex, case: IndexCase, root: Path) -> None:
    """No patch inside the image has its middle nearer to the centroid than the row's own patch."""
    law = "patch-nearest-centroid"
    run = started(make, case, root)
    for where, cell, axis, centre in _centres(run, law):
        nearest = run.oracle.nearest_centres(cell, axis)
        if centre not in nearest:
            at = run.oracle.track(cell).position(cell.t)[axis]
            seen = f"patch around pixel {centre} for a centroid at {at}"
            expected = "around pixel " + " or ".join(map(str, nearest))
            raise InvariantViolation(where, seen, expected, law, evidence=evidence(cell, [], []))
