"""What a search found: the bundles of several workers, grouped into distinct failures."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dynaclr_strategies.invariants.base import INVARIANTS
from dynaclr_strategies.reproduction.case_files import FORMAT, CannotRunError, StoredCase, digest, read_case

__all__ = ["Failure", "case_line", "grouped", "no_folder", "normalised", "read_failure", "read_failures"]

NAMING_FIELDS = frozenset({
    "channel_names",
    "condition",
    "condition_ratio",
    "condition_wells",
    "date",
    "exclude_fovs",
    "experiment",
    "experiment_weights",
    "include_wells",
    "name",
    "organelle",
    "source_channel",
    "store",
    "val_experiments",
    "value",
})  # fmt: skip
"""Fields of descriptions that hold names which were drawn; other strings are choices, which tell failures apart."""

MAX_READ, MAX_NORMALISED = 4000, 300
"""How much of a message is looked at, and in how many letters two have to agree to be about the same failure."""

_QUOTED = re.compile(r"'[^'\n]*'|\"[^\"\n]*\"|`[^`\n]*`")
_PATH = re.compile(
    r"(?:(?<!\w)[A-Za-z]:|(?<![\w.]))(?:[\\/][^\s\\/:,;'\"`()\[\]]+)+[\\/]?|(?<![\w/])(?:[\w.-]+/){2,}[\w.-]*"
)
_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d+)?(?:e[-+]?\d+)?|\b(?:nan|inf)\b)", re.IGNORECASE)
_LIST = re.compile(r"\b(N|NAME|PATH)\b(?:(?:, |,| )\1\b)+")


@dataclass(frozen=True)
class Failure:
    """A bundle, or the case file of one.

    Attributes
    ----------
    stored
        The case and its message.
    error
        The type of the exception.
    """

    stored: StoredCase
    error: str

    @property
    def law(self) -> str:
        """The law that was broken."""
        return self.stored.failed.law

    @cached_property
    def name(self) -> str:
        """What a bundle of this case is called."""
        return f"{self.law}-{digest(self.stored.failed)}"

    @cached_property
    def wording(self) -> str:
        """The message without what differs between cases."""
        stop = set(re.findall(r"\w+", f"{self.law} {INVARIANTS[self.law].sentence}".lower())) | {"a", "no"}
        names = {name for name in _names(self.stored.failed.case.to_plain()) if name.lower() not in stop}
        return normalised(self.stored.message.replace(f"[{self.law}]", ""), names)

    @cached_property
    def identity(self) -> str:
        """What two bundles of the same failure have in common, as 16 hexadecimal digits."""
        content = json.dumps([self.law, self.stored.failed.maker, self.error, self.wording])
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def _names(value: Any, naming: bool = False) -> Iterator[str]:
    """Yield the names that were drawn."""
    if isinstance(value, dict):
        for field, inner in value.items():
            yield from _names(inner, naming or field in NAMING_FIELDS)
    elif isinstance(value, list):
        for inner in value:
            yield from _names(inner, naming)
    elif isinstance(value, str) and naming and value:
        yield value


def normalised(message: str, names: Iterable[str] = ()) -> str:
    """Return a message without numbers, paths, and names that were drawn.

    Parameters
    ----------
    message
        What a failure said.
    names
        Names in it which it may not have quoted; quoted ones are recognised.
    """
    text = _QUOTED.sub("NAME", message[:MAX_READ])
    # Longest first, so that no name is cut up by one that it contains.
    for name in sorted(set(names), key=lambda name: (-len(name), name)):
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "NAME", text)
    text = _NUMBER.sub("N", _PATH.sub("PATH", text))
    text = _LIST.sub(r"\1", re.sub(r"\s+", " ", text))
    return text.strip()[:MAX_NORMALISED]


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
    return Failure(stored, error if known else "Exception")


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


def _size(failure: Failure) -> tuple[int, str, str]:
    line = case_line(failure)
    return len(line), failure.name, line


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
