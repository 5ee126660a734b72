"""What each law is searched with: the cases of its subject, narrowed to those that the law says something about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from dynaclr_strategies.augment_cases import augment_cases
from dynaclr_strategies.codec import Plain
from dynaclr_strategies.conformance.contract import Claims
from dynaclr_strategies.conformance.plans import drawn_cases
from dynaclr_strategies.datamodule_cases import datamodule_cases, training_cases
from dynaclr_strategies.dataset_cases import dataset_cases
from dynaclr_strategies.embeddings import loss_cases
from dynaclr_strategies.faults import faults
from dynaclr_strategies.invariants import INVARIANTS
from dynaclr_strategies.loss_descriptions import AugmentCase, LossCase, Transform
from dynaclr_strategies.subjects.sampler import OF_SAMPLERS
from dynaclr_strategies.table_cases import index_cases, registry_cases

__all__ = ["law_cases"]

Cases = Callable[[], st.SearchStrategy[Any]]

_OURS = Claims(epochs=True, random_access=True, resume=True, explain=True, length=True)
"""What ``dynaclr``'s own sampler claims: everything."""

_OF_SUBJECT: dict[str, Cases] = {
    "augment": augment_cases,
    "datamodule": datamodule_cases,
    "dataset": dataset_cases,
    "fault": faults,
    "index": index_cases,
    "loss": loss_cases,
    "registry": registry_cases,
    "training": training_cases,
}


def _transformed(*transforms: Transform) -> Cases:
    return lambda: augment_cases(transforms=transforms)


def _some_dropped() -> st.SearchStrategy[AugmentCase]:
    return augment_cases(transforms=("dropout",)).filter(lambda case: 0 < case.prob < 1 and bool(case.listed))


def _losses(change: Callable[[LossCase], LossCase]) -> Cases:
    return lambda: loss_cases().map(change)


def _with_positives() -> st.SearchStrategy[Any]:
    return dataset_cases(fit=st.just(True))


def _held_out() -> st.SearchStrategy[Any]:
    return datamodule_cases(min_held_out=1, max_held_out=2)


def _augmented() -> st.SearchStrategy[Any]:
    return datamodule_cases(augmented=st.just(True))


_INTENSITY: tuple[Transform, ...] = ("contrast", "scale", "smooth", "noise")
_UNMASKED = _losses(lambda case: replace(case, mask_same_lineage=False))

_OF_LAW: dict[str, Cases] = {
    "augment-probability-zero-is-identity": _transformed("dropout", "rotate", "affine", *_INTENSITY),
    "augment-drawn-per-sample": _transformed("affine", *_INTENSITY),
    "augment-probability-is-of-a-sample": _transformed("affine", *_INTENSITY),
    "augment-moves-channels-together": _transformed("affine", "rotate"),
    "augment-channels-on-their-own": _transformed(*_INTENSITY),
    "augment-equals-statistics": _transformed("normalize"),
    "augment-equals-percentiles": _transformed("percentiles"),
    "dropout-whole-channels": _transformed("dropout"),
    "dropout-probability-one-drops-all": _transformed("dropout"),
    "dropout-off-in-evaluation": _transformed("dropout"),
    "dropout-independent": _some_dropped,
    "experiments-do-not-mix": lambda: index_cases(min_experiments=2, selected=st.just(False)),
    "one-store-two-names": lambda: index_cases(min_experiments=2),
    "loss-equals-reference": _UNMASKED,
    "loss-beta-zero-is-ntxent": _UNMASKED,
    "loss-masks-lineages": _losses(lambda case: replace(case, mask_same_lineage=True)),
    "loss-debiased-has-a-floor": _losses(lambda case: replace(case, tau_plus=case.tau_plus or 0.2)),
    "positive-by-address": _with_positives,
    "positives-by-seed": _with_positives,
    "positives-by-epoch": _with_positives,
    "positives-by-occurrence": _with_positives,
    "positive-pixels": _with_positives,
    "positive-on-line-of-descent": _with_positives,
    "tau-in-range": _with_positives,
    "positive-is-another-frame": _with_positives,
    "tau-distribution": _with_positives,
    "positive-uniform": _with_positives,
    "validation-complete": _held_out,
    "validation-repeats": lambda: datamodule_cases(min_held_out=1),
    "noise-only-in-training": _augmented,
    "noise-drawn-anew": _augmented,
    "another-seed-other-batches": _augmented,
}


def law_cases(law: str) -> st.SearchStrategy[Plain]:
    """Strategy for the cases that a law is searched with.

    Generates cases of the law's subject. Promises that the law applies to many of them, though not to all. Shrinks
    towards the smallest case of the subject that the law can be checked on.

    Parameters
    ----------
    law
        Name of the law, see `dynaclr_strategies.INVARIANTS`.
    """
    subject = INVARIANTS[law].subject
    if law in _OF_LAW:
        return _OF_LAW[law]()
    return drawn_cases(law, _OURS) if subject in OF_SAMPLERS else _OF_SUBJECT[subject]()
