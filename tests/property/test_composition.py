"""What batches are made of: draws of their own for each batch and stratum, and a table that says why."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynaclr.cascade.composition import Composition, Part, Role
from dynaclr.sampler import FlexibleBatchSampler

_TIMES = st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0, 7.0]), min_size=10, max_size=14)


def anchors_of(hpi: dict[str, list[float]], **columns: object) -> pd.DataFrame:
    """Return a table of one experiment, with an anchor for each time of each condition."""
    rows = [(name, time) for name, times in hpi.items() for time in times]
    table = pd.DataFrame(rows, columns=["condition", "hours_post_infection"])
    return table.assign(experiment="a", **columns)


@pytest.mark.parametrize("exclusive_by", [None, "lineage_id"])
def test_each_batch_and_condition_draws_on_its_own(exclusive_by: str | None) -> None:
    """Conditions of one size at one time, batch after batch: never the same cells of a condition."""
    table = anchors_of({"x": [5.0] * 300, "y": [5.0] * 300}, lineage_id=range(600))
    sampler = FlexibleBatchSampler(table, 20, temporal_enrichment=True, exclusive_by=exclusive_by)
    seen: list[tuple[int, ...]] = []
    distances: list[int] = []
    for epoch, number in product(range(2), range(5)):
        for _, part in sampler.explain(number, epoch).groupby("condition"):
            focal, others = ((part["anchor"] % 300)[part["time"] == time].tolist() for time in ("focal", "global"))
            seen += [tuple(sorted(focal)), tuple(sorted(others))]
            distances += [min(abs(other - one) for one in focal) for other in others]
    assert Counter(map(len, seen)) == {7: 20, 3: 20}
    assert len(set(seen)) == 40
    # Nor do the others follow the focal ones: seven have at most 7 * 17 of 300 within 8, and 0.4 ** 60 < 1e-23.
    assert max(distances) > 8


@given(x=_TIMES, y=_TIMES, seed=st.integers(0, 99))
def test_what_is_not_focal_is_another_anchor(x: list[float], y: list[float], seed: int) -> None:
    """Of each condition half of the batch, none of it twice, all within the experiment."""
    table = anchors_of({"x": x, "y": y})
    sampler = FlexibleBatchSampler(table, 16, temporal_enrichment=True, temporal_window_hours=0.5, seed=seed)
    batch = sampler.explain(0)
    assert batch["anchor"].is_unique
    assert not batch["repeated"].any()
    assert Counter(table["condition"][batch["anchor"]]) == Counter(batch["condition"]) == {"x": 8, "y": 8}
    assert table["hours_post_infection"][batch["anchor"]].tolist() == batch["hpi"].tolist()


@given(values=st.lists(st.integers(0, 3), min_size=6, max_size=6), data=st.data())
def test_batches_that_share_a_value_are_counted(values: list[int], data: st.DataObject) -> None:
    """Whichever value it is that two anchors share, and however the batch is ordered."""
    table = anchors_of({"x": [0.0] * 6}, lineage_id=values)
    rows = data.draw(st.lists(st.lists(st.integers(0, 5), min_size=3, max_size=3), min_size=1, max_size=4))
    place = np.array(rows)
    part = Part(Role.PRIMARY, np.full(len(rows), 3), place.ravel())
    composed = Composition([part], len(rows), None, np.full(len(rows), -1))
    exclusive = FlexibleBatchSampler(table, 2, exclusive_by="lineage_id")._cascade
    held = [[values[anchor] for anchor in anchors] for anchors in exclusive.rows(composed)]
    assert exclusive.shared_values(composed) == sum(len(set(row)) < 3 for row in held)
    assert FlexibleBatchSampler(table, 2)._cascade.shared_values(composed) == 0


def test_the_explanation_holds_the_labels_themselves() -> None:
    """Whole numbers stay whole numbers of Python, pairs stay pairs, and without enrichment time is None."""
    table = anchors_of({"x": [0.0] * 4}).assign(experiment=7, moi=0.5)
    batch = FlexibleBatchSampler(table, 2, stratify_by=["condition", "moi"]).explain(0)
    labels = batch[["experiment", "condition", "time"]]
    assert set(labels.dtypes) == {np.dtype(object)}
    assert labels.to_numpy().tolist() == [[7, ("x", 0.5), None]] * 2
