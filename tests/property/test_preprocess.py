"""Statistics are those of the pixels, written whole or not at all, and computed once."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from shutil import copyfile, copytree, rmtree
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dynaclr import preprocess, summaries
from dynaclr.errors import DynaclrError
from dynaclr.experiment import ExperimentRegistry
from dynaclr.preprocess import WORK_FOLDER, PreprocessReport, check_statistics, compute_statistics
from dynaclr.summaries import KEPT_VALUES, Accumulator, Summary, merged
from dynaclr.transforms import NormalizeSampled
from dynaclr_strategies.descriptions import FovDescription, RegistryDescription, WellDescription
from dynaclr_strategies.ready_made import two_experiments
from dynaclr_strategies.writers import write_registry

REAL_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
SCHEMES = ("fov_statistics", "dataset_statistics", "timepoint_statistics")


def _small(**changes: Any) -> RegistryDescription:
    """Return one experiment with channels Phase3D, GFP (source) and Mito, in wells A/1 and B/1 (two FOVs)."""
    frames = changes.pop("frames", 2)
    fovs = {"A/1": ("0",), "B/1": ("0", "1")}
    sizes = {"frames": frames, "z": 2, "y": 4, "x": 5}
    wells = tuple(
        WellDescription(name=well, fovs=tuple(FovDescription(name=name, **sizes) for name in names))
        for well, names in fovs.items()
    )
    experiment = two_experiments().experiments[0]
    changes = {"wells": wells, "chunks": (1, 9, 9, 9, 9)} | changes
    return RegistryDescription(experiments=(replace(experiment, **changes),))


def _open(folder: str | Path, **changes: Any) -> ExperimentRegistry:
    """Write the small registry and open it."""
    return ExperimentRegistry.from_yaml(write_registry(_small(**changes), Path(folder)))


def _naive(values: np.ndarray[Any, Any]) -> dict[str, float]:
    """Return the statistics the simple way, all voxels at once."""
    values = values.astype(np.float64).ravel()
    q = {name: np.percentile(values, p) for name, p in {"p1": 1, "q1": 25, "median": 50, "q3": 75, "p99": 99}.items()}
    extremes = {"mean": values.mean(), "std": values.std(), "min": values.min(), "max": values.max()}
    return {**extremes, "median": q["median"], "iqr": q["q3"] - q["q1"], "p1": q["p1"], "p99": q["p99"]}


def _assert_same(found: dict[str, float], expected: dict[str, float]) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-9, abs=1e-9), name


def _metadata(registry: ExperimentRegistry) -> dict[Path, str]:
    """Return the text of every metadata file of every store, but those of our own work."""
    return {
        path: path.read_text()
        for config in registry.experiments
        for pattern in (".zattrs", "zarr.json", ".zarray", ".zgroup")
        for path in config.data_path.rglob(pattern)
    }


def _pixels(registry: ExperimentRegistry) -> dict[str, Any]:
    """Return the opened arrays of the first experiment, by FOV."""
    name = registry.names[0]
    return {fov: zarr.open_array(p.array_path, mode="r+") for fov, p in registry.positions(name).items()}


# --- what is written ---------------------------------------------------------------------------------------


@settings(max_examples=12)
@given(
    dtype=st.sampled_from(["uint8", "int16", "uint16", "int32", "float16", "float32", "float64"]),
    version=st.sampled_from(["0.4", "0.5"]),
    chunks=st.sampled_from([(1, 1, 1, 4, 5), (2, 3, 2, 4, 5), (9, 1, 1, 3, 2)]),
    seed=st.integers(0, 2**32 - 1),
)
def test_statistics_are_those_of_the_pixels(dtype: str, version: str, chunks: tuple[int, ...], seed: int) -> None:
    """FOV, data set and time point have numpy's statistics, in any store, and the metadata else are untouched."""
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        registry = _open(folder, ome_version=version, chunks=chunks, source_channel=("Mito", "GFP"))
        registry = _retyped(registry, dtype, rng)
        before = _metadata(registry)
        compute_statistics(registry, progress=False)
        arrays_ = {fov: np.asarray(array[:]) for fov, array in _pixels(registry).items()}
        for fov, position in registry.positions("exp_alpha").items():
            assert position.normalization is not None
            assert list(position.normalization) == ["Mito", "GFP"]
            for channel, index in (("Mito", 2), ("GFP", 1)):
                entry = position.normalization[channel]
                _assert_same(entry["fov_statistics"], _naive(arrays_[fov][:, index]))
                everything = np.stack([array[:, index] for array in arrays_.values()])
                _assert_same(entry["dataset_statistics"], _naive(everything))
                assert list(entry["timepoint_statistics"]) == ["0", "1"]
                for t in range(2):
                    _assert_same(entry["timepoint_statistics"][str(t)], _naive(arrays_[fov][t, index]))
        assert _without_normalization(_metadata(registry)) == _without_normalization(before)
        assert not list(Path(folder).rglob(f"*{WORK_FOLDER}*"))


@settings(max_examples=8)
@given(
    dtype=st.sampled_from(["uint8", "uint16", "float32"]),
    version=st.sampled_from(["0.4", "0.5"]),
    planes=st.integers(1, 5),
    at_once=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_frame_that_is_read_in_blocks_is_one_frame(
    dtype: str, version: str, planes: int, at_once: int, seed: int
) -> None:
    """Stacks of more planes than are read at once, as real ones are, have the statistics of all their planes."""
    well = WellDescription(name="A/1", fovs=(FovDescription(name="0", frames=2, z=planes, y=4, x=5),))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        channels, owned = ("Mito", "GFP"), (("mock", ("A/1",)),)
        registry = _open(folder, ome_version=version, wells=(well,), condition_wells=owned, source_channel=channels)
        registry = _retyped(registry, dtype, np.random.default_rng(seed))
        patch.setattr(preprocess, "_BLOCK_BYTES", at_once * 4 * 5 * np.dtype(dtype).itemsize)
        compute_statistics(registry, progress=False)
        position, pixels = registry.positions("exp_alpha")["A/1/0"], _pixels(registry)["A/1/0"][:]
        assert position.normalization is not None
        for channel, index in (("Mito", 2), ("GFP", 1)):
            entry = position.normalization[channel]
            _assert_same(entry["fov_statistics"], _naive(pixels[:, index]))
            _assert_same(entry["dataset_statistics"], _naive(pixels[:, index]))
            assert list(entry["timepoint_statistics"]) == ["0", "1"]
            for t in range(2):
                _assert_same(entry["timepoint_statistics"][str(t)], _naive(pixels[t, index]))


def _retyped(registry: ExperimentRegistry, dtype: str, rng: np.random.Generator) -> ExperimentRegistry:
    """Replace the pixels by random ones of another type, in the same chunks."""
    for array in _pixels(registry).values():
        path, chunks, version = array.store_path.store.root, array.chunks, array.metadata.zarr_format
        rmtree(path)
        new = zarr.create_array(str(path), shape=array.shape, chunks=chunks, dtype=dtype, zarr_format=version)
        new[:] = (rng.normal(size=array.shape) * 50 + 60).astype(dtype)
    return ExperimentRegistry(registry.experiments)


def _without_normalization(files: dict[Path, str]) -> dict[Path, Any]:
    contents = {path: json.loads(text) for path, text in files.items()}
    for content in contents.values():
        content.pop("normalization", None)
        content.get("attributes", {}).pop("normalization", None)
    return contents


def test_other_channels_and_keys_stay(capsys: pytest.CaptureFixture[str]) -> None:
    """Statistics of other channels, and whatever else stands under `normalization`, are kept; the bar is optional."""
    with tempfile.TemporaryDirectory() as folder:
        registry = _open(folder)
        path = Path(folder) / "exp_alpha.zarr/B/1/0/.zattrs"
        content = json.loads(path.read_text())
        content |= {"normalization": {"DAPI": {"a": 1}, "GFP": {"note": "mine"}}, "x": {"y": [1.0, None, 1e300]}}
        path.write_text(json.dumps(content))
        compute_statistics(registry, channels=["GFP"], progress=False)
        assert capsys.readouterr().err == ""
        after = json.loads(path.read_text())
        assert after["normalization"]["DAPI"] == {"a": 1}
        assert after["normalization"]["GFP"]["note"] == "mine"
        assert set(after["normalization"]) == {"DAPI", "GFP"}
        assert after["x"] == content["x"]
        compute_statistics(registry, channels=["Mito"])
        assert "6/6" in capsys.readouterr().err


def test_experiments_on_one_store_share_their_data_set() -> None:
    """The data set of a store are the FOVs that any experiment of the registry names, and only those."""
    with tempfile.TemporaryDirectory() as folder:
        [first] = _open(folder).experiments
        parts = {"a": {"x": ["A/1"]}, "b": {"x": ["B/1"]}}
        whole = ExperimentRegistry(
            [first.model_copy(update={"name": name, "condition_wells": wells}) for name, wells in parts.items()]
        )
        report = compute_statistics(whole, progress=False)
        assert sorted(report.computed) == [f"exp_alpha.zarr/{fov}" for fov in ("A/1/0", "B/1/0", "B/1/1")]
        pixels = np.stack([np.asarray(array[:, 1]) for array in _pixels(ExperimentRegistry([first])).values()])
        for name in parts:
            for position in whole.positions(name).values():
                assert position.normalization is not None
                _assert_same(position.normalization["GFP"]["dataset_statistics"], _naive(pixels))
        # fewer wells are another data set
        compute_statistics(whole.subset(["a"]), progress=False)
        whole.refresh()
        position = whole.positions("a")["A/1/0"]
        assert position.normalization is not None
        assert position.normalization["GFP"]["dataset_statistics"] == position.normalization["GFP"]["fov_statistics"]


@pytest.mark.parametrize("wells", [{"a": ["A/1"], "b": ["B/1"]}, {"a": ["A/1", "B/1"], "b": ["B/1"]}])
@pytest.mark.parametrize("order", ["ab", "ba"])
def test_experiments_on_one_store_may_train_on_other_channels(wells: dict[str, list[str]], order: str) -> None:
    """Each finds the statistics of its own channels, whichever comes last."""
    channels = {"a": ["Phase3D", "GFP"], "b": ["Mito", "GFP"]}
    with tempfile.TemporaryDirectory() as folder:
        [first] = _open(folder).experiments
        changes = {
            name: {"name": name, "source_channel": channels[name], "condition_wells": {"x": wells[name]}}
            for name in order
        }
        both = ExperimentRegistry([first.model_copy(update=changes[name]) for name in order])
        compute_statistics(both, progress=False)
        for scheme in SCHEMES:
            check_statistics(both, scheme, "mean", "std")
        pixels = {fov: np.asarray(array[:]) for fov, array in _pixels(ExperimentRegistry([first])).items()}
        for name in order:
            for fov, position in both.positions(name).items():
                assert position.normalization is not None
                for channel in channels[name]:
                    mine = pixels[fov][:, first.channel_names.index(channel)]
                    _assert_same(position.normalization[channel]["fov_statistics"], _naive(mine))


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason=f"no real movies at {REAL_DATA}")
def test_the_real_movies_are_preprocessed() -> None:
    """On a copy of the published movies all statistics come out usable, and equal to numpy's."""
    with tempfile.TemporaryDirectory() as folder:
        copytree(REAL_DATA, Path(folder) / "data")
        registry = ExperimentRegistry.from_yaml(Path(folder) / "data" / "experiments.yml")
        with pytest.raises(DynaclrError, match="mean is missing in 'A/1/0', 'A/1/1'"):
            check_statistics(registry, "fov_statistics", "mean", "std")
        compute_statistics(registry, progress=False)
        for scheme in SCHEMES:
            check_statistics(registry, scheme, "median", "iqr")
            check_statistics(registry, scheme, "mean", "std")
        position = registry.positions("mda231_qpi")["A/2/1"]
        assert position.normalization is not None
        pixels = np.asarray(zarr.open_array(position.array_path, mode="r")[:])
        _assert_same(position.normalization["Phase"]["fov_statistics"], _naive(pixels))


# --- repeating and interrupting ----------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_second_run_does_nothing(version: str) -> None:
    """What is done is skipped: no metadata file is written again, no pixel read."""
    with tempfile.TemporaryDirectory() as folder:
        registry = _open(folder, ome_version=version)
        first = compute_statistics(registry, progress=False)
        assert len(first.computed) == 3
        before = _stamps(folder)
        for position in registry.positions("exp_alpha").values():
            _spoil(position.array_path)
        assert compute_statistics(registry, progress=False) == PreprocessReport((), first.computed)
        assert _stamps(folder) == before
        with pytest.raises(DynaclrError, match="position A/1/0 cannot be read"):
            compute_statistics(registry, progress=False, overwrite=True)


def _stamps(folder: str) -> dict[Path, int]:
    """Return when each metadata file was written."""
    return {path: path.stat().st_mtime_ns for name in (".zattrs", "zarr.json") for path in Path(folder).rglob(name)}


def _spoil(array_path: Path) -> None:
    """Cut the chunks of an array, so that nobody can read it any more."""
    for chunk in array_path.rglob("*"):
        if chunk.is_file() and chunk.name.isdigit():
            chunk.write_bytes(b"cut")


def test_a_store_that_changed_is_done_again() -> None:
    """Another shape, another number of frames or FOVs, or a lost statistic make the statistics stale."""
    with tempfile.TemporaryDirectory() as folder:
        registry = _open(folder)
        compute_statistics(registry, progress=False)
        path = Path(folder) / "exp_alpha.zarr/B/1/1/.zattrs"
        content = json.loads(path.read_text())
        del content["normalization"]["GFP"]["timepoint_statistics"]["1"]
        path.write_text(json.dumps(content))
        assert len(compute_statistics(registry, progress=False).computed) == 3
        assert "1" in json.loads(path.read_text())["normalization"]["GFP"]["timepoint_statistics"]
        kept = {p: p.read_text() for p in Path(folder).rglob("B/1/*/.zattrs")}
        write_registry(_small(frames=3), Path(folder))
        for file, text in kept.items():
            file.write_text(text)  # new pixels under old metadata
        assert len(compute_statistics(registry, progress=False).computed) == 3
        position = registry.positions("exp_alpha")["B/1/1"]
        assert position.normalization is not None
        assert set(position.normalization["GFP"]["timepoint_statistics"]) == {"0", "1", "2"}


@settings(max_examples=12)
@given(
    fov=st.sampled_from(["A/1/0", "B/1/1"]),
    scheme=st.sampled_from(SCHEMES),
    statistic=st.sampled_from(["mean", "std", "median", "iqr"]),
    value=st.sampled_from([None, float("nan"), "wide"]),
)
def test_any_statistic_that_is_lost_is_computed_again(fov: str, scheme: str, statistic: str, value: Any) -> None:
    """Of whichever kind: what is there afterwards is what was there before it was lost."""
    with tempfile.TemporaryDirectory() as folder:
        registry = _open(folder)
        compute_statistics(registry, progress=False)
        path = Path(folder) / f"exp_alpha.zarr/{fov}/.zattrs"
        before = json.loads(path.read_text())
        content = json.loads(path.read_text())
        table = content["normalization"]["GFP"][scheme]
        (table["1"] if scheme == "timepoint_statistics" else table)[statistic] = value
        path.write_text(json.dumps(content))
        assert len(compute_statistics(registry, progress=False).computed) == 3
        assert json.loads(path.read_text()) == before


def test_statistics_of_others_are_kept() -> None:
    """Complete statistics that another program wrote are not computed again."""
    with tempfile.TemporaryDirectory() as folder:
        registry = _open(folder, normalization=True)
        before = _stamps(folder)
        assert len(compute_statistics(registry, progress=False).skipped) == 3
        assert _stamps(folder) == before


def test_an_interrupted_run_is_continued() -> None:
    """FOVs finished before the end are not read again, and nothing is written before all of them are."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
        registry, whole = _open(folder), _open(other)
        compute_statistics(whole, progress=False)
        before = _metadata(registry)
        last = registry.positions("exp_alpha")["B/1/1"].array_path
        copytree(last, Path(folder) / "kept")
        _spoil(last)
        with pytest.raises(DynaclrError, match="position B/1/1 cannot be read"):
            compute_statistics(registry, progress=False)
        assert _metadata(registry) == before
        for fov in ("A/1/0", "B/1/0"):
            _spoil(registry.positions("exp_alpha")[fov].array_path)
        copytree(Path(folder) / "kept", last, dirs_exist_ok=True)
        compute_statistics(registry, progress=False)
        expected = {fov: p.normalization for fov, p in whole.positions("exp_alpha").items()}
        assert {fov: p.normalization for fov, p in registry.positions("exp_alpha").items()} == expected


@settings(max_examples=8)
@given(rewritten=st.sets(st.sampled_from(["A/1/0", "B/1/0", "B/1/1"])), version=st.sampled_from(["0.4", "0.5"]))
def test_the_work_on_images_that_were_replaced_is_done_again(rewritten: set[str], version: str) -> None:
    """Between an interruption and the next run, arrays of the same shape and type may have come in their place."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
        registry = _open(folder, ome_version=version)
        new = _retyped(_open(other, ome_version=version), "float32", np.random.default_rng(3))
        paths = {fov: position.array_path for fov, position in registry.positions("exp_alpha").items()}
        copytree(paths["B/1/1"], Path(folder) / "kept")
        _spoil(paths["B/1/1"])
        with pytest.raises(DynaclrError, match="position B/1/1 cannot be read"):
            compute_statistics(registry, progress=False)
        rmtree(paths["B/1/1"])
        copytree(Path(folder) / "kept", paths["B/1/1"])
        for fov in rewritten:
            rmtree(paths[fov])
            copytree(new.positions("exp_alpha")[fov].array_path, paths[fov], copy_function=copyfile)  # as of now
        compute_statistics(registry, progress=False)
        pixels = {fov: np.asarray(array[:, 1]) for fov, array in _pixels(registry).items()}
        for fov, position in registry.positions("exp_alpha").items():
            assert position.normalization is not None
            entry = position.normalization["GFP"]
            _assert_same(entry["fov_statistics"], _naive(pixels[fov]))
            _assert_same(entry["dataset_statistics"], _naive(np.stack(list(pixels.values()))))


@pytest.mark.parametrize("name", ["overwrite", "progress"])
def test_switches_are_true_or_false(name: str) -> None:
    """A text such as "no" would count as yes."""
    with tempfile.TemporaryDirectory() as folder:
        registry = ExperimentRegistry.from_yaml(write_registry(two_experiments(), Path(folder)))
        with pytest.raises(DynaclrError, match=f"{name}='no' needs True or False"):
            compute_statistics(registry, **{name: "no"})  # type: ignore[arg-type]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_store_that_takes_nothing_costs_the_others_nothing(overwrite: bool) -> None:
    """All are looked at before a folder is made in one, or an interrupted run's work is deleted."""
    with tempfile.TemporaryDirectory() as folder:
        registry = ExperimentRegistry.from_yaml(write_registry(two_experiments(), Path(folder)))
        first, second = (Path(folder, f"{name}.zarr", WORK_FOLDER) for name in registry.names)
        second.write_text("no folder")
        if overwrite:
            first.mkdir()
            (first / "A_1_0").write_text("finished")
        before = {path: path.stat().st_mtime_ns for path in Path(folder).rglob("*")}
        with pytest.raises(DynaclrError, match=rf"exp_beta\.zarr' \(its {WORK_FOLDER} is no folder\)"):
            compute_statistics(registry, progress=False, overwrite=overwrite)
        assert {path: path.stat().st_mtime_ns for path in Path(folder).rglob("*")} == before


@settings(max_examples=15)
@given(st.one_of(st.binary(max_size=9), st.tuples(st.floats(0, 1), st.integers(1, 255)), st.floats(0, 1)))
def test_damaged_work_is_done_again(damage: bytes | tuple[float, int] | float) -> None:
    """Whatever became of the file of a finished FOV: other bytes, one wrong byte, an early end, nothing comes of it."""
    with tempfile.TemporaryDirectory() as folder:
        registry = _open(folder)
        compute_statistics(registry, progress=False)
        expected = _metadata(registry)
        last = registry.positions("exp_alpha")["B/1/1"].array_path
        copytree(last, Path(folder) / "kept")
        _spoil(last)
        with pytest.raises(DynaclrError, match="position B/1/1 cannot be read"):
            compute_statistics(registry, progress=False, overwrite=True)
        for work in next(Path(folder).rglob(WORK_FOLDER)).iterdir():
            content = bytearray(work.read_bytes())
            if isinstance(damage, bytes):
                content[:] = damage
            elif isinstance(damage, float):
                del content[int(damage * (len(content) - 1)) :]
            else:
                content[int(damage[0] * (len(content) - 1))] ^= damage[1]
            work.write_bytes(content)
        copytree(Path(folder) / "kept", last, dirs_exist_ok=True)
        assert len(compute_statistics(registry, progress=False).computed) == 3
        assert _metadata(registry) == expected


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("overtaken", [0, 1, 2])
def test_a_run_that_is_overtaken_ends_well(overtaken: int, overwrite: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run on the store may begin and end while a FOV is read: both write the same, and nothing is left."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
        registry, whole = _open(folder), _open(other)
        compute_statistics(whole, progress=False)
        summarise, calls = preprocess._summarise, []

        def slowly(*arguments: Any) -> Any:
            calls.append(arguments)
            if len(calls) == overtaken + 1:
                path = next(Path(folder).glob("*.yml"))
                compute_statistics(ExperimentRegistry.from_yaml(path), progress=False, overwrite=overwrite)
            return summarise(*arguments)

        monkeypatch.setattr(preprocess, "_summarise", slowly)
        assert len(compute_statistics(registry, progress=False).computed) == 3
        expected = {fov: p.normalization for fov, p in whole.positions("exp_alpha").items()}
        assert {fov: p.normalization for fov, p in registry.positions("exp_alpha").items()} == expected
        assert not list(Path(folder).rglob(f"*{WORK_FOLDER}*"))


def test_runs_of_other_channels_at_the_same_time_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads a FOV's metadata to write them anew waits until the other one has done so."""
    read_json, others = preprocess.read_json, []

    with tempfile.TemporaryDirectory() as folder:
        registry = _open(folder)
        experiments_yaml = next(Path(folder).glob("*.yml"))

        def other_run() -> None:
            compute_statistics(ExperimentRegistry.from_yaml(experiments_yaml), channels=["Mito"], progress=False)

        def slowly(path: Path) -> dict[str, Any]:
            content = read_json(path)
            if not others:
                others.append(Thread(target=other_run))
                others[0].start()
                others[0].join(timeout=0.5)  # time enough to write, where nobody makes it wait
            return content

        monkeypatch.setattr(preprocess, "read_json", slowly)
        compute_statistics(registry, channels=["GFP"], progress=False)
        others[0].join()
        registry.refresh()
        for position in registry.positions("exp_alpha").values():
            assert set(position.normalization or {}) == {"GFP", "Mito"}


INTERRUPTED = """
import json, signal, sys
from pathlib import Path
from dynaclr.experiment import ExperimentRegistry
from dynaclr.preprocess import compute_statistics

registry = ExperimentRegistry.from_yaml(sys.argv[1])
compute_statistics(registry, progress=False, overwrite=True)  # imports what it needs, so that delays are of work
interrupted = 0
for step in range(60):
    signal.setitimer(signal.ITIMER_REAL, 0.0005 * (step + 1))
    try:
        try:
            compute_statistics(registry, progress=False, overwrite=True)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)  # too late, now and then: the alarm comes right before
    except KeyboardInterrupt:
        interrupted += 1
    except OSError as error:
        # Python's own rmtree closes a folder twice if interrupted between closing it and noting so.
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        interrupted += 1
    for path in Path(sys.argv[1]).parent.rglob(".zattrs"):
        json.loads(path.read_text())
        assert not list(path.parent.glob("*.part")), path
compute_statistics(registry, progress=False)
print(interrupted)
"""


def test_ctrl_c_tears_no_file() -> None:
    """Whenever Ctrl-C comes, each metadata file is whole, and the next run ends with the right statistics."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
        whole = _open(other)
        compute_statistics(whole, progress=False)
        path = write_registry(_small(), Path(folder))
        # An alarm that raises KeyboardInterrupt, as Ctrl-C does, at sixty different moments.
        script = "import signal\nsignal.signal(signal.SIGALRM, signal.default_int_handler)\n" + INTERRUPTED
        done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) > 0
        registry = ExperimentRegistry.from_yaml(path)
        expected = {fov: p.normalization for fov, p in whole.positions("exp_alpha").items()}
        assert {fov: p.normalization for fov, p in registry.positions("exp_alpha").items()} == expected
        assert not list(Path(folder).rglob(f"*{WORK_FOLDER}*"))


# --- what is refused ---------------------------------------------------------------------------------------


READ_ONLY = """
import os, sys
from dynaclr.errors import DynaclrError
from dynaclr.experiment import ExperimentRegistry
from dynaclr.preprocess import compute_statistics

if os.geteuid() == 0:
    os.setuid(65534)  # root may write anywhere
try:
    compute_statistics(ExperimentRegistry.from_yaml(sys.argv[1]), progress=False)
except DynaclrError as error:
    print(error)
"""


def test_a_read_only_store_is_one_sentence() -> None:
    """A store that may not be written to is named before any pixel is read."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_registry(_small(), Path(folder))
        for entry in [Path(folder), *Path(folder).rglob("*")]:
            entry.chmod(0o555 if entry.is_dir() else 0o444)
        command = [sys.executable, "-c", READ_ONLY, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        for entry in [Path(folder), *Path(folder).rglob("*")]:
            entry.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(
        r"the statistics cannot be written to '.*exp_alpha.zarr' \(Permission denied\), .*\n", done.stdout
    )


def test_voxels_that_are_no_numbers_are_named() -> None:
    """NaN and infinity are counted by FOV and channel, after all FOVs have been seen; stores often share a name."""
    with tempfile.TemporaryDirectory() as folder:
        registry = _open(folder)
        before = _metadata(registry)
        pixels = _pixels(registry)
        pixels["A/1/0"][0, 1, 0, :, 0] = np.nan
        pixels["B/1/1"][1, 0, 0, 0, 0] = np.inf
        store = registry.get_experiment("exp_alpha").data_path.resolve()
        sentence = (
            f"store {str(store)!r} has: position A/1/0 4 in channel 'GFP' that are NaN or infinite; "
            "position B/1/1 1 in channel 'Phase3D'"
        )
        with pytest.raises(DynaclrError, match=re.escape(sentence)):
            compute_statistics(registry, progress=False)
        assert _metadata(registry) == before


@pytest.mark.parametrize(
    ("channels", "sentence"),
    [
        (["GFP", "GFP2"], "names 'GFP2', but the stores have 'Phase3D', 'GFP', 'Mito'; did you mean 'GFP'"),
        ("GFP", "channels is 'GFP', but needs a list"),
        ([], "at least one channel name"),
    ],
)
def test_unknown_channels_are_refused(channels: Any, sentence: str) -> None:
    """A channel that no store has is named with those there are."""
    with tempfile.TemporaryDirectory() as folder:
        registry = _open(folder)
        with pytest.raises(DynaclrError, match=re.escape(sentence)):
            compute_statistics(registry, channels=channels, progress=False)


@pytest.fixture(scope="module")
def written() -> Iterator[Path]:
    """Write a registry with statistics, for tests that change a copy of its experiment only."""
    with tempfile.TemporaryDirectory() as folder:
        yield write_registry(_small(normalization=True), Path(folder))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("statistic", "value", "what"),
    [
        ("std", 0, "std is zero"),
        ("std", 0.0, "std is zero"),
        ("std", 1e-46, "std rounds to zero"),
        ("std", -1, "std is negative"),
        ("std", -1e-46, "std is negative"),
        ("std", float("nan"), "std is not finite"),
        ("std", "wide", "std is not finite"),
        ("std", None, "std is missing"),
        ("median", float("inf"), "median is not finite"),
        ("iqr", 0.0, None),
        ("mean", None, None),
    ],
)
def test_unusable_statistics_are_named(
    written: Path, scheme: str, statistic: str, value: Any, what: str | None
) -> None:
    """What a normalization needs must be there, finite, and above zero in the divisor; nothing else is needed."""
    registry = _with_statistic(written, scheme, statistic, value)
    if what is None:
        check_statistics(registry, scheme, "median", "std")
        return
    place = "'B/1/0 (frame 1)'" if scheme == "timepoint_statistics" else "'B/1/0'"
    sentence = f"experiment 'exp_alpha', channel 'GFP': {what} in {place} ("
    with pytest.raises(DynaclrError, match=re.escape(sentence)):
        check_statistics(registry, scheme, "median", "std")
    check_statistics(registry, scheme, "median", "std", fovs={"exp_alpha": ["A/1/0", "B/1/1"]})


def _with_statistic(written: Path, scheme: str, statistic: str, value: Any) -> ExperimentRegistry:
    """Open the registry while one statistic of FOV B/1/0, of frame 1 if of frames, is another."""
    path = written.parent / "exp_alpha.zarr/B/1/0/.zattrs"
    text = path.read_text()
    content = json.loads(text)
    table = content["normalization"]["GFP"][scheme]
    (table["1"] if scheme == "timepoint_statistics" else table)[statistic] = value
    path.write_text(json.dumps(content))
    try:
        return ExperimentRegistry.from_yaml(written)
    finally:
        path.write_text(text)


REMEDIES = {
    0: "(choose another divisor or leave those FOVs out)",
    1e-46: "(choose another divisor or leave those FOVs out)",
    -1: "(run `dynaclr preprocess` on the registry with overwrite)",
    None: "(run `dynaclr preprocess` on the registry)",
}


@pytest.mark.parametrize("value", REMEDIES)
def test_unusable_statistics_have_a_remedy(written: Path, value: float | None) -> None:
    """A constant image needs another divisor; what no computation gives is computed again."""
    registry = _with_statistic(written, "fov_statistics", "std", value)
    with pytest.raises(DynaclrError, match=f"{re.escape(REMEDIES[value])}$"):
        check_statistics(registry, "fov_statistics", "mean", "std")


@settings(max_examples=50)
@given(st.floats(-2, 2) | st.floats() | st.sampled_from([0.0, -0.0, 1e-46, 7e-46, 8e-46, 1e-38, 5e-324]))
def test_before_training_is_refused_what_the_transform_would_refuse(written: Path, value: float) -> None:
    """A divisor passes the check before training just where it passes in a batch, which then is finite."""
    registry = _with_statistic(written, "fov_statistics", "std", value)
    statistics = {"fov_statistics": {"mean": 0.0, "std": value}}
    normalize = NormalizeSampled("ch_0")
    batch = {"ch_0": torch.zeros(1, 1, 1, 1, 1), "norm_meta": [{"ch_0": statistics}]}
    refused = []
    for refuse in (lambda: check_statistics(registry, "fov_statistics", "mean", "std"), lambda: normalize(batch)):
        try:
            refuse()
        except DynaclrError:
            refused.append(refuse)
    assert len(refused) in (0, 2)
    assert refused or normalize(batch)["ch_0"].isfinite().all()


@pytest.mark.parametrize("scheme", ["fov_statistics", "timepoint_statistics"])
def test_zero_may_be_subtracted(written: Path, scheme: str) -> None:
    """Only the divisor must not be zero."""
    with tempfile.TemporaryDirectory() as folder:
        copytree(written.parent, folder, dirs_exist_ok=True)
        path = Path(folder) / "exp_alpha.zarr/B/1/0/.zattrs"
        content = json.loads(path.read_text())
        table = content["normalization"]["GFP"][scheme]
        (table["1"] if scheme == "timepoint_statistics" else table)["median"] = 0.0
        path.write_text(json.dumps(content))
        check_statistics(ExperimentRegistry.from_yaml(Path(folder) / written.name), scheme, "median", "std")


def test_statistics_of_a_store_that_were_computed_apart_are_refused() -> None:
    """A second run over fewer wells leaves two data sets in one store: a difference between the conditions."""
    with tempfile.TemporaryDirectory() as folder:
        whole = _open(folder)
        compute_statistics(whole, progress=False)
        check_statistics(whole, "dataset_statistics", "mean", "std")
        [config] = whole.experiments
        compute_statistics(
            ExperimentRegistry([config.model_copy(update={"condition_wells": {"x": ["A/1"]}})]), progress=False
        )
        whole.refresh()
        sentence = f"store {str(config.data_path.resolve())!r}, channel 'GFP': those of FOVs 'A/1/0' and 'B/1/0' differ"
        with pytest.raises(DynaclrError, match=rf"{re.escape(sentence)}.*dynaclr preprocess --overwrite"):
            check_statistics(whole, "dataset_statistics", "mean", "std")
        two = ExperimentRegistry(  # the same wells as two experiments: it is the store that counts
            [
                config.model_copy(update={"name": name, "condition_wells": {"x": [well]}})
                for name, well in (("a", "A/1"), ("b", "B/1"))
            ]
        )
        with pytest.raises(DynaclrError, match=re.escape(sentence)):
            check_statistics(two, "dataset_statistics", "mean", "std")
        check_statistics(whole, "fov_statistics", "mean", "std")
        check_statistics(whole, "dataset_statistics", "mean", "std", fovs={"exp_alpha": ["B/1/0", "B/1/1"]})
        compute_statistics(whole, progress=False, overwrite=True)
        check_statistics(whole, "dataset_statistics", "mean", "std")


@pytest.mark.parametrize("statistic", ["mean", "std", "median", "iqr", "p99"])
def test_each_statistic_of_a_store_that_is_needed_is_one_number(written: Path, statistic: str) -> None:
    """Whether it is subtracted or divides; FOVs may differ in the others."""
    registry = _with_statistic(written, "dataset_statistics", statistic, 123.5)
    for subtrahend in ("mean", "median"):
        for divisor in ("std", "iqr"):
            if statistic in (subtrahend, divisor):
                with pytest.raises(DynaclrError, match=r"channel 'GFP': those of FOVs 'A/1/0' and 'B/1/0' differ"):
                    check_statistics(registry, "dataset_statistics", subtrahend, divisor)
            else:
                check_statistics(registry, "dataset_statistics", subtrahend, divisor)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("name", "value"), [("shape", [2, 3, 2, 4, 6]), ("dtype", "float64")])
def test_statistics_of_other_images_are_refused(scheme: str, name: str, value: Any) -> None:
    """Statistics that say what they are of need to be of the images there now; those that do not say pass."""
    with tempfile.TemporaryDirectory() as folder:
        registry = _open(folder)
        compute_statistics(registry, progress=False)
        path = Path(folder) / "exp_alpha.zarr/B/1/0/.zattrs"
        content = json.loads(path.read_text())
        record = content["normalization"]["GFP"]["computed_from"]
        assert record[name] != value
        record[name] = value
        path.write_text(json.dumps(content))
        registry.refresh()
        sentence = f"channel 'GFP': those of FOV 'B/1/0' are of {name} {value}, but the FOV has "
        with pytest.raises(DynaclrError, match=rf"{re.escape(sentence)}.*dynaclr preprocess --overwrite"):
            check_statistics(registry, scheme, "mean", "std")
        for foreign in (None, "elsewhere"):
            content["normalization"]["GFP"]["computed_from"] = foreign
            path.write_text(json.dumps(content))
            registry.refresh()
            check_statistics(registry, scheme, "mean", "std")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("fov_statistic", "mean", "std"), "scheme is 'fov_statistic', .*did you mean 'fov_statistics'"),
        (("fov_statistics", "std", "std"), "subtrahend is 'std', but needs 'mean' or 'median'"),
        (("fov_statistics", "mean", None), "divisor is None, but needs 'std' or 'iqr'"),
    ],
)
def test_unknown_normalizations_are_refused(written: Path, arguments: tuple[str, str, str], sentence: str) -> None:
    """The names that there are stand in the sentence."""
    with pytest.raises(DynaclrError, match=sentence):
        check_statistics(ExperimentRegistry.from_yaml(written), *arguments)


# --- summaries ---------------------------------------------------------------------------------------------


numbers = st.sampled_from(["uint8", "int8", "bool", "int16", "int64", "float16", "float32", "float64"]).flatmap(
    lambda dtype: arrays(
        dtype,
        st.integers(1, 40),
        elements=None if np.dtype(dtype).kind in "bu" else {"min_value": -100, "max_value": 100},
    )
)


@given(parts=st.lists(numbers, min_size=1, max_size=5))
def test_merged_summaries_are_those_of_the_whole(parts: list[np.ndarray[Any, Any]]) -> None:
    """However voxels are divided, the merged statistics are numpy's of all of them; so are they from bytes."""
    total = Accumulator()
    for part in parts:
        total.add(Summary.from_bytes(Summary.of(part).to_bytes()))
    whole = np.concatenate([part.astype(np.float64) for part in parts])
    _assert_same(total.result().statistics(), _naive(whole))


@given(value=st.floats(-1e30, 1e30), counts=st.lists(st.integers(1, 50), min_size=1, max_size=4))
def test_a_constant_image_has_no_deviation(value: float, counts: list[int]) -> None:
    """The standard deviation of one value is exactly 0, so that nobody divides by a rounding error."""
    statistics = merged([Summary.of(np.full(count, value)) for count in counts]).statistics()
    assert statistics["std"] == 0
    assert statistics["iqr"] == 0


def test_thinned_summaries_keep_their_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many distinct values the rank of each quantile is within 1 / (2 * KEPT_VALUES) for each thinning."""
    monkeypatch.setattr(summaries, "_BUFFERED_VALUES", 3 * summaries.EXACT_VALUES)
    rng = np.random.default_rng(5)
    parts = [rng.lognormal(mean=shift, size=200_000).astype(np.float32) for shift in (0.0, 0.2, 3.0)]
    total = Accumulator()
    for part in parts:
        total.add(Summary.of(part))
    summary, whole = total.result(), np.sort(np.concatenate(parts).astype(np.float64))
    assert summary.count == len(whole)
    assert len(summary.values) <= summaries.EXACT_VALUES
    for fraction in (0.01, 0.25, 0.5, 0.75, 0.99):
        [value] = summary.quantiles([fraction])
        rank = np.searchsorted(whole, value) / len(whole)
        assert abs(rank - fraction) <= 2 / (2 * KEPT_VALUES) + 1 / len(whole)
    exact, found = _naive(whole), summary.statistics()
    for name in ("mean", "std", "min", "max"):
        assert found[name] == pytest.approx(exact[name], rel=1e-9)
