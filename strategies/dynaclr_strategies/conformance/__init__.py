"""The laws of the sampling cascade on anybody's sampler.

``pytest --pyargs dynaclr_strategies.conformance --sampler mypackage.samplers:make_sampler`` checks them; see
``docs/conformance.md``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynaclr_strategies.conformance.contract import AXES, Claims, ContractError
    from dynaclr_strategies.conformance.laws import SamplerLaws

__all__ = ["AXES", "Claims", "ContractError", "SamplerLaws"]

# Pytest imports this package in every run, for `entry`; Hypothesis may be missing there, and should cost nothing.
_MODULES = {"AXES": "contract", "Claims": "contract", "ContractError": "contract", "SamplerLaws": "laws"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
