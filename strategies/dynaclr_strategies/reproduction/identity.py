"""What two failures have in common that are the same one: law, maker, type of error, and message without details."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from dynaclr_strategies.invariants.base import INVARIANTS
from dynaclr_strategies.reproduction.case_files import StoredCase, digest

__all__ = ["Failure", "normalised"]

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
# Where an object lies in memory, as in ``<Foo object at 0x7f5a>``, is another number in every process.
_NUMBER = re.compile(r"0x[0-9a-f]+|[-+]?(?:\d+(?:\.\d+)?(?:e[-+]?\d+)?|\b(?:nan|inf)\b)", re.IGNORECASE)
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
    folder
        The name of the bundle that it was read from; None if it was read from something else.
    """

    stored: StoredCase
    error: str
    # Where a failure was read makes no other one of it.
    folder: str | None = field(default=None, compare=False)

    @property
    def law(self) -> str:
        """The law that was broken."""
        return self.stored.failed.law

    @cached_property
    def name(self) -> str:
        """What the case is called: all failures of the law on it, however many bundles they have."""
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
        for key, inner in value.items():
            yield from _names(inner, naming or key in NAMING_FIELDS)
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
