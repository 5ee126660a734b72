"""The sentences of errors, word for word: a user reads nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from dynaclr.augment import ChannelDropout
from dynaclr.datamodule import MultiExperimentDataModule
from dynaclr.dataset import MultiExperimentTripletDataset
from dynaclr.errors import DynaclrError, did_you_mean
from dynaclr.experiment import ExperimentRegistry
from dynaclr.index import MultiExperimentIndex
from dynaclr.lineage import Descent, Forest
from dynaclr.loss import NTXentHCL
from dynaclr.sampler import FlexibleBatchSampler
from dynaclr.tau_sampling import frames_in_range, hours_range, tau_weights
from dynaclr_strategies.ready_made import two_experiments
from dynaclr_strategies.writers import write_registry

TABLE = pd.DataFrame(
    {
        "experiment": list("aabb") * 3,
        "condition": list("iuiu") * 3,
        "hours_post_infection": np.arange(12) * 0.5,
        "lineage_id": np.arange(12),
    }
)


def said(action: Callable[[], object]) -> str:
    """Return the sentence of the error that an action raises."""
    with pytest.raises(DynaclrError) as caught:
        action()
    return str(caught.value)


# --- sampler and axes -------------------------------------------------------------------------------------------------

NAME = "needs the name of a column, or several different names"
OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"group_by": 5}, f"group_by=5 {NAME}"),
    ({"group_by": []}, f"group_by=[] {NAME}"),
    ({"group_by": ["experiment", ""]}, f"group_by=['experiment', ''] {NAME}"),
    ({"stratify_by": ["condition", "condition"]}, f"stratify_by=['condition', 'condition'] {NAME}"),
    ({"exclusive_by": ()}, f"exclusive_by=() {NAME}"),
    ({"seed": 0.5}, "seed=0.5 needs a whole number"),
    ({"seed": True}, "seed=True needs a whole number"),
    ({"batch_size": 0}, "batch_size=0 needs a whole number of at least 1"),
    ({"batch_size": "4"}, "batch_size='4' needs a whole number of at least 1"),
    ({"num_replicas": 0}, "num_replicas=0 needs a whole number of at least 1"),
    ({"num_replicas": 2, "rank": 2}, "rank=2 needs a number in [0, 2), the number of replicas"),
    ({"num_replicas": 2, "rank": -1}, "rank=-1 needs a number in [0, 2), the number of replicas"),
    ({"rank": None, "num_replicas": None, "seed": None}, "seed=None needs a whole number"),
    ({"rank": 0.5}, "rank=0.5 needs a whole number"),
    (
        {"batch_size": 13},
        (
            "batch_size=13 is larger than the number of anchors, 12, so that an epoch would have no batch; "
            "it needs a smaller batch_size, or drop_last=False of the sampler"
        ),
    ),
    ({"leaky": 1}, "leaky=1 needs a number in [0, 1)"),
    ({"leaky": -0.1}, "leaky=-0.1 needs a number in [0, 1)"),
    ({"leaky": "0"}, "leaky='0' needs a number in [0, 1)"),
    (
        {"temporal_window_hours": -1},
        "temporal_window_hours=-1 needs a finite number of hours that is not negative",
    ),
    (
        {"temporal_window_hours": math.inf},
        "temporal_window_hours=inf needs a finite number of hours that is not negative",
    ),
    ({"temporal_global_fraction": 1.5}, "temporal_global_fraction=1.5 needs a number in [0, 1]"),
    ({"temporal_global_fraction": math.nan}, "temporal_global_fraction=nan needs a number in [0, 1]"),
    ({"temporal_global_fraction": -0.5}, "temporal_global_fraction=-0.5 needs a number in [0, 1]"),
    ({"experiment_weights": [1, 2]}, "experiment_weights=[1, 2] needs a mapping from label to number"),
    (
        {"experiment_weights": {"a": -1}},
        "experiment_weights['a']=-1 needs a finite number that is not negative",
    ),
    ({"experiment_weights": {"a": 0}}, "experiment_weights={'a': 0} needs at least one number above 0"),
    (
        {"experiment_weights": {"a": 1, "zzz": 1}},
        "experiment_weights names 'zzz', which no anchor has; they have 'a', 'b'",
    ),
    ({"condition_ratio": "iu"}, "condition_ratio='iu' needs a mapping from label to number"),
    (
        {"condition_ratio": {"i": math.inf, "u": 1}},
        "condition_ratio['i']=inf needs a finite number that is not negative",
    ),
    ({"condition_ratio": {"i": 0, "u": 0}}, "condition_ratio={'i': 0, 'u': 0} needs at least one number above 0"),
    (
        {"condition_ratio": {"i": 1, "u": 1, "zzz": 1}},
        "condition_ratio names 'zzz', which no anchor has; they have 'i', 'u'",
    ),
    (
        {"condition_ratio": {"i": 1}},
        (
            "condition_ratio={'i': 1} leaves out 'u', but needs a number for every condition of the table "
            "(0 for one that is not to be drawn)"
        ),
    ),
]


@pytest.mark.parametrize(("options", "sentence"), OPTIONS, ids=[str(options) for options, _ in OPTIONS])
def test_of_the_options_of_the_sampler(options: dict[str, Any], sentence: str) -> None:
    """Each names the option, its value and what it needs."""
    assert said(lambda: FlexibleBatchSampler(TABLE, **{"batch_size": 4, **options})) == sentence


def test_of_a_ratio_that_leaves_an_experiment_nothing() -> None:
    """It names the experiment and what it has."""
    table = TABLE.assign(condition=np.where(TABLE["experiment"] == "a", "i", "u"))
    assert said(lambda: FlexibleBatchSampler(table, 4, condition_ratio={"i": 1, "u": 0})) == (
        "condition_ratio={'i': 1, 'u': 0} gives 0 to every condition of experiment 'b'; "
        "one of 'u' needs a number above 0, or the experiment the weight 0"
    )


def test_of_a_label_that_is_misspelt() -> None:
    """It says which one may be meant."""
    table = TABLE.assign(experiment=np.where(TABLE["experiment"] == "a", "alpha", "beta"))
    assert said(lambda: FlexibleBatchSampler(table, 4, experiment_weights={"alpa": 1})) == (
        "experiment_weights names 'alpa', which no anchor has; did you mean 'alpha'?; they have 'alpha', 'beta'"
    )


def test_of_a_table_without_a_row() -> None:
    """It says what is missing."""
    sentence = "valid_anchors has 0 rows, but needs at least one anchor"
    assert said(lambda: FlexibleBatchSampler(TABLE.iloc[:0])) == sentence
    assert said(lambda: FlexibleBatchSampler(TABLE.iloc[:0], drop_last=False)) == sentence


def states() -> Iterator[tuple[Any, str]]:
    """Yield what is no state of the sampler below, each with its sentence."""
    good = FlexibleBatchSampler(TABLE, 4).state_dict()
    needs = "is no sampler state: it needs 'version', 'epoch', 'batches', 'fingerprint'"
    yield None, f"state=None {needs}"
    yield {"fingerprint": 3}, f"state={{'fingerprint': 3}} {needs}"
    lacking = {"version": 1, "fingerprint": {}}
    yield lacking, f"state={lacking!r} is no sampler state: it lacks 'epoch', 'batches'"
    yield {**good, "version": 2}, "state has version 2, but this sampler reads 1"
    other = {**good, "fingerprint": {**good["fingerprint"], "seed": 5, "batch_size": 8}}
    differences = "(batch_size was 8 and is 4, seed was 5 and is 0)"
    belongs = f"state belongs to another table or other options {differences}"
    yield other, f"{belongs}, but needs those that it was taken with"
    yield {**good, "epoch": -1}, "epoch=-1 needs a whole number of at least 0"
    yield {**good, "batches": -1}, "batches=-1 needs a whole number of at least 0"


@pytest.mark.parametrize("case", range(7))
def test_of_states_that_are_none(case: int) -> None:
    """The sampler says what is wrong with the state, and stays as it is."""
    state, sentence = list(states())[case]
    made = FlexibleBatchSampler(TABLE, 4)
    before = made.state_dict()
    assert said(lambda: made.load_state_dict(state)) == sentence
    assert made.state_dict() == before


def test_of_numbers_of_batches_and_epochs() -> None:
    """They name the argument."""
    made = FlexibleBatchSampler(TABLE, 4)
    assert said(lambda: made.batch(-1)) == "i=-1 needs a whole number of at least 0"
    assert said(lambda: made.batch(0, epoch=-2)) == "epoch=-2 needs a whole number of at least 0"
    assert said(lambda: made.explain(1.5)) == "i=1.5 needs a whole number of at least 0"  # type: ignore[arg-type]
    assert said(lambda: made.explain(0, epoch=True)) == "epoch=True needs a whole number of at least 0"
    assert said(lambda: made.set_epoch(-1)) == "epoch=-1 needs a whole number of at least 0"


# --- hours, frames, tracks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hours", "sentence"),
    [
        ((2.0, 0.5), "tau_range is (2.0, 0.5), but needs the smaller number of hours first"),
        ((-1.0, 2.0), "tau_range is (-1.0, 2.0), but needs hours that are not negative"),
        ((0.5, math.nan), "tau_range is (0.5, nan), but needs two finite numbers of hours, (min, max)"),
        ("12", "tau_range is '12', but needs two finite numbers of hours, (min, max)"),
        ((0.5, "x"), "tau_range is (0.5, 'x'), but needs two finite numbers of hours, (min, max)"),
    ],
)
def test_of_a_range_of_hours(hours: Any, sentence: str) -> None:
    """It quotes the range."""
    assert said(lambda: hours_range(hours)) == said(lambda: frames_in_range(30, hours)) == sentence


def test_of_a_draw_of_an_offset() -> None:
    """It names the range or the rate."""
    assert said(lambda: tau_weights([1], 3, 2)) == "tau_min=3 and tau_max=2, but they need 0 <= tau_min <= tau_max"
    assert said(lambda: tau_weights([1], -1, 2)) == "tau_min=-1 and tau_max=2, but they need 0 <= tau_min <= tau_max"
    for rate in (-701.0, math.inf):
        assert said(lambda: tau_weights([1], 1, 2, rate)) == (  # noqa: B023 - called at once
            f"tau_decay_rate is {rate!r}, but needs a finite number, at least -700.0, "
            "because exp(700) = 1e+304 is the largest weight"
        )
    assert tau_weights([1], 1, 2, -700.0).tolist() == [1.0]


def test_of_tracks_that_cannot_be_ordered() -> None:
    """A circle is shown; frames that cannot be numbered are told with what they are multiplied by."""
    assert said(lambda: Forest.from_parents([1, 2, 0, 0, -1])) == (
        "parent needs to lead every track to a founder, but goes in a circle at [0, 1, 2]"
    )
    assert said(lambda: Forest.from_parents([*range(1, 8), 0])) == (
        "parent needs to lead every track to a founder, but goes in a circle at [0, 1, 2, 3, 4]"
    )
    forest = Forest.from_parents([-1] * 4)
    assert said(lambda: Descent.of_rows([0, 1], [0, 2**62], [0, 1], forest)) == (
        f"t needs to be a frame number, got up to {2**62}: 2 FOVs of so many frames with "
        "4 tracks cannot be numbered in 64 bits"
    )


# --- loss and augmentation --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"temperature": 0.0}, "temperature=0.0 must be a finite number above 0"),
        ({"temperature": math.inf}, "temperature=inf must be a finite number above 0"),
        ({"beta": -0.5}, "beta=-0.5 must be a finite number from 0 to 1e+30"),
        ({"tau_plus": 1.0}, "tau_plus=1.0 must be a number in [0, 1)"),
        ({"tau_plus": -0.1}, "tau_plus=-0.1 must be a number in [0, 1)"),
        ({"beta_on": "zzz"}, "beta_on='zzz' must be 'cosine' or 'logit'"),
        ({"beta_on": "cosin"}, "beta_on='cosin' must be 'cosine' or 'logit'; did you mean 'cosine'?"),
    ],
)
def test_of_the_options_of_the_loss(options: dict[str, Any], sentence: str) -> None:
    """Each names the parameter, its value and its range."""
    assert said(lambda: NTXentHCL(**options)) == sentence


ONES, CODES = torch.ones(3, 2), torch.tensor([0, 0, 1])
BATCHES: list[tuple[dict[str, Any], str]] = [
    ({}, "labels=None needs an indices_tuple that says which pairs to compare"),
    ({"embeddings": torch.ones(3), "labels": CODES}, "embeddings of shape (3,) must have the shape (rows, features)"),
    (
        {"labels": CODES, "ref_emb": torch.ones(3), "ref_labels": CODES},
        "ref_emb of shape (3,) must have the shape (rows, features)",
    ),
    ({"labels": CODES[:2]}, "labels of shape (2,) must have the shape (3,), one code per row of embeddings"),
    (
        {"labels": CODES, "lineage": CODES[:2]},
        "lineage of shape (2,) must have the shape (3,), one code per row of embeddings",
    ),
    (
        {"labels": CODES, "ref_emb": ONES, "ref_labels": CODES[:2]},
        "ref_labels of shape (2,) must have the shape (3,), one code per row of ref_emb",
    ),
    (
        {"labels": CODES, "ref_emb": ONES, "ref_labels": CODES, "lineage": CODES, "ref_lineage": CODES[:1]},
        "ref_lineage of shape (1,) must have the shape (3,), one code per row of ref_emb",
    ),
    (
        {"labels": CODES, "lineage": CODES, "ref_emb": ONES},
        "ref_labels=None needs an indices_tuple, or the labels of ref_emb",
    ),
    ({"labels": CODES}, "lineage=None must be a tensor of codes, because mask_same_lineage=True"),
    (
        {"labels": CODES, "lineage": CODES, "ref_emb": ONES, "ref_labels": CODES},
        "ref_lineage=None must be a tensor of codes, because mask_same_lineage=True",
    ),
    (
        {"indices_tuple": (CODES, CODES), "lineage": CODES},
        (
            "indices_tuple has 2 tensors, but needs 3 (anchors, positives, negatives) "
            "or 4 (anchors, positives, anchors, negatives)"
        ),
    ),
]


@pytest.mark.parametrize(("batch", "sentence"), BATCHES, ids=[sentence[:40] for _, sentence in BATCHES])
def test_of_the_batches_of_the_loss(batch: dict[str, Any], sentence: str) -> None:
    """Each names the tensor and what it needs."""
    loss = NTXentHCL(mask_same_lineage=True)
    assert said(lambda: loss(**{"embeddings": ONES, **batch})) == sentence


def test_of_a_distance_that_is_not_the_cosine() -> None:
    """It shows the distance."""
    from pytorch_metric_learning.distances import LpDistance

    distance = LpDistance()
    assert said(lambda: NTXentHCL(distance=distance)) == (
        f"distance={distance!r} is not supported: NTXentHCL needs the default, CosineSimilarity()"
    )


def test_of_channel_dropout() -> None:
    """It names the channels, or the probability."""
    assert said(lambda: ChannelDropout("01")) == "channels='01' must be a list of distinct integers from 0 on"  # type: ignore[arg-type]
    assert said(lambda: ChannelDropout([0], -0.5)) == "p=-0.5 must be a probability in [0, 1]"
    for shape in ((1, 2), (3,)):
        assert said(lambda: ChannelDropout([2, 0])(torch.ones(shape))) == (  # noqa: B023 - called at once
            f"channels=[2, 0] are not all in a batch of shape {shape}, "
            "which must be (samples, channels, ...) with more channels than the largest position"
        )


# --- registry, index, dataset, data module ----------------------------------------------------------------------------


def test_of_the_registry(tmp_path: Path) -> None:
    """They name what there is."""
    registry = ExperimentRegistry.from_yaml(write_registry(two_experiments(tracks=3, size=(8, 8)), tmp_path))
    there = "there is no experiment {}; there are 'exp_alpha', 'exp_beta'"
    assert said(lambda: registry.get_experiment("zzz")) == there.format("'zzz'")
    hint = did_you_mean("exp_beto", registry.names)
    assert "exp_beta" in hint
    for ask in (registry.get_experiment, registry.positions, lambda name: registry.condition_of(name, "A/1")):
        assert said(lambda: ask("exp_beto")) == there.format("'exp_beto'") + hint  # noqa: B023 - called at once
    assert said(lambda: registry.tau_range_frames("zzz", (1, 2))) == there.format("'zzz'")
    assert said(lambda: registry.subset(["exp_beta", "zzz"])) == there.format("'zzz'")
    assert said(lambda: registry.subset(["zzz", 3])) == there.format("3")  # type: ignore[list-item]
    assert said(lambda: registry.subset([])) == (
        "the registry has 1 problem:\n  - names is empty, but a subset needs at least one experiment"
    )
    assert said(lambda: registry.condition_of("exp_beta", "Z/9")) == (
        "no condition of experiment 'exp_beta' names the well 'Z/9'; the wells are 'A/1', 'B/1'"
    )
    assert said(lambda: registry.tau_range_frames("exp_beta", [0.1, 0.2])) == (
        "experiment 'exp_beta': at interval_minutes=30.0 no whole number of frames, "
        "at least 1, lies in tau_range=(0.1, 0.2) hours"
    )
    one = registry.get_experiment("exp_beta")
    needs = "but needs a list of experiments"
    assert said(lambda: ExperimentRegistry("zzz")) == f"experiments is 'zzz', {needs}"  # type: ignore[arg-type]
    assert said(lambda: ExperimentRegistry(3)) == f"experiments is 3, {needs}"  # type: ignore[arg-type]
    assert said(lambda: ExperimentRegistry({"name": "x"})) == (  # type: ignore[arg-type]
        f"experiments is {{'name': 'x'}}, {needs}; put the one experiment in a list"
    )
    assert said(lambda: ExperimentRegistry(one)).endswith(f"{needs}; put the one experiment in a list")  # type: ignore[arg-type]
    place = tmp_path / "no" / "such" / "folder" / "registry.yml"
    (tmp_path / "no").write_text("a file")
    assert said(lambda: registry.to_yaml(place)) == f"the file {str(place)!r} cannot be written: Not a directory"


def test_of_the_dataset(tmp_path: Path) -> None:
    """They name the range, or the index."""
    registry = ExperimentRegistry.from_yaml(write_registry(two_experiments(tracks=3, size=(8, 8)), tmp_path))
    index = MultiExperimentIndex(registry, slice(0, 1), (4, 4))
    assert said(lambda: MultiExperimentTripletDataset(index, tau_range_hours=(1.0, 2.0))) == (
        "tau_range_hours is (1.0, 2.0), but needs to be the index's own (0.5, 2.0), "
        "which decided which rows are anchors"
    )
    dataset = MultiExperimentTripletDataset(index)
    size = len(dataset)
    for wrong in (-1, size):
        sentence = f"index {wrong} is out of range, but needs to lie in [0, {size})"
        assert said(lambda: dataset.__getitems__([0, wrong])) == sentence  # noqa: B023 - called at once
        assert said(lambda: dataset.positives([wrong, -5])) == sentence  # noqa: B023
    dataset = MultiExperimentTripletDataset(index, fit=False)
    assert said(lambda: dataset.positives([0])) == "fit is False, but positives need a dataset with fit=True"


MODULE: list[tuple[dict[str, Any], str]] = [
    ({"experiments_yaml": None}, "experiments_yaml is None, but needs the path of a YAML file"),
    ({"z_range": (0, 1, 2)}, "z_range=(0, 1, 2) needs two whole numbers"),
    ({"yx_patch_size": (16.0, 16)}, "yx_patch_size=(16.0, 16) needs two whole numbers of at least 1"),
    ({"yx_patch_size": (16, True)}, "yx_patch_size=(16, True) needs two whole numbers of at least 1"),
    ({"final_yx_patch_size": "12"}, "final_yx_patch_size='12' needs two whole numbers"),
    *(
        (
            {"final_yx_patch_size": size},
            f"final_yx_patch_size is {size}, but needs to be at least 1 and to fit into yx_patch_size, (16, 14)",
        )
        for size in ((0, 12), (12, 0), (17, 12), (12, 15))
    ),
    (
        {"val_experiments": None},
        "val_experiments is None, but needs a list of names; use [] to train without validating",
    ),
    ({"tau_range": 0.5}, "tau_range is 0.5, but needs two finite numbers of hours, (min, max)"),
    ({"batch_size": 0}, "batch_size=0 needs a whole number of at least 1"),
    ({"batch_size": True}, "batch_size=True needs a whole number of at least 1"),
    ({"num_workers": -1}, "num_workers=-1 needs a whole number of at least 0"),
    ({"num_workers": 0.5}, "num_workers=0.5 needs a whole number of at least 0"),
    (
        {"channel_dropout_channels": "1"},
        "channel_dropout_channels is '1', but needs a list of source positions; use [] to drop none",
    ),
]


@pytest.mark.parametrize(("options", "sentence"), MODULE, ids=[sentence[:50] for _, sentence in MODULE])
def test_of_the_options_of_the_data_module(options: dict[str, Any], sentence: str) -> None:
    """Each names the option, its value and what it needs."""
    good = {
        "experiments_yaml": "experiments.yml",
        "z_range": (0, 1),
        "yx_patch_size": (16, 14),
        "final_yx_patch_size": (12, 14),
        "val_experiments": [],
    }
    assert said(lambda: MultiExperimentDataModule(**{**good, **options})) == sentence


def test_of_the_stages_of_the_data_module(tmp_path: Path) -> None:
    """They say what to do instead."""
    path = write_registry(two_experiments(tracks=3, size=(8, 8), frames=3), tmp_path)

    def data(**options: Any) -> MultiExperimentDataModule:
        given = {"val_experiments": ["exp_beta"], "batch_size": 2, **options}
        return MultiExperimentDataModule(path, (0, 1), (8, 8), (8, 8), **given)

    for stage in ("test", "training", None):
        assert said(lambda stage=stage: data().setup(stage)) == (
            f"stage={stage!r} needs to be 'fit', 'validate' or 'predict'; there are no test data: hold experiments out "
            "with val_experiments and use the stage 'validate'"
        )
    assert said(lambda: data().test_dataloader()) == "there are no test data; use the stage 'validate'"
    assert said(lambda: data(val_experiments=[]).setup("validate")) == (
        "val_experiments is empty, but the stage 'validate' needs at least one experiment"
    )
    assert said(lambda: data(channel_dropout_channels=[0, 2]).setup("fit")) == (
        "channel_dropout_channels has 2, but the experiments have 2 source "
        "channels, numbered from 0 to 1; use [] to drop none"
    )
    assert said(lambda: data().train_dataloader()) == "the loader of stage 'fit' needs setup('fit') first"
    assert said(lambda: data().predict_dataloader()) == "the loader of stage 'predict' needs setup('predict') first"
    assert said(lambda: data().val_dataloader()) == "the loader of stage 'fit' needs setup('fit') first"
    for stage, held_out, name, purpose in (
        ("validate", ["exp_beta"], "exp_beta", "validate"),
        ("fit", ["exp_beta"], "exp_alpha", "train"),
    ):
        refused = said(
            lambda stage=stage, held_out=held_out: data(tau_range=(1.5, 2.0), val_experiments=held_out).setup(stage)
        )
        assert refused == (
            f"the experiments to {purpose} on, '{name}', need at least one anchor with a positive in "
            "tau_range=(1.5, 2.0) hours, but have none"
        )
