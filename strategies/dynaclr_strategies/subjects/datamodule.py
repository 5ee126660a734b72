"""The data module as a subject: ``make(experiments_yaml, case)``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dynaclr_strategies.cases import DataModuleCase
from dynaclr_strategies.subjects.base import Subject, on_disk, subject
from dynaclr_strategies.writers import write_registry

__all__ = ["make_datamodule", "materialise_datamodule"]


def make_datamodule(experiments_yaml: Path, case: DataModuleCase) -> Any:
    """Return ``dynaclr``'s data module, before any setup."""
    from dynaclr.datamodule import MultiExperimentDataModule
    from dynaclr.transforms import RandGaussianNoised

    channels = [f"ch_{number}" for number in range(len(case.index.registry.experiments[0].source_channel))]
    # As strong as the pixels are bright, so that it shows in each of them.
    noise = RandGaussianNoised(channels, prob=1.0, std=64.0, sample_std=False)
    not_its_business = {"num_replicas", "rank", "drop_last"}
    sampling = {name: value for name, value in case.sampling.kwargs().items() if name not in not_its_business}
    return MultiExperimentDataModule(
        experiments_yaml,
        z_range=case.index.z_range,
        yx_patch_size=case.index.yx_patch_size,
        final_yx_patch_size=case.final_yx_patch_size,
        val_experiments=list(case.val_experiments),
        tau_range=case.index.tau_range_hours,
        tau_decay_rate=case.tau_decay_rate,
        num_workers=case.num_workers,
        channel_dropout_channels=list(case.channel_dropout_channels),
        channel_dropout_prob=case.channel_dropout_prob,
        augmentations=[noise] if case.augmented else [],
        include_wells=case.index.include_wells,
        exclude_fovs=case.index.exclude_fovs,
        **sampling,
    )


def materialise_datamodule(case: DataModuleCase, folder: Path) -> None:
    """Write stores, tracks and ``experiments.yml``."""
    write_registry(case.index.registry, folder)


subject(Subject("datamodule", DataModuleCase, make_datamodule, on_disk, materialise_datamodule))
