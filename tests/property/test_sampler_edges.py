"""The sampler at its edges: types that pandas and NumPy hand over, what it refuses and tells, where epochs end."""

from __future__ import annotations

import logging
import re
import sys
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_samplers import TABLE, TIMED, batches, sampler
from torch import distributed
from torch.testing._internal.distributed.fake_pg import FakeStore

from dynaclr.cascade.fold import _CHUNK, _ONE_BY_ONE
from dynaclr.errors import DynaclrError, RepeatedAnchorsWarning
from dynaclr.sampler import FlexibleBatchSampler


@pytest.mark.parametrize("kind", [np.int8, np.int64, np.uint8, np.uint64, np.float16, np.float32, np.float64])
def test_numpy_numbers_are_numbers(kind: type) -> None:
    """Weights and ratios of any NumPy type give the batches of the same Python numbers."""
    plain = sampler(condition_ratio={"i": 1, "u": 2}, experiment_weights={"a": 100, "b": 50})
    ratio, weights = {"i": kind(1), "u": kind(2)}, {"a": kind(100), "b": kind(50)}
    assert batches(sampler(condition_ratio=ratio, experiment_weights=weights)) == batches(plain)


@pytest.mark.parametrize("kind", [float, np.float16, np.float32, np.float64])
def test_a_leak_is_the_decimal_that_was_written(kind: type) -> None:
    """0.29 of 100 is 29 in every floating-point type."""
    assert (sampler(batch_size=100, leaky=kind(0.29)).explain(0)["source"] == "leaked").sum() == 29


def test_the_largest_float_is_a_number_the_next_integer_is_none() -> None:
    """Integers are as good as floats as far as floats go."""
    largest = int(sys.float_info.max)
    assert len(sampler(experiment_weights={"a": largest, "b": -0.0})) == 200 // 16
    with pytest.raises(DynaclrError, match="needs a finite number"):
        sampler(experiment_weights={"a": largest + 1})


@pytest.mark.parametrize("labels", [[1, 2.5, 10], [(1, "a"), ("a", 1), (2, "b")], ["b", np.str_("a"), "c"]])
def test_labels_of_mixed_types_are_labels(labels: list[Any]) -> None:
    """Labels are sorted by their own order where they have one, and by type and text where not."""
    column = pd.Series(labels * 20, dtype=object)
    made = sampler(pd.DataFrame({"experiment": "a", "condition": column}), 6)
    counts = pd.Series([repr(column[row]) for row in made.batch(0)]).value_counts()
    assert counts.tolist() == [2, 2, 2]
    if all(isinstance(label, int | float) for label in labels):
        numbers = column.astype(float)
        assert batches(sampler(pd.DataFrame({"experiment": "a", "condition": numbers}), 6)) == batches(made)


def test_the_first_experiment_may_have_no_weight() -> None:
    """Those that follow keep their own batches."""
    made = sampler(experiment_weights={"a": 0, "b": 1})
    assert set(TABLE["experiment"].iloc[list(chain(*batches(made)))]) == {"b"}


def test_numbers_of_batches_end_somewhere() -> None:
    """Far beyond any run, and in a sentence."""
    made = sampler()
    assert len(made.batch(2**53)) == made.batch_size
    for ask in (made.batch, made.explain):
        with pytest.raises(DynaclrError, match=rf"^i={10**20} needs to be a number of batches, at most {2**53}$"):
            ask(10**20)


def test_labels_that_cannot_be_told_apart_are_refused() -> None:
    """A list is no label."""
    with pytest.raises(DynaclrError, match=r"group_by='experiment' has labels that cannot be compared"):
        sampler(TABLE.assign(experiment=[["a"]] * len(TABLE)))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"group_by": ["experiment", ["condition"]]}, "group_by=.* needs the name of a column"),
        ({"group_by": []}, r"group_by=\[\] needs the name of a column"),
        ({**TIMED, "temporal_window_hours": 10**400}, "temporal_window_hours=.* needs a finite number"),
    ],
)
def test_odd_options_are_refused_in_one_sentence(options: dict[str, Any], sentence: str) -> None:
    """Nothing but a `DynaclrError` comes of an option that cannot be."""
    with pytest.raises(DynaclrError, match=sentence):
        sampler(**options)


SWITCHES = ("experiment_aware", "condition_balanced", "temporal_enrichment", "drop_last")


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize("value", ["no", "", 0, 1, None, np.array([True])])
def test_a_switch_is_true_or_false(switch: str, value: Any) -> None:
    """A text that means no is not taken for a yes."""
    with pytest.raises(DynaclrError, match=f"^{switch}={re.escape(repr(value))} needs True or False$"):
        sampler(**{switch: value})


def test_a_switch_may_be_a_truth_of_numpy() -> None:
    """Such as a comparison of arrays gives."""
    switches = dict.fromkeys(SWITCHES, np.False_)
    assert batches(sampler(**switches)) == batches(sampler(**dict.fromkeys(SWITCHES, False)))


@pytest.mark.parametrize("anchors", [None, [1, 2], TABLE["condition"], TABLE.to_numpy()])
def test_what_is_no_table_is_refused(anchors: Any) -> None:
    """The sentence says what it is."""
    kind = type(anchors).__name__
    with pytest.raises(
        DynaclrError, match=f"^valid_anchors is a {kind}, but needs to be a DataFrame with a row per an"
    ):
        sampler(table=anchors)


def test_columns_may_come_from_an_index() -> None:
    """Names of columns are taken from whatever holds them."""
    assert batches(sampler(group_by=TABLE.columns[:1])) == batches(sampler())


def test_a_column_that_is_there_twice_is_refused() -> None:
    """Which of two columns is meant cannot be known."""
    with pytest.raises(DynaclrError, match="one column 'condition', but the table has 2"):
        sampler(pd.concat([TABLE, TABLE[["condition"]]], axis=1))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "2 in condition 'x' of experiment 'a', 1 in condition 'y' of experiment 'a'"),
        ({"experiment_aware": False}, "2 in condition 'x', 1 in condition 'y'"),
        ({"condition_balanced": False}, "3 in experiment 'a'"),
        ({"experiment_aware": False, "condition_balanced": False}, "3 in the table"),
        ({"batch_size": 2}, None),
    ],
)
def test_too_few_values_to_exclude_each_other_are_told_of(
    options: dict[str, Any], told: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """When the sampler is made, and not after an epoch."""
    table = pd.DataFrame({"experiment": "a", "condition": [*"xxxxxxyyyyyy"], "lineage_id": [0, 1] * 3 + [2] * 6})
    FlexibleBatchSampler(table, **{"batch_size": 6, "exclusive_by": "lineage_id", **options})
    size = {"batch_size": 6, **options}["batch_size"]
    sentence = (
        f"batch_size={size}: batches hold anchors that share a value of exclusive_by=('lineage_id',); there are only "
    )
    assert caplog.messages == ([] if told is None else [sentence + told])


@pytest.mark.parametrize(("weight", "told"), [(1e-30, False), (1e-3, True)])
def test_too_few_values_are_not_told_of_an_experiment_that_never_comes_up(
    weight: float, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """One that may come up once in the epoch is told of."""
    table = pd.DataFrame({"experiment": [*"aaaabbbb"], "condition": "x", "lineage_id": [4, 4, 4, 4, 0, 1, 2, 3]})
    FlexibleBatchSampler(table, 4, exclusive_by="lineage_id", experiment_weights={"a": weight, "b": 1.0})
    assert [message.partition("there are only ")[2] for message in caplog.messages] == (
        ["1 in condition 'x' of experiment 'a'"] if told else []
    )


def test_a_leak_pool_that_is_too_small_is_told() -> None:
    """Leaked anchors that must repeat are false negatives as any others."""
    table = pd.DataFrame({"experiment": ["a"] * 1000 + ["b"] * 50, "condition": "u"})
    with pytest.warns(RepeatedAnchorsWarning, match=r"leak into batches of experiment 'a' \(the others have 50\)"):
        FlexibleBatchSampler(table, 100, leaky=0.9)


@pytest.mark.parametrize(
    "options",
    [
        {"condition_balanced": False, "condition_ratio": {"i": 1, "u": 1}},
        {"experiment_aware": False, "experiment_weights": {"a": 1}},
        {"experiment_aware": False, "leaky": 0.5},
    ],
)
def test_options_without_effect_are_told(options: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """An option of an axis that is off is not ignored in silence; what has an effect, or is not there, is."""
    with caplog.at_level(logging.WARNING, logger="dynaclr.sampler"):
        (switch, off), (parameter, _) = options.items()
        sampler(**{switch: not off, parameter: options[parameter]} if parameter != "experiment_weights" else {})
        sampler(**{switch: off})
        assert not caplog.messages
        sampler(**options)
    assert caplog.messages == [f"{parameter} has no effect, because the axis it belongs to is off"]


def test_anchors_that_are_left_out_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    """The log says how many of how many; nothing where all are used."""
    used = int((TABLE["experiment"] == "a").sum())
    with caplog.at_level(logging.WARNING, logger="dynaclr.sampler"):
        sampler(experiment_weights={"a": 1, "b": 2})
        sampler(experiment_weights={"a": 1})
    assert caplog.messages == [f"experiment_weights leaves out {200 - used} of 200 anchors"]


def test_one_process_of_several_says_what_all_would(caplog: pytest.LogCaptureFixture) -> None:
    """Warnings on every rank would come as often as there are GPUs."""
    table = pd.DataFrame({"experiment": ["a"] * 3 + ["b"] * 5, "condition": "u"})
    options: dict[str, Any] = {"num_replicas": 2, "experiment_weights": {"a": 1}}
    with caplog.at_level(logging.WARNING, logger="dynaclr.sampler"):
        FlexibleBatchSampler(table, 8, rank=1, **options)
        assert not caplog.messages
        with pytest.warns(RepeatedAnchorsWarning):
            FlexibleBatchSampler(table, 8, rank=0, **options)
        assert len(caplog.messages) == 1


def test_experiments_that_are_too_small_are_told_in_one_warning() -> None:
    """The warning names each of them, and why it matters."""
    table = pd.DataFrame({"experiment": ["a"] * 3 + ["b"] * 5, "condition": "u"})
    with pytest.warns(RepeatedAnchorsWarning) as caught:
        FlexibleBatchSampler(table, 8)
    assert [str(one.message) for one in caught] == [
        (
            "batch_size=8 repeats anchors within a batch, each a false negative for a contrastive loss, because "
            "there are too few in the conditions of experiment 'a' (it has 3); and "
            "there are too few in the conditions of experiment 'b' (it has 5)"
        )
    ]


def test_ranks_are_those_of_the_process_group() -> None:
    """Unless they are given; without a process group there is one."""
    assert (sampler().num_replicas, sampler().rank) == (1, 0)
    distributed.init_process_group("fake", rank=2, world_size=3, store=FakeStore())
    try:
        assert (sampler().num_replicas, sampler().rank) == (3, 2)
        assert (sampler(num_replicas=5).num_replicas, sampler(num_replicas=5).rank) == (5, 2)
        assert (sampler(rank=1).num_replicas, sampler(rank=1).rank) == (3, 1)
    finally:
        distributed.destroy_process_group()


@pytest.mark.parametrize(("drop_last", "batches"), [(True, 2), (False, 3)])
def test_the_last_batch_is_full_or_not_there(drop_last: bool, batches: int) -> None:
    """An epoch of ten anchors has two whole batches of four, or three."""
    made = FlexibleBatchSampler(TABLE.iloc[:10], 4, experiment_aware=False, drop_last=drop_last)
    assert (made.num_batches, len(made), [len(rows) for rows in made]) == (batches, batches, [4] * batches)


def test_chunks_are_invisible() -> None:
    """Batches are composed many at a time; an epoch longer than that has each batch once, in order."""
    rows = 2 * _CHUNK + 12
    table = pd.DataFrame({"experiment": "a", "condition": "u"}, index=range(rows))
    made = FlexibleBatchSampler(table, 4, num_replicas=1, rank=0)
    drawn = batches(made)
    assert sorted(row for batch in drawn for row in batch) == list(range(rows))
    assert made.batch(rows // 4 - 2) == drawn[-2]
    assert made.state_dict()["batches"] == rows // 4


def test_conflicts_are_counted_over_the_chunks(caplog: pytest.LogCaptureFixture) -> None:
    """The whole epoch is counted, however it is composed, and told in one sentence."""
    table = pd.DataFrame({"experiment": "a", "condition": "u", "lineage_id": np.zeros(9 * _ONE_BY_ONE, int)})
    with caplog.at_level(logging.INFO, logger="dynaclr.sampler"):
        made = FlexibleBatchSampler(table, 3, exclusive_by="lineage_id")
        caplog.clear()
        batches(made)
    assert caplog.messages == [
        (
            f"epoch 0: {3 * _ONE_BY_ONE} of {3 * _ONE_BY_ONE} batches hold anchors that share a value of "
            "exclusive_by=('lineage_id',), "
            "because a stratum has fewer values than its quota, or shares them with another stratum"
        )
    ]


@pytest.mark.parametrize(("lineages", "conflicts"), [(4, True), (40, False)])
def test_lineages_that_meet_are_counted_once_an_epoch(
    lineages: int, conflicts: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says in how many of the epoch's batches relatives met, and nothing where they did not."""
    table = pd.DataFrame({"experiment": "a", "condition": "u", "lineage_id": np.arange(40) % lineages})
    made = sampler(table, 8, exclusive_by="lineage_id")
    with caplog.at_level(logging.INFO, logger="dynaclr.sampler"):
        drawn = batches(made)
    told = [record.getMessage() for record in caplog.records if "batches hold anchors" in record.getMessage()]
    told = [sentence for sentence in told if sentence.startswith("epoch")]
    assert len(told) == conflicts
    if conflicts:
        assert told[0].startswith(f"epoch 0: {len(drawn)} of {len(drawn)} batches")


@pytest.mark.parametrize("epoch", [None, 0, 3])
def test_what_is_explained_is_the_batch_of_that_epoch(epoch: int | None) -> None:
    """Of the selected epoch where none is named, of the named one where one is."""
    made = sampler(**TIMED)
    made.set_epoch(5)
    assert made.explain(1, epoch)["anchor"].tolist() == made.batch(1, epoch)
    assert made.batch(1, epoch) == made.batch(1, 5 if epoch is None else epoch)


def test_beyond_the_epoch_goes_another_fair_round() -> None:
    """What ranks are given beyond the last batch is drawn as an epoch is: a fair pass of its own, another one."""
    table = pd.DataFrame({"experiment": "a", "condition": ["u"] * 24})
    made = sampler(table, 8)
    rounds = [[made.batch(3 * number + i) for i in range(3)] for number in (0, 1, 2, 10**9)]
    assert [sorted(chain.from_iterable(each)) for each in rounds] == [list(range(24))] * 4
    assert len({str(each) for each in rounds}) == 4  # but for a probability of 6 / 24!
    assert rounds[0] == batches(made)
    of_eight = [FlexibleBatchSampler(table, 8, num_replicas=8, rank=rank) for rank in range(8)]
    assert [batches(rank)[0] for rank in of_eight] == [*rounds[0], *rounds[1], *rounds[2][:2]]


@pytest.mark.parametrize("seed", range(5))
def test_the_last_batch_is_filled_up_from_all_before_it(seed: int) -> None:
    """Where a pass ends inside the last batch, every batch of the pass lends it equally many anchors."""
    rows, size, whole = 1003, 100, 10
    table = pd.DataFrame({"experiment": ["a"] * rows, "condition": "u"})
    made = sampler(table, size, drop_last=False, seed=seed)
    *before, last = batches(made)
    assert len(before) == whole
    lent = [len(set(last) & set(batch)) for batch in before]
    assert sum(lent) == size - (rows - whole * size)
    assert max(lent) - min(lent) <= 1


def test_passes_that_begin_in_a_batch_are_mended_in_turn() -> None:
    """Many passes of a small stratum, each beginning inside a batch: still fair, without needless repeats."""
    table = pd.DataFrame({"experiment": ["a"] * 7 + ["b"] * 993, "condition": "u"})
    made = sampler(table, 5, experiment_weights={"a": 1, "b": 1})
    counts = np.zeros(len(table), dtype=np.int64)
    for batch in batches(made):
        assert len(set(batch)) == 5
        np.add.at(counts, batch, 1)
        assert np.ptp(counts[:7]) <= 1
        assert np.ptp(counts[7:]) <= 1


def test_every_anchor_may_stand_at_every_position() -> None:
    """Leaked anchors are not always found at the same positions of a batch, nor are any others."""
    made = sampler(batch_size=8, leaky=0.25, seed=1)
    leaked = np.array([made.explain(i)["source"] == "leaked" for i in range(200)])
    # A position is without any with a probability of 0.75 ** 200, which is below 1e-24.
    assert leaked.any(axis=0).all()
    assert not leaked.all(axis=0).any()
    assert (leaked.sum(axis=1) == 2).all()


def test_labels_need_as_many_bytes_as_they_need() -> None:
    """Around the limits of small integers, experiments and conditions are told apart all the same."""
    for labels in (255, 256, 257, 300):
        table = pd.DataFrame({"experiment": np.arange(4 * labels) // 4, "condition": ["i", "u"] * (2 * labels)})
        table["hours_post_infection"] = table["experiment"] * 0.5
        made = sampler(table, 2, **TIMED)
        owners = [set(table.loc[batch, "experiment"]) for batch in batches(made)]
        assert all(len(owner) == 1 for owner in owners)
        assert len(set.union(*owners)) == labels
