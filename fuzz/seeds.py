"""Seeds for the Atheris targets: the kept cases of a subject, and an input for each of its laws.

``python fuzz/seeds.py FOLDER`` writes ``fuzz_<subject>_seed_corpus.zip`` for every target, as OSS-Fuzz wants it.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
from pathlib import Path

from dynaclr_strategies.fuzzing.coverage_guided import fresh, laws_of, seed_of
from dynaclr_strategies.invariants import INVARIANTS
from dynaclr_strategies.reproduction.case_files import read_case
from dynaclr_strategies.reproduction.corpus import kept_cases

HERE = Path(__file__).parent
CORPUS = HERE.parent / "tests" / "property" / "corpus"


def write_seeds(subject: str, corpus: Path, folder: Path) -> None:
    """Write the seeds of a subject: its kept cases, and random bytes for each of its laws."""
    cases = [path for path in kept_cases(corpus) if INVARIANTS[read_case(path).failed.law].subject == subject]
    for path in cases:
        (folder / path.name).write_bytes(seed_of(path))
    rng = random.Random(0)
    for number, law in enumerate(laws_of(subject)):
        (folder / law).write_bytes(bytes([number]) + fresh(rng)[1:])


def main(folder: Path) -> None:
    """Write the archives of all targets into a folder."""
    for target in sorted(HERE.glob("fuzz_*.py")):
        with tempfile.TemporaryDirectory() as seeds:
            write_seeds(target.stem.removeprefix("fuzz_"), CORPUS, Path(seeds))
            shutil.make_archive(str(folder / f"{target.stem}_seed_corpus"), "zip", seeds)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
