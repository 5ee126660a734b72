"""Pixels: what was read beside what should have been read, channel by channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dynaclr_strategies.invariants.evidence import PatchEvidence
from dynaclr_strategies.reproduction.pictures.sheets import FAINT, RED, fitted, new_sheet, width_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_patches"]

MOST_CHANNELS = 6
LARGEST_IN_NUMBERS = 5
PANEL = 2.0

Stack = npt.NDArray[Any]


def draw_patches(headline: Sequence[tuple[str, str]], evidence: PatchEvidence) -> Figure:
    """Draw a plane of each channel as it was read, as it should be, and where the two differ.

    Parameters
    ----------
    headline
        What is written above.
    evidence
        The pixels.
    """
    seen, expected = _stack(evidence.seen), _stack(evidence.expected)
    number = max(len(seen), len(expected))
    shown = min(number, MOST_CHANNELS)
    notes = []
    if seen.shape != expected.shape:
        text = f"(channels, z, y, x) {seen.shape}, but should be {expected.shape}"
        notes.append(("shape", text))
    if shown < number:
        notes.append(("not shown", f"{number - shown} more channels"))
    figure = new_sheet([*headline, *notes], 0.5 + 2.5 * max(1, shown))
    figure.get_layout_engine().set(h_pad=0.1)  # type: ignore[union-attr,call-arg]  # it is the constrained one
    panels = figure.subplots(max(1, shown), 3, squeeze=False)
    for panel, title in zip(panels[0], ("what was read", "what it should be", "where they differ"), strict=True):
        panel.set_title(title, fontsize=11, fontweight="bold")
    for channel, row in enumerate(panels):
        name = evidence.channels[channel] if channel < len(evidence.channels) else "(no name)"
        _draw_channel(row, _of_channel(seen, channel), _of_channel(expected, channel), f"channel {channel}: {name}")
    return figure


def _stack(pixels: Any) -> Stack:
    """Return (C, Z, Y, X), whatever came out of the code under test."""
    stack = np.asarray(pixels)
    stack = stack.astype(float) if stack.dtype.kind in "biuf" else np.empty((0, 0, 0, 0))
    if stack.ndim > 4:
        return stack.reshape(-1, *stack.shape[-3:]) if stack.size else np.empty((0, 0, 0, 0))
    return stack.reshape((1,) * (4 - stack.ndim) + stack.shape)


def _of_channel(stack: Stack, channel: int) -> Stack:
    return stack[channel] if channel < len(stack) else np.empty((0, 0, 0))


def _differs(seen: Stack, expected: Stack) -> npt.NDArray[np.bool_]:
    differs: npt.NDArray[np.bool_] = ~((seen == expected) | (np.isnan(seen) & np.isnan(expected)))
    return differs


def _draw_channel(row: npt.NDArray[Any], seen: Stack, expected: Stack, name: str) -> None:
    same_shape = seen.shape == expected.shape
    differs = _differs(seen, expected) if same_shape else None
    plane = max(len(seen), len(expected)) // 2
    if differs is not None and differs.size and not differs[plane].any():
        plane = int(differs.sum(axis=(1, 2)).argmax()) if differs.any() else plane
    values = np.concatenate([seen.ravel(), expected.ravel()])
    values = values[np.isfinite(values)]
    scale = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    for axes, stack in ((row[0], seen), (row[1], expected)):
        if plane < len(stack) and stack[plane].size:
            _draw_plane(axes, stack[plane], scale)
        else:
            _draw_nothing(axes, "nothing here")
    row[0].set_ylabel(fitted(name, 2.2), fontsize=10)
    deep = max(len(seen), len(expected))
    if deep > 1:
        row[0].set_xlabel(f"plane {plane} of 0 to {deep - 1}", fontsize=9.5)
    row[1].set_xlabel(f"black {scale[0]:.5g}, white {scale[1]:.5g}", fontsize=9.5)
    if differs is None or not differs.size:
        _draw_nothing(row[2], "different shapes" if differs is None else "nothing here")
        return
    _draw_differences(row[2], differs[plane])
    row[2].set_xlabel(f"{int(differs.sum())} of {differs.size} pixels differ", fontsize=9.5)


def _draw_plane(axes: Axes, plane: Stack, scale: tuple[float, float]) -> None:
    span = (scale[1] - scale[0]) or 1.0
    axes.imshow(plane, cmap="gray", vmin=scale[0], vmax=scale[0] + span, interpolation="nearest")
    _bare(axes)
    if max(plane.shape) > LARGEST_IN_NUMBERS:
        return
    numbers = [f"{value:.4g}" for value in plane.flat]
    if max(width_of(number, 8) for number in numbers) > 0.9 * PANEL / max(plane.shape):
        return
    for (y, x), number in zip(np.ndindex(plane.shape), numbers, strict=True):
        dark = plane[y, x] <= scale[0] + span / 2
        axes.text(x, y, number, ha="center", va="center", fontsize=8, color="white" if dark else "black")


def _draw_differences(axes: Axes, differs: npt.NDArray[np.bool_]) -> None:
    from matplotlib.colors import ListedColormap

    axes.imshow(differs, cmap=ListedColormap(["#EEEEEE", RED]), vmin=0, vmax=1, interpolation="nearest")
    _bare(axes)


def _draw_nothing(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=10, transform=axes.transAxes)
    axes.set_box_aspect(1)
    _bare(axes)


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_color(FAINT)
