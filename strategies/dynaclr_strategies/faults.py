"""Faults: something valid that is broken in exactly one named way, and the error that must come of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import event
from hypothesis import strategies as st

from dynaclr_strategies.cases import DataModuleCase, IndexCase
from dynaclr_strategies.descriptions import RegistryDescription
from dynaclr_strategies.fault_arms import FAULTS
from dynaclr_strategies.fault_descriptions import FaultDescription, Needs, OptionSet
from dynaclr_strategies.options import sampler_cases
from dynaclr_strategies.registries import COLUMNS, VERSIONS, Version, conditions, registries
from dynaclr_strategies.sampler_descriptions import SamplerOptions
from dynaclr_strategies.table_cases import index_cases

__all__ = ["CASES", "faults", "loss_options"]


def _small(**bounds: Any) -> st.SearchStrategy[RegistryDescription]:
    """Strategy for registries that are written fast: what is broken does not depend on how much there is beside it."""
    plates = conditions(max_conditions=2, max_wells=1)
    small = {"max_frames": 4, "max_size": 9, "max_sources": 2, "max_tracks": 3, "plates": plates}
    return registries(**{**small, **bounds})


def _stored(**bounds: Any) -> st.SearchStrategy[RegistryDescription]:
    """Strategy for small registries in both versions of OME-Zarr, which keep metadata in different places."""

    def store(registry: RegistryDescription, version: Version) -> RegistryDescription:
        return RegistryDescription(experiments=tuple(replace(e, ome_version=version) for e in registry.experiments))

    return st.builds(store, _small(**bounds), st.sampled_from(VERSIONS))


def _indexed(registry: st.SearchStrategy[RegistryDescription]) -> st.SearchStrategy[IndexCase]:
    return index_cases(registry=registry)


def _trained(registry: st.SearchStrategy[RegistryDescription]) -> st.SearchStrategy[DataModuleCase]:
    """Strategy for data modules without validation, at tau 0, so that every experiment has anchors."""

    def module(index: IndexCase) -> DataModuleCase:
        return DataModuleCase(
            index=replace(index, tau_range_hours=(0.0, 0.0)),
            sampling=SamplerOptions(batch_size=1),
            final_yx_patch_size=index.yx_patch_size,
        )

    return _indexed(registry).map(module)


def _shared_stores() -> st.SearchStrategy[RegistryDescription]:
    """Strategy for two experiments that have one store."""

    def share(registry: RegistryDescription) -> RegistryDescription:
        first = replace(registry.experiments[0], store="shared")
        return RegistryDescription(experiments=(first, replace(first, name=registry.experiments[1].name)))

    return _small(min_experiments=2).map(share)


def _with_statistics(registry: RegistryDescription) -> RegistryDescription:
    return RegistryDescription(experiments=tuple(replace(e, normalization=True) for e in registry.experiments))


def _parents_by_track(registry: RegistryDescription) -> RegistryDescription:
    # Where rows are linked instead, no row can name track 0.
    columns = COLUMNS[0]
    return RegistryDescription(experiments=tuple(replace(e, optional_columns=columns) for e in registry.experiments))


def _options(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[OptionSet]:
    """Strategy for arguments: those with a strategy each."""
    return st.fixed_dictionaries(values).map(lambda options: OptionSet(options=tuple(options.items())))


def loss_options() -> st.SearchStrategy[OptionSet]:
    """Strategy for the arguments of ``NTXentHCL``.

    Generates both meanings of beta, with and without debiasing. Promises that the loss accepts them. Shrinks towards
    its defaults.
    """
    return _options(
        temperature=st.sampled_from((0.07, 0.01, 0.5, 1)),
        beta=st.sampled_from((0.5, 0, 0.0, 2.0)),
        beta_on=st.sampled_from(("cosine", "logit")),
        tau_plus=st.sampled_from((0.0, 0.1, 0.9)),
    )


def _normalization_options() -> st.SearchStrategy[OptionSet]:
    return _options(
        keys=st.just(("ch_0",)),
        level=st.sampled_from(("fov_statistics", "dataset_statistics", "timepoint_statistics")),
        subtrahend=st.sampled_from(("mean", "median")),
        divisor=st.sampled_from(("std", "iqr")),
    )


CASES: dict[Needs, Callable[[], st.SearchStrategy[Any]]] = {
    "balanced table": lambda: sampler_cases(experiment_aware=st.just(True), condition_balanced=st.just(True)),
    "dropout options": lambda: _options(
        channels=st.lists(st.integers(0, 3), unique=True).map(tuple), p=st.sampled_from((0.5, 0.0, 1.0, 1))
    ),
    "experiments": lambda: _indexed(_stored()),
    "loss options": loss_options,
    "module options": lambda: _options(
        lr=st.sampled_from((1e-3, 0.5, 1)), schedule=st.sampled_from(("Constant", "WarmupCosine"))
    ),
    "normalization options": _normalization_options,
    "parents by track": lambda: _indexed(_stored().map(_parents_by_track)),
    "several experiments": lambda: _indexed(_stored(min_experiments=2)),
    "shared store": lambda: _trained(_shared_stores()),
    "statistics": lambda: _trained(_stored().map(_with_statistics)),
    "table": sampler_cases,
    "training": lambda: _trained(_stored()),
    "two channels": lambda: _indexed(_small(min_experiments=2, min_sources=2)),
}
"""What is valid before it is broken, by what a fault needs."""


@st.composite
def faults(draw: st.DrawFn, *, kinds: st.SearchStrategy[str] | None = None) -> FaultDescription:
    """Strategy for faults: a valid case, and the one way in which it is broken.

    Generates every fault of `dynaclr_strategies.FAULTS`: registries, stores, tracking tables, anchor tables, and
    options of sampler, index, dataset, data module and loss, broken at any experiment, field of view or row and with
    any of the fault's values. Promises that the case is valid, that it is broken in exactly this way, and that the
    description says which error must come of it. Shrinks towards the smallest case, broken at its first place with the
    first value.

    Parameters
    ----------
    kinds
        Names of faults; by default all of them.
    """
    name = draw(st.sampled_from(sorted(FAULTS)) if kinds is None else kinds, label="fault")
    arm = FAULTS[name]
    event(f"faults: {arm.subject}")
    case = draw(CASES[arm.needs](), label="case")
    places = arm.places(case)
    return FaultDescription(
        fault=name,
        case=case,
        place=draw(st.integers(0, len(places) - 1), label="place"),
        value=draw(st.sampled_from(list(arm.values)), label="value"),
    )
