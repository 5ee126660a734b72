"""The workers of a search: who does what, and what happens when one dies."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import selectors
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from dynaclr_strategies.fuzzing.board import Board, now
from dynaclr_strategies.fuzzing.schedule import Schedule
from dynaclr_strategies.fuzzing.search import Failure, Job, Report
from dynaclr_strategies.fuzzing.worker import log_file
from dynaclr_strategies.reproduction.bundles import write_bundle

__all__ = ["Crew", "Tally"]

_MOST_KILLED = 3
"""After so many workers were killed at it, a law is left alone."""

_MOST_STILLBORN = 3
"""After so many workers in a row died before they were ready, there is no point in starting more."""


@dataclass
class Tally:
    """What a search has come to so far.

    Attributes
    ----------
    seconds
        Time by law.
    failures
        What was found.
    abandoned
        Laws that could not be searched to the end, and why.
    notes
        What else people should know, in the order in which it happened.
    """

    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    failures: list[Failure] = field(default_factory=list)
    abandoned: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass
class _Worker:
    number: int
    process: subprocess.Popen[bytes]
    is_ready: bool = False
    job: Job | None = None
    began: float = 0.0
    unread: bytes = b""


class Crew:
    """Workers that search laws until the time on the board is over.

    Parameters
    ----------
    folder
        Scratch folder, with the board in it.
    board
        The shared memory.
    bundles
        Where bundles go.
    workers
        How many processes.
    seed
        Decides what is drawn, as far as time does not.
    slice_seconds
        How long a law is searched at a time.
    patience
        For how many seconds an example may last before its worker is given up.
    say
        Called with every note when it happens.
    maker
        ``"module:function"`` of the sampler that is searched on; None for ``dynaclr``'s own.
    """

    def __init__(
        self,
        folder: Path,
        board: Board,
        bundles: Path,
        *,
        workers: int,
        seed: int,
        slice_seconds: float,
        patience: float,
        say: Callable[[str], None],
        maker: str | None = None,
    ) -> None:
        self.tally = Tally()
        self._folder, self._board, self._bundles, self._say = folder, board, bundles, say
        self._maker = maker
        self._seed, self._slice, self._patience = seed, slice_seconds, patience
        self._schedule = Schedule(board.laws, seed)
        self._jobs: Counter[str] = Counter()
        self._killed: Counter[str] = Counter()
        self._stillborn = 0
        self._selector = selectors.DefaultSelector()
        self._size = workers
        self._workers: dict[int, _Worker] = {}

    @property
    def is_at_work(self) -> bool:
        """Whether there is something left to wait for."""
        return any(worker.job is not None for worker in self._workers.values()) or self._goes_on()

    @property
    def never_began(self) -> bool:
        """Whether the workers cannot even be started."""
        return self._stillborn >= _MOST_STILLBORN

    def _goes_on(self) -> bool:
        return now() < self._board.until[0] and bool(self._schedule.left) and not self.never_began

    # --- the loop -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start all workers."""
        for number in range(self._size):
            self._start(number)

    def step(self, timeout: float) -> None:
        """Hand out jobs, and wait a while for what comes back."""
        for worker in list(self._workers.values()):
            if worker.is_ready and worker.job is None and self._goes_on():
                self._hand_out(worker)
        for key, _ in self._selector.select(timeout):
            self._read(key.data)
        for worker in list(self._workers.values()):
            self._look_after(worker)

    def stop(self) -> None:
        """End all workers. They are between two jobs, unless nobody wants to wait any longer."""
        for worker in list(self._workers.values()):
            if worker.job is not None:
                worker.process.kill()
            self._part_with(worker)

    def _hand_out(self, worker: _Worker) -> None:
        running = {other.job.law for other in self._workers.values() if other.job is not None}
        law = self._schedule.deal(running)
        if law is None:
            return
        place, seconds = self._board.place(law), self.tally.seconds[law]
        rate = int(self._board.drawn[:, place].sum()) / seconds if seconds else 0.0
        # Not the built-in `hash`, which is another one in every process.
        digest = hashlib.sha256(f"{self._seed} {law} {self._jobs[law]}".encode()).digest()
        seed = int.from_bytes(digest[:8], "big")
        examples = max(20, int(rate * self._slice)) if rate else 1000
        worker.job, worker.began = Job(law, seed, now() + self._slice, examples), now()
        self._jobs[law] += 1
        with contextlib.suppress(BrokenPipeError):  # seen to when its end is noticed
            _pipe(worker.process.stdin).write(json.dumps(asdict(worker.job)).encode() + b"\n")
            _pipe(worker.process.stdin).flush()

    def _read(self, worker: _Worker) -> None:
        content = os.read(_pipe(worker.process.stdout).fileno(), 2**16)
        *lines, worker.unread = (worker.unread + content).split(b"\n")
        for line in lines:
            answer = json.loads(line)
            worker.is_ready = worker.is_ready or "ready" in answer
            self._stillborn = 0 if worker.is_ready else self._stillborn
            if "note" in answer:
                self._note(answer["note"])
            if "report" in answer:
                self._take_in(worker, Report.from_plain(answer["report"]))
        if not content:
            self._bury(worker)

    def _take_in(self, worker: _Worker, report: Report) -> None:
        seconds = now() - worker.began
        worker.job = None
        self.tally.seconds[report.law] += seconds
        self._schedule.told(report.law, seconds, report.new_arcs)
        # A law that fails again with each new draw would take all the time there is.
        if report.failures:
            self._schedule.retire(report.law)
        known = {failure.bundle or failure.text for failure in self.tally.failures}
        self.tally.failures += [one for one in report.failures if (one.bundle or one.text) not in known]

    # --- births and deaths --------------------------------------------------------------------------------------------

    def _start(self, number: int) -> None:
        command = [sys.executable, "-m", "dynaclr_strategies.fuzzing.worker"]
        process = subprocess.Popen(  # noqa: S603 - this package's own command
            [*command, str(self._folder), str(number), str(self._size)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            # Ctrl-C is for the command, which tells its workers when to stop.
            start_new_session=True,
        )
        self._workers[number] = worker = _Worker(number, process)
        self._selector.register(_pipe(process.stdout), selectors.EVENT_READ, worker)

    def _look_after(self, worker: _Worker) -> None:
        """Give a worker up whose example does not end."""
        began = float(self._board.began[worker.number])
        if worker.job is not None and began and now() - began > self._patience:
            law, what = worker.job.law, f"did not end within {self._patience:.0f} s"
            self._note(f"An example of {law} {what}; its worker was stopped.")
            self._keep(worker, TimeoutError(f"the check {what}"))
            self._give_up(law, f"an example {what}")
            worker.process.kill()
            self._replace(worker)

    def _bury(self, worker: _Worker) -> None:
        """Say how a worker died, keep the case if that is to blame, and start another one."""
        code = worker.process.wait()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        if worker.job is None:
            self._stillborn += not worker.is_ready
            self._note(f"Worker {worker.number} ended with {how}{self._last_words(worker)}.")
        elif code in {-signal.SIGKILL, -signal.SIGTERM}:
            law = worker.job.law
            self._killed[law] += 1
            self._note(f"Worker {worker.number} was killed at {law} ({how}); its current example is lost.")
            if self._killed[law] < _MOST_KILLED:
                self._schedule.put_first(law)
            else:
                self._give_up(law, f"{_MOST_KILLED} workers were killed at it; is there enough memory?")
        else:
            law = worker.job.law
            self._note(f"Worker {worker.number} died at {law} ({how}){self._last_words(worker)}.")
            self._keep(worker, RuntimeError(f"the process died with {how}"))
            self._give_up(law, f"a worker died with {how}")
        self._replace(worker)

    def _replace(self, worker: _Worker) -> None:
        if worker.job is not None:
            self.tally.seconds[worker.job.law] += now() - worker.began
            worker.job = None
        self._part_with(worker)
        self._board.forget(worker.number)
        if self._goes_on():
            self._start(worker.number)

    def _part_with(self, worker: _Worker) -> None:
        self._selector.unregister(_pipe(worker.process.stdout))
        with contextlib.suppress(BrokenPipeError):
            _pipe(worker.process.stdin).close()
        _pipe(worker.process.stdout).close()
        worker.process.wait()
        del self._workers[worker.number]

    def _keep(self, worker: _Worker, problem: Exception) -> None:
        """Write a bundle of the case that a worker did not get over."""
        failed = self._board.current(worker.number)
        if failed is not None:
            bundle = write_bundle(replace(failed, maker=self._maker), problem, self._bundles)
            self.tally.failures.append(Failure(failed.law, str(problem), str(bundle), shrunk=False))

    def _give_up(self, law: str, why: str) -> None:
        self._schedule.retire(law)
        self.tally.abandoned[law] = why

    def _last_words(self, worker: _Worker) -> str:
        with contextlib.suppress(OSError):
            lines = log_file(self._folder, worker.number).read_text(encoding="utf-8", errors="replace").split("\n")
            said = [line.strip() for line in lines if line.strip()]
            return f": {said[-1]}" if said else ""
        return ""

    def _note(self, text: str) -> None:
        if text not in self.tally.notes:
            self._say(text)
        self.tally.notes.append(text)


def _pipe(stream: IO[bytes] | None) -> IO[Any]:
    if stream is None:
        raise RuntimeError("the worker was started without pipes")
    return stream
