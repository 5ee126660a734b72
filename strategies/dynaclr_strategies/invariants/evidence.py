"""What a violation brings along for its picture: the batch, the tracks or the pixels in question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

__all__ = ["BatchEvidence", "DrawsEvidence", "Evidence", "PatchEvidence", "TracksEvidence"]


@dataclass(frozen=True)
class BatchEvidence:
    """A batch of anchors, and those of them that should not be there.

    Attributes
    ----------
    anchors
        Rows of the anchor table, in the order of the batch.
    offenders
        Those that break the law; empty where it is the batch as a whole.
    """

    anchors: tuple[int, ...]
    offenders: tuple[int, ...] = ()


@dataclass(frozen=True)
class DrawsEvidence:
    """Anchors that many batches together hold too often or too rarely.

    Attributes
    ----------
    anchors
        Rows of the anchor table.
    """

    anchors: tuple[int, ...]


@dataclass(frozen=True)
class TracksEvidence:
    """Cells of one field of view, by ``(track_id, t)``.

    Attributes
    ----------
    experiment, fov_name
        The field of view; ``fov_name`` as in ``"A/1/0"``.
    anchor
        The cell and frame that the law is about; None where it is the field of view as a whole.
    seen, expected
        Cells and frames that were found, and those that should have been.
    """

    experiment: str
    fov_name: str
    anchor: tuple[int, int] | None = None
    seen: tuple[tuple[int, int], ...] = ()
    expected: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, eq=False)
class PatchEvidence:
    """Pixels that were read, and those that should have been.

    Attributes
    ----------
    seen, expected
        Arrays (C, Z, Y, X); they may differ in shape.
    channels
        What the channels should be called.
    """

    seen: npt.NDArray[Any]
    expected: npt.NDArray[Any]
    channels: tuple[str, ...]


Evidence = BatchEvidence | DrawsEvidence | TracksEvidence | PatchEvidence
