"""What a law is checked on, and how: by subject, the type of its cases, our own maker, and the files of a case."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynaclr_strategies.codec import Plain
from dynaclr_strategies.invariants.base import INVARIANTS, Invariant

__all__ = ["SUBJECTS", "Subject", "run_law", "scratch_folder", "subject"]

Check = Callable[[Invariant, Any, Any], bool]


@dataclass(frozen=True)
class Subject:
    """Something that laws are about.

    Attributes
    ----------
    name
        As in `dynaclr_strategies.invariants.Invariant.subject`.
    case
        The description that its laws are checked on.
    make
        Makes ``dynaclr``'s own; what its laws call, see `dynaclr_strategies.invariants`.
    check
        ``check(law, case, make)`` checks a law, or returns False where it does not apply.
    materialise
        ``materialise(case, folder)`` writes the case as files that people and other programs read.
    """

    name: str
    case: type[Plain]
    make: Callable[..., Any]
    check: Check
    materialise: Callable[[Any, Path], None]


SUBJECTS: dict[str, Subject] = {}
"""All subjects by name."""


def subject(one: Subject) -> Subject:
    """List a subject in `SUBJECTS`."""
    SUBJECTS[one.name] = one
    return one


def scratch_folder() -> AbstractContextManager[str]:
    """Return a temporary folder, in memory where the machine has such a place: cases are hundreds of small files."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of its own in there, like in any other place for temporary files
    return tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None)


def on_disk(law: Invariant, case: Any, make: Any) -> bool:
    """Check ``law.check(make, case, root)``, where ``root`` is an empty folder to write in."""
    if not law.applies(case):
        return False
    with scratch_folder() as root:
        law.check(make, case, Path(root))
    return True


def in_memory(law: Invariant, case: Any, make: Any) -> bool:
    """Check ``law.check(make, case)``."""
    if not law.applies(case):
        return False
    law.check(make, case)
    return True


def run_law(law: str, case: Plain, make: Callable[..., Any] | None = None) -> bool:
    """Check one law on one case.

    Parameters
    ----------
    law
        Name of the law.
    case
        What to check it on, of the type that the law's subject has.
    make
        Makes what is checked; by default ``dynaclr``'s own.

    Returns
    -------
    bool
        False if the law does not apply to the case.

    Raises
    ------
    InvariantViolation
        If the law does not hold.
    UndecidedError
        If what is made shows too little of itself to tell.
    """
    invariant = INVARIANTS[law]
    about = SUBJECTS[invariant.subject]
    return about.check(invariant, case, make or about.make)
