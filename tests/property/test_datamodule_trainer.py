"""The data module beside a trainer that does not run: what it sets, gives back, corrects and refuses."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer

from dynaclr.datamodule import MultiExperimentDataModule
from dynaclr.encoder import ContrastiveEncoder
from dynaclr.engine import ContrastiveModule
from dynaclr.errors import DynaclrError
from dynaclr.loss import NTXentHCL
from dynaclr.randomness import keys
from dynaclr.trainers import correct_progress, state_left_behind, trained_batches
from dynaclr.transforms import RandGaussianNoised
from dynaclr_strategies.ready_made import two_experiments
from dynaclr_strategies.writers import write_registry

TOO_LATE = (
    "the model asked for estimated_stepping_batches in configure_optimizers, so the loaders were made before the "
    "trainer knew where the checkpoint was written; to go on with other batches, or on another number of ranks, it "
    "needs to do without"
)


def make_trainer(**options: Any) -> Trainer:
    """Return a trainer that writes nothing."""
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return Trainer(accelerator="cpu", enable_model_summary=False, max_epochs=1, **quiet, **options)


def encoder(channels: int, depth: int = 1) -> ContrastiveModule:
    """Return a small model of such images."""
    stem = (depth, 4, 4)
    return ContrastiveModule(ContrastiveEncoder("convnext_zepto", channels, depth, stem, stem, 256, 4), NTXentHCL())


@contextmanager
def trained(trainer: Trainer, **options: Any) -> Iterator[MultiExperimentDataModule]:
    """Make a data module that belongs to a trainer, on a registry that lives as long as the block."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_registry(two_experiments(tracks=3, size=(16, 16), z=3), Path(folder))
        given = {"val_experiments": ["exp_beta"], "batch_size": 2, "z_range": (0, 1), **options}
        data = MultiExperimentDataModule(path, yx_patch_size=(16, 16), final_yx_patch_size=(12, 12), **given)
        data.trainer = trainer
        yield data


@pytest.mark.parametrize("ending", ["teardown", "exception"])
def test_a_trainer_without_validation_gets_its_limit_back(ending: str) -> None:
    """However the run ends, and however often it was set up."""
    trainer = make_trainer(limit_val_batches=3)
    with trained(trainer, val_experiments=[]) as data:
        data.setup("fit")
        assert trainer.limit_val_batches == 0
        data.setup("fit")
        assert trainer.limit_val_batches == 0
        if ending == "teardown":
            data.train_dataloader()
            data.teardown("fit")
        else:
            data.on_exception(ValueError("elsewhere"))
        assert trainer.limit_val_batches == 3
        trainer.limit_val_batches = 5
        data.teardown("fit")
        assert trainer.limit_val_batches == 5


@pytest.mark.parametrize("stage", ["fit", "validate"])
def test_a_trainer_with_validation_keeps_its_limit(stage: str) -> None:
    """There is something to limit."""
    trainer = make_trainer(limit_val_batches=3)
    with trained(trainer) as data:
        data.setup(stage)
        assert trainer.limit_val_batches == 3
        assert data.val_index is not None
        assert (data.train_index is None) is (stage == "validate")


def test_a_prediction_limits_nothing() -> None:
    """Nor does it index one side alone."""
    trainer = make_trainer(limit_val_batches=3)
    with trained(trainer, val_experiments=[]) as data:
        data.setup("predict")
        assert trainer.limit_val_batches == 3
        assert data.predict_index is not None
        assert data.predict_index.registry.names == ("exp_alpha", "exp_beta")
        assert data.train_index is data.val_index is None


def test_a_trainer_that_overfits_is_refused() -> None:
    """In words, before anything is read."""
    with trained(make_trainer(overfit_batches=2)) as data:
        with pytest.raises(DynaclrError) as caught:
            data.setup("fit")
        assert str(caught.value) == (
            "overfit_batches is 2, but needs to be 0: every epoch draws other "
            "batches; to overfit, keep a few FOVs with include_wells"
        )
        assert data.registry is data.train_sampler is None


@pytest.mark.parametrize(("stage", "kind"), [("fit", "train"), ("validate", "val"), ("predict", "predict")])
def test_a_trainer_that_has_nothing_to_do_is_refused(stage: str, kind: str) -> None:
    """Lightning would end at once without a word; the batches of other stages may be none."""
    limits = {f"limit_{name}_batches": 1.0 if name == kind else 0 for name in ("train", "val", "predict")}
    with trained(make_trainer(**limits)) as data:
        data.setup(stage)
    for zero in (0, 0.0):
        with trained(make_trainer(**{f"limit_{kind}_batches": zero})) as data:
            with pytest.raises(DynaclrError) as caught:
                data.setup(stage)
            sentence = f"limit_{kind}_batches is {zero!r}, but needs to be above 0: nothing would be done"
            assert str(caught.value) == sentence


@pytest.mark.parametrize(("precision", "instead"), [("bf16-true", "bf16-mixed"), ("16-true", "16-mixed")])
@pytest.mark.parametrize("stage", ["fit", "validate", "predict"])
def test_a_trainer_that_rounds_raw_pixels_is_refused(stage: str, precision: str, instead: str) -> None:
    """A bright background leaves four grey levels of a cell in bfloat16; mixed precision rounds after normalizing."""
    sentence = (
        f"precision is '{precision}', but needs to be '{instead}' or '32-true': "
        "Lightning would round the raw pixels before they are normalized"
    )
    with trained(make_trainer(precision=precision)) as data, pytest.raises(DynaclrError, match=f"^{sentence}$"):
        data.setup(stage)
    with trained(make_trainer(precision="bf16-mixed")) as data:
        data.setup(stage)


@pytest.mark.parametrize("devices", [1, 2])
def test_a_trainer_that_puts_its_own_sampler_in_is_refused(devices: int) -> None:
    """In words, on one device too, where a distributed strategy does the same."""
    with trained(make_trainer(devices=devices, strategy="ddp")) as data, pytest.raises(DynaclrError) as caught:
        data.setup("fit")
    assert str(caught.value) == (
        "use_distributed_sampler is True with a distributed strategy, but needs to be False: the "
        "loaders share the batches out themselves; set Trainer(use_distributed_sampler=False)"
    )


def test_the_loaders_know_their_ranks_themselves() -> None:
    """Of a distributed strategy whose trainer leaves that to them, and of one rank that needs nothing set."""
    with trained(make_trainer(devices=2, strategy="ddp", use_distributed_sampler=False)) as data:
        data.setup("fit")
        assert data.train_sampler is not None
        assert (data.train_sampler.num_replicas, data.train_sampler.rank) == (2, 0)
        environment = data.trainer.strategy.cluster_environment  # type: ignore[attr-defined]
        environment.set_global_rank(1)
        try:
            data.setup("fit")
        finally:
            environment.set_global_rank(0)  # Lightning keeps it process-wide: loggers of later tests would be silent
        assert (data.train_sampler.num_replicas, data.train_sampler.rank) == (2, 1)
        val = data.val_dataloader()
        assert not isinstance(val, list)
        anchors = len(val.dataset)
        assert len(val.batch_sampler) == -(-anchors // 4)  # as many steps as on the other rank
    with trained(make_trainer(use_distributed_sampler=True)) as data:
        data.setup("fit")
        assert data.train_sampler is not None
        assert (data.train_sampler.num_replicas, data.train_sampler.rank) == (1, 0)


def test_an_encoder_that_does_not_fit_is_refused_with_the_shape_of_the_batches() -> None:
    """The sizes are those of the data module and the registry, of the planes that are read."""
    with trained(make_trainer(), batch_size=3, z_range=(1, 3)) as data:
        data.prepare("fit", None, encoder(channels=2, depth=2))
        with pytest.raises(DynaclrError, match=r"\(3, 2, 2, 12, 12\)"):
            data.prepare("fit", None, encoder(channels=3, depth=2))


def test_the_sampler_is_of_the_trainer_that_trains() -> None:
    """Also where `prepare` knew none; what was prepared for the same ranks is taken."""
    two = make_trainer(devices=2, strategy="ddp", use_distributed_sampler=False)
    with trained(two) as data:
        data.prepare("fit")
        data.setup("fit")
        assert data.train_sampler is not None
        assert (data.train_sampler.num_replicas, data.train_sampler.rank) == (2, 0)
        data.prepare("fit", two)
        assert data._prepared is not None
        prepared = data._prepared.sampler
        data.setup("fit")
        assert data.train_sampler is prepared
        data.batch_size = 1  # as Lightning's search for one does
        assert (data.train_dataloader()._sampler.num_replicas, data.train_sampler.batch_size) == (2, 1)


def test_what_will_not_do_is_refused_after_all() -> None:
    """`prepare` may have known neither the trainer nor the encoder."""
    with trained(make_trainer(precision="bf16-true")) as data:
        data.prepare("fit")
        with pytest.raises(DynaclrError, match="precision is 'bf16-true'"):
            data.setup("fit")
    for prepared in (True, False):
        with trained(make_trainer()) as data:
            data.trainer.strategy.connect(encoder(channels=7))
            if prepared:
                data.prepare("fit")
            with pytest.raises(DynaclrError, match="set in_channels=2"):
                data.setup("fit")


def test_a_size_that_a_trainer_tries_is_at_most_all_anchors(caplog: pytest.LogCaptureFixture) -> None:
    """Lightning doubles it once too often; all anchors are a batch like any other."""
    with trained(make_trainer()) as data:
        data.setup("fit")
        assert data.train_index is not None
        most = len(data.train_index.valid_anchors)
        for size in (most - 1, most, most + 1):
            data.batch_size = size
            loader = data.train_dataloader()
            assert loader.batch_sampler.batch_size == data.batch_size == min(size, most)
    assert [message for message in caplog.messages if "batch_size" in message] == [
        f"batch_size={most + 1} is more than the {most} anchors, and becomes that"
    ]


@pytest.mark.parametrize("middle", [False, True])
def test_a_state_that_was_left_behind_is_taken_once(middle: bool) -> None:
    """In the middle of an epoch; at its end the loader begins a new one."""
    trainer = make_trainer()
    assert state_left_behind(trainer) is None
    trainer.fit_loop._combined_loader_states_to_load = [{"batches": 2}]
    trainer.fit_loop.epoch_progress.current.ready = int(middle)
    trainer.fit_loop.restarting = True
    assert state_left_behind(trainer) == ({"batches": 2} if middle else None)
    assert state_left_behind(trainer) is None


@pytest.mark.parametrize(("rank", "told"), [(0, ["seed was 3 and is 0"]), (1, [])])
def test_one_rank_says_what_a_checkpoint_was_written_with(
    rank: int, told: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Eight processes need not say the same eight times."""
    with trained(make_trainer(), seed=3) as data:
        data.setup("fit")
        written = data.state_dict()
    with trained(make_trainer(devices=2, strategy="ddp", use_distributed_sampler=False)) as data:
        environment = data.trainer.strategy.cluster_environment  # type: ignore[attr-defined]
        environment.set_global_rank(rank)
        try:
            data.setup("fit")
            data.load_state_dict(written)
        finally:
            environment.set_global_rank(0)  # Lightning keeps it process-wide
    assert [message.rpartition(": ")[2] for message in caplog.messages if "The checkpoint was" in message] == told


def test_on_other_ranks_the_same_place_is_another_number_of_batches() -> None:
    """The trainer's counts move together, so that what was processed is what lies behind."""
    with trained(make_trainer()) as data:
        data.setup("fit")
        current = data.trainer.fit_loop.epoch_loop.batch_progress.current
        current.ready, current.started, current.processed, current.completed = 7, 6, 5, 4
        correct_progress(data.trainer, 0, behind=9, begun=False)
        assert (current.ready, current.started, current.processed, current.completed) == (11, 10, 9, 8)
        correct_progress(data.trainer, 0, behind=3, begun=False)
        assert (current.ready, current.started, current.processed, current.completed) == (5, 4, 3, 2)
        assert trained_batches(data.trainer) == 3


def test_what_has_begun_is_not_corrected() -> None:
    """Nothing needs to be where the place is the same; else the sentence says who is to blame."""
    with trained(make_trainer()) as data:
        data.setup("fit")
        loop = data.trainer.fit_loop
        loop.epoch_loop.batch_progress.current.processed = 5
        correct_progress(data.trainer, 0, behind=5, begun=True)
        with pytest.raises(DynaclrError, match=f"^{TOO_LATE}$"):
            correct_progress(data.trainer, 0, behind=6, begun=True)
        loop.epoch_progress.current.processed = 1
        with pytest.raises(DynaclrError, match=f"^{TOO_LATE}$"):
            correct_progress(data.trainer, 0, behind=5, begun=True)
        assert loop.epoch_loop.batch_progress.current.processed == 5


@pytest.mark.parametrize(("processed", "epoch", "over"), [(1, 0, True), (1, 1, False), (2, 1, True), (0, 0, False)])
def test_an_epoch_that_is_over_is_completed(processed: int, epoch: int, over: bool) -> None:
    """Where the trainer has processed more epochs than the sampler begins with, the last one is behind it."""
    with trained(make_trainer()) as data:
        data.setup("fit")
        loop = data.trainer.fit_loop
        loop.epoch_progress.current.processed = processed
        batches = loop.epoch_loop.batch_progress.current
        batches.ready = batches.processed = 4
        correct_progress(data.trainer, epoch, behind=4, begun=False)
        assert loop.epoch_progress.current.completed == int(over)
        assert batches.ready == (0 if over else 4)


def test_what_is_drawn_depends_on_the_batch_and_the_rank() -> None:
    """Seed, epoch, number of the batch and rank settle the seed of a batch."""
    with trained(make_trainer(), seed=7) as data:
        data.setup("fit")
        loop = data.trainer.fit_loop
        loop.epoch_progress.current.completed = loop.epoch_progress.current.processed = 3
        loop.epoch_loop.batch_progress.current.ready = 5
        assert data.trainer.current_epoch == 3
        assert data._draw_seed(data.trainer) == keys(7, 3, "augmentation", 5, 0)[0]


@pytest.mark.parametrize("rank", [0, 1, 3])
def test_each_rank_draws_for_itself(rank: int) -> None:
    """The seed of a batch is that of its rank, so that no two processes augment alike."""
    with trained(make_trainer(devices=2, num_nodes=2, strategy="ddp", use_distributed_sampler=False)) as data:
        data.setup("fit")
        environment = data.trainer.strategy.cluster_environment  # type: ignore[attr-defined]
        environment.set_global_rank(rank)
        try:
            drawn = data._draw_seed(data.trainer)
        finally:
            environment.set_global_rank(0)  # Lightning keeps it process-wide
    assert drawn == keys(0, 0, "augmentation", 0, rank)[0]


def test_random_transforms_run_while_the_trainer_trains() -> None:
    """Validation and a data module without a trainer see batches that are cropped, and nothing more."""
    with trained(make_trainer(), channel_dropout_prob=1.0) as data:
        data.setup("fit")
        batch = data.train_dataloader().dataset.__getitems__([0, 1])
        data.trainer.training = True
        dropped = data.on_after_batch_transfer(batch, 0)
        assert not dropped["anchor"][:, 1].any()
        data.trainer.validating = True
        kept = data.on_after_batch_transfer(batch, 0)
        assert torch.equal(kept["anchor"], batch["anchor"][..., 2:-2, 2:-2])
        assert kept["anchor"][:, 1].any()


def test_noise_is_that_of_the_batch_and_leaves_the_global_generator_alone() -> None:
    """The same batch twice has the same noise, the next one another; anchor and positive each have their own."""
    noise = RandGaussianNoised(["ch_0", "ch_1"], prob=1.0, std=1.0, sample_std=False)
    with trained(make_trainer(), augmentations=[noise], channel_dropout_prob=0.0) as data:
        data.setup("fit")
        batch = data.train_dataloader().dataset.__getitems__([0, 1])
        data.trainer.training = True
        before = torch.get_rng_state()
        first, again = (data.on_after_batch_transfer(dict(batch), 0) for _ in range(2))
        data.trainer.fit_loop.epoch_loop.batch_progress.current.ready = 1
        other = data.on_after_batch_transfer(dict(batch), 0)
        assert torch.equal(before, torch.get_rng_state())
        plain = {name: batch[name][..., 2:-2, 2:-2] for name in ("anchor", "positive")}
        for name, image in plain.items():
            assert torch.equal(first[name], again[name])
            assert not torch.equal(first[name], other[name])
            assert not torch.equal(first[name], image)
        assert not torch.isclose(first["anchor"] - plain["anchor"], first["positive"] - plain["positive"]).all()


def test_the_training_loader_asks_the_trainer_that_there_is() -> None:
    """How far it is, and to correct what it believes; without a trainer, nobody."""
    with trained(make_trainer()) as data:
        data.setup("fit")
        loader = data.train_dataloader()
        assert loader._trained is not None
        assert loader._on_resume is not None
        current = data.trainer.fit_loop.epoch_loop.batch_progress.current
        current.processed = 4
        assert loader._trained() == 4
        loader._on_resume(6, False)
        assert loader._trained() == 6
        data.trainer = None
        alone = data.train_dataloader()
        assert alone._trained is alone._on_resume is alone._left_behind is None


def test_one_training_loader_reads_ahead_at_a_time() -> None:
    """A new one ends the old one, and so does the end of the run."""
    with trained(make_trainer(), num_workers=2) as data:
        data.setup("fit")
        first = data.train_dataloader()
        assert first.num_workers == 2
        begun = iter(first)
        next(begun)
        assert first._batches is not None
        second = data.train_dataloader()
        assert first._batches is None
        begun = iter(second)
        next(begun)
        data.teardown("fit")
        assert second._batches is None


def test_each_loader_reads_what_its_stage_is_for() -> None:
    """Anchors with positives to train and validate on, dealt out; single observations, in order, to predict."""
    with trained(make_trainer(), num_workers=3, cache_pool_bytes=7, seed=5, tau_range=(0.5, 1.5)) as data:
        data.setup("fit")
        data.setup("predict")
        train, val, predict = data.train_dataloader(), data.val_dataloader(), data.predict_dataloader()
        assert not isinstance(val, list)
        assert [loader.dataset.fit for loader in (train, val, predict)] == [True, True, False]
        assert [loader.dataset.index for loader in (train, val, predict)] == [
            data.train_index,
            data.val_index,
            data.predict_index,
        ]
        assert [loader.num_workers for loader in (train, val, predict)] == [3, 3, 3]
        assert data.train_index is not None
        assert data.train_index.tau_range_hours == (0.5, 1.5)
        assert [len(rows) for rows in predict.batch_sampler][:-1] == [2] * (len(predict.batch_sampler) - 1)
        assert [row for rows in predict.batch_sampler for row in rows] == list(range(len(predict.dataset)))
        dealt = list(val.batch_sampler)
        assert dealt[0][:2] == [0, len(dealt)]
