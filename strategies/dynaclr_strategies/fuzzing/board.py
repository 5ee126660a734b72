"""What the processes of a search see together: memory that outlives each of them.

It lies in files that every process maps. Whoever is killed, even in the middle of an example, leaves it whole: no
example that was finished is lost from the counts, nor is the case that was being checked.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from dynaclr_strategies.codec import Plain
from dynaclr_strategies.invariants import INVARIANTS
from dynaclr_strategies.reproduction.attached import FailedCase
from dynaclr_strategies.subjects import SUBJECTS

__all__ = ["ARCS", "Board", "now"]

ARCS = 2**16
"""How many places there are for the arcs of one law."""

_CASE_BYTES = 2**20


def now() -> float:
    """Return seconds on a clock that all processes of a machine share."""
    return time.monotonic()


class Board:
    """The shared memory of one search.

    Parameters
    ----------
    folder
        Where the files are.
    laws
        Names of the laws, in the order of the arrays.
    workers
        Number of workers; every one writes to its own rows only.

    Attributes
    ----------
    checked, drawn
        Shape ``(workers, laws)``: examples that the law applied to, and all.
    arcs
        Shape ``(laws, ARCS)``: which arcs of the code were seen, how often in one example, in bits.
    until
        Shape ``(1,)``: when everybody stops, on the clock of `now`.
    began
        Shape ``(workers,)``: when the current example began; 0 between examples.
    """

    def __init__(self, folder: Path, laws: Sequence[str], workers: int) -> None:
        self.laws = list(laws)
        self._place = {law: place for place, law in enumerate(laws)}
        size = len(self.laws)
        self.checked = _shared(folder / "checked.npy", np.int64, (workers, size))
        self.drawn = _shared(folder / "drawn.npy", np.int64, (workers, size))
        self.arcs = _shared(folder / "arcs.npy", np.uint8, (size, ARCS))
        self.until = _shared(folder / "until.npy", np.float64, (1,))
        self.began = _shared(folder / "began.npy", np.float64, (workers,))
        self._length = _shared(folder / "length.npy", np.int64, (workers,))
        self._case = _shared(folder / "case.npy", np.uint8, (workers, _CASE_BYTES))

    def place(self, law: str) -> int:
        """Return the column of a law."""
        return self._place[law]

    def begin(self, worker: int, law: str, case: Plain) -> None:
        """Note the case that a worker begins to check; one that is far too large is not kept."""
        text = json.dumps([law, case.to_plain()]).encode()
        self._length[worker] = 0
        if len(text) <= _CASE_BYTES:
            self._case[worker, : len(text)] = np.frombuffer(text, np.uint8)
            self._length[worker] = len(text)
        self.drawn[worker, self.place(law)] += 1
        self.began[worker] = now()

    def end(self, worker: int, law: str, *, applied: bool) -> None:
        """Note that the case was checked."""
        self.checked[worker, self.place(law)] += applied
        self.began[worker] = 0.0
        self._length[worker] = 0

    def current(self, worker: int) -> FailedCase | None:
        """Return the case that a worker was checking when it was last heard of; None between cases."""
        length = int(self._length[worker])
        if not length:
            return None
        law, plain = json.loads(self._case[worker, :length].tobytes())
        return FailedCase(law, SUBJECTS[INVARIANTS[law].subject].case.from_plain(plain))

    def forget(self, worker: int) -> None:
        """Forget the case of a worker that is no more."""
        self.began[worker] = 0.0
        self._length[worker] = 0


def _shared(path: Path, dtype: Any, shape: tuple[int, ...]) -> Any:
    """Map a file, which is made by whoever comes first: the command, before there are workers."""
    if path.exists():
        return open_memmap(path, mode="r+")
    return open_memmap(path, mode="w+", dtype=dtype, shape=shape)
