"""The run: make the mutants, find out which tests reach them, try each that was not tried yet."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from math import ceil
from pathlib import Path

from mutmut.__main__ import collect_or_load_stats, create_mutants
from mutmut.configuration import config
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.state import state
from mutmut.utils.file_utils import copy_also_copy_files, copy_src_dir, setup_source_paths
from mutmut.utils.format_utils import mangled_name_from_mutant_name
from mutmut.workers.isolation import ForkServerRunner, MutantResult

from mutation.results import Mutant, mutants
from mutation.worker import GRACE, KILLERS, SLOWER, SURVIVED, CollectedRunner

__all__ = ["run"]

HOME = Path("mutants")
TRIED = HOME / "tried.json"
STATS = HOME / "mutmut-stats.json"
NO_TESTS = 33  # as mutmut has it
BEST, SHORT = 4, 0.3
"""How many of the tests that have killed mutants nearby come first, and how many seconds one of them may take."""


def run(modules: list[str], *, workers: int, budget: float) -> None:
    """Try the mutants of some modules, of all where none is named, that were not tried before.

    A killed mutant stays killed until its function changes. One that lives is tried again with the tests that are new
    since, or whose file has changed.

    Parameters
    ----------
    modules
        Names of modules without their package.
    workers
        How many mutants are tried at once.
    budget
        Seconds of tests that a mutant is tried with, by how long they take without it; the rest is left out.
    """
    set_mutant_under_test("mutant_generation")
    HOME.mkdir(exist_ok=True)
    with _spoken_to(HOME / "mutmut.log"):
        runner = _prepare(workers)
    work = _Work(budget=budget)
    todo = [mutant for mutant in mutants(modules) if work.tests_of(mutant)]
    order = {module: number for number, module in enumerate(modules)}
    todo.sort(key=lambda mutant: order.get(mutant.module, 0))
    try:
        runner.startup()
        work.do(runner, todo)
    except KeyboardInterrupt:
        runner.stop_all_workers()
        raise
    finally:
        runner.shutdown()


@contextmanager
def _spoken_to(log: Path) -> Iterator[None]:
    """Have mutmut tell a file how far it is, which it does many times per second; show it if mutmut gives up."""
    sys.stdout.flush()
    terminal = os.dup(1)
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        try:
            yield
        except SystemExit:
            sys.stderr.write(log.read_text()[-2000:])
            raise
        finally:
            sys.stdout.flush()
            os.dup2(terminal, 1)
            os.close(terminal)


def _prepare(workers: int) -> ForkServerRunner:
    """Make the mutants and find out which tests reach them, as far as that is not known."""
    _copy()
    create_mutants(workers)
    # Torch would start a thread per core in each of the processes.
    os.environ.update(HYPOTHESIS_PROFILE="mutation", OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    runner = ForkServerRunner(workers, CollectedRunner, {})
    _forget_changed_tests()
    # A new test file is no reason to forget what the others have killed.
    collect_or_load_stats(runner, apply_config_invalidation=False)
    set_mutant_under_test("")
    return runner


def _copy() -> None:
    """Bring the copy that the mutants are made in up to date."""
    for outdated in (HOME / "tests", HOME / "scratch"):
        shutil.rmtree(outdated, ignore_errors=True)
    (HOME / "scratch").mkdir()
    copy_src_dir()
    copy_also_copy_files()
    setup_source_paths()


def _forget_changed_tests() -> None:
    """Have mutmut find out anew what is reached by the tests of files that changed."""
    if not STATS.exists():
        return
    stats = json.loads(STATS.read_text())
    known = json.loads((HOME / "test-files.json").read_text()) if (HOME / "test-files.json").exists() else {}
    digests = {name: _digest(name) for name in config().pytest_add_cli_args_test_selection}
    changed = {name for name, digest in digests.items() if known.get(name, digest) != digest}
    duration = stats["duration_by_test"]
    stats["duration_by_test"] = {test: spent for test, spent in duration.items() if _file(test) not in changed}
    reached = stats["tests_by_mangled_function_name"]
    stats["tests_by_mangled_function_name"] = {
        function: [test for test in tests if _file(test) not in changed] for function, tests in reached.items()
    }
    STATS.write_text(json.dumps(stats))
    (HOME / "test-files.json").write_text(json.dumps(digests))


def _file(test: str) -> str:
    return test.partition("::")[0]


def _digest(name: str) -> str:
    return sha256(Path(name).read_bytes()).hexdigest()[:12]


@dataclass
class _Work:
    """What is to be done, and what was."""

    budget: float
    tried: dict[str, list[str]] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    killers: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    data: dict[Path, SourceFileMutationData] = field(default_factory=dict)
    pending: dict[str, tuple[Mutant, list[str]]] = field(default_factory=dict)
    reach: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Read what earlier runs left."""
        for reaching in state().tests_by_mangled_function_name.values():
            self.reach.update(reaching)
        if TRIED.exists():
            self.tried = json.loads(TRIED.read_text())
        self.digests = {name: _digest(name) for name in config().pytest_add_cli_args_test_selection}
        if (HOME / KILLERS).exists():
            for line in (HOME / KILLERS).read_text().splitlines():
                mutant, _, test = line.partition("\t")
                self._count_killer(mutant, test)

    def _count_killer(self, mutant: str, test: str) -> None:
        function = mangled_name_from_mutant_name(mutant)
        self.killers[function][test] += 1
        self.killers[function.rpartition(".")[0]][test] += 1

    def tests_of(self, mutant: Mutant) -> list[str]:
        """Return the tests that a mutant is to be tried with: those likely to kill it first, then the fast ones."""
        if mutant.status not in ("not checked", "survived", "no tests", "check was interrupted by user"):
            return []
        function = mangled_name_from_mutant_name(mutant.name)
        duration = state().duration_by_test
        here, around = self.killers[function], self.killers[function.rpartition(".")[0]]
        reaching = state().tests_by_mangled_function_name.get(function, ())
        kills = {test: (here[test] + 0.1 * around[test]) / (duration[test] + 0.02) for test in reaching}
        killers = (test for test in reaching if kills[test] and duration[test] <= SHORT)
        best = set(sorted(killers, key=lambda test: -kills[test])[:BEST])
        # After those that kill most per second come those that are fast and reach little else: they are about this
        # function.
        ordered = sorted(
            reaching, key=lambda test: (-kills[test] * (test in best), (duration[test] + 0.005) * self.reach[test])
        )
        chosen, spent = [], 0.0
        for test in ordered:
            spent += duration[test]
            if chosen and spent > self.budget:
                break
            chosen.append(test)
        if mutant.status == "not checked":
            return chosen or ["none"]
        before = set(self.tried.get(mutant.name, ()))
        return [test for test in chosen if self._key(test) not in before]

    def _key(self, test: str) -> str:
        return f"{test}@{self.digests[_file(test)]}"

    def do(self, runner: ForkServerRunner, todo: list[Mutant]) -> None:
        """Try mutants, and write down what became of each as soon as it is known."""
        for number, mutant in enumerate(todo):
            _show(f"{number} of {len(todo)}: {mutant.name}")
            tests = self.tests_of(mutant)
            if tests == ["none"]:
                self._store(mutant, NO_TESTS)
                continue
            while not runner.has_capacity():
                self._take(runner.wait_for_result())
            self.pending[mutant.name] = mutant, tests
            seconds = [state().duration_by_test[test] for test in tests]
            # The whole is limited by mutmut, in case that a test ignores its own limit.
            limit = 2 * ceil(SLOWER * sum(seconds) + GRACE * 10)
            timed = [f"{spent:.3f} {test}" for spent, test in zip(seconds, tests, strict=True)]
            runner.submit(mutant.name, timed, limit, sum(seconds))
        while runner.pending_count():
            self._take(runner.wait_for_result())
        _show("")

    def _take(self, result: MutantResult) -> None:
        mutant, tests = self.pending.pop(result.mutant_name)
        if result.exit_code == SURVIVED:
            known = set(self.tried.get(mutant.name, ()))
            self.tried[mutant.name] = sorted(known | {self._key(test) for test in tests})
            TRIED.write_text(json.dumps(self.tried))
        else:
            last = (HOME / KILLERS).read_text().rpartition(f"{mutant.name}\t")[2] if (HOME / KILLERS).exists() else ""
            if last:
                self._count_killer(mutant.name, last.partition("\n")[0])
        self._store(mutant, result.exit_code)

    def _store(self, mutant: Mutant, code: int) -> None:
        if mutant.path not in self.data:
            self.data[mutant.path] = SourceFileMutationData(path=mutant.path)
            self.data[mutant.path].load()
        self.data[mutant.path].exit_code_by_key[mutant.name] = code
        self.data[mutant.path].save()


def _show(progress: str) -> None:
    """Write over the line of the terminal; where there is none, nothing."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{progress}\033[K")
        sys.stderr.flush()
