"""How each law of the sampler is tried: which claims it needs, and what is drawn for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from dynaclr_strategies.conformance.contract import METHODS, Claims
from dynaclr_strategies.from_types import life_cases
from dynaclr_strategies.invariants import INVARIANTS
from dynaclr_strategies.options import sampler_cases
from dynaclr_strategies.sampler_descriptions import LifeCase, SamplerCase
from dynaclr_strategies.subjects.sampler import OF_SAMPLERS
from dynaclr_strategies.tables import anchor_tables

__all__ = ["LAWS", "PLANS", "Plan", "drawn_cases", "why_not"]

LAWS = tuple(
    law.law
    for law in sorted(INVARIANTS.values(), key=lambda law: (law.number is None, law.number))
    if law.subject in OF_SAMPLERS
)
"""The laws of the sampler, in the order of the page on the cascade, and that of its whole life."""

_SMALL = anchor_tables(max_strata=5, max_times=4, max_cells=4)


def _without_the_first(case: SamplerCase) -> SamplerCase:
    """Give the first of several experiments weight 0 and all others weight 1."""
    names = case.table.labels_of(case.options.group_by)
    weights = tuple((name, float(place > 0 or len(names) == 1)) for place, name in enumerate(names))
    return replace(case, options=replace(case.options, experiment_weights=weights, condition_ratio=None))


def _leaking(case: SamplerCase) -> SamplerCase:
    """Let something leak, as far as the batch is large enough for it; so little that it is clear what leaked."""
    return replace(case, options=replace(case.options, leaky=case.options.leaky or 0.4))


@dataclass(frozen=True)
class Plan:
    """How one law is tried.

    Attributes
    ----------
    on
        Axes that have to be claimed, and are switched on.
    off
        Axes that are switched off.
    needs
        Claims beyond those that the law needs by `Invariant.needs`.
    adjust
        Makes a drawn case one that the law applies to.
    costly
        Whether the law looks at hundreds of batches, and is tried on fewer and smaller tables.
    perhaps
        Changes, one of which, or none, each case undergoes, into one that the law would rarely meet otherwise.
    """

    on: frozenset[str] = frozenset()
    off: frozenset[str] = frozenset()
    needs: tuple[str, ...] = ()
    adjust: Callable[[SamplerCase], SamplerCase] | None = None
    costly: bool = False
    perhaps: tuple[Callable[[SamplerCase], SamplerCase], ...] = ()


def _plan(
    *on: str,
    off: tuple[str, ...] = (),
    needs: tuple[str, ...] = (),
    adjust: Callable[[SamplerCase], SamplerCase] | None = None,
    costly: bool = False,
    perhaps: tuple[Callable[[SamplerCase], SamplerCase], ...] = (),
) -> Plan:
    return Plan(frozenset(on), frozenset(off), needs, adjust, costly, perhaps)


def _sharing(case: SamplerCase) -> SamplerCase:
    """Let strata number their lineages alike, so that exclusivity ties what is drawn from one to what is from another.

    Not for the laws about focal times, which ask what a window holds of lineages that no other stratum has.
    """
    return replace(case, table=replace(case.table, shared_lineages=True))


def _related(case: SamplerCase) -> SamplerCase:
    """Let each stratum hold many anchors of few lineages, and batches fewer anchors than lineages."""
    strata = tuple(replace(stratum, cells=4, lineages=3) for stratum in case.table.strata)
    options = replace(case.options, batch_size=min(case.options.batch_size, 3), temporal_enrichment=False)
    return replace(case, table=replace(case.table, strata=strata), options=options)


def _crowded(case: SamplerCase) -> SamplerCase:
    """Let the first experiment have two conditions, one with fewer anchors than its quota, and several batches.

    There the passes over the small one end in the middle of batches that hold some of its anchors twice. A table of
    one stratum stays as it is, so that other failures have small examples.
    """
    first, *others = case.table.strata
    if not others:
        return case
    held = 3 + first.cells % 3
    size = 2 * held + 2 + case.options.batch_size % held  # so that the quota is neither the stratum nor twice that
    few = replace(first, condition="c", moi=0.0, hpi=first.hpi[:1], cells=held, lineages=None)
    many = replace(first, condition="d", moi=5.0, cells=-(-4 * size // len(first.hpi)), lineages=None)
    beside = [stratum for stratum in others if stratum.experiment != first.experiment][:1]
    table = replace(case.table, strata=(few, many, *beside))
    changes: dict[str, Any] = {"experiment_weights": None, "condition_ratio": None, "leaky": 0.0, "exclusive_by": None}
    changes |= {"temporal_enrichment": False, "condition_balanced": True, "batch_size": size}
    changes |= {"num_replicas": None, "rank": None}
    return replace(case, table=table, options=replace(case.options, **changes))


def _pointed(case: SamplerCase) -> SamplerCase:
    """Let all primary anchors of several batches come from one time, so that these show their focal HPI themselves."""
    changes: dict[str, Any] = {"temporal_window_hours": 0.0, "temporal_global_fraction": 0.0, "leaky": 0.0}
    changes["batch_size"] = min(case.options.batch_size, max(1, case.table.size // 8))
    return replace(case, options=replace(case.options, **changes))


def _between_two_times(case: SamplerCase) -> SamplerCase:
    """Let batches show their focal HPI and, by how much of them is of that time, their focal quotas."""
    strata = tuple(replace(stratum, hpi=(0.0, 9.0), cells=8, lineages=None) for stratum in case.table.strata)
    changes: dict[str, Any] = {"temporal_window_hours": 0.0, "temporal_global_fraction": 0.3, "leaky": 0.0}
    options = replace(case.options, **changes)
    return replace(case, table=replace(case.table, strata=strata), options=options)


PLANS: dict[str, Plan] = {
    "len-matches-iteration": _plan(needs=("length",)),
    "single-experiment": _plan("experiment"),
    "leak-exact": _plan("experiment", "leak"),
    "zero-weight-excluded": _plan("experiment", "weights", adjust=_without_the_first),
    "experiment-share": _plan("experiment"),
    "experiment-order": _plan("experiment", costly=True),
    "experiment-unbiased": _plan("experiment", costly=True),
    "condition-quota": _plan("condition"),
    "condition-unbiased": _plan("condition", costly=True),
    "focal-concentration": _plan("time"),
    "axes-compose": _plan("experiment", "condition", "time"),
    "no-needless-repeat": _plan(perhaps=(_sharing, _crowded)),
    "fair-pass": _plan(off=("time", "exclusive")),
    "passes-shuffled": _plan(off=("time", "exclusive"), costly=True),
    "relatives-alike": _plan("exclusive", off=("time",), costly=True, perhaps=(_related,)),
    "plain-when-global": _plan("time", off=("exclusive",), costly=True),
    "deterministic": _plan(perhaps=(_sharing,)),
    "seeds-differ": _plan(needs=("seeds",)),
    "random-access": _plan(perhaps=(_sharing,)),
    "resume": _plan(costly=True, perhaps=(_sharing,)),
    "resume-on-ranks": _plan(costly=True, perhaps=(_sharing,)),
    "ranks-partition": _plan(perhaps=(_sharing,)),
    "elastic": _plan(perhaps=(_sharing,)),
    "relabel": _plan(perhaps=(_sharing,)),
    "ranks-equal-length": _plan(needs=("length",)),
    "hpi-shift": _plan("time"),
    "hpi-scale": _plan("time"),
    "dtype": _plan(perhaps=(_sharing,)),
    "extra-columns": _plan(perhaps=(_sharing,)),
    "lineage-exclusive": _plan("exclusive", perhaps=(_sharing,)),
    "explained": _plan(perhaps=(_sharing,)),
    "life": _plan(perhaps=(_sharing,)),
    "leak-uniform": _plan("experiment", "leak", off=("exclusive",), adjust=_leaking, costly=True),
    "focal-hpi-uniform": _plan("time", costly=True, perhaps=(_pointed,)),
    "focal-quota-unbiased": _plan("condition", "time", off=("exclusive",), costly=True, perhaps=(_between_two_times,)),
    "batch-order": _plan(costly=True),
    "focal-uniform": _plan("time", off=("exclusive",), costly=True),
}
"""What a law needs beyond the claims that everybody makes; a law that is not here is about every case."""


def why_not(law: str, claims: Claims) -> str | None:
    """Return why a law is not claimed; None if it is."""
    if law in claims.without:
        return claims.without[law]
    plan = PLANS.get(law, Plan())
    axes = [f"axis {axis!r}" for axis in sorted(plan.on) if axis not in claims.axes]
    by_method = {method: claim for claim, methods in METHODS.items() for method in methods}
    needed = {by_method.get(method, method) for method in (*INVARIANTS[law].needs, *plan.needs)}
    missing = [f"no {name}" for name in (*axes, *sorted(claim for claim in needed if not getattr(claims, claim)))]
    fixed = [f"axis {axis!r} always on" for axis in sorted(plan.off & set(claims.always))]
    return ", ".join(missing + fixed) or None


def drawn_cases(law: str, claims: Claims) -> st.SearchStrategy[SamplerCase] | st.SearchStrategy[LifeCase]:
    """Strategy for cases to try a law on.

    Generates tables with options of the axes that are claimed. Promises that a sampler with these claims accepts the
    case, and that the axes which the law is about are on. Shrinks towards a table of one anchor and a batch of one.

    Parameters
    ----------
    law
        One of `LAWS`.
    claims
        What the sampler claims, among it the law.
    """
    plan = PLANS.get(law, Plan())

    def switch(axis: str) -> st.SearchStrategy[bool]:
        if axis not in claims.axes or axis in plan.off:
            return st.just(False)
        return (
            st.just(True) if axis in plan.on | set(claims.always) else st.sampled_from((axis != "time", axis == "time"))
        )

    exclusive: st.SearchStrategy[str | None] = st.none() | st.just("lineage_id")
    if "exclusive" in plan.on | plan.off:
        exclusive = st.just("lineage_id") if "exclusive" in plan.on else st.none()
    columns = {} if "columns" in claims.axes else {name: st.just((axis,)) for name, axis in _COLUMNS.items()}
    cases = sampler_cases(
        tables=_SMALL if plan.costly else None,
        experiment_aware=switch("experiment"),
        condition_balanced=switch("condition"),
        temporal_enrichment=switch("time"),
        exclusive_by=exclusive,
        **columns,
    )
    if plan.perhaps:
        changes = st.sampled_from((None, *plan.perhaps))
        cases = st.builds(lambda case, change: case if change is None else change(case), cases, changes)
    fitted = (cases if plan.adjust is None else cases.map(plan.adjust)).map(claims.fit)
    return life_cases(fitted) if INVARIANTS[law].subject == "life" else fitted


_COLUMNS = {"group_by": "experiment", "stratify_by": "condition"}
