# ruff: noqa: D102 - overrides do the wrong thing on purpose, as their class says
"""Broken losses for each law: a plain loss in double precision with a single defect, and a case on which it shows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from dynaclr_strategies.loss_descriptions import EmbeddingsDescription, LossCase, RowDescription


def _rows(*rows: tuple[int, tuple[int, ...]], exponent: int = 0) -> tuple[RowDescription, ...]:
    return tuple(
        RowDescription(label=label, entries=entries, exponent=exponent, lineage=i % 2)
        for i, (label, entries) in enumerate(rows)
    )


BATCH = EmbeddingsDescription(
    rows=_rows((0, (2, 1)), (0, (1, 0)), (1, (1, 3)), (1, (0, 1)), (2, (-1, 1)), (2, (-1, -1)), (0, (2, -1)))
)
CASE = LossCase(embeddings=BATCH, beta=1.0)


def case(batch: EmbeddingsDescription = BATCH, **parameters: Any) -> LossCase:
    """Return the plain case with other parameters."""
    return replace(CASE, embeddings=batch, **parameters)


def long(exponent: int, dtype: Any = "float64", rows: tuple[RowDescription, ...] = BATCH.rows) -> EmbeddingsDescription:
    """Return the plain batch with rows of another length."""
    return EmbeddingsDescription(rows=tuple(replace(row, exponent=exponent) for row in rows), dtype=dtype)


class PlainLoss:
    """The loss with one matrix for each of its terms, in double precision."""

    def __init__(self, of: LossCase) -> None:
        self.case = of
        self.beta = of.beta if of.beta_on == "cosine" else of.beta / of.temperature

    def __call__(self, embeddings: Tensor, labels: Tensor, lineage: Tensor | None = None) -> Tensor:
        units = self.unit(embeddings.double())
        cosines = units @ units.T
        same = self.same(labels)
        positives, negatives = same & ~torch.eye(len(labels), dtype=torch.bool), ~same
        if self.case.mask_same_lineage and lineage is not None:
            negatives = negatives & (lineage[:, None] != lineage)
        anchors, theirs = torch.nonzero(positives, as_tuple=True)
        if len(anchors) == 0:
            return self.nothing(embeddings)
        losses = self.losses(cosines, negatives, anchors, theirs)
        return self.mean(losses, anchors)

    def unit(self, rows: Tensor) -> Tensor:
        return rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-12)

    def same(self, labels: Tensor) -> Tensor:
        return labels[:, None] == labels

    def nothing(self, embeddings: Tensor) -> Tensor:
        return embeddings.sum() * 0

    def weights(self, cosines: Tensor, negatives: Tensor) -> Tensor:
        """Return the logarithms of the weights."""
        hard = self.hardness(cosines)
        count = negatives.sum(1, keepdim=True).double()
        return hard - hard.masked_fill(~negatives, -1e6).logsumexp(1, keepdim=True) + count.clamp(min=1).log()

    def hardness(self, cosines: Tensor) -> Tensor:
        return self.beta * cosines

    def losses(self, cosines: Tensor, negatives: Tensor, anchors: Tensor, theirs: Tensor) -> Tensor:
        scores = cosines / self.case.temperature
        weighted = (scores + self.weights(cosines, negatives)).masked_fill(~negatives, -1e6)
        total, count = weighted.logsumexp(1)[anchors].exp(), negatives.sum(1).double()[anchors]
        positive = scores[anchors, theirs]
        if self.case.tau_plus:
            total = total - self.case.tau_plus * count * positive.exp()
            total = torch.maximum(total / (1 - self.case.tau_plus), self.floor(count))
        return torch.log1p(total / positive.exp()).masked_fill(count == 0, 0)

    def floor(self, count: Tensor) -> Tensor:
        return count * math.exp(-1 / self.case.temperature)

    def mean(self, losses: Tensor, anchors: Tensor) -> Tensor:  # noqa: ARG002 - overrides need the anchors
        return losses.mean()


@dataclass(frozen=True)
class Witness:
    """A broken loss and a case on which its law has to notice."""

    law: str
    make: Callable[[LossCase], Any]
    case: LossCase

    @property
    def name(self) -> str:
        """What a test is called."""
        return f"{self.law}: {self.make.__name__}"


WITNESSES: list[Witness] = []


def witness(law: str, shown_by: LossCase = CASE) -> Any:
    """List a broken loss as a witness of a law."""

    def enlist(make: Any) -> Any:
        WITNESSES.append(Witness(law, make, shown_by))
        return make

    return enlist


# --- values -----------------------------------------------------------------------------------------------------------


@witness("loss-equals-reference")
@witness("loss-beta-zero-is-ntxent")
class AllPositivesBelow(PlainLoss):
    """Has the anchor's other positives in the denominator, as supervised contrastive losses do."""

    def losses(self, cosines: Tensor, negatives: Tensor, anchors: Tensor, theirs: Tensor) -> Tensor:
        losses = super().losses(cosines, negatives, anchors, theirs)
        return losses + 0.1 * (torch.bincount(anchors)[anchors] > 1)


@witness("loss-beta-zero-is-ntxent")
class MeanOverAnchors(PlainLoss):
    """Takes the mean over the positives of each anchor first."""

    def mean(self, losses: Tensor, anchors: Tensor) -> Tensor:
        return torch.stack([losses[anchors == anchor].mean() for anchor in anchors.unique()]).mean()


@witness("loss-equals-reference", case(replace(BATCH, dtype="bfloat16"), temperature=0.07))
class InHalfPrecision(PlainLoss):
    """Leaves the cosines of half-precision embeddings in half precision."""

    def unit(self, rows: Tensor) -> Tensor:
        return super().unit(rows).bfloat16().double()


@witness("loss-equals-reference")
@witness("loss-cosine-and-logit-are-one")
class BetaAlwaysOnTheLogit(PlainLoss):
    """Does not look at `beta_on`."""

    def hardness(self, cosines: Tensor) -> Tensor:
        return self.case.beta * cosines / self.case.temperature


@witness("loss-masks-lineages", case(mask_same_lineage=True))
class MaskIgnored(PlainLoss):
    """Takes relatives for negatives."""

    def __call__(self, embeddings: Tensor, labels: Tensor, lineage: Tensor | None = None) -> Tensor:  # noqa: ARG002
        return super().__call__(embeddings, labels)


@witness("loss-masks-lineages", case(mask_same_lineage=True))
class MasksUnasked(PlainLoss):
    """Masks lineages whenever it is told of them."""

    def __init__(self, of: LossCase) -> None:
        super().__init__(replace(of, mask_same_lineage=True))


@witness("loss-weights-have-mean-one")
class WeightsAsTheyAre(PlainLoss):
    """Does not normalise the weights."""

    def weights(self, cosines: Tensor, negatives: Tensor) -> Tensor:  # noqa: ARG002
        return self.hardness(cosines)


@witness("loss-weights-have-mean-one")
class WeightsOfSumOne(PlainLoss):
    """Divides the weights by their sum, so that the loss no longer depends on the number of negatives."""

    def weights(self, cosines: Tensor, negatives: Tensor) -> Tensor:
        weights = super().weights(cosines, negatives)
        return weights - negatives.sum(1, keepdim=True).double().clamp(min=1).log() if self.beta else weights


@witness("loss-debiased-has-a-floor", case(tau_plus=0.1))
class NoFloor(PlainLoss):
    """Keeps the debiased sum above 0 and no more."""

    def floor(self, count: Tensor) -> Tensor:
        return torch.full_like(count, 1e-8, dtype=torch.float64)


@witness("loss-debiased-has-a-floor", case(tau_plus=0.1))
class FloorOfOneNegative(PlainLoss):
    """Leaves the number of negatives out of the floor."""

    def floor(self, count: Tensor) -> Tensor:
        return super().floor(torch.ones_like(count))


@witness("loss-zero-without-pairs")
class ZeroWithoutGradient(PlainLoss):
    """Returns a new zero where there is nothing to compare, and training stops there."""

    def nothing(self, embeddings: Tensor) -> Tensor:  # noqa: ARG002
        return torch.zeros(())


@witness("loss-zero-without-pairs")
class MeanOfNothing(PlainLoss):
    """Takes the mean over no pairs, which is NaN."""

    def nothing(self, embeddings: Tensor) -> Tensor:
        return embeddings[:0].mean()


# --- what does not matter, and what does ------------------------------------------------------------------------------


@witness("loss-ignores-order")
class NegativesOfLowerLabels(PlainLoss):
    """Takes embeddings of a greater label for relatives."""

    def losses(self, cosines: Tensor, negatives: Tensor, anchors: Tensor, theirs: Tensor) -> Tensor:
        return super().losses(cosines, negatives.tril(), anchors, theirs)


@witness("loss-ignores-order")
class LabelsAsNumbers(PlainLoss):
    """Calculates with the labels."""

    def same(self, labels: Tensor) -> Tensor:
        return labels[:, None].clamp(max=1) == labels.clamp(max=1)


@witness("loss-ignores-rotation")
class ManhattanNorm(PlainLoss):
    """Divides by the sum of the entries' sizes."""

    def unit(self, rows: Tensor) -> Tensor:
        return rows / rows.abs().sum(1, keepdim=True).clamp(min=1e-12)


@witness("loss-ignores-rotation")
class ForgetsAFeature(PlainLoss):
    """Leaves the last feature out."""

    def unit(self, rows: Tensor) -> Tensor:
        return super().unit(rows[:, :-1])


@witness("loss-ignores-norms")
class NotNormalised(PlainLoss):
    """Multiplies embeddings as they are."""

    def unit(self, rows: Tensor) -> Tensor:
        return rows


@witness("loss-ignores-norms", case(long(-10)))
class SomethingAddedToTheNorm(PlainLoss):
    """Adds a small number to the norms instead of taking the greater one, which short embeddings feel."""

    def unit(self, rows: Tensor) -> Tensor:
        return rows / (rows.norm(dim=1, keepdim=True) + 1e-8)


@witness("loss-grows-with-beta")
class EasyNegativesCount(PlainLoss):
    """Has the sign of beta wrong."""

    def hardness(self, cosines: Tensor) -> Tensor:
        return -self.beta * cosines


@witness("loss-grows-with-beta")
class BetaIgnored(PlainLoss):
    """Weights all negatives alike."""

    def hardness(self, cosines: Tensor) -> Tensor:
        return 0 * cosines


# --- gradients and extremes -------------------------------------------------------------------------------------------


@witness("loss-gradient-is-the-derivative")
class WeightsWithoutGradient(PlainLoss):
    """Takes the weights for constants."""

    def hardness(self, cosines: Tensor) -> Tensor:
        return super().hardness(cosines).detach()


@witness("loss-gradient-is-the-derivative")
class NormsWithoutGradient(PlainLoss):
    """Takes the norms for constants."""

    def unit(self, rows: Tensor) -> Tensor:
        return rows / rows.detach().norm(dim=1, keepdim=True).clamp(min=1e-12)


@witness("loss-gradient-is-the-derivative", case(long(-24, "float16")))
@witness("loss-is-finite", case(long(-24, "float16"), temperature=0.01))
class GradientOutOfRange(PlainLoss):
    """Lets the gradient of tiny embeddings grow beyond what half precision holds."""


@witness("loss-is-finite", case(long(-560)))
@witness("loss-is-finite", case(long(14, "float16")))
class SquaresOutOfRange(PlainLoss):
    """Squares embeddings in their own dtype, however long or short they are."""

    def __call__(self, embeddings: Tensor, labels: Tensor, lineage: Tensor | None = None) -> Tensor:
        return super().__call__(embeddings / (embeddings**2).sum(1, keepdim=True).sqrt(), labels, lineage)


OPPOSITE = EmbeddingsDescription(rows=_rows((0, (1,)), (0, (-1,)), (1, (1,)), (1, (-1,))), dtype="float32")


@witness("loss-is-finite", case(OPPOSITE, temperature=0.01))
class OutOfLogSpace(PlainLoss):
    """Takes the exponential of logits in single precision."""

    def losses(self, cosines: Tensor, negatives: Tensor, anchors: Tensor, theirs: Tensor) -> Tensor:
        scores = (cosines / self.case.temperature).float().exp()
        total = (scores * negatives).sum(1)[anchors]
        return -torch.log(scores[anchors, theirs] / total)
