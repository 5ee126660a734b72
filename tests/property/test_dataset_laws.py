"""The dataset keeps its laws on generated stores, each law catches a broken dataset, and the cases are sound."""

from __future__ import annotations

import inspect
import re
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from dataset_witnesses import WITNESSES, PaddedWithZeros, ReferenceDataset, Witness
from hypothesis import given, settings
from searches import reached, smallest

from dynaclr_strategies.cases import DatasetCase, IndexCase
from dynaclr_strategies.dataset_cases import dataset_cases
from dynaclr_strategies.descriptions import FovDescription, RegistryDescription
from dynaclr_strategies.holding import hold
from dynaclr_strategies.invariants import INVARIANTS, Invariant, InvariantViolation, dataset
from dynaclr_strategies.law_cases import law_cases
from dynaclr_strategies.oracles.dataset import DatasetOracle
from dynaclr_strategies.ready_made import two_experiments
from dynaclr_strategies.subjects import run_law
from dynaclr_strategies.subjects.tables import make_dataset
from dynaclr_strategies.writers import write_registry

LAWS = [law for law in INVARIANTS.values() if law.subject == "dataset"]

# Every example writes stores; some laws read them several times: fewer of those.
FEWER = settings(max_examples=max(10, settings().max_examples // 4))


# --- what a batch depends on; first, as nothing else can be said of positives that change from call to call -----------


@settings(max_examples=max(10, settings().max_examples // 2))
@given(case=dataset_cases())
def test_batches_repeatable(case: DatasetCase) -> None:
    """The same indices are the same batch."""
    hold("batches-repeatable", case)


@FEWER
@given(case=dataset_cases())
def test_order_of_reading(case: DatasetCase) -> None:
    """Batches know nothing of each other."""
    hold("order-of-reading", case)


@FEWER
@given(case=dataset_cases())
def test_workers_change_nothing(case: DatasetCase) -> None:
    """Threads and copies read the same."""
    hold("workers-change-nothing", case)


@pytest.mark.parametrize("law", ["anchor-pixels", "positive-pixels", "statistics-of-observation"])
def test_three_experiments_with_the_same_fov_names_read_their_own_images(law: str) -> None:
    """More experiments than FOV names: numbers made of both must not be those of another pair."""
    both = two_experiments(fovs=2, wells=("A/1",), conditions=("mock",), tracks=3, size=(8, 8), normalization=True)
    alpha, beta = both.experiments
    three = replace(both, experiments=(alpha, beta, replace(alpha, name="exp_gamma")))
    index = IndexCase(registry=three, yx_patch_size=(4, 4))
    run_law(law, DatasetCase(index=index, batch=tuple(range(0, 120, 5))))


def test_workers_change_nothing_at_full_size() -> None:
    """Nor where a batch is many chunks, and threads wait for each other's."""
    registry = two_experiments(fovs=2)
    index = IndexCase(registry=registry, yx_patch_size=(9, 12))
    for cache_pool_bytes in (0, 10_000, 10**8):
        run_law("workers-change-nothing", DatasetCase(index=index, cache_pool_bytes=cache_pool_bytes))


@FEWER
@given(case=dataset_cases())
def test_cache_changes_nothing(case: DatasetCase) -> None:
    """A cache is not seen."""
    hold("cache-changes-nothing", case)


@FEWER
@given(case=law_cases("positive-by-address"))
def test_positive_by_address(case: DatasetCase) -> None:
    """The other anchors do not matter."""
    hold("positive-by-address", case)


@FEWER
@pytest.mark.parametrize("what", ["seed", "epoch", "occurrence"])
@given(case=law_cases("positives-by-seed"))
def test_positives_by(what: str, case: DatasetCase) -> None:
    """Seed, epoch and occurrence each matter."""
    hold(f"positives-by-{what}", case)


# --- pixels -----------------------------------------------------------------------------------------------------------


@given(case=dataset_cases())
def test_anchor_pixels(case: DatasetCase) -> None:
    """Anchors show what they should."""
    hold("anchor-pixels", case)


@settings(max_examples=max(10, settings().max_examples // 2))
@given(case=law_cases("positive-pixels"))
def test_positive_pixels(case: DatasetCase) -> None:
    """Positives show what they should."""
    hold("positive-pixels", case)


@FEWER
@given(case=dataset_cases())
def test_float32_batches(case: DatasetCase) -> None:
    """One type and one shape."""
    hold("float32-batches", case)


@FEWER
@given(case=dataset_cases())
def test_window_outside_is_an_error(case: DatasetCase) -> None:
    """Never zeros."""
    hold("window-outside-is-an-error", case)


# --- positives --------------------------------------------------------------------------------------------------------


@settings(max_examples=max(10, settings().max_examples // 2))
@given(case=law_cases("positive-on-line-of-descent"))
def test_positive_on_line_of_descent(case: DatasetCase) -> None:
    """The same cell, or its descendants."""
    hold("positive-on-line-of-descent", case)


@FEWER
@given(case=law_cases("tau-in-range"))
def test_tau_in_range(case: DatasetCase) -> None:
    """As many frames later as the range allows."""
    hold("tau-in-range", case)


@FEWER
@given(case=law_cases("positive-is-another-frame"))
def test_positive_is_another_frame(case: DatasetCase) -> None:
    """The anchor itself for tau 0 alone."""
    hold("positive-is-another-frame", case)


@FEWER
@given(case=law_cases("tau-distribution"))
def test_tau_distribution(case: DatasetCase) -> None:
    """As often as the formula says."""
    hold("tau-distribution", case)


@FEWER
@given(case=law_cases("positive-uniform"))
def test_positive_uniform(case: DatasetCase) -> None:
    """No daughter before the other."""
    hold("positive-uniform", case)


# --- what else a batch holds ------------------------------------------------------------------------------------------


@FEWER
@given(case=dataset_cases())
def test_statistics_of_observation(case: DatasetCase) -> None:
    """Statistics fit the crop."""
    hold("statistics-of-observation", case)


@FEWER
@given(case=dataset_cases())
def test_lineage_codes(case: DatasetCase) -> None:
    """Codes fit the lineages."""
    hold("lineage-codes", case)


@FEWER
@given(case=dataset_cases())
def test_every_observation_read(case: DatasetCase) -> None:
    """Nothing is left out."""
    hold("every-observation-read", case)


# --- no law is vacuous ------------------------------------------------------------------------------------------------


def test_each_law_is_listed_once() -> None:
    """The module of the laws names all of them."""
    checks = {name: value for name, value in vars(dataset).items() if name.startswith("check_")}
    assert set(checks.values()) == {law.check for law in LAWS}
    assert set(checks) == set(dataset.__all__)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.law)
def test_each_law_is_one_sentence_with_a_witness(law: Invariant) -> None:
    """The docstring of a check is the law in one sentence, its name is the law's, and something breaks it."""
    assert law.check.__name__ == f"check_{law.law.replace('-', '_')}"
    first = (inspect.getdoc(law.check) or "").partition("\n\n")[0]
    assert re.fullmatch(r"[A-Z`][^.]*(\.[^ .][^.]*)*\.", first), first
    assert "\n" not in first
    assert any(witness.law == law.law for witness in WITNESSES)


@pytest.mark.parametrize("witness", WITNESSES, ids=lambda w: f"{w.law}: {w.make.__name__}")
def test_each_witness_is_caught(witness: Witness) -> None:
    """The law raises on the witness, and on the same case neither on our dataset nor on the one without the defect."""
    assert run_law(witness.law, witness.case, make_dataset)
    if witness.make is not PaddedWithZeros:
        run_law(witness.law, witness.case, ReferenceDataset)
    with pytest.raises(InvariantViolation, match=rf", but should be .* \[{witness.law}\]$") as caught:
        run_law(witness.law, witness.case, witness.make)
    assert caught.value.law == witness.law
    assert str(caught.value).startswith(f"{caught.value.where}: {caught.value.seen}, but should be")


def test_a_wrong_channel_is_named() -> None:
    """The message says what was read instead."""
    reversed_channels = next(witness for witness in WITNESSES if witness.make.__name__ == "StoreOrder")
    place = r"of exp_beta A/1/0 t=1 z=0 y=4 x=3"
    sentence = rf"channel 0 of the anchor is `Phase3D` {place}, but should be `RFP` {place} \[anchor-pixels\]$"
    with pytest.raises(InvariantViolation, match=sentence):
        run_law("anchor-pixels", reversed_channels.case, reversed_channels.make)


# --- the strategy -----------------------------------------------------------------------------------------------------


def fovs(registry: RegistryDescription) -> list[FovDescription]:
    """Return all FOVs of all experiments."""
    return [fov for experiment in registry.experiments for _, fov in experiment.fovs()]


@FEWER
@given(case=dataset_cases())
def test_dataset_cases_are_sound(case: DatasetCase) -> None:
    """The dataset accepts the case, each experiment has an anchor, and the case travels as JSON."""
    assert DatasetCase.from_json(case.to_json()) == case
    with tempfile.TemporaryDirectory() as folder:
        made = make_dataset(write_registry(case.index.registry, Path(folder)), case)
        assert set(made.index.valid_anchors["experiment"]) == {e.name for e in case.index.registry.experiments}


def test_dataset_cases_reach_and_shrink() -> None:
    """Each case of the docstring; down to an anchor with one positive."""
    reached(
        dataset_cases(),
        lambda case: len(case.index.registry.experiments) == 2,
        lambda case: case.index.yx_patch_size[0] % 2 and not case.index.yx_patch_size[1] % 2,
        lambda case: case.index.yx_patch_size == (1, 1),
        lambda case: case.index.z_range[1] - case.index.z_range[0] > 1,
        lambda case: case.index.tau_range_hours == (0.0, 0.0),
        lambda case: len(set(case.batch)) < len(case.batch),
        lambda case: not case.fit,
        lambda case: case.tau_decay_rate > 700,
        lambda case: any(experiment.shards for experiment in case.index.registry.experiments),
        lambda case: any(experiment.normalization for experiment in case.index.registry.experiments),
        lambda case: any(len(DatasetOracle(case).taus(e.name)) == 1 for e in case.index.registry.experiments),
        lambda case: any(track.parent is not None for fov in fovs(case.index.registry) for track in fov.tracks),
        lambda case: any(fov.y == case.index.yx_patch_size[0] for fov in fovs(case.index.registry)),
    )
    least = smallest(dataset_cases())
    assert (least.batch, least.fit, least.epoch, least.index.yx_patch_size) == ((0,), True, 0, (4, 4))
    (fov,) = fovs(least.index.registry)
    assert [track.frames for track in fov.tracks] == [(0, 1)]
