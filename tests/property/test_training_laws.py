"""Whole runs keep their laws on drawn registries, and each law catches what breaks it."""

from __future__ import annotations

import pytest
from datamodule_witnesses import TRAINED, WITNESSES, Witness
from hypothesis import given, settings
from searches import reached, smallest

from dynaclr_strategies.cases import TrainingCase
from dynaclr_strategies.datamodule_cases import datamodule_cases, training_cases
from dynaclr_strategies.holding import hold
from dynaclr_strategies.invariants import INVARIANTS, InvariantViolation
from dynaclr_strategies.subjects import run_law

# Each example trains, most of them twice.
RUNS = settings(max_examples=max(5, settings().max_examples // 5))


@RUNS
@given(case=training_cases())
def test_gradients_everywhere(case: TrainingCase) -> None:
    """The whole pipeline trains."""
    hold("gradients-everywhere", case)


@RUNS
@given(case=training_cases())
def test_training_learns(case: TrainingCase) -> None:
    """What is learned is kept."""
    hold("training-learns", case)


@RUNS
@given(case=training_cases())
def test_same_seed_same_weights(case: TrainingCase) -> None:
    """A run can be repeated."""
    hold("same-seed-same-weights", case)


@RUNS
@given(case=training_cases())
def test_training_leaves_inputs(case: TrainingCase) -> None:
    """Data are there to be read."""
    hold("training-leaves-inputs", case)


# --- witnesses --------------------------------------------------------------------------------------------------------

OF_RUNS = [witness for witness in WITNESSES if INVARIANTS[witness.law].subject == "training"]


@pytest.mark.parametrize("law", [law.law for law in INVARIANTS.values() if law.subject == "training"])
def test_laws_hold_where_nothing_is_broken(law: str) -> None:
    """On the case of the witnesses dynaclr's own keeps every law."""
    assert run_law(law, TRAINED)


@pytest.mark.parametrize("witness", OF_RUNS, ids=lambda w: f"{w.law}: {w.name}")
def test_each_witness_is_caught(witness: Witness) -> None:
    """The law raises on what is broken."""
    with pytest.raises(InvariantViolation, match=rf"\[{witness.law}\]$"):
        run_law(witness.law, witness.case, witness.make)


# --- the strategy -----------------------------------------------------------------------------------------------------


@given(case=training_cases())
def test_training_cases_are_sound(case: TrainingCase) -> None:
    """Each anchor has a negative; the case travels as JSON."""
    assert case.data.sampling.batch_size >= 2
    assert TrainingCase.from_json(case.to_json()) == case


def test_training_cases_reach_and_shrink() -> None:
    """Every temperature and beta; down to the smallest data module."""
    reached(
        training_cases(),
        lambda case: case.temperature == 0.5 and case.beta == 1.0,
        lambda case: case.beta == 0.0,
        lambda case: case.data.augmented and case.data.val_experiments,
    )
    assert smallest(training_cases()) == TrainingCase(data=smallest(datamodule_cases(min_batch_size=2)))
