"""The batch sampler: one epoch after the other, on any number of ranks, from any position on."""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import torch.distributed
from torch.utils.data import Sampler

from dynaclr.cascade.fold import Cascade
from dynaclr.cascade.recipe import Axes, Recipe
from dynaclr.checks import truth, whole
from dynaclr.errors import DynaclrError, OtherSamplingError, RepeatedAnchorsWarning
from dynaclr.wording import listed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

logger = logging.getLogger(__name__)

_STATE_VERSION: Final = 1
_DRAWN: Final = b"by shuffles"  # how exclusive anchors are drawn: states of other ways belong to other batches
_LAST: Final = 2**53  # far beyond any run, and far from what int64 cannot hold


class FlexibleBatchSampler(Sampler[list[int]]):
    """Batches of anchors, balanced over experiments, conditions and time.

    How a batch is built, and what is promised about it, is told in ``docs/sampling.md``.

    Parameters
    ----------
    valid_anchors : DataFrame of N rows
        One row per anchor, with the columns that the enabled axes name. It is neither kept nor changed.
    batch_size
        Number B of anchors in a batch.
    experiment_aware
        Whether each batch belongs to one experiment.
    leaky
        Fraction of a batch, in [0, 1), that comes from the other experiments.
    experiment_weights
        Relative share of the batches by experiment; by default the number of anchors. An experiment with weight 0, or
        without a weight where others have one, is left out altogether. A label of several columns is a tuple, or a
        text with slashes such as ``"exp_alpha/nucleus"``.
    condition_balanced
        Whether each condition gets a fixed share of the primary anchors.
    condition_ratio
        That share by condition, written likewise; equal shares by default.
    temporal_enrichment
        Whether part of the primary anchors lies near one focal HPI.
    temporal_window_hours
        Largest distance from the focal HPI, in hours.
    temporal_global_fraction
        Fraction of the primary anchors, in [0, 1], that is drawn from all times nevertheless.
    group_by, stratify_by
        Column, or columns, that make an experiment and a condition.
    exclusive_by
        Column, such as ``"lineage_id"``, of which no value may occur twice in a batch.
    num_replicas, rank
        Number of processes and the number of this one; by default those of the initialised process group, else 1 and 0.
    seed
        Seed of all randomness.
    drop_last
        Whether an epoch has ``N // B`` batches rather than ``ceil(N / B)``; every batch is full in both cases.

    Raises
    ------
    DynaclrError
        If an argument or the table cannot work, in one sentence.

    Warns
    -----
    RepeatedAnchorsWarning
        If an experiment is so small that anchors repeat within its batches.

    Examples
    --------
    >>> anchors = pd.DataFrame({"experiment": list("aaaabbbb"), "condition": list("uiuiuiui")})
    >>> sampler = FlexibleBatchSampler(anchors, batch_size=4, seed=7)
    >>> sorted(anchors.loc[sampler.batch(0), "condition"])
    ['i', 'i', 'u', 'u']
    """

    def __init__(
        self,
        valid_anchors: pd.DataFrame,
        batch_size: int = 128,
        experiment_aware: bool = True,
        leaky: float = 0.0,
        experiment_weights: Mapping[Any, float] | None = None,
        condition_balanced: bool = True,
        condition_ratio: Mapping[Any, float] | None = None,
        temporal_enrichment: bool = False,
        temporal_window_hours: float = 2.0,
        temporal_global_fraction: float = 0.3,
        group_by: str | Sequence[str] = "experiment",
        stratify_by: str | Sequence[str] = "condition",
        exclusive_by: str | Sequence[str] | None = None,
        num_replicas: int | None = None,
        rank: int | None = None,
        seed: int = 0,
        drop_last: bool = True,
    ) -> None:
        if not isinstance(valid_anchors, pd.DataFrame):
            raise DynaclrError(
                f"valid_anchors is a {type(valid_anchors).__name__}, but needs to be a DataFrame with a row per anchor"
            )
        self._axes = Axes.of_options(
            experiment_aware=experiment_aware,
            leaky=leaky,
            experiment_weights=experiment_weights,
            condition_balanced=condition_balanced,
            condition_ratio=condition_ratio,
            temporal_enrichment=temporal_enrichment,
            temporal_window_hours=temporal_window_hours,
            temporal_global_fraction=temporal_global_fraction,
            group_by=group_by,
            stratify_by=stratify_by,
            exclusive_by=exclusive_by,
        )
        drop_last = truth("drop_last", drop_last)
        self.seed = whole("seed", seed)
        self.num_replicas, self.rank = _replicas(num_replicas, rank)
        self.batch_size = whole("batch_size", batch_size, at_least=1)
        rows = len(valid_anchors)
        if not rows:
            raise DynaclrError("valid_anchors has 0 rows, but needs at least one anchor")
        if drop_last and self.batch_size > rows:
            raise DynaclrError(
                f"batch_size={self.batch_size!r} is larger than the number of anchors, {rows}, so that an epoch would "
                "have no batch; it needs a smaller batch_size, or drop_last=False of the sampler"
            )
        self.num_batches = rows // self.batch_size if drop_last else -(-rows // self.batch_size)
        self._recipe = Recipe(valid_anchors, self._axes, self.batch_size, self.num_batches, self.seed)
        self._cascade = Cascade(self._recipe)
        self.epoch = self._position = self._resume_at = 0
        self._newest = object()  # stands for the iterator that was started last: it alone moves the position
        if self.rank == 0:  # the other ranks would say the same
            self._tell_consequences(rows)

    def _tell_consequences(self, rows: int) -> None:
        """Say what the user may not expect of these options on this table."""
        axes = self._axes
        idle = {
            "experiment_weights": axes.experiment.weights is not None and not axes.experiment.columns,
            "leaky": axes.leak.leaky > 0 and not axes.experiment.columns,
            "condition_ratio": axes.condition.ratio is not None and not axes.condition.columns,
        }
        for parameter in (name for name, without_effect in idle.items() if without_effect):
            logger.warning("%s has no effect, because the axis it belongs to is off", parameter)
        if (used := len(self._recipe.strata.order)) < rows:
            logger.warning("experiment_weights leaves out %d of %d anchors", rows - used, rows)
        if axes.exclusive is not None and (short := self._recipe.too_few_values()):
            few = [f"{values} in {_place(*labels)}" for labels, values in short.items()]
            logger.warning(
                "batch_size=%r: batches hold anchors that share a value of exclusive_by=%r; there are only %s",
                *(self.batch_size, axes.exclusive.columns, listed(few, str)),
            )
        reasons = [
            f"there are too few in the conditions of experiment {name!r} (it has {size})"
            for name, size in self._recipe.too_small().items()
        ] + [
            f"there are too few to leak into batches of experiment {name!r} (the others have {size})"
            for name, size in self._recipe.too_few_others().items()
        ]
        if reasons:
            warnings.warn(
                f"batch_size={self.batch_size!r} repeats anchors within a batch, each a false negative for a "
                f"contrastive loss, because {'; and '.join(reasons)}",
                RepeatedAnchorsWarning,
                stacklevel=3,
            )

    @property
    def sampler(self) -> FlexibleBatchSampler:
        """The sampler itself: Lightning tells the epoch to ``batch_sampler.sampler`` only."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Select the epoch of the next iteration; another epoch than the selected one starts from its first batch.

        Raises
        ------
        DynaclrError
            If the epoch is not a whole number from 0 on.
        """
        epoch = whole("epoch", epoch, at_least=0)
        if epoch != self.epoch:
            self.epoch, self._position, self._resume_at = epoch, 0, 0

    def __len__(self) -> int:
        """Return the number of batches that the next iteration yields on this rank."""
        left = max(0, self.num_batches - self._resume_at)
        return (left + self.num_replicas - 1) // self.num_replicas

    def __iter__(self) -> Iterator[list[int]]:
        """Yield this rank's batches of the epoch: all of them, or those that a restored state left."""
        self._position = self._resume_at
        self._newest = turn = object()
        return self._pass(turn)

    def _pass(self, turn: object) -> Iterator[list[int]]:
        # What a pass yields is settled when its first batch is asked for: Lightning tells the epoch after `iter`.
        begin, count, epoch, conflicts, done = self._resume_at, len(self), self.epoch, 0, 0
        if self._newest is turn:
            self._position, self._resume_at = begin, 0
        for composed in self._cascade.compositions(begin + self.rank + self.num_replicas * np.arange(count), epoch):
            conflicts += self._cascade.shared_values(composed)
            for rows in self._cascade.rows(composed):
                done += 1
                if self.epoch == epoch and self._newest is turn:
                    self._position = begin + done * self.num_replicas
                # Batch by batch: the ints of a whole chunk do not fit into the cache, and take twice as long to make.
                yield rows.tolist()
        if conflicts:
            logger.info(
                "epoch %d: %d of %d batches hold anchors that share a value of exclusive_by=%r, "
                "because a stratum has fewer values than its quota, or shares them with another stratum",
                epoch,
                conflicts,
                count,
                self._axes.exclusive.columns if self._axes.exclusive else (),
            )

    def batch(self, i: int, epoch: int | None = None) -> list[int]:
        """Return global batch `i` of an epoch without building the ones before it.

        Parameters
        ----------
        i
            Number of the batch, counted over all ranks; numbers beyond the epoch's last continue its sequence.
        epoch
            By default the selected one.

        Returns
        -------
        list of int
            B rows of the table.

        Raises
        ------
        DynaclrError
            If `i` or `epoch` is not a whole number from 0 on, or `i` beyond 2**53.
        """
        composed = self._cascade.compose(np.array([_number("i", i)]), self._epoch(epoch))
        rows: list[int] = self._cascade.rows(composed)[0].tolist()
        return rows

    def explain(self, i: int, epoch: int | None = None) -> pd.DataFrame:
        """Tell for each anchor of global batch `i` where it comes from.

        Parameters
        ----------
        i, epoch
            As for `batch`.

        Returns
        -------
        DataFrame
            One row per anchor, in the order of the batch: ``anchor`` (row of the table), ``experiment`` and
            ``condition`` (labels of its stratum, ``None`` where the axis is off), ``source`` (``"primary"`` or
            ``"leaked"``), ``time`` (``"focal"`` inside the window, ``"widened"`` beyond it for want of anchors,
            ``"global"``, or ``None`` without enrichment and for leaked anchors), ``repeated`` (it stands in the batch
            already) and, with enrichment, ``hpi`` in hours. ``attrs["focal_hpi"]`` is the focal HPI in hours, or
            ``None``.
        """
        return self._cascade.explain(_number("i", i), self._epoch(epoch))

    def strata(self) -> pd.DataFrame:
        """Tell what the options ask of each stratum.

        Returns
        -------
        DataFrame
            One row per experiment and condition: ``experiment`` and ``condition`` (labels, ``None`` where the axis is
            off), ``anchors`` (how many there are), ``batches`` (how many of an epoch should belong to the experiment)
            and ``quota`` (how many of the primary anchors of each of these should be of the condition). An experiment
            that the weights leave out has one row, without condition.
        """
        return self._cascade.asked()

    def _epoch(self, epoch: int | None) -> int:
        return self.epoch if epoch is None else whole("epoch", epoch, at_least=0)

    # A state counts global batches, so that it can be continued on another number of ranks.

    def state_dict(self) -> dict[str, Any]:
        """Return epoch, number of global batches that were yielded, and a fingerprint of table and options."""
        return {
            "version": _STATE_VERSION,
            "epoch": self.epoch,
            "batches": self._resume_at or self._position,
            "fingerprint": dict(self.fingerprint),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with the batches that were left when `state` was taken, whatever the number of ranks was.

        Raises
        ------
        DynaclrError
            If the state is none, comes from a newer version, or from another table or other options; the sentence says
            which. The sampler is then unchanged.
        """
        keys = ("version", "epoch", "batches", "fingerprint")
        if not isinstance(state, Mapping) or not isinstance(state.get("fingerprint"), Mapping):
            raise DynaclrError(f"state={state!r} is no sampler state: it needs {', '.join(map(repr, keys))}")
        missing = [key for key in keys if key not in state]
        if missing:
            raise DynaclrError(f"state={dict(state)!r} is no sampler state: it lacks {', '.join(map(repr, missing))}")
        if state["version"] != _STATE_VERSION:
            raise DynaclrError(f"state has version {state['version']!r}, but this sampler reads {_STATE_VERSION!r}")
        epoch, batches = whole("epoch", state["epoch"], at_least=0), _number("batches", state["batches"])
        if different := self.differences(state["fingerprint"]):
            raise OtherSamplingError(
                f"state belongs to another table or other options ({', '.join(different)}), but needs those that it "
                "was taken with"
            )
        self.epoch, self._position, self._resume_at = epoch, batches, batches

    def differences(self, fingerprint: Mapping[str, Any]) -> list[str]:
        """Tell in what another table or other options differ from those of this sampler.

        Parameters
        ----------
        fingerprint
            The `fingerprint` of another sampler.

        Returns
        -------
        list of str
            One phrase per difference, such as ``"batch_size was 32 and is 64"`` or ``"other rows"``.
        """
        found = []
        for name, value in self.fingerprint.items():
            other = fingerprint.get(name)
            if other != value:
                is_digest = isinstance(value, str) or isinstance(other, str)
                found.append(f"other {name}" if is_digest else f"{name} was {other!r} and is {value!r}")
        return found

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """What decides the batches, however it was written: numbers of the options, digests of the table's rows."""
        recipe, time = self._recipe, self._axes.time
        strata, quotas = recipe.strata, recipe.quotas.per_group
        return {
            "anchors": sum(recipe.census.values()),
            "batch_size": self.batch_size,
            "num_batches": self.num_batches,
            "seed": self.seed,
            "leaked anchors": recipe.leaked,
            "focal anchors": recipe.focal,
            "temporal_window_hours": float(time.window_hours) if time else None,
            "experiment shares": _digest(recipe.shares.whole, recipe.shares.threshold),
            "condition quotas": _digest(*(each.whole for each in quotas), *(each.threshold for each in quotas)),
            "labels": _digest(repr((recipe.census, strata.conditions)).encode()),
            "rows": _digest(strata.order, strata.start, strata.group_stratum, strata.condition),
            "hours": _digest(strata.values, strata.cell_key, strata.cell_start),
            "exclusive_by": None if recipe.exclusive is None else _digest(_DRAWN, pd.factorize(recipe.exclusive)[0]),
        }


def _place(group: Hashable, condition: Hashable) -> str:
    """Return what an experiment and a condition are called, of which an axis that is off has none."""
    names = {"condition": condition, "experiment": group}
    return " of ".join(f"{kind} {name!r}" for kind, name in names.items() if name is not None) or "the table"


def _number(name: str, value: int) -> int:
    if whole(name, value, at_least=0) > _LAST:
        raise DynaclrError(f"{name}={value!r} needs to be a number of batches, at most {_LAST}")
    return int(value)


def _digest(*parts: NDArray[Any] | bytes) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).data)
    return digest.hexdigest()


def _replicas(num_replicas: int | None, rank: int | None) -> tuple[int, int]:
    """Fill in what was not given from the process group, and check both."""
    group = torch.distributed.is_available() and torch.distributed.is_initialized()
    if num_replicas is None:
        num_replicas = torch.distributed.get_world_size() if group else 1
    if rank is None:
        rank = torch.distributed.get_rank() if group else 0
    num_replicas = whole("num_replicas", num_replicas, at_least=1)
    if whole("rank", rank) not in range(num_replicas):
        raise DynaclrError(f"rank={rank!r} needs a number in [0, {num_replicas}), the number of replicas")
    return num_replicas, int(rank)
