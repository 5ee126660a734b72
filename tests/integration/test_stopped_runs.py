"""Runs that are stopped: what is kept of them, and that the command line says where."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from command_lines import write_fit_config
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from runs import write_two_experiments

from dynaclr.cli.checkpoints import tell_checkpoints

EXAMPLE = Path(__file__).parents[2] / "examples" / "configs" / "multi_experiment_fit.yml"

MONTHLY: dict[str, Any] = {
    "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
    "init_args": {"every_n_train_steps": 10**6},
}

INTERRUPTED = """
from lightning.pytorch import Callback

class Interrupted(Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == 3:
            raise KeyboardInterrupt
"""


def run(*words: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, whose modules it can import."""
    command = [sys.executable, "-m", "dynaclr", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


@pytest.mark.parametrize("keeps", [True, False])
def test_an_interruption_loses_nothing(keeps: bool, tmp_path: Path) -> None:
    """With the callback of the example, a run that was stopped goes on with the next batch; without, it is told."""
    folder, registry = tmp_path, write_two_experiments(tmp_path)
    (folder / "interrupted.py").write_text(INTERRUPTED)
    example = yaml.safe_load(EXAMPLE.read_text())["trainer"]["callbacks"]
    (last,) = [each for each in example if each.get("init_args", {}).get("save_last")] if keeps else [MONTHLY]
    callbacks = [last, {"class_path": "interrupted.Interrupted"}]
    whole = {"trainer__limit_train_batches": None, "trainer__num_sanity_val_steps": 0}
    config = write_fit_config(folder, registry, trainer__callbacks=callbacks, **whole)
    done = run("fit", "--config", config, folder=folder)
    assert done.returncode == 130, done.stderr
    if not keeps:
        assert "No checkpoint was written: the ModelCheckpoint callbacks had no occasion to." in done.stderr
        assert not list(folder.rglob("*.ckpt"))
        return
    (path,) = folder.rglob("last.ckpt")
    assert f"Checkpoints: {path.relative_to(folder)}" in done.stderr.splitlines()
    assert torch.load(path, weights_only=True)["global_step"] == 3
    config = write_fit_config(folder, registry, trainer__callbacks=[last], **whole)
    done = run("fit", "--config", config, "--ckpt_path", path, folder=folder)
    assert done.returncode == 0, done.stderr
    (path,) = (folder / "lightning_logs" / "version_1").rglob("last.ckpt")
    # The four that were left of seven, and none again.
    assert torch.load(path, weights_only=True)["global_step"] == 7


def test_only_checkpoints_that_exist_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Lightning also names those that it could not write, and those of a resumed run that lie elsewhere."""
    callback = ModelCheckpoint(dirpath=tmp_path)
    trainer = Trainer(accelerator="cpu", callbacks=[callback], logger=False)
    callback.best_model_path, callback.last_model_path = str(tmp_path / "best.ckpt"), str(tmp_path / "last.ckpt")
    with caplog.at_level(logging.INFO, "dynaclr"):
        tell_checkpoints(trainer)
        (tmp_path / "last.ckpt").touch()
        tell_checkpoints(trainer)
    none, one = [record.getMessage() for record in caplog.records if record.name.startswith("dynaclr")]
    assert none == f"There is no checkpoint at {tmp_path / 'best.ckpt'}, {tmp_path / 'last.ckpt'}."
    assert one == f"Checkpoints: {os.path.relpath(tmp_path / 'last.ckpt')}"
