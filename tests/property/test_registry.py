"""What the registry says of each problem, and sees in a store as others do; its laws are in test_registry_laws.py."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dynaclr.errors import DynaclrError, RegistryError
from dynaclr.experiment import ExperimentConfig, ExperimentRegistry, json_schema
from dynaclr.files import read_yaml, write_atomically
from dynaclr_strategies.descriptions import FovDescription, RegistryDescription, WellDescription
from dynaclr_strategies.ready_made import two_experiments
from dynaclr_strategies.writers import write_registry

CHUNKS = (9, 9, 9, 9, 9)
"""One chunk for each array: stores that are fast to write."""


def _with(description: RegistryDescription, **changes: Any) -> RegistryDescription:
    """Return the registry with every experiment changed in the same way."""
    return replace(description, experiments=tuple(replace(e, **changes) for e in description.experiments))


SMALL = _with(two_experiments(tracks=3, frames=2, size=(4, 5), fovs=2, wells=("A/1", "B/1", "B/2")), chunks=CHUNKS)
REAL_DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "experiments.yml"
Entry = dict[str, Any]


# --- what is read ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32", "float64"])
def test_positions_agree_with_iohub(version: str, dtype: str) -> None:
    """A store that iohub wrote is read as iohub reads it: names, order, shapes, types, channels, statistics."""
    from iohub import open_ome_zarr

    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store.zarr"
        with open_ome_zarr(
            store, layout="hcs", mode="w", channel_names=["Phase 3D", "µ-GFP"], version=version
        ) as plate:
            for number, name in enumerate(["B/10/1", "A/2/0", "A/2/001"]):
                position = plate.create_position(*name.split("/"))
                shape = (3, 2, 1 + number, 6, 7)
                position.create_image("0", np.zeros(shape, dtype), chunks=(1, 1, 1, 6, 7))
            position.zattrs["normalization"] = {"µ-GFP": {"fov_statistics": {"mean": 1.5}}}
        (Path(folder) / "tracks").mkdir()
        config = _config(
            Path(folder),
            data_path=store,
            tracks_path=Path(folder) / "tracks",
            channel_names=["Phase 3D", "µ-GFP"],
            source_channel=["µ-GFP"],
            condition_wells={"x": ["A/2", "B/10"]},
        )
        positions = ExperimentRegistry([config]).positions("exp")
        with open_ome_zarr(store, mode="r") as plate:
            expected = dict(plate.positions())
            # iohub lists folders by name; ours is the order of the plate's metadata
            assert list(positions) == ["B/10/1", "A/2/0", "A/2/001"]
            assert sorted(positions) == sorted(expected)
            for name, position in positions.items():
                image = expected[name]["0"]
                assert position.shape == image.shape
                assert position.dtype == image.dtype == np.dtype(dtype)
                assert list(position.channel_names) == expected[name].channel_names
                assert position.ome_zarr_version == version
                assert position.zarr_format == (2 if version == "0.4" else 3)
                assert position.normalization == expected[name].zattrs.get("normalization")
                assert position.path == store / name
                assert position.array_path == store / name / "0"
        assert positions["A/2/001"].normalization == {"µ-GFP": {"fov_statistics": {"mean": 1.5}}}


def test_subset_keeps_order_and_reads_nothing() -> None:
    """A subset has the registry's order and its positions, also when the stores are gone by then."""
    with tempfile.TemporaryDirectory() as folder:
        registry = ExperimentRegistry.from_yaml(write_registry(SMALL, Path(folder)))
    part = registry.subset(["exp_beta"])
    assert part.names == ("exp_beta",)
    assert part.positions("exp_beta") == registry.positions("exp_beta")
    assert registry.subset(["exp_beta", "exp_alpha"]) == registry
    assert registry.subset("exp_alpha").names == ("exp_alpha",)
    with pytest.raises(RegistryError, match="needs at least one experiment"):
        registry.subset([])


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    """A name that no experiment has is a KeyError and a DynaclrError whose sentence lists the names."""
    with tempfile.TemporaryDirectory() as folder:
        registry = ExperimentRegistry.from_yaml(write_registry(SMALL, Path(folder)))
    for ask in (registry.get_experiment, registry.positions, lambda name: registry.subset([name])):
        with pytest.raises(KeyError) as caught:
            ask("exp_alfa")
        assert isinstance(caught.value, DynaclrError)
        assert str(caught.value) == (
            "there is no experiment 'exp_alfa'; there are 'exp_alpha', 'exp_beta'; did you mean 'exp_alpha'?"
        )
    with pytest.raises(KeyError, match="no condition of experiment 'exp_beta' names the well 'C/9'"):
        registry.condition_of("exp_beta", "C/9")


def test_an_interval_without_a_frame_is_named() -> None:
    """The sentence names experiment, interval and range; whole ranges are returned in frames."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_registry(SMALL, Path(folder))
        entries = yaml.safe_load(path.read_text())["experiments"]
        entries[1]["interval_minutes"] = 60
        registry = ExperimentRegistry.from_yaml(_write(path, entries))
    assert registry.tau_range_frames("exp_alpha", (0.5, 2.0)) == (1, 4)
    assert registry.tau_range_frames("exp_beta", (0, 0)) == (0, 0)
    sentence = r"experiment 'exp_beta': at interval_minutes=60.0 .* tau_range=\(0.1, 0.5\) hours"
    with pytest.raises(DynaclrError, match=sentence):
        registry.tau_range_frames("exp_beta", (0.1, 0.5))


def test_wells_without_a_condition_are_left_out_with_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """One line for each experiment says which wells; a plate that is used whole says nothing."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_registry(SMALL, Path(folder))
        entries = yaml.safe_load(path.read_text())["experiments"]
        entries[1]["condition_wells"] = {"uninfected": ["B/1"]}
        with caplog.at_level(logging.INFO, logger="dynaclr"):
            ExperimentRegistry.from_yaml(_write(path, entries))
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["experiment 'exp_beta': wells left out, since no condition names them: A/1, B/2"]


def test_a_channel_that_changes_its_position_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    """It is another channel of the encoder in each; those that only one experiment has may be anywhere."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_registry(SMALL, Path(folder))
        entries = yaml.safe_load(path.read_text())["experiments"]
        ExperimentRegistry.from_yaml(path)
        assert not caplog.messages
        entries[1]["source_channel"] = entries[1]["source_channel"][::-1]
        ExperimentRegistry.from_yaml(_write(path, entries)).subset(["exp_alpha", "exp_beta"])
    (warning,) = caplog.messages
    assert warning == (
        "source_channel: channel 'Phase3D' is at position 0 of 'exp_alpha' and 1 of 'exp_beta', which are different "
        "channels to the encoder"
    )


@pytest.mark.skipif(not REAL_DATA.is_file(), reason=f"no real movies at {REAL_DATA}")
def test_the_real_movies_load() -> None:
    """The registry of published movies loads, with its date as it is written."""
    registry = ExperimentRegistry.from_yaml(REAL_DATA)
    assert registry.get_experiment("mda231_qpi").date == "05062019"
    assert registry.positions("mda231_qpi")["A/2/1"].shape == (28, 1, 1, 615, 307)
    assert list(registry.positions("bacteria_phase")) == ["A/1/0", "A/2/0"]


# --- round trips -------------------------------------------------------------------------------------------

TRAPS = ["no", "2024", "05062019", "1:30", "1e3", "-.5", "~", "2019-06-05", "010"]
texts = st.text(max_size=8) | st.sampled_from(TRAPS)
names = texts.filter(lambda text: bool(text.strip()) and ":" not in text)


@settings(max_examples=60)
@given(
    name=names,
    label=texts.filter(lambda text: bool(text.strip())),
    channels=st.lists(texts, min_size=2, max_size=3, unique=True),
    organelle=texts,
    date=texts,
    numbers=st.tuples(st.floats(1e-6, 1e6), st.floats(-1e9, 1e9), st.floats(0, 1e9)),
)
@example(name="1e3", label="no", channels=["~", "0x1F"], organelle="=", date="", numbers=(1e-5, -1e20, 1e16))
@example(
    name="a", label="x\x85", channels=["\u2028", "µ-\x85"], organelle="\ufeff", date="\x07", numbers=(1.0, 0.0, 0.0)
)
def test_roundtrip_through_yaml(
    name: str, label: str, channels: list[str], organelle: str, date: str, numbers: tuple[float, float, float]
) -> None:
    """What `to_yaml` writes, `from_yaml` reads back unchanged, in the same folder and with paths below it relative."""
    with tempfile.TemporaryDirectory() as folder:
        experiment = replace(
            SMALL.experiments[0],
            name="exp",
            channel_names=tuple(channels),
            source_channel=(channels[1],),
            condition_wells=(("x", ("B/1",)),),
            wells=(WellDescription(name="B/1", fovs=(FovDescription(name="0", y=1, x=1),)),),
        )
        write_registry(replace(SMALL, experiments=(experiment,)), Path(folder) / "data")
        config = _config(
            Path(folder) / "data",
            name=name,
            channel_names=channels,
            source_channel=channels[1:2],
            condition_wells={label: ["B/1"]},
            organelle=organelle,
            date=date,
            interval_minutes=numbers[0],
            start_hpi=numbers[1],
            moi=numbers[2],
        )
        registry = ExperimentRegistry([config])
        path = Path(folder) / "again.yml"
        registry.to_yaml(path)
        assert ExperimentRegistry.from_yaml(path) == registry
        [entry] = yaml.safe_load(path.read_text(encoding="utf-8"))["experiments"]
        assert entry["data_path"] == "data/exp.zarr"
        assert sorted(p.name for p in Path(folder).iterdir()) == ["again.yml", "data"]


def test_paths_are_relative_to_the_yaml_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths work from any current folder; a registry written elsewhere names its stores absolutely."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as elsewhere:
        path = write_registry(SMALL, Path(folder) / "deep")
        monkeypatch.chdir(folder)
        registry = ExperimentRegistry.from_yaml("deep/experiments.yml")
        assert all(p.array_path.is_absolute() for p in registry.positions("exp_beta").values())
        monkeypatch.chdir(elsewhere)
        registry.to_yaml("copy.yml")
        assert ExperimentRegistry.from_yaml("copy.yml") == registry == ExperimentRegistry.from_yaml(path)
        assert yaml.safe_load(Path("copy.yml").read_text())["experiments"][0]["data_path"].startswith(folder)
        monkeypatch.chdir("/")


def test_the_working_folder_is_not_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the same relative paths lead to other stores from there: those beside the YAML file are meant."""
    with tempfile.TemporaryDirectory() as meant, tempfile.TemporaryDirectory() as other:
        path = write_registry(_with(SMALL, start_hpi=1.0), Path(meant))
        write_registry(SMALL, Path(other))
        monkeypatch.chdir(other)
        for config in ExperimentRegistry.from_yaml(path).experiments:
            for place in (config.data_path, config.tracks_path):
                assert place.resolve().is_relative_to(Path(meant).resolve())
        monkeypatch.chdir("/")


def test_configs_survive_pickle_and_copy() -> None:
    """Workers of a data loader get the same experiment."""
    config = _config(Path("/nowhere"))
    assert pickle.loads(pickle.dumps(config)) == config == copy.deepcopy(config)  # noqa: S301


def test_an_unwritable_place_leaves_nothing_behind() -> None:
    """Where the file cannot be put, the error is one sentence and no half-written file remains."""
    with tempfile.TemporaryDirectory() as folder:
        registry = ExperimentRegistry.from_yaml(write_registry(SMALL, Path(folder)))
        (Path(folder) / "taken").mkdir()
        before = sorted(Path(folder).iterdir())
        with pytest.raises(DynaclrError, match="taken' cannot be written"):
            registry.to_yaml(Path(folder) / "taken")
        assert sorted(Path(folder).iterdir()) == before


def test_an_atomic_write_replaces_the_file() -> None:
    """Who reads the old file goes on reading it whole; mode and symbolic link stay."""
    with tempfile.TemporaryDirectory() as folder:
        target, link = Path(folder) / "target", Path(folder) / "link"
        target.write_text("old")
        target.chmod(0o640)
        link.symlink_to(target)
        with target.open() as reader:
            write_atomically(link, "new")
            assert reader.read() == "old"
        assert link.is_symlink()
        assert target.read_text() == "new"
        assert target.stat().st_mode & 0o777 == 0o640


# --- every problem is found --------------------------------------------------------------------------------


class Fault(NamedTuple):
    """A way to break one experiment's entry, and the sentence that must come of it."""

    field: str
    value: Any
    sentence: str


FAULTS = [
    Fault("name", "", r"name is '', but needs text that is not empty"),
    Fault("name", 2024, r"name is 2024, but needs text \(YAML reads unquoted digits"),
    Fault("name", False, r"name is False, but needs text \(YAML reads an unquoted yes, no"),
    Fault("name", "a:b", r"name is 'a:b', but needs a name without ':'"),
    Fault("data_path", "nowhere.zarr", r"data_path needs an HCS OME-Zarr store, but there is no folder .*nowhere"),
    Fault("data_path", ".", r"is no Zarr store"),
    Fault("data_path", "exp_alpha.zarr/A", r"is a Zarr group but no HCS plate"),
    Fault("data_path", "a\0b", r"data_path is 'a\\x00b', but needs a path"),
    Fault("data_path", 7, r"data_path is 7, but needs a path"),
    Fault("tracks_path", "nowhere", r"tracks_path is '.*nowhere', but there is no such folder"),
    Fault("tracks_path", "experiments.yml", r"tracks_path is '.*', but there is no such folder"),
    Fault("tracks_path", None, r"tracks_path is None, but needs a path \(YAML reads nothing"),
    Fault("channel_names", "Phase3D", r"channel_names is the single text 'Phase3D', but needs a list"),
    Fault("channel_names", [], r"channel_names is \[\], but needs at least one name"),
    Fault("channel_names", ["GFP", 488], r"channel_names holds 488, but needs texts \(YAML reads unquoted digits"),
    Fault("source_channel", "GFP", r"source_channel is the single text 'GFP', but needs a list"),
    Fault("source_channel", ["Phase3D", "Phase"], r"names 'Phase', but the store's channel_names .*mean 'Phase3D'"),
    Fault("source_channel", ["Phase3D", "Phase3D"], r"source_channel names 'Phase3D' 2 times"),
    Fault("condition_wells", {}, r"condition_wells is {}, but needs at least one condition"),
    Fault("condition_wells", ["A/1"], r"condition_wells is \['A/1'\], but needs labels and their wells"),
    Fault("condition_wells", {False: ["A/1"]}, r"condition_wells has the label False, but needs text \(YAML"),
    Fault("condition_wells", {"x": "A/1"}, r"condition_wells of 'x' is the single text 'A/1', but needs a list"),
    Fault("condition_wells", {"x": []}, r"condition_wells of 'x' is an empty list"),
    Fault("condition_wells", {"x": [1]}, r"condition_wells holds 1 under 'x', but needs texts"),
    Fault("condition_wells", {" ": ["A/1"]}, r"condition_wells has the empty label ' '"),
    Fault("condition_wells", {"x": ["A/1"], "y": ["A/1"]}, r"names well 'A/1' 2 times \(under 'x' and 'y'\)"),
    Fault("condition_wells", {"x": ["B/1", "B/1"]}, r"names well 'B/1' 2 times \(under 'x'\)"),
    Fault("condition_wells", {"x": ["A1"]}, r"names well 'A1' under 'x', but the plate has the wells .*mean 'A/1'"),
    Fault("interval_minutes", 0, r"interval_minutes is 0.0, but needs a positive number"),
    Fault("interval_minutes", -3.5, r"interval_minutes is -3.5, but needs a positive number"),
    Fault("interval_minutes", float("inf"), r"interval_minutes is inf, but needs a finite number"),
    Fault("interval_minutes", True, r"interval_minutes is True, but needs a finite number"),
    Fault("start_hpi", float("nan"), r"start_hpi is nan, but needs a finite number"),
    Fault("start_hpi", "early", r"start_hpi is 'early', but needs a finite number"),
    Fault("moi", -1, r"moi is -1.0, but needs a number that is not negative"),
    Fault("organelle", None, r"organelle is None, but needs text"),
    Fault("founder_parent", 0.5, r"founder_parent is 0.5, but needs a whole number"),
    Fault("impossible_parents", "ignore", r"impossible_parents is 'ignore', but needs 'error' or 'founder'"),
    Fault("chanel_names", ["x"], r"'chanel_names' is an unknown key; did you mean 'channel_names'\?"),
    Fault("zzz", 1, r"'zzz' is an unknown key; the known keys are name, data_path"),
]  # fmt: skip


@pytest.fixture(scope="module")
def written() -> Iterator[tuple[Path, list[Entry]]]:
    """Write stores that no test changes; yield their registry's path and entries."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_registry(SMALL, Path(folder))
        yield path, yaml.safe_load(path.read_text())["experiments"]


Written = tuple[Path, list[Entry]]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.field}={fault.value!r}")
def test_each_fault_has_its_sentence(written: Written, fault: Fault) -> None:
    """One broken field gives one problem, which names experiment and field."""
    [problem] = _problems_of(written, [(0, fault)])
    assert re.search(fault.sentence, problem)
    expected = "experiment number 1: " if fault.field == "name" else "experiment 'exp_alpha': "
    assert problem.startswith(expected)


def _one_per_field(faults: list[tuple[int, Fault]]) -> bool:
    """Tell whether the faults do not hide each other: one for each field of each experiment."""
    return len({(number, fault.field) for number, fault in faults}) == len(faults)


@settings(max_examples=100)
@given(
    faults=st.lists(st.tuples(st.integers(0, 1), st.sampled_from(FAULTS)), min_size=1, max_size=8).filter(
        _one_per_field
    )
)
def test_every_fault_of_every_experiment_is_listed(written: Written, faults: list[tuple[int, Fault]]) -> None:
    """However many fields of however many experiments are broken, each has its sentence in the one error."""
    problems = _problems_of(written, faults)
    for number, fault in faults:
        if _is_hidden(number, fault, faults):
            continue
        label = ("exp_alpha", "exp_beta")[number], f"number {number + 1}"
        assert any(
            re.search(fault.sentence, problem) and any(text in problem.split(":")[0] for text in label)
            for problem in problems
        ), (fault, problems)


def _is_hidden(number: int, fault: Fault, faults: list[tuple[int, Fault]]) -> bool:
    """Tell whether a fault can only be seen in a field that is broken as well, or is none in exp_beta."""
    broken = {other.field for n, other in faults if n == number and other is not fault}
    if "but the plate has" in fault.sentence:
        return "data_path" in broken
    return "but the store's channel_names" in fault.sentence and "channel_names" in broken


def _problems_of(written: Written, faults: list[tuple[int, Fault]]) -> tuple[str, ...]:
    """Break the entries of a registry and return the problems that are found."""
    path, whole = written
    entries = copy.deepcopy(whole)
    for number, fault in faults:
        entries[number][fault.field] = fault.value
    broken = _write(path.with_name("broken.yml"), entries)
    with pytest.raises(RegistryError) as caught:
        ExperimentRegistry.from_yaml(broken)
    return caught.value.problems


Breaker = Callable[[list[Entry], Path], object]


def _set(number: int, field: str, value: Any) -> Breaker:
    def breaker(entries: list[Entry], _: Path) -> None:
        entries[number][field] = value

    return breaker


def _edit(path: str, edit: Callable[[dict[str, Any]], object]) -> Breaker:
    """Change a metadata file of the second experiment's store."""

    def breaker(_: list[Entry], folder: Path) -> None:
        file = folder / "exp_beta.zarr" / path
        content = json.loads(file.read_text())
        edit(content)
        file.write_text(json.dumps(content))

    return breaker


def _overwrite(text: str) -> Breaker:
    return lambda _, folder: (folder / "exp_beta.zarr/A/1/1/.zattrs").write_text(text)


def _array(**changes: Any) -> Breaker:
    return _edit("A/1/1/0/.zarray", lambda metadata: metadata.update(changes))


def _drop(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda metadata: metadata.pop(key)


def _swap_channels(metadata: dict[str, Any]) -> None:
    metadata["omero"]["channels"].reverse()


def _swap_axes(metadata: dict[str, Any]) -> None:
    metadata["multiscales"][0]["axes"].reverse()


BREAKERS: list[tuple[Breaker, str]] = [
    (_set(1, "name", "exp_alpha"), r"'exp_alpha': name is 'exp_alpha' in 2 experiments, but needs to be unique"),
    (_set(1, "source_channel", ["RFP"]), r"same number of channels in every .* 'exp_alpha' 2 .* 'exp_beta' 1"),
    (lambda entries, _: entries.clear(), r"experiments is an empty list, but needs at least one"),
    (lambda entries, _: entries.append("exp_c"), r"experiment number 3 is 'exp_c', but needs the fields"),  # type: ignore[arg-type]
    (lambda entries, _: entries[0].pop("source_channel"), r"'exp_alpha': source_channel is missing"),
    # the last position of the last well, not only the first
    (_edit("B/2/1/.zattrs", _swap_channels), r"'exp_beta': channel_names is \['Phase.* \['Stress.* 'B/2/1'$"),
    (_edit("B/2/1/.zattrs", lambda m: m["omero"]["channels"].pop()), r"position B/2/1 has 2 channel names"),
    (_edit("A/1/1/.zattrs", _drop("omero")), r"position A/1/1 has no channel names"),
    (_edit("A/1/1/.zattrs", _drop("multiscales")), r"position A/1/1 has no OME-Zarr image"),
    (_edit("A/1/1/.zattrs", _swap_axes), r"position A/1/1 has the axes \['x', 'y'.*, but needs \['T', 'C'"),
    (_array(shape=[2, 3, 4, 5]), r"array of shape \(2, 3, 4, 5\), but needs the five axes"),
    (_array(shape=[0, 3, 1, 4, 5]), r"empty array of shape"),
    (_array(dtype="<c8"), r"complex64, but needs integers or real"),
    (_array(dtype="what"), r"no shape and number type"),
    (_edit("A/1/.zattrs", _drop("well")), r"well A/1 has no metadata that list its images"),
    (_edit(".zattrs", lambda m: m["plate"].pop("wells")), r"'plate' without a list of wells"),
    (lambda _, folder: shutil.rmtree(folder / "exp_beta.zarr/A/1/0"), r"file '.*A/1/0/.zattrs' is missing"),
    (_overwrite("{"), r"A/1/1/\.zattrs' is not valid JSON"),
    (_overwrite("[]"), r"A/1/1/\.zattrs' holds no JSON object"),
]


@pytest.mark.parametrize(("breaker", "sentence"), BREAKERS, ids=[sentence for _, sentence in BREAKERS])
def test_faults_between_experiments_and_in_stores(breaker: Breaker, sentence: str) -> None:
    """What is wrong between experiments, or inside a store, is a problem like the others."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_registry(SMALL, Path(folder))
        entries = yaml.safe_load(path.read_text())["experiments"]
        breaker(entries, Path(folder))
        with pytest.raises(RegistryError) as caught:
            ExperimentRegistry.from_yaml(_write(path, entries))
    [problem] = caught.value.problems
    assert re.search(sentence, problem)


def test_problems_of_all_kinds_come_together(written: Written) -> None:
    """A wrong field hides neither what is wrong between experiments nor what is wrong on disk."""
    path, whole = written
    entries = copy.deepcopy(whole)
    entries[0] |= {"moi": "much", "condition_wells": {"x": ["Z/9"]}}
    entries[1] |= {"name": "exp_alpha", "source_channel": ["RFP"], "tracks_path": "nowhere", "zzz": 1}
    with pytest.raises(RegistryError) as caught:
        ExperimentRegistry.from_yaml(_write(path.with_name("broken.yml"), entries))
    sentences = ["moi", "unknown key", "in 2 experiments", "same number", "well 'Z/9'", "tracks_path"]
    for sentence, problem in zip(sentences, caught.value.problems, strict=True):
        assert sentence in problem


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty, but needs the key 'experiments'"),
        ("- a\n", "holds no key 'experiments', but list data"),
        ("{}\n", "has no key 'experiments'"),
        ("experiment: []\n", "unknown top-level key 'experiment'; did you mean 'experiments'?"),
        ("experiments: []\nversion: 1\n", "unknown top-level key 'version'; the only known key is 'experiments'"),
        ("experiments: exp.yml\n", "is 'exp.yml', but needs a list"),
        ("experiments: [\n", "line 2 is not valid YAML"),
        ("experiments: []\nexperiments: []\n", "line 2 is not valid YAML .the key 'experiments' appears twice"),
        ("a: 'b\nc: d\n", "line 1 is not valid YAML .found unexpected end of stream"),
        ("experiments: [{name: !!python/name:os.system x}]\n", "is not valid YAML .could not determine a constructor"),
        (None, "there is no file"),
    ],
)
def test_a_file_that_is_no_registry(text: str | None, sentence: str) -> None:
    """One sentence names the file and what it lacks."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "experiments.yml"
        if text is not None:
            path.write_text(text)
        with pytest.raises(DynaclrError, match=r"experiments\.yml") as caught:
            ExperimentRegistry.from_yaml(path)
    assert re.search(sentence, str(caught.value))
    assert "\n" not in str(caught.value)


def test_a_file_in_another_encoding_is_named() -> None:
    """With what to do, and where the first such byte is."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "experiments.yml"
        path.write_bytes("a: Zürich".encode("latin-1"))
        with pytest.raises(DynaclrError, match=r"experiments\.yml' needs to be in UTF-8, but is not \(.* at byte 4\)$"):
            ExperimentRegistry.from_yaml(path)


def test_a_sign_that_yaml_has_not_is_no_matter_of_encoding() -> None:
    """Though the file is in UTF-8."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "experiments.yml"
        path.write_bytes(b"a: x\x07y")
        with pytest.raises(DynaclrError, match=r"is not valid YAML \(special characters are not allowed\)"):
            ExperimentRegistry.from_yaml(path)


def test_yaml_keeps_what_was_written() -> None:
    """Dates keep their text, no octal and no base 60 comes about, and merged keys are not doubled ones."""
    text = "a: {date: 05062015}\nb: {date: 20190605}\nc: {date: }\nd: 010\ne: 1:30\nf: 2019-06-05\ng: 1.5e+3\nh: no\n"
    text += "i: &i {x: 1, y: 2}\nj: {<<: *i, x: 3}\n"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.yml"
        path.write_text(text)
        content = read_yaml(path)
    assert [content[key]["date"] for key in "abc"] == ["05062015", "20190605", ""]
    assert [content[key] for key in "defgh"] == ["010", "1:30", "2019-06-05", 1500.0, False]
    assert content["j"] == {"x": 3, "y": 2}


def test_a_config_made_in_python_checks_itself() -> None:
    """All problems of the fields come in one error, before any disk is read."""
    with pytest.raises(RegistryError, match="'exp'") as caught:
        _config(Path("/nowhere"), interval_minutes=-1, moi="much", source_channel=["RFP"])
    assert len(caught.value.problems) == 3


def test_a_registry_takes_mappings_as_the_file_does(written: Written) -> None:
    """Mappings, alone or beside experiments, make the same registry, and all their problems come in one error."""
    registry = ExperimentRegistry.from_yaml(written[0])
    first, *others = registry.experiments
    assert ExperimentRegistry([MappingProxyType(first.model_dump()), *others]) == registry
    raw = [config.model_dump() for config in registry.experiments]
    assert ExperimentRegistry(raw) == registry
    raw[0]["source_chanel"] = raw[0].pop("source_channel")
    raw[1]["moi"] = -1
    with pytest.raises(RegistryError) as caught:
        ExperimentRegistry([*raw, 5])  # type: ignore[list-item]
    assert [sentence for sentence in caught.value.problems if "source_chan" in sentence] != []
    assert "experiment 'exp_beta': moi is -1.0, but needs a number that is not negative" in caught.value.problems
    assert "experiment number 3 is 5, but needs the fields of an experiment" in caught.value.problems


@pytest.mark.parametrize("wrong", [None, "experiments.yml", 5, {"name": "exp"}, b"x"])
def test_what_is_no_list_of_experiments_is_refused(wrong: Any) -> None:
    """A sentence says what is needed, where Python would complain about its own types."""
    with pytest.raises(
        DynaclrError, match=rf"experiments is {re.escape(repr(wrong))}, but needs a list of experiments"
    ):
        ExperimentRegistry(wrong)


def test_a_single_experiment_is_no_list(written: Written) -> None:
    """Also where Python could go through it, field by field."""
    config = ExperimentRegistry.from_yaml(written[0]).experiments[0]
    with pytest.raises(DynaclrError, match="put the one experiment in a list"):
        ExperimentRegistry(config)  # type: ignore[arg-type]


def test_the_json_schema_describes_every_field() -> None:
    """Editors learn each field with a description, what is required, and that nothing else is allowed."""
    schema = json_schema()
    assert schema["required"] == ["experiments"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["experiments"]["items"] == {"$ref": "#/$defs/Experiment"}
    experiment = schema["$defs"]["Experiment"]
    assert experiment["additionalProperties"] is False
    assert list(experiment["properties"]) == list(ExperimentConfig.model_fields)
    assert all(len(field["description"]) > 10 for field in experiment["properties"].values())
    assert experiment["required"] == [
        "name", "data_path", "tracks_path", "channel_names", "source_channel", "condition_wells",
    ]  # fmt: skip
    assert json.loads(json.dumps(schema)) == schema


def _config(folder: Path, **fields: Any) -> ExperimentConfig:
    """Return a config that is right by itself, but for the fields given."""
    usual: Entry = {
        "name": "exp",
        "data_path": folder / "exp.zarr",
        "tracks_path": folder / "tracks" / "exp",
        "channel_names": ["Phase3D", "GFP", "Mito"],
        "source_channel": ["GFP"],
        "condition_wells": {"uninfected": ["A/1"]},
    }
    return ExperimentConfig(**(usual | fields))


def _write(path: Path, entries: list[Entry]) -> Path:
    """Write the entries as a registry's file."""
    path.write_text(yaml.safe_dump({"experiments": entries}, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


def test_a_written_registry_is_for_people_too(tmp_path: Path) -> None:
    """Fields in the order of the page, wells and conditions in the order given, letters as they are."""
    two = two_experiments(conditions=("zé", "a"), tracks=3, size=(8, 8))
    registry = ExperimentRegistry.from_yaml(write_registry(two, tmp_path))
    registry.to_yaml(tmp_path / "again.yml")
    text = (tmp_path / "again.yml").read_text(encoding="utf-8")
    assert "    zé:\n    - A/1\n    a:\n    - B/1\n" in text
    keys = [
        line.split(":")[0].strip("- ") for line in text.splitlines() if line[:3] in ("- n", "  d", "  t", "  c", "  s")
    ]
    assert keys[:6] == ["name", "data_path", "tracks_path", "channel_names", "source_channel", "condition_wells"]


def test_a_line_break_that_yaml_forgets_is_escaped(tmp_path: Path) -> None:
    """U+0085 in a label comes back as it was, and the order of the fields stays."""
    two = two_experiments(conditions=("z\x85", "a"), tracks=3, size=(8, 8))
    registry = ExperimentRegistry.from_yaml(write_registry(two, tmp_path))
    registry.to_yaml(tmp_path / "again.yml")
    text = (tmp_path / "again.yml").read_text(encoding="utf-8")
    assert text.index("name:") < text.index("data_path:") < text.index("channel_names:")
    assert text.isascii()
    assert ExperimentRegistry.from_yaml(tmp_path / "again.yml") == registry


def test_a_registry_is_a_collection_of_experiments(tmp_path: Path) -> None:
    """It iterates, shows its experiments, and equals nothing but a registry of the same."""
    registry = ExperimentRegistry.from_yaml(write_registry(two_experiments(tracks=3, size=(8, 8)), tmp_path))
    assert list(registry) == list(registry.experiments)
    assert repr(registry) == f"ExperimentRegistry(experiments={list(registry.experiments)!r})"
    assert registry == ExperimentRegistry(list(registry))
    assert registry != registry.subset(["exp_beta"])
    assert registry != registry.experiments
    assert registry != 3


def test_a_refreshed_registry_sees_what_was_written_since(tmp_path: Path) -> None:
    """Statistics that were added to a store are there, under the names of the same experiments."""
    plain = ExperimentRegistry.from_yaml(write_registry(two_experiments(tracks=3, size=(8, 8)), tmp_path))
    assert plain.positions("exp_beta")["A/1/0"].normalization is None
    shutil.rmtree(tmp_path / "exp_beta.zarr")
    other = tmp_path / "other"
    other.mkdir()
    write_registry(two_experiments(tracks=3, size=(8, 8), normalization=True), other)
    shutil.copytree(other / "exp_beta.zarr", tmp_path / "exp_beta.zarr")
    plain.refresh()
    assert plain.positions("exp_beta")["A/1/0"].normalization is not None
    assert plain.positions("exp_alpha")["A/1/0"].normalization is None
    assert list(plain.positions("exp_alpha")) == ["A/1/0", "B/1/0"]
