"""The loss against a naive one: same value, finite everywhere, harder with beta."""

from __future__ import annotations

import copy
import itertools
import math
import subprocess
import sys
from typing import Any

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
from dynaclr.loss import NTXentHCL

HALVES = (torch.float16, torch.bfloat16)
DTYPES = (*HALVES, torch.float32)


def naive_loss(
    embeddings: Tensor,
    labels: list[int],
    *,
    temperature: float,
    beta: float,
    tau_plus: float = 0.0,
    lineage: list[int] | None = None,
) -> float:
    """Return the loss as its definition reads, with Python's floats and one loop per sum."""
    rows = embeddings.double()
    units = [row / max(float(row.norm()), 1e-12) for row in rows]
    cosine = [[float(a @ b) for b in units] for a in units]
    losses = []
    for i, own in enumerate(labels):
        others = [j for j, label in enumerate(labels) if label != own]
        if lineage is not None:
            others = [j for j in others if lineage[j] != lineage[i]]
        for p in (j for j, label in enumerate(labels) if label == own and j != i):
            if not others:
                losses.append(0.0)
                continue
            weights = [math.exp(beta * cosine[i][n]) for n in others]
            mean = sum(weights) / len(weights)
            terms = [w / mean * math.exp(cosine[i][n] / temperature) for w, n in zip(weights, others, strict=True)]
            top = math.exp(cosine[i][p] / temperature)
            debiased = (sum(terms) - tau_plus * len(others) * top) / (1 - tau_plus)
            bottom = max(debiased, len(others) * math.exp(-1 / temperature)) if tau_plus else debiased
            losses.append(-math.log(top / (top + bottom)))
    return sum(losses) / len(losses) if losses else 0.0


@st.composite
def batches(draw: st.DrawFn, *, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Embeddings and labels; zero, equal, opposite and collinear rows are common, some labels are alone."""
    labels = draw(st.lists(st.integers(0, 4), min_size=1, max_size=9), label="labels")
    width = draw(st.integers(1, 4), label="width")
    row = st.lists(st.integers(-2, 2), min_size=width, max_size=width)
    rows = draw(st.lists(row, min_size=len(labels), max_size=len(labels)), label="rows")
    return torch.tensor(rows, dtype=dtype), torch.tensor(labels)


temperatures = st.sampled_from([0.01, 0.07, 0.5, 2.0])
betas = st.sampled_from([0.0, 0.5, 1.0, 7.0])


@given(batches(), temperatures, betas, st.sampled_from([0.0, 0.1, 0.6]))
def test_equals_the_naive_loss(batch: tuple[Tensor, Tensor], temperature: float, beta: float, tau: float) -> None:
    """The loss is the definition, for every batch, temperature, beta and tau_plus."""
    embeddings, labels = batch
    expected = naive_loss(embeddings, labels.tolist(), temperature=temperature, beta=beta, tau_plus=tau)
    seen = NTXentHCL(temperature, beta, tau_plus=tau)(embeddings, labels)
    assert seen.item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(batches(), temperatures)
def test_beta_zero_is_ntxent(batch: tuple[Tensor, Tensor], temperature: float) -> None:
    """With beta 0 value and gradient are those of NTXentLoss, with several positives per anchor too."""
    ours, theirs = batch[0].clone().requires_grad_(), batch[0].clone().requires_grad_()
    seen, expected = NTXentHCL(temperature, beta=0.0)(ours, batch[1]), NTXentLoss(temperature)(theirs, batch[1])
    torch.testing.assert_close(seen, expected, rtol=1e-9, atol=1e-9)
    seen.backward()
    expected.backward()
    assert ours.grad is not None
    assert theirs.grad is not None
    nonzero = batch[0].abs().sum(1) > 0  # at a zero row the direction is undefined, and so is its gradient
    torch.testing.assert_close(ours.grad[nonzero], theirs.grad[nonzero], rtol=1e-7, atol=1e-9)


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


@given(batches(), temperatures, st.lists(st.floats(0, 30), min_size=2, max_size=5), st.sampled_from([0.0, 0.2]))
def test_never_decreases_with_beta(
    batch: tuple[Tensor, Tensor], temperature: float, growing: list[float], tau_plus: float
) -> None:
    """A greater beta never gives a smaller loss."""
    losses = [NTXentHCL(temperature, beta, tau_plus=tau_plus)(*batch).item() for beta in sorted(growing)]
    for before, after in itertools.pairwise(losses):
        assert after >= before - 1e-9


def test_grows_with_beta_where_negatives_differ() -> None:
    """The weights do something: with unequal negatives the loss strictly grows."""
    batch = random_batch(2)
    losses = [NTXentHCL(0.1, beta)(*batch).item() for beta in (0.0, 0.5, 2.0, 10.0)]
    assert losses == sorted(set(losses))
    assert losses[-1] > losses[0] + 0.1


@given(batches(), temperatures, betas)
def test_cosine_and_logit_are_one_loss(batch: tuple[Tensor, Tensor], temperature: float, beta: float) -> None:
    """Beta on the cosine is beta * temperature on the logit, and `published_beta` is the latter."""
    cosine = NTXentHCL(temperature, beta, beta_on="cosine")
    logit = NTXentHCL(temperature, beta * temperature, beta_on="logit")
    assert cosine.published_beta == logit.published_beta == beta * temperature
    torch.testing.assert_close(cosine(*batch), logit(*batch))


@given(batches(), betas, st.randoms(use_true_random=False))
def test_order_of_the_batch_does_not_matter(batch: tuple[Tensor, Tensor], beta: float, random: Any) -> None:
    """Permuting the rows, or renaming the labels, leaves the loss as it is."""
    embeddings, labels = batch
    order = torch.tensor(random.sample(range(len(labels)), len(labels)))
    loss = NTXentHCL(0.1, beta)
    torch.testing.assert_close(loss(embeddings[order], 10 - labels[order]), loss(embeddings, labels))


@given(batches(), betas, st.integers(0, 1000), st.floats(1e-3, 1e3))
def test_rotation_and_length_do_not_matter(batch: tuple[Tensor, Tensor], beta: float, seed: int, length: float) -> None:
    """Rotating all embeddings, or stretching them, leaves the loss as it is."""
    embeddings, labels = batch
    width = embeddings.shape[1]
    square = torch.randn(width, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    rotation = torch.linalg.qr(square).Q
    loss = NTXentHCL(0.1, beta)
    torch.testing.assert_close(loss(embeddings @ rotation * length, labels), loss(embeddings, labels))


@given(batches(), betas, st.data())
def test_masked_lineages_are_no_negatives(batch: tuple[Tensor, Tensor], beta: float, data: st.DataObject) -> None:
    """With `mask_same_lineage`, rows of one lineage are not negatives; without it, lineage is not looked at."""
    embeddings, labels = batch
    codes = st.lists(st.integers(0, 2), min_size=len(labels), max_size=len(labels))
    lineage = data.draw(codes, label="lineage")
    masked = NTXentHCL(0.1, beta, mask_same_lineage=True)(embeddings, labels, lineage=torch.tensor(lineage))
    expected = naive_loss(embeddings, labels.tolist(), temperature=0.1, beta=beta, lineage=lineage)
    assert masked.item() == pytest.approx(expected, rel=1e-9, abs=1e-9)
    plain = NTXentHCL(0.1, beta)
    assert plain(embeddings, labels, lineage=torch.tensor(lineage)) == plain(embeddings, labels)


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


@given(st.integers(0, 20), betas, st.sampled_from([0.0, 0.1]), st.sampled_from([0.07, 1.0]))
def test_gradients_are_those_of_finite_differences(seed: int, beta: float, tau_plus: float, temperature: float) -> None:
    """The gradient is the derivative, through the weights too (float64)."""
    embeddings, labels = random_batch(seed, rows=7, classes=3, width=3)
    loss = NTXentHCL(temperature, beta, tau_plus=tau_plus)
    assert torch.autograd.gradcheck(lambda rows: loss(rows, labels), embeddings.requires_grad_(), atol=1e-6)


@st.composite
def extremes(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Batches in half and single precision with rows at both ends of the dtype's range."""
    dtype = draw(st.sampled_from(DTYPES), label="dtype")
    limits = torch.finfo(dtype)
    largest = limits.max
    entry = st.sampled_from([0.0, 1.0, -1.0, 1e-3, limits.tiny, -limits.smallest_normal / 4, largest, -largest])
    width = draw(st.integers(1, 3), label="width")
    row = st.lists(entry, min_size=width, max_size=width)
    rows = draw(st.lists(row, min_size=2, max_size=6), label="rows")
    labels = st.lists(st.integers(0, 2), min_size=len(rows), max_size=len(rows))
    return torch.tensor(rows, dtype=dtype), torch.tensor(draw(labels, label="labels"))


@given(extremes(), st.sampled_from([0.01, 0.07]), st.sampled_from([0.0, 0.5, 1e4]), st.sampled_from([0.0, 0.1]))
def test_finite_at_the_ends_of_every_dtype(
    batch: tuple[Tensor, Tensor], temperature: float, beta: float, tau_plus: float
) -> None:
    """Loss and gradients are finite for zero, tiny, huge, equal and opposite rows, at temperature 0.01 too."""
    embeddings, labels = batch[0].requires_grad_(), batch[1]
    loss = NTXentHCL(temperature, beta, tau_plus=tau_plus)(embeddings, labels)
    loss.backward()
    assert embeddings.grad is not None
    assert embeddings.grad.dtype == embeddings.dtype
    assert torch.isfinite(loss)
    assert torch.isfinite(embeddings.grad).all()


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


@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 3], [0]], ids=["no negatives", "no positives", "one row"])
@pytest.mark.parametrize("tau_plus", [0.0, 0.1])
@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_with_a_gradient_without_pairs(labels: list[int], tau_plus: float, dtype: torch.dtype) -> None:
    """A batch without negatives or without positives costs nothing, and backward still works."""
    embeddings = torch.ones(len(labels), 3, dtype=dtype, requires_grad=True)
    loss = NTXentHCL(tau_plus=tau_plus)(embeddings, torch.tensor(labels))
    loss.backward()
    assert loss == 0
    assert torch.equal(embeddings.grad, torch.zeros_like(embeddings))  # type: ignore[arg-type]


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


def test_does_not_import_monai() -> None:
    """The loss alone does not wait for MONAI."""
    code = "import sys, dynaclr.loss; sys.exit('monai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("kwargs", "sentence"),
    [
        ({"temperature": 0}, r"temperature=0 must be a finite number above 0"),
        ({"temperature": math.inf}, r"temperature=inf must be"),
        ({"temperature": math.nan}, r"temperature=nan must be"),
        ({"beta": -0.1}, r"beta=-0.1 must be a finite number of at least 0"),
        ({"beta": math.inf}, r"beta=inf must be"),
        ({"tau_plus": 1.0}, r"tau_plus=1.0 must be a number in \[0, 1\)"),
        ({"beta_on": "logits"}, r"beta_on='logits' must be 'cosine' or 'logit'; did you mean 'logit'\?"),
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
