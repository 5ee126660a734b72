"""The plugin for Hypothesis: which strategy draws which of our types, so that ``st.from_type`` finds it.

Hypothesis calls `register` whenever it is imported, in the tests of any project. So this module lies outside of the
packages whose types it knows, and imports none of them: a type is registered once somebody has imported its module, and
the module of its strategy is imported once somebody draws from it.
"""

from __future__ import annotations

import importlib
import importlib.abc
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = ["STRATEGIES", "register"]

_OURS = "dynaclr_strategies"

STRATEGIES: dict[str, dict[str, str]] = {
    "dynaclr.config": {"ExperimentConfig": "from_types:experiment_configs"},
    "dynaclr.experiment": {"ExperimentRegistry": "from_types:experiment_registries"},
    f"{_OURS}.cases": {
        "DataModuleCase": "datamodule_cases:datamodule_cases",
        "DatasetCase": "dataset_cases:dataset_cases",
        "IndexCase": "table_cases:index_cases",
        "RegistryCase": "table_cases:registry_cases",
        "TrainingCase": "datamodule_cases:training_cases",
    },
    f"{_OURS}.descriptions": {
        "ExperimentDescription": "registries:experiments",
        "FovDescription": "from_types:fovs",
        "RegistryDescription": "registries:registries",
        "TrackDescription": "from_types:tracks",
        "WellDescription": "from_types:wells",
    },
    f"{_OURS}.fault_descriptions": {
        "FaultDescription": "faults:faults",
        "OptionSet": "from_types:option_sets",
    },
    f"{_OURS}.loss_descriptions": {
        "AugmentCase": "augment_cases:augment_cases",
        "EmbeddingsDescription": "embeddings:embeddings",
        "LossCase": "embeddings:loss_cases",
        "RowDescription": "from_types:embedding_rows",
    },
    f"{_OURS}.parts": {
        "ChannelSet": "channels:channel_sets",
        "ConditionWells": "registries:conditions",
        "TimeAxisDescription": "times:time_axes",
    },
    f"{_OURS}.sampler_descriptions": {
        "LifeCase": "from_types:life_cases",
        "LifeStep": "from_types:life_steps",
        "SamplerCase": "options:sampler_cases",
        "SamplerOptions": "options:sampler_options",
        "StratumDescription": "from_types:strata",
        "TableDescription": "tables:anchor_tables",
    },
}
"""For the modules that hold them, our types and where in ``dynaclr_strategies`` the strategy of each is made.

None of these modules may import Hypothesis: it would be asked for its types before it has them.
"""


def register() -> None:
    """Register the types of modules that are imported already, and watch for the others."""
    sys.meta_path.insert(0, _Watch())
    for name in STRATEGIES:
        if name in sys.modules:
            _register_types_of(sys.modules[name])


def _register_types_of(module: ModuleType) -> None:
    from hypothesis import strategies as st

    for name, maker in STRATEGIES[module.__name__].items():
        st.register_type_strategy(getattr(module, name), _drawn_by(maker))


def _drawn_by(maker: str) -> Callable[[type[Any]], SearchStrategy[Any]]:
    module, _, function = maker.partition(":")

    def strategy(_: type[Any]) -> SearchStrategy[Any]:
        made: SearchStrategy[Any] = getattr(importlib.import_module(f"{_OURS}.{module}"), function)()
        return made

    return strategy


class _Watch(importlib.abc.MetaPathFinder):
    """Finds our modules as the other finders do, and has their types registered once they are imported."""

    def __init__(self) -> None:
        self._asking: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return what the first of the other finders finds."""
        # Other finders that ask all finders, as that of Atheris does, would ask us while we ask them.
        if fullname not in STRATEGIES or fullname in self._asking:
            return None
        self._asking.add(fullname)
        try:
            for finder in [finder for finder in sys.meta_path if not isinstance(finder, _Watch)]:
                spec = finder.find_spec(fullname, path, target)
                if spec is not None and spec.loader is not None:
                    spec.loader = _ThenRegister(spec.loader)
                    return spec
        finally:
            self._asking.discard(fullname)
        return None


class _ThenRegister(importlib.abc.Loader):
    """Loads a module as its own loader does, then registers its types."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leave it to the module's own loader."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module, which is its own loader's from here on."""
        if module.__spec__ is not None:
            module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        _register_types_of(module)
