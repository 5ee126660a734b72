"""Windows of many images, read by TensorStore in one concurrent pass straight into one float32 array."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dynaclr.checks import whole
from dynaclr.errors import DynaclrError
from dynaclr.memory import ArrayPool

if TYPE_CHECKING:
    import tensorstore as ts

_DRIVERS = {2: "zarr", 3: "zarr3"}
# Windows are handed to TensorStore so many at a time, as one stack, and it reads them while the next ones are made up.
# One by one they would be as many calls, and as many to wait for, each of which gives the interpreter's lock up and
# later takes it back from the thread that trains.
_PORTION = 64


@dataclass(frozen=True)
class Image:
    """One image to read from: a FOV of one experiment, and the channels that experiment trains on.

    Parameters
    ----------
    experiment, fov_name
        Whose image it is; FOV names are not unique between experiments.
    array_path
        Absolute path of the Zarr array.
    zarr_format
        2 or 3.
    shape
        Numbers of frames, channels, planes, rows and columns (T, C, Z, Y, X).
    channels
        Channels of the array to read, in the order in which they are wanted.
    """

    experiment: str
    fov_name: str
    array_path: Path
    zarr_format: Literal[2, 3]
    shape: tuple[int, int, int, int, int]
    channels: tuple[int, ...]

    def __str__(self) -> str:
        return f"experiment {self.experiment!r}, FOV {self.fov_name}"


class _Window(NamedTuple):
    """Which image, which frame, and the first row and column."""

    image: int
    t: int
    y: int
    x: int


class PatchReader:
    """Reads windows of equal size from many images.

    It opens an image when a window of it is first asked for, may be used by several threads at a time, and can be
    pickled: the copy opens its images anew. (TensorStore ends a process that was *forked* after its parent had
    read with it. Thread workers need no fork; process workers need the start method ``spawn`` or ``forkserver``.)
    A chunk without a file reads as the array's fill value, since that is how Zarr stores chunks that hold nothing else.

    Parameters
    ----------
    images
        What there is to read from; windows name an image by its position here.
    z_range
        Planes to read, ``slice(start, stop)``.
    yx_patch_size
        Height and width of a window in pixels.
    cache_pool_bytes
        How many bytes of decoded chunks to keep, for all images together; 0 keeps none.

    Raises
    ------
    DynaclrError
        If the images differ in their number of channels, or `cache_pool_bytes` is no number of bytes.
    """

    def __init__(
        self,
        images: Sequence[Image],
        z_range: slice,
        yx_patch_size: tuple[int, int],
        cache_pool_bytes: int = 0,
    ) -> None:
        counts = {len(image.channels) for image in images}
        if len(counts) > 1:
            raise DynaclrError(f"images need the same number of channels each, got {sorted(counts)}")
        self._images = tuple(images)
        self._shapes = np.array([image.shape for image in images], dtype=np.int64).reshape(-1, 5)
        self._window = (counts.pop() if counts else 0, z_range.stop - z_range.start, *yx_patch_size)
        self._z_range = slice(int(z_range.start), int(z_range.stop))
        self._cache_pool_bytes = whole("cache_pool_bytes", cache_pool_bytes, at_least=0)
        self._lock = threading.Lock()
        self._stores: dict[int, ts.TensorStore] = {}
        self._context: ts.Context | None = None
        self._memory = ArrayPool(_targets)

    def read(
        self,
        image: NDArray[np.int64],
        t: NDArray[np.int64],
        y: NDArray[np.int64],
        x: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """Read one window per entry, all at the same time.

        Parameters
        ----------
        image
            Which image, shape ``(N,)``.
        t
            Which frame.
        y, x
            First row and first column of the window, in pixels.

        Returns
        -------
        ndarray of float32
            Shape ``(N, C, Z, Y, X)``, in the order asked for. Its memory is used again once nobody refers to it.

        Raises
        ------
        DynaclrError
            If a window is not wholly inside its image, or an image cannot be read.
        """
        self._check_inside(image, t, y, x)
        sources = self._opened(np.unique(image).tolist())
        patches, targets = self._memory.lend((len(image), *self._window))
        # Windows of one frame lie next to each other, so that those of a batch share the reading of chunks.
        order = np.lexsort((t, image))
        windows = list(map(_Window, *(numbers[order].tolist() for numbers in (image, t, y, x))))
        try:
            self._copy(sources, windows, [targets[n] for n in order.tolist()])
        except BaseException:
            # Writing may go on, where one window of many failed and after Ctrl-C: this memory must not be lent again.
            self._memory = ArrayPool(_targets)
            raise
        return patches

    def _copy(self, sources: dict[int, ts.TensorStore], windows: list[_Window], targets: list[ts.TensorStore]) -> None:
        """Let TensorStore decode, convert and copy every window to its place, without arrays in between."""
        import tensorstore as ts

        portions: list[tuple[slice, ts.WriteFutures]] = []
        for start in range(0, len(windows), _PORTION):
            some = slice(start, start + _PORTION)
            parts = ts.stack(self._parts(sources, windows[some]))
            # Copies of one batch that touch the same chunk or shard share its reading.
            with ts.Batch() as batch:
                portions.append((some, ts.stack(targets[some]).write(parts, batch=batch)))
        # The last one first: most others are then done, and each that one waits for is a thread to be woken.
        failures = [(some, future.exception()) for some, future in reversed(portions)]
        for some, failure in reversed(failures):
            if failure is not None:
                raise self._error(sources, windows[some], failure) from failure

    def _parts(self, sources: dict[int, ts.TensorStore], windows: list[_Window]) -> list[ts.TensorStore]:
        """Return what each window shows, shape ``(1, C, Z, Y, X)``, its axes counted from 0."""
        import tensorstore as ts

        # To move an image and cut a domain out of it takes half as long as to slice it and move what is left.
        domain = ts.IndexDomain(shape=(1, *self._window))
        return [sources[image].translate_backward_by[t, 0, 0, y, x][domain] for image, t, y, x in windows]

    def _error(self, sources: dict[int, ts.TensorStore], windows: list[_Window], failure: Exception) -> DynaclrError:
        """Return the error for a portion that could not be read: each of its windows is tried by itself."""
        for window, part in zip(windows, self._parts(sources, windows), strict=True):
            if (reason := part.read().exception()) is not None:
                return DynaclrError(f"frame {window.t} of {self._images[window.image]} cannot be read: {reason}")
        return DynaclrError(f"pixels cannot be read: {failure}")  # but could be a moment later

    def _check_inside(
        self, image: NDArray[np.int64], t: NDArray[np.int64], y: NDArray[np.int64], x: NDArray[np.int64]
    ) -> None:
        """Refuse windows that hang over a border: what lies beyond an image is unknown, not zero."""
        starts = np.stack([t, np.full_like(t, self._z_range.start), y, x], axis=1)
        stops = starts + np.array([1, *self._window[1:]])
        extents = self._shapes[image][:, [0, 2, 3, 4]]
        outside = np.flatnonzero(((starts < 0) | (stops > extents)).any(axis=1))
        if outside.size:
            first = int(outside[0])
            spans = ", ".join(
                f"{axis} {start}:{stop} of {extent}"
                for axis, start, stop, extent in zip("tzyx", starts[first], stops[first], extents[first], strict=True)
            )
            raise DynaclrError(f"the window {spans} of {self._images[image[first]]} is not wholly inside the image")

    def _opened(self, numbers: list[int]) -> dict[int, ts.TensorStore]:
        """Return the sources of these images, opening those that no one has asked for yet."""
        with self._lock:
            missing = [number for number in numbers if number not in self._stores]
            futures = [self._open(self._images[number]) for number in missing]
            for number, future in zip(missing, futures, strict=True):
                self._stores[number] = self._source(self._images[number], future)
            return {number: self._stores[number] for number in numbers}

    def _open(self, image: Image) -> ts.Future[ts.TensorStore]:
        import tensorstore as ts

        if self._context is None:
            self._context = ts.Context({"cache_pool": {"total_bytes_limit": self._cache_pool_bytes}})
        spec = {
            "driver": _DRIVERS[image.zarr_format],
            "kvstore": {"driver": "file", "path": os.fspath(image.array_path)},
            # Nobody writes while we train: look at a chunk's file once, not whenever the cache holds it already.
            "recheck_cached_data": "open",
            "recheck_cached_metadata": "open",
        }
        return ts.open(spec, open=True, read=True, context=self._context)

    def _source(self, image: Image, future: ts.Future[ts.TensorStore]) -> ts.TensorStore:
        """Return what is ever read of an array, as float32 and counted from 0: the planes of the source channels."""
        import tensorstore as ts

        try:
            store = future.result()
        except Exception as error:
            raise DynaclrError(f"the array of {image} cannot be opened: {error}") from error
        # Beyond the end of an array that is part of a stack, TensorStore reads zeros.
        if store.rank != len(image.shape) or any(
            now < then for now, then in zip(store.shape, image.shape, strict=True)
        ):
            raise DynaclrError(f"the array of {image} has the shape {store.shape}, but had {image.shape} when indexed")
        # Axes are labelled by people, TCZYX or tczyx, and a stack takes arrays of one kind only.
        unlabelled = store[ts.d[:].label[("",) * store.rank]]
        planes = unlabelled[:, _selection(image.channels), self._z_range].translate_to[0]
        return planes if store.dtype == ts.float32 else ts.cast(planes, ts.float32)

    def __getstate__(self) -> dict[str, Any]:
        private = {"_lock", "_stores", "_context", "_memory"}
        return {name: value for name, value in self.__dict__.items() if name not in private}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock, self._stores, self._context, self._memory = threading.Lock(), {}, None, ArrayPool(_targets)


def _targets(patches: NDArray[np.float32]) -> list[ts.TensorStore]:
    """Return each patch as one frame to write to: threads that write to one and the same array wait for each other."""
    import tensorstore as ts

    return [ts.array(patch, copy=False, write=True) for patch in patches[:, None]]


def _selection(channels: tuple[int, ...]) -> slice | list[int]:
    """Return channels as TensorStore reads them fastest: neighbours in a row as a slice."""
    first, stop = channels[0], channels[0] + len(channels)
    return slice(first, stop) if channels == tuple(range(first, stop)) else list(channels)
