"""Predictions as people keep single-cell features: one AnnData Zarr store, one row per observation."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from hashlib import file_digest
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import anndata
import numpy as np
import pandas as pd
import zarr
from anndata import AnnData
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter

from dynaclr.checks import truth
from dynaclr.errors import DynaclrError
from dynaclr.paths import expanded
from dynaclr.wording import counted

__all__ = ["EmbeddingWriter", "read_embeddings"]

IDENTITY = ("experiment", "fov_name", "track_id", "t")
"""The columns that together say which observation a row is."""

_ORDER = "_order"
_OTHER_FORMATS = (".csv", ".h5", ".h5ad", ".npy", ".npz", ".parquet", ".tsv", ".zip")

_log = logging.getLogger(__name__)


class EmbeddingWriter(BasePredictionWriter):
    """Write what `predict` returns to one AnnData Zarr store.

    ``X`` holds the features, ``obsm["X_projections"]`` the projections, ``obs`` the identifying columns; the rows'
    names are ``<experiment>_<fov_name>_<track_id>_<t>``. What they are from stands in ``uns["dynaclr"]``: the
    ``version`` of this package and, where the trainer loaded one, the ``checkpoint`` and, if that is a file, its
    ``sha256``. Rows stand in the order of the index, each observation once, however many processes predict and however
    their sampler pads. The store appears whole when prediction has ended, or not at all: everything is written to a
    hidden folder beside it, which is then renamed. Processes on several machines need to share that folder.

    Parameters
    ----------
    path
        The store, such as ``embeddings.zarr``; missing folders above it are made.
    overwrite
        Whether embeddings that exist are replaced, after the new ones are complete; nothing else ever is.
    notes
        Texts by name that are kept beside the version, such as the configuration.
    """

    def __init__(
        self, path: str | os.PathLike[str], overwrite: bool = False, notes: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(write_interval="batch")
        self.notes = dict(notes or {})
        self.path = expanded(path)
        self.overwrite = truth("overwrite", overwrite)
        self._batches: list[AnnData] = []
        self._origin: dict[str, str] = {}

    def check_path(self) -> None:
        """Refuse a path that cannot be written; Lightning asks before it predicts.

        Raises
        ------
        DynaclrError
            If the path exists and is not to be overwritten, or is no place for a store.
        """
        if not self.path.name:
            raise DynaclrError(f"output={str(self.path)!r} needs the name of a store, such as 'embeddings.zarr'")
        if self.path.suffix.lower() in _OTHER_FORMATS:
            name = self.path.with_suffix(".zarr").name
            raise DynaclrError(f"output={str(self.path)!r} becomes a Zarr store and needs a name like {name!r}")
        if os.path.lexists(self.path) and not self.overwrite:
            raise DynaclrError(f"output={str(self.path)!r} exists: choose another name, or set overwrite to True")
        # A plate of images is a Zarr store, too: only what could be made anew from it may be lost.
        if os.path.lexists(self.path) and (fault := _fault(self.path)):
            raise DynaclrError(f"output={str(self.path)!r} exists and {fault}, so it is not overwritten")
        above = next(folder for folder in self.path.absolute().parents if folder.exists())
        if not above.is_dir() or not os.access(above, os.W_OK):
            raise DynaclrError(f"output={str(self.path)!r} cannot be written in {str(above)!r}")

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a path that exists before anything is computed."""
        super().setup(trainer, pl_module, stage)
        if stage == "predict":
            self.check_path()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Forget an earlier run, and look which checkpoint it is while it is the one just read."""
        self._batches = []
        self._origin = _origin(trainer.ckpt_path) if trainer.is_global_zero else {}

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
        dataloader_idx: int,  # noqa: ARG002
    ) -> None:
        """Keep a batch, on the CPU."""
        rows = _as_anndata(prediction)
        rows.obs[_ORDER] = self._places(trainer, batch_indices, len(rows))
        self._batches.append(rows)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Write the store."""
        draft = Path(trainer.strategy.broadcast(str(self._draft_path())))
        try:
            if trainer.world_size > 1:
                self._write_part(trainer, draft)
            else:
                self._publish(self._batches, draft)
        finally:
            self._batches = []
            if trainer.is_global_zero:
                shutil.rmtree(draft, ignore_errors=True)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        """Let go of what was kept."""
        self._batches = []

    def _places(self, trainer: Trainer, batch_indices: Sequence[int] | None, rows: int) -> np.ndarray[Any, Any]:
        """Return the places of a batch's rows in the index: as Lightning knows them, else as samplers deal them out."""
        if batch_indices is not None and len(batch_indices) == rows:
            return np.asarray(batch_indices, dtype=np.int64)
        seen = sum(len(batch) for batch in self._batches)
        return (np.arange(seen, seen + rows) * trainer.world_size + trainer.global_rank).astype(np.int64)

    def _write_part(self, trainer: Trainer, draft: Path) -> None:
        """Write this process's rows; the first process joins them when all have done so."""
        part = draft / "parts" / f"{trainer.global_rank}.zarr"
        if self._batches:
            part.parent.mkdir(parents=True, exist_ok=True)
            _write(_joined(self._batches), part)
        trainer.strategy.barrier("dynaclr_embeddings_written")
        try:
            if trainer.is_global_zero:
                self._publish([anndata.read_zarr(found) for found in sorted((draft / "parts").glob("*.zarr"))], draft)
        finally:  # an error of the first process must not leave the others waiting
            trainer.strategy.barrier("dynaclr_embeddings_published")

    def _publish(self, tables: Sequence[AnnData], draft: Path) -> None:
        """Write all rows to the draft, then let it take the place of the store."""
        if not tables:
            raise DynaclrError("predict went over no batch at all, so there are no embeddings to write")
        self.check_path()
        whole, replaced = draft / "whole.zarr", draft / "replaced.zarr"
        draft.mkdir(parents=True, exist_ok=True)
        rows = _in_order(_joined(tables))
        _warn_of_what_is_not_finite(rows)
        rows.uns["dynaclr"] = {**self.notes, "version": version("dynaclr"), **self._origin}
        _write(rows, whole)
        if os.path.lexists(self.path):
            self.path.rename(replaced)
        try:
            whole.rename(self.path)
        except BaseException:
            if replaced.exists():
                replaced.rename(self.path)
            raise
        _log.info("%s written to %s", counted(rows.n_obs, "observation"), self.path)

    def _draft_path(self) -> Path:
        return self.path.parent / f".{self.path.name}.{os.getpid()}.part"


def read_embeddings(path: str | os.PathLike[str]) -> AnnData:
    """Read a store that `EmbeddingWriter` wrote.

    Parameters
    ----------
    path
        The store.

    Returns
    -------
    AnnData
        Features in ``X``, projections in ``obsm["X_projections"]``, who they belong to in ``obs``.

    Raises
    ------
    DynaclrError
        If there is no such store, or it holds something else.
    """
    if not Path(path).exists():
        raise DynaclrError(f"there is no store {str(path)!r}")
    if fault := _fault(Path(path)):
        raise DynaclrError(f"{str(path)!r} {fault}")
    return anndata.read_zarr(path)


def _fault(path: Path) -> str | None:
    """Say why what lies there are no embeddings, going by the store's metadata alone; None if they are."""
    if not any((path / name).is_file() for name in ("zarr.json", ".zgroup")):
        return "is no Zarr store"
    try:
        obs = zarr.open_group(path, mode="r").get("obs")
        columns = list(cast("Iterable[str]", obs.attrs["column-order"])) if obs is not None else []
    except (ValueError, KeyError, TypeError, OSError):  # metadata of something else, or damaged
        columns = []
    missing = [name for name in IDENTITY if name not in columns]
    return f"holds no embeddings: the columns {missing} are missing in obs" if missing else None


def _as_anndata(prediction: Mapping[str, Any]) -> AnnData:
    """Turn one batch of predictions into a table."""
    index = prediction.get("index")
    if index is None:
        raise DynaclrError("predict needs batches with the key 'index', which says who the embeddings belong to")
    obs = pd.DataFrame(list(index))
    missing = [name for name in IDENTITY if name not in obs]
    if missing:
        raise DynaclrError(f"the index of the predictions lacks the columns {missing}; it has {list(obs.columns)}")
    obs.index = pd.Index(np.arange(len(obs)).astype(str), dtype=object)
    features = prediction["features"].detach().float().cpu().numpy()
    projections = prediction["projections"].detach().float().cpu().numpy()
    return AnnData(X=features, obs=obs, obsm={"X_projections": projections})


def _joined(tables: Sequence[AnnData]) -> AnnData:
    """Put tables below each other."""
    obs = pd.concat([table.obs for table in tables], ignore_index=True)
    obs.index = pd.Index(np.arange(len(obs)).astype(str), dtype=object)
    projections = np.concatenate([np.asarray(table.obsm["X_projections"]) for table in tables])
    features = np.concatenate([np.asarray(table.X) for table in tables])
    return AnnData(X=features, obs=obs, obsm={"X_projections": projections})


def _in_order(table: AnnData) -> AnnData:
    """Return the rows in the order of the index, each observation once, under its own name."""
    obs = table.obs.sort_values(_ORDER, kind="stable")
    obs = obs[~obs.duplicated(list(IDENTITY))]
    rows = obs.index.astype(int)
    names = _names(obs)
    repeated = names[names.duplicated()]
    if len(repeated):
        raise DynaclrError(f"two observations would have the name {repeated[0]!r}: rename an experiment or a FOV")
    obs = obs.drop(columns=_ORDER).set_index(names)
    return AnnData(X=table.X[rows], obs=obs, obsm={"X_projections": table.obsm["X_projections"][rows]})


def _warn_of_what_is_not_finite(rows: AnnData) -> None:
    """Name the first observation that the encoder made no numbers of: a single one spoils what is fitted to all."""
    features, projections = np.asarray(rows.X), np.asarray(rows.obsm["X_projections"])
    bad = np.flatnonzero(~(np.isfinite(features).all(axis=1) & np.isfinite(projections).all(axis=1)))
    if bad.size:
        _log.warning(
            "%s of %d, the first of them %s, have embeddings that are not finite: look for pixels that are not",
            *(counted(int(bad.size), "observation"), rows.n_obs, rows.obs_names[bad[0]]),
        )


def _origin(checkpoint: str | os.PathLike[str] | None) -> dict[str, str]:
    """Say which checkpoint it was; by its content, too, since a run writes ``last.ckpt`` again and again."""
    if checkpoint is None:
        return {}
    path = Path(checkpoint)
    origin = {"checkpoint": str(path.resolve() if path.exists() else checkpoint)}  # or an address
    if path.is_file():  # or the folder of a checkpoint in parts
        with path.open("rb") as file:
            origin["sha256"] = file_digest(file, "sha256").hexdigest()
    return origin


def _names(obs: pd.DataFrame) -> pd.Index[Any]:
    columns = zip(*(obs[name] for name in IDENTITY), strict=True)
    return pd.Index(["_".join(str(value) for value in row) for row in columns], dtype=object)


def _write(table: AnnData, path: Path) -> None:
    """Write a table; texts become categories, whose representation no version of pandas changes."""
    obs = table.obs.copy()
    for name in obs.columns:
        if not (pd.api.types.is_numeric_dtype(obs[name]) or pd.api.types.is_bool_dtype(obs[name])):
            values = obs[name].astype(object)
            categories = pd.Index(pd.unique(values.dropna()), dtype=object)
            obs[name] = pd.Categorical(values, categories=categories)
    group = zarr.open_group(path, mode="w", zarr_format=3)
    var = pd.DataFrame(index=pd.Index([f"feature_{number}" for number in range(table.n_vars)], dtype=object))
    plain = AnnData(X=table.X, obs=obs, var=var, obsm=dict(table.obsm), uns=dict(table.uns))
    anndata.io.write_elem(group, "/", plain, dataset_kwargs={"shards": None})
