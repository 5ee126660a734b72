"""The table of a run: in the terminal, and as a page with a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.model import Figure, Memory, Rate, Reach, Results
from benchmarks.plot import draw

_SHORTFALLS = Path(__file__).with_name("shortfalls.md")


def table(results: Results) -> str:
    """Return the run for a terminal."""
    parts = [
        "\n".join(f"{name}: {value}" for name, value in results.machine.items()),
        _aligned(_figure_head(), _figure_rows(results.figures)),
    ]
    if results.memories:
        parts.append(_aligned(("memory", "size", "peak"), _memory_rows(results.memories)))
    if results.rates:
        parts.append(_aligned(_rate_head(), _rate_rows(results.rates)))
    if results.reaches:
        parts.append(_aligned(_reach_head(), _reach_rows(results.reaches)))
    missed = sum(not reach.met for reach in results.reaches)
    verdict = f"{len(results.reaches) - missed} of {len(results.reaches)} met" + (
        f", {missed} MISSED" if missed else ""
    )
    if results.quick:
        verdict += " (--quick: small sizes, which prove nothing)"
    return "\n\n".join([*parts, verdict])


def write_page(results: Results, docs: Path) -> None:
    """Write ``benchmarks.md`` and ``benchmarks.png``."""
    draw(results, docs / "benchmarks.png")
    (docs / "benchmarks.md").write_text(page(results), encoding="utf-8")


def page(results: Results) -> str:
    """Return the page."""
    machine = "; ".join(f"{name} {value}" for name, value in results.machine.items())
    missed = sum(not reach.met for reach in results.reaches)
    lines = [
        "# Benchmarks",
        "",
        "Written by `tox -e bench`; do not edit. Every figure is a ratio measured in one run: to a naive baseline",
        "(`benchmarks/baselines.py`), which does what people use today, and to a limit (`benchmarks/limits.py`), which",
        "does nothing but the sorting, drawing, reading or multiplying itself. The sides take turns, in an order drawn",
        "anew each round, and the best turn of each counts. Where threads work together, for patches and the training",
        "step, it is the middle turn of the middle one of several processes. Who is slow gets fewer turns, at least",
        "two. Memory is measured in processes of its own.",
        "",
        f"Measured on: {machine}.",
        "",
        "![Seconds against size](benchmarks.png)",
        "",
        f"## What was asked for: {len(results.reaches) - missed} of {len(results.reaches)} met",
        "",
        *_markdown(_reach_head(), _reach_rows(results.reaches)),
        "",
        "## Where it falls short",
        "",
        _SHORTFALLS.read_text(encoding="utf-8").strip(),
        "",
        "## All figures",
    ]
    for group in results.groups:
        figures = [figure for figure in results.figures if figure.group == group]
        memories = [memory for memory in results.memories if memory.group == group]
        if figures:
            lines += ["", f"### {group}", "", *_markdown(_figure_head(), _figure_rows(figures))]
        if memories:
            lines += ["", *_markdown(("memory", "size", "peak"), _memory_rows(memories))]
    lines += ["", "### examples of each law in a second", "", *_markdown(_rate_head(), _rate_rows(results.rates)), ""]
    return "\n".join(lines)


def _figure_head() -> tuple[str, ...]:
    return ("work", "size", "ours", "faster than the baseline", "times the limit")


def _figure_rows(figures: Sequence[Figure]) -> list[tuple[str, ...]]:
    return [
        (
            f"{figure.group}: {figure.work}",
            f"{_count(figure.size)} {figure.of}",
            f"{_time(figure.seconds['ours'])} per {figure.unit}",
            "" if figure.over_baseline is None else f"{_ratio(figure.over_baseline)} x",
            "" if figure.over_limit is None else f"{_ratio(figure.over_limit)} x",
        )
        for figure in figures
    ]


def _memory_rows(memories: Sequence[Memory]) -> list[tuple[str, ...]]:
    return [
        (f"{one.group}: {one.work}", f"{_count(one.size)} {one.of}", f"{one.mebibytes * 2**20 / 1e6:.0f} MB")
        for one in memories
    ]


def _reach_head() -> tuple[str, ...]:
    return ("work", "asked for", "measured", "met")


def _reach_rows(reaches: Sequence[Reach]) -> list[tuple[str, ...]]:
    return [
        (
            f"{reach.group}: {reach.work}",
            f"{'at least' if reach.at_least else 'at most'} {reach.bound:g} {reach.asked}",
            _ratio(reach.value),
            "yes" if reach.met else "MISSED",
        )
        for reach in reaches
    ]


def _rate_head() -> tuple[str, ...]:
    return ("law", "subject", "examples per second", "of them applying")


def _rate_rows(rates: Sequence[Rate]) -> list[tuple[str, ...]]:
    return [
        (rate.law, rate.subject, _ratio(rate.examples / rate.seconds), f"{rate.applied / (rate.examples + 1):.0%}")
        for rate in sorted(rates, key=lambda rate: rate.examples / rate.seconds)
    ]


def _aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rows)]


def _count(number: int) -> str:
    return f"{number:.0e}".replace("e+0", "e") if number >= 10_000 else str(number)


def _time(seconds: float) -> str:
    unit, factor = next((u, f) for u, f in (("s", 1), ("ms", 1e3), ("µs", 1e6)) if seconds * f >= 1 or u == "µs")
    return f"{seconds * factor:.3g} {unit}"


def _ratio(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
