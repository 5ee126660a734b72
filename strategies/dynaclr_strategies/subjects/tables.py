"""Registry, index and dataset as subjects: ``make(experiments_yaml, case)``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dynaclr_strategies.cases import DatasetCase, IndexCase, RegistryCase
from dynaclr_strategies.subjects.base import Subject, on_disk, subject
from dynaclr_strategies.writers import write_registry

__all__ = ["make_dataset", "make_index", "make_registry"]


def make_registry(experiments_yaml: Path, case: RegistryCase) -> Any:  # noqa: ARG001 - all makers take the case
    """Return ``dynaclr``'s registry of a YAML file."""
    from dynaclr.experiment import ExperimentRegistry

    return ExperimentRegistry.from_yaml(experiments_yaml)


def make_index(experiments_yaml: Path, case: IndexCase) -> Any:
    """Return ``dynaclr``'s index of the experiments of a YAML file."""
    from dynaclr.experiment import ExperimentRegistry
    from dynaclr.index import MultiExperimentIndex

    return MultiExperimentIndex(
        ExperimentRegistry.from_yaml(experiments_yaml),
        z_range=slice(*case.z_range),
        yx_patch_size=case.yx_patch_size,
        tau_range_hours=case.tau_range_hours,
        include_wells=case.include_wells,
        exclude_fovs=case.exclude_fovs,
    )


def make_dataset(experiments_yaml: Path, case: DatasetCase) -> Any:
    """Return ``dynaclr``'s dataset of the experiments of a YAML file."""
    from dynaclr.dataset import MultiExperimentTripletDataset

    return MultiExperimentTripletDataset(
        make_index(experiments_yaml, case.index),
        fit=case.fit,
        tau_range_hours=case.index.tau_range_hours,
        tau_decay_rate=case.tau_decay_rate,
        cache_pool_bytes=case.cache_pool_bytes,
        seed=case.seed,
    )


def materialise_registry(case: RegistryCase | IndexCase, folder: Path) -> None:
    """Write stores, tracks and ``experiments.yml``."""
    write_registry(case.registry, folder)


def materialise_index(case: DatasetCase, folder: Path) -> None:
    """Write stores, tracks and ``experiments.yml`` of a case that holds an index."""
    materialise_registry(case.index, folder)


subject(Subject("registry", RegistryCase, make_registry, on_disk, materialise_registry))
subject(Subject("index", IndexCase, make_index, on_disk, materialise_registry))
subject(Subject("dataset", DatasetCase, make_dataset, on_disk, materialise_index))
