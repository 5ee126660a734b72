"""What a search found: the bundles of several workers, grouped into distinct failures."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from dynaclr_strategies.reproduction.case_files import FORMAT, CannotRunError, read_case
from dynaclr_strategies.reproduction.identity import Failure

__all__ = ["case_line", "grouped", "no_folder", "read_failure", "read_failures"]


# --- reading and writing ----------------------------------------------------------------------------------------------


def read_failure(path: Path) -> Failure:
    """Read a bundle or a case file.

    Raises
    ------
    CannotRunError
        If it holds no case that is known here.
    """
    stored = read_case(path)
    error = json.loads((path / "case.json" if path.is_dir() else path).read_text(encoding="utf-8")).get("error")
    known = isinstance(error, str) and re.fullmatch(r"[A-Za-z_]\w{0,80}", error, re.ASCII)
    failure = Failure(stored, error if known else "Exception")
    return replace(failure, folder=_folder(path, failure.name))


def _folder(path: Path, name: str) -> str | None:
    """Return what a bundle is called, if it has a name that bundles of its case are given."""
    folder = path.parent.name if path.name == "case.json" else path.name
    # A second failure on the same case has a number behind its name; any other text may be a stranger's.
    return folder if re.fullmatch(rf"{re.escape(name)}(-[0-9]{{1,9}})?", folder, re.ASCII) else None


def read_failures(folder: Path) -> tuple[list[Failure], list[str]]:
    """Read all bundles and case files below a folder, wherever in it they are.

    Returns
    -------
    failures
        Each once, by name.
    problems
        What could not be read, a sentence each.
    """
    found, problems = {}, []
    for path in sorted(folder.rglob("*.json")):
        inner = path.relative_to(folder).parts
        # Drafts are dotted; kept cases lie side by side and are named by law and case.
        if any(part.startswith(".") for part in inner) or not re.fullmatch(r"case|.*-[0-9a-f]{8}", path.stem):
            continue
        try:
            failure = read_failure(path)
        except CannotRunError as reason:
            problems.append(str(reason))
        else:
            found[failure.name, failure.identity] = failure
    return [found[key] for key in sorted(found)], problems


def no_folder(name: str, folder: Path) -> list[str]:
    """Return what is wrong with a folder that somebody named: nothing, or one sentence; it may be empty."""
    return [] if folder.is_dir() else [f"{name}={str(folder)!r} is no folder"]


def grouped(failures: Iterable[Failure]) -> dict[str, list[Failure]]:
    """Return the failures by identity, the one with the smallest case first."""
    # The same case may have said something else on another machine: the text decides, not who came first.
    keyed = sorted(failures, key=_size)
    groups: dict[str, dict[str, Failure]] = {}
    for failure in keyed:
        groups.setdefault(failure.identity, {}).setdefault(failure.name, failure)
    return {identity: list(groups[identity].values()) for identity in sorted(groups)}


def _size(failure: Failure) -> tuple[int, str, str, str]:
    line = case_line(failure)
    return len(line), failure.name, line, failure.folder or ""


def case_line(failure: Failure, *, max_message: int = 3000) -> str:
    """Return the content of a case file as one line of plain letters that mean nothing to Markdown."""
    stored = failure.stored
    content = {
        "format": FORMAT,
        "law": failure.law,
        "case": stored.failed.case.to_plain(),
        "maker": stored.failed.maker,
        "error": failure.error,
        "message": stored.message[:max_message],
        "versions": {name: version for name, version in stored.versions.items() if _is_version(name, version)},
    }
    line = json.dumps(content)
    # Only strings hold these letters, and in strings they may be written like this.
    for letter in "`<>@&#":
        line = line.replace(letter, f"\\u{ord(letter):04x}")
    return line


def _is_version(name: object, version: object) -> bool:
    """Tell whether an entry of a stranger's file is one that a case file has."""
    return all(isinstance(part, str) and re.fullmatch(r"[\w.+-]{1,100}", part, re.ASCII) for part in (name, version))
