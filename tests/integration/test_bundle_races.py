"""Several workers write bundles into one folder: whoever is faster, no failure is lost."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from witnesses import PLAIN

from dynaclr_strategies.reproduction import bundles
from dynaclr_strategies.reproduction.attached import FailedCase
from dynaclr_strategies.reproduction.bundles import write_bundle
from dynaclr_strategies.reproduction.case_files import read_case

FAILED = FailedCase("elastic", PLAIN)
RENAME = Path.rename
LONG_ENOUGH = 60.0


class Worker(threading.Thread):
    """One that writes a bundle, and waits before everything it moves until it is told to go on."""

    def __init__(self, message: str, folder: Path) -> None:
        super().__init__(daemon=True)
        self._message, self._folder = message, folder
        self._waits, self._may_go_on = threading.Semaphore(0), threading.Semaphore(0)
        self.trouble: BaseException | None = None
        self.has_ended = False

    def run(self) -> None:
        """Write the bundle."""
        self._may_go_on.acquire()
        try:
            write_bundle(FAILED, ValueError(self._message), self._folder)
        except BaseException as trouble:  # noqa: BLE001 - it is looked at by the test
            self.trouble = trouble
        self.has_ended = True
        self._waits.release()

    def wait(self) -> None:
        """Stop here, in this thread, until another one says go on."""
        self._waits.release()
        self._may_go_on.acquire()

    def go_on(self) -> None:
        """Let it run, in its thread, to what it moves next or to its end; and nobody else meanwhile."""
        if not self.has_ended:
            self._may_go_on.release()
            assert self._waits.acquire(timeout=LONG_ENOUGH)


def waiting_rename(path: Path, target: Path) -> Path:
    """Rename as `Path.rename`, but when a worker may."""
    worker = threading.current_thread()
    if isinstance(worker, Worker):
        worker.wait()
    return RENAME(path, target)


@contextmanager
def workers(messages: list[str]) -> Iterator[tuple[Path, list[Worker]]]:
    """Have a folder with a bundle of the first failure, and workers that have not begun."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        # It takes long, and has no part in this.
        patch.setattr(bundles, "draw_picture", lambda *_: None)
        patch.setattr(Path, "rename", waiting_rename)
        write_bundle(FAILED, ValueError(messages[0]), Path(name))
        team = [Worker(message, Path(name)) for message in messages]
        for worker in team:
            worker.start()
        yield Path(name), team


SAME, OTHER, THIRD = "cells are missing", "too many cells", "cells of no experiment"


@settings(max_examples=max(20, settings().max_examples // 2), deadline=None)
@given(
    messages=st.lists(st.sampled_from([SAME, OTHER, THIRD]), min_size=2, max_size=4),
    turns=st.lists(st.integers(0, 3), max_size=16),
)
# One takes its bundle away where the other has just done so.
@example(messages=[SAME, SAME], turns=[0, 1, 1])
# The second takes the bundle away, and another failure comes to the place that the first has looked at.
@example(messages=[SAME, SAME, OTHER], turns=[0, 1, 1, 2, 2])
# As before, but when the first puts it back, a third failure has come to the place.
@example(messages=[SAME, SAME, OTHER, THIRD], turns=[0, 1, 1, 2, 2, 0, 3, 3, 3])
# The same, and it is the same failure that has come to the place.
@example(messages=[SAME, SAME, OTHER, OTHER], turns=[0, 1, 1, 2, 2, 0, 3, 3, 3])
def test_workers_lose_nothing(messages: list[str], turns: list[int]) -> None:
    """In whatever order they move what they have written."""
    with workers(messages) as (folder, team):
        for turn in turns:
            team[turn % len(team)].go_on()
        for worker in team:
            while not worker.has_ended:
                worker.go_on()
        assert [worker.trouble for worker in team] == [None] * len(team)
        found = {path.name: read_case(path).message for path in folder.iterdir()}
    assert not any(name.startswith(".") for name in found)
    # One that sees a place free for the moment in which it is replaced may leave a second bundle of a failure there.
    assert set(found.values()) == set(messages)
