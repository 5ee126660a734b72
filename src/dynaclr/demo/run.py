"""Runs the demo: the same commands that a user types, one after the other, in one directory."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from dynaclr.demo.movies import MOVIES, write_movies
from dynaclr.errors import DynaclrError
from dynaclr.wording import listed

_MARK: Final = "demo.txt"  # marks a directory that the demo may write anew
_MARK_TEXT: Final = "Written by 'dynaclr demo', which replaces this directory.\n"

# All that a demo writes beside its mark. What else is there is somebody's, also beside its log and its tracks.
_WRITTEN: Final = (
    *("experiments.yml", "fit.yml", "batches.png", "embeddings.png", "embeddings.zarr", "logs/demo"),
    *(path for movie in MOVIES for path in (f"{movie.name}.zarr", f"tracks/{movie.name}")),
)


def run_demo(directory: Path, command_line: Callable[[Sequence[str]], int]) -> None:
    """Write two experiments, train an encoder on them, embed all cells and say where everything is.

    Parameters
    ----------
    directory
        A new or empty directory, or that of an earlier demo, whose files are replaced.
    command_line
        Runs one command of ``dynaclr``, such as ``["preprocess", "experiments.yml"]``, and returns its exit code.

    Raises
    ------
    DynaclrError
        If there is something else in the directory.
    """
    from dynaclr.embeddings import read_embeddings
    from dynaclr.report.embeddings import plot_embeddings

    begin = time.monotonic()
    directory = _cleared(directory)
    _say(f"Two made-up experiments with different channels go to {directory}")
    registry, config = write_movies(directory), directory / "fit.yml"
    config.write_text(_CONFIG_HEAD + yaml.safe_dump(_configuration(directory), sort_keys=False), encoding="utf-8")
    checkpoint = directory / "logs" / "demo" / "checkpoints" / "last.ckpt"
    embeddings = directory / "embeddings.zarr"
    pictures = {name: directory / f"{name}.png" for name in ("batches", "embeddings")}
    for words in (
        ["preprocess", str(registry)],
        ["batches", "--config", str(config), "--output", str(pictures["batches"])],
        ["fit", "--config", str(config)],
        ["predict", "--config", str(config), "--ckpt_path", str(checkpoint), "--output", str(embeddings)],
    ):
        _say("$ dynaclr " + " ".join(words))
        if code := command_line(words):
            raise DynaclrError(f"the demo stopped, because 'dynaclr {words[0]}' ended with exit code {code!r}")
    plot_embeddings(read_embeddings(embeddings), pictures["embeddings"])
    _say(f"Done in {time.monotonic() - begin:.0f} s. What there is to look at:")
    results = {
        "data": f"{registry}",
        "configuration": f"{config}",
        "log": f"{directory / 'logs'}    (tensorboard --logdir {directory / 'logs'})",
        "batches": f"{pictures['batches']}",
        "embeddings": f"{embeddings}    (anndata.read_zarr), drawn in {pictures['embeddings'].name}",
    }
    for name, where in results.items():
        print(f"  {name:<14} {where}")


def _say(text: str) -> None:
    print(f"\n{text}", flush=True)


def _cleared(directory: Path) -> Path:
    """Return the directory, empty but for the mark and the folders that results go to."""
    directory = Path(directory)
    if directory.exists() and not directory.is_dir():
        raise DynaclrError(f"DIR={str(directory)!r} is a file, but the demo needs a directory")
    if directory.exists() and any(directory.iterdir()):
        _check_own(directory)
        for name in _WRITTEN:
            _remove(directory / name)
    directory.resolve().mkdir(parents=True, exist_ok=True)  # a link may lead to a directory that is yet to be made
    (directory / _MARK).write_text(_MARK_TEXT, encoding="utf-8")
    return directory


def _check_own(directory: Path) -> None:
    """Refuse a directory that no demo has written, or where something lies beside what it wrote."""
    mark = directory / _MARK
    if not mark.is_file() or mark.read_text(encoding="utf-8", errors="replace") != _MARK_TEXT:
        raise DynaclrError(
            f"DIR={str(directory)!r} holds files that are not the demo's; it needs a new or empty directory"
        )
    written = {mark, *(directory / name for name in _WRITTEN)}
    folders = {path.parent for path in written}
    found = {path for folder in folders if folder.is_dir() for path in folder.iterdir() if not _is_draft(path)}
    if others := sorted(str(path.relative_to(directory)) for path in found - written - folders):
        raise DynaclrError(
            f"DIR={str(directory)!r} holds {listed(others)} beside what the demo wrote; it needs a new or empty "
            "directory, or that of an earlier demo without anything else"
        )


def _is_draft(path: Path) -> bool:
    """Tell whether this is what a demo that was killed was about to write."""
    return path.name.startswith(".") and path.name.endswith(".part")


def _remove(path: Path) -> None:
    """Remove a file, a folder with all that is in it, or a link without what it leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


_CONFIG_HEAD: Final = (
    "# Written by `dynaclr demo`. A commented configuration for real experiments is\n"
    "# examples/configs/multi_experiment_fit.yml in the repository.\n"
)


def _configuration(directory: Path) -> dict[str, Any]:
    """Return the configuration of the demo's training: small, but with every axis of sampling on."""
    keys = ["ch_0", "ch_1"]
    return {
        "seed_everything": 42,
        "trainer": {
            "accelerator": "cpu",
            "devices": 1,
            "max_epochs": 3,
            "deterministic": True,
            "use_distributed_sampler": False,
            "log_every_n_steps": 5,
            "num_sanity_val_steps": 0,
            "logger": {
                "class_path": "lightning.pytorch.loggers.TensorBoardLogger",
                "init_args": {"save_dir": str(directory / "logs"), "name": "", "version": "demo"},
            },
            "callbacks": [
                {
                    "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
                    "init_args": {"save_last": True, "save_top_k": 0},
                }
            ],
        },
        "model": {
            "class_path": "dynaclr.engine.ContrastiveModule",
            "init_args": {
                "encoder": {
                    "class_path": "dynaclr.encoder.ContrastiveEncoder",
                    "init_args": {
                        "backbone": "convnext_zepto",
                        "in_channels": 2,
                        "in_stack_depth": 1,
                        "stem_kernel_size": [1, 4, 4],
                        "stem_stride": [1, 4, 4],
                        "embedding_dim": 256,
                        "projection_dim": 32,
                    },
                },
                "loss_function": {
                    "class_path": "dynaclr.loss.NTXentHCL",
                    "init_args": {"temperature": 0.2, "beta": 0.5, "mask_same_lineage": True},
                },
                "lr": 0.001,
                "example_input_array_shape": [1, 2, 1, 32, 32],
            },
        },
        "data": {
            "class_path": "dynaclr.datamodule.MultiExperimentDataModule",
            "init_args": {
                "experiments_yaml": str(directory / "experiments.yml"),
                "z_range": [0, 1],
                "yx_patch_size": [48, 48],
                "final_yx_patch_size": [32, 32],
                "val_experiments": [],
                "tau_range": [0.5, 2.0],
                "batch_size": 32,
                "num_workers": 1,
                "leaky": 0.1,
                "temporal_enrichment": True,
                "temporal_window_hours": 1.0,
                "normalizations": [
                    {"class_path": "dynaclr.transforms.NormalizeSampled", "init_args": {"keys": keys}},
                ],
                "augmentations": [
                    {
                        "class_path": "dynaclr.transforms.RandAffined",
                        "init_args": {"keys": keys, "prob": 0.8, "rotate_range": [3.14, 0.0, 0.0]},
                    },
                    {
                        "class_path": "dynaclr.transforms.RandGaussianNoised",
                        "init_args": {"keys": keys, "prob": 0.5, "std": 0.1},
                    },
                ],
            },
        },
    }
