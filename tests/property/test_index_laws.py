"""The laws of the index hold on drawn registries, and none is vacuous; the strategy of their cases."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from searches import reached, smallest
from table_witnesses import INDEX_WITNESSES, Witness

from dynaclr_strategies.cases import IndexCase
from dynaclr_strategies.descriptions import FovDescription, RegistryDescription, TrackDescription
from dynaclr_strategies.holding import hold
from dynaclr_strategies.invariants import INVARIANTS, Invariant, InvariantViolation, index
from dynaclr_strategies.invariants.evidence import TracksEvidence
from dynaclr_strategies.law_cases import law_cases
from dynaclr_strategies.oracles.index import IndexOracle
from dynaclr_strategies.subjects import run_law
from dynaclr_strategies.table_cases import index_cases

LAWS = [law for law in INVARIANTS.values() if law.subject == "index"]

# Every example writes stores, and some laws write them several times.
ON_DISK = settings(max_examples=max(10, settings().max_examples // 4))


@pytest.mark.parametrize("law", [law.law for law in LAWS])
def test_law(law: str) -> None:
    """The law holds for every registry that is drawn."""

    @ON_DISK
    @given(case=law_cases(law))
    def check(case: IndexCase) -> None:
        hold(law, case)

    check()


# --- the laws ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.law)
def test_each_law_is_one_sentence(law: Invariant) -> None:
    """The docstring of a check is the law in one sentence, its name is the law's, and the module lists it."""
    assert law.check.__name__ == f"check_{law.law.replace('-', '_')}"
    assert law.check.__name__ in index.__all__
    first = (inspect.getdoc(law.check) or "").partition("\n\n")[0]
    assert re.fullmatch(r"[A-Z`][^.]*(\.[^ .][^.]*)*\.", first), first
    assert "\n" not in first


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.law)
def test_each_law_has_a_witness(law: Invariant) -> None:
    """There is a broken index for every law."""
    assert any(witness.law == law.law for witness in INDEX_WITNESSES)


@pytest.mark.parametrize("witness", INDEX_WITNESSES, ids=lambda w: f"{w.law}: {w.name}")
def test_each_witness_is_caught(witness: Witness) -> None:
    """The law raises on the witness, and on the same case not on the index without the defect."""
    assert run_law(witness.law, witness.case)
    with pytest.raises(InvariantViolation, match=rf", but should be .* \[{witness.law}\]$") as caught:
        run_law(witness.law, witness.case, witness.make)
    assert caught.value.law == witness.law
    assert str(caught.value).startswith(f"{caught.value.where}: {caught.value.seen}, but should be")


def test_a_wrong_positive_can_be_drawn() -> None:
    """A violation of a law about lineages brings the anchor, what was offered, and what should have been."""
    witness = next(witness for witness in INDEX_WITNESSES if witness.name == "sisters_too")
    with pytest.raises(InvariantViolation, match="positives are track 2 at t=3, track 3 at t=3") as caught:
        run_law(witness.law, witness.case, witness.make)
    assert caught.value.evidence == TracksEvidence(
        "exp_alpha", "A/1/0", anchor=(2, 2), seen=((2, 3), (3, 3)), expected=((2, 3),)
    )


# --- the strategy -----------------------------------------------------------------------------------------------------


@given(case=index_cases())
def test_index_cases_are_sound(case: IndexCase) -> None:
    """Every experiment has a row and a tau, every FOV holds the window, and the case travels as JSON."""
    oracle = IndexOracle(case)
    assert oracle.leaves_none_empty()
    assert all(oracle.taus(experiment.name) for experiment in case.registry.experiments)
    for fov in _fovs(case):
        assert 1 <= case.yx_patch_size[0] <= fov.y
        assert 1 <= case.yx_patch_size[1] <= fov.x
        assert 0 <= case.z_range[0] < case.z_range[1] <= fov.z
        assert len({track.track_id for track in fov.tracks}) == len(fov.tracks)
    assert IndexCase.from_json(case.to_json()) == case


@given(case=index_cases(min_experiments=2, selected=st.just(False)))
def test_index_cases_as_asked(case: IndexCase) -> None:
    """As many experiments as asked for, and nothing selected where nothing may be."""
    assert len(case.registry.experiments) == 2
    assert case.include_wells is case.exclude_fovs is None


def _fovs(case: IndexCase) -> list[FovDescription]:
    return [fov for experiment in case.registry.experiments for _, fov in experiment.fovs()]


def _any_track(wanted: Callable[[TrackDescription, dict[int, TrackDescription]], bool]) -> Callable[[IndexCase], bool]:
    """Return a search for cases with a daughter and her FOV's tracks of which something is true."""

    def search(case: IndexCase) -> bool:
        families = ({track.track_id: track for track in fov.tracks} for fov in _fovs(case))
        return any(wanted(one, by_id) for by_id in families for one in by_id.values() if one.parent is not None)

    return search


def _has_sisters(case: IndexCase) -> bool:
    """Tell whether somebody of an anchor's lineage, who is no positive, is there at a tau of the experiment."""
    if sum(track.parent is not None for fov in _fovs(case) for track in fov.tracks) < 2:
        return False
    oracle = IndexOracle(case)
    return any(
        other[:2] == anchor[:2]
        and other.t - anchor.t in oracle.taus(anchor.experiment)
        and oracle.line(other)[-1] == oracle.line(anchor)[-1]
        and anchor.track_id not in oracle.line(other)
        and other.t != anchor.t
        for anchor in oracle.cells
        for other in oracle.cells
    )


def test_index_cases_reach_and_shrink() -> None:
    """Each case that a law is about; down to one cell in one frame, a patch of one pixel, and nothing selected."""
    reached(
        index_cases(),
        _has_sisters,
        _any_track(lambda one, by_id: by_id[one.parent].parent is not None),  # type: ignore[index]
        _any_track(lambda one, by_id: by_id[one.parent].frames[-1] >= one.frames[0]),  # type: ignore[index]
        _any_track(lambda one, _: one.parent is not None and one.parent > one.track_id),
        lambda case: case.registry.experiments[0].store,
        lambda case: len(IndexOracle(case).anchors) < len(IndexOracle(case).cells),
        lambda case: len(IndexOracle(case).cells) < sum(len(t.frames) for f in _fovs(case) for t in f.tracks),
        lambda case: any(track.position(track.frames[0])[0] % 1 == 0.5 for fov in _fovs(case) for track in fov.tracks),
        lambda case: case.include_wells and any(":" in entry for entry in case.include_wells),
        lambda case: case.include_wells and any(":" not in entry for entry in case.include_wells),
        lambda case: case.exclude_fovs and case.include_wells,
        lambda case: case.exclude_fovs and len(case.registry.experiments) > 1,
        lambda case: any(not fov.has_csv for fov in _fovs(case)),
        lambda case: case.tau_range_hours == (0.0, 0.0),
        lambda case: case.z_range[0] > 0,
        lambda case: case.yx_patch_size[0] % 2 and case.yx_patch_size[0] == min(fov.y for fov in _fovs(case)),
    )
    least = smallest(index_cases())
    assert least == IndexCase(registry=least.registry, yx_patch_size=(1, 1))
    (experiment,) = least.registry.experiments
    ((name, fov),) = experiment.fovs()
    assert name == "A/1/0"
    assert fov == FovDescription(name="0", tracks=(TrackDescription(track_id=1, frames=(0,)),))


@given(data=st.data())
def test_selections_come_with_the_strategys_own_registries(data: st.DataObject) -> None:
    """Who brings a registry gets all of it."""
    registry = data.draw(index_cases()).registry
    case = data.draw(index_cases(registry=st.just(registry)))
    assert isinstance(case.registry, RegistryDescription)
    assert case.registry == registry
    assert case.include_wells is None
    assert case.exclude_fovs is None
