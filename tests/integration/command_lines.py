"""What the tests of the command line share: a configuration on disk, and what a command left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml


def write_fit_config(folder: Path, registry: Path, **changes: Any) -> Path:
    """Write a configuration of a short run; a change names its key as ``trainer__max_epochs=2``."""
    flat = {"in_stack_depth": 1, "stem_kernel_size": [1, 4, 4], "stem_stride": [1, 4, 4], "embedding_dim": 256}
    encoder = {"class_path": "dynaclr.encoder.ContrastiveEncoder", "init_args": {"backbone": "convnext_zepto", **flat}}
    loss = {"class_path": "dynaclr.loss.NTXentHCL", "init_args": {"temperature": 0.07, "beta": 0.5}}
    data = {
        "experiments_yaml": str(registry),
        "z_range": [0, 1],
        "yx_patch_size": [32, 32],
        "final_yx_patch_size": [24, 24],
        "val_experiments": ["exp_beta"],
        "batch_size": 4,
    }
    logger = {"class_path": "lightning.pytorch.loggers.TensorBoardLogger", "init_args": {"save_dir": str(folder)}}
    config: dict[str, Any] = {
        "trainer": {
            "max_epochs": 1,
            "limit_train_batches": 2,
            "limit_val_batches": 1,
            "accelerator": "cpu",
            "use_distributed_sampler": False,
            "enable_model_summary": False,
            "log_every_n_steps": 1,
            "logger": logger,
        },
        "model": {
            "class_path": "dynaclr.engine.ContrastiveModule",
            "init_args": {"encoder": encoder, "loss_function": loss, "example_input_array_shape": None},
        },
        "data": {"class_path": "dynaclr.datamodule.MultiExperimentDataModule", "init_args": data},
    }
    for name, value in changes.items():
        *parents, last = name.split("__")
        section = config
        for parent in parents:
            section = section[parent]
        section[last] = value
    path = folder / "fit.yml"
    path.write_text(yaml.safe_dump(config))
    return path


def everything_in(folder: Path) -> set[Path]:
    """Return all files and folders below a folder."""
    return set(folder.rglob("*"))


def errors_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return what stderr holds, but for what Lightning says about the hardware and the seed."""
    lines = capsys.readouterr().err.splitlines()
    assert not any("Traceback" in line for line in lines)
    said = ("Seed set", "INFO", "GPU available", "TPU available", "HPU available")
    return [line for line in lines if line and not line.startswith(said)]
