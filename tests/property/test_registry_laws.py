"""The laws of the registry hold on drawn registries, and none is vacuous; the strategy of their cases."""

from __future__ import annotations

import inspect
import re

import pytest
from hypothesis import given, settings
from searches import reached, smallest
from table_witnesses import REGISTRY_WITNESSES, SMALL, Witness

from dynaclr_strategies.cases import RegistryCase
from dynaclr_strategies.descriptions import FovDescription, TrackDescription
from dynaclr_strategies.holding import hold
from dynaclr_strategies.invariants import INVARIANTS, Invariant, InvariantViolation, registry
from dynaclr_strategies.law_cases import law_cases
from dynaclr_strategies.oracles.registry import frames_in_range
from dynaclr_strategies.subjects import run_law
from dynaclr_strategies.table_cases import registry_cases

LAWS = [law for law in INVARIANTS.values() if law.subject == "registry"]

# Every example writes stores, and some laws write them several times.
ON_DISK = settings(max_examples=max(10, settings().max_examples // 4))


@pytest.mark.parametrize("law", [law.law for law in LAWS])
def test_law(law: str) -> None:
    """The law holds for every registry that is drawn."""

    @ON_DISK
    @given(case=law_cases(law))
    def check(case: RegistryCase) -> None:
        hold(law, case)

    check()


# --- the laws ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.law)
def test_each_law_is_one_sentence(law: Invariant) -> None:
    """The docstring of a check is the law in one sentence, its name is the law's, and the module lists it."""
    assert law.check.__name__ == f"check_{law.law.replace('-', '_')}"
    assert law.check.__name__ in registry.__all__
    first = (inspect.getdoc(law.check) or "").partition("\n\n")[0]
    assert re.fullmatch(r"[A-Z`][^.]*(\.[^ .][^.]*)*\.", first), first
    assert "\n" not in first


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.law)
def test_each_law_has_a_witness(law: Invariant) -> None:
    """There is a broken registry for every law."""
    assert any(witness.law == law.law for witness in REGISTRY_WITNESSES)


@pytest.mark.parametrize("witness", REGISTRY_WITNESSES, ids=lambda w: f"{w.law}: {w.name}")
def test_each_witness_is_caught(witness: Witness) -> None:
    """The law raises on the witness, and on the same case not on the registry without the defect."""
    assert run_law(witness.law, witness.case)
    with pytest.raises(InvariantViolation, match=rf", but should be (.|\n)* \[{witness.law}\]$") as caught:
        run_law(witness.law, witness.case, witness.make)
    assert caught.value.law == witness.law
    assert str(caught.value).startswith(f"{caught.value.where}: {caught.value.seen}, but should be")


# --- the strategy -----------------------------------------------------------------------------------------------------


@given(case=registry_cases())
def test_registry_cases_are_sound(case: RegistryCase) -> None:
    """The range of hours leaves every experiment a frame, and the case travels as JSON."""
    assert all(frames_in_range(e.interval_minutes, case.tau_range_hours) for e in case.registry.experiments)
    assert RegistryCase.from_json(case.to_json()) == case


def test_registry_cases_reach_and_shrink() -> None:
    """Each case that a law is about; down to one experiment of one position."""
    reached(
        registry_cases(),
        lambda case: len(case.registry.experiments) > 1,
        lambda case: case.registry.experiments[0].store,
        lambda case: case.registry.experiments[0].source_channel[0] != case.registry.experiments[0].channel_names[0],
        lambda case: any(well.name == "H/1" for well in case.registry.experiments[0].wells),
        lambda case: len(list(case.registry.experiments[0].fovs())) > 2,
        lambda case: case.tau_range_hours == (0.0, 0.0),
        lambda case: case.registry.experiments[0].ome_version == "0.5",
        lambda case: case.registry.experiments[0].interval_minutes == 29.97,
    )
    least = smallest(registry_cases())
    assert least.tau_range_hours == (0.5, 2.0)
    (experiment,) = least.registry.experiments
    ((name, fov),) = experiment.fovs()
    assert name == "A/1/0"
    assert fov == FovDescription(name="0", tracks=(TrackDescription(track_id=1, frames=(0,)),))


def test_the_small_registry_is_what_its_laws_need() -> None:
    """Two experiments in no alphabetical order, with wells that nobody names, and channels in another order."""
    assert [experiment.name for experiment in SMALL.registry.experiments] == ["exp_beta", "exp_alpha"]
    assert all(experiment.condition_of("B/1") is None for experiment in SMALL.registry.experiments)
