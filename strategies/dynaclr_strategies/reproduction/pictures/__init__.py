"""Pictures of failures: what a law saw, drawn so that one look tells what is wrong."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from dynaclr_strategies.codec import Plain
from dynaclr_strategies.descriptions import RegistryDescription
from dynaclr_strategies.invariants.base import INVARIANTS, InvariantViolation
from dynaclr_strategies.invariants.evidence import BatchEvidence, DrawsEvidence, PatchEvidence, TracksEvidence
from dynaclr_strategies.loss_descriptions import LossCase
from dynaclr_strategies.reproduction.attached import FailedCase
from dynaclr_strategies.sampler_descriptions import LifeCase, SamplerCase

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_picture"]


def draw_picture(failed: FailedCase, problem: BaseException) -> Figure | None:
    """Draw a failure.

    The evidence of a violation decides what is drawn: a batch over hours post infection, the lineages of a field of
    view, or pixels. Without evidence it is the case itself: the anchor table, the registry's lineages, or the
    similarities of the embeddings.

    Parameters
    ----------
    failed
        The law and the case.
    problem
        What was raised.

    Returns
    -------
    Figure
        To be saved with ``savefig``; None where there is nothing to draw.
    """
    from matplotlib import style

    # Whatever the user has set for plots of their own, such as LaTeX, must not decide about this one.
    with style.context("default"):
        return _paint(failed.case, getattr(problem, "evidence", None), _headline(failed, problem))


def _paint(case: Plain, evidence: Any, headline: list[tuple[str, str]]) -> Figure | None:
    from dynaclr_strategies.reproduction.pictures import batches, lineages, patches, similarities

    if isinstance(evidence, PatchEvidence):
        return patches.draw_patches(headline, evidence)
    if isinstance(case, SamplerCase | LifeCase):
        shown = evidence if isinstance(evidence, BatchEvidence | DrawsEvidence) else None
        return batches.draw_batch(headline, case.frame(), case.options, shown)
    registry = _registry(case)
    if registry is not None and isinstance(evidence, TracksEvidence):
        return lineages.draw_lineages(headline, registry, evidence, _tau_range(case))
    if registry is not None:
        return lineages.draw_registry(headline, registry)
    return similarities.draw_similarities(headline, case.embeddings) if isinstance(case, LossCase) else None


def _headline(failed: FailedCase, problem: BaseException) -> list[tuple[str, str]]:
    """Return what the picture says above, as pairs of a title and a text."""
    headline = [(failed.law, INVARIANTS[failed.law].sentence.replace("``", ""))]
    if not isinstance(problem, InvariantViolation):
        return [*headline, ("raised", f"{type(problem).__name__}: {problem}")]
    return [*headline, ("where", problem.where), ("seen", problem.seen), ("should be", problem.expected)]


def _tau_range(case: Plain) -> tuple[float, float] | None:
    """Return where positives of a case may lie, in hours after their anchor."""
    hours: tuple[float, float] | None = getattr(getattr(case, "index", case), "tau_range_hours", None)
    return hours


def _registry(value: Any) -> RegistryDescription | None:
    """Return the registry that a case is about, wherever in it that is."""
    if isinstance(value, RegistryDescription) or not dataclasses.is_dataclass(value):
        return value if isinstance(value, RegistryDescription) else None
    found = (_registry(getattr(value, field.name)) for field in dataclasses.fields(value))
    return next((registry for registry in found if registry is not None), None)
