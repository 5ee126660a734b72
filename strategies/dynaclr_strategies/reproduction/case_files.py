"""The file in which a case travels: ``case.json``, versioned, plain, and read with suspicion.

Only plain values are read, into the frozen descriptions of this package; nothing is imported or run that the file
names, no path is followed that it holds, and what would fill memory or time is refused.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.metadata
import json
import platform
import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynaclr_strategies.codec import Plain
from dynaclr_strategies.descriptions import RegistryDescription
from dynaclr_strategies.invariants.base import INVARIANTS
from dynaclr_strategies.reproduction.attached import FailedCase
from dynaclr_strategies.reproduction.limits import MAX_ROWS, MAX_VOXELS, check_sizes, fields_of
from dynaclr_strategies.reproduction.names import is_label
from dynaclr_strategies.subjects import SUBJECTS
from dynaclr_strategies.writers import check_names

__all__ = ["FORMAT", "CannotRunError", "StoredCase", "case_text", "check_harmless", "digest", "parse_case", "read_case"]

FORMAT = 1
"""Version of the file; a reader takes all up to its own."""

MAX_BYTES = 4 * 2**20
PACKAGES = (
    "dynaclr",
    "hypothesis",
    "lightning",
    "monai",
    "numpy",
    "pandas",
    "pytorch-metric-learning",
    "tensorstore",
    "torch",
    "zarr",
)
"""Packages whose version may decide whether a case fails."""


class CannotRunError(Exception):
    """A case cannot be replayed here; the message is the reason, in one sentence."""


@dataclass(frozen=True)
class StoredCase:
    """What a case file holds.

    Attributes
    ----------
    failed
        Law, case and maker.
    message
        What the failure said where it was found.
    versions
        Versions of Python and of the packages that matter, where it was found.
    """

    failed: FailedCase
    message: str
    versions: dict[str, str]


def digest(failed: FailedCase) -> str:
    """Return a short name for a failure: the same for the same law on the same case."""
    content = json.dumps([failed.law, failed.maker, failed.case.to_plain()], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:8]


def case_text(failed: FailedCase, problem: BaseException) -> str:
    """Return the content of ``case.json``."""
    invariant = INVARIANTS[failed.law]
    content = {
        "format": FORMAT,
        "law": failed.law,
        "sentence": invariant.sentence,
        "subject": invariant.subject,
        "case": failed.case.to_plain(),
        "seed": _seed(failed.case),
        "maker": failed.maker,
        "error": type(problem).__name__,
        "message": str(problem),
        "versions": _versions(),
    }
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def _seed(case: Plain) -> int | None:
    """Return the case's seed, wherever in it that is."""
    return next((value for name, value in fields_of(case) if name == "seed"), None)


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "platform": platform.platform(terse=True)}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


# --- reading ----------------------------------------------------------------------------------------------------------


def read_case(path: Path, *, any_maker: bool = False) -> StoredCase:
    """Read a case file.

    Parameters
    ----------
    path
        A bundle, or the case file itself.
    any_maker
        Whether it does not matter what the file says of the maker, and is left out.

    Raises
    ------
    CannotRunError
        If there is no such file, it is of a newer format, or it does not hold a case of a law that is known here.
    """
    file = path / "case.json" if path.is_dir() else path
    try:
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise CannotRunError(f"{file} has {size} bytes, but a case has at most {MAX_BYTES}")
        text = file.read_bytes()
    except OSError as problem:
        raise CannotRunError(f"{file} cannot be read: {problem.strerror}") from problem
    return parse_case(text, str(file), any_maker=any_maker)


def parse_case(text: bytes, name: str, *, any_maker: bool = False) -> StoredCase:
    """Read the content of a case file.

    Parameters
    ----------
    text
        The content.
    name
        What it is called in messages.
    any_maker
        Whether it does not matter what the file says of the maker, and is left out.

    Raises
    ------
    CannotRunError
        If it is of a newer format, or does not hold a case of a law that is known here.
    """
    content = _content(text, name)
    law = content.get("law")
    if not isinstance(law, str) or law not in INVARIANTS:
        near = difflib.get_close_matches(str(law), INVARIANTS, n=3)
        raise CannotRunError(
            f"law={law!r} is not known here" + (f"; did you mean {' or '.join(near)}?" if near else "")
        )
    try:
        case = SUBJECTS[INVARIANTS[law].subject].case.from_plain(content.get("case"))
    except (ValueError, TypeError, RecursionError) as problem:
        raise CannotRunError(f"the case of law {law!r} cannot be read: {problem}") from problem
    check_harmless(case)
    maker, message, versions = content.get("maker"), content.get("message", ""), content.get("versions", {})
    if any_maker or maker is None:
        maker = None
    elif not is_label(maker):
        raise CannotRunError(
            f"maker={reprlib.repr(maker)} must be 'module:function' or null, or else --sampler be given"
        )
    return StoredCase(FailedCase(law, case, maker), str(message), versions if isinstance(versions, dict) else {})


def _content(text: bytes, path: str) -> dict[str, Any]:
    try:
        content = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as problem:
        raise CannotRunError(f"{path} is no JSON document: {problem}") from problem
    if not isinstance(content, dict) or not isinstance(content.get("format"), int):
        raise CannotRunError(f"{path} is no case: it needs an object with a whole number as its format")
    if content["format"] > FORMAT:
        raise CannotRunError(
            f"format={content['format']} is newer than {FORMAT}, the newest that this version of dynaclr reads; update"
        )
    return content


def check_harmless(case: Plain, *, max_voxels: int = MAX_VOXELS, max_rows: int = MAX_ROWS) -> None:
    """Refuse names that would be written outside their folder, and sizes that no shrunk case has.

    Raises
    ------
    CannotRunError
        If the case should not be expanded into files or tables.
    """
    try:
        for part in (case, *(value for _, value in fields_of(case))):
            if isinstance(part, RegistryDescription):
                check_names(part)
        check_sizes(case, max_voxels=max_voxels, max_rows=max_rows)
    except ValueError as problem:
        raise CannotRunError(str(problem)) from problem
