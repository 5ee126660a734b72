"""The batches of a sampler in another process, in which strings have other hashes.

One process answers for many cases: to start it, and to import the sampler there, takes longer than all their batches.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dynaclr_strategies.invariants.base import INVARIANTS, InvariantViolation
from dynaclr_strategies.invariants.sampler_endings import ending
from dynaclr_strategies.invariants.sampler_runs import transcript
from dynaclr_strategies.reproduction.attached import FailedCase, attached
from dynaclr_strategies.reproduction.case_files import CannotRunError
from dynaclr_strategies.reproduction.makers import load_maker
from dynaclr_strategies.sampler_descriptions import SamplerCase
from dynaclr_strategies.subjects import SUBJECTS

__all__ = ["LAW", "ElsewhereError", "batches_elsewhere", "check_elsewhere", "main"]

LAW = "deterministic"
"""The law that asks for another process."""

PATIENCE = 300.0
"""Seconds until the other process is given up."""

_OURS = "dynaclr_strategies.subjects.sampler:make_flexible"
_HASH_SEEDS = ("4242", "2424")

Batches = list[list[int]]


class ElsewhereError(RuntimeError):
    """Another process could not be asked, in one sentence."""


def check_elsewhere(
    cases: Sequence[SamplerCase],
    make: Callable[..., Any] | None = None,
    *,
    maker: str | None = None,
    epochs: bool = True,
    patience: float = PATIENCE,
) -> None:
    """Check that a sampler yields the same batches in another process, and attach the first case that breaks this.

    Parameters
    ----------
    cases
        What to check it on.
    make
        What makes the sampler in this process; by default ``dynaclr``'s own.
    maker
        ``"module:function"`` that makes it in the other one.
    epochs
        Whether ``set_epoch`` may be called there.
    patience
        Seconds until the other process is given up.

    Raises
    ------
    InvariantViolation
        If the batches of a case differ.
    ElsewhereError
        If the other process could not make the sampler, or did not answer in time.
    """
    here, check = make or SUBJECTS["sampler"].make, INVARIANTS[LAW].check
    answers = batches_elsewhere(cases, maker or _OURS, epochs=epochs, patience=patience)
    for case, answer in zip(cases, answers, strict=True):
        with attached(FailedCase(LAW, case, maker)):
            if isinstance(answer, str):  # it works here, or the case would not have come this far
                raise InvariantViolation("another process", answer, "the same batches as in this one", LAW)
            check(here, case.frame(), case.options, elsewhere=lambda _table, _options, answer=answer: answer)


def batches_elsewhere(
    cases: Sequence[SamplerCase],
    maker: str,
    *,
    epochs: bool = True,
    hash_seed: str | None = None,
    patience: float = PATIENCE,
) -> list[Batches | str]:
    """Return the batches of the first two epochs of each case, from another process; or what was raised there.

    Parameters
    ----------
    cases, maker, epochs, patience
        As in `check_elsewhere`.
    hash_seed
        ``PYTHONHASHSEED`` of the other process; by default one that is not this one's.

    Raises
    ------
    ElsewhereError
        As in `check_elsewhere`.
    """
    mine = os.environ.get("PYTHONHASHSEED")
    other = hash_seed or next(seed for seed in _HASH_SEEDS if seed != mine)
    # What can be imported here can be imported there, whoever put it on the path.
    path = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
    with tempfile.TemporaryDirectory() as folder:
        request = {"maker": maker, "epochs": epochs, "cases": [case.to_plain() for case in cases]}
        Path(folder, "request.json").write_text(json.dumps(request), encoding="utf-8")
        _run(folder, {**os.environ, "PYTHONHASHSEED": other, "PYTHONPATH": path}, patience)
        answers: list[Batches | str] = json.loads(Path(folder, "answer.json").read_text(encoding="utf-8"))
    return answers


def _run(folder: str, environment: dict[str, str], patience: float) -> None:
    command = [sys.executable, "-m", __name__, folder]
    try:
        subprocess.run(command, env=environment, capture_output=True, text=True, timeout=patience, check=True)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise ElsewhereError(f"another process did not answer within {patience:g} s") from None
    except subprocess.CalledProcessError as problem:
        last = next(iter(reversed(problem.stderr.strip().splitlines())), f"exit code {problem.returncode}")
        raise ElsewhereError(f"another process cannot make the sampler: {last}") from None


def main(folder: Path) -> None:
    """Answer the request in a folder."""
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    try:
        make = load_maker(request["maker"])
    except CannotRunError as problem:
        sys.exit(str(problem))

    def without_epochs(table: Any, options: Any) -> Batches:
        return [list(batch) for batch in ending(make, LAW)(table, options)]

    cases = [SamplerCase.from_plain(plain) for plain in request["cases"]]
    chosen = ending(make, LAW) if request["epochs"] else without_epochs

    def answer(case: SamplerCase) -> Batches | str:
        try:
            return transcript(chosen, case.frame(), case.options)
        except Exception as problem:  # noqa: BLE001 - told to the process that asked
            return f"{type(problem).__name__}: {problem}"

    answers = [answer(case) for case in cases]
    # Indices may be NumPy's: whether they are ints is another law's business.
    (folder / "answer.json").write_text(json.dumps(answers, default=int), encoding="utf-8")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    main(Path(sys.argv[1]))
