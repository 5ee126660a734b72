"""What the same work takes at the least: nothing but the sorting, drawing, reading or multiplying itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Ints = npt.NDArray[np.int64]


def draw_numbers(rng: np.random.Generator, rows: int, batch_size: int, batches: int) -> None:
    """Draw each batch's numbers in one call; what they should be is nobody's concern."""
    for _ in range(batches):
        rng.integers(rows, size=batch_size)


def sort_codes(codes: Ints) -> Ints:
    """Sort a table by codes, stably: 64 bits each, as pandas gives them."""
    order: Ints = np.argsort(codes, kind="stable")
    return order


def read_csvs(paths: Sequence[Path]) -> list[pd.DataFrame]:
    """Read tracking tables with pandas, unchecked."""
    return [pd.read_csv(path) for path in paths]


def gather(columns: Sequence[Ints], rows: Ints) -> list[Ints]:
    """Take one batch's rows out of columns."""
    return [column[rows] for column in columns]


class BareReads:
    """Windows read with TensorStore, all at once, each into a float32 array of its own.

    What one line of TensorStore does, not the least there is: it gets new memory for every window, and does not say
    that windows share chunks, so that something faster can be written.

    Parameters
    ----------
    arrays
        By (experiment, FOV name), path of the array and its Zarr format.
    cache_pool_bytes
        Bytes of decoded chunks to keep.
    """

    def __init__(self, arrays: Mapping[tuple[str, str], tuple[Path, int]], cache_pool_bytes: int = 0) -> None:
        import tensorstore as ts

        context = ts.Context({"cache_pool": {"total_bytes_limit": cache_pool_bytes}})
        self.stores = {
            key: self._as_float32(
                ts.open(
                    {
                        "driver": {2: "zarr", 3: "zarr3"}[zarr_format],
                        "kvstore": {"driver": "file", "path": str(path)},
                        "recheck_cached_data": "open",
                        "recheck_cached_metadata": "open",
                    },
                    open=True,
                    read=True,
                    context=context,
                ).result()
            )
            for key, (path, zarr_format) in arrays.items()
        }

    @staticmethod
    def _as_float32(store: Any) -> Any:
        import tensorstore as ts

        return store if store.dtype == ts.float32 else ts.cast(store, ts.float32)

    def windows(
        self, tracks: pd.DataFrame, rows: Ints, channels: slice, z_range: slice, patch: tuple[int, int]
    ) -> list[tuple[Any, tuple[Any, ...]]]:
        """Say beforehand what is to be read for these rows."""
        found = []
        columns = [tracks[name].iloc[rows].tolist() for name in ("experiment", "fov_name", "t", "y_clamp", "x_clamp")]
        for experiment, fov_name, t, y_centre, x_centre in zip(*columns, strict=True):
            y, x = y_centre - patch[0] // 2, x_centre - patch[1] // 2
            window = (t, channels, z_range, slice(y, y + patch[0]), slice(x, x + patch[1]))
            found.append((self.stores[experiment, fov_name], window))
        return found

    @staticmethod
    def read(windows: Sequence[tuple[Any, tuple[Any, ...]]]) -> list[npt.NDArray[Any]]:
        """Read them."""
        futures = [store[window].read() for store, window in windows]
        return [future.result() for future in futures]


def product_and_softmax(embeddings: Any) -> Any:
    """Return a scalar that needs every entry of the softmax over the 2B x 2B similarities."""
    from torch.nn import functional

    unit = functional.normalize(embeddings)
    return (unit @ unit.T / 0.07).softmax(1).square().sum()


def write_files(content: Mapping[str, bytes], root: Path) -> None:
    """Write files, each folder made once."""
    for folder in {Path(name).parent for name in content}:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, data in content.items():
        with (root / name).open("wb") as file:
            file.write(data)
