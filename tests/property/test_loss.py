"""The loss beside its laws: miners, references, reducers, precision of what is computed, and what it refuses."""

from __future__ import annotations

import copy
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jsonargparse import ArgumentParser
from pytorch_metric_learning.distances import CosineSimilarity, DotProductSimilarity
from pytorch_metric_learning.losses import NTXentLoss
from pytorch_metric_learning.miners import BatchHardMiner, MultiSimilarityMiner
from pytorch_metric_learning.reducers import AvgNonZeroReducer, PerAnchorReducer, SumReducer
from pytorch_metric_learning.regularizers import LpRegularizer
from torch import Tensor

from dynaclr.errors import DynaclrError
from dynaclr.loss import BetaOn, NTXentHCL

HALVES = (torch.float16, torch.bfloat16)
DTYPES = (*HALVES, torch.float32)


def random_batch(seed: int, rows: int = 24, classes: int = 8, width: int = 6) -> tuple[Tensor, Tensor]:
    """Return float64 embeddings and labels with several positives per anchor."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(rows, width, dtype=torch.float64, generator=generator)
    return embeddings, torch.randint(classes, (rows,), generator=generator)


@pytest.mark.parametrize("miner", [MultiSimilarityMiner(), BatchHardMiner()], ids=["pairs", "triplets"])
@pytest.mark.parametrize("seed", range(3))
def test_beta_zero_is_ntxent_with_a_miner(miner: Any, seed: int) -> None:
    """Pairs and triplets from a miner are used as NTXentLoss uses them, repeated ones counted repeatedly."""
    embeddings, labels = random_batch(seed)
    mined = miner(embeddings, labels)
    expected = NTXentLoss(0.1)(embeddings, labels, mined)
    torch.testing.assert_close(NTXentHCL(0.1, beta=0.0)(embeddings, labels, mined), expected)


def test_repeated_pairs_count_repeatedly() -> None:
    """Triplets that share an anchor repeat its pairs, and all of them count; labels are not needed."""
    embeddings, _ = random_batch(0)
    triplets = (torch.tensor([0, 0, 1]), torch.tensor([2, 2, 3]), torch.tensor([4, 4, 5]))
    expected = NTXentLoss(0.1)(embeddings, indices_tuple=triplets)
    torch.testing.assert_close(NTXentHCL(0.1, beta=0.0)(embeddings, indices_tuple=triplets), expected)
    assert NTXentHCL(0.1, beta=3.0)(embeddings, indices_tuple=triplets) == pytest.approx(expected.item())


def test_a_single_mined_pair_of_each_kind_is_ignored() -> None:
    """NTXentLoss returns zero for one positive and one negative pair, and so does beta 0, with a gradient."""
    embeddings = random_batch(0)[0].requires_grad_()
    triplet = (torch.tensor([0]), torch.tensor([1]), torch.tensor([2]))
    loss = NTXentHCL(0.1, beta=0.0)(embeddings, indices_tuple=triplet)
    assert loss == NTXentLoss(0.1)(embeddings, indices_tuple=triplet) == 0
    loss.backward()


@given(st.integers(0, 9), st.integers(1, 4), st.integers(1, 4))
def test_beta_zero_is_ntxent_with_references(seed: int, rows: int, references: int) -> None:
    """With reference embeddings too, down to the single pair that NTXentLoss ignores."""
    embeddings, labels = random_batch(seed, rows, classes=2)
    ref_emb, ref_labels = random_batch(seed + 100, references, classes=2)
    expected = NTXentLoss(0.1)(embeddings, labels, ref_emb=ref_emb, ref_labels=ref_labels)
    seen = NTXentHCL(0.1, beta=0.0)(embeddings, labels, ref_emb=ref_emb, ref_labels=ref_labels)
    torch.testing.assert_close(seen, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("reducer", [None, SumReducer(), AvgNonZeroReducer(), PerAnchorReducer()])
@pytest.mark.parametrize("regularizer", [None, LpRegularizer()])
def test_reducers_and_regularizers_are_inherited(reducer: Any, regularizer: Any) -> None:
    """What NTXentLoss takes beside the temperature means here what it means there."""
    embeddings, labels = (part.float() if i == 0 else part for i, part in enumerate(random_batch(1)))
    kwargs = {"reducer": reducer, "embedding_regularizer": regularizer, "embedding_reg_weight": 0.3}
    expected = NTXentLoss(0.1, **kwargs)(embeddings, labels)
    torch.testing.assert_close(NTXentHCL(0.1, beta=0.0, **kwargs)(embeddings, labels), expected)


def test_lineages_mask_mined_pairs_and_references() -> None:
    """Masking holds for pairs from a miner and for reference embeddings, whose lineages come apart."""
    embeddings, labels = random_batch(3)
    lineage = torch.arange(24) % 3
    loss = NTXentHCL(0.1, 2.0, mask_same_lineage=True)
    expected = loss(embeddings, labels, lineage=lineage)
    everything = torch.where((labels[:, None] == labels) & ~torch.eye(24, dtype=torch.bool))
    everything += torch.where(labels[:, None] != labels)
    torch.testing.assert_close(loss(embeddings, labels, everything, lineage=lineage), expected)
    kept = torch.where((labels[:, None] != labels) & (lineage[:, None] != lineage))
    by_hand = NTXentHCL(0.1, 2.0)(embeddings, labels, (*everything[:2], *kept), ref_emb=embeddings.clone())
    torch.testing.assert_close(by_hand, expected)
    references = {"ref_emb": embeddings.clone(), "ref_labels": labels.clone(), "ref_lineage": lineage}
    seen = loss(embeddings, labels, lineage=lineage, **references)
    assert seen < expected  # every anchor has itself among its positives now
    assert torch.isfinite(seen)


def test_published_beta_is_beta_on_the_logit() -> None:
    """It is told for both meanings of beta."""
    assert NTXentHCL(0.07, 0.5).published_beta == 0.5 * 0.07
    assert NTXentHCL(0.07, 0.5, beta_on="logit").published_beta == 0.5


@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    """Half-precision embeddings give the loss of the same numbers in float32."""
    embeddings, labels = random_batch(4)
    narrow = embeddings.to(dtype)
    loss = NTXentHCL(0.01, 1.0)
    assert loss(narrow, labels).dtype == torch.float32
    torch.testing.assert_close(loss(narrow, labels), loss(narrow.float(), labels))


def test_dtypes_may_differ_between_embeddings_and_references() -> None:
    """References in another precision are compared in that of the embeddings."""
    embeddings, labels = random_batch(4)
    loss = NTXentHCL(0.1, 1.0)
    seen = loss(embeddings, labels, ref_emb=embeddings.half(), ref_labels=labels)
    torch.testing.assert_close(seen, loss(embeddings, labels), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("dtype", HALVES)
def test_autocast_changes_nothing(dtype: torch.dtype) -> None:
    """Inside autocast the loss of float32 embeddings is what it is outside."""
    embeddings, labels = random_batch(5)
    loss = NTXentHCL(0.01, 1.0)
    with torch.autocast("cpu", dtype=dtype):
        inside = loss(embeddings.float(), labels)
    assert inside == loss(embeddings.float(), labels)


@pytest.mark.parametrize("beta_on", ["cosine", "logit"])
def test_the_largest_beta_is_finite(beta_on: BetaOn) -> None:
    """All weight lies on the hardest negative, and that is all."""
    embeddings, labels = random_batch(0)
    rows = embeddings.float().requires_grad_()
    loss = NTXentHCL(beta=1e30, beta_on=beta_on)(rows, labels)
    assert loss.isfinite()
    assert torch.autograd.grad(loss, rows)[0].isfinite().all()


@pytest.mark.parametrize("options", [{}, {"beta": 0.0}, {"tau_plus": 0.1}])
def test_can_be_differentiated_twice(options: dict[str, float]) -> None:
    """Gradients have the right gradients, as penalties on them need; short rows included."""
    embeddings, labels = random_batch(0, rows=6, classes=3, width=3)
    rows = embeddings.requires_grad_()
    loss = NTXentHCL(0.5, **options)
    assert torch.autograd.gradgradcheck(lambda rows: loss(rows, labels), (rows,))
    assert torch.autograd.gradgradcheck(lambda rows: loss(rows * 1e-14, labels) * 1e2, (rows,))


@pytest.mark.parametrize(("dtype", "scale"), [(torch.float16, 1.0), (torch.bfloat16, 1.0), (torch.float16, 1e6)])
def test_gradients_of_half_precision_saturate(dtype: torch.dtype, scale: float) -> None:
    """They are those of float32; too large for the dtype, they become its largest numbers of either sign."""
    embeddings, labels = random_batch(0)
    exact = embeddings.to(dtype).float().requires_grad_()
    rows = embeddings.to(dtype).requires_grad_()
    (expected,) = torch.autograd.grad(NTXentHCL()(exact, labels) * scale, exact)
    (ours,) = torch.autograd.grad(NTXentHCL()(rows, labels) * scale, rows)
    limits = torch.finfo(dtype)
    assert ours.dtype == dtype
    assert (scale > 1) == ({limits.min, limits.max} <= set(ours.flatten().tolist()))
    torch.testing.assert_close(ours, expected.clamp(limits.min, limits.max).to(dtype))


def test_rows_along_an_axis_turn_as_others_do() -> None:
    """A row with one entry has length 1 once it is divided by that: it is not taken for a short one."""
    rows = (3 * torch.eye(4, dtype=torch.float64)).requires_grad_()
    labels = torch.tensor([0, 0, 1, 1])
    (ours,) = torch.autograd.grad(NTXentHCL(0.5, beta=0.0)(rows, labels), rows)
    (expected,) = torch.autograd.grad(NTXentLoss(0.5)(rows, labels), rows)
    torch.testing.assert_close(ours, expected)


def test_clamped_share_counts_the_floor() -> None:
    """With all negatives opposite the floor is reached everywhere; with negatives equal to the anchor nowhere."""
    labels = torch.tensor([0, 0, 1, 1])
    loss = NTXentHCL(0.5, tau_plus=0.1)
    assert loss.last_clamped_share == 0
    loss(torch.tensor([[1.0, 0], [1, 0], [-1, 0], [-1, 0]]), labels)
    assert loss.last_clamped_share == 1
    loss(torch.ones(4, 2), labels)
    assert loss.last_clamped_share == 0
    loss(torch.tensor([[1.0, 0], [1, 0], [-1, 0], [0, 1]]), labels)
    assert loss.last_clamped_share == 0.75  # all but the last, whose negatives are at right angles to it
    assert not loss.last_clamped_share.requires_grad
    masked = NTXentHCL(0.5, tau_plus=0.9, mask_same_lineage=True)
    assert masked(torch.ones(4, 2), labels, lineage=torch.zeros(4)) == 0
    assert masked.last_clamped_share == 0  # without negatives there is nothing to clamp


def test_is_a_module_like_others() -> None:
    """It is an NTXentLoss, survives a deep copy after use, and comes from a config file."""
    loss = NTXentHCL(0.1, 1.0, tau_plus=0.1)
    batch = random_batch(6)
    expected = loss(*batch)
    assert isinstance(loss, NTXentLoss)
    assert copy.deepcopy(loss)(*batch) == expected
    parser = ArgumentParser()
    parser.add_argument("--loss", type=torch.nn.Module)
    init_args = {"temperature": 0.1, "beta": 0.7, "beta_on": "logit", "mask_same_lineage": True}
    parsed = parser.parse_object({"loss": {"class_path": "dynaclr.loss.NTXentHCL", "init_args": init_args}})
    made = parser.instantiate(parsed).loss
    assert (made.temperature, made.beta, made.beta_on, made.mask_same_lineage) == (0.1, 0.7, "logit", True)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_parameters_may_be_numbers_of_numpy(kind: type) -> None:
    """The loss is that of Python's numbers, and so is what the log says of it."""
    batch, numbers = random_batch(6), (0.5, 0.25, 0.125)
    temperature, beta, tau_plus = map(kind, numbers)
    made = NTXentHCL(temperature, beta, tau_plus=tau_plus)
    assert made(*batch) == NTXentHCL(*numbers[:2], tau_plus=numbers[2])(*batch)
    assert type(made.published_beta) is float


def test_does_not_import_monai() -> None:
    """The loss alone does not wait for MONAI."""
    code = "import sys, dynaclr.loss; sys.exit('monai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("kwargs", "sentence"),
    [
        ({"temperature": 0}, r"temperature=0 must be a finite number above 0"),
        ({"temperature": math.inf}, r"temperature=inf must be"),
        ({"temperature": "0.1"}, r"temperature='0.1' must be a finite number above 0"),
        ({"temperature": True}, r"temperature=True must be"),
        ({"beta": None}, r"beta=None must be"),
        ({"temperature": math.nan}, r"temperature=nan must be"),
        ({"beta": -0.1}, r"beta=-0.1 must be a finite number from 0 to 1e\+30"),
        ({"beta": math.inf}, r"beta=inf must be"),
        ({"beta": 1e31}, r"beta=1e\+31 must be"),
        ({"tau_plus": 1.0}, r"tau_plus=1.0 must be a number in \[0, 1\)"),
        ({"beta_on": "logits"}, r"beta_on='logits' must be 'cosine' or 'logit'; did you mean 'logit'\?"),
        ({"mask_same_lineage": "no"}, r"mask_same_lineage='no' needs True or False"),
        ({"distance": DotProductSimilarity()}, r"distance=DotProductSimilarity.* is not supported"),
        ({"distance": CosineSimilarity(power=2)}, r"distance=CosineSimilarity.* is not supported"),
    ],
)
def test_wrong_parameters_are_refused(kwargs: dict[str, Any], sentence: str) -> None:
    """A parameter out of range is refused when the loss is made."""
    with pytest.raises(DynaclrError, match=sentence):
        NTXentHCL(**kwargs)


@pytest.mark.parametrize(
    ("kwargs", "sentence"),
    [
        ({}, "labels=None needs an indices_tuple"),
        ({"embeddings": torch.ones(4), "labels": torch.zeros(4)}, r"embeddings of shape \(4,\) must have the shape"),
        ({"labels": torch.zeros(3)}, r"labels of shape \(3,\) must have the shape \(4,\)"),
        ({"labels": torch.zeros(4)}, "lineage=None must be a tensor of codes"),
        ({"labels": torch.zeros(4), "lineage": torch.zeros(2)}, r"lineage of shape \(2,\)"),
        ({"labels": torch.zeros(4), "ref_emb": torch.ones(2, 2)}, "ref_labels=None needs"),
        (
            {
                "labels": torch.zeros(4),
                "lineage": torch.zeros(4),
                "ref_emb": torch.ones(2, 2),
                "ref_labels": torch.ones(2),
            },
            "ref_lineage=None must be",
        ),
        ({"indices_tuple": (torch.tensor([0]),) * 2, "lineage": torch.zeros(4)}, "indices_tuple has 2 tensors"),
    ],
)
def test_wrong_batches_are_refused(kwargs: dict[str, Any], sentence: str) -> None:
    """A batch that does not fit together is refused in a sentence."""
    with pytest.raises(DynaclrError, match=sentence):
        NTXentHCL(mask_same_lineage=True)(**{"embeddings": torch.ones(4, 2), **kwargs})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: the GPU path of the loss is not run")
@pytest.mark.parametrize("labels_on", ["cpu", "cuda"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_on_the_gpu_as_on_the_cpu(labels_on: str, dtype: torch.dtype) -> None:
    """The GPU computes the same loss, wherever the labels are."""
    embeddings, labels = random_batch(7, rows=256, classes=128, width=32)
    loss = NTXentHCL(0.05, 1.0, tau_plus=0.05)
    expected = loss(embeddings.to(dtype), labels)
    with torch.autocast("cuda", dtype=torch.float16):
        seen = loss(embeddings.to("cuda", dtype), labels.to(labels_on))
    torch.testing.assert_close(seen.cpu(), expected, rtol=1e-3, atol=1e-4)
