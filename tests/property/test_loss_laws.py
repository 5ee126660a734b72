"""The laws of the loss hold for ours, none of them is vacuous, and the strategy of embeddings keeps its promises."""

from __future__ import annotations

import inspect
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument
from loss_witnesses import CASE, WITNESSES, PlainLoss, Witness
from searches import reached, smallest

from dynaclr_strategies.embeddings import embeddings, loss_cases
from dynaclr_strategies.holding import hold
from dynaclr_strategies.invariants import INVARIANTS, Invariant, InvariantViolation, loss
from dynaclr_strategies.law_cases import law_cases
from dynaclr_strategies.loss_descriptions import FLOATS, EmbeddingsDescription, LossCase, RowDescription
from dynaclr_strategies.oracles.loss import DenseLoss
from dynaclr_strategies.subjects import SUBJECTS
from dynaclr_strategies.subjects.loss import make_loss

LAWS = [law for law in INVARIANTS.values() if law.subject == "loss"]

# The derivative by every entry of the embeddings.
EXPENSIVE = settings(max_examples=max(10, settings().max_examples // 2))


# --- the laws hold ----------------------------------------------------------------------------------------------------


@given(case=law_cases("loss-equals-reference"))
def test_the_loss_equals_the_reference(case: LossCase) -> None:
    """In every dtype, at every temperature, with and without beta and debiasing."""
    hold("loss-equals-reference", case)


@given(case=law_cases("loss-masks-lineages"))
def test_masked_lineages_are_no_negatives(case: LossCase) -> None:
    """Rows of one lineage are not negatives with the mask, and lineages are not looked at without it."""
    hold("loss-masks-lineages", case)


@given(case=law_cases("loss-beta-zero-is-ntxent"))
def test_beta_zero_is_ntxent(case: LossCase) -> None:
    """With beta 0 the loss is NTXentLoss, with several positives per anchor too."""
    hold("loss-beta-zero-is-ntxent", case)


@given(case=loss_cases())
def test_cosine_and_logit_are_one_loss(case: LossCase) -> None:
    """Beta on the cosine is beta * temperature on the logit."""
    hold("loss-cosine-and-logit-are-one", case)


@given(case=loss_cases())
def test_weights_have_mean_one(case: LossCase) -> None:
    """Equally hard negatives are weighted alike, and by 1."""
    hold("loss-weights-have-mean-one", case)


@given(case=law_cases("loss-debiased-has-a-floor"))
def test_debiasing_has_a_floor(case: LossCase) -> None:
    """The debiased sum is never below the published floor, and reaches it."""
    hold("loss-debiased-has-a-floor", case)


@given(case=loss_cases())
def test_nothing_is_lost_without_pairs(case: LossCase) -> None:
    """No positives or no negatives: zero, with a gradient."""
    hold("loss-zero-without-pairs", case)


@given(case=loss_cases())
def test_the_order_does_not_matter(case: LossCase) -> None:
    """Neither that of the rows nor the names of the labels."""
    hold("loss-ignores-order", case)


@given(case=loss_cases())
def test_rotation_does_not_matter(case: LossCase) -> None:
    """Embeddings may be turned and mirrored together."""
    hold("loss-ignores-rotation", case)


@given(case=loss_cases())
def test_length_does_not_matter(case: LossCase) -> None:
    """Each embedding may have any length."""
    hold("loss-ignores-norms", case)


@given(case=loss_cases())
def test_the_loss_grows_with_beta(case: LossCase) -> None:
    """More concentration on hard negatives never makes it easier."""
    hold("loss-grows-with-beta", case)


@EXPENSIVE
@given(case=loss_cases())
def test_the_gradient_is_the_derivative(case: LossCase) -> None:
    """Through weights and norms, in every dtype."""
    hold("loss-gradient-is-the-derivative", case)


@given(case=loss_cases())
def test_the_loss_is_finite(case: LossCase) -> None:
    """Zero, tiny, huge, equal and opposite rows at temperature 0.01: finite, and so is the gradient."""
    hold("loss-is-finite", case)


# --- no law is vacuous ------------------------------------------------------------------------------------------------


def test_all_laws_are_public() -> None:
    """The module lists its checks."""
    checks = {name: value for name, value in vars(loss).items() if name.startswith("check_")}
    assert set(checks.values()) == {law.check for law in LAWS}
    assert set(checks) | {"MakeLoss"} == set(loss.__all__)


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
    """The law raises on the witness, and on the same case not on our loss."""
    law = INVARIANTS[witness.law]
    assert law.applies(witness.case)
    law.check(make_loss, witness.case)
    with pytest.raises(InvariantViolation, match=rf", but should be .* \[{witness.law}\]$") as caught:
        law.check(witness.make, witness.case)
    assert caught.value.law == witness.law


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.law)
def test_the_plain_loss_is_sound(law: Invariant) -> None:
    """What the witnesses break obeys every law as long as they do not break it."""
    case = LossCase(**{**vars(CASE), "tau_plus": 0.1, "mask_same_lineage": law.law == "loss-masks-lineages"})
    assert law.applies(case)
    law.check(PlainLoss, case)


@given(case=law_cases("loss-beta-zero-is-ntxent"))
def test_the_bound_is_not_loose(case: LossCase) -> None:
    """Rounding is allowed for, and nothing else: a wrong third digit of the temperature would show.

    The exception are negatives whose weights cannot be told in single precision, at very large beta.
    """
    dense = DenseLoss(case)
    assert 0 < dense.error() < 2e-5 * (1 + dense.slope) * (1 + dense.value()) * (20 if case.tau_plus else 1)


# --- embeddings -------------------------------------------------------------------------------------------------------


@given(batch=embeddings(), data=st.data())
def test_embeddings_are_sound(batch: EmbeddingsDescription, data: st.DataObject) -> None:
    """All numbers are exact and finite in the dtype, bounds are kept, and the description travels as JSON."""
    array = batch.array()
    held = torch.tensor(array).to(getattr(torch, batch.dtype))
    assert array.shape == (len(batch.rows), batch.width)
    assert np.isfinite(array).all()
    assert torch.equal(held.double(), torch.tensor(array))
    assert EmbeddingsDescription.from_json(batch.to_json()) == batch
    least = data.draw(st.integers(1, 5), label="min_rows")
    few = data.draw(embeddings(dtypes=["float16"], min_rows=least, max_rows=least + 1, max_width=1, max_labels=1))
    assert least <= len(few.rows) <= least + 1
    assert (few.dtype, few.width, set(few.labels)) == ("float16", 1, {0})


def directions(batch: EmbeddingsDescription) -> list[tuple[float, ...]]:
    """Return the rows that are not zero at length 1, rounded."""
    array = batch.array() * 1.0
    norms = [math.hypot(*row) for row in array]
    return [tuple(np.round(row / norm, 9)) for row, norm in zip(array, norms, strict=True) if norm]


def test_embeddings_reach_and_shrink() -> None:
    """Duplicates, collinear, opposite, zero, tiny and huge rows, all dtypes; down to one row."""
    ends = [(dtype, end) for dtype, kind in FLOATS.items() for end in (kind.smallest, kind.bound - 2)]
    reached(
        embeddings(),
        *[
            lambda b, dtype=dtype, end=end: b.dtype == dtype and end in {row.exponent for row in b.rows}
            for dtype, end in ends
        ],
        lambda b: len({(row.label, *values) for row, values in zip(b.rows, b.array(), strict=True)}) < len(b.rows),
        lambda b: len(b.rows) > 4 and len(set(directions(b))) == 1,
        lambda b: any(tuple(-x for x in row) in directions(b) for row in directions(b)),
        lambda b: not b.array()[0].any() and len(b.rows) > 2,
        lambda b: {-38, -42} <= {row.exponent for row in b.rows},
        lambda b: max(map(b.labels.count, b.labels)) > 2 and len(set(b.labels)) > 2,
        lambda b: len(set(b.labels)) == len(b.labels) > 2,
        lambda b: len(set(b.labels)) == 1 and len(b.labels) > 2,
    )
    assert smallest(embeddings()) == EmbeddingsDescription(rows=(RowDescription(entries=(1,)),))
    assert smallest(embeddings(min_rows=3)).rows == (RowDescription(entries=(1,)),) * 3


@given(case=loss_cases())
def test_loss_cases_are_sound(case: LossCase) -> None:
    """Parameters are those of the loss, and the case travels as JSON."""
    make_loss(case)
    assert LossCase.from_json(case.to_json()) == case


def test_loss_cases_reach_and_shrink() -> None:
    """Everything on, at the lowest temperature; down to nothing on."""
    reached(
        loss_cases(),
        lambda case: case.beta == 1e4 and case.temperature == 0.01 and case.tau_plus and case.mask_same_lineage,
        lambda case: case.beta_on == "logit" and case.beta and not case.tau_plus,
    )
    assert smallest(loss_cases()) == LossCase(embeddings=EmbeddingsDescription(rows=(RowDescription(entries=(1,)),)))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"min_rows": 0}, "min_rows=0 must lie between 1 and max_rows=8"),
        ({"min_rows": 9}, "min_rows=9 must lie between"),
        ({"max_width": 0}, "max_width=0 and max_labels=4 must be at least 1"),
        ({"dtypes": []}, "dtypes=.* must name at least one of"),
        ({"dtypes": ["float8"]}, "dtypes=.* must name at least one of"),
    ],
)
def test_impossible_arguments_are_refused(arguments: dict[str, Any], sentence: str) -> None:
    """Arguments that leave nothing to draw are errors."""
    with pytest.raises(InvalidArgument, match=sentence):
        embeddings(**arguments)


@pytest.mark.parametrize(
    "row",
    [
        {"entries": [1], "exponent": -25},
        {"entries": [1], "exponent": 16},
        {"entries": [3], "exponent": 15},
        {"entries": [2049]},
        {"entries": [1], "exponent": 10**9},
    ],
)
def test_inexact_embeddings_are_refused(row: dict[str, Any]) -> None:
    """A description never stands for numbers that its dtype does not hold."""
    with pytest.raises(ValueError, match="must be exact in float16"):
        EmbeddingsDescription.from_plain({"rows": [row], "dtype": "float16"})


def test_too_large_batches_are_refused() -> None:
    """A case from a stranger does not fill the memory."""
    with pytest.raises(ValueError, match="rows must be at most 4096"):
        EmbeddingsDescription.from_plain({"rows": [{"entries": [1]}] * 5000})


def test_cases_become_files(tmp_path: Path) -> None:
    """A bundle holds the embeddings with their labels as a table."""
    SUBJECTS["loss"].materialise(CASE, tmp_path)
    lines = (tmp_path / "embeddings.csv").read_text().splitlines()
    assert lines[:2] == ["label,lineage,feature_0,feature_1", "0,0,2.0,1.0"]
    assert len(lines) == 1 + len(CASE.embeddings.rows)
    assert json.loads(CASE.to_json())["beta"] == 1.0
