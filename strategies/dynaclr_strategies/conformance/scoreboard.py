"""The end of the report: law, verdict, and the shrunk example in one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from dynaclr_strategies.conformance.entry import PROPERTY
from dynaclr_strategies.conformance.plans import LAWS

__all__ = ["Score", "scores", "write_scoreboard"]

_MARKUP = {
    "holds": {"green": True},
    "BROKEN": {"red": True},
    "known": {"yellow": True},
    "STALE": {"yellow": True, "bold": True},
    "skipped": {"light": True},
}


@dataclass(frozen=True)
class Score:
    """What was found about one law.

    Attributes
    ----------
    sampler, law
        Of what, and which.
    verdict
        ``"holds"``, ``"BROKEN"``, ``"known"`` (broken, and listed), ``"STALE"`` (listed, but it holds or is not
        claimed) or ``"skipped"``.
    detail
        The shrunk example, why there is none, on how many cases the law holds, or what was not tried.
    """

    sampler: str
    law: str
    verdict: str
    detail: str


def scores(stats: dict[str, list[Any]]) -> list[Score]:
    """Return what the tests of a run found, in the order in which they ended."""
    reports = [report for group in stats.values() for report in group if isinstance(report, pytest.TestReport)]
    return [_score(report, found) for report in reports for found in _found(report)]


def _found(report: pytest.TestReport) -> Iterator[dict[str, str]]:
    if report.when == "call":
        for name, found in report.user_properties:
            if name == PROPERTY and isinstance(found, dict):
                yield found


def _score(report: pytest.TestReport, found: dict[str, str]) -> Score:
    known, example = found["known"], found.get("example", "")
    if hasattr(report, "wasxfail"):
        verdict, detail = "known", f"{known}: {example}"
    elif report.failed:
        verdict, detail = "BROKEN", example
    elif report.skipped:
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        # What was not claimed cannot fail; of what could not be judged nobody knows.
        verdict, detail = (
            "STALE" if known and "open" not in found else "skipped",
            reason.removeprefix(f"Skipped: {found['law']}: "),
        )
    else:
        verdict, detail = (
            ("STALE", f"holds, but is listed as known: {known}") if known else ("holds", found.get("note", ""))
        )
    return Score(found["sampler"], found["law"], verdict, detail)


def write_scoreboard(reporter: Any) -> None:
    """Write a section for each sampler that was tested, with a line for each law."""
    by_sampler: dict[str, list[Score]] = {}
    for score in scores(reporter.stats):
        by_sampler.setdefault(score.sampler, []).append(score)
    for sampler, listed in by_sampler.items():
        reporter.section(f"conformance of {sampler}")
        for score in sorted(listed, key=lambda score: LAWS.index(score.law)):
            reporter.write(f"{score.law:<22} ")
            reporter.write(score.verdict, **_MARKUP[score.verdict])
            reporter.line(f"{'':{9 - len(score.verdict)}}{score.detail}" if score.detail else "")
        _write_total(reporter, listed)


def _write_total(reporter: Any, listed: list[Score]) -> None:
    counts = Counter(score.verdict for score in listed)
    total = [f"{counts[verdict]} {word}" for verdict, word in _WORDS.items() if counts[verdict]]
    reporter.line(f"{len(listed)} laws: {', '.join(total)}")
    if stale := sorted(score.law for score in listed if score.verdict == "STALE"):
        reporter.line(
            f"warning: {', '.join(stale)} {'are' if len(stale) > 1 else 'is'} listed as known to fail without failing; "
            "remove from the list",
            yellow=True,
        )


_WORDS = {"holds": "hold", "BROKEN": "broken", "known": "known to fail", "STALE": "stale", "skipped": "skipped"}
