"""One law, searched by Hypothesis for a slice of time."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, assume, given, seed, settings, target
from hypothesis.database import ExampleDatabase
from hypothesis.errors import Unsatisfiable

from dynaclr_strategies.codec import Plain
from dynaclr_strategies.conformance.contract import Contract
from dynaclr_strategies.conformance.plans import drawn_cases
from dynaclr_strategies.fuzzing.arcs import ArcTracer
from dynaclr_strategies.fuzzing.board import Board, now
from dynaclr_strategies.invariants.nearness import listening
from dynaclr_strategies.law_cases import law_cases
from dynaclr_strategies.reproduction.attached import FailedCase, check_law, leaves
from dynaclr_strategies.reproduction.bundles import write_bundle
from dynaclr_strategies.reproduction.elsewhere import LAW as ELSEWHERE
from dynaclr_strategies.reproduction.elsewhere import ElsewhereError, check_elsewhere
from dynaclr_strategies.sampler_descriptions import SamplerCase

__all__ = ["TRACED_EVERY", "Failure", "Job", "Report", "Searcher"]

TRACED_EVERY = 8
"""Tracing an example takes a multiple of its time."""

_log = logging.getLogger(__name__)
_ASKED_ELSEWHERE = 50
"""How many cases each worker tries in another process, once: to start it takes as long as hundreds of examples."""


@dataclass(frozen=True)
class Job:
    """A slice of a search.

    Attributes
    ----------
    law
        Name of the law.
    seed
        Decides what is drawn.
    until
        When the slice ends, on the clock of `dynaclr_strategies.fuzzing.board.now`.
    examples
        About as many as fit into the slice; from the half of them on, Hypothesis climbs towards failures.
    """

    law: str
    seed: int
    until: float
    examples: int


@dataclass(frozen=True)
class Failure:
    """What was found.

    Attributes
    ----------
    law
        Name of the law.
    text
        What happened, in a line or a few.
    bundle
        Path of the bundle; empty where there is no case, because drawing one failed.
    shrunk
        False if time was over before the case was as small as it gets.
    """

    law: str
    text: str
    bundle: str
    shrunk: bool


@dataclass(frozen=True)
class Report:
    """What came of a slice.

    Attributes
    ----------
    law
        Name of the law.
    new_arcs
        How many arcs were seen for the first time.
    failures
        What was found.
    """

    law: str
    new_arcs: int
    failures: tuple[Failure, ...]

    def to_plain(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Report:
        """Return the report that `to_plain` gave."""
        return cls(**{**plain, "failures": tuple(Failure(**one) for one in plain["failures"])})


class _TimeIsUp(KeyboardInterrupt):
    """Ends a run of Hypothesis from within an example, like Ctrl-C, which alone keeps no example as a failure."""


class Searcher:
    """Searches laws, one after the other.

    Parameters
    ----------
    board
        The shared memory.
    worker
        Which row of it is ours.
    database
        Where Hypothesis keeps examples.
    bundles
        Where bundles go.
    code
        The folder, or the file, of the code whose arcs count.
    contract
        The sampler that the laws are searched on; by default ``dynaclr``'s own, and all else that is its own.
    traced_every
        How many examples there are to one that is traced; with 0 none is.
    """

    def __init__(
        self,
        board: Board,
        worker: int,
        database: ExampleDatabase,
        bundles: Path,
        code: Path,
        *,
        contract: Contract | None = None,
        traced_every: int = TRACED_EVERY,
    ) -> None:
        self._board, self._worker, self._database, self._bundles, self._code = board, worker, database, bundles, code
        self._contract = contract
        self._maker = None if contract is None else contract.name
        self._make = None if contract is None else contract.make
        self._traced_every = traced_every
        self._for_elsewhere: list[SamplerCase] | None = []

    def search(self, job: Job) -> Report:
        """Search one law until the slice ends, something is found and shrunk, or there is nothing left to check."""
        tracer = ArcTracer(self._code, self._board.arcs[self._board.place(job.law)])
        smallest: dict[Any, tuple[BaseException, FailedCase]] = {}
        failures: list[Failure] = []
        try:
            self._test(job, tracer, smallest)()
        except _TimeIsUp:
            failures = [self._failure(problem, failed, shrunk=False) for problem, failed in smallest.values()]
        except Unsatisfiable:
            # The law applied to nothing that was drawn; the table of the search shows it without examples.
            pass
        except Exception as problem:  # noqa: BLE001 - whatever it is, it is what the search is for
            failures = [self._failure(inner, failed, shrunk=True) for inner, failed in leaves(problem)]
            if not failures:
                text = "".join(traceback.format_exception_only(problem)).strip()
                failures = [Failure(job.law, f"no case could be drawn: {text}", "", shrunk=True)]
        return Report(job.law, tracer.new, tuple(failures or self._elsewhere(job)))

    def _keep_for_elsewhere(self, job: Job, case: Plain) -> None:
        kept = self._for_elsewhere
        if job.law == ELSEWHERE and isinstance(case, SamplerCase) and kept is not None and len(kept) < _ASKED_ELSEWHERE:
            kept.append(case)

    def _elsewhere(self, job: Job) -> list[Failure]:
        """Try the cases of the law that asks for it in another process, once there are enough of them."""
        cases = self._for_elsewhere
        if job.law != ELSEWHERE or cases is None or len(cases) < _ASKED_ELSEWHERE:
            return []
        self._for_elsewhere = None
        try:
            patience = max(1.0, self._board.until[0] - now())
            epochs = self._contract is None or bool(self._contract.claims.epochs)
            check_elsewhere(cases, self._make, maker=self._maker, epochs=epochs, patience=patience)
        except ElsewhereError as problem:
            if now() < self._board.until[0]:  # it did not fail for want of time
                _log.warning("%s is not tried in another process: %s.", ELSEWHERE, problem)
            return []
        except Exception as problem:
            if not leaves(problem):
                raise
            return [self._failure(inner, failed, shrunk=False) for inner, failed in leaves(problem)]
        return []

    def fuzz_target(self, job: Job) -> Callable[[bytes], bytes | None]:
        """Return what checks the case that bytes stand for, and keeps a failure where `search` looks first."""
        tracer = ArcTracer(self._code, self._board.arcs[self._board.place(job.law)])
        target: Callable[[bytes], bytes | None] = self._test(job, tracer, {}).hypothesis.fuzz_one_input
        return target

    def _test(self, job: Job, tracer: ArcTracer, smallest: dict[Any, tuple[BaseException, FailedCase]]) -> Any:
        check = self._checker(job, tracer, smallest)
        # The database tells tests apart by their names, and by how the check is written.
        check.__name__ = check.__qualname__ = re.sub(r"\W", "_", f"search_{job.law}{self._maker or ''}")
        chosen = settings(
            max_examples=job.examples,
            deadline=None,
            database=self._database,
            derandomize=False,
            # What the explanation says is not in a bundle, and takes longer than all the rest.
            phases=[phase for phase in Phase if phase is not Phase.explain],
            verbosity=Verbosity.quiet,
            suppress_health_check=list(HealthCheck),
        )
        # The settings last: a test that is given a seed after them has no database any more.
        contract = self._contract
        cases = law_cases(job.law) if contract is None else drawn_cases(job.law, contract.claims)
        return chosen(seed(job.seed)(given(case=cases)(check)))

    def _checker(
        self, job: Job, tracer: ArcTracer, smallest: dict[Any, tuple[BaseException, FailedCase]]
    ) -> Callable[[Plain], None]:
        """Return what Hypothesis calls with each case."""
        board, worker, number = self._board, self._worker, 0

        def check(case: Plain) -> None:
            nonlocal number
            number += 1
            # A failure is worth more than the slice, and is shrunk until the whole search ends.
            if now() >= (board.until[0] if smallest else min(job.until, board.until[0])):
                raise _TimeIsUp
            board.begin(worker, job.law, case)
            applied = True
            try:
                with listening() as scores, tracer if self._is_traced(number) else nullcontext():
                    applied = check_law(job.law, case, self._make, maker=self._maker)
            except Exception as problem:
                # Hypothesis only ever goes on from a smaller failure of the same kind.
                smallest[_kind(problem)] = (problem, FailedCase(job.law, case, self._maker))
                raise
            finally:
                board.end(worker, job.law, applied=applied)
            assume(applied)
            self._keep_for_elsewhere(job, case)
            if scores:
                target(sum(scores.values()))

        return check

    def _is_traced(self, number: int) -> bool:
        return bool(self._traced_every) and number % self._traced_every == 1 % self._traced_every

    def _failure(self, problem: BaseException, failed: FailedCase, *, shrunk: bool) -> Failure:
        text = f"{type(problem).__name__}: {problem}"
        try:
            return Failure(failed.law, text, str(write_bundle(failed, problem, self._bundles)), shrunk)
        except Exception as trouble:  # noqa: BLE001 - the failure itself must be told, whatever happens here
            return Failure(failed.law, f"{text}; no bundle could be written: {trouble}", "", shrunk)


def _kind(problem: BaseException) -> tuple[Any, ...]:
    """Return what tells one failure from another: its type, and where it was raised."""
    frames = traceback.extract_tb(problem.__traceback__)
    return (type(problem), frames[-1].filename, frames[-1].lineno) if frames else (type(problem),)
