"""Cells over time: the tree of one field of view, or all lineages of a registry."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from dynaclr_strategies.descriptions import ExperimentDescription, FovDescription, RegistryDescription, TrackDescription
from dynaclr_strategies.invariants.evidence import TracksEvidence
from dynaclr_strategies.reproduction.pictures.sheets import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    RED,
    fitted,
    literal,
    new_sheet,
    shade,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_lineages", "draw_registry"]

MOST_TRACKS, MOST_EXPERIMENTS = 60, 8
TAU = "#DCEBF7"

Headline = Sequence[tuple[str, str]]


# --- one field of view ------------------------------------------------------------------------------------------------


def draw_lineages(
    headline: Headline,
    registry: RegistryDescription,
    evidence: TracksEvidence,
    tau_range_hours: tuple[float, float] | None = None,
) -> Figure:
    """Draw the tree of a field of view, the anchor in it, what was seen and what was expected.

    Parameters
    ----------
    headline
        What is written above.
    registry
        Where the field of view is described.
    evidence
        The cells and frames in question.
    tau_range_hours
        Where positives of the anchor may lie; shaded.
    """
    experiment = next((e for e in registry.experiments if e.name == evidence.experiment), None)
    fovs = {} if experiment is None else dict(experiment.fovs())
    fov = fovs.get(evidence.fov_name, FovDescription(name=evidence.fov_name, frames=0))
    marked = [*evidence.seen, *evidence.expected, *([evidence.anchor] if evidence.anchor else [])]
    tracks = _shown(in_preorder(fov.tracks), {track for track, _ in marked})
    strangers = sorted({track for track, _ in marked} - {track.track_id for track in tracks})
    lanes = {track.track_id: place for place, track in enumerate(tracks)}
    lanes |= {track: len(tracks) + place for place, track in enumerate(strangers)}
    place = ("field of view", f"{evidence.fov_name} of experiment {evidence.experiment}")
    left_out = len(fov.tracks) - len(tracks)
    notes = [("not shown", f"{left_out} tracks of other lineages")] if left_out else []
    figure = new_sheet([*headline, place, *notes], 2.1 + 0.34 * max(3, len(lanes)))
    axes = figure.add_subplot()
    known = {track.track_id for track in fov.tracks}
    names = [_track_name(track, known) for track in tracks]
    names += [f"track {track}: not in this field of view" for track in strangers]
    axes.set_yticks(range(len(names)), [fitted(name, 2.4) for name in names])
    axes.set_ylim(max(0, len(names) - 1) + 0.7, -0.9)
    axes.tick_params(labelsize=9.5)
    draw_tracks(axes, tracks, lanes, [float(frame) for frame in range(fov.frames)], INK)
    if experiment is not None:
        _draw_tau(axes, experiment, evidence.anchor, tau_range_hours)
    _draw_marks(axes, lanes, evidence)
    _draw_frames(axes, fov, [t for _, t in marked] + [t for track in tracks for t in track.frames], experiment)
    if marked:
        figure.legend(loc="outside lower left", ncols=4, frameon=False, fontsize=9.5)
    return figure


def in_preorder(tracks: Iterable[TrackDescription]) -> list[TrackDescription]:
    """Return tracks so that each is followed by its descendants; those on a circle of parents come last."""
    listed = list(tracks)
    known = {track.track_id for track in listed}
    children: dict[int | None, list[int]] = {}
    for place, track in enumerate(listed):
        founder = track.parent not in known or track.parent == track.track_id
        children.setdefault(None if founder else track.parent, []).append(place)
    ordered: dict[int, None] = {}
    waiting = children.get(None, [])[::-1]
    while waiting:
        place = waiting.pop()
        if place not in ordered:
            ordered[place] = None
            waiting += children.get(listed[place].track_id, [])[::-1]
    return [listed[place] for place in dict.fromkeys([*ordered, *range(len(listed))])]


def _shown(tracks: list[TrackDescription], marked: set[int]) -> list[TrackDescription]:
    """Return the tracks to draw: all, or where they are too many, the first ones and the families of the marked."""
    if len(tracks) <= MOST_TRACKS:
        return tracks
    family, founder = {}, 0
    known = {track.track_id for track in tracks}
    for track in tracks:
        founder = founder if track.parent in known else track.track_id
        family[track.track_id] = founder
    wanted = {family[track] for track in marked if track in family}
    return [track for track in tracks if family[track.track_id] in wanted][:MOST_TRACKS] or tracks[:MOST_TRACKS]


def _track_name(track: TrackDescription, known: set[int]) -> str:
    if track.parent is None:
        return f"track {track.track_id}"
    missing = "" if track.parent in known else " (not there)"
    return f"track {track.track_id}, from {track.parent}{missing}"


def draw_tracks(
    axes: Axes, tracks: Sequence[TrackDescription], lanes: dict[int, int], times: Sequence[float], colour: str
) -> None:
    """Draw each track as dots on a line, dotted over its gaps, and join it to the one that it came from."""

    def at(frame: int) -> float:
        return times[frame] if 0 <= frame < len(times) else float(frame)

    by_id = {track.track_id: track for track in tracks}
    for track in tracks:
        lane = lanes[track.track_id]
        for first, second in pairwise(track.frames):
            solid = second == first + 1
            style: dict[str, Any] = {"linestyle": "solid" if solid else "dotted", "linewidth": 1.8 if solid else 1.2}
            axes.plot([at(first), at(second)], [lane, lane], color=colour, zorder=2, **style)
        axes.scatter([at(frame) for frame in track.frames], [lane] * len(track.frames), s=20, c=colour, zorder=3)
        parent = by_id.get(track.parent) if track.parent is not None else None
        if parent is not None and parent.frames and track.frames:
            begin, end = at(parent.frames[-1]), at(track.frames[0])
            x = [begin, (begin + end) / 2, (begin + end) / 2, end]
            y = [lanes[parent.track_id]] * 2 + [lane] * 2
            axes.plot(x, y, color=colour, linewidth=1.1, zorder=2)


def _draw_tau(
    axes: Axes, experiment: ExperimentDescription, anchor: tuple[int, int] | None, hours: tuple[float, float] | None
) -> None:
    frames_per_hour = 60 / experiment.interval_minutes if experiment.interval_minutes > 0 else math.nan
    if anchor is None or hours is None or not math.isfinite(frames_per_hour):
        return
    begin, end = (anchor[1] + hour * frames_per_hour for hour in hours)
    label = f"{hours[0]:g} to {hours[1]:g} h after the anchor"
    axes.axvspan(begin - 0.12, end + 0.12, color=TAU, zorder=0, linewidth=0, label=label)


def _draw_marks(axes: Axes, lanes: dict[int, int], evidence: TracksEvidence) -> None:
    crosses: dict[str, Any] = {"marker": "x", "s": 110, "c": RED, "linewidths": 2.4, "zorder": 6}
    rings: dict[str, Any] = {"marker": "o", "s": 190, "facecolors": "none", "edgecolors": GREEN, "linewidths": 2.2}
    diamond: dict[str, Any] = {"marker": "D", "s": 95, "c": BLUE, "edgecolors": "white", "zorder": 4}
    anchors = [evidence.anchor] if evidence.anchor else []
    for cells, style, label in (
        (anchors, diamond, "anchor"),
        (evidence.seen, crosses, "seen"),
        (evidence.expected, {**rings, "zorder": 5}, "should be"),
    ):
        if cells:
            axes.scatter([t for _, t in cells], [lanes[track] for track, _ in cells], label=label, **style)


def _draw_frames(axes: Axes, fov: FovDescription, frames: list[int], experiment: ExperimentDescription | None) -> None:
    """Label the axes: frames below, hours post infection above."""
    from matplotlib.ticker import MaxNLocator

    low, high = min([0, *frames]), max([fov.frames - 1, 0, *frames])
    axes.set_xlim(low - 0.6, high + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=min(20, high - low + 2), steps=[1, 2, 5, 10]))
    axes.set_xlabel("frame")
    for end in (-0.5, fov.frames - 0.5) if fov.frames else ():
        axes.axvline(end, color=FAINT, linewidth=1, zorder=0)
    if experiment is None or not 0 < experiment.interval_minutes < math.inf or not math.isfinite(experiment.start_hpi):
        return
    step, start = experiment.interval_minutes / 60, experiment.start_hpi
    hours = axes.secondary_xaxis(
        "top", functions=(lambda t: start + np.asarray(t) * step, lambda hpi: (np.asarray(hpi) - start) / step)
    )
    hours.set_xlabel(f"hours post infection (a frame every {experiment.interval_minutes:g} min)", labelpad=6)
    hours.tick_params(labelsize=9.5)


# --- a registry -------------------------------------------------------------------------------------------------------


def draw_registry(headline: Headline, registry: RegistryDescription) -> Figure | None:
    """Draw the lineages of all experiments over hours post infection; None if there are no experiments.

    Parameters
    ----------
    headline
        What is written above.
    registry
        What to draw.
    """
    experiments = registry.experiments[:MOST_EXPERIMENTS]
    if not experiments:
        return None
    most = max(4, MOST_TRACKS // len(experiments))
    rows = [_rows(experiment) for experiment in experiments]
    sizes = [max(2, min(most, len(each))) for each in rows]
    notes = [("shown", "the registry of the case: every track of every experiment over time")]
    if len(registry.experiments) > len(experiments) or any(len(each) > most for each in rows):
        notes = [("shown", f"the first {len(experiments)} experiments of the case, up to {most} tracks of each")]
    height = sum(0.95 + 0.27 * size for size in sizes) + 0.9
    figure = new_sheet([*headline, *notes], height)
    shares = [0.5 + 0.27 * size for size in sizes]
    panels = figure.subplots(len(experiments), 1, sharex=True, squeeze=False, height_ratios=shares)[:, 0]
    colours = _condition_colours(experiments)
    for panel, experiment, each in zip(panels, experiments, rows, strict=True):
        _draw_experiment(panel, experiment, each[:most], colours)
    panels[-1].set_xlabel("hours post infection")
    for label, colour in colours.items():
        panels[0].plot([], [], color=colour, linewidth=3, label=fitted(label or "(no condition)", 2.0))
    figure.legend(loc="outside lower left", ncols=4, frameon=False, fontsize=9.5)
    return figure


def _rows(experiment: ExperimentDescription) -> list[tuple[str, FovDescription, TrackDescription]]:
    return [(name, fov, track) for name, fov in experiment.fovs() for track in in_preorder(fov.tracks)]


def _condition_colours(experiments: Sequence[ExperimentDescription]) -> dict[str | None, str]:
    found: dict[str | None, str] = {}
    for experiment in experiments:
        for label in [experiment.condition_of(well.name) for well in experiment.wells]:
            found.setdefault(label, FAINT if label is None else shade(sum(one is not None for one in found)))
    return found


def _draw_experiment(
    axes: Axes,
    experiment: ExperimentDescription,
    rows: list[tuple[str, FovDescription, TrackDescription]],
    colours: dict[str | None, str],
) -> None:
    step = experiment.interval_minutes / 60
    trained = ", ".join(experiment.source_channel)
    title = f"{experiment.name}: every {experiment.interval_minutes:g} min from {experiment.start_hpi:g} h, {trained}"
    axes.set_title(fitted(title, 7.5, 10.5), loc="left", fontsize=10.5, fontweight="bold")
    axes.set_yticks(range(len(rows)), [f"{fitted(fov_name, 1.2)}  track {t.track_id}" for fov_name, _, t in rows])
    axes.set_ylim(max(1, len(rows)) - 0.4, -0.6)
    axes.tick_params(labelsize=9)
    for fov_name, fov in experiment.fovs():
        lanes = {t.track_id: place for place, (name, _, t) in enumerate(rows) if name == fov_name}
        shown = [track for track in fov.tracks if track.track_id in lanes]
        last = max([fov.frames, *(frame + 1 for track in shown for frame in track.frames)])
        times = [experiment.start_hpi + frame * step for frame in range(last)]
        if all(map(math.isfinite, times)):
            draw_tracks(axes, shown, lanes, times, colours[experiment.condition_of(fov_name.rpartition("/")[0])])
    if not rows:
        axes.text(0.5, 0.5, literal("no tracks"), transform=axes.transAxes, ha="center", va="center", fontsize=10)
