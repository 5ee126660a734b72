"""Descriptions of faults: a valid case, the one way in which it is broken, and the error that must come of it.

The arms themselves, one function for each error that the pages promise, are in `dynaclr_strategies.fault_arms`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from dynaclr_strategies.cases import DataModuleCase, IndexCase
from dynaclr_strategies.codec import Plain
from dynaclr_strategies.sampler_descriptions import SamplerCase
from dynaclr_strategies.writers import write_registry

__all__ = [
    "FAULTS",
    "Expected",
    "Fault",
    "FaultDescription",
    "Given",
    "Needs",
    "OptionSet",
    "Problem",
    "fault",
]

Subject = Literal[
    "batch",
    "config",
    "dataset",
    "datamodule",
    "dropout",
    "experiment",
    "index",
    "loss",
    "module",
    "normalization",
    "registry",
    "sampler",
    "state",
]
Needs = Literal[
    "balanced table",
    "dropout options",
    "experiments",
    "loss options",
    "module options",
    "normalization options",
    "parents by track",
    "several experiments",
    "shared store",
    "statistics",
    "table",
    "training",
    "two channels",
]
"""What the valid case has to be, so that there is something to break; see `dynaclr_strategies.faults`."""


@dataclass(frozen=True, kw_only=True)
class OptionSet(Plain):
    """Arguments of something that is made from nothing else, as pairs (name, value)."""

    options: tuple[tuple[str, str | int | float | bool | tuple[int, ...] | tuple[str, ...]], ...] = ()


Case = SamplerCase | IndexCase | DataModuleCase | OptionSet

Problem = tuple[str, ...]
"""Texts that the sentence about one problem must contain."""

Expected = Sequence[Problem]
"""The problems that must be told: one, unless what is broken belongs to several experiments."""


@dataclass
class Given:
    """What the subject is made from.

    Attributes
    ----------
    arguments
        Keyword arguments; transforms are given as pairs (name of the class, keyword arguments).
    yaml
        The registry's file, in a folder with its stores and tracks; None where there is none.
    table
        The anchors; None where there are none.
    late
        What happens to the files after the subject was made and before it is used; None for nothing.
    """

    arguments: dict[str, Any]
    yaml: Path | None = None
    table: pd.DataFrame | None = None
    late: Callable[[], None] | None = None

    @property
    def folder(self) -> Path:
        """Folder of the registry's file."""
        if self.yaml is None:
            raise ValueError("there is no registry, and so no folder")
        return self.yaml.parent


Breaker = Callable[[Given, Any, Any, Any], Expected]
"""``break_it(given, case, place, value)`` breaks what is given, and returns what must be said of it."""


@dataclass(frozen=True)
class Fault:
    """One way to be broken, and what must come of it.

    Attributes
    ----------
    name
        Short name.
    subject
        What has to be built, or used, for the error.
    promise
        The words on the page that promise the error.
    needs
        What kind of case can be broken so.
    break_it
        Breaks what is given, and returns the problems that must be told.
    places
        Where in a case it can be broken, the simplest place first.
    values
        With what it can be broken, by a name that can be read; the simplest first.
    error
        Type of the error.
    """

    name: str
    subject: Subject
    promise: str
    needs: Needs
    break_it: Breaker
    places: Callable[[Any], Sequence[Any]]
    values: Mapping[str, Any]
    error: type[Exception] = ValueError


FAULTS: dict[str, Fault] = {}
"""All faults by name, once `dynaclr_strategies.fault_arms` is imported."""


def _anywhere(_: Any) -> Sequence[Any]:
    return (None,)


def fault(
    name: str,
    subject: Subject,
    promise: str,
    *,
    needs: Needs,
    places: Callable[[Any], Iterable[Any]] = _anywhere,
    values: Sequence[Any] = (None,),
    error: type[Exception] = ValueError,
) -> Callable[[Breaker], Breaker]:
    """List the decorated function in `FAULTS` as the one that breaks a case so."""

    def enlist(break_it: Breaker) -> Breaker:
        if name in FAULTS:
            raise ValueError(f"name={name!r} is already a fault of the {FAULTS[name].subject}")
        named = {repr(value): value for value in values}
        FAULTS[name] = Fault(name, subject, promise, needs, break_it, lambda case: tuple(places(case)), named, error)
        return break_it

    return enlist


@dataclass(frozen=True, kw_only=True)
class FaultDescription(Plain):
    """A valid case and the one way in which it is broken.

    Attributes
    ----------
    fault
        Name of the fault, see `FAULTS`.
    case
        What is valid but for the fault.
    place
        Number of the place that is broken, among those at which the case can be.
    value
        What it is broken with: ``repr`` of one of the fault's values.
    """

    fault: str
    case: Case = field(default_factory=OptionSet)
    place: int = 0
    value: str = "None"

    def given(self, root: Path, *, write: bool = True) -> Given:
        """Return what the subject is made from while it is valid.

        Parameters
        ----------
        root
            Folder for the registry's files.
        write
            Whether to write them; if not, they are there already.
        """
        if isinstance(self.case, SamplerCase):
            return Given(self.case.options.kwargs(), table=self.case.frame())
        if isinstance(self.case, OptionSet):
            return Given({name: list(v) if isinstance(v, tuple) else v for name, v in self.case.options})
        index = self.case if isinstance(self.case, IndexCase) else self.case.index
        yaml = write_registry(index.registry, root) if write else root / "experiments.yml"
        subject = FAULTS[self.fault].subject
        if isinstance(self.case, DataModuleCase):
            return Given(_training_arguments(self.case), yaml)
        indexed = subject in {"index", "dataset", "batch"}
        return Given(_index_arguments(index) if indexed else {}, yaml)

    def apply(self, given: Given) -> Expected:
        """Break what is given, in place, and return the problems that must be told."""
        arm = FAULTS[self.fault]
        return arm.break_it(given, self.case, arm.places(self.case)[self.place], arm.values[self.value])


def _index_arguments(case: IndexCase) -> dict[str, Any]:
    names = [one.name for one in dataclasses.fields(case) if one.name != "registry"]
    return {**{name: getattr(case, name) for name in names}, "z_range": slice(*case.z_range)}


def _training_arguments(case: DataModuleCase) -> dict[str, Any]:
    sampling = case.sampling.kwargs()
    return {
        "stage": "fit",
        "z_range": case.index.z_range,
        "yx_patch_size": case.index.yx_patch_size,
        "final_yx_patch_size": case.final_yx_patch_size,
        "val_experiments": list(case.val_experiments),
        "tau_range": case.index.tau_range_hours,
        "batch_size": sampling["batch_size"],
        "seed": sampling["seed"],
        "channel_dropout_channels": list(case.channel_dropout_channels),
        "normalizations": [],
    }
