"""The laws of dropout and transforms hold for ours, none of them is vacuous, and their cases keep their promises."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from augment_witnesses import NORMALIZE, WITNESSES, Witness
from hypothesis import given, settings
from hypothesis.errors import InvalidArgument
from searches import reached, smallest

from dynaclr_strategies.augment_cases import augment_cases
from dynaclr_strategies.holding import hold
from dynaclr_strategies.invariants import INVARIANTS, Invariant, InvariantViolation, augment
from dynaclr_strategies.invariants.evidence import PatchEvidence
from dynaclr_strategies.law_cases import law_cases
from dynaclr_strategies.loss_descriptions import AugmentCase
from dynaclr_strategies.oracles.augment import percentile
from dynaclr_strategies.subjects import SUBJECTS
from dynaclr_strategies.subjects.augment import make_augment

LAWS = [law for law in INVARIANTS.values() if law.subject == "augment"]

# Hundreds of samples each.
EXPENSIVE = settings(max_examples=max(10, settings().max_examples // 3))


# --- the laws hold ----------------------------------------------------------------------------------------------------


@given(case=augment_cases())
def test_inputs_stay_as_they_are(case: AugmentCase) -> None:
    """A new batch comes back, and the old one is as it was."""
    hold("augment-leaves-inputs-alone", case)


@given(case=augment_cases())
def test_dtype_and_shape_stay_as_they_are(case: AugmentCase) -> None:
    """Half and double precision come back as they went in."""
    hold("augment-keeps-dtype-and-shape", case)


@given(case=augment_cases())
def test_any_range_of_values_stays_finite(case: AugmentCase) -> None:
    """Images of a camera's range, of a tiny or huge one, and constant ones give finite images."""
    hold("augment-is-finite", case)


@given(case=augment_cases())
def test_only_listed_channels_change(case: AugmentCase) -> None:
    """The others stay as they are."""
    hold("augment-listed-channels-only", case)


@EXPENSIVE
@given(case=augment_cases())
def test_a_seed_decides(case: AugmentCase) -> None:
    """The global one, or that of a generator."""
    hold("augment-seed-decides", case)


@given(case=augment_cases())
def test_generators_are_left_alone(case: AugmentCase) -> None:
    """Those of Python and NumPy always, torch's where it is not needed."""
    hold("augment-generator-left-alone", case)


@given(case=law_cases("augment-probability-zero-is-identity"))
def test_probability_zero_is_the_identity(case: AugmentCase) -> None:
    """With probability 0 nothing changes."""
    hold("augment-probability-zero-is-identity", case)


@EXPENSIVE
@given(case=law_cases("augment-drawn-per-sample"))
def test_parameters_are_drawn_for_each_sample(case: AugmentCase) -> None:
    """With probability 1 equal samples all change, and no two of them alike."""
    hold("augment-drawn-per-sample", case)


@EXPENSIVE
@given(case=law_cases("augment-probability-is-of-a-sample"))
def test_probability_is_that_of_a_sample(case: AugmentCase) -> None:
    """About that share of the samples changes, not whole batches."""
    hold("augment-probability-is-of-a-sample", case)


@EXPENSIVE
@given(case=law_cases("augment-moves-channels-together"))
def test_channels_move_together(case: AugmentCase) -> None:
    """A spatial transform moves all keys of a sample alike."""
    hold("augment-moves-channels-together", case)


@EXPENSIVE
@given(case=law_cases("augment-channels-on-their-own"))
def test_channels_shine_on_their_own(case: AugmentCase) -> None:
    """An intensity transform draws for each key."""
    hold("augment-channels-on-their-own", case)


@given(case=law_cases("dropout-whole-channels"))
def test_channels_are_kept_or_zeroed_whole(case: AugmentCase) -> None:
    """No channel is changed in part or scaled."""
    hold("dropout-whole-channels", case)


@given(case=law_cases("dropout-probability-one-drops-all"))
def test_probability_one_drops_all(case: AugmentCase) -> None:
    """Everything that is listed."""
    hold("dropout-probability-one-drops-all", case)


@given(case=law_cases("dropout-off-in-evaluation"))
def test_evaluation_drops_nothing(case: AugmentCase) -> None:
    """In evaluation mode the batch passes through, and the generator does not move."""
    hold("dropout-off-in-evaluation", case)


@EXPENSIVE
@given(case=law_cases("dropout-independent"))
def test_samples_and_channels_are_independent(case: AugmentCase) -> None:
    """Each is dropped with p, and two are dropped together with p squared."""
    hold("dropout-independent", case)


@given(case=law_cases("augment-equals-statistics"))
def test_normalization_is_by_own_statistics(case: AugmentCase) -> None:
    """Each sample and channel gets its own statistics."""
    hold("augment-equals-statistics", case)


@given(case=law_cases("augment-equals-percentiles"))
def test_percentiles_are_mapped_to_the_target(case: AugmentCase) -> None:
    """Those of each sample and channel."""
    hold("augment-equals-percentiles", case)


# --- no law is vacuous ------------------------------------------------------------------------------------------------


def test_all_laws_are_public() -> None:
    """The module lists its checks."""
    checks = {name: value for name, value in vars(augment).items() if name.startswith("check_")}
    assert set(checks.values()) == {law.check for law in LAWS}
    assert set(checks) | {"MakeAugment"} == set(augment.__all__)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.law)
def test_each_law_is_one_sentence(law: Invariant) -> None:
    """The docstring of a check is the law in one sentence, its name is the law's, and there is a witness."""
    assert law.check.__name__ == f"check_{law.law.replace('-', '_')}"
    first = (inspect.getdoc(law.check) or "").partition("\n\n")[0]
    assert re.fullmatch(r"[A-Z`][^.]*(\.[^ .][^.]*)*\.", first), first
    assert "\n" not in first
    assert any(witness.law == law.law for witness in WITNESSES)


@pytest.mark.parametrize("witness", WITNESSES, ids=lambda witness: witness.name)
def test_each_witness_is_caught(witness: Witness) -> None:
    """The law raises on the witness, and on the same case not on ours."""
    law = INVARIANTS[witness.law]
    assert law.applies(witness.case)
    law.check(make_augment, witness.case)
    with pytest.raises(InvariantViolation, match=rf", but should be .* \[{witness.law}\]$") as caught:
        law.check(witness.make, witness.case)
    assert caught.value.law == witness.law


def test_a_violation_brings_pictures() -> None:
    """What came out of the sample in question, and what should have."""
    witness = next(one for one in WITNESSES if one.law == "augment-equals-statistics")
    with pytest.raises(InvariantViolation, match=r"^sample 0, channel 1 at \(0, 0, 0\) of normalize: ") as caught:
        INVARIANTS[witness.law].check(witness.make, witness.case)
    evidence = caught.value.evidence
    assert isinstance(evidence, PatchEvidence)
    assert evidence.seen.shape == evidence.expected.shape == witness.case.shape[1:]
    assert evidence.channels == ("ch_0", "ch_1")


def test_the_naive_percentile_is_the_usual_one() -> None:
    """Linear between neighbours, and exact at the ends."""
    assert [percentile([3.0, 1.0, 2.0, 5.0], p) for p in (0, 50, 100)] == [1.0, 2.5, 5.0]
    assert percentile([4.0], 99) == 4.0


# --- cases ------------------------------------------------------------------------------------------------------------


@given(case=augment_cases())
def test_augment_cases_are_sound(case: AugmentCase) -> None:
    """Listed channels differ and exist, pixels are neither zero nor out of range, and the case travels as JSON."""
    assert len(set(case.listed)) == len(case.listed)
    assert set(case.listed) <= set(range(case.channels))
    pixels = torch.tensor(case.array()).to(getattr(torch, case.dtype))
    assert tuple(pixels.shape) == case.shape
    assert torch.isfinite(pixels).all()
    assert pixels.all()
    assert AugmentCase.from_json(case.to_json()) == case
    statistics = json.dumps(case.norm_meta())
    numbers = re.findall(r"\d+\.\d+", statistics)
    assert len(set(numbers)) == len(numbers) == 12 * case.samples * case.channels
    make_augment(case)


def test_augment_cases_reach_and_shrink() -> None:
    """Single planes and stacks, no channel listed, a range at its end, constants; down to one small sample."""
    reached(
        augment_cases(),
        lambda case: case.transform == "dropout" and not case.listed,
        lambda case: case.depth > 1 and 0 < len(case.listed) < case.channels,
        lambda case: case.scale == 1e30 and case.pixels == "constant",
        lambda case: case.dtype == "float16" and case.pixels == "one bright",
        lambda case: case.own_generator and case.prob == 1,
    )
    assert smallest(augment_cases(transforms=["noise"])) == AugmentCase(transform="noise")
    assert smallest(augment_cases()) == AugmentCase(transform="dropout")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"transforms": []}, r"transforms=\[\] must name at least one of"),
        ({"transforms": ["blur"]}, r"transforms=\['blur'\] must name"),
        ({"max_channels": 0}, "max_channels=0 must be at least 1"),
    ],
)
def test_impossible_arguments_are_refused(arguments: dict[str, Any], sentence: str) -> None:
    """Arguments that leave nothing to draw are errors."""
    with pytest.raises(InvalidArgument, match=sentence):
        augment_cases(**arguments)


@pytest.mark.parametrize("shape", [{"samples": 0}, {"samples": 2**20, "height": 2**20}])
def test_impossible_batches_are_refused(shape: dict[str, int]) -> None:
    """A case from a stranger does not fill the memory."""
    with pytest.raises(ValueError, match=r"shape=.* must be of 1 to 4194304 voxels"):
        AugmentCase.from_plain({"transform": "noise", **shape})


@pytest.mark.parametrize("listed", [[1], [0, 0], [-1]])
def test_impossible_channels_are_refused(listed: list[int]) -> None:
    """What is listed is there, and once."""
    with pytest.raises(ValueError, match=r"listed=.* must be different positions below channels=1"):
        AugmentCase.from_plain({"transform": "noise", "listed": listed})


def test_cases_become_files(tmp_path: Path) -> None:
    """A bundle holds the pixels and their statistics."""
    SUBJECTS["augment"].materialise(NORMALIZE, tmp_path)
    np.testing.assert_array_equal(np.load(tmp_path / "pixels.npy"), NORMALIZE.array())
    assert json.loads((tmp_path / "norm_meta.json").read_text()) == NORMALIZE.norm_meta()
