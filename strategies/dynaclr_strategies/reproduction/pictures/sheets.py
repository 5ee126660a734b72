"""The sheet that pictures are drawn on: a headline above, room for axes below, and text that fits and can be read."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "AMBER",
    "BLUE",
    "FAINT",
    "GREEN",
    "INK",
    "RED",
    "fitted",
    "literal",
    "new_sheet",
    "place_labels",
    "shade",
    "width_of",
]

# The palette of Okabe and Ito, which people with any kind of colour vision can tell apart.
BLUE, AMBER, RED, GREEN, PURPLE, SKY = "#0072B2", "#E69F00", "#D55E00", "#009E73", "#CC79A7", "#56B4E9"
INK, FAINT = "#222222", "#BBBBBB"

WIDTH, MARGIN, LINE = 10.0, 0.15, 0.205
SIZE = 10.0
MOST_LINES = 5
_LARGE = 100

Headline = Sequence[tuple[str, str]]


def shade(number: int) -> str:
    """Return one of seven colours that can be told apart."""
    return (BLUE, AMBER, GREEN, PURPLE, SKY, RED, INK)[number % 7]


# --- text -------------------------------------------------------------------------------------------------------------


@functools.cache
def _font(*, bold: bool = False) -> Any:
    from matplotlib import ft2font
    from matplotlib.font_manager import FontProperties, findfont

    font = ft2font.FT2Font(findfont(FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")))
    font.set_size(_LARGE, 72)
    return font


def _readable(text: str) -> str:
    """Return the text with escapes for what cannot be printed or what the font has no glyph for."""
    font = _font()

    def shown(letter: str) -> str:
        if letter == " " or (unicodedata.category(letter)[0] not in "CZ" and font.get_char_index(ord(letter))):
            return letter
        return letter.encode("unicode_escape").decode() if letter != "\xa0" else " "

    return "".join(map(shown, text))


@functools.cache
def _advance(letter: str, *, bold: bool) -> float:
    """Return how wide a letter is, in units of the size of the text."""
    # Measured large: at the size of a text, widths are rounded to whole pixels.
    width: float = _font(bold=bold).load_char(ord(letter)).linearHoriAdvance / 2**16 / _LARGE
    return width


def width_of(text: str, size: float, *, bold: bool = False) -> float:
    """Return how wide a readable text is, in inches."""
    # Hinting moves each letter to a whole pixel, which makes some texts a little wider than their letters.
    return 1.04 * sum(_advance(letter, bold=bold) for letter in text) * size / 72


def literal(text: object) -> str:
    """Return a text that matplotlib prints as it is: no formulas, no missing glyphs."""
    return _readable(str(text)).replace("$", r"\$")


def fitted(text: object, width: float, size: float = SIZE) -> str:
    """Return a text that matplotlib prints as it is, shortened in its middle to so many inches."""
    readable = _readable(str(text))
    kept = len(readable)
    short = readable
    while kept > 2 and width_of(short, size) > width:
        kept -= 1
        short = readable[: (kept + 1) // 2] + "…" + readable[len(readable) - kept // 2 :]
    return short.replace("$", r"\$")


def _wrapped(text: str, width: float) -> list[str]:
    """Break a text into lines of so many inches, at spaces where there are any, and leave out the middle of a novel."""
    lines = [""]
    for word in _readable(text.replace("\n", " ")).split(" "):
        rest = word
        while rest:
            gap = " " if lines[-1] and rest is word else ""
            if width_of(lines[-1] + gap + rest, SIZE) <= width:
                lines[-1] += gap + rest
                rest = ""
            elif lines[-1]:
                lines.append("")
            else:
                end = next((n for n in range(len(rest) - 1, 1, -1) if width_of(rest[:n], SIZE) <= width), 1)
                lines[-1], rest = rest[:end], rest[end:]
                lines.append("")
    lines = [line for line in lines if line]
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 2], "… (all of it is in README.md)", lines[-1]]
    return lines


# --- sheets -----------------------------------------------------------------------------------------------------------


def new_sheet(headline: Headline, height: float) -> Figure:
    """Return a figure whose head says what happened.

    Parameters
    ----------
    headline
        Pairs of a title and a text; first the law and its sentence.
    height
        Room below it, in inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    indent = 2 * MARGIN + max(width_of(title, SIZE, bold=True) for title, _ in headline[1:]) if headline[1:] else MARGIN
    (law, sentence), *others = headline
    rows = [(MARGIN, law, _wrapped(sentence, WIDTH - 2 * MARGIN))]
    rows += [(indent, title, _wrapped(text, WIDTH - indent - MARGIN)) for title, text in others]
    lines = 1 + sum(max(1, len(text)) for _, _, text in rows)
    head = lines * LINE + 2 * MARGIN
    figure = Figure(figsize=(WIDTH, head + height), dpi=120, facecolor="white")
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained", rect=(0.005, 0.005, 0.99, height / (head + height) - 0.01))
    at = MARGIN
    for number, (left, title, text) in enumerate(rows):
        colour = {"seen": RED, "should be": GREEN}.get(title, INK)
        bold: dict[str, Any] = {"size": SIZE + 2 if number == 0 else SIZE, "weight": "bold", "color": colour}
        _write(figure, MARGIN, at, title, **bold)
        at += LINE * 1.15 if number == 0 else 0
        for line in text or [""]:
            _write(figure, left, at, line, size=SIZE, color=INK)
            at += LINE
    return figure


def _write(figure: Figure, left: float, top: float, line: str, **style: Any) -> None:
    width, height = figure.get_size_inches()
    figure.text(left / width, 1 - top / height, literal(line), va="top", ha="left", **style)


# --- labels -----------------------------------------------------------------------------------------------------------

Box = tuple[float, float, float, float]
_AROUND = ((1, 1), (-1, 1), (1, -1), (-1, -1), (1, 0), (-1, 0), (0, 1), (0, -1))


def place_labels(
    axes: Axes, labels: Iterable[tuple[float, float, str]], others: Iterable[tuple[float, float]], colour: str
) -> None:
    """Write labels beside points, each where it covers neither a point nor another label, or not at all.

    Parameters
    ----------
    axes
        Where the points are; their limits must not change afterwards.
    labels
        x, y and text of the points to label.
    others
        x and y of points that no label may cover.
    colour
        Of the text.
    """
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]  # the layout decides what is near what
    to_inches = axes.transData + axes.figure.dpi_scale_trans.inverted()
    frame = axes.get_window_extent().transformed(axes.figure.dpi_scale_trans.inverted())
    size, half = SIZE - 1, 0.1
    beside, placed = list(others), list(labels)
    points: Any = to_inches.transform([*beside, *((x, y) for x, y, _ in placed)]) if placed else []
    taken: list[Box] = [(px - half, py - half, px + half, py + half) for px, py in points[: len(beside)]]
    for (px, py), (_, _, text) in zip(points[len(beside) :], placed, strict=True):
        wide, high = width_of(_readable(text), size, bold=True) + 0.04, size / 72 + 0.02
        for right, up in _AROUND:
            cx, cy = px + right * (wide / 2 + 0.1), py + up * (high / 2 + 0.1 - 0.05 * abs(right))
            box = (cx - wide / 2, cy - high / 2, cx + wide / 2, cy + high / 2)
            inside = frame.x0 < box[0] and frame.y0 < box[1] and box[2] < frame.x1 and box[3] < frame.y1
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                left, bottom = to_inches.inverted().transform((cx, cy))
                style: dict[str, Any] = {"ha": "center", "va": "center", "size": size, "weight": "bold"}
                axes.text(left, bottom, literal(text), color=colour, zorder=9, **style)
                break


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
