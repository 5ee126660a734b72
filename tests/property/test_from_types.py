"""``st.from_type`` knows our types, and importing Hypothesis does not become slower by it."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument
from searches import SEARCH, smallest

import dynaclr_strategies
from dynaclr.experiment import ExperimentConfig, ExperimentRegistry
from dynaclr_hypothesis import STRATEGIES
from dynaclr_strategies.codec import Plain
from dynaclr_strategies.descriptions import FovDescription, TrackDescription, WellDescription
from dynaclr_strategies.fault_descriptions import OptionSet
from dynaclr_strategies.sampler_descriptions import SamplerCase, SamplerOptions, StratumDescription, TableDescription

TYPES: list[type[Any]] = [
    getattr(importlib.import_module(module), name) for module, names in STRATEGIES.items() for name in names
]
FEW = settings(max_examples=max(5, settings().max_examples // 10))


@pytest.mark.parametrize("kind", [kind for kind in TYPES if kind is not ExperimentRegistry], ids=lambda k: k.__name__)
def test_types_are_drawn(kind: type[Any]) -> None:
    """Each type has values, and each value of ours travels as JSON."""

    @FEW
    @given(value=st.from_type(kind))
    def check(value: Any) -> None:
        assert type(value) is kind
        if isinstance(value, Plain):
            assert kind.from_json(value.to_json()) == value

    check()


@pytest.mark.parametrize(
    ("kind", "least"),
    [
        (TrackDescription, TrackDescription(track_id=1, frames=(0,))),
        (StratumDescription, StratumDescription(experiment="a", condition="c", hpi=(0.0,))),
        (SamplerOptions, SamplerOptions(batch_size=1)),
        (
            SamplerCase,
            SamplerCase(
                table=TableDescription(strata=(StratumDescription(experiment="a", condition="c", hpi=(0.0,)),)),
                options=SamplerOptions(batch_size=1),
            ),
        ),
        (
            OptionSet,
            OptionSet(options=(("temperature", 0.07), ("beta", 0.5), ("beta_on", "cosine"), ("tau_plus", 0.0))),
        ),
    ],
    ids=lambda one: one.__name__ if isinstance(one, type) else "",
)
def test_types_shrink(kind: type[Any], least: Any) -> None:
    """They are drawn by the strategies that shrink towards what those say."""
    assert smallest(st.from_type(kind)) == least


def test_parts_of_a_plate_shrink() -> None:
    """Down to one cell in one frame of the first well."""
    fov = FovDescription(name="0", tracks=(TrackDescription(track_id=1, frames=(0,)),))
    least = smallest(st.from_type(WellDescription))
    assert least == WellDescription(name="A/1", fovs=(fov,))


def test_configs_vary() -> None:
    """Every field takes several values."""
    seen: dict[str, set[str]] = {name: set() for name in ExperimentConfig.model_fields}

    @settings(SEARCH, max_examples=100, phases=[Phase.generate])
    @given(config=st.from_type(ExperimentConfig))
    def look(config: ExperimentConfig) -> None:
        for name, values in seen.items():
            values.add(repr(getattr(config, name)))

    look()
    assert [name for name, values in seen.items() if len(values) == 1] == []


def test_registries_say_what_to_draw_instead() -> None:
    """One cannot be drawn, since it needs stores; the sentence says how to get one."""
    with pytest.raises(InvalidArgument, match=r"needs its stores on disk: draw a description .*write_registry"):
        smallest(st.from_type(ExperimentRegistry))


def test_every_description_is_registered() -> None:
    """Each description of the package is drawn by some strategy, which the plugin names."""
    for name in ("cases", "fault_descriptions", "from_types"):
        importlib.import_module(f"dynaclr_strategies.{name}")
    pending, found = [Plain], set()
    while pending:
        subclasses = pending.pop().__subclasses__()
        pending += subclasses
        found |= {kind for kind in subclasses if kind.__module__.startswith(f"{dynaclr_strategies.__name__}.")}
    assert found - set(TYPES) == set(), "name a strategy for it in dynaclr_hypothesis.STRATEGIES"


# --- in a process of its own ------------------------------------------------------------------------------------------

PROGRAM = """
import json, sys
{first}
import hypothesis
from hypothesis import strategies as st
loaded = set(sys.modules)
{then}
print(json.dumps([sorted(loaded), {result}]))
"""


def _run(*, first: str = "", then: str = "", result: str = "None") -> tuple[set[str], Any]:
    """Return what was loaded once Hypothesis was, and the result."""
    program = PROGRAM.format(first=first, then=then, result=result)
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    loaded, value = json.loads(done.stdout.splitlines()[-1])
    return set(loaded), value


def test_hypothesis_loads_nothing_of_ours() -> None:
    """It loads the plugin, and none of what the plugin knows of."""
    loaded, _ = _run()
    assert "dynaclr_hypothesis" in loaded
    assert not loaded & {"dynaclr", "dynaclr_strategies", "numpy", "pandas", "pydantic", "torch", "yaml"}


@pytest.mark.parametrize("order", ["before", "after"])
def test_types_are_known_whenever_they_are_imported(order: str) -> None:
    """Before Hypothesis or after it; strategies are imported when a value is drawn, and torch never."""
    load = "from dynaclr.experiment import ExperimentConfig"
    draw = "before = 'dynaclr_strategies' in sys.modules; strategy = st.from_type(ExperimentConfig)\n"
    draw += "quick = hypothesis.settings(database=None, phases=[hypothesis.Phase.generate])\n"
    draw += "name = hypothesis.find(strategy, lambda _: True, settings=quick).name\n"
    draw += "result = [before, name, 'torch' in sys.modules, type(sys.modules['dynaclr.config'].__loader__).__name__]"
    first, then = (load, draw) if order == "before" else ("", f"{load}\n{draw}")
    _, result = _run(first=first, then=then, result="result")
    assert result == [False, "exp_a", False, "SourceFileLoader"]
