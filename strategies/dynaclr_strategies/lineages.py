"""Lineages: the tracks of one field of view."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from hypothesis import event
from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument

from dynaclr_strategies.descriptions import NoParent, TrackDescription

__all__ = ["lineages"]

NO_PARENT: tuple[NoParent, ...] = ("empty", "-1", "0", "own id", "unknown id")


@dataclass(frozen=True)
class _Cell:
    """What is drawn for a cell: its parts fit together only once its mother and the movie are known."""

    mother: int
    beside: bool
    start: int
    length: int
    gap: int
    missing: int
    place: tuple[int, int]
    drift: tuple[float, float]
    no_parent: NoParent


@lru_cache(maxsize=4096)
def _cells(frames: int, size: tuple[int, int]) -> st.SearchStrategy[_Cell]:
    drift = st.sampled_from((0.0, 0.5, -0.5, 3.0))
    return st.builds(
        _Cell,
        mother=st.integers(0, 4),
        beside=st.booleans(),
        start=st.integers(0, frames - 1),
        length=st.integers(1, frames),
        gap=st.integers(0, 3),
        missing=st.integers(1, 3),
        place=st.tuples(st.integers(0, size[0] - 1), st.integers(0, size[1] - 1)),
        drift=st.tuples(drift, drift),
        no_parent=st.sampled_from(NO_PARENT),
    )


@st.composite
def lineages(
    draw: st.DrawFn, *, frames: int = 8, size: tuple[int, int] = (16, 16), min_tracks: int = 1, max_tracks: int = 7
) -> tuple[TrackDescription, ...]:
    """Strategy for the tracks of a field of view.

    Generates founders and divisions over several generations, cells that enter late or leave early, gaps of one to
    three frames, tracks of one frame, daughters that appear a while after the division or while their mother is still
    seen, ids that count from 0, from 1 or from 1000, up or down, with holes or without, every way files write "no
    parent", and cells that drift out of the image. Promises that ids differ, that frames ascend within the movie, that
    a parent starts before its daughter, that 0 never means two things, and that the first cell stays in the image.
    Shrinks towards one cell, numbered 1, at the origin in frame 0.

    Parameters
    ----------
    frames
        Length of the movie.
    size
        Height and width of the image, in pixels.
    min_tracks, max_tracks
        Bounds of the number of tracks.
    """
    if frames < 1 or not 0 <= min_tracks <= max_tracks:
        raise InvalidArgument(
            f"frames={frames!r} must be at least 1, and min_tracks={min_tracks!r} between 0 and {max_tracks!r}"
        )
    first_id = draw(st.sampled_from((1, 0, 1000)), label="first id")
    step = draw(st.sampled_from((1, 3)), label="from id to id")
    cells = draw(st.lists(_cells(frames, size), min_size=min_tracks, max_size=max_tracks), label="cells")
    ids = range(first_id, first_id + step * len(cells), step)
    descend = draw(st.booleans(), label="ids descend")
    tracks: list[TrackDescription] = []
    for track_id, cell in zip(reversed(ids) if descend else ids, cells, strict=True):
        tracks.append(_track(cell, track_id, tracks, frames, zero_is_nobody=0 not in ids))
    if any(track.parent is not None for track in tracks):
        event("lineages: division")
    return tuple(tracks)


def _track(
    cell: _Cell, track_id: int, before: list[TrackDescription], frames: int, zero_is_nobody: bool
) -> TrackDescription:
    # Mother 0 is nobody, so that lineages shrink towards founders.
    mother = before[-cell.mother] if 0 < cell.mother <= len(before) else None
    start = cell.start
    if mother is not None:
        start = mother.frames[0 if cell.beside else -1] + 1 + (cell.start if cell.start < 2 else 0)
        if start >= frames:  # the movie ends before this daughter is born: another founder instead
            mother, start = None, cell.start
    seen = range(start, min(start + cell.length, frames))
    # After every so many frames some are missed, never the first.
    missed = {t for t in seen if cell.gap and (t - start) % (cell.gap + cell.missing) >= cell.gap}
    drifts = bool(before)
    no_parent = "-1" if cell.no_parent == "0" and not zero_is_nobody else cell.no_parent
    return TrackDescription(
        track_id=track_id,
        frames=tuple(t for t in seen if t not in missed),
        y=float(cell.place[0]),
        x=float(cell.place[1]),
        dy=cell.drift[0] if drifts else 0.0,
        dx=cell.drift[1] if drifts else 0.0,
        parent=None if mother is None else mother.track_id,
        no_parent=no_parent,
    )
