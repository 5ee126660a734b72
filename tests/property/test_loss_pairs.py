"""The loss on pairs chosen by hand, on few of them, on another device, and where softplus ends."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pytorch_metric_learning.losses import NTXentLoss

from dynaclr.loss import NTXentHCL, _Batch, _debiased, _Pairs

GENERATOR = torch.Generator().manual_seed(0)
ROWS = torch.randn(5, 3, generator=GENERATOR, dtype=torch.float64)
REFERENCES = torch.randn(4, 3, generator=GENERATOR, dtype=torch.float64)


def indices(*columns: list[int]) -> tuple[torch.Tensor, ...]:
    """Return index tensors."""
    return tuple(torch.tensor(column, dtype=torch.int64) for column in columns)


@pytest.mark.parametrize(
    "pairs",
    [
        ([0], [1], [0], [2]),
        ([0], [1], [0, 0], [2, 3]),
        ([0, 1], [1, 0], [0], [2]),
        ([0, 1], [1, 0], [0, 1], [2, 2]),
        ([0, 0], [1, 1], [0, 0, 0], [2, 2, 3]),
        ([], [], [0, 1], [2, 3]),
        ([0, 1], [1, 0], [], []),
        ([0, 1], [1, 2], [3, 4]),
        ([0], [1], [2]),
    ],
    ids=str,
)
@pytest.mark.parametrize("references", [None, REFERENCES], ids=["same", "references"])
def test_chosen_pairs_are_those_of_ntxent(pairs: tuple[list[int], ...], references: torch.Tensor | None) -> None:
    """Without weights the loss of few pairs, or of none, is NTXentLoss's."""
    if references is not None and max(pairs[-1], default=0) >= len(references):
        references = None
    ours = NTXentHCL(beta=0.0)(ROWS, indices_tuple=indices(*pairs), ref_emb=references)
    theirs = NTXentLoss()(ROWS, indices_tuple=indices(*pairs), ref_emb=references)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("rows", "references"), [(1, 1), (1, 2), (2, 1), (1, 3), (2, 2)])
def test_batches_of_few_are_those_of_ntxent(rows: int, references: int) -> None:
    """NTXentLoss does not look at a matrix of two numbers."""
    given: dict[str, Any] = {
        "labels": torch.arange(rows) % 2,
        "ref_emb": REFERENCES[:references],
        "ref_labels": torch.arange(references) % 2,
    }
    ours, theirs = NTXentHCL(beta=0.0)(ROWS[:rows], **given), NTXentLoss()(ROWS[:rows], **given)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-9, abs=1e-12)


def test_labels_of_references_that_are_not_there_change_nothing() -> None:
    """Without references the labels are those of the embeddings."""
    labels, other = torch.tensor([0, 0, 1, 1, 2]), torch.tensor([0, 1, 2, 3, 4])
    loss = NTXentHCL()
    assert torch.equal(loss(ROWS, labels, ref_labels=other), loss(ROWS, labels))


@pytest.mark.parametrize("beta", [0.0, 1.5])
def test_relatives_leave_the_chosen_negatives(beta: float) -> None:
    """A chosen negative of the anchor's own lineage is as if it had not been chosen, however often it was."""
    lineage = torch.tensor([0, 0, 1, 1, 0])
    masked = NTXentHCL(beta=beta, mask_same_lineage=True)
    chosen = indices([0, 2], [1, 3], [0, 0, 0, 0, 2, 2], [2, 2, 4, 4, 0, 3])
    unrelated = indices([0, 2], [1, 3], [0, 0, 2], [2, 2, 0])
    expected = NTXentHCL(beta=beta)(ROWS, indices_tuple=unrelated)
    assert torch.equal(masked(ROWS, indices_tuple=chosen, lineage=lineage), expected)


def test_relatives_among_the_references_are_told_by_their_own_lineages() -> None:
    """A reference of another lineage is a negative, one of the anchor's own is none."""
    given: dict[str, Any] = {"labels": torch.tensor([0, 1, 2, 3, 4]), "ref_emb": REFERENCES}
    given["ref_labels"] = torch.tensor([0, 1, 5, 6])
    lineage, ref_lineage = torch.tensor([10, 11, 12, 13, 14]), torch.tensor([10, 11, 10, 99])
    masked = NTXentHCL(mask_same_lineage=True)(ROWS, **given, lineage=lineage, ref_lineage=ref_lineage)
    chosen = indices([0, 1], [0, 1], [0, 0, 1, 1, 1], [1, 3, 0, 2, 3])
    assert masked.item() == pytest.approx(NTXentHCL()(ROWS, indices_tuple=chosen, ref_emb=REFERENCES).item(), rel=1e-9)


@pytest.mark.parametrize("difference", [15.0, 21.0, 25.0, 30.0])
def test_a_large_loss_is_exact(difference: float) -> None:
    """The loss is log(1 + exp(d)), to the last digits of float64, also where exp(-d) is small."""
    rows = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    pairs = indices([0], [1], [0, 0], [2, 2])
    loss = NTXentHCL(temperature=2 / difference, beta=0.0)(rows, indices_tuple=pairs)
    distance = difference + math.log(2)
    assert loss.item() == pytest.approx(distance + math.log1p(math.exp(-distance)), rel=1e-15, abs=0)


def test_the_share_of_clamped_pairs_counts_anchors_with_one_negative() -> None:
    """One negative, far away, cannot pay for the prior: the sum is at its floor."""
    rows = torch.tensor([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.0]])
    loss = NTXentHCL(tau_plus=0.5, beta=0.0)
    loss(rows, torch.tensor([0, 0, 1]))
    assert loss.last_clamped_share.item() == 1.0
    loss(rows, torch.tensor([0, 1, 2]))
    assert loss.last_clamped_share.item() == 0.0


def test_the_floor_holds_where_the_logarithm_has_no_argument() -> None:
    """At a low temperature the logarithm that stands in for it is not below every floor."""
    near = [0.995, math.sqrt(1 - 0.995**2)]
    rows = torch.tensor([[1.0, 0.0], [1.0, 0.0], near, near])
    loss = NTXentHCL(temperature=0.01, tau_plus=0.9, beta=0.0)
    loss(rows, torch.tensor([0, 0, 1, 2]))
    assert loss.last_clamped_share.item() == 1.0


def test_what_may_be_recorded() -> None:
    """A logger of pytorch-metric-learning finds the parameters that are ours."""
    names = NTXentHCL()._record_these
    assert {"beta", "tau_plus", "temperature"} <= set(names)


@pytest.mark.parametrize("lineage", [None, torch.tensor([0, 0, 1])])
def test_codes_on_the_cpu_make_pairs_on_the_device(lineage: torch.Tensor | None) -> None:
    """The device ``meta`` stands for a GPU: whatever was not moved to it stays behind."""
    labels, elsewhere = torch.tensor([0, 0, 1]), torch.empty(3, 2, device="meta")
    batch = _Batch(elsewhere, labels, None, None, lineage, None)
    made = [_Pairs.of(batch, None, mask_same_lineage=lineage is not None)]
    made.append(_Pairs.of(batch, indices([0], [1], [0], [2]), mask_same_lineage=lineage is not None))
    for pairs in made:
        tensors = [pairs.anchors, pairs.positives, pairs.excluded, *([] if pairs.times is None else [pairs.times])]
        assert {tensor.device.type for tensor in tensors} == {"meta"}


def test_a_debiased_sum_of_exactly_nothing_is_at_its_floor() -> None:
    """At a low temperature the floor is far below whatever stands in for the logarithm of nothing."""
    half, positive, log_count = torch.tensor([[0.5], [100.0], [1.0]]).unbind()
    margin = half.log().requires_grad_()
    debiased, clamped = _debiased(margin, positive, log_count.log(), tau_plus=0.5, sharpness=100.0)
    assert clamped.all()
    assert debiased.item() == -200
    assert torch.autograd.grad(debiased.sum(), margin)[0].item() == 0


@pytest.mark.parametrize("tau_plus", [0.0, 0.1])
def test_the_share_lies_where_the_embeddings_lie(tau_plus: float) -> None:
    """Where there are too few pairs to compute anything, where nothing is debiased and where something is."""
    loss = NTXentHCL(tau_plus=tau_plus)
    loss(torch.empty(2, 2, device="meta"), torch.tensor([0, 1]))
    assert loss.last_clamped_share.device.type == "meta"
    logits = torch.empty(3, 3, device="meta")
    loss._pair_losses(
        logits,
        _Pairs.of(_Batch(logits, torch.tensor([0, 0, 1]), None, None, None, None), None, mask_same_lineage=False),
    )
    assert loss.last_clamped_share.device.type == "meta"
