"""The module trains with each loss it takes, logs what it says, and stops where training has stopped to make sense."""

from __future__ import annotations

import logging
import math
import tempfile
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from pytorch_metric_learning.losses import NTXentLoss
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from dynaclr.encoder import ContrastiveEncoder
from dynaclr.engine import ContrastiveModule, pair_statistics
from dynaclr.errors import DynaclrError
from dynaclr.loss import NTXentHCL
from dynaclr.sample_grid import middle_slices, sample_grid
from dynaclr.schedules import rate_factor, warmup_cosine
from dynaclr.weights import check_checkpoint, load_weights

SIZE = 8


class Linear(nn.Module):
    """The smallest encoder: one matrix for features, one for projections."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Linear(2 * SIZE * SIZE, 6)
        self.projection = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and projections."""
        features = self.features(x.flatten(1))
        return features, self.projection(features)


class Batches(Dataset[dict[str, Any]]):
    """Ready-made batches of crops; the positive of a crop is the crop with a little noise."""

    def __init__(self, sizes: tuple[int, ...] = (4, 4, 4), views: tuple[str, ...] = ("anchor", "positive")) -> None:
        self.sizes = sizes
        self.views = views

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, number: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(number)
        size = self.sizes[number]
        crop = torch.randn(size, 2, 1, SIZE, SIZE, generator=generator)
        batch = {view: crop + 0.1 * torch.randn(crop.shape, generator=generator) for view in self.views}
        if "negative" in batch:
            batch["negative"] = batch["negative"].flip(0)
        return {**batch, "lineage": torch.arange(size) // 2, "index": [{"track_id": row} for row in range(size)]}


def loader(*sizes: int, views: tuple[str, ...] = ("anchor", "positive")) -> DataLoader[dict[str, Any]]:
    """Return a loader of batches of these sizes, three of four by default."""
    return DataLoader(Batches(sizes or (4, 4, 4), views), batch_size=None)


def module(loss: nn.Module | None = None, **options: Any) -> ContrastiveModule:
    """Return a module with the smallest encoder, the same weights every time."""
    torch.manual_seed(0)
    options = {"example_input_array_shape": None, **options}
    return ContrastiveModule(Linear(), loss or NTXentHCL(), **options)


def trainer(folder: str | Path, **options: Any) -> Trainer:
    """Return a trainer of one epoch that says and keeps nothing."""
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    return Trainer(accelerator="cpu", default_root_dir=folder, **{"max_epochs": 1, "logger": False, **quiet, **options})


@pytest.fixture(autouse=True)
def _no_foreign_warnings() -> Iterator[None]:
    """Lightning warns about loaders without workers, runs without validation and, in 2.6 with torch 2.13, itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
        warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
        warnings.filterwarnings("ignore", message=".*have no `val_dataloader`.*")
        yield


THREE = ("anchor", "positive", "negative")
LOSSES = {
    "NTXentLoss": (NTXentLoss(0.1), ("anchor", "positive")),
    "NTXentHCL": (NTXentHCL(0.1, 0.5), ("anchor", "positive")),
    "NTXentHCL masked": (NTXentHCL(0.1, 0.5, mask_same_lineage=True), ("anchor", "positive")),
    "NTXentHCL debiased": (NTXentHCL(0.1, 0.5, tau_plus=0.1), ("anchor", "positive")),
    "TripletMarginLoss": (nn.TripletMarginLoss(margin=20), THREE),
    "CosineEmbeddingLoss": (nn.CosineEmbeddingLoss(), THREE),
}


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_trains(name: str) -> None:
    """The loss of the training batches falls, and every parameter moves."""
    loss, views = LOSSES[name]
    model = module(loss, lr=1e-2)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with tempfile.TemporaryDirectory() as folder:
        first = trainer(folder, max_epochs=1)
        first.fit(model, loader(views=views), loader(4, views=views))
        start = float(first.callback_metrics["loss/val"])
        more = trainer(folder, max_epochs=6)
        more.fit(model, loader(views=views), loader(4, views=views))
    assert float(more.callback_metrics["loss/val"]) < start
    assert all(
        not torch.equal(value, before[key]) for key, value in model.encoder.state_dict(prefix="encoder.").items()
    )


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_gradients_can_be_clipped_in_any_precision(precision: Any, clip: float | None) -> None:
    """Lightning refuses to clip for a fused step under mixed precision, so only what is not clipped is fused."""
    model = module()
    with tempfile.TemporaryDirectory() as folder:
        run = trainer(folder, precision=precision, gradient_clip_val=clip)
        run.fit(model, loader())
    assert run.optimizers[0].defaults["fused"] is (clip is None)


def test_labels_pair_each_anchor_with_its_positive() -> None:
    """The loss is that of pytorch-metric-learning on the 2B projections, row i with row i + B."""
    model = module(NTXentLoss(0.1))
    batch = Batches()[0]
    with tempfile.TemporaryDirectory() as folder:
        runner = trainer(folder)
        runner.validate(model, loader(4), verbose=False)
    projections = torch.cat([model(batch[view])[1] for view in ("anchor", "positive")])
    expected = NTXentLoss(0.1)(projections, torch.arange(4).repeat(2))
    torch.testing.assert_close(runner.callback_metrics["loss/val"], expected.detach())


@settings(max_examples=10)
@given(lineage=st.lists(st.integers(0, 2), min_size=2, max_size=6), seed=st.integers(0, 99))
@example(lineage=[0, 0, 1], seed=0)  # neighbours, so that each code twice in a row would mask others
def test_relatives_are_masked_by_the_codes_of_the_batch(lineage: list[int], seed: int) -> None:
    """Anchor i and positive i are of lineage i, and have the rows of all other lineages for negatives."""
    size, temperature, beta = len(lineage), 0.1, 0.5
    model = module(NTXentHCL(temperature, beta, mask_same_lineage=True))
    images = torch.randn(2, size, 2, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    batch = {"anchor": images[0], "positive": images[1], "lineage": torch.tensor(lineage)}
    with tempfile.TemporaryDirectory() as folder:
        runner = trainer(folder)
        runner.validate(model, DataLoader([batch], batch_size=None), verbose=False)
    rows = nn.functional.normalize(model(images.flatten(0, 1))[1].detach().double()).numpy()
    losses = []
    for i in range(2 * size):
        negatives = [float(rows[i] @ rows[j]) for j in range(2 * size) if lineage[j % size] != lineage[i % size]]
        mean = sum(math.exp(beta * c) for c in negatives) / max(len(negatives), 1)
        others = sum(math.exp(beta * c) / mean * math.exp(c / temperature) for c in negatives)
        losses.append(math.log1p(others / math.exp(rows[i] @ rows[(i + size) % (2 * size)] / temperature)))
    assert float(runner.callback_metrics["loss/val"]) == pytest.approx(sum(losses) / len(losses), rel=1e-4, abs=1e-6)


def test_the_loss_of_an_epoch_is_that_of_its_samples() -> None:
    """A batch counts as much as it has anchors, so that a small one at the end moves the mean little."""
    model, sizes = module(NTXentHCL(0.1)), (2, 6, 3)
    losses = []
    for number, size in enumerate(sizes):
        batch = Batches(sizes)[number]
        projections = torch.cat([model(batch[view])[1] for view in ("anchor", "positive")])
        losses.append(float(NTXentHCL(0.1)(projections.detach(), torch.arange(size).repeat(2))))
    with tempfile.TemporaryDirectory() as folder:
        runner = trainer(folder)
        runner.validate(model, loader(*sizes), verbose=False)
    assert float(runner.callback_metrics["loss/val"]) == pytest.approx(np.average(losses, weights=sizes), rel=1e-5)


def test_negatives_of_the_batch_are_compared_with_their_anchors() -> None:
    """Triplets are anchor, positive, negative; cosine embedding wants positives alike and negatives unlike."""
    batch = Batches(views=THREE)[0]
    model = module()
    anchor, positive, negative = (model(batch[view])[1].detach() for view in THREE)
    like, unlike = (nn.functional.cosine_similarity(anchor, other) for other in (positive, negative))
    distance = nn.functional.pairwise_distance(anchor, positive) - nn.functional.pairwise_distance(anchor, negative)
    expected = {
        nn.TripletMarginLoss(margin=9): (distance + 9).clamp(min=0).mean(),
        nn.CosineEmbeddingLoss(): torch.cat((1 - like, unlike.clamp(min=0))).mean(),
    }
    for loss, value in expected.items():
        with tempfile.TemporaryDirectory() as folder:
            runner = trainer(folder)
            runner.validate(module(loss), loader(4, views=THREE), verbose=False)
        torch.testing.assert_close(runner.callback_metrics["loss/val"], value)


@pytest.mark.parametrize("loss", [nn.TripletMarginLoss(), nn.CosineEmbeddingLoss()])
def test_a_batch_without_negatives_is_named(loss: nn.Module) -> None:
    """A loss that needs negatives says which key the batch lacks, and which losses need none."""
    with (
        tempfile.TemporaryDirectory() as folder,
        pytest.raises(DynaclrError, match=f"loss_function={type(loss).__name__} needs the key 'negative' .*NTXentHCL"),
    ):
        trainer(folder).fit(module(loss), loader())


def test_batches_of_other_models_are_refused_in_words() -> None:
    """A tuple of images and labels, say, has no names for them."""
    batches = DataLoader([(torch.zeros(2, 1, 1, 8, 8), torch.zeros(2))], batch_size=None)
    for run in ("fit", "validate", "predict"):
        with (
            tempfile.TemporaryDirectory() as folder,
            pytest.raises(DynaclrError, match="the batch is a list, but needs to be a dictionary with images"),
        ):
            getattr(trainer(folder), run)(module(NTXentHCL()), batches)


def test_masking_without_lineage_is_named() -> None:
    """`mask_same_lineage` without lineages in the batch is an error, not an unmasked loss."""
    batches = [{key: value for key, value in Batches()[0].items() if key != "lineage"}]
    with (
        tempfile.TemporaryDirectory() as folder,
        pytest.raises(DynaclrError, match="mask_same_lineage=True needs the key 'lineage'"),
    ):
        trainer(folder).fit(module(NTXentHCL(mask_same_lineage=True)), DataLoader(batches, batch_size=None))


EXPECTED = {
    "metrics/cosine_similarity_positive",
    "metrics/cosine_similarity_negative",
    "metrics/euclidean_distance_positive",
    "metrics/euclidean_distance_negative",
    "false_negatives",
    "hcl/clamped_share",
}


def test_everything_that_is_promised_is_logged() -> None:
    """Scalars and pictures of a run are in TensorBoard's file, under the documented names."""
    with tempfile.TemporaryDirectory() as folder:
        logger = TensorBoardLogger(folder, name="", version="run")
        trainer(folder, logger=logger, log_every_n_steps=1).fit(module(NTXentHCL(0.1, 0.5)), loader(), loader(4, 3))
        log = EventAccumulator(str(Path(folder) / "run"))
        log.Reload()
        tags = log.Tags()
        scalars = {f"{name}/{stage}" for name in EXPECTED for stage in ("train", "val")}
        scalars |= {"loss/train_step", "loss/train", "loss/val", "hcl/published_beta"}
        assert scalars <= set(tags["scalars"])
        assert set(tags["images"]) == {"samples/train", "samples/val"}
        assert log.Scalars("hcl/published_beta")[0].value == pytest.approx(0.05)
        # Four cells in two lineages of two: of 12 pairs of different cells, 4 are relatives.
        assert log.Scalars("false_negatives/train")[0].value == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({"log_batches_per_epoch": 2, "log_samples_per_batch": 3}, 6),
        ({"log_batches_per_epoch": 9, "log_samples_per_batch": 9}, 12),
        ({"log_batches_per_epoch": 0}, 0),
        ({"log_samples_per_batch": 0}, 0),
    ],
)
def test_pictures_show_as_many_samples_as_asked_for(options: dict[str, int], rows: int) -> None:
    """So many batches of an epoch and so many samples of each are in the grid, or there is none."""
    with tempfile.TemporaryDirectory() as folder:
        logger = TensorBoardLogger(folder, name="", version="run")
        trainer(folder, logger=logger, max_epochs=2).fit(module(**options), loader())
        log = EventAccumulator(str(Path(folder) / "run"), size_guidance={"images": 0})
        log.Reload()
        pictures = log.Images("samples/train") if rows else []
        assert log.Tags()["images"] == (["samples/train"] if rows else [])
        assert [(picture.height, picture.width) for picture in pictures] == [
            (rows * (SIZE + 2) - 2, 4 * (SIZE + 2) - 2)
        ] * (2 if rows else 0)


@given(size=st.integers(1, 6), lineages=st.lists(st.integers(0, 2), min_size=6, max_size=6), seed=st.integers(0, 99))
def test_pair_statistics_are_those_of_a_loop_over_pairs(size: int, lineages: list[int], seed: int) -> None:
    """Means over positives, negatives and relatives equal those of two nested loops in float64."""
    rng = np.random.default_rng(seed)
    anchor, positive = rng.normal(size=(2, size, 3))
    values = pair_statistics(
        {"anchor": torch.from_numpy(anchor), "positive": torch.from_numpy(positive)}, torch.tensor(lineages[:size])
    )
    cosine: dict[bool, list[float]] = {True: [], False: []}
    distance: dict[bool, list[float]] = {True: [], False: []}
    relatives = []
    for i in range(size):
        for j in range(size):
            relatives += [float(lineages[i] == lineages[j])] if i != j else []
            if i == j or lineages[i] != lineages[j]:
                a, p = anchor[i], positive[j]
                cosine[i == j].append(float(a @ p / np.sqrt((a @ a) * (p @ p))))
                distance[i == j].append(math.dist(a, p))
    expected = {
        "metrics/cosine_similarity_positive": np.mean(cosine[True]),
        "metrics/euclidean_distance_positive": np.mean(distance[True]),
        "metrics/cosine_similarity_negative": np.mean(cosine[False] or [0]),
        "metrics/euclidean_distance_negative": np.mean(distance[False] or [0]),
        "false_negatives": np.mean(relatives or [0]),
    }
    assert {name: float(value) for name, value in values.items()} == pytest.approx(expected, abs=1e-9)


def test_a_batch_of_one_does_not_count_as_negatives() -> None:
    """The epoch's mean over negatives is that of the batches that have any."""
    with tempfile.TemporaryDirectory() as folder:
        means = []
        for sizes in ((4,), (4, 1)):
            runner = trainer(folder)
            runner.validate(module(NTXentLoss()), loader(*sizes), verbose=False)
            means.append(float(runner.callback_metrics["metrics/cosine_similarity_negative/val"]))
    assert means[0] == pytest.approx(means[1])


@pytest.mark.parametrize("views", [("anchor", "positive"), THREE])
def test_batches_of_one_log_no_nan(views: tuple[str, ...]) -> None:
    """Where no batch has a negative, what is logged about negatives is 0; those a batch brings along count."""
    loss = NTXentLoss() if len(views) == 2 else nn.TripletMarginLoss()
    with tempfile.TemporaryDirectory() as folder:
        runner = trainer(folder)
        runner.fit(module(loss), loader(1, 1, views=views), loader(1, 1, views=views))
    logged = {name: float(value) for name, value in runner.callback_metrics.items()}
    assert all(map(math.isfinite, logged.values())), logged
    for stage in ("train", "val"):
        about_negatives = [
            logged[f"metrics/{name}_negative/{stage}"] for name in ("cosine_similarity", "euclidean_distance")
        ]
        assert any(about_negatives) == ("negative" in views)
        assert logged[f"false_negatives/{stage}"] == 0


def test_a_loss_that_is_not_finite_stops_the_run() -> None:
    """The error names the step, the epoch and the learning rate."""
    batches = [Batches()[number] for number in range(3)]
    batches[1]["anchor"] = batches[1]["anchor"] * torch.nan
    with tempfile.TemporaryDirectory() as folder:
        runner = trainer(folder)
        with pytest.raises(DynaclrError, match=r"loss/train was not finite at step 1 .*epoch 0.*lr=0.001"):
            runner.fit(module(), DataLoader(batches, batch_size=None))
    assert runner.global_step == 1


def test_a_validation_loss_that_is_not_finite_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    """Once a validation; the best checkpoint would be chosen by it."""
    batches = [Batches()[number] for number in range(3)]
    batches[1]["anchor"] = batches[1]["anchor"] * torch.nan
    with tempfile.TemporaryDirectory() as folder:
        for data in (loader(3), DataLoader(batches, batch_size=None)):
            trainer(folder).validate(module(), data, verbose=False)
    assert [message for message in caplog.messages if message.startswith("loss/val")] == [
        "loss/val is nan: look for images of the experiments held out that are not finite after normalization"
    ]


def test_no_epoch_ends_with_a_loss_that_is_not_finite() -> None:
    """Where steps are not looked at one by one, as on a GPU, the end of the epoch names the first bad one."""
    model = module()
    for loss in (1.0, math.inf, math.nan):
        model._remember(torch.tensor(loss), step=3 if loss == 1.0 else 4)
    with tempfile.TemporaryDirectory() as folder:
        trainer(folder).validate(model, loader(4), verbose=False)
        with pytest.raises(DynaclrError, match=r"not finite at step 4 "):
            model.on_train_epoch_end()


@given(total=st.integers(1, 500), step=st.integers(0, 600))
def test_the_rate_rises_then_falls(total: int, step: int) -> None:
    """The factor is in [0, 1], rises to 1 during the warm-up, falls afterwards, and is 0 from the end on."""
    factor = warmup_cosine(step, total)
    following = warmup_cosine(step + 1, total)
    warmup = max(1, round(0.1 * total))
    assert 0 <= factor <= 1
    assert following > factor if step < warmup else following <= factor
    assert warmup_cosine(warmup, total) == pytest.approx(1.0) or total == 1
    assert step < total or total == 1 or factor == pytest.approx(0.0)


@pytest.mark.parametrize("options", [{"max_epochs": 4}, {"max_epochs": -1, "max_steps": 12}])
def test_warmup_cosine_counts_the_steps_of_the_run(options: dict[str, int]) -> None:
    """With epochs or steps given, the last step of twelve has the rate of the eleventh of twelve."""
    model = module(schedule="WarmupCosine", lr=0.5)
    with tempfile.TemporaryDirectory() as folder:
        runner = trainer(folder, **options)
        runner.fit(model, loader())
    assert runner.global_step == 12
    assert runner.lr_scheduler_configs[0].scheduler.get_last_lr() == [pytest.approx(0.5 * warmup_cosine(12, 12))]


def test_warmup_cosine_needs_an_end() -> None:
    """A run without an end has no schedule; the sentence says what to set."""
    with tempfile.TemporaryDirectory() as folder, pytest.raises(DynaclrError, match="set max_epochs or max_steps"):
        trainer(folder, max_epochs=-1).fit(module(schedule="WarmupCosine"), loader())


def test_the_length_of_the_run_is_asked_for_once() -> None:
    """After the first step; if it changes on the way, the rate does not jump."""
    asked = iter([20, 5, 5, 5])

    class Asked:
        @property
        def estimated_stepping_batches(self) -> int:
            return next(asked)

    factor = rate_factor(Asked())  # type: ignore[arg-type]  # all that is read
    assert [factor(step) for step in (0, 0, 1, 2, 11)] == [warmup_cosine(step, 20) for step in (0, 0, 1, 2, 11)]
    assert len(list(asked)) == 3


def test_a_longer_run_resumes_with_its_own_schedule() -> None:
    """A checkpoint is read without unpickling, and does not bring the shorter run's end along."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "short.ckpt"
        short = trainer(folder, max_epochs=1)
        short.fit(module(schedule="WarmupCosine"), loader())
        short.save_checkpoint(path)
        longer = trainer(folder, max_epochs=4)
        longer.fit(module(schedule="WarmupCosine"), loader(), ckpt_path=path, weights_only=True)
    assert longer.global_step == 12
    assert longer.lr_scheduler_configs[0].scheduler.get_last_lr() == [pytest.approx(1e-3 * warmup_cosine(12, 12))]


def test_predictions_say_whom_they_belong_to() -> None:
    """`predict` returns features, projections and the batch's index."""
    model = module()
    with tempfile.TemporaryDirectory() as folder:
        (first, second) = trainer(folder).predict(model, loader(4, 3, views=("anchor",)))
    assert set(first) == {"features", "projections", "index"}
    assert first["features"].shape == (4, 6)
    assert second["projections"].shape == (3, 4)
    assert second["index"] == [{"track_id": 0}, {"track_id": 1}, {"track_id": 2}]


def test_weights_come_from_a_checkpoint() -> None:
    """A module begins with the weights of a Lightning checkpoint, or of a plain state dict; another loss may follow."""
    trained = module(NTXentLoss())
    with tempfile.TemporaryDirectory() as folder:
        runner = trainer(folder)
        runner.fit(trained, loader())
        runner.save_checkpoint(Path(folder) / "run.ckpt")
        torch.save(trained.state_dict(), Path(folder) / "plain.pt")
        for name in ("run.ckpt", "plain.pt"):
            fresh = module(NTXentHCL(), ckpt_path=Path(folder) / name)
            for key, value in trained.encoder.state_dict().items():
                assert torch.equal(fresh.encoder.state_dict()[key], value)


class _Explodes:
    """Unpickling this would run code."""

    def __reduce__(self) -> Any:
        return (exec, ("raise SystemExit('code in a checkpoint ran')",))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "does not exist"),
        (b"no checkpoint", "is not a checkpoint that can be read safely"),
        ({"state_dict": {"encoder.features.weight": _Explodes()}}, "is not a checkpoint that can be read safely"),
        ({"state_dict": {}}, "holds no weights"),
        ({"epoch": 3}, "holds no weights"),
        ([1, 2], "holds no weights"),
        ({"encoder.features.weight": torch.zeros(6, 128)}, "encoder.features.bias is missing; encoder.projection"),
        ({"other": torch.zeros(1)}, "does not fit the model: .* is missing, and 2 more"),
        (b"hello\n", "is not a checkpoint that can be read safely"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_named(content: object, sentence: str) -> None:
    """Missing, damaged, dangerous and foreign files each have a sentence with the path."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.ckpt"
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            torch.save(content, path)
        with pytest.raises(DynaclrError, match=f"ckpt_path='.*weights.ckpt' .*{sentence}"):
            module(ckpt_path=path)


@given(st.binary(max_size=40), st.sampled_from([b"", b"\x80\x02", b"PK\x03\x04"]))
@example(b"hello\n", b"")  # a pickle that fetches what was never stored
def test_whatever_a_file_holds_it_is_a_sentence(content: bytes, beginning: bytes) -> None:
    """Bytes that mean something to a pickle raise errors of every type, and none of them reaches the user."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.ckpt"
        path.write_bytes(beginning + content)
        for read in (partial(load_weights, module()), check_checkpoint):
            with pytest.raises(DynaclrError, match=r"ckpt_path='.*weights.ckpt' (is not a checkpoint|holds no)"):
                read(path)


def test_a_folder_is_no_checkpoint() -> None:
    """A folder is called one, but for those in which a strategy keeps the parts of a checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        for read in (partial(load_weights, module()), check_checkpoint):
            with pytest.raises(DynaclrError, match=r"ckpt_path='.*' is a folder, but needs to be a file"):
                read(folder)
        (Path(folder) / "meta.pt").touch()
        check_checkpoint(folder)


@pytest.mark.parametrize(
    ("content", "resumes", "sentence"),
    [
        ([1, 2], False, "holds no checkpoint of a Lightning run: .* give it to the model's own ckpt_path instead"),
        ({"state_dict": {}}, False, "holds no checkpoint of a Lightning run: it needs .*'pytorch-lightning_version'"),
        ({"pytorch-lightning_version": "2.6.0", "state_dict": [1]}, False, "holds no checkpoint of a Lightning run"),
        ({"pytorch-lightning_version": 2, "state_dict": {}}, False, "holds no checkpoint of a Lightning run"),
        ({"pytorch-lightning_version": "2.6.0", "state_dict": {}}, True, "weights only, but to resume .*optimizer_sta"),
    ],
)
def test_what_no_run_wrote_cannot_be_resumed(content: object, resumes: bool, sentence: str) -> None:
    """What Lightning would stumble over has a sentence before; what it saved passes."""
    model = module()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.ckpt"
        torch.save(content, path)
        with pytest.raises(DynaclrError, match=f"ckpt_path='.*weights.ckpt' .*{sentence}"):
            check_checkpoint(path, resumes=resumes)
        runner = trainer(folder)
        runner.fit(model, loader())
        for weights_only in (False, True):
            runner.save_checkpoint(path, weights_only=weights_only)
            check_checkpoint(path, resumes=not weights_only)


def test_shapes_and_unknown_weights_are_named() -> None:
    """What differs is named with both shapes, and nothing is loaded."""
    model = module()
    before = model.state_dict()["encoder.features.bias"].clone()
    state = {**model.state_dict(), "encoder.features.bias": torch.zeros(7), "extra": torch.zeros(1)}
    with tempfile.TemporaryDirectory() as folder:
        torch.save(state, Path(folder) / "w.pt")
        with pytest.raises(DynaclrError, match=r"extra is unknown .*features.bias has the shape \(7,\).* needs \(6,\)"):
            load_weights(model, Path(folder) / "w.pt")
    assert torch.equal(model.state_dict()["encoder.features.bias"], before)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"loss": nn.MSELoss()}, r"loss_function=MSELoss\(\) needs to be NTXentHCL"),
        ({"lr": 0}, "lr=0 needs a positive, finite number"),
        ({"lr": math.nan}, "lr=nan needs"),
        ({"lr": "1e-3"}, "lr='1e-3' needs a positive, finite number"),
        ({"schedule": "Cosine"}, "schedule='Cosine' needs one of .*did you mean 'WarmupCosine'"),
        ({"log_batches_per_epoch": -1}, "log_batches_per_epoch=-1 needs a whole number"),
        ({"log_samples_per_batch": 0.5}, "log_samples_per_batch=0.5 needs a whole number"),
        ({"example_input_array_shape": (1, 2, 3)}, r"example_input_array_shape=\(1, 2, 3\) needs five positive"),
    ],
)
def test_impossible_parameters_are_named(options: dict[str, Any], sentence: str) -> None:
    """Each sentence holds the parameter, what it got and what it needs."""
    with pytest.raises(DynaclrError, match=sentence):
        module(**options)


@pytest.mark.parametrize("frozen", [False, True])
def test_an_encoder_without_a_parameter_to_train_is_named(frozen: bool) -> None:
    """It has none, or all of them are frozen."""
    made = module().requires_grad_(False)
    if not frozen:
        made.encoder = nn.Identity()
    name = "Linear" if frozen else "Identity"
    with pytest.raises(DynaclrError, match=f"encoder={name} has no parameter to train, but needs at least one"):
        made.configure_optimizers()


def test_the_summary_knows_the_encoders_channels_and_slices() -> None:
    """The default example has 15 slices: an encoder of one slice is summarised with one."""
    encoder = ContrastiveEncoder(
        "convnext_zepto", 3, in_stack_depth=1, stem_kernel_size=(1, 4, 4), stem_stride=(1, 4, 4), embedding_dim=256
    )
    model = ContrastiveModule(encoder, NTXentLoss())
    assert model.example_input_array is not None
    assert model.example_input_array.shape == (1, 3, 1, 256, 256)
    with tempfile.TemporaryDirectory() as folder:
        batches = DataLoader([{view: torch.randn(2, 3, 1, 8, 8) for view in ("anchor", "positive")}], batch_size=None)
        trainer(folder, enable_model_summary=True, fast_dev_run=True).fit(model, batches)


def test_an_encoder_of_ones_own_needs_no_example() -> None:
    """The default shape is for ours; one that is chosen is taken."""
    own = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    assert ContrastiveModule(own, NTXentLoss()).example_input_array is None
    chosen = ContrastiveModule(own, NTXentLoss(), example_input_array_shape=(1, 1, 1, 8, 8)).example_input_array
    assert chosen is not None
    assert chosen.shape == (1, 1, 1, 8, 8)


def test_beta_is_said_in_the_published_convention(caplog: pytest.LogCaptureFixture) -> None:
    """Training with NTXentHCL logs what beta is in the paper's formula."""
    with caplog.at_level(logging.INFO, logger="dynaclr"), tempfile.TemporaryDirectory() as folder:
        trainer(folder).fit(module(NTXentHCL(0.07, 0.5)), loader())
    assert "beta=0.5 on the cosine is beta=0.035 as published" in caplog.text


@given(
    shape=st.tuples(*(st.integers(1, 3) for _ in range(3)), st.integers(1, 5), st.integers(1, 5)),
    seed=st.integers(0, 99),
    bad=st.sampled_from([None, np.nan, np.inf]),
)
def test_each_tile_shows_its_own_plane(shape: tuple[int, ...], seed: int, bad: float | None) -> None:
    """A tile is brighter where its plane is, its brightest and darkest pixels span the greys of both views."""
    samples, views, channels, height, width = shape
    planes = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    if bad is not None:
        planes[0, 0, 0, 0, 0] = bad
    grid = sample_grid(planes)
    assert grid.dtype == np.uint8
    assert grid.shape == (samples * (height + 2) - 2, views * channels * (width + 2) - 2)
    for sample, view, channel in np.ndindex(samples, views, channels):
        top, left = sample * (height + 2), (view * channels + channel) * (width + 2)
        tile = grid[top : top + height, left : left + width]
        plane = planes[sample, view, channel]
        finite = np.isfinite(plane)
        order = np.argsort(plane[finite])
        assert (np.diff(tile[finite][order].astype(int)) >= 0).all()
        assert (tile[~finite] == 0).all()


def test_a_plane_without_contrast_is_black() -> None:
    """Constant and empty channels divide nothing by zero."""
    assert not sample_grid(np.full((1, 1, 1, 3, 3), 7, dtype=np.float32)).any()
    assert not sample_grid(np.full((1, 1, 1, 3, 3), np.nan, dtype=np.float32)).any()


def test_pictures_show_the_middle_slice() -> None:
    """Of a stack of five slices, the third is shown, for the first samples only."""
    stack = torch.arange(5.0).view(1, 1, 5, 1, 1).expand(3, 2, 5, 4, 4)
    planes = middle_slices([stack, stack + 10], samples=2)
    assert planes.shape == (2, 2, 2, 4, 4)
    assert (planes[:, 0] == 2).all()
    assert (planes[:, 1] == 12).all()
