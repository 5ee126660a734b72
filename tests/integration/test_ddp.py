"""Two real processes (gloo, CPU): equal steps, disjoint batches, equal weights, a clean end."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_lines import write_fit_config
from lightning.pytorch.callbacks import ModelCheckpoint
from runs import LIGHTNING_WARNINGS, Recorder, make_data, make_model, make_trainer, write_two_experiments

from dynaclr.embeddings import read_embeddings
from dynaclr.experiment import ExperimentRegistry
from dynaclr.index import MultiExperimentIndex

pytestmark = [pytest.mark.filterwarnings(warning) for warning in LIGHTNING_WARNINGS]

WORKER = Path(__file__).parent / "ddp_worker.py"
TWO_RANKS: dict[str, Any] = {"strategy": "ddp", "devices": 2, "num_sanity_val_steps": 1}


class Ranks:
    """Runs jobs on two ranks in a folder.

    Parameters
    ----------
    root
        A folder that lives as long as the test.
    **registry
        Options of the registry.
    """

    def __init__(self, root: Path, **registry: Any) -> None:
        self.root = root
        self.registry = write_two_experiments(root, **registry)

    def start(
        self, stage: str, data: dict[str, Any], trainer: dict[str, Any], **job: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a job until it ends."""
        path = self.root / "job.json"
        given = {"stage": stage, "registry": str(self.registry), "data": data, "trainer": {**TWO_RANKS, **trainer}}
        path.write_text(json.dumps({**given, **job}))
        return self.run(str(WORKER), str(path))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run Python until it ends."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        everything: dict[str, Any] = {"capture_output": True, "text": True}
        # A deadlock is a failure, not a test run that never ends.
        return subprocess.run([sys.executable, *command], env=environment, timeout=240, check=False, **everything)

    def __call__(self, stage: str, data: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
        """Run a job and return what both ranks saw."""
        ended = self.start(stage, data, options.pop("trainer", {}), **options)
        assert ended.returncode == 0, ended.stderr[-4000:]
        seen = [json.loads((self.root / f"rank{rank}.json").read_text()) for rank in range(2)]
        assert [rank["status"] for rank in seen] == ["finished"] * 2
        assert [rank["world_size"] for rank in seen] == [2, 2]
        return seen


@contextmanager
def two_ranks(**registry: Any) -> Iterator[Ranks]:
    """Write the registry to a folder that lives as long as the block."""
    with tempfile.TemporaryDirectory() as folder:
        yield Ranks(Path(folder), **registry)


def fit_on_one_rank(ranks: Ranks, data: dict[str, Any], ckpt_path: Path | None = None, **trainer: Any) -> Recorder:
    """Fit in this process and return what it saw."""
    recorder = Recorder()
    made = make_trainer(ranks.root, **{"callbacks": [recorder], "num_sanity_val_steps": 0, **trainer})
    made.fit(make_model(), datamodule=make_data(ranks.registry, **data), ckpt_path=ckpt_path, weights_only=True)
    return recorder


def test_two_processes_train_on_the_batches_of_one_in_turn() -> None:
    """With an odd number of batches, threads that read ahead, validation, and a stop in between.

    Rank r sees batches r, r + 2, ..., and a run resumed in the middle of an epoch sees the rest of them: two ranks
    what two would have seen, and one rank all that the two together had not.
    """
    data = {"batch_size": 4, "num_workers": 2, "val_experiments": ["exp_beta"]}
    with two_ranks() as ranks:
        whole = ranks("fit", data, trainer={"max_epochs": 2})
        checkpoint = ranks.root / "steps" / "step=2.ckpt"
        resumed = ranks("fit", data, trainer={"max_epochs": 2}, ckpt_path=str(checkpoint))
        alone = fit_on_one_rank(ranks, data, max_epochs=2)
        on_one = fit_on_one_rank(ranks, data, checkpoint, max_epochs=2)
    assert_ranks_take_turns(whole, alone)
    assert_epochs_are_those_of_all_ranks(whole)
    for before, after in zip(whole, resumed, strict=True):
        assert after["trained"] == before["trained"][2:]
        assert after["weights"] == before["weights"]
        assert after["steps"] == before["steps"]
    assert on_one.epoch(0) == alone.epoch(0)[4:]
    assert on_one.epoch(1) == alone.epoch(1)
    assert on_one.validated == alone.validated


def test_the_command_line_trains_on_two_ranks() -> None:
    """It reads the data before it starts the second rank, which does as the first, and says nothing that is no use."""
    with two_ranks() as ranks:
        config = write_fit_config(ranks.root, ranks.registry, trainer__strategy="ddp", trainer__devices=2)
        ended = ranks.run("-m", "dynaclr", "fit", "--config", str(config))
        assert ended.returncode == 0, ended.stderr[-4000:]
        assert "Warning" not in ended.stderr + ended.stdout
        (log,) = ranks.root.glob("lightning_logs/version_*")
        assert [path.name for path in log.glob("checkpoints/*")] == ["epoch=0-step=2.ckpt"]


LAMES = """
from lightning.pytorch import Callback

class Lames(Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_rank == 1 and trainer.global_step == 2:
            raise RuntimeError("lame")
"""


def test_a_rank_that_fails_leaves_no_other_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning's `save_on_exception`, which the example has, would let one rank wait for the others with its file."""
    last = {"save_last": True, "save_top_k": 0, "every_n_train_steps": 200, "save_on_exception": True}
    callbacks = [
        {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": last},
        {"class_path": "lames.Lames"},
    ]
    with two_ranks() as ranks:
        (ranks.root / "lames.py").write_text(LAMES)
        monkeypatch.syspath_prepend(ranks.root)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ranks.root), *sys.path]))
        config = write_fit_config(
            ranks.root,
            ranks.registry,
            trainer__strategy="ddp",
            trainer__devices=2,
            trainer__callbacks=callbacks,
            trainer__limit_train_batches=None,
        )
        ended = ranks.run("-m", "dynaclr", "fit", "--config", str(config))
        assert ended.returncode != 0
        assert "lame" in ended.stderr
        assert ended.stderr.count("save_on_exception is off, since several ranks would wait for each other.") == 1
        assert not list(ranks.root.rglob("*.ckpt"))


def test_a_mistake_on_two_ranks_is_told_once() -> None:
    """By the first, before there is a second; nothing is written."""
    with two_ranks() as ranks:
        config = write_fit_config(
            ranks.root,
            ranks.registry,
            trainer__strategy="ddp",
            trainer__devices=2,
            data__init_args__yx_patch_size=[999, 999],
        )
        before = set(ranks.root.rglob("*"))
        ended = ranks.run("-m", "dynaclr", "fit", "--config", str(config))
        assert ended.returncode == 2
        (line,) = [line for line in ended.stderr.splitlines() if "error" in line]
        assert line.startswith("dynaclr: error: yx_patch_size needs to fit into every image, got (999, 999)")
        assert set(ranks.root.rglob("*")) == before


def assert_epochs_are_those_of_all_ranks(ranks: list[dict[str, Any]]) -> None:
    """Compare what both ranks logged of the last epoch with the mean over the batches of both."""
    losses = [loss for rank in ranks for loss in rank["losses"][-4:]]
    assert [rank["loss/train"] for rank in ranks] == pytest.approx([sum(losses) / len(losses)] * 2, rel=1e-5)


def assert_ranks_take_turns(ranks: list[dict[str, Any]], alone: Recorder) -> None:
    """Compare what two ranks saw with each other and with what one sees alone."""
    first, second = ranks
    assert first["steps"] == second["steps"] == 2 * 4
    assert first["weights"] == second["weights"]
    for epoch in (0, 1):
        batches = [[name for seen, name in rank["trained"] if seen == epoch] for rank in ranks]
        assert [len(names) for names in batches] == [4, 4]
        assert not set(batches[0]) & set(batches[1])
        in_turn = [name for pair in zip(*batches, strict=True) for name in pair]
        assert in_turn[:7] == alone.epoch(epoch), "seven batches in an epoch, and an eighth so that ranks are equal"
    validated = [[[name for seen, name in rank["validated"] if seen == epoch] for epoch in (0, 1)] for rank in ranks]
    assert len(validated[0][0]) == len(validated[1][0]) > 0
    assert not set(validated[0][0]) & set(validated[1][0])
    assert [epochs[0] for epochs in validated] == [epochs[1] for epochs in validated]


def test_a_run_of_one_rank_is_resumed_on_two() -> None:
    """Three of seven batches are behind: two ranks share the other four, and then whole epochs."""
    data = {"batch_size": 4, "num_workers": 1, "val_experiments": ["exp_beta"]}
    with two_ranks() as ranks:
        keep, recorder = (
            ModelCheckpoint(ranks.root / "one", filename="{step}", every_n_train_steps=3, save_top_k=-1),
            Recorder(),
        )
        fit_on_one_rank(ranks, data, max_epochs=2, callbacks=[keep, recorder], enable_checkpointing=True)
        resumed = ranks("fit", data, trainer={"max_epochs": 2}, ckpt_path=str(ranks.root / "one" / "step=3.ckpt"))
    shares = [[[name for seen, name in rank["trained"] if seen == epoch] for rank in resumed] for epoch in (0, 1)]
    assert [name for pair in zip(*shares[0], strict=True) for name in pair] == recorder.epoch(0)[3:]
    assert [name for pair in zip(*shares[1], strict=True) for name in pair][:7] == recorder.epoch(1)
    assert [[epoch for epoch, _ in rank["validated"]][-1] for rank in resumed] == [1, 1]
    assert {epoch for rank in resumed for epoch, _ in rank["validated"]} == {0, 1}


def test_two_processes_predict_every_observation_once() -> None:
    """The first rank the first half, in order, and the second the rest."""
    with two_ranks() as ranks:
        seen = ranks("predict", {"batch_size": 16})
        registry = ExperimentRegistry.from_yaml(ranks.registry)
        tracks = MultiExperimentIndex(registry, slice(0, 1), (32, 32)).tracks
    everything = [[name, t] for name, t in zip(tracks["global_track_id"], tracks["t"].tolist(), strict=True)]
    assert seen[0]["predicted"] + seen[1]["predicted"] == everything
    assert len(seen[1]["predicted"]) > 0


def test_two_processes_predict_a_single_observation() -> None:
    """The rank that has none repeats it, so that nobody waits for ever, and it is written once."""
    with two_ranks(tracks=1, frames=1, divisions=0) as ranks:
        content = yaml.safe_load(ranks.registry.read_text())
        ranks.registry.write_text(yaml.safe_dump({**content, "experiments": content["experiments"][:1]}))
        output = ranks.root / "embeddings.zarr"
        seen = ranks("predict", {"val_experiments": []}, output=str(output))
        written = read_embeddings(output).obs
    assert seen[0]["predicted"] == seen[1]["predicted"]
    assert [(row.experiment, row.t) for row in written.itertuples()] == [("exp_alpha", 0)]


def test_lightnings_own_sampler_is_refused_in_words() -> None:
    """It would put its sampler in the place of ours."""
    with two_ranks() as ranks:
        ended = ranks.start("fit", {}, {"max_epochs": 1, "use_distributed_sampler": True})
    assert ended.returncode != 0
    assert "use_distributed_sampler is True with a distributed strategy, but needs to be False" in ended.stderr


def test_an_error_on_one_rank_ends_both() -> None:
    """A chunk that cannot be read stops the whole job, with its sentence."""
    with two_ranks() as ranks:
        place = ExperimentRegistry.from_yaml(ranks.registry).positions("exp_alpha")["A/1/0"]
        (place.array_path / "4" / "0" / "0" / "0" / "0").write_bytes(b"short")
        ended = ranks.start("fit", {"num_workers": 2}, {"max_epochs": 1})
    assert ended.returncode != 0
    assert "frame 4 of experiment 'exp_alpha', FOV A/1/0 cannot be read" in ended.stderr
