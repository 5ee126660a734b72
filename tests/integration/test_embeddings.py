"""Predictions on disk: one row per observation, in order, whole or not at all."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
import zarr
from anndata import AnnData
from lightning.pytorch import LightningModule, Trainer
from runs import make_data, make_model, write_two_experiments
from torch.utils.data import DataLoader, Sampler

from dynaclr.embeddings import EmbeddingWriter, _origin, read_embeddings
from dynaclr.errors import DynaclrError
from dynaclr.experiment import ExperimentRegistry
from dynaclr.index import MultiExperimentIndex
from dynaclr_strategies.ready_made import two_experiments
from dynaclr_strategies.writers import write_registry

pytestmark = [
    # Advice about process workers; ours are threads.
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*persistent_workers=True.*"),
    # Lightning 2.6 with PyTorch 2.13: a deprecated name in Lightning's own code.
    pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec.*:FutureWarning"),
    # Ready-made batches have no indices; the order of arrival stands in.
    pytest.mark.filterwarnings("ignore:Couldn't infer the batch indices.*"),
]


def _trainer(**options: Any) -> Trainer:
    return Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False, **options)


def _predict(
    writer: EmbeddingWriter, data: Any, model: LightningModule | None = None, ckpt_path: Path | None = None
) -> None:
    trainer = _trainer(callbacks=[writer])
    trainer.predict(model or make_model(), data, return_predictions=False, ckpt_path=ckpt_path, weights_only=True)


def _train(model: LightningModule, registry: Path) -> Path:
    """Train a step and return the checkpoint."""
    trainer = _trainer(max_steps=1)
    trainer.fit(model, make_data(registry))
    trainer.save_checkpoint(registry.parent / "last.ckpt")
    return registry.parent / "last.ckpt"


def _observation(track: int, t: int = 0, **changes: Any) -> dict[str, Any]:
    return {"experiment": "exp", "fov_name": "A/1/0", "track_id": track, "t": t, "y": 1.5, **changes}


def _crop(track: int) -> torch.Tensor:
    return torch.full((2, 1, 8, 8), float(track))


def _batches(*groups: Sequence[dict[str, Any]]) -> DataLoader[dict[str, Any]]:
    """Return a loader of batches in which the crop of an observation holds its track's number."""
    batches = [{"anchor": torch.stack([_crop(row["track_id"]) for row in rows]), "index": rows} for rows in groups]
    return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that does not outlive the test."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def test_one_row_per_observation_in_the_order_of_the_index(folder: Path) -> None:
    """Rows, names and columns are those of the index; features are those of each cell's own crop."""
    registry = write_two_experiments(folder)
    _predict(EmbeddingWriter(folder / "new" / "embeddings.zarr"), make_data(registry))
    table = read_embeddings(folder / "new" / "embeddings.zarr")

    tracks = MultiExperimentIndex(ExperimentRegistry.from_yaml(registry), slice(0, 1), (32, 32)).tracks
    identity = ["experiment", "fov_name", "track_id", "t"]
    rows = [tuple(row) for row in tracks[identity].astype(object).to_numpy()]
    assert [tuple(row) for row in table.obs[identity].astype(object).to_numpy()] == rows
    assert list(table.obs_names) == ["_".join(map(str, row)) for row in rows]
    assert table.obs_names.is_unique
    for column in ("y", "x", "hours_post_infection"):
        np.testing.assert_array_equal(table.obs[column], tracks[column])
    for column in ("condition", "well_name", "global_track_id", "lineage_id"):
        assert list(table.obs[column].astype(str)) == list(tracks[column].astype(str))

    data, model = make_data(registry), make_model().eval()
    data.setup("predict")
    with torch.no_grad():
        expected = [model(data.on_after_batch_transfer(batch, 0)["anchor"]) for batch in data.predict_dataloader()]
    np.testing.assert_allclose(table.X, torch.cat([features for features, _ in expected]), rtol=1e-5, atol=1e-6)
    projections = torch.cat([projections for _, projections in expected])
    np.testing.assert_allclose(table.obsm["X_projections"], projections, rtol=1e-5, atol=1e-6)
    assert table.X.dtype == np.float32


def test_what_a_sampler_repeats_is_written_once(folder: Path) -> None:
    """Padding, as distributed samplers make it, adds no rows."""
    first, second = [_observation(3), _observation(1)], [_observation(2), _observation(3), _observation(1)]
    _predict(EmbeddingWriter(folder / "e.zarr"), _batches(first, second))
    table = read_embeddings(folder / "e.zarr")
    assert list(table.obs_names) == ["exp_A/1/0_3_0", "exp_A/1/0_1_0", "exp_A/1/0_2_0"]
    for row, track in enumerate([3, 1, 2]):
        np.testing.assert_allclose(table.X[row], make_model()(_crop(track)[None])[0][0].detach(), rtol=1e-5, atol=1e-6)


class _Backwards(Sampler[int]):
    """An order of reading that is not the order of the index."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __iter__(self) -> Iterator[int]:
        return iter(reversed(range(self.length)))

    def __len__(self) -> int:
        return self.length


def test_rows_stand_in_the_order_of_the_index_however_they_are_read(folder: Path) -> None:
    """What a sampler reads backwards is written forwards, each row with its own features."""
    rows = [_observation(track) for track in (4, 2, 7, 5, 1)]

    def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
        return {"anchor": torch.stack([_crop(row["track_id"]) for row in items]), "index": items}

    data = DataLoader(rows, batch_size=2, sampler=_Backwards(len(rows)), collate_fn=collate)  # type: ignore[arg-type]
    _predict(EmbeddingWriter(folder / "e.zarr"), data)
    table = read_embeddings(folder / "e.zarr")
    assert list(table.obs["track_id"]) == [4, 2, 7, 5, 1]
    for row, track in enumerate([4, 2, 7, 5, 1]):
        np.testing.assert_allclose(table.X[row], make_model()(_crop(track)[None])[0][0].detach(), rtol=1e-5, atol=1e-6)


def test_anybody_can_read_the_store(folder: Path) -> None:
    """It is a plain AnnData store in Zarr format 3: texts are categories, also those that are not ASCII."""
    rows = [_observation(1, condition="Zürich"), _observation(2, condition="感染")]
    _predict(EmbeddingWriter(folder / "e.zarr"), _batches(rows))
    table = anndata.read_zarr(folder / "e.zarr")
    assert list(table.obs["condition"]) == ["Zürich", "感染"]
    assert table.obs["condition"].dtype == "category"
    assert table.obs["track_id"].dtype == np.int64
    assert (folder / "e.zarr" / "zarr.json").is_file()


def test_the_store_says_what_it_is_from(folder: Path) -> None:
    """The version, what the maker of the writer noted, and the checkpoint, also by its content, if one was loaded."""
    registry, model = write_two_experiments(folder), make_model()
    checkpoint = _train(model, registry)

    def origin(model: LightningModule, ckpt_path: Path | None = None, **notes: str) -> dict[str, str]:
        writer = EmbeddingWriter(folder / "e.zarr", overwrite=True, notes=notes)
        _predict(writer, make_data(registry), model, ckpt_path)
        return dict(read_embeddings(folder / "e.zarr").uns["dynaclr"])

    version = {"version": metadata.version("dynaclr")}
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    loaded = {**version, "checkpoint": str(checkpoint.resolve()), "sha256": digest}
    assert origin(make_model(), checkpoint, config="lr: 1") == {**loaded, "config": "lr: 1"}
    assert origin(model) == version  # whose weights may be nowhere else


def test_checkpoints_that_are_no_files_are_named(folder: Path) -> None:
    """The folder of a checkpoint in parts by its whole path, an address as it is."""
    assert _origin(os.path.relpath(folder)) == {"checkpoint": str(folder.resolve())}
    assert _origin("s3://bucket/last.ckpt") == {"checkpoint": "s3://bucket/last.ckpt"}


def test_an_existing_path_is_refused_before_anything_is_computed(folder: Path) -> None:
    """Without overwrite, prediction does not begin; with it, the new rows are there."""
    path = folder / "e.zarr"
    _predict(EmbeddingWriter(path), _batches([_observation(1)]))
    with pytest.raises(DynaclrError, match=r"output='.*e\.zarr' exists: .* overwrite to True"):
        _predict(EmbeddingWriter(path), _batches([_observation(2)]), _Never())
    assert list(read_embeddings(path).obs["track_id"]) == [1]
    _predict(EmbeddingWriter(path, overwrite=True), _batches([_observation(2)]))
    assert list(read_embeddings(path).obs["track_id"]) == [2]
    assert _names(folder) == ["e.zarr"]


@pytest.mark.parametrize("name", ["e.csv", "e.h5ad", "E.H5"])
def test_names_of_other_formats_are_refused(folder: Path, name: str) -> None:
    """Nobody who opens them would find a folder."""
    with pytest.raises(DynaclrError, match=f"output='.*{name}' becomes a Zarr store and needs a name like '[eE].zarr'"):
        _predict(EmbeddingWriter(folder / name), _batches([_observation(1)]), _Never())
    assert _names(folder) == []


def test_overwrite_is_a_switch(folder: Path) -> None:
    """A text such as "no" would count as yes."""
    with pytest.raises(DynaclrError, match="overwrite='no' needs True or False"):
        EmbeddingWriter(folder / "e.zarr", overwrite="no")  # type: ignore[arg-type]


def test_what_was_written_is_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """How many observations, and where."""
    caplog.set_level("INFO", "dynaclr.embeddings")
    _predict(EmbeddingWriter(folder / "e.zarr"), _batches([_observation(1), _observation(2)]))
    assert caplog.messages[-1] == f"2 observations written to {folder / 'e.zarr'}"


@pytest.mark.parametrize("part", ["features", "projections"])
def test_embeddings_that_are_not_finite_are_told(folder: Path, part: str, caplog: pytest.LogCaptureFixture) -> None:
    """How many, and of whom: they are written all the same, and spoil whatever is fitted to all rows."""

    class Overflows(LightningModule):
        def predict_step(self, batch: Any, batch_idx: int) -> Any:  # noqa: ARG002  (Lightning passes it)
            prediction = {name: torch.ones(len(batch["index"]), 3) for name in ("features", "projections")}
            prediction[part][batch["anchor"][:, 0, 0, 0, 0] > 1, -1] = float("inf")
            return {**prediction, "index": batch["index"]}

    _predict(EmbeddingWriter(folder / "e.zarr"), _batches(*[[_observation(track)] for track in (1, 2, 3)]), Overflows())
    assert [message for message in caplog.messages if "finite" in message] == [
        (
            "2 observations of 3, the first of them exp_A/1/0_2_0, have embeddings that are not finite: look for "
            "pixels that are not"
        )
    ]
    assert read_embeddings(folder / "e.zarr").n_obs == 3


class _Never(LightningModule):
    """A model that nobody may call."""

    def predict_step(self, batch: Any, batch_idx: int) -> Any:  # noqa: ARG002  (Lightning passes it)
        """Fail: the writer should have refused first."""
        raise AssertionError("prediction began")


@pytest.mark.parametrize("place", ["notes", "notes/e.zarr", "folder"])
def test_what_is_no_store_is_left_alone(folder: Path, place: str) -> None:
    """A file or a folder of something else is never replaced, whatever overwrite says."""
    (folder / "notes").write_text("precious")
    (folder / "folder").mkdir()
    writer = EmbeddingWriter(folder / place, overwrite=True)
    with pytest.raises(DynaclrError, match=r"is no Zarr store|cannot be written in"):
        _predict(writer, _batches([_observation(1)]), _Never())
    assert (folder / "notes").read_text() == "precious"
    assert _names(folder) == ["folder", "notes"]


def _plate(path: Path) -> None:
    write_registry(two_experiments(), path.parent / "written")
    (path.parent / "written" / "exp_alpha.zarr").rename(path)


def _table_of_others(path: Path) -> None:
    obs = pd.DataFrame({"gene": [1, 2], "t": [1, 2]}, index=pd.Index(["x", "y"], dtype=object))
    group, table = zarr.open_group(path, mode="w", zarr_format=3), AnnData(X=np.ones((2, 2)), obs=obs)
    anndata.io.write_elem(group, "/", table, dataset_kwargs={"shards": None})


def _damaged(path: Path) -> None:
    path.mkdir()
    (path / "zarr.json").write_text("{")


@pytest.mark.parametrize("make", [_plate, _table_of_others, _damaged])
def test_stores_of_something_else_are_left_alone_and_not_read(folder: Path, make: Callable[[Path], None]) -> None:
    """A plate of images is a Zarr store as well: no `overwrite` may cost a scientist the microscopy."""
    path = folder / "e.zarr"
    make(path)
    before = {found: found.read_bytes() for found in path.rglob("*") if found.is_file()}
    with pytest.raises(DynaclrError, match=r"e\.zarr' exists and holds no embeddings: .*'fov_name'.* not overwritten"):
        _predict(EmbeddingWriter(path, overwrite=True), _batches([_observation(1)]), _Never())
    assert {found: found.read_bytes() for found in path.rglob("*") if found.is_file()} == before
    with pytest.raises(DynaclrError, match=r"e\.zarr' holds no embeddings: .*'fov_name'.* missing in obs"):
        read_embeddings(path)


class _Interrupted(LightningModule):
    """A model that is interrupted at its second batch."""

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        """Predict once."""
        if batch_idx > 0:
            raise RuntimeError("power cut")
        size = len(batch["index"])
        return {"features": torch.zeros(size, 2), "projections": torch.zeros(size, 1), "index": batch["index"]}


@pytest.mark.parametrize("earlier", [False, True])
def test_an_interruption_leaves_what_was_there(folder: Path, earlier: bool) -> None:
    """Half of the predictions are no store, and an earlier store stays."""
    path = folder / "e.zarr"
    if earlier:
        _predict(EmbeddingWriter(path), _batches([_observation(1)]))
    writer = EmbeddingWriter(path, overwrite=True)
    with pytest.raises(RuntimeError, match="power cut"):
        _predict(writer, _batches([_observation(5)], [_observation(6)]), _Interrupted())
    assert _names(folder) == (["e.zarr"] if earlier else [])
    if earlier:
        assert list(read_embeddings(path).obs["track_id"]) == [1]
    _predict(writer, _batches([_observation(7)]))
    assert list(read_embeddings(path).obs["track_id"]) == [7]


def test_names_that_would_collide_are_an_error(folder: Path) -> None:
    """Two observations of which one name would be made are named, and nothing is written."""
    rows = [_observation(1, experiment="a", fov_name="b_A/1/0"), _observation(1, experiment="a_b", fov_name="A/1/0")]
    with pytest.raises(DynaclrError, match="two observations would have the name 'a_b_A/1/0_1_0'"):
        _predict(EmbeddingWriter(folder / "e.zarr"), _batches(rows))
    assert _names(folder) == []


def test_predictions_without_identity_are_an_error(folder: Path) -> None:
    """Batches without an index, and an index without the identifying columns, are named."""
    nameless = DataLoader([{"anchor": torch.zeros(1, 2, 1, 8, 8)}], batch_size=None)  # type: ignore[arg-type]
    with pytest.raises(DynaclrError, match="needs batches with the key 'index'"):
        _predict(EmbeddingWriter(folder / "e.zarr"), nameless)
    with pytest.raises(DynaclrError, match=r"lacks the columns \['experiment', 'fov_name', 't'\]"):
        _predict(EmbeddingWriter(folder / "e.zarr"), _batches([{"track_id": 1}]))
    assert _names(folder) == []


def test_reading_something_else_is_an_error(folder: Path) -> None:
    """A missing path, a folder, and an AnnData store of other things each have their sentence."""
    with pytest.raises(DynaclrError, match="there is no store"):
        read_embeddings(folder / "missing.zarr")
    with pytest.raises(DynaclrError, match="is no Zarr store"):
        read_embeddings(folder)


TWO_PROCESSES = """
import sys
from pathlib import Path
from lightning.pytorch import Trainer
from dynaclr.embeddings import EmbeddingWriter
from runs import make_data, make_model

if __name__ == "__main__":
    registry, output, checkpoint = map(Path, sys.argv[1:])
    trainer = Trainer(
        accelerator="cpu", devices=2, strategy="ddp", use_distributed_sampler=False, logger=False,
        callbacks=[EmbeddingWriter(output)], enable_progress_bar=False, enable_checkpointing=False,
    )
    data = make_data(registry)
    trainer.predict(make_model(), data, return_predictions=False, ckpt_path=checkpoint, weights_only=True)
"""


def test_two_processes_write_what_one_writes(folder: Path) -> None:
    """With gloo on two ranks, the store equals that of one process, row by row."""
    registry = write_two_experiments(folder)
    checkpoint = _train(make_model(), registry)
    _predict(EmbeddingWriter(folder / "one.zarr"), make_data(registry), ckpt_path=checkpoint)
    script = folder / "predict.py"
    script.write_text(textwrap.dedent(TWO_PROCESSES))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, str(script), str(registry), str(folder / "two.zarr"), str(checkpoint)]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    one, two = read_embeddings(folder / "one.zarr"), read_embeddings(folder / "two.zarr")
    assert list(two.obs_names) == list(one.obs_names)
    np.testing.assert_allclose(two.X, one.X, rtol=1e-5, atol=1e-6)
    assert one.obs.astype(str).equals(two.obs.astype(str))
    assert one.uns["dynaclr"] == two.uns["dynaclr"]
    assert "sha256" in two.uns["dynaclr"]
    assert not [name for name in _names(folder) if name.endswith(".part")]
