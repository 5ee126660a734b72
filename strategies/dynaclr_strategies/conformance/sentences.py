"""A shrunk example and what it showed, in one line each."""

from __future__ import annotations

from dynaclr_strategies.invariants import InvariantViolation
from dynaclr_strategies.sampler_descriptions import (
    LifeCase,
    LifeStep,
    SamplerCase,
    SamplerOptions,
    StratumDescription,
    TableDescription,
)

__all__ = ["case_in_words", "problem_in_words"]

_LONGEST = 200
_STRATA = 3


def _stratum_in_words(stratum: StratumDescription) -> str:
    count = len(stratum.hpi) * stratum.cells
    labels = "/".join(str(part) for part in (stratum.experiment, stratum.condition, stratum.organelle) if part)
    labels += f"/moi {stratum.moi:g}" if stratum.moi else ""
    hours = ", ".join(f"{hour:g}" for hour in sorted(set(stratum.hpi)))
    lineages = "" if stratum.lineages is None else f" in {stratum.lineages} lineages"
    return f"{count} x {labels} at {hours} h{lineages}"


def _table_in_words(table: TableDescription) -> str:
    few = len(table.strata) <= _STRATA
    if few:
        described = " + ".join(_stratum_in_words(stratum) for stratum in table.strata)
    else:
        count = len({stratum.experiment for stratum in table.strata})
        described = (
            f"{table.size} anchors in {len(table.strata)} strata of {count} experiment{'s' if count > 1 else ''}"
        )
    plain = TableDescription(strata=())
    odd = [f"{name}={getattr(table, name)!r}" for name in ("labels", "order", "index") if _differs(table, plain, name)]
    return ", ".join([described, *odd])


def _differs(one: object, other: object, name: str) -> bool:
    return bool(getattr(one, name) != getattr(other, name))


def case_in_words(case: SamplerCase | LifeCase, plain: SamplerOptions) -> str:
    """Return the anchors of a case, those of its options that are not plain, and what happens to the sampler.

    Parameters
    ----------
    case
        A case, best a shrunk one.
    plain
        Options that go without saying.
    """
    options = case.options
    said = [
        f"{name}={getattr(options, name)!r}"
        for name in options.__dataclass_fields__
        if name == "batch_size" or _differs(options, plain, name)
    ]
    steps = f"; {case.ranks} ranks: {', '.join(map(_step_in_words, case.steps))}" if isinstance(case, LifeCase) else ""
    return f"{_table_in_words(case.table)}; {', '.join(said)}{steps}"


def _step_in_words(step: LifeStep) -> str:
    return f"{step.action}({step.first}, {step.second})"


def problem_in_words(problem: BaseException) -> str:
    """Return what was raised as one line of bounded length, without the name of the law."""
    text = " ".join(str(problem).split())
    if isinstance(problem, InvariantViolation):
        text = text.removesuffix(f" [{problem.law}]")
    else:
        text = f"{type(problem).__name__}: {text}"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ..."
