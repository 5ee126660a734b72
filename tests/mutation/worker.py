"""How the tests of a mutant are run: by a fork of a process that has collected them, and has run none.

TensorStore aborts a process that is forked after it was used, and so does torch when its threads are running. The fork
server of mutmut is clean, but each of its forks starts pytest anew, which takes longer than most tests that kill.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from mutmut.runners.harness import PytestRunner

__all__ = ["KILLERS", "SURVIVED", "TIMEOUT", "CollectedRunner"]

SURVIVED, KILLED, TIMEOUT = 0, 1, 36  # as mutmut has them

KILLERS = "killers.tsv"
"""In the folder of the mutants: which test killed which, a line each."""

MEMORY = 4 << 30
"""What a mutant may allocate before it counts as killed, in bytes."""

SLOWER, GRACE = 10, 5
"""A test may take ten times as long as it did, and 5 seconds more, of processor time: load is not a failure."""


class CollectedRunner(PytestRunner):
    """Collects the tests once, in the fork server, and runs those asked for in the order asked for."""

    _items: dict[str, pytest.Item]
    _session: pytest.Session

    def warm_up(self) -> None:
        """Collect all tests, in the fork server."""
        os.chdir("mutants")
        arguments = ["--rootdir=.", "--tb=native", "--capture=no", "-q", *self._pytest_add_cli_args]
        config = _configured(arguments + self._pytest_add_cli_args_test_selection)
        self._session = pytest.Session.from_config(config)
        config.hook.pytest_sessionstart(session=self._session)
        config.hook.pytest_collection(session=self._session)
        self._items = {item.nodeid: item for item in self._session.items}

    def run_tests(self, *, mutant_name: str | None, tests: Iterable[str]) -> int:
        """Run the tests one after the other, up to the first that fails, in a fork of the fork server.

        The tests come as ``"seconds test"``, so that each has a limit of its own.
        """
        scratch = Path(tempfile.mkdtemp(prefix="mutant-", dir="scratch"))
        tempfile.tempdir = os.environ["TMPDIR"] = str(scratch.absolute())
        resource.setrlimit(resource.RLIMIT_AS, (_allocated() + MEMORY, resource.RLIM_INFINITY))
        signal.signal(signal.SIGPROF, lambda *_: os._exit(TIMEOUT))
        _mute()
        timed = [test.split(" ", 1) for test in tests]
        chosen = [(float(seconds), self._items[test]) for seconds, test in timed if test in self._items]
        killer = self._first_failure(chosen)
        if killer is not None:
            with Path(KILLERS).open("a") as log:
                log.write(f"{mutant_name}\t{killer}\n")
        shutil.rmtree(scratch, ignore_errors=True)
        return SURVIVED if killer is None else KILLED

    def _first_failure(self, chosen: list[tuple[float, pytest.Item]]) -> str | None:
        following: list[pytest.Item | None] = [item for _, item in chosen[1:]]
        for (seconds, item), nextitem in zip(chosen, [*following, None], strict=True):
            signal.setitimer(signal.ITIMER_PROF, SLOWER * seconds + GRACE)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=nextitem)
            if self._session.testsfailed:
                return item.nodeid
        return None

    def run_stats(self, *, tests: Iterable[str]) -> int:
        """Run tests as ever, and find out which functions each of them reaches."""
        with Path("mutants/stats.log").open("w") as log:
            os.dup2(log.fileno(), 1)
            with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
                return super().run_stats(tests=tests)


def _configured(arguments: list[str]) -> Any:
    """Return pytest's configuration for a session that is not run by pytest."""
    from _pytest.config import _prepareconfig  # what pytest-xdist uses, for the same purpose

    config = _prepareconfig(arguments)
    config._do_configure()
    return config


def _allocated() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _mute() -> None:
    """Have nothing printed, by libraries neither."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
