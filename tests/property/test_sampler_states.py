"""States of samplers: where an iteration is, of what it is the state, and who may go on from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from made_samplers import TABLE, TIMED, batches, sampler

from dynaclr.cascade.axes import ConditionAxis, ExperimentAxis
from dynaclr.errors import DynaclrError
from dynaclr.sampler import FlexibleBatchSampler


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"condition_ratio": {"i": 1, "u": 2}}, {"condition_ratio": {"u": 2.0, "i": np.int64(1)}}),
        ({**TIMED, "temporal_window_hours": 2}, {**TIMED, "temporal_window_hours": np.float64(2.0)}),
        ({"leaky": 0.25}, {"leaky": np.float32(0.25)}),
    ],
)
def test_equal_samplers_take_each_others_state(one: dict[str, Any], other: dict[str, Any]) -> None:
    """How an option was written is no difference, and a state holds nothing but plain values."""
    state = sampler(**one).state_dict()
    sampler(**other).load_state_dict(state)
    assert {type(value) for value in state["fingerprint"].values()} <= {int, float, str, type(None)}


def test_the_dtype_of_labels_is_no_difference_to_a_state() -> None:
    """NumPy's and pandas' integers label alike."""
    coded = TABLE.assign(experiment=(TABLE["experiment"] == "a").astype("int64"))
    nullable = coded.assign(experiment=coded["experiment"].astype("Int64"))
    sampler(nullable).load_state_dict(sampler(coded).state_dict())


def test_other_lineages_are_another_table() -> None:
    """With exclusivity the batches depend on the lineages, and so does the fingerprint."""
    other = TABLE.assign(lineage_id=TABLE["lineage_id"].to_numpy()[::-1])
    with pytest.raises(DynaclrError, match="other exclusive_by"):
        sampler(other, exclusive_by="lineage_id").load_state_dict(sampler(exclusive_by="lineage_id").state_dict())


def test_a_mapping_that_changes_later_changes_nothing() -> None:
    """The sampler keeps a copy of the weights it was given."""
    weights = {"a": 1.0, "b": 1.0}
    made = sampler(experiment_weights=weights)
    weights["a"] = 5.0
    sampler(experiment_weights={"a": 1.0, "b": 1.0}).load_state_dict(made.state_dict())
    experiments, conditions = ExperimentAxis(weights=weights), ConditionAxis(ratio=weights)
    weights.clear()
    assert experiments.weights == conditions.ratio == {"a": 5.0, "b": 1.0}


@given(
    lives=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 3)), min_size=2, max_size=6),
    epoch=st.integers(0, 2),
    enrichment=st.booleans(),
)
@example(lives=[(2, 1), (1, 1), (1, 1)], epoch=0, enrichment=False)
def test_a_state_of_a_resumed_sampler_counts_from_the_beginning(
    lives: list[tuple[int, int]], epoch: int, enrichment: bool
) -> None:
    """However often a run was stopped in an epoch, on however many ranks it went on, no batch comes twice or never."""
    whole, position = sampler(temporal_enrichment=enrichment), 0
    state = whole.state_dict() | {"epoch": epoch}
    for steps, ranks in lives:
        made = [sampler(num_replicas=ranks, rank=rank, temporal_enrichment=enrichment) for rank in range(ranks)]
        for one in made:
            one.load_state_dict(state)
        running = [iter(one) for one in made]
        for _ in range(steps):
            drawn = [next(one, None) for one in running]
            if position >= whole.num_batches:
                assert drawn == [None] * ranks
                break
            assert drawn == [whole.batch(position + rank, epoch) for rank in range(ranks)]
            position += ranks
        state, *others = (one.state_dict() for one in made)
        assert others == [state] * (ranks - 1)
        assert (state["epoch"], state["batches"]) == (epoch, position)


def test_an_abandoned_iterator_does_not_move_the_position() -> None:
    """Of two iterators the one that was started last counts."""
    made = sampler()
    old = iter(made)
    next(old)
    new = iter(made)
    next(new)
    next(old)
    next(old)
    assert made.state_dict()["batches"] == 1


@pytest.mark.parametrize("state", [None, {}, {"fingerprint": None}, {"fingerprint": {}, "version": 1}])
def test_what_is_no_state_is_refused(state: Any) -> None:
    """The sampler says what a state needs, and stays as it is."""
    made = sampler()
    with pytest.raises(DynaclrError, match="is no sampler state"):
        made.load_state_dict(state)
    assert len(made) == made.num_batches


@pytest.mark.parametrize("batches", [-1, 0.5, 10**30])
def test_a_state_beyond_all_batches_is_refused(batches: Any) -> None:
    """When it is loaded, not when somebody iterates."""
    made = sampler()
    with pytest.raises(DynaclrError, match=f"batches={batches!r} needs"):
        made.load_state_dict({**made.state_dict(), "batches": batches})
    assert len(made) == made.num_batches


def test_another_epoch_begins_with_its_first_batch() -> None:
    """Nothing is left of the position in the one before."""
    made = sampler()
    turn = iter(made)
    next(turn)
    made.set_epoch(0)
    assert made.state_dict()["batches"] == 1
    made.set_epoch(3)
    assert (made.state_dict()["epoch"], made.state_dict()["batches"]) == (3, 0)


def test_after_the_last_batch_none_is_left() -> None:
    """A state of a finished epoch restores a sampler of length 0, which yields nothing and then begins anew."""
    made = sampler()
    whole = batches(made)
    restored = sampler()
    restored.load_state_dict(made.state_dict())
    assert (len(restored), batches(restored)) == (0, [])
    assert batches(restored) == whole


@pytest.mark.parametrize("consumed", [0, 1, 3])
def test_the_state_of_a_pass_that_has_not_begun_is_its_beginning(consumed: int) -> None:
    """Not the end of the pass before it, and where a pass was resumed not the epoch's first batch."""
    made, whole = sampler(), batches(sampler())
    assert len(whole) > consumed
    left = iter(made)
    for _ in range(consumed):
        next(left)
    state = made.state_dict()
    assert state["batches"] == consumed
    again = iter(made)
    assert made.state_dict()["batches"] == 0
    assert list(again) == whole
    made.load_state_dict(state)
    rest = iter(made)
    assert made.state_dict() == state
    assert list(rest) == whole[consumed:]
    assert list(left) == whole[consumed:] or not consumed, "an older iterator goes on, and moves no position"
    assert made.state_dict()["batches"] == len(whole)


def test_a_state_survives_a_safe_checkpoint(tmp_path: Any) -> None:
    """`torch.load(weights_only=True)` reads what `torch.save` wrote."""
    made = sampler(leaky=np.float64(0.25), **TIMED)
    next(iter(made))
    torch.save(made.state_dict(), tmp_path / "state.pt")
    restored = sampler(leaky=0.25, **TIMED)
    restored.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert batches(restored) == batches(sampler(leaky=0.25, **TIMED))[1:]


def test_states_that_were_saved_once_can_be_read() -> None:
    """A fingerprint is the same in every release that reads its version, so that old checkpoints go on."""
    rows = np.arange(24)
    table = pd.DataFrame({"experiment": np.array(list("ab"))[rows % 2], "condition": np.array(list("iuv"))[rows % 3]})
    table["hours_post_infection"], table["lineage_id"] = rows // 2 * 0.5, rows // 4
    made = FlexibleBatchSampler(table, 6, leaky=0.2, exclusive_by="lineage_id", num_replicas=1, rank=0, **TIMED)
    assert made.state_dict() == {
        "version": 1,
        "epoch": 0,
        "batches": 0,
        "fingerprint": {
            "anchors": 24,
            "batch_size": 6,
            "num_batches": 4,
            "seed": 0,
            "leaked anchors": 1,
            "focal anchors": 4,
            "temporal_window_hours": 2.0,
            "experiment shares": "636547d78d0ab4a7",
            "condition quotas": "45c498a7a630312c",
            "labels": "4576b54a95abbaa6",
            "rows": "c09efad7538cdfb9",
            "hours": "5ae8767ad69d149d",
            "exclusive_by": "359c7fb90f601e0c",
        },
    }
