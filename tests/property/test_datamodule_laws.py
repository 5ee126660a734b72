"""The data module keeps its laws on drawn registries, with a real trainer, and each law catches what breaks it."""

from __future__ import annotations

from pathlib import Path

import pytest
from datamodule_witnesses import WITNESSES, Witness
from hypothesis import given, settings
from hypothesis.errors import InvalidArgument
from searches import reached, smallest

from dynaclr_strategies.cases import DataModuleCase
from dynaclr_strategies.datamodule_cases import datamodule_cases
from dynaclr_strategies.descriptions import FovDescription, TrackDescription
from dynaclr_strategies.holding import hold
from dynaclr_strategies.invariants import INVARIANTS, InvariantViolation
from dynaclr_strategies.invariants.datamodule_runs import named, oracle_of, set_up
from dynaclr_strategies.law_cases import law_cases
from dynaclr_strategies.sampler_descriptions import SamplerOptions
from dynaclr_strategies.subjects import SUBJECTS, run_law
from dynaclr_strategies.subjects.base import scratch_folder

# Each example writes stores, and those with a trainer run it twice: fewer of them.
LOADERS = settings(max_examples=max(10, settings().max_examples // 4))
RUNS = settings(max_examples=max(5, settings().max_examples // 5))

LAWS = [law.law for law in INVARIANTS.values() if law.subject == "datamodule"]


@LOADERS
@given(case=datamodule_cases())
def test_split_disjoint(case: DataModuleCase) -> None:
    """Nobody trains and validates."""
    hold("split-disjoint", case)


@LOADERS
@given(case=datamodule_cases())
def test_loader_follows_sampler(case: DataModuleCase) -> None:
    """Training sees what the sampler says."""
    hold("loader-follows-sampler", case)


@LOADERS
@given(case=datamodule_cases())
def test_resumes_with_the_next(case: DataModuleCase) -> None:
    """A checkpoint loses no batch and repeats none."""
    hold("resumes-with-the-next", case)


@LOADERS
@given(case=law_cases("validation-complete"))
def test_validation_complete(case: DataModuleCase) -> None:
    """Each anchor counts once."""
    hold("validation-complete", case)


@LOADERS
@given(case=datamodule_cases())
def test_predict_in_order(case: DataModuleCase) -> None:
    """Every observation is embedded once."""
    hold("predict-in-order", case)


@RUNS
@given(case=datamodule_cases())
def test_ranks_share_out(case: DataModuleCase) -> None:
    """Several ranks do the work of one."""
    hold("ranks-share-out", case)


@RUNS
@given(case=datamodule_cases())
def test_dropout_only_in_training(case: DataModuleCase) -> None:
    """No channel is lost to validation."""
    hold("dropout-only-in-training", case)


@RUNS
@given(case=law_cases("noise-only-in-training"))
def test_noise_only_in_training(case: DataModuleCase) -> None:
    """Nothing random happens to validation."""
    hold("noise-only-in-training", case)


@RUNS
@given(case=datamodule_cases())
def test_centre_crop(case: DataModuleCase) -> None:
    """The cell stays in the middle."""
    hold("centre-crop", case)


@RUNS
@given(case=datamodule_cases())
def test_same_seed_same_batches(case: DataModuleCase) -> None:
    """A run can be repeated."""
    hold("same-seed-same-batches", case)


@RUNS
@given(case=law_cases("validation-repeats"))
def test_validation_repeats(case: DataModuleCase) -> None:
    """Epochs can be compared."""
    hold("validation-repeats", case)


@RUNS
@given(case=law_cases("noise-drawn-anew"))
def test_noise_drawn_anew(case: DataModuleCase) -> None:
    """Two views of a cell are two."""
    hold("noise-drawn-anew", case)


@RUNS
@given(case=law_cases("another-seed-other-batches"))
def test_another_seed_other_batches(case: DataModuleCase) -> None:
    """Seeds are for something."""
    hold("another-seed-other-batches", case)


# --- witnesses --------------------------------------------------------------------------------------------------------

OF_DATAMODULES = [witness for witness in WITNESSES if INVARIANTS[witness.law].subject == "datamodule"]


@pytest.mark.parametrize("law", LAWS)
def test_laws_hold_where_nothing_is_broken(law: str) -> None:
    """On the cases of the witnesses dynaclr's own keeps every law."""
    cases = {witness.case for witness in OF_DATAMODULES if witness.law == law}
    assert cases
    for case in cases:
        assert run_law(law, case)


@pytest.mark.parametrize("witness", OF_DATAMODULES, ids=lambda w: f"{w.law}: {w.name}")
def test_each_witness_is_caught(witness: Witness) -> None:
    """The law raises on what is broken."""
    with pytest.raises(InvariantViolation, match=rf"\[{witness.law}\]$"):
        run_law(witness.law, witness.case, witness.make)


# --- the strategy -----------------------------------------------------------------------------------------------------


@LOADERS
@given(case=datamodule_cases(min_batch_size=2, max_held_out=2))
def test_datamodule_cases_are_sound(case: DataModuleCase) -> None:
    """There is a full batch to train on, and somebody to validate in every experiment that is held out."""
    with scratch_folder() as root:
        datamodule = set_up(SUBJECTS["datamodule"].make, case, Path(root), "fit")
        assert len(datamodule.train_index.valid_anchors) >= case.sampling.batch_size >= 2
        assert len(datamodule.train_sampler) >= 1
        validating = (
            {one.experiment for one in named(datamodule.val_index.valid_anchors)} if case.val_experiments else set()
        )
        assert validating == set(case.val_experiments)
    assert min(case.final_yx_patch_size[1], len(oracle_of(case).observations)) >= 2


def test_datamodule_cases_reach_and_shrink() -> None:
    """Each case of the docstring; down to one cell in a few frames on each side."""
    reached(
        datamodule_cases(),
        lambda case: case.val_experiments,
        lambda case: case.val_experiments and case.index.registry.experiments[0].name in case.val_experiments,
        lambda case: len(case.index.registry.experiments) == 2 and not case.val_experiments,
        lambda case: any(one.store for one in case.index.registry.experiments),
        lambda case: len(case.index.registry.experiments[0].wells) == 2,
        lambda case: case.index.z_range == (0, 2),
        lambda case: case.sampling.leaky and case.sampling.temporal_enrichment,
        lambda case: len(case.channel_dropout_channels) == 2 and case.channel_dropout_prob == 1,
        lambda case: case.num_workers == 2 and case.augmented,
    )
    for batch_size, frames, held_out in ((1, 2, 0), (2, 3, 1)):
        least = smallest(datamodule_cases(min_batch_size=batch_size, min_held_out=held_out))
        fovs = [fov for experiment in least.index.registry.experiments for _, fov in experiment.fovs()]
        assert fovs == [_one_cell(frames), _one_cell(2)][: 1 + held_out]
        assert least.sampling == SamplerOptions(batch_size=batch_size)
        assert (least.channel_dropout_channels, least.channel_dropout_prob, least.augmented) == ((), 0.0, False)


def _one_cell(frames: int) -> FovDescription:
    return FovDescription(name="0", frames=frames, tracks=(TrackDescription(track_id=1, frames=tuple(range(frames))),))


@pytest.mark.parametrize(
    ("bounds", "sentence"),
    [
        ({"min_batch_size": 4}, "min_batch_size=4 must be 1, 2 or 3"),
        ({"min_held_out": 2}, "min_held_out=2 and max_held_out=1 must lie between 0 and 2"),
        ({"max_trained": 0}, "max_trained=0 between 1 and 4"),
    ],
)
def test_impossible_bounds_are_refused(bounds: dict[str, int], sentence: str) -> None:
    """In words."""
    with pytest.raises(InvalidArgument, match=sentence):
        smallest(datamodule_cases(**bounds))  # type: ignore[arg-type]
