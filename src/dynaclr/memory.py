"""Memory for batches that is used again, because fetching it anew from the system costs as much as reading does."""

from __future__ import annotations

import ctypes
import weakref
from collections import deque
from math import prod

import numpy as np
from numpy.typing import NDArray


class ArrayPool:
    """Lends float32 arrays, and takes their memory back when no array or tensor looks at it any more.

    A batch is hundreds of megabytes. The allocator returns as much to the system each time, which then has to clear and
    map it again, page by page. May be used by several threads at a time.

    It assumes that nobody reads an array's memory after the last Python object that refers to it is gone. A copy to a
    device that goes on in the background breaks this, unless the data are taken before the call returns: CUDA does so
    with memory that is not pinned, as here, MPS does not. Copy with ``non_blocking=True`` to CUDA only.

    Parameters
    ----------
    keep
        How many pieces of memory to hold in readiness.

    Examples
    --------
    >>> pool = ArrayPool()
    >>> first = pool.empty((2, 3))
    >>> address = first.ctypes.data
    >>> del first
    >>> pool.empty((3, 2)).ctypes.data == address
    True
    """

    def __init__(self, keep: int = 2) -> None:
        self._spare: deque[NDArray[np.float32]] = deque(maxlen=keep)

    def empty(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return a contiguous array with arbitrary content.

        Parameters
        ----------
        shape
            Its shape.
        """
        size = prod(shape)
        if size == 0:
            return np.empty(shape, dtype=np.float32)
        block = self._block(size)
        # Views of an array refer to the array that owns the memory, not to each other; all of them refer to the lease.
        lease = (ctypes.c_float * size).from_buffer(block.data)
        weakref.finalize(lease, self._spare.append, block).atexit = False
        return np.frombuffer(memoryview(lease), dtype=np.float32).reshape(shape)

    def _block(self, size: int) -> NDArray[np.float32]:
        """Return the last piece that came back, if it is large enough and not wasted on so little."""
        try:
            spare = self._spare.pop()
        except IndexError:
            return np.empty(size, dtype=np.float32)
        return spare if size <= spare.size <= 2 * size else np.empty(size, dtype=np.float32)
