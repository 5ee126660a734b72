"""Each planted fault makes the suite fail, shrinks to something small, and travels: FAILS with it, FIXED without."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import planted_faults
import pytest

from dynaclr_strategies.descriptions import RegistryDescription
from dynaclr_strategies.reproduction.case_files import read_case
from dynaclr_strategies.sampler_descriptions import TableDescription

HERE = Path(__file__).parent
SUITE = HERE.parent / "property"

SEEN_BY = {
    "wrong_channel_map": "test_dataset_laws.py::test_anchor_pixels",
    "cache_keyed_by_fov_name": "test_dataset_laws.py::test_anchor_pixels",
    "remainder_to_the_last_condition": "test_sampler_composition.py",
    "enrichment_ignores_conditions": "test_sampler_composition.py",
    "unequal_ranks": "test_sampler_reproducibility.py::test_ranks_equal_length",
    "tau_zero_as_positive": "test_dataset_laws.py::test_positive_is_another_frame",
    "sister_as_positive": "test_index_laws.py::test_law[line-of-descent]",
    "dropout_in_validation": "test_datamodule_laws.py::test_dropout_only_in_training",
    "unseeded_positives": "test_dataset_laws.py::test_batches_repeatable",
}
"""The part of the suite in which each fault has to show."""


def run(arguments: list[str], fault: str | None, folder: str) -> subprocess.CompletedProcess[str]:
    """Run Python with a fault in the code, or without."""
    environment = {**os.environ, "PYTHONPATH": str(HERE), "HYPOTHESIS_PROFILE": "ci"}
    environment.pop("DYNACLR_PLANTED", None)
    if fault is not None:
        environment["DYNACLR_PLANTED"] = fault
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, cwd=folder, check=False
    )


def check_small(bundle: Path) -> None:
    """Check that a case can be understood at a glance: 2 experiments, 2 wells, 3 tracks, 12 rows at most."""
    failed = read_case(bundle).failed
    parts = [failed.case, getattr(failed.case, "index", None)]
    for registry in (getattr(part, "registry", None) for part in parts):
        if isinstance(registry, RegistryDescription):
            fovs = [fov for experiment in registry.experiments for _, fov in experiment.fovs()]
            tracks = [track for fov in fovs for track in fov.tracks]
            assert len(registry.experiments) <= 2, failed
            assert sum(len(experiment.wells) for experiment in registry.experiments) <= 2, failed
            assert len(tracks) <= 3, failed
            assert sum(len(track.frames) for track in tracks) <= 12, failed
            return
    table = failed.case.table  # type: ignore[attr-defined]
    assert isinstance(table, TableDescription)
    assert table.size <= 12, failed
    assert len({stratum.experiment for stratum in table.strata}) <= 2, failed


@pytest.mark.parametrize("fault", planted_faults.FAULTS)
def test_planted_fault(fault: str) -> None:
    """The suite fails, its bundles are small, and a replay tells the broken code from the repaired one."""
    with tempfile.TemporaryDirectory() as folder:
        failures = Path(folder, "failures")
        pytest_run = ["-m", "pytest", "-p", "planted_faults", "-p", "no:cacheprovider", "-x", "-q"]
        suite = run([*pytest_run, f"--dynaclr-bundles={failures}", str(SUITE / SEEN_BY[fault])], fault, folder)
        assert suite.returncode == 1, suite.stdout + suite.stderr
        bundles = sorted(failures.iterdir())
        assert bundles, suite.stdout
        for bundle in bundles:
            check_small(bundle)
            assert {path.name for path in bundle.iterdir()} >= {"case.json", "README.md", "picture.png", "input"}
            command = [str(HERE / "planted_faults.py"), str(bundle)]
            broken, repaired = run(command, fault, folder), run(command, None, folder)
            assert (broken.returncode, broken.stdout[:6]) == (1, "FAILS "), broken.stdout + broken.stderr
            assert (repaired.returncode, repaired.stdout[:6]) == (0, "FIXED "), repaired.stdout + repaired.stderr
