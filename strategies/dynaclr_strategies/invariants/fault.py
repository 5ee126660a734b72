"""The law of mistakes: each is refused with an error that says what is wrong, and leaves everything as it was."""

from __future__ import annotations

import copy
import hashlib
import pickle
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dynaclr_strategies.fault_arms import FAULTS
from dynaclr_strategies.fault_descriptions import Expected, FaultDescription, Given
from dynaclr_strategies.invariants.base import InvariantViolation, invariant

__all__ = ["check_fault_refused"]

LAW = "fault-refused"
MakeGiven = Callable[[Given, FaultDescription], Any]


@invariant(LAW, subject="fault")
def check_fault_refused(make: MakeGiven, case: FaultDescription, root: Path) -> None:
    """Every mistake is refused in one sentence that names it, and nothing else happens.

    The same without the mistake is accepted, so that it is the mistake that is refused. Nothing else happening means
    that no file is written or changed, that arguments and tables stay as they were, and that no global random number
    generator moves.
    """
    arm = FAULTS[case.fault]
    where = f"{arm.subject} with fault {case.fault!r} (place {case.place}, value {case.value})"
    _check_accepted(make, case, root)
    given = case.given(root, write=False)
    expected = case.apply(given)
    before: dict[str, Any] = {}
    late = given.late or (lambda: None)

    def spoil_and_look() -> None:
        late()
        before.update(_everything(given, root))

    # What happens to the files while the subject is used is part of the mistake.
    if given.late is None:
        spoil_and_look()
    else:
        given.late = spoil_and_look
    refusal = _refusal(make, given, case)
    _check_type(refusal, arm.error, where, expected)
    _check_text(str(refusal), expected, where)
    after = _everything(given, root)
    for what, fingerprint in before.items():
        if after.get(what) != fingerprint:
            raise InvariantViolation(where, f"{what} changed by the refusal", f"{what} untouched", LAW)
    if new := sorted(set(after) - set(before)):
        raise InvariantViolation(where, f"{new[0]} written by the refusal", "nothing written", LAW)


def _check_accepted(make: MakeGiven, case: FaultDescription, root: Path) -> None:
    try:
        make(case.given(root), case)
    except Exception as error:
        where = f"{FAULTS[case.fault].subject} without fault {case.fault!r}"
        raise InvariantViolation(where, f"{type(error).__name__}: {error}", "accepted", LAW) from error


def _refusal(make: MakeGiven, given: Given, case: FaultDescription) -> Exception | None:
    try:
        make(given, case)
    except Exception as error:  # noqa: BLE001 - which it is, is what the law asks
        return error
    return None


def _check_type(error: Exception | None, wanted: type[Exception], where: str, expected: Expected) -> None:
    told = " and ".join(", ".join(problem) for problem in expected)
    needed = f"a {wanted.__name__} that tells {told}"
    if error is None:
        raise InvariantViolation(where, "accepted", needed, LAW)
    if not isinstance(error, wanted):
        raise InvariantViolation(where, f"{type(error).__name__}: {error}", needed, LAW) from error


def _check_text(text: str, expected: Expected, where: str) -> None:
    problems = _problems(text)
    if len(problems) != len(expected):
        count = f"{len(expected)} problem{'s' if len(expected) > 1 else ''}, one line each"
        raise InvariantViolation(where, f"error {text!r}", count, LAW)
    left = list(problems)
    for texts in expected:
        telling = [sentence for sentence in left if all(fragment in sentence for fragment in texts)]
        if not telling:
            nearest = max(left, key=lambda sentence: sum(fragment in sentence for fragment in texts))
            missing = [fragment for fragment in texts if fragment not in nearest]
            raise InvariantViolation(where, f"error {text!r}", f"one that tells {', '.join(missing)} too", LAW)
        left.remove(telling[0])


def _problems(text: str) -> list[str]:
    """Split an error into its problems: one line, or a head that ends with a colon and a list of lines below it."""
    head, *lines = text.splitlines() or [""]
    if lines and head.endswith(":") and all(re.match(r" *- \S", line) for line in lines):
        return [line.strip().removeprefix("- ") for line in lines]
    return [head, *lines]


def _everything(given: Given, root: Path) -> dict[str, Any]:
    """Return a fingerprint of everything that a refusal must leave alone, by what it is of."""
    found: dict[str, Any] = {"Python's generator": random.getstate()}
    found["NumPy's generator"] = pickle.dumps(np.random.get_state())  # noqa: NPY002 - the global one is meant
    if "torch" in sys.modules:
        found["torch's generator"] = sys.modules["torch"].get_rng_state().numpy().tobytes()
    found |= {f"argument {name}": _plain(value) for name, value in given.arguments.items()}
    if given.table is not None:
        found["the table"] = _plain(given.table)
    for path in sorted(root.rglob("*")):
        status = path.stat()
        content = hashlib.blake2b(path.read_bytes()).digest() if path.is_file() else b""
        found[f"file {path.relative_to(root)}"] = (content, status.st_mode, status.st_mtime_ns)
    return found


def _plain(value: Any) -> Any:
    """Return something that can be compared and does not change with the value: NaN is equal to NaN in it."""
    if hasattr(value, "to_dict") and hasattr(value, "dtypes"):
        labels = [repr(list(value.index)), repr(list(value.columns)), repr(list(value.dtypes))]
        return [*labels, repr([value.iloc[:, i].tolist() for i in range(value.shape[1])])]
    return repr(copy.copy(value)) if not isinstance(value, tuple) else [_plain(part) for part in value]
