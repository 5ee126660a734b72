"""The demo and the example configurations, as a newcomer meets them."""

from __future__ import annotations

import hashlib
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from dynaclr.demo import run_demo
from dynaclr.demo.movies import write_movies
from dynaclr.demo.run import _MARK, _MARK_TEXT, _WRITTEN
from dynaclr.embeddings import read_embeddings
from dynaclr.errors import DynaclrError
from dynaclr.experiment import ExperimentRegistry
from dynaclr.index import MultiExperimentIndex

CONFIGS = Path(__file__).parents[2] / "examples" / "configs"
FIT = CONFIGS / "multi_experiment_fit.yml"


def run(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    command = [sys.executable, "-m", "dynaclr", *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run the demo once; return its directory and what it printed."""
    root = tmp_path_factory.mktemp("demo")
    done = run("demo", "dynaclr-demo", cwd=root)
    assert done.returncode == 0, done.stderr
    return root / "dynaclr-demo", done.stdout


def test_the_demo_says_where_its_results_are(demo: tuple[Path, str]) -> None:
    """Each path it names exists: data, log, picture of the batches, embeddings."""
    directory, printed = demo
    for name in ("experiments.yml", "fit.yml", "logs", "batches.png", "embeddings.zarr"):
        assert f"dynaclr-demo/{name}" in printed
        assert (directory / name).exists()
    assert (directory / "batches.png").read_bytes().startswith(b"\x89PNG")
    assert list((directory / "logs").rglob("events.out.tfevents.*"))


def test_the_demo_embeds_every_cell(demo: tuple[Path, str]) -> None:
    """One row per observation of both experiments, with unique names."""
    directory, _ = demo
    embeddings = read_embeddings(directory / "embeddings.zarr")
    registry = ExperimentRegistry.from_yaml(directory / "experiments.yml")
    index = MultiExperimentIndex(registry, slice(0, 1), (48, 48))
    assert embeddings.n_obs == len(index.tracks)
    assert embeddings.obs_names.is_unique
    assert set(embeddings.obs["experiment"]) == {"exp_alpha", "exp_beta"}


def test_the_demo_replaces_only_what_is_its_own(demo: tuple[Path, str]) -> None:
    """A directory with somebody's files is refused in one sentence and left alone."""
    directory, _ = demo
    work = directory.parent / "work"
    work.mkdir()
    (work / "thesis.txt").write_text("precious")
    done = run("demo", "work", cwd=directory.parent)
    assert done.returncode == 2
    assert "'work' holds files that are not the demo's" in done.stderr
    assert (work / "thesis.txt").read_text() == "precious"


def _stopped(words: Sequence[str]) -> int:
    """Stand in for the command line: refuse the first command, when the movies are written."""
    return int(bool(words))


def _begin(directory: Path) -> None:
    """Begin a demo that ends with its movies, and give it what a whole one leaves besides."""
    with pytest.raises(DynaclrError, match="'dynaclr preprocess' ended with exit code 1"):
        run_demo(directory, _stopped)
    for name in ("logs/demo/checkpoints/last.ckpt", "embeddings.zarr/.zgroup", "batches.png", "embeddings.png"):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text("of an earlier demo")


def _files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_what_the_demo_writes_is_what_it_may_replace(demo: tuple[Path, str]) -> None:
    """A whole demo leaves nothing that a second one would refuse."""
    directory, _ = demo
    found = [*directory.iterdir(), *(directory / "logs").iterdir(), *(directory / "tracks").iterdir()]
    names = {str(path.relative_to(directory)) for path in found}
    assert names == {*_WRITTEN, _MARK, "logs", "tracks"}


@pytest.mark.parametrize("text", ["", "my notes on the demo\n", f"{_MARK_TEXT}and more\n"])
def test_a_file_called_like_the_mark_is_no_mark(tmp_path: Path, text: str) -> None:
    """A directory is the demo's if it says so, not if some file of that name is in it."""
    (tmp_path / _MARK).write_text(text)
    (tmp_path / "experiments.yml").write_text("precious")
    with pytest.raises(DynaclrError, match="holds files that are not the demo's"):
        run_demo(tmp_path, _stopped)
    assert (tmp_path / "experiments.yml").read_text() == "precious"
    assert (tmp_path / _MARK).read_text() == text


@pytest.mark.parametrize("name", ["thesis.txt", "logs/mine/last.ckpt", "tracks/mine/tracks.csv"])
def test_what_was_put_beside_the_results_is_kept(tmp_path: Path, name: str) -> None:
    """It is named, and the earlier demo stays as it was."""
    _begin(tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("precious")
    before, named = _files(tmp_path), "/".join(name.split("/")[:2])
    with pytest.raises(DynaclrError, match=rf"DIR='.*' holds '{named}' beside what the demo wrote; it needs a new"):
        run_demo(tmp_path, _stopped)
    assert _files(tmp_path) == before
    assert (tmp_path / name).read_text() == "precious"


def test_what_a_killed_demo_was_writing_is_no_reason_to_refuse(tmp_path: Path) -> None:
    """Nobody put it there; it is left where it is, since another demo may be writing it."""
    _begin(tmp_path)
    (tmp_path / ".embeddings.zarr.7.part").mkdir()
    _begin(tmp_path)
    assert (tmp_path / ".embeddings.zarr.7.part").is_dir()


@pytest.mark.parametrize("way", ["path", "link", "here"])
def test_a_second_demo_replaces_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """By its path, through a link, or as the directory that one is in; what links there lead to stays."""
    directory, link = tmp_path / "work", tmp_path / "link"
    link.symlink_to(directory)
    _begin(link)
    (directory / "batches.png").rename(tmp_path / "kept.png")
    (directory / "batches.png").symlink_to(tmp_path / "kept.png")
    monkeypatch.chdir(directory)
    with pytest.raises(DynaclrError, match="'dynaclr preprocess' ended"):
        run_demo({"path": directory, "link": link, "here": Path()}[way], _stopped)
    assert link.is_symlink()
    assert {path.split("/")[0] for path in _files(directory)} == {
        *(_MARK, "experiments.yml", "fit.yml", "exp_alpha.zarr", "exp_beta.zarr", "tracks"),
    }
    assert (tmp_path / "kept.png").read_text() == "of an earlier demo"


def test_the_movies_are_the_same_every_time(tmp_path: Path) -> None:
    """Two demos hold the same bytes, apart from the paths of their registries."""

    def digests(root: Path) -> dict[str, str]:
        write_movies(root)
        files = [path for path in root.rglob("*") if path.is_file()]
        return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_the_example_trains_on_the_demo(demo: tuple[Path, str]) -> None:
    """The command of the README runs the example configuration on the demo's data, relative paths and all."""
    root = demo[0].parent
    configs = root / "examples" / "configs"
    configs.mkdir(parents=True)
    for name in ("experiments.yml", "multi_experiment_fit.yml"):
        (configs / name).write_text((CONFIGS / name).read_text())
    done = run("fit", "--config", "examples/configs/multi_experiment_fit.yml", "--trainer.fast_dev_run=true", cwd=root)
    assert done.returncode == 0, done.stderr
    assert "max_steps=1" in done.stderr + done.stdout
    assert not list((root / "checkpoints").rglob("*")), "one step is no run to go on from"


def _with_class_path(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every mapping with a ``class_path``, inner ones first."""
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
    for child in children:
        yield from _with_class_path(child)
    if isinstance(node, dict) and "class_path" in node:
        yield node


def _class_of(entry: dict[str, Any]) -> type:
    module, _, name = entry["class_path"].rpartition(".")
    return getattr(import_module(module), name)  # type: ignore[no-any-return]


def _instance(node: Any) -> Any:
    """Instantiate all that has a class path, from the inside out."""
    if isinstance(node, list):
        return [_instance(child) for child in node]
    if not isinstance(node, dict):
        return node
    if "class_path" in node:
        return _class_of(node)(**{name: _instance(value) for name, value in node.get("init_args", {}).items()})
    return {name: _instance(value) for name, value in node.items()}


ENTRIES = list(_with_class_path(yaml.safe_load(FIT.read_text())))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["class_path"])
def test_every_class_path_of_the_example_instantiates(
    entry: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each class is there, and takes the arguments that the example gives it."""
    monkeypatch.chdir(tmp_path)
    assert isinstance(_instance(entry), _class_of(entry))


def test_the_example_shows_every_option_of_the_data_module() -> None:
    """A new argument of the data module that a scientist would set belongs into the example."""
    from dynaclr.datamodule import MultiExperimentDataModule

    data = yaml.safe_load(FIT.read_text())["data"]["init_args"]
    known = set(inspect.signature(MultiExperimentDataModule).parameters)
    assert set(data) <= known
    assert known - set(data) <= {"include_wells", "exclude_fovs"}


def test_the_schema_beside_the_examples_is_the_one_that_is_printed(tmp_path: Path) -> None:
    """Editors check `experiments.yml` against what `dynaclr schema` prints today."""
    done = run("schema", cwd=tmp_path)
    assert (CONFIGS / "experiments.schema.json").read_text(encoding="utf-8") == done.stdout


def test_the_example_registry_keeps_to_the_schema() -> None:
    """The schema, as an editor applies it, finds nothing wrong with the example."""
    schema = json.loads((CONFIGS / "experiments.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(yaml.safe_load((CONFIGS / "experiments.yml").read_text()), schema)
