"""What a sampler claims, and what it is held to because of that."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from dynaclr_strategies.invariants import INVARIANTS
from dynaclr_strategies.reproduction.case_files import CannotRunError
from dynaclr_strategies.reproduction.makers import load_maker, look_into
from dynaclr_strategies.sampler_descriptions import PLAIN_TABLE, SamplerCase, SamplerOptions
from dynaclr_strategies.subjects.sampler import OF_SAMPLERS

__all__ = ["AXES", "METHODS", "Claims", "Contract", "ContractError", "contract_of"]

MakeSampler = Callable[[pd.DataFrame, SamplerOptions], Any]

AXES = {
    "experiment": "experiment_aware",
    "leak": "leaky",
    "weights": "experiment_weights",
    "condition": "condition_balanced",
    "ratio": "condition_ratio",
    "time": "temporal_enrichment",
    "exclusive": "exclusive_by",
    "columns": "group_by and stratify_by",
}
"""The axes that a sampler may claim, and the options that each stands for."""

METHODS = {
    "epochs": ("set_epoch",),
    "random_access": ("batch",),
    "resume": ("state_dict", "load_state_dict"),
    "explain": ("explain",),
    "length": ("__len__",),
}
"""The methods that each claim is about."""

_ON: dict[str, dict[str, Any]] = {
    "experiment": {"experiment_aware": True},
    "condition": {"condition_balanced": True},
    "time": {"temporal_enrichment": True},
    "exclusive": {"exclusive_by": "lineage_id"},
}
_OFF: dict[str, dict[str, Any]] = {
    "experiment": {"experiment_aware": False},
    "leak": {"leaky": 0.0},
    "weights": {"experiment_weights": None},
    "condition": {"condition_balanced": False},
    "ratio": {"condition_ratio": None},
    "time": {"temporal_enrichment": False, "temporal_window_hours": 2.0, "temporal_global_fraction": 0.3},
    "exclusive": {"exclusive_by": None},
}
_WITHIN = {"leak": "experiment", "weights": "experiment", "ratio": "condition"}


class ContractError(ValueError):
    """A sampler or its claims that cannot be tested, in one sentence."""


@dataclass(frozen=True, kw_only=True)
class Claims:
    """What a sampler promises; laws about anything else are skipped, by name.

    Attributes
    ----------
    axes
        Those of `AXES` that the sampler has; options of the others keep the values that switch them off. The axes
        ``"leak"`` and ``"weights"`` need ``"experiment"``, and ``"ratio"`` needs ``"condition"``.
    always
        Those of the axes experiment, condition, time and exclusive that the sampler cannot switch off.
    ranks
        It shares an epoch out by the options ``num_replicas`` and ``rank``.
    epochs, random_access, resume, explain, length
        It has the methods ``set_epoch``; ``batch``; ``state_dict`` and ``load_state_dict``; ``explain``; ``__len__``.
        By default the sampler is looked at. A method that is not claimed is never called.
    order
        Within a batch the anchors stand in a random order.
    seeds
        Its batches depend on the option ``seed``.
    last_batch
        It takes ``drop_last=False``, with a last batch that is as full as the others.
    without
        Laws that it does not claim although their subject is, each with the reason.
    restrict
        Turns a drawn case into one that the sampler is made for, such as a batch size that it can divide.
    """

    axes: Collection[str] = tuple(AXES)
    always: Collection[str] = ()
    ranks: bool = True
    epochs: bool | None = None
    random_access: bool | None = None
    resume: bool | None = None
    explain: bool | None = None
    length: bool | None = None
    order: bool = True
    seeds: bool = True
    last_batch: bool = True
    without: Mapping[str, str] = field(default_factory=dict)
    restrict: Callable[[SamplerCase], SamplerCase] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.axes, str) or not set(self.axes) <= set(AXES):
            raise ContractError(f"axes={self.axes!r} needs to be a collection of names out of {list(AXES)}")
        for axis, other in _WITHIN.items():
            if axis in self.axes and other not in self.axes:
                raise ContractError(f"axes={self.axes!r} has {axis!r}, but needs {other!r} with it")
        if isinstance(self.always, str) or not set(self.always) <= set(_ON) & set(self.axes):
            raise ContractError(f"always={self.always!r} needs to be a collection of those of {list(_ON)} in axes")
        laws = [law.law for law in INVARIANTS.values() if law.subject in OF_SAMPLERS]
        for name in set(self.without) - set(laws):
            raise ContractError(f"without={self.without!r} has {name!r}, but needs laws of the sampler: {laws}")

    def fit(self, case: SamplerCase) -> SamplerCase:
        """Return the case with everything switched off that is not claimed, and on that always is."""
        options = case.options
        changes: dict[str, Any] = {}
        if not self.ranks:
            changes |= {"num_replicas": None, "rank": None}
        if not self.last_batch:
            changes |= {"drop_last": True, "batch_size": min(options.batch_size, case.table.size)}
        for axis, values in _OFF.items():
            changes |= values if axis not in self.axes else {}
        for axis in self.always:
            changes |= _ON[axis]
        fitted = replace(case, options=replace(options, **changes))
        return fitted if self.restrict is None else self.restrict(fitted)

    @property
    def plain(self) -> SamplerCase:
        """The simplest case that every sampler with these claims takes."""
        return self.fit(SamplerCase(table=PLAIN_TABLE, options=SamplerOptions(batch_size=4)))


@dataclass(frozen=True)
class Contract:
    """A sampler that can be held to its claims.

    Attributes
    ----------
    name
        What makes the sampler, as ``"module:function"``.
    maker
        The function itself, ``maker(table, options)``.
    claims
        What it claims, with nothing left open.
    """

    name: str
    maker: MakeSampler
    claims: Claims

    @classmethod
    def of(cls, maker: MakeSampler, name: str, claims: Claims | None = None) -> Contract:
        """Make one sampler, and fill in what it does not claim by what it has.

        Parameters
        ----------
        maker, name
            As above.
        claims
            By default the attribute ``claims`` of the maker, else `Claims` with its defaults.

        Raises
        ------
        ContractError
            If no sampler can be made, or it lacks what it claims.
        """
        stated = claims if claims is not None else getattr(maker, "claims", Claims())
        if not isinstance(stated, Claims):
            raise ContractError(f"claims={stated!r} of sampler={name!r} needs to be a Claims")
        sampler = _one_sampler(maker, name, stated)
        filled: dict[str, Any] = {}
        for claim, methods in METHODS.items():
            has = all(hasattr(sampler, method) for method in methods)
            if getattr(stated, claim) and not has:
                raise ContractError(
                    f"sampler={name!r} claims {claim}, but the {type(sampler).__name__} that it makes needs "
                    f"{' and '.join(methods)} for that"
                )
            filled[claim] = has if getattr(stated, claim) is None else getattr(stated, claim)
        return cls(name, maker, replace(stated, **filled))

    def make(self, table: pd.DataFrame, options: SamplerOptions) -> Any:
        """Make a sampler that shows the methods that it claims, and no others."""
        sampler = self.maker(table, options)
        hidden = {name for claim, names in METHODS.items() if not getattr(self.claims, claim) for name in names}
        return _Shown(sampler, frozenset(hidden)) if any(hasattr(sampler, name) for name in hidden) else sampler


def contract_of(spec: str, folder: Path) -> Contract:
    """Import a sampler from ``module:function``, which may lie in a folder that Python does not look into.

    Raises
    ------
    ContractError
        If it cannot be imported, or not be tested.
    """
    look_into(str(folder))
    try:
        maker = load_maker(spec)
    except CannotRunError as problem:
        raise ContractError(str(problem)) from problem
    return Contract.of(maker, spec)


def _one_sampler(maker: MakeSampler, name: str, claims: Claims) -> Any:
    try:
        case = claims.plain
        sampler = maker(case.frame(), case.options)
    except (Exception, SystemExit) as problem:
        text = " ".join(str(problem).split())
        raise ContractError(
            f"sampler={name!r} needs to take (table, options) and return batches, but for the plainest case it raised "
            f"{type(problem).__name__}: {text}"
        ) from problem
    if not hasattr(sampler, "__iter__"):
        raise ContractError(f"sampler={name!r} returned {sampler!r}, but needs to return an iterable of batches")
    return sampler


class _Shown:
    """A sampler of which some methods do not show: they may be about something else than their name says here."""

    def __init__(self, sampler: Any, hidden: frozenset[str]) -> None:
        self._sampler = sampler
        self._hidden = hidden

    def __getattr__(self, name: str) -> Any:
        if name in self._hidden:
            raise AttributeError(f"{name!r} is not claimed")
        return getattr(self._sampler, name)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._sampler)

    def __len__(self) -> int:
        if "__len__" in self._hidden:
            raise TypeError("'__len__' is not claimed")
        return len(self._sampler)
