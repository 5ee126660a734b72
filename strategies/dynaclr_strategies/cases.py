"""What a law is checked on: descriptions of registries together with the parameters of what is made from them.

The sampler's case, a table with options, is in `dynaclr_strategies.sampler_descriptions`.
"""

from __future__ import annotations

from dataclasses import dataclass

from dynaclr_strategies.codec import Plain
from dynaclr_strategies.descriptions import RegistryDescription
from dynaclr_strategies.sampler_descriptions import SamplerOptions

__all__ = ["DataModuleCase", "DatasetCase", "IndexCase", "RegistryCase", "TrainingCase"]


@dataclass(frozen=True, kw_only=True)
class RegistryCase(Plain):
    """A registry on disk, and a range of hours to convert into frames."""

    registry: RegistryDescription
    tau_range_hours: tuple[float, float] = (0.5, 2.0)


@dataclass(frozen=True, kw_only=True)
class IndexCase(Plain):
    """A registry, and how it is indexed: the parameters of ``MultiExperimentIndex``; ``z_range`` is (start, stop)."""

    registry: RegistryDescription
    z_range: tuple[int, int] = (0, 1)
    yx_patch_size: tuple[int, int] = (4, 4)
    tau_range_hours: tuple[float, float] = (0.5, 2.0)
    include_wells: tuple[str, ...] | None = None
    exclude_fovs: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class DatasetCase(Plain):
    """An index, and how its crops are read: the parameters of ``MultiExperimentTripletDataset``.

    Attributes
    ----------
    index
        The registry and how it is indexed.
    batch
        Numbers of the rows to read; each is taken modulo the number of rows there are.
    epoch
        The epoch in which they are read.
    fit, tau_decay_rate, cache_pool_bytes, seed
        See ``MultiExperimentTripletDataset``.
    """

    index: IndexCase
    batch: tuple[int, ...] = (0,)
    epoch: int = 0
    fit: bool = True
    tau_decay_rate: float = 2.0
    cache_pool_bytes: int = 0
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class DataModuleCase(Plain):
    """An index, and how it is trained on: the parameters of ``MultiExperimentDataModule``.

    Attributes
    ----------
    index
        The registry and how it is indexed.
    sampling
        Batch size, seed and the axes of sampling; its ranks are the trainer's business.
    val_experiments, final_yx_patch_size, num_workers, channel_dropout_channels, channel_dropout_prob, tau_decay_rate
        See ``MultiExperimentDataModule``.
    augmented
        Whether every crop that is trained on gets noise.
    """

    index: IndexCase
    sampling: SamplerOptions
    val_experiments: tuple[str, ...] = ()
    final_yx_patch_size: tuple[int, int] = (4, 4)
    num_workers: int = 1
    channel_dropout_channels: tuple[int, ...] = ()
    channel_dropout_prob: float = 0.5
    tau_decay_rate: float = 2.0
    augmented: bool = False


@dataclass(frozen=True, kw_only=True)
class TrainingCase(Plain):
    """A data module, and how a small encoder is trained on it.

    Attributes
    ----------
    data
        What it is trained on; the seed of the sampling is that of the encoder's weights too.
    temperature, beta
        See ``NTXentHCL``.
    """

    data: DataModuleCase
    temperature: float = 0.07
    beta: float = 0.5
