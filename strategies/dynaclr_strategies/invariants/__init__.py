"""The promises, each as one function that takes plain data and raises `InvariantViolation`."""

from dynaclr_strategies.invariants import augment, dataset, fault, loss, sampler, sampler_life
from dynaclr_strategies.invariants.base import INVARIANTS, Invariant, InvariantViolation

__all__ = [
    "INVARIANTS",
    "Invariant",
    "InvariantViolation",
    "augment",
    "dataset",
    "fault",
    "loss",
    "sampler",
    "sampler_life",
]
