"""A run that was stopped anywhere and resumed sees exactly what the uninterrupted run sees, and learns the same."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint, OnExceptionCheckpoint
from runs import LIGHTNING_WARNINGS, Recorder, make_data, make_model, make_trainer, write_two_experiments
from torch import Tensor

from dynaclr.engine import ContrastiveModule
from dynaclr.errors import DynaclrError

pytestmark = [pytest.mark.filterwarnings(warning) for warning in LIGHTNING_WARNINGS]

EPOCHS = 3
STEPS = 5  # batches of 5 among the 26 anchors of both experiments
ALPHAS_STEPS = 7  # batches of 4 among the 31 anchors of exp_alpha, when exp_beta validates


class Run(NamedTuple):
    """What a run saw and where it ended."""

    trained: list[tuple[int, str]]
    validated: list[tuple[int, str]]
    weights: dict[str, Tensor]
    steps: int


class Fit:
    """Fits the same model on the same data, again and again.

    Parameters
    ----------
    root
        A folder that lives as long as the test.
    **data
        Options of the data module.
    """

    def __init__(self, root: Path, **data: Any) -> None:
        self.root = root
        validating = bool(data.get("val_experiments"))
        self.make_model: Callable[[], LightningModule] = make_model
        self.registry = write_two_experiments(root, tracks=5 if validating else 3)
        self.options: dict[str, Any] = {"val_experiments": [], "batch_size": 4 if validating else 5, **data}

    def __call__(self, *callbacks: Callback, ckpt_path: Path | None = None, **trainer: Any) -> Run:
        """Fit, from the start or from a checkpoint."""
        recorder, model, data = Recorder(), self.make_model(), make_data(self.registry, **self.options)
        keeps = any(isinstance(callback, Checkpoint) for callback in callbacks)
        defaults = {"max_epochs": EPOCHS, "num_sanity_val_steps": 0, "enable_checkpointing": keeps}
        made = make_trainer(self.root, callbacks=[recorder, *callbacks], **{**defaults, **trainer})
        made.fit(model, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
        assert made.state.status == "finished"
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        return Run(recorder.trained, recorder.validated, weights, made.global_step)


@contextmanager
def fitting(**data: Any) -> Iterator[Fit]:
    """Write the registry to a folder that lives as long as the block."""
    with tempfile.TemporaryDirectory() as folder:
        yield Fit(Path(folder), **data)


def every_step(root: Path) -> ModelCheckpoint:
    """Return a callback that keeps a checkpoint of every optimizer step."""
    return ModelCheckpoint(root / "steps", filename="{step}", every_n_train_steps=1, save_top_k=-1)


def assert_same_end(resumed: Run, whole: Run, trained_before: int) -> None:
    """Compare what a resumed run saw and learnt with the rest of the uninterrupted run."""
    assert resumed.trained == whole.trained[trained_before:]
    assert resumed.steps == whole.steps
    for name, value in whole.weights.items():
        assert torch.equal(resumed.weights[name], value), name


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_a_run_resumed_in_the_middle_of_an_epoch_goes_on_with_the_next_batch(num_workers: int) -> None:
    """From a checkpoint of any step: first, middle and last of the first and of a later epoch."""
    with fitting(num_workers=num_workers) as fit:
        whole = fit(every_step(fit.root))
        assert len(whole.trained) == len(set(whole.trained)) == EPOCHS * STEPS
        for step in (1, 3, STEPS, STEPS + 1, STEPS + 2, 2 * STEPS):
            resumed = fit(ckpt_path=fit.root / "steps" / f"step={step}.ckpt")
            assert_same_end(resumed, whole, step)


class OneCycle(ContrastiveModule):
    """Somebody's module, that plans its schedule where Lightning's documentation does."""

    def configure_optimizers(self) -> Any:
        """Ask how many steps there will be."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr)
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.lr, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


@pytest.mark.parametrize("limits", [{}, {"max_epochs": -1, "max_steps": EPOCHS * STEPS}])
@pytest.mark.parametrize(
    "make",
    [partial(make_model, schedule="WarmupCosine"), partial(make_model, kind=OneCycle)],
    ids=["WarmupCosine", "OneCycle"],
)
def test_a_schedule_that_knows_the_number_of_steps_changes_nothing(
    make: Callable[[], LightningModule], limits: dict[str, Any]
) -> None:
    """Lightning makes the loaders to count them, before it knows where the checkpoint was written."""
    with fitting() as fit:
        fit.make_model = make
        whole = fit(every_step(fit.root), **limits)
        assert len(whole.trained) == EPOCHS * STEPS
        for step in (1, 3, STEPS, STEPS + 2):
            resumed = fit(ckpt_path=fit.root / "steps" / f"step={step}.ckpt", **limits)
            assert_same_end(resumed, whole, step)


@pytest.mark.parametrize("make", [partial(make_model, schedule="WarmupCosine"), partial(make_model, kind=OneCycle)])
def test_whatever_the_schedule_other_batches_are_refused_in_the_middle(make: Callable[[], LightningModule]) -> None:
    """Nobody mixes the batches of two seeds in one epoch."""
    with fitting() as fit:
        fit.make_model = make
        fit(every_step(fit.root))
        fit.options["seed"] = 1
        with pytest.raises(DynaclrError, match="seed was 0 and is 1"):
            fit(ckpt_path=fit.root / "steps" / "step=3.ckpt")


def test_the_number_of_workers_may_change_on_the_way() -> None:
    """A checkpoint says nothing of threads."""
    with fitting(num_workers=2) as fit:
        whole = fit(every_step(fit.root))
        fit.options["num_workers"] = 0
        assert_same_end(fit(ckpt_path=fit.root / "steps" / "step=3.ckpt"), whole, 3)


def test_resuming_counts_batches_and_not_optimizer_steps() -> None:
    """With gradients accumulated over two batches, five batches make three steps."""
    with fitting(num_workers=1) as fit:
        whole = fit(every_step(fit.root), accumulate_grad_batches=2)
        assert whole.steps == EPOCHS * 3
        for step in (2, 3, 4):
            resumed = fit(ckpt_path=fit.root / "steps" / f"step={step}.ckpt", accumulate_grad_batches=2)
            epoch, within = divmod(step, 3)
            assert_same_end(resumed, whole, epoch * STEPS + 2 * within)


@pytest.mark.parametrize("validating", [False, True])
def test_a_run_resumed_at_the_end_of_an_epoch_begins_the_next(validating: bool) -> None:
    """Whether the checkpoint was written after validation or at the end of the training epoch."""
    with fitting(val_experiments=["exp_beta"] if validating else []) as fit:
        whole = fit(ModelCheckpoint(fit.root / "epochs", filename="{epoch}", save_top_k=-1))
        for epoch in (0, 1):
            resumed = fit(ckpt_path=fit.root / "epochs" / f"epoch={epoch}.ckpt")
            assert_same_end(resumed, whole, (epoch + 1) * (ALPHAS_STEPS if validating else STEPS))
            assert resumed.validated == [seen for seen in whole.validated if seen[0] > epoch]


def test_validation_in_the_middle_of_an_epoch_does_not_move_training() -> None:
    """A checkpoint written after such a validation is resumed behind the batches trained on."""
    with fitting(val_experiments=["exp_beta"]) as fit:
        inside = ModelCheckpoint(fit.root / "inside", filename="{step}", save_top_k=-1, monitor=None)
        whole = fit(inside, val_check_interval=3)
        assert sorted(path.stem for path in (fit.root / "inside").iterdir())[:2] == ["step=10", "step=13"]
        for step in (3, 10):
            resumed = fit(ckpt_path=fit.root / "inside" / f"step={step}.ckpt", val_check_interval=3)
            assert_same_end(resumed, whole, step)


def test_an_epoch_cut_short_is_resumed_in_its_short_form() -> None:
    """``limit_train_batches`` ends epochs early, and the next epoch begins at its beginning."""
    with fitting() as fit:
        whole = fit(every_step(fit.root), limit_train_batches=3)
        assert [epoch for epoch, _ in whole.trained] == [0] * 3 + [1] * 3 + [2] * 3
        for step in (2, 3, 4):
            resumed = fit(ckpt_path=fit.root / "steps" / f"step={step}.ckpt", limit_train_batches=3)
            assert_same_end(resumed, whole, step)


def test_training_for_a_number_of_steps_is_resumed_alike() -> None:
    """With ``max_steps`` Lightning takes every checkpoint for one in the middle of an epoch."""
    with fitting() as fit:
        limits = {"max_epochs": -1, "max_steps": 2 * STEPS + 3}
        whole = fit(every_step(fit.root), **limits)
        for step in (3, STEPS, STEPS + 2):
            resumed = fit(ckpt_path=fit.root / "steps" / f"step={step}.ckpt", **limits)
            assert_same_end(resumed, whole, step)
        fit(ModelCheckpoint(fit.root / "epochs", filename="{epoch}", save_top_k=-1), **limits)
        resumed = fit(ckpt_path=fit.root / "epochs" / "epoch=0.ckpt", **limits)
        assert_same_end(resumed, whole, STEPS)


@pytest.mark.parametrize("limits", [{}, {"max_epochs": -1, "max_steps": 2 * STEPS + 3}])
@pytest.mark.parametrize("checkpoint", ["epochs/epoch=0.ckpt", f"steps/step={STEPS}.ckpt"])
def test_from_the_end_of_an_epoch_a_run_goes_on_with_other_batches(checkpoint: str, limits: dict[str, Any]) -> None:
    """With all of its next epoch, whichever callback wrote the checkpoint and whatever ends the run."""
    with fitting() as fit:
        by_epoch = ModelCheckpoint(fit.root / "epochs", filename="{epoch}", save_top_k=-1)
        whole = fit(by_epoch, every_step(fit.root), max_epochs=1)
        fit.options["seed"] = 1
        other = fit(**limits)
        resumed = fit(ckpt_path=fit.root / checkpoint, **limits)
        assert len(whole.trained) == STEPS
        assert resumed.trained == other.trained[STEPS:]
        assert resumed.steps == other.steps


class Fails(Callback):
    """Fails at one batch, before or after training on it."""

    def __init__(self, at: int, before: bool) -> None:
        self.at, self.before = at, before

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *rest: Any) -> None:  # noqa: ARG002
        """Fail with the batch in hand."""
        if self.before and trainer.global_step == self.at:
            raise RuntimeError("the machine stumbled")

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: Any) -> None:  # noqa: ARG002
        """Fail with the batch done."""
        if not self.before and trainer.global_step == self.at + 1:
            raise RuntimeError("the machine stumbled")


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("before", [True, False])
def test_a_batch_that_was_fetched_but_not_trained_on_is_not_lost(num_workers: int, before: bool) -> None:
    """A checkpoint of a run that failed counts the batches trained on, not those handed out."""
    with fitting(num_workers=num_workers) as fit:
        whole = fit()
        at = STEPS + 2
        with pytest.raises(RuntimeError, match="the machine stumbled"):
            fit(OnExceptionCheckpoint(fit.root, "failed"), Fails(at, before))
        resumed = fit(ckpt_path=fit.root / "failed.ckpt")
        assert_same_end(resumed, whole, at if before else at + 1)


@pytest.mark.parametrize(
    "change", [lambda options: options.update(seed=1), lambda options: options.update(batch_size=6)]
)
def test_other_data_are_not_resumed_in_silence(change: Callable[[dict[str, Any]], None]) -> None:
    """Another seed or batch size in the middle of an epoch is an error that says what differs."""
    with fitting() as fit:
        fit(every_step(fit.root), max_epochs=1)
        change(fit.options)
        with pytest.raises(
            DynaclrError,
            match=r"other options \((seed was 0 and is 1|batch_size was 5 and is 6.*)\), but needs those that it was "
            "taken with; only from the end of an epoch can a run go on with others$",
        ):
            fit(ckpt_path=fit.root / "steps" / "step=3.ckpt")


def test_a_run_that_goes_on_with_other_data_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """From the end of an epoch that is allowed, and a warning says what differs; if nothing does, none is given."""
    told = "The checkpoint was written with other anchors or options of sampling or reading: "
    with fitting() as fit:
        fit(ModelCheckpoint(fit.root / "epochs", filename="{epoch}", save_top_k=-1), max_epochs=1)
        end = fit.root / "epochs" / "epoch=0.ckpt"
        fit(ckpt_path=end, max_epochs=2)
        assert told not in caplog.text
        fit.options["seed"] = 1
        changed = fit(ckpt_path=end, max_epochs=2)
        assert f"{told}seed was 0 and is 1\n" in caplog.text
        assert changed.trained == fit(max_epochs=2).trained[STEPS:]
        fit.options["val_experiments"] = ["exp_beta"]
        fit(ckpt_path=end, max_epochs=2)
        assert re.search(told + r"anchors was 26 and is \d+, .*other rows", caplog.text)


def test_other_positives_and_pixels_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """They leave anchors and batches as they are, so that a run may go on with them, though not in silence."""
    told = "The checkpoint was written with other anchors or options of sampling or reading: "
    with fitting() as fit:
        fit(every_step(fit.root), max_epochs=1)
        before = fit.root / "steps" / "step=3.ckpt"
        fit(ckpt_path=before)
        assert told not in caplog.text
        fit.options |= {"tau_decay_rate": -7.0, "final_yx_patch_size": (12, 16)}
        fit(ckpt_path=before)
    assert f"{told}tau_decay_rate was 2.0 and is -7.0, final_yx_patch_size was " in caplog.text
    assert " and is [12, 16]\n" in caplog.text


def test_a_data_module_that_was_changed_between_two_fits_is_told_too(caplog: pytest.LogCaptureFixture) -> None:
    """Though it has written the checkpoint itself."""
    with fitting() as fit:
        data, keeping = make_data(fit.registry, **fit.options), ModelCheckpoint(fit.root / "epochs", filename="{epoch}")
        make_trainer(fit.root, callbacks=[keeping], max_epochs=1, enable_checkpointing=True).fit(make_model(), data)
        data.seed = 1
        again = make_trainer(fit.root, max_epochs=2)
        again.fit(make_model(), data, ckpt_path=fit.root / "epochs" / "epoch=0.ckpt", weights_only=True)
        assert "options of sampling or reading: seed was 0 and is 1\n" in caplog.text
