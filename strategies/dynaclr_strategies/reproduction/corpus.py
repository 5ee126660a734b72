"""The corpus: cases of failures that were found once, which every suite checks first."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from dynaclr_strategies.reproduction.attached import REPLAYED, check_law
from dynaclr_strategies.reproduction.case_files import CannotRunError, digest, read_case

__all__ = ["CORPUS", "check_kept", "keep_case", "kept_cases"]

CORPUS = Path("tests", "property", "corpus")
"""Where the corpus is, below the root of a clone."""


def keep_case(path: Path, corpus: Path) -> Path:
    """Copy a case into a corpus.

    Parameters
    ----------
    path
        A bundle or a case file.
    corpus
        The folder, which must be there.

    Returns
    -------
    Path
        The file in the corpus, named by law and case.

    Raises
    ------
    CannotRunError
        If the case cannot be read, or there is no such folder, or one that cannot be written to.
    """
    stored = read_case(path)
    if not corpus.is_dir():
        raise CannotRunError(f"corpus={str(corpus)!r} needs to be a folder: go to the root of a clone, or say --corpus")
    target = corpus / f"{stored.failed.law}-{digest(stored.failed)}.json"
    try:
        _copy(path / "case.json" if path.is_dir() else path, target)
    except OSError as problem:
        raise CannotRunError(f"corpus={str(corpus)!r} cannot be written to: {problem.strerror}") from problem
    return target


def _copy(source: Path, target: Path) -> None:
    """Copy a file, whole or not at all."""
    handle, draft = tempfile.mkstemp(prefix=".draft-", dir=target.parent)
    os.close(handle)
    try:
        shutil.copyfile(source, draft)
        Path(draft).chmod(0o644)
        Path(draft).replace(target)
    finally:
        Path(draft).unlink(missing_ok=True)


def kept_cases(corpus: Path) -> list[Path]:
    """Return the case files of a corpus, by name."""
    return sorted(corpus.glob("*.json"))


def check_kept(path: Path) -> None:
    """Check the law of a kept case on ``dynaclr``'s own.

    Raises
    ------
    InvariantViolation
        If the failure is back.
    CannotRunError
        If the file holds no case, or one that its law does not apply to.
    """
    failed = read_case(path).failed
    if not check_law(failed.law, failed.case):
        raise CannotRunError(f"law {failed.law!r} does not apply to the case in {path.name}")
    REPLAYED[failed.law] += 1
