"""The defaults are those of the pages: what is left out means the same as what is written there."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from dynaclr.augment import ChannelDropout
from dynaclr.datamodule import MultiExperimentDataModule
from dynaclr.dataset import MultiExperimentTripletDataset
from dynaclr.experiment import ExperimentRegistry
from dynaclr.index import MultiExperimentIndex
from dynaclr.loss import NTXentHCL
from dynaclr.sampler import FlexibleBatchSampler
from dynaclr.tau_sampling import sample_tau, tau_weights
from dynaclr_strategies.ready_made import two_experiments
from dynaclr_strategies.writers import write_registry

ROWS = np.arange(600)
TABLE = pd.DataFrame(
    {
        "experiment": np.array(list("ab"))[ROWS % 2],
        "condition": np.array(list("iuv"))[ROWS % 3],
        "hours_post_infection": ROWS % 40 * 0.5,
        "lineage_id": ROWS % 300,
    }
)
SAMPLER: dict[str, Any] = {
    "batch_size": 128,
    "experiment_aware": True,
    "leaky": 0.0,
    "experiment_weights": None,
    "condition_balanced": True,
    "condition_ratio": None,
    "temporal_enrichment": False,
    "temporal_window_hours": 2.0,
    "temporal_global_fraction": 0.3,
    "group_by": "experiment",
    "stratify_by": "condition",
    "exclusive_by": None,
    "seed": 0,
}
"""The parameters on the page on the cascade, but for the processes and `drop_last`."""


@pytest.mark.parametrize("switched_on", [{}, {"temporal_enrichment": True}], ids=["plain", "enriched"])
def test_of_the_sampler(switched_on: dict[str, Any]) -> None:
    """A sampler that is told nothing is the one that is told the defaults, with whole batches, for one process."""
    told = FlexibleBatchSampler(TABLE, **{**SAMPLER, **switched_on}, num_replicas=1, rank=0, drop_last=True)
    untold = FlexibleBatchSampler(TABLE, **switched_on)
    assert (untold.batch_size, untold.seed, untold.num_replicas, untold.rank) == (128, 0, 1, 0)
    assert untold.state_dict() == told.state_dict()
    assert untold.num_batches == len(untold) == 600 // 128
    assert list(untold) == list(told)


def test_of_the_draw_of_an_offset() -> None:
    """The weight falls by exp(-2) over the range."""
    assert tau_weights([3], 1, 3).tolist() == [np.exp(-2.0)]
    drawn = [sample_tau(1, 9, np.random.default_rng(seed)) for seed in range(200)]
    assert drawn == [sample_tau(1, 9, np.random.default_rng(seed), 2.0) for seed in range(200)]


def test_of_the_loss() -> None:
    """Temperature 0.07, beta 0.5 on the cosine, neither debiased nor blind to lineages."""
    loss = NTXentHCL()
    assert (loss.temperature, loss.beta, loss.beta_on) == (0.07, 0.5, "cosine")
    assert loss.tau_plus == 0.0
    assert loss.mask_same_lineage is False


def test_of_channel_dropout() -> None:
    """A channel is dropped half the time."""
    assert ChannelDropout([0]).p == 0.5


def test_of_the_index_and_the_dataset() -> None:
    """Positives lie 0.5 to 2 hours ahead, near ones more often, by seed 0; nothing is kept in memory."""
    with tempfile.TemporaryDirectory() as folder:
        registry = ExperimentRegistry.from_yaml(write_registry(two_experiments(), Path(folder)))
        index = MultiExperimentIndex(registry, slice(0, 1), (8, 8))
        assert index.tau_range_hours == (0.5, 2.0)
        assert len(index.tracks) == len(
            MultiExperimentIndex(registry, slice(0, 1), (8, 8), (0.5, 2.0), None, None).tracks
        )
        untold = MultiExperimentTripletDataset(index)
        told = MultiExperimentTripletDataset(index, True, (0.5, 2.0), 2.0, 0, 0)
        anchors = list(range(len(told)))
        assert len(untold) == len(index.valid_anchors)
        assert untold.epoch == 0
        for mine, theirs in zip(untold.positives(anchors), told.positives(anchors), strict=True):
            assert mine.tolist() == theirs.tolist()
        for batch in (untold.__getitems__([0, 1]), told.__getitems__([0, 1])):
            assert set(batch) >= {"anchor", "positive"}
        assert torch.equal(untold.__getitems__([0, 1])["positive"], told.__getitems__([0, 1])["positive"])


def test_of_the_data_module() -> None:
    """What the page writes into the signature is what a module that is told nothing has."""
    data = MultiExperimentDataModule("experiments.yml", (0, 1), (16, 16), (12, 12), [])
    assert data.sampling == {name: SAMPLER[name] for name in data.sampling}
    assert set(SAMPLER) - set(data.sampling) == {"batch_size", "seed"}
    assert (data.tau_range, data.tau_decay_rate) == ((0.5, 2.0), 2.0)
    assert (data.batch_size, data.num_workers, data.cache_pool_bytes, data.seed) == (128, 1, 0, 0)
    assert (data.channel_dropout_channels, data.hcl_beta) == ((1,), 0.5)
    assert (data.include_wells, data.exclude_fovs) == (None, None)
    dropout = data.transforms.dropout
    assert isinstance(dropout, ChannelDropout)
    assert (dropout.channels, dropout.p) == ((1,), 0.5)
    assert len(data.transforms.normalizations) == len(data.transforms.augmentations) == 0
