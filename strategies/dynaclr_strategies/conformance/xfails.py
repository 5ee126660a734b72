"""The list of known failures: one law per line, each with its reason."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path

from dynaclr_strategies.conformance.contract import ContractError

__all__ = ["read_xfails"]


def read_xfails(path: Path, laws: Collection[str]) -> dict[str, str]:
    """Read lines of the form ``law-name  # reason``; blank lines, and lines that begin with ``#``, say nothing.

    Parameters
    ----------
    path
        The file.
    laws
        The names that there are.

    Returns
    -------
    dict
        The reason of each law.

    Raises
    ------
    ContractError
        If the file cannot be read, or a line names no law, one that is there already, or no reason.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise ContractError(f"xfails={str(path)!r} cannot be read: {problem}") from problem
    reasons: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        law, _, reason = (part.strip() for part in line.partition("#"))
        if not law:
            continue
        where = f"xfails={str(path)!r}, line {number}: {law!r}"
        if law not in laws:
            close = get_close_matches(law, laws, n=1)
            remedy = f"did you mean {close[0]!r}?" if close else f"it needs one of {', '.join(laws)}"
            raise ContractError(f"{where} is no law of the sampler; {remedy}")
        if law in reasons:
            raise ContractError(f"{where} is listed already; it needs one line")
        if not reason:
            raise ContractError(f"{where} needs a reason, as in '{law}  # why it is known to fail'")
        reasons[law] = reason
    return reasons
