"""NT-Xent with hard-negative concentration, on the matrix of similarities instead of on lists of pairs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.losses import NTXentLoss
from torch import Tensor
from torch.nn import functional

from dynaclr.checks import is_number, truth
from dynaclr.errors import DynaclrError, did_you_mean
from dynaclr.log_sum import log_weighted_mean

__all__ = ["BetaOn", "NTXentHCL"]

BetaOn = Literal["cosine", "logit"]

NORM_FLOOR = 1e-12
"""Shorter embeddings are divided by this instead of by their norm, as in pytorch-metric-learning."""

_SHRINK = 2.0**-16
"""The norm of a row may be infinite although its entries are not; this part of it is finite up to 2**32 features."""

LARGEST_BETA = 1e30
"""All weight is on the hardest negative long before; far beyond, float32 would make it zero times infinity."""


class NTXentHCL(NTXentLoss):  # type: ignore[misc]
    r"""NT-Xent in which hard negatives count more.

    For an anchor :math:`i`, one of its positives :math:`p` and its negatives :math:`n`, with cosine similarity
    :math:`c` and temperature :math:`T`, the loss is the mean over all pairs of anchor and positive of

    .. math::

        -\log \frac{e^{c_{ip} / T}}{e^{c_{ip} / T} + \sum_n w_{in} e^{c_{in} / T}}, \qquad
        w_{in} = \frac{e^{\beta c_{in}}}{\operatorname{mean}_m e^{\beta c_{im}}}

    (NT-Xent: Chen et al., SimCLR, 2020; weights: Robinson et al., *Contrastive Learning with Hard Negative
    Samples*, ICLR 2021). The weights of an anchor have mean 1, so the size of the loss is kept. With ``beta=0``
    this is ``NTXentLoss``, also for several positives per anchor, pairs chosen by a miner and reference embeddings.
    The loss never decreases when beta grows.

    The published loss puts beta on the logit, :math:`w \propto e^{\beta c / T}`. ``beta_on="cosine"`` with beta is
    therefore ``beta_on="logit"`` with ``beta * temperature``: the default, 0.5 on the cosine at temperature 0.07,
    has an effective published beta of 0.035 (`published_beta`), where the paper recommends values near 1.

    Everything is computed in float32 (float64 for float64 embeddings), under autocast too, and in log space.
    Gradients are finite in the dtype of the embeddings: one that float16 cannot hold becomes its largest number.
    Memory is of the order of (number of embeddings) x (number of references).

    Parameters
    ----------
    temperature
        Divides the cosine; positive and finite.
    beta
        Concentration on hard negatives, at most 1e30; 0 weights all negatives alike.
    beta_on
        What beta multiplies in the weights' exponent: ``"cosine"``, or ``"logit"``, the cosine over the temperature.
    tau_plus
        Prior probability, in [0, 1), that a negative is of the anchor's own class. Above 0, the sum over the
        anchor's N negatives is debiased to :math:`(\sum_n w e^{c/T} - \tau^+ N e^{c_{ip}/T}) / (1 - \tau^+)`, but
        not below :math:`N e^{-1/T}` (Robinson et al., equation 10; Chuang et al., NeurIPS 2020).
    mask_same_lineage
        Whether embeddings of one lineage are never negatives of each other; `forward` then needs ``lineage``.
    **kwargs
        ``reducer``, ``embedding_regularizer``, ``embedding_reg_weight``, ``collect_stats`` and ``distance`` of
        ``NTXentLoss``; the distance can only be its default, ``CosineSimilarity()``.

    Attributes
    ----------
    last_clamped_share : Tensor
        Share of the pairs of anchor and positive (with one positive per anchor: of the anchors) of the last forward
        that succeeded at which the debiased sum fell below its floor. Zero without ``tau_plus``. It stays on the
        device.

    Raises
    ------
    DynaclrError
        If a parameter is outside its range.
    """

    last_clamped_share: Tensor

    def __init__(
        self,
        temperature: float = 0.07,
        beta: float = 0.5,
        beta_on: BetaOn = "cosine",
        tau_plus: float = 0.0,
        mask_same_lineage: bool = False,
        **kwargs: Any,
    ) -> None:
        temperature = _number("temperature", temperature, lambda value: value > 0, "a finite number above 0")
        needs = f"a finite number from 0 to {LARGEST_BETA:g}"
        beta = _number("beta", beta, lambda value: 0 <= value <= LARGEST_BETA, needs)
        tau_plus = _number("tau_plus", tau_plus, lambda value: 0 <= value < 1, "a number in [0, 1)")
        if beta_on not in get_args(BetaOn):
            names = " or ".join(map(repr, get_args(BetaOn)))
            raise DynaclrError(f"beta_on={beta_on!r} must be {names}{did_you_mean(beta_on, get_args(BetaOn))}")
        super().__init__(temperature=temperature, **kwargs)
        plain = isinstance(self.distance, CosineSimilarity) and self.distance.p == 2 and self.distance.power == 1
        if not plain:
            raise DynaclrError(
                f"distance={self.distance!r} is not supported: NTXentHCL needs the default, CosineSimilarity()"
            )
        self.beta = beta
        self.beta_on = beta_on
        self.tau_plus = tau_plus
        self.mask_same_lineage = truth("mask_same_lineage", mask_same_lineage)
        self.last_clamped_share = torch.zeros(())
        self.add_to_recordable_attributes(list_of_names=["beta", "tau_plus"], is_stat=False)

    @property
    def published_beta(self) -> float:
        """Beta as Robinson et al. define it: as a factor of the logit."""
        return self.beta * self.temperature if self.beta_on == "cosine" else self.beta

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        indices_tuple: tuple[Tensor, ...] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        lineage: Tensor | None = None,
        ref_lineage: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of a batch.

        Parameters
        ----------
        embeddings
            Shape (n, features); of any length, they are normalised here.
        labels
            Shape (n,): embeddings with the same label are positives, all others negatives. If they are on the CPU
            the positives are found there, and the device is never waited for.
        indices_tuple
            Pairs (anchors, positives, anchors, negatives) or triplets from a miner, instead of all pairs. A pair
            that occurs twice counts twice.
        ref_emb, ref_labels
            Positives and negatives are taken from these, shape (m, features) and (m,), if given.
        lineage, ref_lineage
            Shape (n,) and (m,): codes of the lineages, read with ``mask_same_lineage`` only.

        Returns
        -------
        Tensor
            The reduced loss, a scalar; a zero with a gradient if there is no positive or no negative pair.

        Raises
        ------
        DynaclrError
            If shapes do not fit together or something needed is missing.
        """
        batch = _Batch(embeddings, labels, ref_emb, ref_labels, lineage, ref_lineage)
        batch.check(indices_tuple, needs_lineage=self.mask_same_lineage)
        pairs = _Pairs.of(batch, indices_tuple, mask_same_lineage=self.mask_same_lineage)
        loss: Tensor = super().forward(embeddings, labels, pairs, ref_emb, ref_labels)
        return loss

    def compute_loss(
        self, embeddings: Tensor, labels: Tensor | None, pairs: _Pairs, ref_emb: Tensor, ref_labels: Tensor | None
    ) -> dict[str, dict[str, Any]]:
        """Return what the reducer takes: one loss per pair of anchor and positive (called by ``forward``)."""
        del labels, ref_labels  # `pairs` holds what they say
        if pairs.are_too_few:
            self.last_clamped_share = torch.zeros((), device=embeddings.device)
            zero: dict[str, dict[str, Any]] = self.zero_losses()
            return zero
        with torch.autocast(embeddings.device.type, enabled=False):
            anchors = _unit(embeddings)
            references = anchors if ref_emb is embeddings else _unit(ref_emb).to(anchors.dtype)
            losses = self._pair_losses((anchors / self.temperature) @ references.T, pairs)
        indices = (pairs.anchors, pairs.positives)
        return {"loss": {"losses": losses, "indices": indices, "reduction_type": "pos_pair"}}

    def _pair_losses(self, logits: Tensor, pairs: _Pairs) -> Tensor:
        """Return one loss per positive pair; overwrites ``logits``, which may be as large as memory allows."""
        # `index_select` and not brackets, whose gradient costs three times as much
        positive = logits.flatten().index_select(0, pairs.anchors * logits.shape[1] + pairs.positives)
        # A beta that is 0 in the dtype of the logits would make minus infinity NaN.
        beta = self.published_beta if self.published_beta >= torch.finfo(logits.dtype).tiny else 0.0
        of_anchors = _log_weighted_sum(logits, pairs, beta)
        negative, log_count, alone = (each.index_select(0, pairs.anchors) for each in of_anchors)
        # -log(e^s / (e^s + e^D)) = softplus(D - s); beyond 40, softplus is its argument in float64 too
        margin = negative - positive
        if self.tau_plus:
            margin, clamped = _debiased(margin, positive, log_count, self.tau_plus, 1 / self.temperature)
            self.last_clamped_share = clamped.masked_fill(alone, False).mean(dtype=torch.float32)
        else:
            self.last_clamped_share = torch.zeros((), device=margin.device)
        losses = functional.softplus(margin, threshold=40)
        return losses.masked_fill(alone, 0)


@dataclass(frozen=True)
class _Batch:
    """What `NTXentHCL.forward` was given."""

    embeddings: Tensor
    labels: Tensor | None
    ref_emb: Tensor | None
    ref_labels: Tensor | None
    lineage: Tensor | None
    ref_lineage: Tensor | None

    def check(self, indices_tuple: object, *, needs_lineage: bool) -> None:
        if self.labels is None and indices_tuple is None:
            raise DynaclrError("labels=None needs an indices_tuple that says which pairs to compare")
        for name, rows in (("embeddings", self.embeddings), ("ref_emb", self.ref_emb)):
            if rows is not None and rows.ndim != 2:
                raise DynaclrError(f"{name} of shape {tuple(rows.shape)} must have the shape (rows, features)")
        for name, codes, of, rows in (
            ("labels", self.labels, "embeddings", self.embeddings),
            ("lineage", self.lineage, "embeddings", self.embeddings),
            ("ref_labels", self.ref_labels, "ref_emb", self.ref_emb),
            ("ref_lineage", self.ref_lineage, "ref_emb", self.ref_emb),
        ):
            if codes is not None and rows is not None and codes.shape != rows.shape[:1]:
                raise DynaclrError(
                    f"{name} of shape {tuple(codes.shape)} must have the shape {tuple(rows.shape[:1])}, "
                    f"one code per row of {of}"
                )
        if self.ref_emb is not None and self.ref_labels is None and indices_tuple is None:
            raise DynaclrError("ref_labels=None needs an indices_tuple, or the labels of ref_emb")
        if needs_lineage and self.lineage is None:
            raise DynaclrError("lineage=None must be a tensor of codes, because mask_same_lineage=True")
        if needs_lineage and self.ref_emb is not None and self.ref_lineage is None:
            raise DynaclrError("ref_lineage=None must be a tensor of codes, because mask_same_lineage=True")

    @property
    def shape(self) -> tuple[int, int]:
        references = self.embeddings if self.ref_emb is None else self.ref_emb
        return len(self.embeddings), len(references)

    @property
    def device(self) -> torch.device:
        return self.embeddings.device

    def same_lineage(self) -> Tensor | None:
        if self.lineage is None:
            return None
        references = self.lineage if self.ref_emb is None else self.ref_lineage
        assert references is not None  # noqa: S101 - `check` has seen to it; this is for the type checker
        return self.lineage.to(self.device)[:, None] == references.to(self.device)[None, :]


@dataclass(frozen=True)
class _Pairs:
    """Which pairs are compared: positives as a list (one per anchor in training), negatives as a matrix.

    `excluded` is true where a reference is no negative of an anchor; `times`, if not None, says how often each
    negative pair occurs. `are_too_few` is true where ``NTXentLoss`` returns zero without looking.
    """

    anchors: Tensor
    positives: Tensor
    excluded: Tensor
    times: Tensor | None
    are_too_few: bool

    @classmethod
    def of(cls, batch: _Batch, indices_tuple: tuple[Tensor, ...] | None, *, mask_same_lineage: bool) -> _Pairs:
        pairs = cls._by_labels(batch) if indices_tuple is None else cls._by_indices(batch, indices_tuple)
        relatives = batch.same_lineage() if mask_same_lineage else None
        if relatives is None:
            return pairs
        excluded = pairs.excluded | relatives
        times = None if pairs.times is None else pairs.times.masked_fill(excluded, 0)
        return cls(pairs.anchors, pairs.positives, excluded, times, pairs.are_too_few)

    @classmethod
    def _by_labels(cls, batch: _Batch) -> _Pairs:
        labels = batch.labels
        assert labels is not None  # noqa: S101 - `_Batch.check` has seen to it; this is for the type checker
        ref_labels = labels if batch.ref_labels is None or batch.ref_emb is None else batch.ref_labels
        matches = labels[:, None] == ref_labels.to(labels.device)[None, :]
        excluded = matches.to(batch.device, non_blocking=batch.device.type == "cuda")
        if ref_labels is labels:
            matches = matches.clone().fill_diagonal_(False)
        anchors, positives = torch.nonzero(matches, as_tuple=True)
        too_few = len(anchors) == 0 or math.prod(batch.shape) <= 2
        device = batch.device
        return cls(anchors.to(device), positives.to(device), excluded, times=None, are_too_few=too_few)

    @classmethod
    def _by_indices(cls, batch: _Batch, indices_tuple: tuple[Tensor, ...]) -> _Pairs:
        indices = [index.to(batch.device) for index in indices_tuple]
        if len(indices) not in (3, 4):
            raise DynaclrError(
                f"indices_tuple has {len(indices)} tensors, but needs 3 (anchors, positives, negatives) "
                "or 4 (anchors, positives, anchors, negatives)"
            )
        anchors, positives, of, negatives = indices if len(indices) == 4 else (*indices[:2], indices[0], indices[2])
        times = torch.zeros(batch.shape, device=batch.device)
        times.index_put_((of, negatives), times.new_ones(()), accumulate=True)
        too_few = len(anchors) == 0 or len(of) == 0 or len(anchors) == len(of) == 1
        return cls(anchors, positives, times == 0, times, too_few)


def _log_weighted_sum(logits: Tensor, pairs: _Pairs, beta: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return log of the sum over negatives of w * exp(logit), log of their number, and who has none.

    Anchors without negatives get arbitrary finite numbers. Overwrites ``logits``.
    """
    with torch.no_grad():  # what is no negative has no part in the sum, and gets no gradient from it
        logits.masked_fill_(pairs.excluded, -torch.inf)
        hardest = logits.amax(1, keepdim=True)
        alone = hardest == -torch.inf
        hardest.masked_fill_(alone, 0)
        times = ~pairs.excluded if pairs.times is None else pairs.times
        log_count = times.sum(1, keepdim=True, dtype=logits.dtype).masked_fill_(alone, 1).log_()
    log_sum = log_weighted_mean(logits, hardest, pairs.times, beta)
    if beta:
        log_sum = log_sum + log_count
    return log_sum.squeeze(1), log_count.squeeze(1), alone.squeeze(1)


def _debiased(
    margin: Tensor, positive: Tensor, log_count: Tensor, tau_plus: float, sharpness: float
) -> tuple[Tensor, Tensor]:
    """Return by how much log of the debiased sum of negatives exceeds the positive's logit, and where its floor counts.

    `margin` is the same for the sum as it is; the floor is ``N * exp(-sharpness)``.
    """
    floor = log_count - sharpness - positive
    # log(e^D - tau N e^s) = D + log(1 - e^x); where x >= 0 the difference is not positive and has no logarithm
    excess = log_count + math.log(tau_plus) - margin
    rest = torch.expm1(excess.clamp(max=-torch.finfo(excess.dtype).tiny)) * (-1 / (1 - tau_plus))
    debiased = margin + rest.log()
    clamped = (excess >= 0) | (debiased < floor)
    return torch.where(clamped, floor, debiased), clamped


def _unit(embeddings: Tensor) -> Tensor:
    """Return the rows at length 1, in at least float32; finite for every finite row, gradients too."""
    unit: Tensor = _Unit.apply(embeddings)  # type: ignore[no-untyped-call]
    return unit


class _Unit(torch.autograd.Function):
    """Rows at length 1, differentiated as a whole: a third of the steps. The gradient of half precision saturates."""

    @staticmethod
    def forward(ctx: Any, embeddings: Tensor) -> Tensor:
        rows = _at_least_float32(embeddings)
        # Dividing by the largest entry first keeps squares from over- and underflowing. The largest entry of the
        # result is 1, its norm is at least 1, unless the row is shorter than the floor: that one stays short.
        unit = rows / rows.abs().amax(1, keepdim=True).clamp_(min=NORM_FLOOR)
        norm = torch.linalg.vector_norm(unit, dim=1, keepdim=True)
        is_short = norm < 1
        unit /= norm.clamp_(min=1)
        ctx.save_for_backward(embeddings, unit, is_short)
        return unit

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        embeddings, unit, is_short = ctx.saved_tensors
        # Of saved inputs and outputs only, so that it can be differentiated again.
        length = (_at_least_float32(embeddings) * (unit * _SHRINK)).sum(1, keepdim=True)
        length = length.masked_fill(is_short, NORM_FLOOR * _SHRINK)
        along = (unit * gradient).sum(1, keepdim=True).masked_fill(is_short, 0)  # of length 1, it can only turn
        of_rows: Tensor = torch.addcmul(gradient, unit, along, value=-1) / length * _SHRINK
        if of_rows.dtype != embeddings.dtype:
            limits = torch.finfo(embeddings.dtype)
            of_rows = of_rows.clamp(limits.min, limits.max).to(embeddings.dtype)
        return of_rows


def _at_least_float32(rows: Tensor) -> Tensor:
    return rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows


def _number(name: str, value: float, fits: Callable[[float], bool], needs: str) -> float:
    if not (is_number(value) and fits(float(value))):  # a float16 cannot be compared with large numbers
        raise DynaclrError(f"{name}={value!r} must be {needs}")
    return float(value)
