"""What the command batches prints, against a count of single anchors."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pandas as pd
from hypothesis import example, given

from dynaclr.report.batches import batch_summary, batch_table
from dynaclr.sampler import FlexibleBatchSampler
from dynaclr_strategies.options import sampler_cases
from dynaclr_strategies.oracles.sampler import CascadeOracle
from dynaclr_strategies.sampler_descriptions import PLAIN_TABLE, SamplerCase, SamplerOptions
from dynaclr_strategies.subjects.sampler import make_flexible

Counts = dict[str, Any]


def _counted(table: list[Counts], oracle: CascadeOracle) -> dict[tuple[str, str], Counts]:
    """Count with dictionaries what `batch_summary` says of each stratum, and what should come of it."""
    owner = {row["batch"]: row["experiment"] for row in table if row["source"] == "primary"}
    seen: dict[tuple[str, str], Counts] = {}
    for group, size in Counter(map(oracle.group, range(len(oracle.rows)))).items():
        strata = oracle.strata.get(group, {None: range(size)})
        quotas = oracle.quotas(group) if group in oracle.strata else {}
        for condition, stratum in strata.items():
            share = oracle.share(group) / oracle.num_batches * len(owner) if quotas else 0
            asked = {"anchors": len(stratum), "expected": float(share), "quota": float(quotas.get(condition, 0))}
            seen[_text(group), _text(condition)] = {**asked, "each": Counter(), "hpi": [], "kinds": Counter()}
    for row in table:
        counts = seen[row["experiment"], row["condition"]]
        counts["kinds"].update([row["source"], row["time"], *["repeated"] * row["repeated"]])
        counts["each"][row["batch"]] += row["source"] == "primary"
        counts["hpi"].append(row["hours_post_infection"])
    for (experiment, _), counts in seen.items():
        own = [batch for batch, whose in owner.items() if whose == experiment]
        counts["batches"], counts["each"] = len(own), [counts["each"][batch] for batch in own] or [0]
    return seen


def _text(label: Any) -> str:
    return "all" if label is None else "/".join(map(str, label)) if isinstance(label, tuple) else str(label)


def _span(numbers: list[float]) -> str:
    ends = (f"{round(end(numbers), 2):g}" for end in (min, max)) if numbers else ()
    return " to ".join(dict.fromkeys(ends))


def test_labels_that_are_spelled_alike_stay_apart() -> None:
    """Their rows are as many as they are, and say which is which."""
    rows = [("a", "b/c"), ("a/b", "c")] * 8
    table = pd.DataFrame(rows, columns=["experiment", "organelle"]).assign(condition="x", hours_post_infection=0.0)
    sampler = FlexibleBatchSampler(table, 4, group_by=["experiment", "organelle"])
    drawn = batch_table(sampler, table, batches=4)
    summary = batch_summary(sampler, drawn)
    assert sorted(summary["experiment"]) == ["('a', 'b/c')", "('a/b', 'c')"]
    assert summary["batches"].tolist() == [2, 2]
    assert set(drawn["experiment"]) == set(summary["experiment"])


@given(case=sampler_cases())
@example(case=SamplerCase(table=PLAIN_TABLE, options=SamplerOptions(batch_size=1)))
@example(case=SamplerCase(table=PLAIN_TABLE, options=SamplerOptions(batch_size=4, experiment_weights=(("b", 1.0),))))
def test_the_summary_counts_anchors(case: SamplerCase) -> None:
    """Each number is that of the anchors that one finds by going through the table of the batches."""
    frame = case.frame().reset_index(drop=True)
    sampler = make_flexible(frame, case.options)
    drawn = batch_table(sampler, frame, batches=5)
    summary = batch_summary(sampler, drawn).to_dict("records")
    expected = _counted(drawn.to_dict("records"), CascadeOracle(frame, case.options))
    assert {(row["experiment"], row["condition"]) for row in summary} == set(expected)
    kinds = ("focal", "widened", "global")
    assert all(("focal" in row) == (drawn["time"].notna().any()) for row in summary)
    for row in summary:
        counts = expected[row["experiment"], row["condition"]]
        assert (row["anchors"], row["batches"]) == (counts["anchors"], counts["batches"])
        assert abs(row["expected"] - counts["expected"]) <= 0.05 + 1e-9
        assert abs(row["quota"] - counts["quota"]) <= 0.005 + 1e-9
        assert {kind: row.get(kind, 0) for kind in (*kinds, "leaked", "repeated")} == {
            kind: counts["kinds"][kind] for kind in (*kinds, "leaked", "repeated")
        }
        assert (row["primary"], row["HPI"]) == (_span(counts["each"]), _span(counts["hpi"]))
