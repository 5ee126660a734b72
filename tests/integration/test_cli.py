"""The command line as a user meets it: help at once, results where they were asked for, mistakes in one sentence."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from command_lines import errors_of, everything_in, write_fit_config
from runs import LIGHTNING_WARNINGS, write_two_experiments

from dynaclr.cli import simple
from dynaclr.cli.interruption import repeating_lost_interruptions
from dynaclr.cli.main import COMMANDS, Command, main
from dynaclr.cli.sentences import plain_sentence, sentence_of
from dynaclr.embeddings import read_embeddings
from dynaclr.errors import DynaclrError, RegistryError

pytestmark = [pytest.mark.filterwarnings(warning) for warning in LIGHTNING_WARNINGS]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that does not outlive the test."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture(scope="module")
def registry() -> Iterator[Path]:
    """Return a registry of two small experiments, which no test changes."""
    with tempfile.TemporaryDirectory() as name:
        yield write_two_experiments(Path(name))


def _run(*words: str | Path, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-m", "dynaclr", *map(str, words)]
    together = {**os.environ, **(environment or {})}
    return subprocess.run(arguments, capture_output=True, text=True, env=together, timeout=600, check=False)


def test_help_lists_every_command_without_loading_torch() -> None:
    """The first page needs neither torch nor lightning, numpy or pandas, so it is there at once."""
    heavy = "{'torch', 'lightning', 'numpy', 'pandas', 'monai', 'pydantic'}"
    program = f"import sys; from dynaclr.cli.main import main; main(['--help']); print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    *page, loaded = done.stdout.splitlines()
    assert loaded == "set()"
    for name, command in COMMANDS.items():
        assert sum(line.split()[:1] == [name] and command.summary in line for line in page) == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` after a command ends with exit code 0 and a page about that command."""
    with pytest.raises(SystemExit) as leaving:
        main([command, "--help"])
    assert leaving.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: dynaclr {command} [")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` says which."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("dynaclr ")


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """`dynaclr` alone is a mistake, but not one to be scolded for."""
    assert main([]) == 2
    assert "commands:" in capsys.readouterr().err


def test_schema_checks_the_registry(registry: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The schema is JSON, on the screen and in a file, and knows the fields of the registry that we wrote."""
    assert main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert main(["schema", "--output", str(folder / "schema.json")]) == 0
    assert json.loads((folder / "schema.json").read_text()) == schema
    fields = {field for entry in yaml.safe_load(registry.read_text())["experiments"] for field in entry}
    assert all(f'"{field}"' in json.dumps(schema) for field in fields)


def test_fit_then_validate_then_predict(folder: Path, registry: Path) -> None:
    """A run leaves its configuration and checkpoint in its log's folder, can be repeated, and predicts from there."""
    config = write_fit_config(folder, registry)
    for version in (0, 1):
        done = _run("fit", "--config", config, "--data.seed=3", "--seed_everything=1")
        assert done.returncode == 0, done.stderr
        log = folder / "lightning_logs" / f"version_{version}"
        saved = yaml.safe_load((log / "config.yaml").read_text())
        assert saved["data"]["init_args"]["seed"] == 3
        assert saved["seed_everything"] == 1
    (checkpoint,) = (log / "checkpoints").iterdir()
    assert "Tip" not in done.stderr
    assert "num_workers" not in done.stderr

    done = _run("validate", "--config", log / "config.yaml", "--ckpt_path", checkpoint)
    assert done.returncode == 0, done.stderr
    assert "loss/val" in done.stdout

    store = folder / "embeddings.zarr"
    done = _run("predict", "--config", log / "config.yaml", "--ckpt_path", checkpoint, "--output", store)
    assert done.returncode == 0, done.stderr
    assert "random weights" not in done.stderr
    table = read_embeddings(store)
    assert set(table.obs["experiment"]) == {"exp_alpha", "exp_beta"}
    origin = table.uns["dynaclr"]
    assert origin["checkpoint"] == str(checkpoint.resolve())
    assert yaml.safe_load(origin["config"])["data"]["init_args"]["seed"] == 3

    done = _run("predict", "--config", config, "--ckpt_path", checkpoint, "--output", store)
    assert done.returncode == 2
    assert "exists: choose another name" in done.stderr


def test_the_home_folder_may_be_written_as_everywhere(
    folder: Path, registry: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A shell does not replace ``~`` in a file, nor behind ``=``; ``~nobody`` has no home and is no file either."""
    (folder / "home").symlink_to(registry.parent)
    monkeypatch.setenv("HOME", str(folder))
    config = write_fit_config(folder, Path("~/home") / registry.name)
    assert main(["fit", "--config=~/fit.yml"]) == 0
    (checkpoint,) = folder.rglob("*.ckpt")
    path = f"~/{checkpoint.relative_to(folder)}"
    assert main(["predict", "--config", str(config), f"--ckpt_path={path}", "--output=~/e.zarr"]) == 0
    assert read_embeddings(folder / "e.zarr").uns["dynaclr"]["checkpoint"] == str(checkpoint.resolve())
    torch.save(torch.load(checkpoint, weights_only=True)["state_dict"], folder / "weights.pt")
    assert main(["validate", "--config", str(config), "--model.init_args.ckpt_path=~/weights.pt"]) == 0
    capsys.readouterr()
    assert main(["preprocess", "~nobody-of-this-name/experiments.yml"]) == 2
    assert errors_of(capsys) == ["dynaclr: error: there is no file '~nobody-of-this-name/experiments.yml'"]


def test_a_run_without_a_logger_writes_no_configuration(folder: Path, registry: Path) -> None:
    """Without a log there is no folder of the run, and a config.yaml that lies around is the user's."""
    config = write_fit_config(folder, registry, trainer__logger=False, trainer__enable_checkpointing=False)
    (folder / "config.yaml").write_text("mine")
    assert main(["fit", "--config", str(config), f"--trainer.default_root_dir={folder}"]) == 0
    assert (folder / "config.yaml").read_text() == "mine"
    assert len(everything_in(folder)) == 2


def _keep(folder: str) -> dict[str, Any]:
    return {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"dirpath": folder}}


def _flip(key: str) -> dict[str, Any]:
    return {"class_path": "monai.transforms.RandFlipd", "init_args": {"keys": [key], "prob": 1.0}}


ENCODER = "model__init_args__encoder"
TRANSFORMS = "data__init_args__normalizations"
MISTAKES = {
    "backbone": ({f"{ENCODER}__init_args__backbone": "convnext_zpto"}, "did you mean 'convnext_zepto'"),
    "encoder parameter": (
        {f"{ENCODER}__init_args__embeding_dim": 3},
        "model.encoder: ContrastiveEncoder has no parameter 'embeding_dim'; did you mean 'embedding_dim'?",
    ),
    "encoder type": (
        {f"{ENCODER}__init_args__embedding_dim": "abc"},
        "model.encoder.embedding_dim needs int, got 'abc'",
    ),
    "encoder class": (
        {f"{ENCODER}__class_path": "dynaclr.encoder.ContrastivEncoder"},
        "model.encoder: class_path 'dynaclr.encoder.ContrastivEncoder' does not exist; did you mean 'ContrastiveEnc",
    ),
    "module of a class": ({f"{ENCODER}__class_path": "dynaclr.encodr.X"}, "'dynaclr.encodr.X' does not exist"),
    "loss": ({"model__init_args__loss_function__init_args__beta": -1}, "beta=-1.0 must be a finite number from 0 to"),
    "schedule": (
        {"model__init_args__schedule": "Cosine"},
        "model.schedule needs one of 'Constant', 'WarmupC",
    ),
    "checkpoint of the model": ({"model__init_args__ckpt_path": "nope.ckpt"}, "ckpt_path='nope.ckpt' does not exist"),
    "trainer key": ({"trainer__max_epocs": 1}, "'trainer.max_epocs' that nobody reads; did you mean 'max_epochs'?"),
    "accelerator": ({"trainer__accelerator": "cpuu"}, "accelerator='cpuu'"),
    "batches to accumulate": (
        {"trainer__accumulate_grad_batches": 0},
        "trainer.accumulate_grad_batches=0 needs to be above 0",
    ),
    "epochs between validations": (
        {"trainer__check_val_every_n_epoch": 0},
        "trainer.check_val_every_n_epoch=0 needs to be above 0",
    ),
    "no batch between validations": (
        {"trainer__val_check_interval": 0},
        "trainer.val_check_interval=0 needs to be above 0",
    ),
    "batches between validations": (
        {"trainer__val_check_interval": 15},
        "`val_check_interval` (15) must be less than or equal to the number of the training batches (2)",
    ),
    "keys of a transform of MONAI": (
        {
            "data__init_args__augmentations": [
                {"class_path": "monai.transforms.RandFlipd", "init_args": {"keys": ["GFP"]}}
            ]
        },
        "keys of RandFlipd have 'GFP', but need to be among ['ch_0', 'ch_1'], by source position",
    ),
    "a distributed strategy": (
        {"trainer__strategy": "ddp", "trainer__use_distributed_sampler": True},
        "use_distributed_sampler is True with a distributed strategy, but needs to be False",
    ),
    "seed of everything": ({"seed_everything": -1}, "seed_everything=-1 needs to be from 0 to 4294967295, true or fal"),
    "an encoder without parameters": (
        {"model__init_args__encoder": {"class_path": "torch.nn.Identity"}},
        "encoder=Identity has no parameter to train",
    ),
    "callback": (
        {"trainer__callbacks": [{"class_path": "lightning.pytorch.callbacks.ModelCheckpont"}]},
        "did you mean 'ModelCheckpoint'?",
    ),
    "top key": ({"modle": {"lr": 1}}, "'modle' that nobody reads; did you mean 'model'?"),  # codespell:ignore modle
    "empty section": ({"trainr": {}}, "a key 'trainr' that nobody reads; did you mean 'trainer'?"),
    "any of several types": ({"data__init_args__group_by": 3}, "data.group_by needs str or list, got 3"),
    "or none": ({"trainer__max_epochs": "many"}, "trainer.max_epochs needs int, got 'many'"),
    "a word or a class": ({"trainer__strategy": 3}, "trainer.strategy needs str or a class_path of Strategy, got 3"),
    "a class or others": (
        {"trainer__profiler": 3.5},
        "trainer.profiler needs a class_path of Profiler or str, got 3.5",
    ),
    "class beside a word": (
        {"trainer__strategy": {"class_path": "lightning.pytorch.strategies.DDPStrateg"}},
        "class_path 'lightning.pytorch.strategies.DDPStrateg' does not exist; did you mean 'DDPStrategy'?",
    ),
    "parameter of a class beside a word": (
        {
            "trainer__strategy": {
                "class_path": "lightning.pytorch.strategies.DDPStrategy",
                "init_args": {"proces_group_backend": "gloo"},
            }
        },
        "trainer.strategy: DDPStrategy has no parameter 'proces_group_backend'; did you mean 'process_group_backend'?",
    ),
    "another class beside a word": (
        {"trainer__strategy": {"class_path": "lightning.pytorch.callbacks.EarlyStopping"}},
        "trainer.strategy needs str or a class_path of Strategy, got {'class_path'",
    ),
    "no class beside a word": (
        {"trainer__strategy": {"clas_path": "x"}},
        "trainer.strategy needs str or a class_path of Strategy, got {'clas_path': 'x'}",
    ),
    "no class inside a class": (
        {
            "trainer__strategy": {
                "class_path": "lightning.pytorch.strategies.DDPStrategy",
                "init_args": {"accelerator": "cpu"},
            }
        },
        "trainer.strategy.accelerator needs a class_path, got 'cpu'",
    ),
    "one of some words": (
        {"trainer__precision": "mixed"},
        "'32-true', '64-true' or one of '64', '32', '16'",
    ),
    "transform": (
        {TRANSFORMS: [{"class_path": "dynaclr.transforms.NormalizeSample", "init_args": {"keys": ["ch_0"]}}]},
        "data.normalizations: class_path 'dynaclr.transforms.NormalizeSample' does not exist; did you mean 'Normaliz",
    ),
    "transform parameter": (
        {TRANSFORMS: [{"class_path": "dynaclr.transforms.NormalizeSampled", "init_args": {"key": ["ch_0"]}}]},
        "data.normalizations: NormalizeSampled has no parameter 'key'; did you mean 'keys'?",
    ),
    "transform type": (
        {TRANSFORMS: [{"class_path": "dynaclr.transforms.NormalizeSampled", "init_args": {"keys": 3}}]},
        "data.normalizations.keys needs list or str, got 3",
    ),
    "transform without its class_path": (
        {TRANSFORMS: ["NormalizeSampled"]},
        "data.normalizations needs a class_path, got ['NormalizeSampled']",
    ),
    "transform in two entries": (
        {TRANSFORMS: [{"class_path": "dynaclr.transforms.NormalizeSampled"}, {"init_args": {"keys": ["ch_0"]}}]},
        "data.normalizations needs a class_path in every entry, beside its init_args",
    ),
    "no path of the registry": (
        {"data__init_args__experiments_yaml": None},
        "missing in the configuration: data.experiments_yaml",
    ),
    "one number for a size": ({"data__init_args__yx_patch_size": 48}, "data.yx_patch_size needs list, got 48"),
    "no list of transforms": (
        {TRANSFORMS: {"class_path": "dynaclr.transforms.NormalizeSampled"}},
        "data.normalizations needs list, got {'class_path'",
    ),
    "data parameter": ({"data__init_args__batchsize": 4}, "no parameter 'batchsize'; did you mean 'batch_size'?"),
    "validation experiment": ({"data__init_args__val_experiments": ["exp_gamma"]}, "exp_gamma"),
    "registry": ({"data__init_args__experiments_yaml": "nope.yml"}, "there is no file 'nope.yml'"),
    "patch": ({"data__init_args__final_yx_patch_size": [64, 64]}, "final_yx_patch_size"),
    "channels of the encoder": (
        {f"{ENCODER}__init_args__in_channels": 3},
        "the encoder needs images (B, 3, 1, Y, X), got (4, 2, 1, 24, 24): set in_channels=2, or change the data",
    ),
    "slices of the encoder": ({f"{ENCODER}__init_args__in_stack_depth": 2}, "set in_stack_depth=1, or change the data"),
    "stem of the encoder": (
        {f"{ENCODER}__init_args__stem_kernel_size": [1, 32, 32]},
        "images of 24 x 24 pixels are smaller than stem_kernel_size=(1, 32, 32)",
    ),
    "patch larger than the image": ({"data__init_args__yx_patch_size": [99, 99]}, "99"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_wrong_configuration_is_one_sentence(
    name: str, folder: Path, registry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, one line on stderr that says what to change, nothing written."""
    changes, sentence = MISTAKES[name]
    config = write_fit_config(folder, registry, trainer__logger=False, trainer__enable_checkpointing=False, **changes)
    before = everything_in(folder) | everything_in(registry.parent)
    assert main(["fit", "--config", str(config)]) == 2
    (line,) = errors_of(capsys)
    assert sentence in line
    assert "Parser key" not in line
    assert "Union" not in line
    assert everything_in(folder) | everything_in(registry.parent) == before


NO_LOG: dict[str, tuple[dict[str, Any], str]] = {
    **{
        name: MISTAKES[name]
        for name in ("channels of the encoder", "validation experiment", "registry", "patch larger than the image")
    },
    "seed": MISTAKES["seed of everything"],
    "leak": ({"data__init_args__leaky": 2}, "leaky=2"),
    "wells": ({"data__init_args__include_wells": ["Z/9"]}, "include_wells"),
    "planes": ({"data__init_args__z_range": [3, 1]}, "z_range needs 0 <= start < stop"),
    "precision": ({"trainer__precision": "16-true"}, "needs to be '16-mixed' or '32-true'"),
    "no batch to train on": ({"trainer__limit_train_batches": 0}, "limit_train_batches is 0, but needs to be above 0"),
    "decay rate": ({"data__init_args__tau_decay_rate": float("nan")}, "tau_decay_rate is nan"),
    "cache": ({"data__init_args__cache_pool_bytes": -1}, "cache_pool_bytes=-1"),
    "weights of experiments": ({"data__init_args__experiment_weights": {"c": 1}}, "experiment_weights names 'c', but"),
    "no end": (
        {"model__init_args__schedule": "WarmupCosine", "trainer__max_epochs": -1, "trainer__max_steps": -1},
        "schedule='WarmupCosine' needs to know where the run ends",
    ),
    "stack": (
        {"data__init_args__z_range": [0, 9], f"{ENCODER}__init_args__in_stack_depth": 9},
        "z_range needs to lie inside every stack, got 0 to 9",
    ),
    "folder of checkpoints in a file": (
        {"trainer__callbacks": [_keep(f"{__file__}/kept")]},
        f"dirpath='{__file__}/kept' of ModelCheckpoint needs to be a folder that can be written to, but '{__file__}' c",
    ),
    "folder of checkpoints where nobody may write": (
        {"trainer__callbacks": [_keep("/proc/kept")]},
        "dirpath='/proc/kept' of ModelCheckpoint needs to be a folder that can be written to, but '/proc' cannot",
    ),
    "condition": ({"data__init_args__condition_ratio": {"nobody": 1}}, "condition_ratio"),
    "statistics": (
        {
            "data__init_args__normalizations": [
                {"class_path": "dynaclr.transforms.NormalizeSampled", "init_args": {"keys": ["ch_0"]}}
            ]
        },
        "dynaclr preprocess",
    ),
}


@pytest.mark.parametrize("name", NO_LOG)
def test_what_is_wrong_is_told_before_a_log_is_begun(
    name: str, folder: Path, registry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No empty version of a log is left by each typing mistake."""
    changes, sentence = NO_LOG[name]
    config = write_fit_config(folder, registry, **changes)
    before = everything_in(folder) | everything_in(registry.parent)
    assert main(["fit", "--config", str(config)]) == 2
    (line,) = errors_of(capsys)
    assert sentence in line
    assert everything_in(folder) | everything_in(registry.parent) == before


def test_a_key_may_be_written_with_dots(folder: Path, registry: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As on the command line; a mistake in one is told as anywhere."""
    config = write_fit_config(folder, registry)
    text = config.read_text()
    config.write_text(text + "trainer.max_epochs: 77\n")
    with pytest.raises(SystemExit, match="0"):
        main(["fit", "--config", str(config), "--print_config"])
    assert "max_epochs: 77" in capsys.readouterr().out
    config.write_text(text + "trainr.max_epochs: 77\n")
    assert main(["fit", "--config", str(config)]) == 2
    (line,) = errors_of(capsys)
    assert "a key 'trainr.max_epochs' that nobody reads" in line
    config.write_text(text + "trainer.max_epocs: {}\n")
    assert main(["fit", "--config", str(config)]) == 2
    (line,) = errors_of(capsys)
    assert "a key 'trainer.max_epocs' that nobody reads" in line


FIELDS = {
    "channel": ({"source_channel": ["Phase3D", "DAPI"]}, "DAPI"),
    "unknown key": ({"sorce_channel": ["Phase3D"]}, "did you mean 'source_channel'"),
    "interval": ({"interval_minutes": 0}, "interval_minutes"),
    "well": ({"condition_wells": {"mock": ["Z/9"]}}, "Z/9"),
    "boolean label": ({"condition_wells": {False: ["A/1"]}}, "False"),
    "store": ({"data_path": "nowhere.zarr"}, "nowhere.zarr"),
    "tracks": ({"tracks_path": "nowhere"}, "nowhere"),
}


@pytest.mark.parametrize("command", ["fit", "preprocess"])
@pytest.mark.parametrize("name", FIELDS)
def test_a_wrong_registry_is_told_and_nothing_is_written(
    name: str, command: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is wrong with an experiment is said with its name, by training and by preprocessing alike."""
    changes, sentence = FIELDS[name]
    registry = write_two_experiments(folder)
    content = yaml.safe_load(registry.read_text())
    content["experiments"][1].update(changes)
    registry.write_text(yaml.safe_dump(content))
    config = write_fit_config(folder, registry, trainer__logger=False, trainer__enable_checkpointing=False)
    before = {path: path.stat().st_mtime_ns for path in everything_in(folder)}
    assert main(["fit", "--config", str(config)] if command == "fit" else ["preprocess", str(registry)]) == 2
    message = "\n".join(errors_of(capsys))
    assert message.startswith("dynaclr: error: ")
    assert sentence in message
    assert "exp_beta" in message
    assert {path: path.stat().st_mtime_ns for path in everything_in(folder)} == before


WORDS = {
    "unknown command": (["schemer"], "there is no command 'schemer'; did you mean 'schema'?"),
    "missing file": (["fit", "--config", "nope.yml"], "there is no file 'nope.yml'"),
    "missing file, other spelling": (["fit", "--config=nope.yml"], "there is no file 'nope.yml'"),
    "a folder": (["fit", "-c", "/"], "the file '/' cannot be read"),
    "no configuration": (["fit"], "missing in the configuration: data, model (give one with --config FILE)"),
    "unknown option": (
        ["fit", "--confg", "x"],
        "dynaclr fit: unrecognized arguments: --confg x; did you mean 'config'? (see dynaclr fit --help)",
    ),
    "unknown option with its value": (["fit", "--trainr.max_epochs=3"], "did you mean 'trainer.max_epochs'? (see"),
    "unknown option inside an unknown section": (["fit", "--modle.encoder.bakbone=x"], "did you mean 'model'? (see"),
    "nothing": (["fit", ""], "dynaclr fit: unrecognized arguments: '' (see dynaclr fit --help)"),
    "nothing of ours": (["schema", ""], "dynaclr schema: unrecognized arguments: '' (see dynaclr schema --help)"),
    "no name": (["batches", "=3"], "dynaclr batches: unrecognized arguments: =3 (see dynaclr batches --help)"),
    "like none": (["fit", "--lr", "3"], "unrecognized arguments: --lr 3 (see dynaclr fit --help)"),
    "abbreviated": (["predict", "--outp", "x"], "unrecognized arguments: --outp x; did you mean 'output'? (see"),
    "unknown option of the batches": (
        ["batches", "--epochs", "1"],
        "did you mean 'epoch'? (see dynaclr batches --help)",
    ),
    "too many words": (["fit", "x"], "dynaclr fit: unrecognized arguments: x (see dynaclr fit --help)"),
    "option without value": (["fit", "--config"], "expected one argument"),
    "missing argument": (["preprocess"], "required: EXPERIMENTS_YML (see dynaclr preprocess --help)"),
    "unknown option of ours": (
        ["schema", "--otput", "x"],
        "unrecognized arguments: --otput x; did you mean 'output'? (see",
    ),
    "abbreviated option of ours": (["schema", "--outp", "x"], "unrecognized arguments: --outp x; did you"),
    "unwritable": (["schema", "--output", "/nowhere/schema.json"], "output='/nowhere/schema.json' cannot be written"),
}


@pytest.mark.parametrize("name", WORDS)
def test_wrong_words_are_one_sentence(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and one line on stderr."""
    words, sentence = WORDS[name]
    assert main(words) == 2
    (line,) = errors_of(capsys)
    assert line.startswith("dynaclr: error: ")
    assert sentence in line


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("model: [1", "is not valid YAML"),
        ("model: 1\ndata: 'x\ntrainer: 2\n", "line 2 is not valid YAML (found unexpected end of stream)"),
        ("model: {}\nmodel: {}\n", "the key 'model' appears twice"),
        ("- model\n", "needs keys such as model, data and trainer"),
        ("", "needs keys such as model, data and trainer"),
    ],
)
def test_a_file_that_is_no_configuration_is_named(
    text: str, sentence: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """YAML that cannot be a configuration is refused with the file's name."""
    (folder / "fit.yml").write_text(text)
    assert main(["fit", "--config", str(folder / "fit.yml")]) == 2
    (line,) = errors_of(capsys)
    assert sentence in line
    assert "fit.yml" in line


@pytest.mark.parametrize("command", ["fit", "batches"])
def test_a_pipe_is_no_configuration(command: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It could be read only once: ``--config <(cat fit.yml)``."""
    path = folder / "pipe"
    os.mkfifo(path)
    assert main([command, "--config", str(path)]) == 2
    sentence = f"the configuration {str(path)!r} is a pipe, but needs to be a regular file"
    assert errors_of(capsys) == [f"dynaclr: error: {sentence}"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "predict needs --output"),
        (["--output", "{folder}/e.zarr", "--trainer.limit_predict_batches=0"], "limit_predict_batches is 0, but needs"),
        (["--output", "{folder}/fit.yml"], "fit.yml' exists"),
        (["--output", "{folder}/fit.yml", "--overwrite=true"], "is no Zarr store, so it is not overwritten"),
        (["--overwrite", "--output", "{folder}/fit.yml"], "is no Zarr store, so it is not overwritten"),
        (["--output", "{folder}/e.zarr", "--ckpt_path", "nope.ckpt"], "ckpt_path='nope.ckpt' does not exist"),
        (["--output", "{folder}/e.zarr", "--ckpt_path", "{folder}/fit.yml"], "checkpoint"),
    ],
)
def test_predict_refuses_before_it_computes(
    words: list[str], sentence: str, folder: Path, registry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Places that cannot be written and checkpoints that cannot be read are mistakes with a sentence."""
    config = write_fit_config(folder, registry, trainer__logger=False)
    assert main(["predict", "--config", str(config), *(word.format(folder=folder) for word in words)]) == 2
    *_, line = errors_of(capsys)
    assert sentence in line
    assert everything_in(folder) == {config}


CHECKPOINTS: dict[str, tuple[object, str]] = {
    "text": (b"hello\n", "is not a checkpoint that can be read safely"),
    "state dict": ({"state_dict": {"a": torch.zeros(1)}}, "holds no checkpoint of a Lightning run"),
    "list": ([1, 2], "holds no checkpoint of a Lightning run"),
    "folder": (None, "is a folder"),
}


@pytest.mark.parametrize("command", ["fit", "validate", "predict"])
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_wrong_checkpoint_is_told_before_anything_is_written(
    name: str, command: str, folder: Path, registry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever a file holds that is no checkpoint of a run, it is one sentence, and no log is begun."""
    content, sentence = CHECKPOINTS[name]
    path = folder / "wrong.ckpt"
    if content is None:
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    config = write_fit_config(folder, registry)
    words = ["--output", str(folder / "e.zarr")] if command == "predict" else []
    assert main([command, "--config", str(config), "--ckpt_path", str(path), *words]) == 2
    (line,) = errors_of(capsys)
    assert line.startswith(f"dynaclr: error: ckpt_path={str(path)!r} {sentence}")
    assert everything_in(folder) == {config, path}


@pytest.mark.parametrize(
    ("command", "name"),
    [
        *(("fit", name) for name in ("best", "registry")),
        *((command, name) for command in ("validate", "predict") for name in ("best", "last", "registry")),
    ],
)
def test_a_name_without_a_checkpoint_is_told_before_anything_is_computed(
    command: str, name: str, folder: Path, registry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lightning would go on with random weights where it finds no last one; only a fit may look for some of them."""
    config = write_fit_config(folder, registry)
    words = ["--output", str(folder / "e.zarr")] if command == "predict" else []
    assert main([command, "--config", str(config), "--ckpt_path", name, *words]) == 2
    (line,) = errors_of(capsys)
    sentence = f"ckpt_path={name!r} names no checkpoint that {command} can find: give the path of the file"
    assert line == f"dynaclr: error: {sentence}"
    # Which one is the last is looked up by the run itself, behind its log.
    assert {path for path in everything_in(folder) if "lightning_logs" not in path.parts or name != "last"} == {config}


def test_the_last_checkpoint_is_found_where_the_configuration_says(folder: Path, registry: Path) -> None:
    """In the folder of a `ModelCheckpoint`; predict says which one it was."""
    keeping = {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint"}
    keeping["init_args"] = {"dirpath": str(folder / "kept"), "save_last": True}  # type: ignore[assignment]
    config = write_fit_config(folder, registry, trainer__callbacks=[keeping])
    assert main(["fit", "--config", str(config)]) == 0
    words = ["--config", str(config), "--ckpt_path", "last"]
    assert main(["validate", *words]) == 0
    assert main(["predict", *words, "--output", str(folder / "e.zarr")]) == 0
    (last,) = (folder / "kept").glob("last.ckpt")
    assert read_embeddings(folder / "e.zarr").uns["dynaclr"]["checkpoint"] == str(last)


def test_a_fit_may_ask_for_the_last_checkpoint_before_there_is_one(folder: Path, registry: Path) -> None:
    """So that a job which is started again and again may always be the same."""
    config = write_fit_config(folder, registry)
    assert main(["fit", "--config", str(config), "--ckpt_path", "last"]) == 0
    assert list(folder.rglob("*.ckpt"))


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("memory://nowhere/last.ckpt", "does not exist"),
        ("nothing://nowhere/last.ckpt", "cannot be reached: Protocol not known: nothing"),
        ("hdfs://nowhere/last.ckpt", "cannot be reached: "),
    ],
)
def test_an_address_without_a_checkpoint_is_one_sentence(
    address: str, sentence: str, folder: Path, registry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether nothing is there, or a package is missing to look."""
    config = write_fit_config(folder, registry)
    assert main(["validate", "--config", str(config), "--ckpt_path", address]) == 2
    (line,) = errors_of(capsys)
    assert line.startswith(f"dynaclr: error: ckpt_path={address!r} {sentence}")
    assert everything_in(folder) == {config}


def test_weights_alone_cannot_be_resumed(folder: Path, registry: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """To go on, a fit needs its optimizer's state, and says so; validation needs the weights only."""
    callback = {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"save_weights_only": True}}
    config = write_fit_config(folder, registry, trainer__callbacks=[callback])
    assert main(["fit", "--config", str(config)]) == 0
    (checkpoint,) = folder.rglob("*.ckpt")
    assert main(["validate", "--config", str(config), "--ckpt_path", str(checkpoint)]) == 0
    capsys.readouterr()
    before = everything_in(folder)
    assert main(["fit", "--config", str(config), "--ckpt_path", str(checkpoint)]) == 2
    (line,) = errors_of(capsys)
    assert "holds weights only, but to resume a run it needs 'optimizer_states' and 'lr_schedulers'" in line
    assert everything_in(folder) == before


def test_what_others_say_of_a_mistake_is_a_sentence_too(
    folder: Path, registry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lightning has no checkpoint of a cluster's job, nor a metric to stop by without validation; MONAI no key."""
    stopping = {
        "class_path": "lightning.pytorch.callbacks.EarlyStopping",
        "init_args": {"monitor": "loss/val", "check_on_train_epoch_end": True},
    }
    flip = [_flip("ch_0"), _flip("ch_9")]  # behind a transform that may make channels, only trying tells
    for words, changes, sentence in (
        (["fit", "--ckpt_path", "hpc"], {}, 'ckpt_path="hpc"'),
        (["fit"], {"trainer__callbacks": [stopping], "data__init_args__val_experiments": []}, "metric `loss/val`"),
        (["fit"], {"data__init_args__augmentations": flip}, "Key `ch_9` of transform `RandFlipd`"),
    ):
        config = write_fit_config(folder, registry, **changes)
        assert main([*words, "--config", str(config)]) == 2
        *_, line = errors_of(capsys)
        assert line.startswith("dynaclr: error: ")
        assert sentence in line


def test_weights_of_another_model_are_told_before_anything_is_written(
    folder: Path, registry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A checkpoint of another width is named with both shapes, and no log is begun."""
    assert main(["fit", "--config", str(write_fit_config(folder, registry))]) == 0
    (checkpoint,) = folder.rglob("*.ckpt")
    capsys.readouterr()
    before = everything_in(folder)
    for command, *words in (["fit"], ["validate"], ["predict", "--output", str(folder / "e.zarr")]):
        words += ["--config", str(folder / "fit.yml"), "--ckpt_path", str(checkpoint)]
        assert main([command, *words, "--model.encoder.init_args.projection_dim", "16"]) == 2
        (line,) = errors_of(capsys)
        assert line.startswith(f"dynaclr: error: ckpt_path={str(checkpoint)!r} does not fit the model: encoder.")
        assert "the model needs (" in line
        assert everything_in(folder) == before


def test_random_weights_are_not_silent(folder: Path, registry: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Predicting without a checkpoint works, with a word about it."""
    config = write_fit_config(folder, registry, trainer__logger=False)
    assert main(["predict", "--config", str(config), "--output", str(folder / "e.zarr")]) == 0
    assert "No --ckpt_path: predict works with random weights." in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--debug", "preprocess", "nope.yml"], ["preprocess", "nope.yml", "--debug"]])
def test_debug_shows_the_trace(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """`--debug`, before or after the command, adds the trace to the sentence."""
    assert main(words) == 2
    text = capsys.readouterr().err
    assert "Traceback" in text
    assert text.rstrip().endswith("dynaclr: error: there is no file 'nope.yml'")


FAULTY = """
from lightning.pytorch import Callback

class Faulty(Callback):
    def on_train_start(self, trainer, pl_module):
        {}[self.__class__.__name__]
"""


def test_a_bug_keeps_its_trace(folder: Path, registry: Path) -> None:
    """What is no mistake of the user's ends with a stack trace, not with a sentence that blames them."""
    (folder / "faulty.py").write_text(FAULTY)
    faulty = [{"class_path": "faulty.Faulty"}]
    config = write_fit_config(folder, registry, trainer__logger=False, trainer__callbacks=faulty)
    done = _run("fit", "--config", config, environment={"PYTHONPATH": str(folder)})
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "KeyError: 'Faulty'" in done.stderr
    assert "dynaclr: error" not in done.stderr


def _hear_interruptions() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_an_interruption_is_quiet(folder: Path, registry: Path) -> None:
    """Ctrl-C in the middle of training ends the program with 130 and no trace."""
    config = write_fit_config(folder, registry, trainer__max_epochs=100_000, trainer__limit_train_batches=None)
    command = [sys.executable, "-m", "dynaclr", "fit", "--config", str(config)]
    pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    # Whoever started the tests in the background made them, and what they start, deaf to Ctrl-C.
    with subprocess.Popen(command, preexec_fn=_hear_interruptions, **pipes) as running:  # noqa: PLW1509
        while not list(folder.rglob("*.ckpt")) and running.poll() is None:
            time.sleep(0.2)
        running.send_signal(signal.SIGINT)
        try:
            # TensorBoard's thread was seen to sleep on until its next flush, two minutes later at most, though it had
            # been told to end: about one run in a hundred.
            _, errors = running.communicate(timeout=300)
        except subprocess.TimeoutExpired:
            running.kill()
            _, errors = running.communicate()
    assert running.returncode == 130, errors
    assert "Traceback" not in errors
    assert "dynaclr: error" not in errors
    (last,) = [line for line in errors.splitlines() if line.startswith("Checkpoints: ")]
    assert all(Path(path).is_file() for path in last.removeprefix("Checkpoints: ").split(", "))


class _Interrupting:
    """Interrupts the program when it is dropped, where Python can only ignore what is raised."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


def _left_early() -> Generator[None]:
    """Wait when closed, as a loader does, and be interrupted while waiting."""
    try:
        yield
    finally:
        signal.raise_signal(signal.SIGINT)


def _drop_what_interrupts(_: object) -> None:
    _Interrupting()
    time.sleep(20)


def _drop_a_generator(_: object) -> None:
    next(_left_early())
    time.sleep(20)


@pytest.mark.parametrize("command", [_drop_what_interrupts, _drop_a_generator])
def test_an_interruption_is_never_lost(command: Callable[[object], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also not where Python drops the exceptions: in finalizers, and in generators that nobody holds."""
    monkeypatch.setitem(COMMANDS, "command", Command("", "simple", "command"))
    monkeypatch.setattr(simple, "command", command, raising=False)
    hook, deaf = sys.unraisablehook, signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert main(["command"]) == 130
    finally:
        signal.signal(signal.SIGINT, deaf)
    assert sys.unraisablehook is hook


def _import_what_is_compiled(_: object) -> None:
    raise ImportError("initialization failed") from KeyboardInterrupt()  # as TensorStore does


def test_an_interruption_that_became_another_error_is_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Compiled modules that are interrupted while they are imported say that they cannot be imported."""
    monkeypatch.setitem(COMMANDS, "command", Command("", "simple", "command"))
    monkeypatch.setattr(simple, "command", _import_what_is_compiled, raising=False)
    assert main(["command"]) == 130
    assert errors_of(capsys) == []


def test_a_finalizer_that_fails_is_reported_as_ever(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only interruptions are repeated."""
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)

    class Failing:
        def __del__(self) -> None:
            raise RuntimeError("a bug")

    with repeating_lost_interruptions():
        Failing()
    assert "RuntimeError: a bug" in capsys.readouterr().err


def test_a_reader_that_leaves_is_no_error() -> None:
    """`dynaclr schema | head -1` ends without a word."""
    command = f"{sys.executable} -m dynaclr schema | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)  # noqa: S607
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (DynaclrError("lr=0 needs more"), "lr=0 needs more"),
        (RegistryError(["one", "two"]), "the registry has 2 problems:\n  - one\n  - two"),
        (argparse.ArgumentError(None, "expected one argument"), "expected one argument"),
        (
            RuntimeError("Early stopping conditioned on metric `loss/val` which is not available."),
            "Early stopping conditioned on metric `loss/val` which is not available.",
        ),
        (
            ValueError('`.validate(ckpt_path="best")` is set but there\n is no best one'),
            '`.validate(ckpt_path="best")` is set but there is no best one',
        ),
        (
            KeyError("Key `ch_9` of transform `RandFlipd` was missing in the data"),
            "Key `ch_9` of transform `RandFlipd` was missing in the data",
        ),
        (FileNotFoundError(2, "No such file or directory", "a.zarr"), "'a.zarr': No such file or directory"),
        (PermissionError(13, "Permission denied", "a.zarr"), "'a.zarr': Permission denied"),
        (
            RuntimeError("Error(s) in loading state_dict for X:\n\tMissing key(s): 'a'."),
            "the checkpoint does not fit the model: Error(s) in loading state_dict for X: Missing key(s): 'a'.",
        ),
        (KeyError("a"), None),
        (ValueError("shapes differ"), None),
        (OSError("no file of any name"), None),
        (RuntimeError("CUDA error"), None),
        (AssertionError(), None),
    ],
)
def test_mistakes_have_sentences_and_bugs_have_none(error: BaseException, sentence: str | None) -> None:
    """Only what a user can have done is turned into a sentence."""
    assert sentence_of(error) == sentence


def test_our_error_is_found_inside_a_parsers() -> None:
    """What jsonargparse wraps around an error while it makes an object is taken off again."""
    wrapped = ValueError("Does not validate against any of the Union subtypes")
    wrapped.__cause__ = DynaclrError("beta=-1 needs more")
    assert sentence_of(wrapped) == "beta=-1 needs more"


def test_our_error_behind_a_bug_does_not_hide_it() -> None:
    """A bug in the handling of a mistake is a bug."""
    bug = KeyError("a bug")
    bug.__context__ = DynaclrError("beta=-1 needs more")
    assert sentence_of(bug) is None


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ("expected one argument", "expected one argument"),
        ("Parser key \"a\": Option 'x' is not accepted", "a:  has no parameter 'x'"),
        ("Errors:\n  - Expected a <class 'NoneType'>. Got value: 3\n  - Too bad", "Too bad"),
        ("Subcommand 'fit' does not accept option 'trainer.devces'", "did you mean 'devices'"),
        ("Parser key \"z\":\n  Expected a <class 'a.b.C'>. Got value: {'x': 1}", "z needs C, got {'x': 1}"),
        ("Errors:\nSubtypes: []", "Errors: Subtypes: []"),
        (
            "Parser key \"data\":\n  Not a valid subclass of X\n  Given value: NestedArg(key='class_path', val='nope')",
            "data needs a class_path of X, got 'nope'",
        ),
    ],
)
def test_complaints_are_taken_out_of_their_wrapping(message: str, sentence: str) -> None:
    """The first complaint that is not about None or a missing class is the one that helps."""
    assert sentence in plain_sentence(message)
