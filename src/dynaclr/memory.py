"""Memory for batches that is used again, because fetching it anew from the system costs as much as reading does."""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


@dataclass
class _Block(Generic[T]):
    """A piece of memory, and what was prepared to write to it when it was lent in one shape."""

    memory: NDArray[np.float32]
    shape: tuple[int, ...]
    prepared: T


class ArrayPool(Generic[T]):
    """Lends float32 arrays, and takes their memory back when no array or tensor looks at it any more.

    A batch is hundreds of megabytes. The allocator returns as much to the system each time, which then has to clear and
    map it again, page by page. May be used by several threads at a time.

    Which arrays are gone is looked up when the next one is lent. A callback at the moment when one goes would be a
    place where Ctrl-C is lost: Python drops the exceptions of callbacks.

    It assumes that nobody reads an array's memory after the last Python object that refers to it is gone. A copy to a
    device that goes on in the background breaks this, unless the data are taken before the call returns: CUDA does so
    with memory that is not pinned, as here, MPS does not. Copy with ``non_blocking=True`` to CUDA only.

    Parameters
    ----------
    prepare
        Called with memory in the shape in which it is to be lent, once for all the times that it is lent in that shape;
        what it returns may refer to the memory, and is lent along with it.
    keep
        How many pieces of memory to hold in readiness; others that came back are let go when the next one is lent.

    Examples
    --------
    >>> pool = ArrayPool(lambda array: array[0])
    >>> first, first_row = pool.lend((2, 3))
    >>> address = first.ctypes.data
    >>> first_row.ctypes.data == address
    True
    >>> del first
    >>> pool.lend((2, 3))[0].ctypes.data == address
    True
    """

    def __init__(self, prepare: Callable[[NDArray[np.float32]], T], keep: int = 2) -> None:
        self._prepare = prepare
        self._spare: deque[_Block[T]] = deque(maxlen=keep)
        self._lent: list[tuple[weakref.ref[Any], _Block[T]]] = []
        self._lock = threading.Lock()

    def lend(self, shape: tuple[int, ...]) -> tuple[NDArray[np.float32], T]:
        """Return a contiguous array with arbitrary content, and what was prepared of its memory.

        Parameters
        ----------
        shape
            Its shape.
        """
        size = prod(shape)
        if size == 0:
            nothing = np.empty(shape, dtype=np.float32)
            return nothing, self._prepare(nothing)
        with self._lock:
            self._take_back()
            block = self._block(shape, size)
            # Views of an array refer to the array that owns the memory, not to each other; all refer to the lease.
            lease = (ctypes.c_float * size).from_buffer(block.memory.data)
            self._lent.append((weakref.ref(lease), block))
        return np.frombuffer(memoryview(lease), dtype=np.float32).reshape(shape), block.prepared

    def _take_back(self) -> None:
        """Move what nobody refers to any more from the lent to the spare."""
        lent, self._lent = self._lent, []
        for lease, block in lent:
            if lease() is None:
                self._spare.append(block)
            else:
                self._lent.append((lease, block))

    def _block(self, shape: tuple[int, ...], size: int) -> _Block[T]:
        """Return the last piece that came back, if it is large enough and not wasted on so little."""
        try:
            memory = (spare := self._spare.pop()).memory
        except IndexError:
            memory = np.empty(size, dtype=np.float32)
        else:
            if spare.shape == shape:
                return spare
            if not size <= memory.size <= 2 * size:
                memory = np.empty(size, dtype=np.float32)
        return _Block(memory, shape, self._prepare(memory[:size].reshape(shape)))
