"""Samplers of other libraries as ``make(table, options)``, each with what it claims."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pandas as pd

from dynaclr_strategies.conformance.contract import Claims, MakeSampler
from dynaclr_strategies.sampler_descriptions import SamplerCase, SamplerOptions

__all__ = ["metric_learning_m_per_class", "torch_batches", "torch_distributed", "viscy_flexible"]


def torch_batches(table: pd.DataFrame, options: SamplerOptions) -> Any:
    """Return PyTorch's ``BatchSampler`` over a ``RandomSampler`` that has a generator of its own."""
    import torch
    from torch.utils.data import BatchSampler, RandomSampler

    generator = torch.Generator().manual_seed(options.seed)
    return BatchSampler(RandomSampler(range(len(table)), generator=generator), options.batch_size, options.drop_last)


class _DistributedBatches:
    """Batches of one rank, with the epoch passed on to where PyTorch keeps it."""

    def __init__(self, rows: int, options: SamplerOptions) -> None:
        from torch.utils.data import BatchSampler, DistributedSampler

        self._rows: Any = DistributedSampler(
            range(rows),  # type: ignore[arg-type] # anything with a length
            num_replicas=options.num_replicas or 1,
            rank=options.rank or 0,
            seed=options.seed,
            drop_last=options.drop_last,
        )
        self._batches = BatchSampler(self._rows, options.batch_size, options.drop_last)

    def set_epoch(self, epoch: int) -> None:
        """Select an epoch."""
        self._rows.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches)


def torch_distributed(table: pd.DataFrame, options: SamplerOptions) -> Any:
    """Return PyTorch's ``BatchSampler`` over a ``DistributedSampler``, as its documentation combines them."""
    return _DistributedBatches(len(table), options)


def metric_learning_m_per_class(table: pd.DataFrame, options: SamplerOptions) -> Any:
    """Return pytorch-metric-learning's ``MPerClassSampler`` in batches that hold all conditions alike."""
    from pytorch_metric_learning.samplers import MPerClassSampler
    from torch.utils.data import BatchSampler

    labels = table.groupby(list(options.stratify_by), observed=True).ngroup().to_numpy()
    each = options.batch_size // len(set(labels))
    sampler = MPerClassSampler(labels, each, options.batch_size, length_before_new_iter=len(table))
    return BatchSampler(sampler, options.batch_size, options.drop_last)


def _whole_conditions(case: SamplerCase) -> SamplerCase:
    """Make the batch a multiple of the number of conditions."""
    conditions = len(case.table.labels_of(case.options.stratify_by))
    size = max(conditions, case.options.batch_size - case.options.batch_size % conditions)
    return replace(case, options=replace(case.options, batch_size=size))


_VISCY = ("viscy_data", "viscy_data.sampler", "viscy.data", "viscy.data.sampler")


def viscy_flexible(table: pd.DataFrame, options: SamplerOptions) -> Any:
    """Return VisCy's ``FlexibleBatchSampler``, which has to be installed.

    Raises
    ------
    ImportError
        If it is not, or is found in none of the places that are known here.
    """
    kind = _viscy_sampler()
    taken = inspect.signature(kind).parameters
    return kind(table, **{name: value for name, value in options.kwargs().items() if name in taken})


def _viscy_sampler() -> Any:
    for module in _VISCY:
        try:
            return importlib.import_module(module).FlexibleBatchSampler
        except (ImportError, AttributeError):
            continue
    raise ImportError(f"VisCy's FlexibleBatchSampler is in none of {', '.join(_VISCY)}; install viscy to test it")


def _claim(maker: MakeSampler, claims: Claims) -> None:
    maker.claims = claims  # type: ignore[attr-defined]


_claim(torch_batches, Claims(axes=(), ranks=False))
_claim(torch_distributed, Claims(axes=()))
_claim(
    metric_learning_m_per_class,
    Claims(
        axes=("condition", "columns"),
        always=("condition",),
        ranks=False,
        order=False,
        seeds=False,
        last_batch=False,
        restrict=_whole_conditions,
    ),
)
_claim(viscy_flexible, Claims(axes=("experiment", "leak", "weights", "condition", "ratio", "time")))
