"""The promises, each as one function that takes plain data and raises `InvariantViolation`."""

from dynaclr_strategies.invariants import (
    augment,
    datamodule,
    dataset,
    fault,
    index,
    loss,
    registry,
    sampler,
    sampler_life,
    training,
)
from dynaclr_strategies.invariants.base import INVARIANTS, Invariant, InvariantViolation, UndecidedError

__all__ = [
    "INVARIANTS",
    "Invariant",
    "InvariantViolation",
    "UndecidedError",
    "augment",
    "datamodule",
    "dataset",
    "fault",
    "index",
    "loss",
    "registry",
    "sampler",
    "sampler_life",
    "training",
]
