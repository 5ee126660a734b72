"""What a run of the benchmarks yields: figures, reaches and the machine, to and from JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self


@dataclass(frozen=True)
class Scale:
    """How large a run is.

    Parameters
    ----------
    quick
        Small sizes, in a few minutes: shows that the harness works, proves nothing.
    """

    quick: bool = False

    def sizes(self, *full: int, quick: tuple[int, ...]) -> tuple[int, ...]:
        """Return the sizes of this scale."""
        return quick if self.quick else full

    @property
    def budget(self) -> float:
        """Seconds to measure one figure for, all sides of it together; costly ones take a few times that."""
        return 0.5 if self.quick else 6.0


@dataclass(frozen=True)
class Figure:
    """The time of one piece of work, beside that of its opponents in the same run.

    Parameters
    ----------
    group, work
        The row of the table and what was done.
    size, of
        How large it was and what that counts (``"anchors"``): the abscissa of the plot.
    unit
        What the seconds are for.
    seconds
        By side: ``"ours"``, and where there is one ``"baseline"`` and ``"limit"``.
    """

    group: str
    work: str
    size: int
    of: str
    unit: str
    seconds: Mapping[str, float]

    @property
    def over_baseline(self) -> float | None:
        """How many times faster than the baseline."""
        return self.seconds["baseline"] / self.seconds["ours"] if "baseline" in self.seconds else None

    @property
    def over_limit(self) -> float | None:
        """How many times slower than the limit."""
        return self.seconds["ours"] / self.seconds["limit"] if "limit" in self.seconds else None


@dataclass(frozen=True)
class Memory:
    """By how much one piece of work raised the peak of resident memory, in a process of its own."""

    group: str
    work: str
    size: int
    of: str
    mebibytes: float


@dataclass(frozen=True)
class Rate:
    """How many examples of one law are checked in a second."""

    law: str
    subject: str
    examples: int
    applied: int
    seconds: float


@dataclass(frozen=True)
class Reach:
    """What was to be reached, and what was.

    Parameters
    ----------
    group, work
        What it is about.
    asked
        In words.
    value, bound
        Measured, and asked for.
    at_least
        Whether larger is better.
    """

    group: str
    work: str
    asked: str
    value: float
    bound: float
    at_least: bool

    @property
    def met(self) -> bool:
        """Whether the measured value is good enough."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound


Entry = Figure | Memory | Rate | Reach
_KINDS: dict[str, type[Entry]] = {kind.__name__: kind for kind in (Figure, Memory, Rate, Reach)}


@dataclass
class Results:
    """A whole run."""

    machine: dict[str, str]
    quick: bool
    entries: list[Entry] = field(default_factory=list)

    @property
    def figures(self) -> list[Figure]:
        """The times."""
        return [entry for entry in self.entries if isinstance(entry, Figure)]

    @property
    def memories(self) -> list[Memory]:
        """The peaks of memory."""
        return [entry for entry in self.entries if isinstance(entry, Memory)]

    @property
    def rates(self) -> list[Rate]:
        """The rates of the laws."""
        return [entry for entry in self.entries if isinstance(entry, Rate)]

    @property
    def reaches(self) -> list[Reach]:
        """What was to be reached."""
        return [entry for entry in self.entries if isinstance(entry, Reach)]

    @property
    def groups(self) -> list[str]:
        """The groups that were measured, in their order."""
        return list(dict.fromkeys(entry.group for entry in self.entries if not isinstance(entry, Rate)))

    def to_plain(self) -> dict[str, Any]:
        """Return the run as plain values."""
        entries = [{"kind": type(entry).__name__, **asdict(entry)} for entry in self.entries]
        return {"machine": self.machine, "quick": self.quick, "entries": entries}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Return the run that `to_plain` gave."""
        entries = [
            _KINDS[entry["kind"]](**{k: v for k, v in entry.items() if k != "kind"}) for entry in plain["entries"]
        ]
        return cls(dict(plain["machine"]), bool(plain["quick"]), entries)


def at_least(group: str, work: str, asked: str, value: float | None, bound: float) -> Reach:
    """Return a reach that larger values meet."""
    assert value is not None, f"{group}, {work}: nothing to compare with"
    return Reach(group, work, asked, value, bound, at_least=True)


def at_most(group: str, work: str, asked: str, value: float | None, bound: float) -> Reach:
    """Return a reach that smaller values meet."""
    assert value is not None, f"{group}, {work}: nothing to compare with"
    return Reach(group, work, asked, value, bound, at_least=False)
