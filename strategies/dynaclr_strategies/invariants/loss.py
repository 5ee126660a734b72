"""The laws of the loss: a batch of embeddings goes in, a number and a gradient come out.

``make(case)`` returns the loss, to be called with embeddings and labels, and with ``lineage=`` where the case masks
lineages; tensors of torch all of them. Numbers are compared with a dense reference in float64 to within what rounding
may do to them in their dtype, see `dynaclr_strategies.oracles.loss.DenseLoss.error`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dynaclr_strategies.invariants.base import InvariantViolation, invariant
from dynaclr_strategies.invariants.nearness import used
from dynaclr_strategies.loss_descriptions import FLOATS, EmbeddingsDescription, LossCase, RowDescription
from dynaclr_strategies.oracles.loss import DenseLoss, ntxent

__all__ = [
    "MakeLoss",
    "check_loss_beta_zero_is_ntxent",
    "check_loss_cosine_and_logit_are_one",
    "check_loss_debiased_has_a_floor",
    "check_loss_equals_reference",
    "check_loss_gradient_is_the_derivative",
    "check_loss_grows_with_beta",
    "check_loss_ignores_norms",
    "check_loss_ignores_order",
    "check_loss_ignores_rotation",
    "check_loss_is_finite",
    "check_loss_masks_lineages",
    "check_loss_weights_have_mean_one",
    "check_loss_zero_without_pairs",
]

MakeLoss = Callable[[LossCase], Any]


def _computed(
    make: MakeLoss, case: LossCase, *, lineage: bool | None = None
) -> tuple[float, npt.NDArray[np.float64] | None]:
    """Return the loss of a case and its gradient; None if it has none."""
    import torch

    batch = case.embeddings
    rows = torch.tensor(batch.array()).to(getattr(torch, batch.dtype)).requires_grad_()
    labels = torch.tensor(batch.labels)
    with_lineage = case.mask_same_lineage if lineage is None else lineage
    loss = make(case)(rows, labels, **({"lineage": torch.tensor(batch.lineages)} if with_lineage else {}))
    if loss.requires_grad:
        loss.backward()
    return loss.item(), None if rows.grad is None else rows.grad.double().numpy()


def _value(make: MakeLoss, case: LossCase) -> float:
    return _computed(make, case)[0]


def _where(case: LossCase) -> str:
    return f"{len(case.embeddings.rows)} embeddings in {case.embeddings.dtype}"


def _compare(law: str, where: str, seen: float, expected: float, error: float) -> None:
    used("rounding", abs(seen - expected) / error if error else 0.0)
    if not abs(seen - expected) <= error:  # in this order NaN is a violation
        raise InvariantViolation(where, f"loss {seen!r}", f"{expected!r}, give or take {error:.2g}", law)


def _compare_variant(law: str, make: MakeLoss, case: LossCase, variant: LossCase, how: str) -> None:
    """Check that a case and its variant have the same loss, give or take the rounding of both."""
    error = DenseLoss(case).error() + DenseLoss(variant).error()
    _compare(law, f"{_where(case)}, {how}", _value(make, variant), _value(make, case), error)


def _with_rows(case: LossCase, rows: Iterator[RowDescription] | list[RowDescription]) -> LossCase:
    return replace(case, embeddings=replace(case.embeddings, rows=tuple(rows)))


def _of_usual_length(case: LossCase) -> LossCase:
    """Return the case with rows between 1 and a few, or 0."""
    return _with_rows(case, [replace(row, exponent=0) for row in case.embeddings.rows])


# --- values -----------------------------------------------------------------------------------------------------------


@invariant(
    "loss-equals-reference",
    subject="loss",
    when="no lineage is masked",
    applies=lambda case: not case.mask_same_lineage,
)
def check_loss_equals_reference(make: MakeLoss, case: LossCase) -> None:
    """Every loss is that of its definition, computed densely in float64, to within the rounding of its dtype."""
    dense = DenseLoss(case)
    _compare("loss-equals-reference", _where(case), _value(make, case), dense.value(), dense.error())


@invariant("loss-masks-lineages", subject="loss", when="mask_same_lineage", applies=lambda case: case.mask_same_lineage)
def check_loss_masks_lineages(make: MakeLoss, case: LossCase) -> None:
    """With ``mask_same_lineage`` embeddings of one lineage are no negatives, and without it lineages are not looked at.

    Where all embeddings are of one lineage there are no negatives, and nothing to lose.
    """
    law = "loss-masks-lineages"
    one = _with_rows(case, [replace(row, lineage=0) for row in case.embeddings.rows])
    for variant in (case, one):
        dense = DenseLoss(variant)
        _compare(law, f"{_where(case)}, masked", _value(make, variant), dense.value(), dense.error())
    plain = replace(case, mask_same_lineage=False)
    seen, dense = _computed(make, plain, lineage=True)[0], DenseLoss(plain)
    _compare(law, f"{_where(case)}, with lineages but not masked", seen, dense.value(), dense.error())


@invariant(
    "loss-beta-zero-is-ntxent",
    subject="loss",
    when="no lineage is masked",
    applies=lambda case: not case.mask_same_lineage,
)
def check_loss_beta_zero_is_ntxent(make: MakeLoss, case: LossCase) -> None:
    """With beta 0, and nothing debiased or masked, the loss is ``NTXentLoss`` of pytorch-metric-learning."""
    plain = replace(_of_usual_length(case), beta=0.0, tau_plus=0.0)
    # NTXentLoss rounds in float64, about as often.
    error = DenseLoss(plain).error()
    _compare("loss-beta-zero-is-ntxent", _where(case), _value(make, plain), ntxent(plain), 2 * error)


@invariant("loss-cosine-and-logit-are-one", subject="loss")
def check_loss_cosine_and_logit_are_one(make: MakeLoss, case: LossCase) -> None:
    """Beta on the cosine is the published loss, with beta on the logit, at beta times the temperature."""
    cosine = replace(case, beta_on="cosine")
    logit = replace(case, beta_on="logit", beta=case.beta * case.temperature)
    how = f"beta {logit.beta:g} on the logit instead of {case.beta:g} on the cosine"
    _compare_variant("loss-cosine-and-logit-are-one", make, cosine, logit, how)


@invariant("loss-weights-have-mean-one", subject="loss")
def check_loss_weights_have_mean_one(make: MakeLoss, case: LossCase) -> None:
    """Where the negatives of each anchor are equally hard beta changes nothing, as their weights have mean one."""
    labels = sorted(set(case.embeddings.labels))
    # Any two of these directions are at 60 degrees: not at 90, where a weight is 1 whatever it is divided by.
    corners = {label: (1, *(int(label == other) for other in labels)) for label in labels}
    rows = [replace(row, entries=corners[row.label], exponent=0) for row in case.embeddings.rows]
    weighted = replace(_with_rows(case, rows), beta=case.beta + 1)
    how = f"all negatives at 60 degrees, beta {weighted.beta:g} instead of 0"
    _compare_variant("loss-weights-have-mean-one", make, replace(weighted, beta=0.0), weighted, how)


@invariant("loss-debiased-has-a-floor", subject="loss", when="tau_plus above 0", applies=lambda case: case.tau_plus > 0)
def check_loss_debiased_has_a_floor(make: MakeLoss, case: LossCase) -> None:
    """No debiased sum over N negatives is below N * exp(-1 / temperature), and it is that where they are opposite."""
    law = "loss-debiased-has-a-floor"
    dense = DenseLoss(case)
    seen, least = _value(make, case), dense.at_floor()
    if not seen >= least - dense.error():
        raise InvariantViolation(_where(case), f"loss {seen!r}", f"at least {least!r}", law)
    first = case.embeddings.labels[0]
    rows = [
        replace(row, entries=(1,) if row.label == first else (-1,), label=int(row.label == first), exponent=0)
        for row in case.embeddings.rows
    ]
    opposite = _with_rows(case, rows)
    dense = DenseLoss(opposite)
    where = f"{_where(case)}, all negatives opposite"
    _compare(law, where, _value(make, opposite), dense.at_floor(), dense.error())


@invariant("loss-zero-without-pairs", subject="loss")
def check_loss_zero_without_pairs(make: MakeLoss, case: LossCase) -> None:
    """Batches without positives, or without negatives, lose nothing, and have a gradient of zeros."""
    rows = case.embeddings.rows
    for lack, labels in (("negatives", [0] * len(rows)), ("positives", range(len(rows)))):
        variant = _with_rows(case, [replace(row, label=label) for row, label in zip(rows, labels, strict=True)])
        loss, gradient = _computed(make, variant)
        if loss != 0 or gradient is None or gradient.any():
            seen = f"loss {loss!r} with {'no' if gradient is None else repr(gradient.tolist())} gradient"
            where = f"{_where(case)} without {lack}"
            raise InvariantViolation(where, seen, "0 with a gradient of zeros", "loss-zero-without-pairs")


# --- what does not matter, and what does ------------------------------------------------------------------------------


def _reordered(batch: EmbeddingsDescription) -> Iterator[tuple[str, list[RowDescription]]]:
    rows = list(batch.rows)
    yield "backwards", rows[::-1]
    yield "dealt out in two", rows[::2] + rows[1::2]
    yield "with other labels", [replace(row, label=10 - row.label) for row in rows]


@invariant("loss-ignores-order", subject="loss")
def check_loss_ignores_order(make: MakeLoss, case: LossCase) -> None:
    """Neither the order of the batch matters nor what its labels are called."""
    for how, rows in _reordered(case.embeddings):
        _compare_variant("loss-ignores-order", make, case, _with_rows(case, rows), how)


def _turned(row: RowDescription, i: int, j: int, width: int) -> RowDescription:
    """Return a row turned in one plane by the angle of the triangle 3, 4, 5: in integers, and 5 times as long."""
    entries = [5 * entry for entry in (*row.entries, *[0] * (width - len(row.entries)))]
    a, b = entries[i] // 5, entries[j] // 5
    entries[i], entries[j] = 3 * a - 4 * b, 4 * a + 3 * b
    return replace(row, entries=tuple(entries))


@invariant("loss-ignores-rotation", subject="loss")
def check_loss_ignores_rotation(make: MakeLoss, case: LossCase) -> None:
    """No loss depends on how all embeddings together are turned or mirrored."""
    usual = _of_usual_length(case)
    rows, width = usual.embeddings.rows, max(2, usual.embeddings.width)
    for i in range(width - 1):
        variant = _with_rows(usual, [_turned(row, i, i + 1, width) for row in rows])
        _compare_variant("loss-ignores-rotation", make, usual, variant, f"turned in features {i} and {i + 1}")
    mirrored = [replace(row, entries=(-row.entries[0], *row.entries[1:])) for row in rows if row.entries]
    if len(mirrored) == len(rows):
        _compare_variant("loss-ignores-rotation", make, usual, _with_rows(usual, mirrored), "mirrored in feature 0")


def _is_long(row: RowDescription) -> bool:
    """Whether a row is zero, or longer than what counts as zero."""
    return not any(row.entries) or row.exponent > -39


@invariant(
    "loss-ignores-norms",
    subject="loss",
    when="no embedding is shorter than 1e-12",
    applies=lambda case: all(map(_is_long, case.embeddings.rows)),
)
def check_loss_ignores_norms(make: MakeLoss, case: LossCase) -> None:
    """No loss depends on how long its embeddings are, each by a factor of its own."""
    _compare_variant("loss-ignores-norms", make, _of_usual_length(case), case, "as long as they are and not about 1")
    rows = [replace(row, exponent=i % 7 - 3) for i, row in enumerate(case.embeddings.rows)]
    _compare_variant("loss-ignores-norms", make, case, _with_rows(case, rows), "of other lengths")


@invariant("loss-grows-with-beta", subject="loss")
def check_loss_grows_with_beta(make: MakeLoss, case: LossCase) -> None:
    """With beta the loss never decreases, and grows where hard and easy negatives differ enough."""
    cases = [replace(case, beta=beta) for beta in (0.0, case.beta + 0.5, 2 * case.beta + 3)]
    losses = [_value(make, one) for one in cases]
    dense = [DenseLoss(one) for one in cases]
    for i in (0, 1):
        where = f"{_where(case)}, beta {cases[i + 1].beta:g} instead of {cases[i].beta:g}"
        error = dense[i].error() + dense[i + 1].error()
        # What the reference grows by, less what rounding may take away; never more than a loss may ask for.
        growth = max(dense[i + 1].value() - dense[i].value(), 0.0)
        if not losses[i + 1] >= losses[i] + growth / 2 - error:
            expected = f"at least {losses[i] + growth / 2!r}, give or take {error:.2g}"
            raise InvariantViolation(where, f"loss {losses[i + 1]!r}", expected, "loss-grows-with-beta")


# --- gradients and extremes -------------------------------------------------------------------------------------------


@invariant(
    "loss-gradient-is-the-derivative",
    subject="loss",
    when="no debiased sum is at the edge of its floor",
    applies=lambda case: not DenseLoss(case).is_near_floor(),
)
def check_loss_gradient_is_the_derivative(make: MakeLoss, case: LossCase) -> None:
    """Every gradient is the derivative of the loss, through weights and norms too, cut to what its dtype can hold."""
    law, dense, kind = "loss-gradient-is-the-derivative", DenseLoss(case), FLOATS[case.embeddings.dtype]
    _, gradient = _computed(make, case)
    exact = dense.gradient()
    expected = exact.clip(-kind.largest, kind.largest)
    error = dense.gradient_error() + kind.roundoff * abs(exact) + 2.0**kind.smallest
    for place in np.ndindex(exact.shape):
        seen = 0.0 if gradient is None else float(gradient[place])
        bound = float(error[place])
        used("rounding", float(abs(seen - expected[place])) / bound if bound else 0.0)
        if not abs(seen - expected[place]) <= bound:
            where = f"row {place[0]}, feature {place[1]} of {_where(case)}"
            raise InvariantViolation(
                where, f"derivative {seen!r}", f"{float(expected[place])!r}, give or take {bound:.2g}", law
            )


def _at_the_ends(case: LossCase) -> Iterator[LossCase]:
    """Yield the case, and the same with all embeddings as short and as long as the dtype allows."""
    kind, rows = FLOATS[case.embeddings.dtype], case.embeddings.rows
    digits = max([1, *(abs(entry).bit_length() for row in rows for entry in row.entries)])
    yield case
    for exponent in (kind.smallest, kind.bound - digits):
        yield _with_rows(case, [replace(row, exponent=exponent) for row in rows])


@invariant("loss-is-finite", subject="loss")
def check_loss_is_finite(make: MakeLoss, case: LossCase) -> None:
    """Loss and gradient are finite, whatever finite embeddings they are of, at both ends of the dtype too."""
    for variant in _at_the_ends(case):
        loss, gradient = _computed(make, variant)
        if not np.isfinite(loss) or (gradient is not None and not np.isfinite(gradient).all()):
            seen = f"loss {loss!r} with gradient {None if gradient is None else gradient.tolist()!r}"
            exponents = [row.exponent for row in variant.embeddings.rows]
            where = f"{_where(case)} times 2 to the power of {exponents}"
            raise InvariantViolation(where, seen, "finite", "loss-is-finite")
