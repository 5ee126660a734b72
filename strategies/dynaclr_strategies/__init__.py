"""Property-based tests for the sampling cascade of contrastive learning on time-lapse microscopy.

Descriptions, writers, invariants and oracles need no Hypothesis, so that a failure can be replayed where it is not
installed; without it the strategies are missing here, and nothing else.
"""

from __future__ import annotations

import importlib.util

from dynaclr_strategies.cases import DataModuleCase, DatasetCase, IndexCase, RegistryCase, TrainingCase
from dynaclr_strategies.descriptions import RegistryDescription
from dynaclr_strategies.fault_arms import FAULTS
from dynaclr_strategies.invariants import INVARIANTS, InvariantViolation, UndecidedError
from dynaclr_strategies.loss_descriptions import AugmentCase, EmbeddingsDescription, LossCase
from dynaclr_strategies.ready_made import two_experiments
from dynaclr_strategies.sampler_descriptions import SamplerCase, SamplerOptions, TableDescription
from dynaclr_strategies.writers import expected_patch, what_was_read, write_registry

if importlib.util.find_spec("hypothesis") is not None:
    from dynaclr_strategies.augment_cases import augment_cases
    from dynaclr_strategies.channels import channel_sets
    from dynaclr_strategies.datamodule_cases import datamodule_cases, training_cases
    from dynaclr_strategies.dataset_cases import dataset_cases
    from dynaclr_strategies.embeddings import embeddings, loss_cases
    from dynaclr_strategies.faults import faults
    from dynaclr_strategies.lineages import lineages
    from dynaclr_strategies.options import sampler_cases, sampler_options
    from dynaclr_strategies.registries import conditions, experiments, registries, stores
    from dynaclr_strategies.table_cases import index_cases, registry_cases
    from dynaclr_strategies.tables import anchor_tables
    from dynaclr_strategies.times import time_axes

__all__ = [
    "FAULTS",
    "INVARIANTS",
    "AugmentCase",
    "DataModuleCase",
    "DatasetCase",
    "EmbeddingsDescription",
    "IndexCase",
    "InvariantViolation",
    "LossCase",
    "RegistryCase",
    "RegistryDescription",
    "SamplerCase",
    "SamplerOptions",
    "TableDescription",
    "TrainingCase",
    "UndecidedError",
    "anchor_tables",
    "augment_cases",
    "channel_sets",
    "conditions",
    "datamodule_cases",
    "dataset_cases",
    "embeddings",
    "expected_patch",
    "experiments",
    "faults",
    "index_cases",
    "lineages",
    "loss_cases",
    "registries",
    "registry_cases",
    "sampler_cases",
    "sampler_options",
    "stores",
    "time_axes",
    "training_cases",
    "two_experiments",
    "what_was_read",
    "write_registry",
]
