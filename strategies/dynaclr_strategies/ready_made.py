"""Ready-made registries for tests that need one realistic case rather than many odd ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from dynaclr_strategies.descriptions import (
    ExperimentDescription,
    FovDescription,
    RegistryDescription,
    TrackDescription,
    WellDescription,
)

__all__ = ["lineage_tracks", "two_experiments"]


def lineage_tracks(
    tracks: int = 5, *, frames: int = 10, size: tuple[int, int] = (64, 64), divisions: int = 1
) -> tuple[TrackDescription, ...]:
    """Return the tracks of one FOV: first the dividing cells with their daughters, then cells that just live.

    Parameters
    ----------
    tracks
        Number of tracks, daughters included; ids count from 1.
    frames
        Length of the movie; a dividing cell lives for its first half, its daughters for the second.
    size
        Height and width of the image in pixels; cells drift inward by a quarter of a pixel per frame.
    divisions
        How many cells divide; each takes three tracks.

    Raises
    ------
    ValueError
        If there are fewer tracks than the divisions need, or a movie is too short to divide in.
    """
    if 3 * divisions > tracks or (divisions > 0 and frames < 2):
        raise ValueError(
            f"divisions={divisions!r} needs tracks >= {3 * divisions} and frames >= 2, "
            f"got tracks={tracks!r} and frames={frames!r}."
        )
    half = frames // 2
    first, second, whole = (tuple(part) for part in (range(half), range(half, frames), range(frames)))
    described = []
    for number in range(tracks):
        family, member = divmod(number, 3)
        divides = family < divisions
        seen = whole if not divides else (first if member == 0 else second)
        # A low-discrepancy walk: cells spread over the image, some so near its border that patches shift.
        y = (0.5 + 0.7548776662466927 * number) % 1.0 * (size[0] - 4) + 2
        x = (0.5 + 0.5698402909980532 * number) % 1.0 * (size[1] - 4) + 2
        parent = 3 * family + 1 if divides and member > 0 else None
        track = TrackDescription(
            track_id=number + 1,
            frames=seen,
            y=round(y, 2),
            x=round(x, 2),
            dy=0.25 * _towards(y, size[0]),
            dx=0.25 * _towards(x, size[1]),
            parent=parent,
        )
        described.append(track)
    return tuple(described)


def _towards(position: float, extent: int) -> int:
    return 1 if position < extent / 2 else -1


def two_experiments(
    *,
    wells: Sequence[str] = ("A/1", "B/1"),
    conditions: Sequence[str] = ("uninfected", "infected"),
    fovs: int = 1,
    tracks: int = 5,
    frames: int = 10,
    size: tuple[int, int] = (64, 64),
    z: int = 1,
    start_hpi: tuple[float, float] = (0.0, 0.0),
    interval_minutes: tuple[float, float] = (30.0, 30.0),
    divisions: int = 1,
    dtype: str = "float32",
    ome_version: Literal["0.4", "0.5"] = "0.4",
    normalization: bool = False,
) -> RegistryDescription:
    """Return two experiments that share phase but not their fluorescent reporters.

    ``exp_alpha`` holds Phase3D, GFP, Mito and trains on Phase3D and GFP; ``exp_beta`` holds Phase3D, RFP,
    StressGranules and trains on Phase3D and RFP. Well names, FOV names and track ids are the same in both.

    Parameters
    ----------
    wells, conditions
        Well i belongs to condition ``i % len(conditions)``.
    fovs
        FOVs per well, named ``"0", "1", ...``.
    tracks, frames, size, divisions
        See `lineage_tracks`; the same in every FOV.
    z
        Depth of the stack.
    start_hpi, interval_minutes
        One value per experiment: hours, minutes.
    dtype, ome_version, normalization
        As in `dynaclr_strategies.descriptions.ExperimentDescription`.
    """
    cells = lineage_tracks(tracks, frames=frames, size=size, divisions=divisions)
    plate = tuple(
        WellDescription(
            name=well,
            fovs=tuple(
                FovDescription(name=str(number), frames=frames, z=z, y=size[0], x=size[1], tracks=cells)
                for number in range(fovs)
            ),
        )
        for well in wells
    )
    owned = tuple(
        (label, tuple(well for i, well in enumerate(wells) if i % len(conditions) == number))
        for number, label in enumerate(conditions)
    )
    channels = {"exp_alpha": ("Phase3D", "GFP", "Mito"), "exp_beta": ("Phase3D", "RFP", "StressGranules")}
    return RegistryDescription(
        experiments=tuple(
            ExperimentDescription(
                name=name,
                channel_names=names,
                source_channel=names[:2],
                condition_wells=owned,
                wells=plate,
                interval_minutes=interval_minutes[number],
                start_hpi=start_hpi[number],
                dtype=dtype,
                ome_version=ome_version,
                normalization=normalization,
            )
            for number, (name, names) in enumerate(channels.items())
        )
    )
