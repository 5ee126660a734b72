"""Two experiments with different channel sets train, validate and predict, with real components only."""

from __future__ import annotations

import math
import shutil
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import BatchSizeFinder, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from runs import LIGHTNING_WARNINGS, Recorder, digest, make_data, make_model, make_trainer, write_two_experiments

from dynaclr.datamodule import MultiExperimentDataModule
from dynaclr.encoder import ContrastiveEncoder
from dynaclr.errors import DynaclrError
from dynaclr.experiment import ExperimentRegistry
from dynaclr.preprocess import compute_statistics
from dynaclr.transforms import NormalizeSampled

pytestmark = [pytest.mark.filterwarnings(warning) for warning in LIGHTNING_WARNINGS]

REAL_MOVIES = Path(__file__).parents[3] / "shared" / "data"

EVERY_AXIS: dict[str, Any] = {
    "experiment_aware": True,
    "condition_balanced": True,
    "leaky": 0.25,
    "temporal_enrichment": True,
    "temporal_window_hours": 2.0,
    "temporal_global_fraction": 0.3,
}


def readers() -> list[str]:
    """Return the names of the threads that read ahead right now."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("dynaclr-reader")]


class Gradients(Callback):
    """Keeps the names of the parameters that have had a gradient other than zero."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:  # noqa: ARG002
        """Look at all gradients before a step."""
        self.seen |= {name for name, p in pl_module.named_parameters() if p.grad is not None and p.grad.any()}


def test_multi_experiment_fast_dev_run() -> None:
    """One step of everything, the two experiments on different sides of the split."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = make_data(
            write_two_experiments(root), channel_dropout_channels=[1], channel_dropout_prob=0.5, num_workers=1
        )
        logger = TensorBoardLogger(root / "logs")
        trainer = Trainer(fast_dev_run=True, accelerator="cpu", logger=logger, default_root_dir=root)
        trainer.fit(make_model(), datamodule=data)
        assert trainer.state.finished
        assert trainer.state.status == "finished"
        assert trainer.global_step == 1
        assert readers() == []


@pytest.mark.parametrize("num_workers", [0, 2])
def test_multi_experiment_with_every_axis_on(num_workers: int) -> None:
    """Both experiments train, two conditions each, all axes at once; the loss is finite, every parameter learns."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        registry = write_two_experiments(root, wells=("A/1", "B/1"), conditions=("uninfected", "infected"))
        data = make_data(
            registry, val_experiments=[], num_workers=num_workers, channel_dropout_prob=0.5, batch_size=8, **EVERY_AXIS
        )
        recorder, gradients, model = Recorder(), Gradients(), make_model()
        trainer = make_trainer(root, max_epochs=2, limit_train_batches=5, callbacks=[recorder, gradients])
        trainer.fit(model, datamodule=data)
        assert trainer.state.status == "finished"
        assert [epoch for epoch, _ in recorder.trained] == [0] * 5 + [1] * 5
        assert all(math.isfinite(loss) for loss in recorder.losses)
        assert gradients.seen == {name for name, _ in model.named_parameters()}
        assert readers() == []


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_epochs_differ_and_validation_does_not(num_workers: int) -> None:
    """Lightning tells the epoch: other batches each time; validation and its sanity check see the same ones."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = make_data(write_two_experiments(root), num_workers=num_workers)
        recorder = Recorder()
        make_trainer(root, max_epochs=3, callbacks=[recorder]).fit(make_model(), datamodule=data)
        sampler = data.train_sampler
        assert sampler is not None
        epochs = [recorder.epoch(number) for number in range(3)]
        assert [len(epoch) for epoch in epochs] == [sampler.num_batches] * 3
        assert len({name for epoch in epochs for name in epoch}) == 3 * sampler.num_batches
        # The very batches that the sampler and the dataset promise for each epoch.
        dataset = data.train_dataloader().dataset
        for number, epoch in enumerate(epochs):
            dataset.epoch = number  # type: ignore[attr-defined]
            raw = [dataset.__getitems__(sampler.batch(i, number)) for i in range(sampler.num_batches)]  # type: ignore[attr-defined]
            assert epoch == [digest(data.transforms(batch, training=False)) for batch in raw]
        validated = [[name for seen, name in recorder.validated if seen == number] for number in range(3)]
        assert validated[0] == validated[1] == validated[2]
        assert recorder.sanity == validated[0][: len(recorder.sanity)]
        assert recorder.sanity
        again = Recorder()
        make_trainer(root, callbacks=[again]).validate(make_model(), datamodule=data, verbose=False)
        assert [name for _, name in again.validated] == validated[0]


class Looks(Callback):
    """Checks that training batches are brighter and lack channel 1, and that others are as they were."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Look at a training batch."""
        assert (batch["anchor"][:, 0] >= 1000).all()
        assert not batch["anchor"][:, 1].any()
        assert not batch["positive"][:, 1].any()
        assert batch["anchor"].shape[-2:] == batch["positive"].shape[-2:] == (24, 24)

    def on_validation_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, *rest: int) -> None:  # noqa: ARG002
        """Look at a validation batch."""
        assert (batch["anchor"] <= 256).all()
        assert batch["anchor"][:, 1].any()
        assert batch["anchor"].shape[-2:] == (24, 24)


def test_nothing_random_happens_outside_training() -> None:
    """Augmentations and dropout run in every training batch, and in no other."""
    calls: list[bool] = []

    def brighter(sample: dict[str, Any]) -> dict[str, Any]:
        calls.append(True)
        return {**sample, "ch_0": sample["ch_0"] + 1000 + torch.rand(1), "ch_1": sample["ch_1"] + 1000}

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = make_data(write_two_experiments(root), channel_dropout_prob=1.0, augmentations=[brighter])
        trainer = make_trainer(root, max_epochs=2, limit_train_batches=3, callbacks=[Looks()])
        trainer.fit(make_model(), datamodule=data)
    assert len(calls) == 2 * 3 * 2, "once for the anchors and once for the positives of each training batch"


def test_no_validation_experiments_is_fine() -> None:
    """Lightning then trains without validating."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data, recorder = make_data(write_two_experiments(root), val_experiments=[]), Recorder()
        trainer = make_trainer(root, max_epochs=1, limit_train_batches=2, callbacks=[recorder])
        trainer.fit(make_model(), datamodule=data)
        assert trainer.state.status == "finished"
        assert len(recorder.trained) == 2
        assert recorder.validated == recorder.sanity == []


def test_two_runs_with_one_seed_see_and_learn_the_same() -> None:
    """Augmentation draws included: no thread touches the generators that Lightning seeds."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        registry, runs = write_two_experiments(root), []
        for num_workers in (0, 3):
            seed_everything(3, verbose=False)
            data = make_data(
                registry, num_workers=num_workers, channel_dropout_prob=0.5, augmentations=[noisy], val_experiments=[]
            )
            recorder = Recorder()
            make_trainer(root, max_epochs=2, callbacks=[recorder]).fit(make_model(), datamodule=data)
            runs.append((recorder.trained, recorder.losses))
        assert runs[0] == runs[1]


def noisy(sample: dict[str, Any]) -> dict[str, Any]:
    """Return the sample with noise, as large as may be seen in every digest."""
    return {**sample, "ch_0": sample["ch_0"] + torch.randn_like(sample["ch_0"])}


class Generators(Callback):
    """Keeps the state of torch's global generator at each training batch."""

    def __init__(self) -> None:
        self.states: list[bytes] = []

    def on_train_batch_start(self, *rest: Any) -> None:  # noqa: ARG002
        """Keep it."""
        self.states.append(torch.get_rng_state().numpy().tobytes())


def test_a_resumed_run_augments_as_the_uninterrupted_one() -> None:
    """From the middle of the first and of a later epoch, whatever the global generator is at; it stays there."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        registry = write_two_experiments(root)

        def fit(*callbacks: Callback, seed: int, **options: Any) -> tuple[Recorder, MultiExperimentDataModule]:
            seed_everything(seed, verbose=False)
            data = make_data(registry, channel_dropout_prob=0.5, augmentations=[noisy])
            recorder = Recorder()
            trainer = make_trainer(
                root, max_epochs=2, num_sanity_val_steps=0, enable_checkpointing=True, callbacks=[recorder, *callbacks]
            )
            trainer.fit(make_model(), datamodule=data, weights_only=True, **options)
            return recorder, data

        keep = ModelCheckpoint(root / "steps", filename="{step}", every_n_train_steps=1, save_top_k=-1)
        generators = Generators()
        whole, data = fit(keep, generators, seed=3)
        assert len(set(generators.states)) == 1
        assert len(set(whole.trained)) == len(whole.trained)
        assert data.train_sampler is not None
        for step in (3, data.train_sampler.num_batches + 2):
            resumed, _ = fit(seed=4, ckpt_path=root / "steps" / f"step={step}.ckpt")
            assert resumed.trained == whole.trained[step:]
            assert resumed.losses == whole.losses[step:]


def test_draws_differ_between_ranks_batches_epochs_and_seeds() -> None:
    """All of them are in the address of a draw."""

    class Place(NamedTuple):
        """Where a trainer is, as far as draws are concerned."""

        current_epoch: int
        global_rank: int
        fit_loop: Any

    def draws(seed: int, epoch: int, rank: int, number: int) -> int:
        data = make_data(Path("not/needed.yml"), seed=seed)
        ready = SimpleNamespace(current=SimpleNamespace(ready=number))
        loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=ready))
        return data._draw_seed(Place(epoch, rank, loop))  # type: ignore[arg-type]

    places = [
        (seed, epoch, rank, number) for seed in (0, 1) for epoch in (0, 1) for rank in (0, 1) for number in (0, 1)
    ]
    assert len({draws(*place) for place in places}) == len(places)
    assert draws(0, 1, 1, 1) == draws(0, 1, 1, 1)


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_pixels_that_cannot_be_read_end_the_run_with_the_sentence(num_workers: int) -> None:
    """Training never just ends early, and no thread is left."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = make_data(write_two_experiments(root), num_workers=num_workers, val_experiments=[])
        trainer = make_trainer(root, max_epochs=3)
        array = next(iter(ExperimentRegistry.from_yaml(root / "experiments.yml").positions("exp_beta").values()))
        (array.array_path / "4" / "0" / "0" / "0" / "0").write_bytes(b"short")
        with pytest.raises(DynaclrError, match="frame 4 of experiment 'exp_beta', FOV A/1/0 cannot be read"):
            trainer.fit(make_model(), datamodule=data)
        assert readers() == []


class Fails(Callback):
    """Fails in the middle of an epoch."""

    def on_train_batch_end(self, trainer: Trainer, *rest: Any) -> None:  # noqa: ARG002
        """Fail with the second batch."""
        if trainer.global_step == 2:
            raise RuntimeError("the machine stumbled")


def test_no_thread_outlives_a_run_that_fails() -> None:
    """Though Lightning then calls no teardown of the data module."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = make_data(write_two_experiments(root), num_workers=2)
        with pytest.raises(RuntimeError, match="the machine stumbled"):
            make_trainer(root, max_epochs=1, callbacks=[Fails()]).fit(make_model(), datamodule=data)
        assert readers() == []


@pytest.mark.parametrize("limit", [1.0, 3])
def test_a_trainer_gets_its_limit_of_validation_back(limit: float) -> None:
    """After a run that ends as well as after one that fails, at whatever it was."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = make_data(write_two_experiments(root), val_experiments=[])
        trainer = make_trainer(root, max_epochs=1, callbacks=[Fails()], limit_val_batches=limit)
        with pytest.raises(RuntimeError, match="the machine stumbled"):
            trainer.fit(make_model(), datamodule=data)
        assert trainer.limit_val_batches == limit
        trainer.callbacks = [one for one in trainer.callbacks if not isinstance(one, Fails)]  # type: ignore[attr-defined]
        trainer.fit(make_model(), datamodule=data)
        assert trainer.state.status == "finished"
        assert trainer.limit_val_batches == limit


def test_loaders_made_anew_every_epoch_go_on_alike() -> None:
    """``reload_dataloaders_every_n_epochs`` changes nothing."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        registry, seen = write_two_experiments(root), []
        for every in (0, 1):
            recorder, data = Recorder(), make_data(registry, num_workers=2)
            options = {"max_epochs": 3, "limit_train_batches": 3, "reload_dataloaders_every_n_epochs": every}
            make_trainer(root, callbacks=[recorder], **options).fit(make_model(), datamodule=data)
            seen.append((recorder.trained, recorder.validated))
        assert seen[0] == seen[1]
        assert readers() == []


class Sizes(Callback):
    """Keeps how many anchors each training batch had."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Count the anchors."""
        self.seen.append(len(batch["anchor"]))


def test_lightnings_search_for_a_batch_size_trains_on_batches_of_that_size() -> None:
    """It sets the size of the data module and asks for its loader anew; it would find any size fit otherwise."""
    sizes, finder = Sizes(), BatchSizeFinder(mode="power", steps_per_trial=1, init_val=2, max_trials=3)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = make_data(write_two_experiments(root), batch_size=2)
        trainer = make_trainer(root, callbacks=[finder, sizes], max_epochs=1, num_sanity_val_steps=0)
        trainer.fit(make_model(), datamodule=data)
    assert sizes.seen == [8] * 3
    assert data.batch_size == 8


def test_lightnings_search_for_a_batch_size_ends_with_all_anchors(caplog: pytest.LogCaptureFixture) -> None:
    """Where memory suffices for all, which it sees when it has asked for more; and then goes back to no other run."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = make_data(write_two_experiments(root), batch_size=2)
        finder = BatchSizeFinder(mode="power", steps_per_trial=1, init_val=2)
        make_trainer(root, callbacks=[finder], max_epochs=1, num_sanity_val_steps=0).fit(make_model(), datamodule=data)
        assert finder.optimal_batch_size == data.batch_size == len(data.train_index.valid_anchors)
        assert f"batch_size=32 is more than the {data.batch_size} anchors" in caplog.text
        assert "The checkpoint was written with other" not in caplog.text


class OneChannel(LightningModule):
    """Somebody's module that shows its encoder one channel of two."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = ContrastiveEncoder(
            backbone="convnext_zepto",
            in_channels=1,
            in_stack_depth=1,
            stem_kernel_size=(1, 4, 4),
            stem_stride=(1, 4, 4),
            embedding_dim=256,
        )

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:  # noqa: ARG002
        """Train on something."""
        return self.encoder(batch["anchor"][:, :1])[1].square().mean()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Look at nothing."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return any."""
        return torch.optim.SGD(self.parameters(), lr=0.01)


def test_what_somebodys_module_shows_its_encoder_is_its_own_business() -> None:
    """It is not refused because the batches have more channels."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        trainer = make_trainer(root, max_epochs=1, num_sanity_val_steps=0)
        trainer.fit(OneChannel(), datamodule=make_data(write_two_experiments(root)))
        assert trainer.state.status == "finished"


def test_overfitting_on_batches_is_refused_in_words() -> None:
    """Epochs differ, so it would not do what it says."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = make_data(write_two_experiments(root))
        with pytest.raises(DynaclrError, match="overfit_batches is 2, but needs to be 0"):
            make_trainer(root, max_epochs=1, overfit_batches=2).fit(make_model(), datamodule=data)


def test_predict_returns_every_observation_once_in_order() -> None:
    """Also those without a positive, of training and validation experiments alike."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = make_data(write_two_experiments(root), batch_size=16)
        outputs = make_trainer(root).predict(make_model(), datamodule=data)
        assert outputs is not None
        index = data.predict_index
        assert index is not None
        named = [(one["global_track_id"], one["t"]) for output in outputs for one in output["index"]]  # type: ignore[call-overload,index]
        assert named == list(zip(index.tracks["global_track_id"], index.tracks["t"], strict=True))
        assert sum(len(output["features"]) for output in outputs) == len(index.tracks)  # type: ignore[call-overload]


def test_test_is_refused_in_words() -> None:
    """There is no third part of the data."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = make_data(write_two_experiments(root))

        class Testable(LightningModule):
            def test_step(self, batch: Any, batch_idx: int) -> None:
                """Do nothing."""

        with pytest.raises(DynaclrError, match="stage='test' needs to be 'fit'"):
            make_trainer(root).test(Testable(), datamodule=data)


@pytest.mark.skipif(not REAL_MOVIES.exists(), reason=f"the real movies are not at {REAL_MOVIES}")
def test_real_movies() -> None:
    """Registry, preprocess, fit and predict on published movies, in a copy: loss finite, every parameter learns."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        shutil.copytree(REAL_MOVIES, root / "data", copy_function=shutil.copyfile)
        for place in (root / "data").rglob("*"):
            place.chmod(0o755 if place.is_dir() else 0o644)
        registry = root / "data" / "experiments.yml"
        compute_statistics(ExperimentRegistry.from_yaml(registry), progress=False)
        data = MultiExperimentDataModule(
            registry,
            z_range=(0, 1),
            yx_patch_size=(48, 48),
            final_yx_patch_size=(32, 32),
            val_experiments=["bacteria_phase"],
            tau_range=(0.1, 0.5),
            batch_size=16,
            channel_dropout_channels=[],
            normalizations=[NormalizeSampled(["ch_0"], "fov_statistics")],
            temporal_enrichment=True,
            temporal_window_hours=0.5,
        )
        recorder, gradients, model = Recorder(), Gradients(), make_model(channels=1)
        trainer = make_trainer(
            root, max_epochs=1, limit_train_batches=6, limit_val_batches=2, callbacks=[recorder, gradients]
        )
        trainer.fit(model, datamodule=data)
        assert len(recorder.losses) == 6
        assert all(math.isfinite(loss) for loss in recorder.losses)
        assert gradients.seen == {name for name, _ in model.named_parameters()}
        outputs = make_trainer(root, limit_predict_batches=3).predict(model, datamodule=data)
        assert outputs is not None
        assert all(torch.isfinite(output["features"]).all() for output in outputs)  # type: ignore[call-overload]
