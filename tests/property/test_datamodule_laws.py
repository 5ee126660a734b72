"""The data module and whole runs keep their laws on drawn registries, and each law catches what breaks it."""

from __future__ import annotations

import pytest
from datamodule_witnesses import CASE, WITNESSES, Witness
from hypothesis import given, settings
from searches import reached, smallest

from dynaclr_strategies.cases import DataModuleCase
from dynaclr_strategies.datamodule_cases import datamodule_cases
from dynaclr_strategies.descriptions import FovDescription, TrackDescription
from dynaclr_strategies.holding import hold
from dynaclr_strategies.invariants import InvariantViolation
from dynaclr_strategies.sampler_descriptions import SamplerOptions
from dynaclr_strategies.subjects import run_law

# Each example writes stores, and most train: fewer of them.
LOADERS = settings(max_examples=max(8, settings().max_examples // 3))
RUNS = settings(max_examples=max(6, settings().max_examples // 6))


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
def test_predict_in_order(case: DataModuleCase) -> None:
    """Every observation is embedded once."""
    hold("predict-in-order", case)


@RUNS
@given(case=datamodule_cases(min_batch_size=2))
def test_dropout_only_in_training(case: DataModuleCase) -> None:
    """Nothing random happens to validation."""
    hold("dropout-only-in-training", case)


@RUNS
@given(case=datamodule_cases(min_batch_size=2).filter(lambda case: case.val_experiments))
def test_validation_repeats(case: DataModuleCase) -> None:
    """Epochs can be compared."""
    hold("validation-repeats", case)


@RUNS
@given(case=datamodule_cases(min_batch_size=2))
def test_gradients_everywhere(case: DataModuleCase) -> None:
    """The whole pipeline trains."""
    hold("gradients-everywhere", case)


@RUNS
@given(case=datamodule_cases(min_batch_size=2))
def test_same_seed_same_weights(case: DataModuleCase) -> None:
    """A run can be repeated."""
    hold("same-seed-same-weights", case)


# --- witnesses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", sorted({witness.law for witness in WITNESSES}))
def test_laws_hold_where_nothing_is_broken(law: str) -> None:
    """On the case of the witnesses dynaclr's own keeps every law."""
    assert run_law(law, CASE)


@pytest.mark.parametrize("witness", WITNESSES, ids=lambda w: f"{w.law}: {w.name}")
def test_each_witness_is_caught(witness: Witness) -> None:
    """The law raises on what is broken."""
    with pytest.raises(InvariantViolation, match=rf"\[{witness.law}\]$"):
        run_law(witness.law, witness.case, witness.make)


# --- the strategy -----------------------------------------------------------------------------------------------------


@LOADERS
@given(case=datamodule_cases(min_batch_size=2))
def test_datamodule_cases_are_sound(case: DataModuleCase) -> None:
    """There is a full batch to train on, and somebody to validate where experiments are held out."""
    hold("loader-follows-sampler", case)
    assert case.sampling.batch_size >= 2


def test_datamodule_cases_reach_and_shrink() -> None:
    """Each case of the docstring; down to one cell in four frames."""
    reached(
        datamodule_cases(),
        lambda case: case.val_experiments,
        lambda case: len(case.index.registry.experiments) == 2 and not case.val_experiments,
        lambda case: len(case.index.registry.experiments[0].wells) == 2,
        lambda case: case.index.z_range == (0, 2),
        lambda case: case.sampling.leaky and case.sampling.temporal_enrichment,
        lambda case: len(case.channel_dropout_channels) == 2 and case.channel_dropout_prob == 1,
        lambda case: case.num_workers == 2,
    )
    least = smallest(datamodule_cases())
    ((_, fov),) = least.index.registry.experiments[0].fovs()
    assert fov == FovDescription(name="0", frames=4, tracks=(TrackDescription(track_id=1, frames=(0, 1, 2, 3)),))
    assert least.sampling == SamplerOptions(batch_size=1)
    assert not least.channel_dropout_channels
