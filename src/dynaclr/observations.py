"""The table of observations: the tracks of many FOVs below each other, labelled, and patches inside their images."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dynaclr.errors import DynaclrError
from dynaclr.fovs import Fov
from dynaclr.lineage import IntArray, TrackGroups

_OUR_COLUMNS = (
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
    "fluorescence_channel",
    "organelle",
    "date",
    "moi",
    "y_clamp",
    "x_clamp",
    "parent_track_id",
)
_CHECKED_COLUMNS = ("track_id", "t", "y", "x", "parent_track_id")


def stack_tables(frames: Sequence[pd.DataFrame]) -> dict[str, Any]:
    """Put the checked tables of all FOVs below each other; what a table lacks becomes NaN.

    Returns
    -------
    dict
        ``track_id, t, y, x, parent_track_id`` as NumPy arrays and the tables' other columns as pandas arrays. (Column
        by column, since `pandas.concat` of frames looks at empty columns when it chooses a type.)
    """
    filled = [frame for frame in frames if len(frame)]
    names = dict.fromkeys(name for frame in filled for name in frame.columns)
    columns: dict[str, Any] = {
        name: np.concatenate([frame[name].to_numpy() for frame in filled])
        if filled
        else np.empty(0, np.float64 if name in ("y", "x") else np.int64)
        for name in _CHECKED_COLUMNS
    }
    for name in names:
        if name not in columns:
            parts = [frame.get(name, pd.Series(np.nan, index=frame.index)) for frame in filled]
            columns[name] = pd.concat(parts, ignore_index=True).array
    return columns


def image_sizes(fovs: Sequence[Fov]) -> IntArray:
    """Return height and width of each FOV's images, shape ``(FOVs, 2)``."""
    return np.array([fov.position.shape[-2:] for fov in fovs], dtype=np.int64).reshape(-1, 2)


def is_inside(y: npt.NDArray[np.float64], x: npt.NDArray[np.float64], size: IntArray) -> npt.NDArray[np.bool_]:
    """Tell which centroids are inside an image of ``size``, shape ``(rows, 2)``: ``0 <= y < height``, the same in x."""
    return (y >= 0) & (y < size[:, 0]) & (x >= 0) & (x < size[:, 1])


def clamp_centres(centroid: npt.NDArray[np.float64], patch: int, size: IntArray) -> IntArray:
    """Return the pixel nearest to the centroid whose patch lies inside the image, along one axis.

    Parameters
    ----------
    centroid
        In pixels; pixel i is at i, and a centroid halfway between two belongs to the larger.
    patch
        Size of the patch, odd or even: the patch around c is the pixels ``[c - patch // 2, c - patch // 2 + patch)``.
    size
        Size of the image, at least that of the patch; one for each centroid.

    Examples
    --------
    >>> clamp_centres(np.array([0.0, 4.5, 9.0]), 4, np.array([10, 10, 10])).tolist()
    [2, 5, 8]
    """
    half = patch // 2
    return np.clip(np.floor(centroid + 0.5).astype(np.int64), half, size - patch + half)


def global_track_ids(fovs: Sequence[Fov], groups: TrackGroups) -> npt.NDArray[np.object_]:
    """Return ``<experiment>_<fov>_<track_id>`` of each track, for people: the code itself groups by numbers.

    Raises
    ------
    DynaclrError
        If names such as experiment ``a`` with row ``b_A`` and experiment ``a_b`` with row ``A`` would share ids.
    """
    prefixes = np.array([f"{fov.experiment.name}_{fov.position.fov_name}_" for fov in fovs], dtype=object)
    shared = pd.Series(prefixes).duplicated(keep=False).to_numpy()
    if shared.any():
        labels = [fov.label for fov, is_shared in zip(fovs, shared, strict=True) if is_shared]
        raise DynaclrError(
            f"experiment names need to give unique global track ids, but those of FOVs {labels[0]!r} and {labels[1]!r} "
            f"would all begin with {prefixes[shared][0]!r}; rename one of the experiments"
        )
    ids: npt.NDArray[np.object_] = prefixes[groups.fov] + groups.track_id.astype(str).astype(object)
    return ids


def categorical(codes: IntArray, names: npt.NDArray[np.object_]) -> pd.Categorical:
    """Return strings as a categorical that has the categories in use only, in the order of the codes."""
    used = np.zeros(names.size, bool)
    used[codes] = True
    return pd.Categorical.from_codes((np.cumsum(used) - 1)[codes], categories=pd.Index(names[used], dtype=object))


def observation_table(
    fovs: Sequence[Fov],
    fov: IntArray,
    columns: Mapping[str, Any],
    labels: Mapping[str, pd.Categorical],
    patch: tuple[int, int],
) -> pd.DataFrame:
    """Return the table of observations.

    Parameters
    ----------
    fovs
        The FOVs.
    fov
        The FOV of each row, as position in ``fovs``.
    columns
        What the tracking tables hold, from `stack_tables`.
    labels
        The columns ``global_track_id`` and ``lineage_id``.
    patch
        Height and width of the patch.
    """

    def label(names: Iterable[str]) -> pd.Categorical:
        codes, unique = pd.factorize(np.array(list(names), dtype=object))
        return categorical(codes[fov], unique)

    configs = [one.experiment for one in fovs]
    start = np.array([config.start_hpi for config in configs])[fov]
    interval = np.array([config.interval_minutes for config in configs])[fov]
    size = image_sizes(fovs)[fov]
    ours = {
        "experiment": label(config.name for config in configs),
        "condition": label(one.condition for one in fovs),
        "well_name": label(one.position.well_name for one in fovs),
        "fov_name": label(one.position.fov_name for one in fovs),
        "hours_post_infection": start + columns["t"] * interval / 60,
        "fluorescence_channel": label("+".join(config.source_channel[1:]) for config in configs),
        "organelle": label(config.organelle for config in configs),
        "date": label(config.date for config in configs),
        "moi": np.array([config.moi for config in configs], dtype=np.float64)[fov],
        "y_clamp": clamp_centres(columns["y"], patch[0], size[:, 0]),
        "x_clamp": clamp_centres(columns["x"], patch[1], size[:, 1]),
        **labels,
        **{name: columns[name] for name in _CHECKED_COLUMNS},
    }
    table = {name: ours[name] for name in _OUR_COLUMNS}
    theirs = {name: values for name, values in columns.items() if name not in _CHECKED_COLUMNS}
    for name, values in theirs.items():
        taken = {*table, "row", *theirs} - ({name} if name not in (*table, "row") else set())
        table[_free_name(name, taken)] = values
    return pd.DataFrame(table, copy=False)


def _free_name(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_csv"
    return name


def anchor_table(tracks: pd.DataFrame, rows: IntArray) -> pd.DataFrame:
    """Return some rows of the table of observations, indexed from 0, with their positions as column ``row``."""
    columns: dict[Hashable, Any] = {}
    for name, column in tracks.items():
        values = column.array.take(rows)
        is_label = isinstance(values, pd.Categorical) and name in _OUR_COLUMNS
        columns[name] = categorical(values.codes, values.categories.to_numpy()) if is_label else values
    return pd.DataFrame(columns | {"row": rows}, copy=False)


def row_groups(labels: pd.Series[Any], all_labels: pd.Series[Any]) -> dict[str, IntArray]:
    """Return the row positions of each label; a label that only the larger table has gets none."""
    values = labels.astype(all_labels.dtype).cat.codes.to_numpy()
    return {str(name): np.flatnonzero(values == code) for code, name in enumerate(all_labels.cat.categories)}
