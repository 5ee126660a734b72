"""Which code an example runs: arcs between lines of ``dynaclr``, counted as fuzzers count them.

A bit stands for an arc and for how often it was run in one example: once, twice, three times, up to 7, 15, 31, 127 or
more often. That is the measure of American Fuzzy Lop; see its *Technical details*, section "Detecting new behaviors".
"""

from __future__ import annotations

import sys
import zlib
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from dynaclr_strategies.fuzzing.board import ARCS

__all__ = ["ArcTracer"]

_LIMITS = np.array([1, 2, 3, 4, 8, 16, 32, 128])


class ArcTracer:
    """Traces the lines of one package or module while it is open, in the thread that opened it.

    Parameters
    ----------
    code
        The folder, or the file, of the code that counts.
    seen
        Shape ``(ARCS,)``: bits of what was seen before; what is new is added.
    """

    def __init__(self, code: Path, seen: npt.NDArray[np.uint8]) -> None:
        self._root = str(code) if code.is_file() else f"{code}/"
        self._seen = seen
        self._known: dict[CodeType, int | None] = {}
        self._counts: Counter[int] = Counter()
        self.new = 0

    def __enter__(self) -> Self:
        self._counts.clear()
        sys.settrace(self._called)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, at: TracebackType | None
    ) -> None:
        sys.settrace(None)
        if not self._counts:
            return
        places = np.fromiter(self._counts.keys(), np.int64, len(self._counts))
        counts = np.fromiter(self._counts.values(), np.int64, len(self._counts))
        bits = (1 << (np.searchsorted(_LIMITS, counts, side="right") - 1)).astype(np.uint8)
        fresh = bits & ~self._seen[places]
        self.new += int(np.count_nonzero(fresh))
        self._seen[places] |= fresh

    def _called(self, frame: FrameType, event: str, argument: Any) -> Any:  # noqa: ARG002 - as Python calls it
        code = frame.f_code
        if code not in self._known:
            # Not `hash`, which is another one in every process.
            name = f"{code.co_filename}:{code.co_qualname}" if code.co_filename.startswith(self._root) else None
            self._known[code] = None if name is None else zlib.crc32(name.encode())
        base = self._known[code]
        if base is None:
            return None
        counts, before = self._counts, 0

        def line(frame: FrameType, event: str, argument: Any) -> Any:  # noqa: ARG001
            nonlocal before
            if event == "line":
                at = frame.f_lineno
                counts[(base + before * 0x9E3779B1 + at) % ARCS] += 1
                before = at
            return line

        return line
