"""The laws as targets of Atheris, a fuzzer that watches which code an input reaches.

An input is a kept case or bytes. Of bytes, the first says which law of the subject it is, the others what Hypothesis
draws: every case is one that the strategies promise. A kept case is JSON with its digest in it: one that a fuzzer has
changed in its text may be a case that nobody promised to accept, and is turned down. A law that is broken is shrunk and
leaves a bundle, then the fuzzer sees it crash.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import pkgutil
import random
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hypothesis.database import DirectoryBasedExampleDatabase, ExampleDatabase

from dynaclr_strategies.fuzzing.board import Board, now
from dynaclr_strategies.fuzzing.search import Failure, Job, Searcher
from dynaclr_strategies.invariants import INVARIANTS
from dynaclr_strategies.reproduction.attached import check_law, leaves
from dynaclr_strategies.reproduction.bundles import write_bundle
from dynaclr_strategies.reproduction.case_files import CannotRunError, digest, parse_case, read_case

__all__ = ["BUNDLES", "REJECTED", "Target", "fresh", "laws_of", "main", "mutated", "seed_of"]

BUNDLES = "DYNACLR_BUNDLES"
"""The environment variable that says where bundles go; arguments are libFuzzer's."""

REJECTED = -1
"""What tells libFuzzer that an input is not worth keeping."""

_DIGEST = "digest"
_SHRINK_SECONDS = 120.0
_FRESH_BYTES = 1024
_LEFT_OUT = ("cli", "demo", "report")


def laws_of(subject: str) -> list[str]:
    """Return the names of a subject's laws."""
    return sorted(law.law for law in INVARIANTS.values() if law.subject == subject)


class Target:
    """What is called with each input.

    Parameters
    ----------
    subject
        The subject whose laws are checked.
    folder
        Scratch folder.
    database
        Where failures are kept until they are shrunk.
    bundles
        Where bundles go.
    """

    def __init__(self, subject: str, folder: Path, database: ExampleDatabase, bundles: Path) -> None:
        self._laws = laws_of(subject)
        self._board = Board(folder, self._laws, 1)
        self._board.until[0] = float("inf")
        # Atheris counts the code that is reached; we need not.
        self._searcher = Searcher(self._board, 0, database, bundles, folder, traced_every=0)
        self._bundles = bundles
        self._targets: dict[str, Callable[[bytes], bytes | None]] = {}

    def __call__(self, data: bytes) -> int:
        """Check one input.

        Parameters
        ----------
        data
            A case file, or the number of a law and bytes for Hypothesis.

        Returns
        -------
        int
            0, or `REJECTED` if the input stands for no case that the law applies to.

        Raises
        ------
        Exception
            Whatever breaks a law; its bundle was written.
        """
        if data.startswith(b"{"):
            return self._check_case(data)
        if not data:
            return REJECTED
        law = self._laws[data[0] % len(self._laws)]
        try:
            return REJECTED if self._target(law)(data[1:]) is None else 0
        except Exception:
            self._tell(self._shrunk(law))
            raise

    def _check_case(self, data: bytes) -> int:
        try:
            stored = parse_case(data, "the input")
        except CannotRunError:
            return REJECTED
        law, case = stored.failed.law, stored.failed.case
        changed = json.loads(data).get(_DIGEST) != digest(stored.failed)
        if changed or law not in self._laws or stored.failed.maker is not None:
            return REJECTED
        try:
            return 0 if check_law(law, case) else REJECTED
        except Exception as problem:
            # It was kept because it was small; as it is, it is the example.
            bundles = [write_bundle(failed, inner, self._bundles) for inner, failed in leaves(problem)]
            self._tell([Failure(law, str(problem), str(bundle), shrunk=True) for bundle in bundles])
            raise

    def _target(self, law: str) -> Callable[[bytes], bytes | None]:
        if law not in self._targets:
            self._targets[law] = self._searcher.fuzz_target(Job(law, 0, float("inf"), 1))
        return self._targets[law]

    def _shrunk(self, law: str) -> Sequence[Failure]:
        """Shrink the failure that Hypothesis has just kept, which writes the bundle."""
        until = now() + _SHRINK_SECONDS
        self._board.until[0] = until
        try:
            return self._searcher.search(Job(law, 0, until, 1)).failures
        finally:
            self._board.until[0] = float("inf")

    def _tell(self, failures: Sequence[Failure]) -> None:
        for failure in failures:
            sys.stderr.write(f"FAILED {failure.law}\n{failure.text}\nbundle: {failure.bundle}\n")


def fresh(rng: random.Random) -> bytes:
    """Return an input of its own: any law, and random bytes, which are nearly always a whole case."""
    return rng.randbytes(1 + _FRESH_BYTES)


def mutated(data: bytes, max_size: int, seed: int, mutate: Callable[[bytes, int], bytes]) -> bytes:
    """Return the next input: every second one is new, the others are what the fuzzer makes of one that it has.

    Parameters
    ----------
    data
        An input that reached something new.
    max_size
        The longest that is allowed.
    seed
        Decides what is drawn.
    mutate
        The fuzzer's own way: a few bytes here and there. Alone it hardly leaves a case: most bytes of an input are
        never read, or change nothing that matters.
    """
    rng = random.Random(seed)  # noqa: S311 - nothing secret
    if data.startswith(b"{") or rng.random() < 0.5:
        return fresh(rng)[:max_size]
    return mutate(data, max_size)


def seed_of(case: Path) -> bytes:
    """Return the seed of a kept case."""
    content = json.loads(case.read_text(encoding="utf-8"))
    return json.dumps({**content, _DIGEST: digest(read_case(case).failed)}).encode()


def _atheris() -> Any:
    try:
        return importlib.import_module("atheris")
    except ImportError as problem:
        sys.exit(f"Coverage-guided search needs the package atheris: pip install 'dynaclr[atheris]' ({problem}).")


def _import_code() -> None:
    """Import all of ``dynaclr`` that laws are about: what is imported later would not be watched."""
    spec = importlib.util.find_spec("dynaclr")
    for module in pkgutil.walk_packages(spec.submodule_search_locations if spec else None, "dynaclr."):
        if module.name.split(".")[1] not in _LEFT_OUT:
            importlib.import_module(module.name)


def main(subject: str) -> None:
    """Fuzz the laws of a subject with the arguments of the command line, which are libFuzzer's."""
    atheris = _atheris()
    with atheris.instrument_imports(include=["dynaclr"]):
        _import_code()
    bundles = Path(os.environ.get(BUNDLES) or "failures").absolute()
    with tempfile.TemporaryDirectory(prefix="dynaclr-atheris-") as scratch:
        folder = Path(scratch)
        (folder / "board").mkdir()
        database = DirectoryBasedExampleDatabase(folder / "examples")
        target = Target(subject, folder / "board", database, bundles)

        def mutator(data: bytes, max_size: int, seed: int) -> bytes:
            return mutated(data, max_size, seed, atheris.Mutate)

        atheris.Setup(sys.argv, target, custom_mutator=mutator)
        atheris.Fuzz()
