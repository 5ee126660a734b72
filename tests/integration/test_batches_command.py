"""The command batches: what a scientist sees of a configuration before training with it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_lines import errors_of, everything_in, write_fit_config
from runs import make_data, write_two_experiments

from dynaclr.cli.main import main
from dynaclr.report.batches import batch_summary, batch_table

AXES = {
    "data__init_args__val_experiments": [],
    "data__init_args__leaky": 0.25,
    "data__init_args__temporal_enrichment": True,
}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a registry of two small experiments, which no test changes."""
    return write_two_experiments(tmp_path_factory.mktemp("registry"))


def test_it_shows_what_training_will_draw(registry: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Index and batches are those of a data module that is made by hand; nothing but the picture is written."""
    config, picture = write_fit_config(tmp_path, registry, **AXES), tmp_path / "batches.png"
    before = everything_in(tmp_path) | everything_in(registry.parent)
    words = ["--config", str(config), "--epoch", "2", "--batches", "3", "--output", str(picture)]
    assert main(["batches", *words]) == 0
    printed = capsys.readouterr().out
    data = make_data(registry, val_experiments=[], leaky=0.25, temporal_enrichment=True)
    data.setup("fit")
    assert data.train_index is not None
    assert data.train_sampler is not None
    table = batch_table(data.train_sampler, data.train_index.valid_anchors, epoch=2, batches=3)
    title = f"Epoch 2: 3 of {data.train_sampler.num_batches} batches of 4 anchors"
    expected = [
        data.train_index.summary(),
        "",
        title,
        batch_summary(data.train_sampler, table).to_string(index=False),
        "",
    ]
    assert printed == "\n".join([*expected, f"drawn in {picture}", ""])
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert everything_in(tmp_path) | everything_in(registry.parent) == before | {picture}


def test_it_needs_no_gpu(registry: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run on four GPUs can be looked at on any machine, and options can be tried out."""
    config = write_fit_config(tmp_path, registry, trainer__accelerator="gpu", trainer__devices=4)
    assert main(["batches", "--config", str(config), "--data.batch_size", "7"]) == 0
    assert "batches of 7 anchors" in capsys.readouterr().out


def test_it_needs_data_only(registry: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A registry can be tried out before there is a model; help shows the options that have an effect."""
    config = write_fit_config(tmp_path, registry)
    whole = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump({"data": whole["data"]}))
    assert main(["batches", "--config", str(config)]) == 0
    assert "batches of 4 anchors" in capsys.readouterr().out
    config.write_text(yaml.safe_dump({"model": whole["model"]}))
    assert main(["batches", "--config", str(config)]) == 2
    (line,) = errors_of(capsys)
    assert "missing in the configuration: data" in line
    with pytest.raises(SystemExit, match="0"):
        main(["batches", "--help"])
    options = set(re.findall(r"--\w+", capsys.readouterr().out))
    assert options == {"--help", "--config", "--data", "--epoch", "--batches", "--output"}


def test_it_shows_what_did_not_come_up(registry: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An experiment that the weights leave out has no batches; it is not missing."""
    weights = {"exp_alpha": 1}
    config = write_fit_config(tmp_path, registry, **AXES, data__init_args__experiment_weights=weights)
    assert main(["batches", "--config", str(config)]) == 0
    (row,) = (line.split() for line in capsys.readouterr().out.splitlines() if line.split()[:2] == ["exp_beta", "all"])
    assert row[3:5] == ["0", "0.0"]


MISTAKES: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "no batches": ({}, ["--batches", "0"], "batches=0 needs a whole number of at least 1"),
    "no epoch": ({}, ["--epoch", "-1"], "epoch=-1 needs a whole number of at least 0"),
    "no picture": (
        {},
        ["--output", "a.csv"],
        "output='a.csv' needs to be a PNG file in a folder that can be written to",
    ),
    "no folder": ({}, ["--output", "no/batches.png"], "output='no/batches.png' needs to be a PNG file in a folder"),
    "a folder": ({}, ["--output", "FOLDER/logs.png"], "logs.png' needs to be a PNG file in a folder"),
    "sampling": ({"data__init_args__leaky": 2}, [], "leaky=2.0 needs a number in [0, 1)"),
    "other data": (
        {"data": {"class_path": "lightning.pytorch.demos.boring_classes.BoringDataModule"}},
        [],
        "data is a BoringDataModule, but its batches can be shown of a MultiExperimentDataModule only",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_sentence(
    name: str, registry: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, one line on stderr, nothing written."""
    changes, words, sentence = MISTAKES[name]
    config = write_fit_config(tmp_path, registry, **changes)
    (tmp_path / "logs.png").mkdir()
    before = everything_in(tmp_path)
    assert main(["batches", "--config", str(config), *(word.replace("FOLDER", str(tmp_path)) for word in words)]) == 2
    (line,) = errors_of(capsys)
    assert sentence in line
    assert everything_in(tmp_path) == before
