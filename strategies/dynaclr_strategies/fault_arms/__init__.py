"""The faults, one function each, by what is broken: `FAULTS` lists them."""

from dynaclr_strategies.fault_arms import index, registry, sampler, stores, tracks, training
from dynaclr_strategies.fault_descriptions import FAULTS

__all__ = ["FAULTS", "index", "registry", "sampler", "stores", "tracks", "training"]
