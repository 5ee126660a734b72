"""From rows of the index to batches of crops: anchors, their positives some frames later, and what is known of both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from dynaclr.checks import truth
from dynaclr.errors import DynaclrError
from dynaclr.lineage import IntArray
from dynaclr.pixels import Image, PatchReader
from dynaclr.positives import PositiveDraw
from dynaclr.tau_sampling import hours_range

if TYPE_CHECKING:
    from dynaclr.index import MultiExperimentIndex
    from dynaclr.plate import Position

Batch = dict[str, Any]
"""A batch; the keys are listed at `MultiExperimentTripletDataset`."""

IDENTIFYING_COLUMNS = (
    "experiment",
    "condition",
    "well_name",
    "fov_name",
    "track_id",
    "t",
    "y",
    "x",
    "global_track_id",
    "lineage_id",
    "hours_post_infection",
)
"""The columns of the index that say which observation a crop shows."""

_BY_FRAME = "timepoint_statistics"


class EpochIndices(list[int]):
    """Indices of one batch that know their epoch.

    Batches are read ahead, by several threads; a batch that carries its epoch cannot be read with the next one's.

    Parameters
    ----------
    indices
        The indices.
    epoch
        The epoch that they belong to.
    """

    def __init__(self, indices: Iterable[int], epoch: int) -> None:
        super().__init__(indices)
        self.epoch = epoch


class MultiExperimentTripletDataset(Dataset[Batch]):
    """Reads whole batches: ``dataset.__getitems__(indices)`` returns the stacked batch, no collation needed.

    With ``fit=True`` the indices count the anchors, ``index.valid_anchors``; a batch of B of them holds

    - ``anchor``, ``positive``: float32 tensors ``(B, C, Z, Y, X)``, channel i being source position i;
    - ``anchor_norm_meta``, ``positive_norm_meta``: lists of B, each None (no statistics in the store) or
      ``{"ch_0": {"fov_statistics": {...}, "dataset_statistics": {...}, "timepoint_statistics": {...}}, "ch_1": ...}``,
      where the last are those of the observation's own frame;
    - ``lineage``: int64 tensor ``(B,)``, equal for observations of one lineage.

    With ``fit=False`` the indices count *all* observations, ``index.tracks``, in its order; a batch holds ``anchor``,
    ``anchor_norm_meta``, ``lineage`` and ``index``, a list of B dictionaries with the `IDENTIFYING_COLUMNS`.

    Parameters
    ----------
    index
        The observations of all experiments.
    fit
        Whether to read anchors with their positives, or single observations.
    tau_range_hours
        Must be the index's own: it decided which rows are anchors.
    tau_decay_rate
        How fast far positives become rare, see `dynaclr.positives.PositiveDraw`.
    cache_pool_bytes
        Bytes of decoded chunks to keep in memory; 0 keeps none.
    seed
        Together with epoch, anchor and the anchor's occurrence in the batch it settles the positive, whatever the
        number of workers, threads, or the order of reading.

    Attributes
    ----------
    epoch
        The epoch of batches whose indices carry none (`EpochIndices` do); 0 unless set.

    Raises
    ------
    DynaclrError
        If the range of hours is not the index's, or a number is not what it should be.
    """

    def __init__(
        self,
        index: MultiExperimentIndex,
        fit: bool = True,
        tau_range_hours: tuple[float, float] = (0.5, 2.0),
        tau_decay_rate: float = 2.0,
        cache_pool_bytes: int = 0,
        seed: int = 0,
    ) -> None:
        hours_range(tau_range_hours, "tau_range_hours")
        if tuple(tau_range_hours) != tuple(index.tau_range_hours):
            raise DynaclrError(
                f"tau_range_hours is {tuple(tau_range_hours)!r}, but needs to be the index's own "
                f"{tuple(index.tau_range_hours)!r}, which decided which rows are anchors"
            )
        self.index = index
        self.fit = truth("fit", fit)
        self.epoch = 0
        self._draw = PositiveDraw(index, tau_decay_rate, seed)
        tracks = index.tracks
        self._rows = index.valid_anchors["row"].to_numpy(np.int64) if fit else np.arange(len(tracks))
        self._image, images = _images(index)
        self._reader = PatchReader(
            [image for image, _, _ in images], index.z_range, index.yx_patch_size, cache_pool_bytes
        )
        self._statistics = [_source_statistics(position, channels) for _, position, channels in images]
        height, width = index.yx_patch_size
        self._t = tracks["t"].to_numpy(np.int64)
        self._y = tracks["y_clamp"].to_numpy(np.int64) - height // 2
        self._x = tracks["x_clamp"].to_numpy(np.int64) - width // 2

    def __len__(self) -> int:
        return len(self._rows)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Read one batch.

        Parameters
        ----------
        indices
            Numbers in ``[0, len(dataset))``; `EpochIndices` say which epoch they belong to.

        Returns
        -------
        dict
            The batch, see the class.

        Raises
        ------
        DynaclrError
            If an index is out of range, or pixels cannot be read.
        """
        rows = self._checked_rows(indices)
        if not self.fit:
            patches = self._read(rows)
            return {
                "anchor": torch.from_numpy(patches),
                "anchor_norm_meta": self._norm_meta(rows),
                "lineage": torch.from_numpy(self.index.lineage_codes[rows]),
                "index": self._identities(rows),
            }
        positives, _ = self._positives(rows, indices)
        patches = self._read(np.concatenate([rows, positives]))
        return {
            "anchor": torch.from_numpy(patches[: len(rows)]),
            "positive": torch.from_numpy(patches[len(rows) :]),
            "anchor_norm_meta": self._norm_meta(rows),
            "positive_norm_meta": self._norm_meta(positives),
            "lineage": torch.from_numpy(self.index.lineage_codes[rows]),
        }

    def positives(self, indices: Sequence[int]) -> tuple[IntArray, IntArray]:
        """Tell which positives a batch of anchors gets, without reading a pixel.

        Parameters
        ----------
        indices
            As for `__getitems__`.

        Returns
        -------
        rows, taus
            Rows of ``index.tracks``, and how many frames after their anchors they are, shape ``(B,)`` each.

        Raises
        ------
        DynaclrError
            If an index is out of range, or the dataset was made with ``fit=False``.
        """
        if not self.fit:
            raise DynaclrError("fit is False, but positives need a dataset with fit=True")
        return self._positives(self._checked_rows(indices), indices)

    def _positives(self, rows: IntArray, indices: Sequence[int]) -> tuple[IntArray, IntArray]:
        return self._draw(rows, np.asarray(indices, dtype=np.int64), getattr(indices, "epoch", self.epoch))

    def _checked_rows(self, indices: Sequence[int]) -> IntArray:
        given = np.asarray(indices)
        if given.size and given.dtype.kind not in "iu":
            raise DynaclrError(f"indices are of type {given.dtype}, but need to be whole numbers in [0, {len(self)})")
        numbers = given.astype(np.int64)
        wrong = numbers[(numbers < 0) | (numbers >= len(self))]
        if wrong.size:
            raise DynaclrError(f"index {int(wrong[0])} is out of range, but needs to lie in [0, {len(self)})")
        return self._rows[numbers]

    def _read(self, rows: IntArray) -> np.ndarray[Any, np.dtype[np.float32]]:
        return self._reader.read(self._image[rows], self._t[rows], self._y[rows], self._x[rows])

    def _norm_meta(self, rows: IntArray) -> list[dict[str, Any] | None]:
        places = zip(self._image[rows].tolist(), self._t[rows].tolist(), strict=True)
        return [_at_frame(self._statistics[image], t) for image, t in places]

    def _identities(self, rows: IntArray) -> list[dict[str, Any]]:
        table = self.index.tracks[list(IDENTIFYING_COLUMNS)].iloc[rows]
        return [{str(name): value for name, value in record.items()} for record in table.to_dict("records")]


def _images(index: MultiExperimentIndex) -> tuple[IntArray, list[tuple[Image, Position, tuple[str, ...]]]]:
    """Return for each row of the index the number of its image, and the images with their source channels."""
    tracks = index.tracks
    # Not by FOV name alone: two experiments may both have a FOV A/1/0.
    pairs = tracks["experiment"].cat.codes.to_numpy().astype(np.int64) * len(tracks["fov_name"].cat.categories)
    pairs += tracks["fov_name"].cat.codes.to_numpy()
    _, first, number = np.unique(pairs, return_index=True, return_inverse=True)
    channel_maps = index.registry.channel_maps
    images = []
    for row in first.tolist():
        experiment, fov_name = str(tracks["experiment"].iloc[row]), str(tracks["fov_name"].iloc[row])
        position = index.registry.positions(experiment)[fov_name]
        channels = tuple(channel for _, channel in sorted(channel_maps[experiment].items()))
        image = Image(experiment, fov_name, position.array_path, position.zarr_format, position.shape, channels)
        images.append((image, position, tuple(index.registry.get_experiment(experiment).source_channel)))
    return number.reshape(-1), images


class _ChannelStatistics(NamedTuple):
    """The statistics of one channel of a FOV: those of the whole movie by level, and those of single frames."""

    of_all: dict[str, Any]
    of_frame: Mapping[str, Any]

    def at(self, t: int) -> dict[str, Any]:
        """Return the statistics for one frame: those per time point are resolved to this one."""
        frame = str(t)
        return {**self.of_all, _BY_FRAME: self.of_frame[frame]} if frame in self.of_frame else dict(self.of_all)


def _source_statistics(position: Position, channels: Sequence[str]) -> dict[str, _ChannelStatistics] | None:
    """Return the statistics of a FOV's source channels by source position, None where the store has none of them."""
    known = position.normalization or {}
    found: dict[str, _ChannelStatistics] = {}
    for i, channel in enumerate(channels):
        if isinstance(statistics := known.get(channel), Mapping):
            frames = statistics.get(_BY_FRAME)
            of_all = {name: values for name, values in statistics.items() if name != _BY_FRAME}
            found[f"ch_{i}"] = _ChannelStatistics(of_all, frames if isinstance(frames, Mapping) else {})
    return found or None


def _at_frame(channels: dict[str, _ChannelStatistics] | None, t: int) -> dict[str, Any] | None:
    """Return the statistics of a FOV's channels for one frame."""
    return None if channels is None else {key: statistics.at(t) for key, statistics in channels.items()}
