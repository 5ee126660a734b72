"""What the command batches prints, against a count of single anchors."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from hypothesis import given

from dynaclr.report.batches import batch_summary, batch_table
from dynaclr_strategies.options import sampler_cases
from dynaclr_strategies.sampler_descriptions import SamplerCase
from dynaclr_strategies.subjects.sampler import make_flexible

Counts = dict[str, Any]


def _counted(table: list[Counts]) -> dict[tuple[str, str], Counts]:
    """Count with dictionaries what `batch_summary` says."""
    owner = {row["batch"]: row["experiment"] for row in table if row["source"] == "primary"}
    seen: dict[tuple[str, str], Counts] = {}
    for row in table:
        key = (row["experiment"], row["condition"])
        counts = seen.setdefault(key, defaultdict(int) | {"each": defaultdict(int), "hpi": []})
        if row["source"] == "primary":
            counts["each"][row["batch"]] += 1
        else:
            counts["leaked"] += 1
        counts[row["time"]] += 1
        counts["repeated"] += row["repeated"]
        counts["hpi"].append(row["hours_post_infection"])
    for (experiment, _), counts in seen.items():
        own = [batch for batch, whose in owner.items() if whose == experiment]
        counts["batches"] = len(own)
        counts["each"] = [counts["each"][batch] for batch in own] or [0]
    return seen


def _span(numbers: list[float]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


@given(case=sampler_cases())
def test_the_summary_counts_anchors(case: SamplerCase) -> None:
    """Each number is that of the anchors that one finds by going through the table of the batches."""
    frame = case.frame().reset_index(drop=True)
    drawn = batch_table(make_flexible(frame, case.options), frame, batches=5)
    summary = batch_summary(drawn).to_dict("records")
    expected = _counted(drawn.to_dict("records"))
    assert {(row["experiment"], row["condition"]) for row in summary} == set(expected)
    kinds = ("focal", "widened", "global")
    assert ("focal" in summary[0]) == (drawn["time"].notna().any())
    for row in summary:
        counts = expected[row["experiment"], row["condition"]]
        numbers = {name: counts[name] for name in ("batches", "leaked", "repeated")}
        assert {name: row[name] for name in numbers} == numbers
        assert {kind: row.get(kind, 0) for kind in kinds} == {kind: counts[kind] for kind in kinds}
        assert (row["per batch"], row["HPI"]) == (_span(counts["each"]), _span(counts["hpi"]))
