"""Time and memory, measured so that other work on the machine disturbs all sides alike.

The sides of a comparison take turns within one run, in an order drawn anew each round, so that none always finds what
the same other one left in the caches. The best turn of each counts: noise only ever adds. Where several threads work
together luck may also save time, and the middle turn counts; and where times differ from process to process, with the
memory that each happens to get, the middle one of several. Python's garbage collector waits meanwhile. Memory is
measured in a process of its own.
"""

from __future__ import annotations

import gc
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

Call = Callable[[], object]
_LEAST_TURNS = 3
_MOST_TURNS = 200


@contextmanager
def without_collector() -> Iterator[None]:
    """Keep the garbage collector from running meanwhile."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def seconds(call: Call, before: Call | None = None) -> float:
    """Return how long one call takes; `before` prepares it and is not counted."""
    if before is not None:
        before()
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def interleaved(
    calls: Mapping[str, tuple[Call, int]],
    budget: float,
    before: Mapping[str, Call] | None = None,
    least: int = _LEAST_TURNS,
    of_turns: Callable[[list[float]], float] = min,
) -> dict[str, float]:
    """Time several calls in turns, each round in another order.

    Parameters
    ----------
    calls
        By name: what to call, and how many units of work that is. A call has to do all of its work itself: whatever
        one turn left to the next would make the best turn too good.
    budget
        Seconds to spend in all. Every call gets `least` turns; then those that have used up their equal share rest.
    before
        What prepares a turn, uncounted.
    least
        Fewest turns of each.
    of_turns
        Which turn counts: the best one, or `statistics.median` where threads work together.

    Returns
    -------
    dict
        By name, the seconds per unit of the turn that counts.
    """
    turns: dict[str, list[float]] = {name: [] for name in calls}
    share = budget / len(calls)
    rng = np.random.default_rng(0)
    with without_collector():
        for turn in range(_MOST_TURNS):
            active = [name for name in calls if turn < least or sum(turns[name]) < share]
            if not active:
                break
            for name in rng.permutation(active).tolist():
                turns[name].append(seconds(calls[name][0], (before or {}).get(name)))
    return {name: of_turns(taken) / calls[name][1] for name, taken in turns.items()}


def added_peak(where: str, **arguments: Any) -> float:
    """Return by how many MiB a call raises the peak of resident memory, in a process of its own.

    Parameters
    ----------
    where
        ``"module:function"`` of a function that prepares the work and returns the call.
    **arguments
        Its arguments; plain values.
    """
    return float(in_own_process("benchmarks.timing:peak_above", where=where, arguments=arguments))


def in_own_process(where: str, /, **arguments: Any) -> Any:
    """Call a function in a new process.

    Parameters
    ----------
    where
        ``"module:function"``.
    **arguments
        Its arguments; plain values.

    Returns
    -------
    object
        What the function returned, a plain value.

    Raises
    ------
    RuntimeError
        If it failed; with what it printed.
    """
    command = [sys.executable, "-m", "benchmarks.timing", where, json.dumps(arguments)]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False)  # noqa: S603
    if finished.returncode:
        raise RuntimeError(f"{where} with {arguments!r} failed in its own process:\n{finished.stderr}")
    return json.loads(finished.stdout.splitlines()[-1])


def middle_process(taken: Sequence[Mapping[str, float]], ours: str, limit: str) -> dict[str, float]:
    """Return what two sides took in the process whose ratio of them is the middle one.

    Parameters
    ----------
    taken
        By name, the seconds of each side, of an odd number of processes.
    ours, limit
        The names of the two.

    Returns
    -------
    dict
        All that this process measured.
    """
    assert len(taken) % 2, "an even number has no middle"
    return dict(sorted(taken, key=lambda one: one[ours] / one[limit])[len(taken) // 2])


def holding(before: int, within: int) -> Call:
    """Prepare so many MiB; the call makes so many more. What `added_peak` is checked with."""
    held = bytearray(before * 2**20)
    return lambda: (len(held), bytearray(within * 2**20))


def peak_above(where: str, arguments: Mapping[str, Any]) -> float:
    """Return by how many MiB a call raises the peak of this process, see `added_peak`."""
    call: Call = _function(where)(**arguments)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts anew from what is held now
    before = _high_water_mark()
    call()
    return (_high_water_mark() - before) / 2**10


def _function(where: str) -> Callable[..., Any]:
    module, _, name = where.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


def _high_water_mark() -> int:
    """Return the peak of resident memory in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    print(json.dumps(_function(sys.argv[1])(**json.loads(sys.argv[2]))))
