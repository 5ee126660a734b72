"""The data module without a trainer: splits, loaders, transforms, and every mistake in words."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import yaml
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from jsonargparse import ArgumentParser
from lightning.pytorch.trainer.states import TrainerFn
from made_batches import raw_batch
from monai.data import ThreadDataLoader
from monai.transforms import Compose, DeleteItemsd, Lambdad, RandShiftIntensityd, SelectItemsd

from dynaclr.datamodule import MultiExperimentDataModule
from dynaclr.dataset import EpochIndices, MultiExperimentTripletDataset
from dynaclr.errors import DynaclrError
from dynaclr.experiment import ExperimentRegistry
from dynaclr.sampler import FlexibleBatchSampler
from dynaclr.transforms import NormalizeSampled, RandAffined
from dynaclr_strategies.descriptions import RegistryDescription
from dynaclr_strategies.ready_made import two_experiments
from dynaclr_strategies.writers import write_registry

TWO_WELLS: dict[str, Any] = {"wells": ("A/1", "B/1"), "conditions": ("uninfected", "infected"), "tracks": 3}


@contextmanager
def written(description: RegistryDescription | None = None, **options: Any) -> Iterator[Path]:
    """Write a registry to a folder that lives as long as the block, and return its YAML file."""
    with tempfile.TemporaryDirectory() as folder:
        yield write_registry(description or two_experiments(**{**TWO_WELLS, **options}), Path(folder))


def make_data(registry: Path, **options: Any) -> MultiExperimentDataModule:
    """Return a data module of small patches."""
    defaults: dict[str, Any] = {
        "z_range": (0, 1),
        "yx_patch_size": (16, 16),
        "final_yx_patch_size": (12, 12),
        "val_experiments": ["exp_beta"],
        "batch_size": 4,
    }
    return MultiExperimentDataModule(registry, **{**defaults, **options})


# --- splits and loaders ------------------------------------------------------------------------------------


def test_each_side_of_the_split_has_its_experiments() -> None:
    """Training reads exp_alpha through the sampler, validation each anchor of exp_beta once."""
    with written() as registry:
        data = make_data(registry, seed=3, num_workers=2)
        data.setup("fit")
        train, val = data.train_dataloader(), data.val_dataloader()
        assert data.train_index is not None
        assert data.val_index is not None
        assert data.train_index.registry.names == ("exp_alpha",)
        assert data.val_index.registry.names == ("exp_beta",)
        assert isinstance(train, ThreadDataLoader)
        assert isinstance(val, ThreadDataLoader)
        assert isinstance(train.batch_sampler, FlexibleBatchSampler)
        assert train.batch_sampler is data.train_sampler is data.train_dataloader().batch_sampler
        assert train.num_workers == 2
        assert train.batch_sampler.seed == 3
        seen = [i for indices in val.batch_sampler for i in indices]  # type: ignore[union-attr]
        assert sorted(seen) == list(range(len(data.val_index.valid_anchors)))
        assert [len(batch["anchor"]) for batch in train] == [4] * len(train)


@pytest.mark.parametrize("batch_size", [2, 4, 8])
def test_validation_batches_have_true_negatives(batch_size: int) -> None:
    """As many cells as fit, from all wells, though the index has one cell after the other."""
    with written() as registry:
        data = make_data(registry, batch_size=batch_size)
        data.setup("validate")
        assert data.val_index is not None
        anchors, loader = data.val_index.valid_anchors, data.val_dataloader()
        batches = [anchors.iloc[rows] for rows in loader.batch_sampler]  # type: ignore[union-attr]
        cells = anchors["global_track_id"].nunique()
        longest = anchors["global_track_id"].value_counts().max()
        for batch in batches:
            assert batch["global_track_id"].nunique() > 1
            assert len(batches) < longest or batch["global_track_id"].is_unique
            assert batch_size < cells or batch["well_name"].nunique() == anchors["well_name"].nunique()


def test_every_option_of_sampling_reaches_the_sampler() -> None:
    """None is swallowed on the way."""
    options: dict[str, Any] = {
        "experiment_aware": True,
        "leaky": 0.25,
        "temporal_enrichment": True,
        "temporal_window_hours": 1.5,
        "temporal_global_fraction": 0.5,
        "experiment_weights": {"exp_alpha": 1, "exp_beta": 3},
        "condition_ratio": {"uninfected": 1, "infected": 2},
        "exclusive_by": "lineage_id",
        "seed": 7,
    }
    with written() as registry:
        data = make_data(registry, val_experiments=[], **options)
        data.setup("fit")
        assert data.train_index is not None
        assert data.train_sampler is not None
        wanted = FlexibleBatchSampler(data.train_index.valid_anchors, 4, num_replicas=1, rank=0, **options)
        assert data.train_sampler.state_dict() == wanted.state_dict()
        assert list(data.train_sampler) == list(wanted)


def test_every_option_of_the_dataset_reaches_it() -> None:
    """Positives are drawn with the rate and the seed that were given."""
    with written() as registry:
        data = make_data(registry, val_experiments=[], tau_decay_rate=-3.0, seed=7, cache_pool_bytes=11)
        data.setup("fit")
        assert data.train_index is not None
        seen = data.train_dataloader().dataset
        for options in ({"seed": 7}, {"tau_decay_rate": -3.0}, {"tau_decay_rate": -3.0, "seed": 7}):
            wanted = MultiExperimentTripletDataset(data.train_index, cache_pool_bytes=11, **options)
            anchors = list(range(len(wanted)))
            same = [
                np.array_equal(
                    seen.positives(EpochIndices(anchors, epoch)), wanted.positives(EpochIndices(anchors, epoch))
                )
                for epoch in range(8)
            ]
            assert all(same) is (len(options) == 2)
        assert data.registry is not None
        assert make_data(registry).registry is make_data(registry).train_sampler is None


def test_smallest_numbers_are_taken() -> None:
    """One crop of one pixel, one anchor, no worker; a slice as the planes."""
    data = make_data(
        Path("unused.yml"),
        z_range=slice(0, 1),
        yx_patch_size=(1, 1),
        final_yx_patch_size=(1, 1),
        batch_size=1,
        num_workers=0,
    )
    assert data.z_range == slice(0, 1)
    assert (data.final_yx_patch_size, data.batch_size, data.num_workers) == ((1, 1), 1, 0)
    wide = make_data(Path("unused.yml"), yx_patch_size=(9, 5), final_yx_patch_size=(8, 4))
    assert wide.final_yx_patch_size == (8, 4)


def test_sampling_may_group_by_what_the_registry_says() -> None:
    """Two experiments of one organelle share a batch, and conditions are told apart by their MOI."""
    with written() as registry:
        content = yaml.safe_load(registry.read_text())
        for experiment, moi in zip(content["experiments"], (0.5, 2.0), strict=True):
            experiment.update(organelle="mitochondria", moi=moi)
        registry.write_text(yaml.safe_dump(content))
        options: dict[str, Any] = {"val_experiments": [], "batch_size": 8, "leaky": 0.0, "condition_balanced": True}
        data = make_data(registry, group_by=["organelle"], stratify_by=["condition", "moi"], **options)
        data.setup("fit")
        assert data.train_index is not None
        assert data.train_sampler is not None
        anchors = data.train_index.valid_anchors
        for batch in data.train_sampler:
            assert anchors.iloc[batch].groupby(["condition", "moi"], observed=True).size().tolist() == [2, 2, 2, 2]
        with pytest.raises(DynaclrError, match="organele"):
            make_data(registry, group_by="organele", **options).setup("fit")


def test_wells_and_fovs_may_concern_one_side_only() -> None:
    """An entry of the training experiments is no mistake of the validation index, and the other way round.

    Predictions are made of what either side keeps.
    """
    with written(fovs=2) as registry:
        data = make_data(
            registry,
            include_wells=["exp_alpha:A/1", "exp_beta:B/1", "exp_beta:A/1"],
            exclude_fovs=["exp_beta:A/1/1", "exp_alpha:A/1/0"],
        )
        data.setup("fit")
        assert data.train_index is not None
        assert data.val_index is not None
        assert sorted(data.train_index.tracks["fov_name"].unique()) == ["A/1/1"]
        assert sorted(data.val_index.tracks["fov_name"].unique()) == ["A/1/0", "B/1/0", "B/1/1"]
        data.setup("predict")
        assert data.predict_index is not None
        both = data.predict_index.tracks.groupby("experiment", observed=True)["fov_name"]
        assert {name: sorted(fovs.unique()) for name, fovs in both} == {
            "exp_alpha": ["A/1/1"],
            "exp_beta": ["A/1/0", "B/1/0", "B/1/1"],
        }


_FOVS = [(name, f"{well}/{fov}") for name in ("exp_alpha", "exp_beta") for well in ("A/1", "B/1") for fov in "01"]
_ENTRIES = st.sampled_from(
    sorted({before + place for name, fov in _FOVS for before in ("", f"{name}:") for place in (fov, fov[:3])})
)


def _means(entry: str, name: str, fov: str) -> bool:
    """Tell whether an entry names a FOV, as the specification says it."""
    whose, _, place = entry.rpartition(":")
    return whose in ("", name) and place in (fov, fov[:3])


@settings(max_examples=max(10, settings().max_examples // 4))
@given(include=st.none() | st.lists(_ENTRIES, min_size=1, max_size=3), exclude=st.lists(_ENTRIES, max_size=2))
@example(include=["exp_alpha:A/1", "exp_beta:B/1"], exclude=["exp_beta:B/1/0"])
def test_every_stage_keeps_to_the_wells_and_fovs_that_were_asked_for(
    include: list[str] | None, exclude: list[str]
) -> None:
    """Training, validation and predictions: an experiment that no entry is about stays whole."""
    kept: dict[str, set[str]] = {"exp_alpha": set(), "exp_beta": set()}
    for name, fov in _FOVS:
        about = [entry for entry in include or () if entry.rpartition(":")[0] in ("", name)]
        if (not about or any(_means(entry, name, fov) for entry in about)) and not any(
            _means(entry, name, fov) for entry in exclude
        ):
            kept[name].add(fov)
    assume(all(kept.values()))
    with written(fovs=2, frames=3, size=(16, 16)) as registry:
        data = make_data(
            registry,
            yx_patch_size=(8, 8),
            final_yx_patch_size=(8, 8),
            batch_size=1,
            include_wells=include,
            exclude_fovs=exclude,
        )
        data.setup("fit")
        data.setup("predict")
        parts = [(data.train_index, ["exp_alpha"]), (data.val_index, ["exp_beta"]), (data.predict_index, list(kept))]
        for index, names in parts:
            assert index is not None
            found = index.tracks.groupby("experiment", observed=True)["fov_name"]
            assert {name: set(fovs) for name, fovs in found} == {name: kept[name] for name in names}


@pytest.mark.parametrize("stage", ["fit", "validate", "predict"])
def test_keys_that_no_batch_has_are_refused_before_training(stage: str) -> None:
    """Also in a container; but not where a transform of somebody else may have made them, or they may be missing."""
    wrong = RandAffined(["ch_0", "Phase3D"])
    added = [lambda sample: {**sample, "Phase3D": sample["ch_0"]}, wrong]
    with written() as registry:
        for options in ({"augmentations": [wrong]}, {"normalizations": [Compose([wrong])]}):
            with pytest.raises(
                DynaclrError, match=r"keys of RandAffined have 'Phase3D', but need .* \['ch_0', 'ch_1'\]"
            ):
                make_data(registry, **options).setup(stage)
        make_data(registry, augmentations=added).setup(stage)
        make_data(registry, augmentations=[RandAffined(["ch_0", "ch_7"], allow_missing_keys=True)]).setup(stage)


def test_predictions_need_no_positive() -> None:
    """Frames may lie further apart than positives may: that is a mistake where positives are drawn only."""
    with written(interval_minutes=(30.0, 240.0)) as registry:
        data = make_data(registry, tau_range=(0.5, 2.0))
        for stage in ("fit", "validate"):
            with pytest.raises(DynaclrError, match=r"'exp_beta'.*240"):
                data.setup(stage)
        data.setup("predict")
        assert data.predict_index is not None
        rows = [row for batch in data.predict_dataloader() for row in batch["index"]]
        assert len(rows) == len(data.predict_index.tracks)
        assert {row["experiment"] for row in rows} == {"exp_alpha", "exp_beta"}


@pytest.mark.parametrize("stage", ["fit", "validate", "predict"])
def test_what_matches_nothing_anywhere_is_refused(stage: str) -> None:
    """A typing error is found, in whatever stage."""
    with written() as registry:
        for option in ("include_wells", "exclude_fovs"):
            with pytest.raises(DynaclrError, match=f"{option} has 'exp_alpha:C/7', which matches no well and no FOV"):
                make_data(registry, **{option: ["A/1", "exp_alpha:C/7"]}).setup(stage)


# --- mistakes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"final_yx_patch_size": (12, 17)},
            r"final_yx_patch_size is \(12, 17\), but needs to be at least 1 and to fit",
        ),
        ({"final_yx_patch_size": (0, 12)}, r"final_yx_patch_size is \(0, 12\), but needs to be at least 1"),
        ({"yx_patch_size": (16.0, 16)}, r"yx_patch_size=\(16.0, 16\) needs two whole numbers"),
        ({"z_range": (0, 1, 2)}, r"z_range=\(0, 1, 2\) needs two whole numbers"),
        ({"z_range": "01"}, "z_range='01' needs two whole numbers"),
        ({"batch_size": 0}, "batch_size=0 needs a whole number of at least 1"),
        ({"num_workers": -1}, "num_workers=-1 needs a whole number of at least 0"),
        ({"channel_dropout_prob": 1.5}, "1.5"),
        ({"channel_dropout_channels": [-1]}, "-1"),
        ({"channel_dropout_channels": 1}, "channel_dropout_channels is 1, but needs a list of source positions"),
        ({"channel_dropout_channels": None}, "channel_dropout_channels is None, but needs a list of source positions"),
        ({"channel_dropout_channels": "1"}, "channel_dropout_channels is '1', but needs a list of source positions"),
        ({"channel_dropout_prob": None}, "channel_dropout_prob=None must be a probability"),
        ({"val_experiments": None}, r"val_experiments is None, but needs a list of names; use \[\] to train"),
        ({"val_experiments": 3}, "val_experiments is 3, but needs a list of names"),
        ({"include_wells": 5}, r"include_wells is 5, but needs a list of wells or FOVs, such as \['A/1', 'B/1/0'\]"),
        ({"include_wells": [["A/1"]]}, r"include_wells is \[\['A/1'\]\], but needs a list of wells or FOVs"),
        ({"include_wells": "A/1"}, r"include_wells needs a list of wells or FOVs, got the text 'A/1'; write \['A/1'\]"),
        ({"exclude_fovs": iter(["A/1"])}, "exclude_fovs is <.*iterator.*>, but needs a list of wells or FOVs"),
        ({"tau_range": None}, "tau_range is None, but needs two finite numbers of hours"),
        ({"tau_range": 0.5}, "tau_range is 0.5, but needs two finite numbers of hours"),
        ({"normalizations": None}, r"normalizations is None, but needs a list of transforms; use \[\] for none"),
        ({"normalizations": NormalizeSampled(["ch_0"])}, "normalizations is .*, but needs a list of transforms"),
        ({"augmentations": None}, "augmentations is None, but needs a list of transforms"),
        ({"augmentations": "noise"}, "augmentations is 'noise', but needs a list of transforms"),
        ({"augmentations": [1]}, r"augmentations is \[1\], but needs a list of transforms"),
    ],
)
def test_wrong_arguments_are_refused_at_once(options: dict[str, Any], sentence: str) -> None:
    """Before anything is read."""
    with pytest.raises(DynaclrError, match=sentence):
        make_data(Path("there/is/no/such/file.yml"), **options)


@pytest.mark.parametrize("path", [None, 3, ["experiments.yml"]])
def test_a_registry_that_is_no_path_is_refused_at_once(path: Any) -> None:
    """In words."""
    with pytest.raises(DynaclrError, match=r"experiments_yaml is .*, but needs the path of a YAML file"):
        make_data(path)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"val_experiments": ["exp_betta"]},
            "'exp_betta', but the registry has the experiments 'exp_alpha', 'exp_beta'; did you mean 'exp_beta'",
        ),
        ({"val_experiments": "exp_beta"}, r"val_experiments needs a list of names, got 'exp_beta'; write \[exp_beta\]"),
        ({"val_experiments": ["exp_alpha", "exp_beta"]}, "holds out every experiment; training needs at least one"),
        ({"channel_dropout_channels": [0, 2]}, "channel_dropout_channels has 2, but the experiments have 2 source"),
        ({"batch_size": 1000}, "batch_size=1000 is larger than the"),
        ({"tau_range": (0.1, 0.2)}, "no whole number of frames"),
        (
            {"experiment_weights": {"exp_alpha": 1, "exp_beta": 1}},
            "^experiment_weights names 'exp_beta', which val_experiments holds out; .* to train on are 'exp_alpha'$",
        ),
        (
            {"experiment_weights": {"exp_alfa": 1}},
            "^experiment_weights names 'exp_alfa', but .* to train on are 'exp_alpha'; did you mean 'exp_alpha'",
        ),
        ({"group_by": "organelle", "experiment_weights": {"x": 1}}, "experiment_weights names 'x', which no anchor"),
        ({"leaky": 1.0}, "leaky"),
        ({"z_range": (0, 2)}, "z_range"),
        ({"normalizations": [NormalizeSampled(["ch_1"])]}, "'GFP'.*missing in .*dynaclr preprocess"),
    ],
)
def test_wrong_options_are_refused_before_training(options: dict[str, Any], sentence: str) -> None:
    """In setup, with the names that would do."""
    with written() as registry, pytest.raises(DynaclrError, match=sentence):
        make_data(registry, **options).setup("fit")


def test_a_validation_experiment_without_an_anchor_is_refused() -> None:
    """Otherwise validation would silently not happen."""
    both = two_experiments(**TWO_WELLS)
    beta = both.experiments[1]
    fov = replace(beta.wells[0].fovs[0], tracks=(replace(beta.wells[0].fovs[0].tracks[0], frames=(0,)),))
    wells = tuple(replace(well, fovs=(fov,)) for well in beta.wells)
    description = replace(both, experiments=(both.experiments[0], replace(beta, wells=wells)))
    with written(description) as registry:
        with pytest.raises(DynaclrError, match="the experiments to validate on, 'exp_beta', need at least one anchor"):
            make_data(registry).setup("fit")
        with pytest.raises(DynaclrError, match="the experiments to train on, 'exp_beta', need at least one anchor"):
            make_data(registry, val_experiments=["exp_alpha"]).setup("fit")


def test_an_experiment_without_an_anchor_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    """It would be missing from training, or from validation, and nobody would know."""
    gone = two_experiments(**TWO_WELLS)
    alpha, beta = gone.experiments
    fov = replace(beta.wells[0].fovs[0], tracks=(replace(beta.wells[0].fovs[0].tracks[0], frames=(0,)),))
    short = replace(beta, wells=tuple(replace(well, fovs=(fov,)) for well in beta.wells))
    again = replace(alpha, name="exp_gamma")
    with written(replace(gone, experiments=(alpha, short, again))) as registry:
        make_data(registry, val_experiments=["exp_gamma"]).setup("fit")
        make_data(registry, val_experiments=["exp_beta", "exp_gamma"]).setup("fit")
    sentence = "experiment 'exp_beta' has no anchor with a positive in tau_range=(0.5, 2.0) hours, "
    assert [record.getMessage() for record in caplog.records if record.name == "dynaclr.splits"] == [
        sentence + "so there is nothing of it to train on",
        sentence + "so there is nothing of it to validate on",
    ]


def test_conditions_without_an_anchor_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    """Others would be balanced without them; in the order of the table, and not of what has anchors."""
    names = ("c", "a", "d", "b")
    both = two_experiments(wells=("A/1", "A/2", "A/3", "A/4"), conditions=names, tracks=3)
    alpha, beta = both.experiments
    fov = alpha.wells[0].fovs[0]
    short = replace(fov, tracks=(replace(fov.tracks[0], frames=(0,)),))
    wells = tuple(replace(well, fovs=(short,)) for well in alpha.wells[:3])
    with written(replace(both, experiments=(replace(alpha, wells=(*wells, alpha.wells[3])), beta))) as registry:
        make_data(registry).setup("fit")
    assert [record.getMessage() for record in caplog.records if record.name == "dynaclr.splits"] == [
        f"condition {name!r} of experiment 'exp_alpha' has no anchor with a positive in tau_range=(0.5, 2.0) hours, so "
        "there is nothing of it to train on"
        for name in names[:3]
    ]


def test_what_was_prepared_is_not_read_again(caplog: pytest.LogCaptureFixture) -> None:
    """Registry and tracks are read once, and their warnings are told once; a later setup reads them anew."""
    with written() as registry:
        content = yaml.safe_load(registry.read_text())
        del content["experiments"][0]["condition_wells"]["infected"]
        registry.write_text(yaml.safe_dump(content))
        data = make_data(registry)
        data.prepare("fit")
        prepared = data._prepared
        assert prepared is not None
        data.setup("fit")
        assert (data.registry, data.train_index, data.val_index, data.train_sampler) == (
            *(prepared.registry, prepared.train, prepared.val, prepared.sampler),
        )
        assert sum("wells left out" in message for message in caplog.messages) == 1
        data.setup("fit")
        assert sum("wells left out" in message for message in caplog.messages) == 2
        for stage in ("validate", "predict"):
            data.prepare(stage)
            prepared = data._prepared
            assert prepared is not None
            data.setup(stage)
            assert isinstance(data.registry, ExperimentRegistry)
            assert data.registry is prepared.registry
            assert (prepared.val or prepared.predict) is (data.val_index if stage == "validate" else data.predict_index)


def test_patches_need_not_be_square() -> None:
    """Height and width are compared each with its own."""
    for final in ((4, 12), (8, 16)):
        assert make_data(Path("x.yml"), yx_patch_size=(8, 16), final_yx_patch_size=final).final_yx_patch_size == final
    for final in ((12, 4), (4, 17)):
        with pytest.raises(DynaclrError, match=r"to fit into yx_patch_size, \(8, 16\)"):
            make_data(Path("x.yml"), yx_patch_size=(8, 16), final_yx_patch_size=final)


def test_what_was_refused_is_read_anew(caplog: pytest.LogCaptureFixture) -> None:
    """It may be mended in the file; what was prepared before it is not taken for it."""
    with written() as registry:
        data = make_data(registry)
        data.prepare("fit")
        data.val_experiments = ["exp_gamma"]
        for _ in range(2):
            with pytest.raises(DynaclrError, match="exp_gamma"):
                data.prepare("fit")
        with pytest.raises(DynaclrError, match="exp_gamma"):
            data.setup("fit")
        assert not caplog.messages


def test_what_was_prepared_for_another_stage_is_not_taken() -> None:
    """Nor later, for its own."""
    with written() as registry:
        data = make_data(registry)
        data.prepare("fit")
        data.setup("predict")
        assert data.train_index is None
        assert data.predict_index is not None
        assert data._prepared is None


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, False),
        ({"group_by": ["experiment", "organelle"]}, False),
        ({"leaky": 0.25}, True),
        ({"experiment_aware": False}, True),
        ({"group_by": "organelle"}, True),
        ({"leaky": 0.25, "include_wells": ["exp_alpha:A/1", "exp_gamma:B/1", "exp_beta:A/1"]}, False),
    ],
)
def test_one_cell_in_two_experiments_is_told_of(
    options: dict[str, Any], told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Where batches mix them, it may be its own negative, and no mask of lineages knows."""
    with written() as registry:
        content = yaml.safe_load(registry.read_text())
        content["experiments"].append({**content["experiments"][0], "name": "exp_gamma"})
        registry.write_text(yaml.safe_dump(content))
        make_data(registry, val_experiments=["exp_beta"], **options).setup("fit")
    messages = [record.getMessage() for record in caplog.records if record.name == "dynaclr.splits"]
    assert [message.split(":")[0] for message in messages] == (
        ["experiments 'exp_alpha' and 'exp_gamma' have 2 FOVs of one store in common"] if told else []
    )


def test_one_cell_held_out_in_two_experiments_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    """Validation mixes the experiments held out, whatever training does."""
    with written() as registry:
        content = yaml.safe_load(registry.read_text())
        content["experiments"].append({**content["experiments"][0], "name": "exp_gamma"})
        registry.write_text(yaml.safe_dump(content))
        make_data(registry, val_experiments=["exp_alpha", "exp_gamma"]).setup("validate")
    assert [record.getMessage() for record in caplog.records if record.name == "dynaclr.splits"] == [
        (
            "experiments 'exp_alpha' and 'exp_gamma' have 2 FOVs of one store in common: a batch with both may hold "
            "one cell as its own negative; name one of them in val_experiments"
        )
    ]


def test_transforms_for_single_images_are_told_of_before_training(caplog: pytest.LogCaptureFixture) -> None:
    """They would do the same to all samples of a batch, without a word."""
    with written() as registry:
        make_data(registry, augmentations=[RandShiftIntensityd(["ch_0"], offsets=1.0)]).setup("fit")
    assert sum(message.startswith("RandShiftIntensityd of MONAI takes a batch") for message in caplog.messages) == 1


def test_batches_of_one_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    """Their loss is 0, and looks like success."""
    with written() as registry:
        make_data(registry, batch_size=1).setup("predict")
        assert not caplog.messages
        make_data(registry, batch_size=1).setup("fit")
    assert "batch_size=1: without another anchor in its batch, none has a negative to learn from" in caplog.messages


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("yx_patch_size", (-16, 16)),
        ("z_range", (3, 1)),
        ("leaky", 2),
        ("experiment_aware", "no"),
        ("temporal_window_hours", -1),
        ("temporal_global_fraction", 2),
        ("experiment_weights", {"a": -1}),
        ("condition_ratio", {"a": "1"}),
        ("group_by", []),
        ("exclusive_by", ""),
        ("tau_decay_rate", float("nan")),
        ("cache_pool_bytes", -1),
        ("seed", 0.5),
        ("channel_dropout_prob", 5),
    ],
)
def test_options_are_refused_before_anything_is_read(option: str, value: Any) -> None:
    """When the data module is made, under the name that the user wrote."""
    with pytest.raises(DynaclrError, match=f"^{option}"):
        make_data(Path("nowhere.yml"), **{option: value})


@pytest.mark.parametrize("link", [False, True])
def test_one_store_is_never_on_both_sides(link: bool) -> None:
    """Under two names, nor under two paths."""
    with written() as registry:
        content = yaml.safe_load(registry.read_text())
        alpha = content["experiments"][0]
        if link:
            (registry.parent / "other.zarr").symlink_to(registry.parent / alpha["data_path"], target_is_directory=True)
        again = {**alpha, "name": "exp_gamma", "data_path": "other.zarr" if link else alpha["data_path"]}
        content["experiments"].append(again)
        registry.write_text(yaml.safe_dump(content))
        with pytest.raises(
            DynaclrError, match="val_experiments has 'exp_gamma', but experiment 'exp_alpha', which is trained"
        ):
            make_data(registry, val_experiments=["exp_gamma"]).setup("fit")
        with pytest.raises(DynaclrError, match="val_experiments has 'exp_alpha', but experiment 'exp_gamma', which is"):
            make_data(registry, val_experiments=["exp_alpha"]).setup("fit")
        make_data(registry, val_experiments=["exp_beta"]).setup("fit")


def test_stages_that_cannot_be_are_refused() -> None:
    """Test has no data, validate needs an experiment, and a loader needs its setup."""
    with written() as registry:
        data = make_data(registry, val_experiments=[])
        for stage in ("test", TrainerFn.TESTING):
            with pytest.raises(DynaclrError) as caught:
                data.setup(stage)
            assert str(caught.value) == (
                "stage='test' needs to be 'fit', 'validate' or 'predict'; there are no test data: hold experiments out "
                "with val_experiments and use the stage 'validate'"
            )
        with pytest.raises(DynaclrError, match="there are no test data"):
            data.test_dataloader()
        with pytest.raises(DynaclrError, match=r"^val_experiments is empty, but the stage 'validate' needs"):
            data.setup("validate")
        with pytest.raises(DynaclrError, match=r"the loader of stage 'fit' needs setup\('fit'\) first"):
            data.train_dataloader()
        with pytest.raises(DynaclrError, match=r"the loader of stage 'predict' needs setup\('predict'\) first"):
            data.predict_dataloader()
        with pytest.raises(DynaclrError, match=r"the loader of stage 'fit' needs setup\('fit'\) first"):
            data.val_dataloader()
        data.setup("fit")
        assert data.val_dataloader() == []


def test_a_setup_forgets_the_one_before() -> None:
    """Who changes what is held out does not validate on the old choice."""
    with written() as registry:
        data = make_data(registry)
        data.setup("fit")
        assert data.val_dataloader() != []
        data.val_experiments = []
        data.setup("fit")
        assert data.val_dataloader() == []


@pytest.mark.parametrize(
    "transform",
    [SelectItemsd(["ch_0", "ch_1", "norm_meta"]), Lambdad(["norm_meta"], list), DeleteItemsd("ch.7", use_re=True)],
)
def test_transforms_of_monai_may_name_all_that_a_sample_holds(transform: Any) -> None:
    """Its statistics too; what a pattern means is MONAI's matter."""
    with written() as registry:
        make_data(registry, augmentations=[transform]).prepare("fit")


def test_statistics_are_asked_for_where_they_are_used() -> None:
    """Of the channels that are normalized, in the FOVs that are in use; other gaps do not matter."""
    with written(normalization=True) as registry:
        for fov, channel in (("A/1/0", "GFP"), ("B/1/0", "Phase3D")):
            attributes = registry.parent / "exp_alpha.zarr" / fov / ".zattrs"
            content = json.loads(attributes.read_text())
            del content["normalization"][channel]
            attributes.write_text(json.dumps(content))
        phase = [NormalizeSampled(["ch_0"], "timepoint_statistics", "median", "iqr")]
        make_data(registry, normalizations=phase, include_wells=["exp_alpha:A/1", "exp_beta:A/1"]).setup("fit")
        with pytest.raises(DynaclrError, match="'exp_alpha', channel 'Phase3D': median is missing in 'B/1/0"):
            make_data(registry, normalizations=phase).setup("fit")


def test_missing_statistics_are_told_of_all_transforms_and_of_both_sides() -> None:
    """Who writes them need not come back for more."""
    transforms = [NormalizeSampled(["ch_0"]), NormalizeSampled(["ch_1"], subtrahend="median", divisor="iqr")]
    with written() as registry, pytest.raises(DynaclrError) as caught:
        make_data(registry, normalizations=transforms).setup("fit")
    for experiment, reporter in (("exp_alpha", "GFP"), ("exp_beta", "RFP")):
        for missing in ("'Phase3D': mean is missing", f"{reporter!r}: median is missing"):
            assert f"experiment '{experiment}', channel {missing}" in str(caught.value)


@pytest.mark.parametrize("option", ["normalizations", "augmentations"])
def test_statistics_are_asked_for_inside_containers_too(option: str) -> None:
    """A container of MONAI hides nothing, nor does one inside another."""
    nested = Compose([Compose([NormalizeSampled(["ch_1"])])])
    with written() as registry, pytest.raises(DynaclrError, match=r"'GFP'.*missing in .*dynaclr preprocess"):
        make_data(registry, **{option: [nested]}).setup("fit")


# --- on the device -----------------------------------------------------------------------------------------


def test_hooks_pass_on_what_is_no_batch() -> None:
    """Lightning sends the model's example input through them; a batch keeps its lists as they are."""
    data = make_data(Path("unused.yml"), yx_patch_size=(9, 9), final_yx_patch_size=(5, 5))
    example = torch.ones(1, 2, 1, 9, 9)
    assert data.on_after_batch_transfer(example, 0) is example
    assert torch.equal(data.transfer_batch_to_device(example, torch.device("cpu"), 0), example)
    assert data.transfer_batch_to_device(example, torch.device("meta"), 0).is_meta
    batch = raw_batch(2)
    moved = data.transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert moved["anchor"].is_meta
    assert moved["lineage"].is_meta
    assert moved["anchor_norm_meta"] is batch["anchor_norm_meta"]
    assert data.on_after_batch_transfer(batch, 0)["anchor"].shape == (2, 2, 1, 5, 5)


# --- from YAML ---------------------------------------------------------------------------------------------


def test_a_published_yaml_loads() -> None:
    """Lists for tuples, class paths for transforms, hcl_beta, and paths as text."""
    text = """
    class_path: dynaclr.datamodule.MultiExperimentDataModule
    init_args:
      experiments_yaml: experiments.yml
      z_range: [0, 1]
      yx_patch_size: [16, 16]
      final_yx_patch_size: [12, 12]
      val_experiments: [exp_beta]
      tau_range: [0.5, 2.0]
      hcl_beta: 0.5
      experiment_weights: {exp_alpha: 2}
      channel_dropout_channels: [1]
      normalizations:
        - class_path: dynaclr.transforms.NormalizeSampled
          init_args: {keys: [ch_0], level: fov_statistics, subtrahend: mean, divisor: std}
      augmentations:
        - class_path: dynaclr.transforms.RandGaussianNoised
          init_args: {keys: [ch_0, ch_1], prob: 0.5}
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(MultiExperimentDataModule, "data")
    data = parser.instantiate(parser.parse_object({"data": yaml.safe_load(text)})).data
    assert data.z_range == slice(0, 1)
    assert data.yx_patch_size == (16, 16)
    assert os.fspath(data.experiments_yaml) == "experiments.yml"
    assert isinstance(data.transforms.normalizations[0], NormalizeSampled)
    assert [type(transform).__name__ for transform in data.transforms.augmentations] == ["RandGaussianNoised"]
    assert data.hcl_beta == 0.5


class Told(torch.Tensor):
    """A tensor that notes how it is copied to a device, and stays where it is."""

    copies: ClassVar[list[tuple[torch.device, bool]]] = []

    def to(self, device: torch.device, non_blocking: bool = False) -> Told:  # type: ignore[override]
        """Note it."""
        Told.copies.append((device, non_blocking))
        return self


def test_copies_overlap_on_cuda_only() -> None:
    """Elsewhere the memory could be lent out again while it is still being copied."""
    data = make_data(Path("not/needed.yml"))
    for kind, overlap in (("cpu", False), ("mps", False), ("cuda", True)):
        Told.copies = []
        device = torch.device(kind)
        data.transfer_batch_to_device({"anchor": torch.zeros(1).as_subclass(Told)}, device, 0)
        assert Told.copies == [(device, overlap)]
