"""Every public strategy keeps its promise, reaches what it lists, and shrinks towards what it says."""

from __future__ import annotations

import inspect
import math
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument
from searches import SEARCH, reached, smallest

import dynaclr_strategies
from dynaclr.experiment import ExperimentRegistry
from dynaclr_strategies import (
    RegistryDescription,
    SamplerCase,
    TableDescription,
    anchor_tables,
    channel_sets,
    conditions,
    experiments,
    lineages,
    registries,
    sampler_cases,
    sampler_options,
    stores,
    time_axes,
    write_registry,
)
from dynaclr_strategies.channels import ChannelSet
from dynaclr_strategies.codec import Plain
from dynaclr_strategies.descriptions import ExperimentDescription, FovDescription, TrackDescription, WellDescription
from dynaclr_strategies.oracles.sampler import CascadeOracle, stands_for
from dynaclr_strategies.registries import SHARDS, ConditionWells
from dynaclr_strategies.sampler_descriptions import PLAIN_TABLE, SamplerOptions, StratumDescription
from dynaclr_strategies.subjects.sampler import make_flexible
from dynaclr_strategies.times import TimeAxisDescription

# Every example writes stores: fewer of them.
ON_DISK = settings(max_examples=max(10, settings().max_examples // 4))


# --- channels, times, conditions --------------------------------------------------------------------------------------


@given(channels=channel_sets())
def test_channel_sets_are_sound(channels: ChannelSet) -> None:
    """Names differ, and the store has the sources."""
    assert len(set(channels.channel_names)) == len(channels.channel_names)
    assert set(channels.source_channel) <= set(channels.channel_names)
    assert len(set(channels.source_channel)) == len(channels.source_channel) >= 1


def test_channel_sets_reach_and_shrink() -> None:
    """Extras, another order, odd names; down to phase alone."""
    reached(
        channel_sets(),
        lambda c: len(c.channel_names) > len(c.source_channel),
        lambda c: [n for n in c.channel_names if n in c.source_channel] != list(c.source_channel),
        lambda c: any(" " in name for name in c.source_channel),
        lambda c: any(not name.isascii() for name in c.source_channel),
    )
    assert smallest(channel_sets()) == ChannelSet(channel_names=("Phase3D",), source_channel=("Phase3D",))


@given(axis=time_axes())
def test_time_axes_are_sound(axis: TimeAxisDescription) -> None:
    """Intervals are positive, frames within bounds."""
    assert axis.interval_minutes > 0
    assert 1 <= axis.frames <= 12


def test_time_axes_reach_and_shrink() -> None:
    """Odd intervals, negative and late starts; down to one frame at 0 h."""
    reached(
        time_axes(),
        lambda axis: 60 % axis.interval_minutes,
        lambda axis: axis.start_hpi < 0,
        lambda axis: axis.start_hpi > 12,
        lambda axis: axis.interval_minutes == 20 / 3,
    )
    assert smallest(time_axes()) == TimeAxisDescription(interval_minutes=30.0, start_hpi=0.0, frames=1)


@given(plate=conditions())
def test_conditions_are_sound(plate: ConditionWells) -> None:
    """No well and no label twice, no condition without a well."""
    assert len(set(plate.wells())) == len(plate.wells())
    assert len(dict(plate.condition_wells)) == len(plate.condition_wells)
    assert all(wells for _, wells in plate.condition_wells)


def test_conditions_reach_and_shrink() -> None:
    """Several, unbalanced, spare wells, YAML's trap; down to one."""
    reached(
        conditions(),
        lambda plate: len({len(wells) for _, wells in plate.condition_wells}) > 1,
        lambda plate: plate.unlabelled,
        lambda plate: "no" in dict(plate.condition_wells),
    )
    assert smallest(conditions()) == ConditionWells(condition_wells=(("uninfected", ("A/1",)),))


# --- lineages ---------------------------------------------------------------------------------------------------------


@given(tracks=lineages(frames=6, size=(9, 5)))
def test_lineages_are_sound(tracks: tuple[TrackDescription, ...]) -> None:
    """Ids differ, frames ascend in the movie, parents come first, 0 means one thing, the first cell stays inside."""
    by_id = {track.track_id: track for track in tracks}
    assert len(by_id) == len(tracks)
    for track in tracks:
        assert list(track.frames) == sorted(set(track.frames))
        assert 0 <= track.frames[0] <= track.frames[-1] < 6
        if track.parent is not None:
            assert by_id[track.parent].frames[0] < track.frames[0]
        assert not (track.no_parent == "0" and 0 in by_id and track.parent is None)
    for t in tracks[0].frames:
        y, x = tracks[0].position(t)
        assert 0 <= y < 9
        assert 0 <= x < 5


def _generation(track: TrackDescription, tracks: tuple[TrackDescription, ...]) -> int:
    parents = {t.track_id: t.parent for t in tracks}
    depth, at = 0, track.parent
    while at is not None:
        depth, at = depth + 1, parents[at]
    return depth


def _last(track_id: int, tracks: tuple[TrackDescription, ...]) -> int:
    return next(track for track in tracks if track.track_id == track_id).frames[-1]


def test_lineages_reach_and_shrink() -> None:
    """Each case of the docstring; down to one cell in one frame."""
    movie = lineages(frames=8)
    reached(
        movie,
        lambda tracks: max(_generation(t, tracks) for t in tracks) >= 2,
        lambda tracks: len([t for t in tracks if t.parent == tracks[0].track_id]) >= 2,
        lambda tracks: any(t.frames[-1] - t.frames[0] >= len(t.frames) for t in tracks),
        lambda tracks: any(late - early > 3 for t in tracks for early, late in pairwise(t.frames)),
        lambda tracks: any(b.track_id - a.track_id > 1 for a, b in pairwise(tracks)),
        lambda tracks: tracks[0].frames[0] > 0,
        lambda tracks: len(tracks[0].frames) > 1 and tracks[0].frames[-1] < 7,
        lambda tracks: any(len(t.frames) == 1 for t in tracks),
        lambda tracks: any(t.parent is not None and t.frames[0] > _last(t.parent, tracks) + 1 for t in tracks),
        lambda tracks: any(t.parent is not None and t.frames[0] <= _last(t.parent, tracks) for t in tracks),
        lambda tracks: any(t.parent is not None and t.parent > t.track_id for t in tracks),
        lambda tracks: any(t.track_id == 0 for t in tracks),
        lambda tracks: any(t.position(t.frames[-1])[0] < 0 for t in tracks),
        *(
            lambda tracks, way=way: any(t.no_parent == way for t in tracks)
            for way in ("empty", "-1", "0", "own id", "unknown id")
        ),
    )
    assert smallest(movie) == (TrackDescription(track_id=1, frames=(0,)),)


# --- experiments and registries ---------------------------------------------------------------------------------------


SMALLEST = ExperimentDescription(
    name="exp_a",
    channel_names=("Phase3D",),
    source_channel=("Phase3D",),
    condition_wells=(("uninfected", ("A/1",)),),
    wells=(
        WellDescription(
            name="A/1", fovs=(FovDescription(name="0", tracks=(TrackDescription(track_id=1, frames=(0,)),)),)
        ),
    ),
)
"""One cell in one frame of 8 x 8 pixels."""


def _fovs(description: RegistryDescription) -> list[FovDescription]:
    return [fov for experiment in description.experiments for _, fov in experiment.fovs()]


def _accepted(description: RegistryDescription) -> None:
    """Check that the package takes what was written, and means the same by it."""
    with tempfile.TemporaryDirectory() as folder:
        registry = ExperimentRegistry.from_yaml(write_registry(description, Path(folder)))
        assert list(registry.names) == [experiment.name for experiment in description.experiments]
        for experiment in description.experiments:
            positions = registry.positions(experiment.name)
            described = {
                n: f for n, f in experiment.fovs() if experiment.condition_of(n.rpartition("/")[0]) is not None
            }
            assert list(positions) == list(described)
            for name, fov in described.items():
                channels = experiment.channel_names
                assert tuple(positions[name].shape) == (fov.frames, len(channels), fov.z, fov.y, fov.x)
                assert tuple(positions[name].channel_names) == channels


@ON_DISK
@given(experiment=experiments())
def test_experiments_are_sound(experiment: ExperimentDescription) -> None:
    """A single experiment is a valid registry, with a tracked cell in every labelled well."""
    _accepted(RegistryDescription(experiments=(experiment,)))
    for label, wells in experiment.condition_wells:
        assert label
        for well in wells:
            assert any(fov.has_csv and fov.tracks for name, fov in experiment.fovs() if name.startswith(well + "/"))


def test_experiments_reach_and_shrink() -> None:
    """Every field of the configuration varies; down to one cell in one frame of 8 x 8 pixels."""
    tiny = experiments(max_frames=2, max_tracks=2, plates=conditions(max_conditions=1, max_wells=1))
    reached(
        tiny,
        *(
            lambda e, field=field: getattr(e, field)
            for field in ("organelle", "date", "moi", "founder_parent", "start_hpi")
        ),
        lambda e: e.interval_minutes != 30,
        lambda e: e.impossible_parents == "founder",
        lambda e: "parent_track_id" not in e.optional_columns,
        lambda e: len({(fov.y, fov.x) for _, fov in e.fovs()}) > 1,
        lambda e: any(not fov.has_csv for _, fov in e.fovs()),
    )
    assert smallest(tiny) == SMALLEST


@ON_DISK
@given(description=registries())
def test_registries_are_sound(description: RegistryDescription) -> None:
    """The package accepts every registry, in each experiment as many source channels."""
    assert len({len(e.source_channel) for e in description.experiments}) == 1
    _accepted(description)


def _hours(experiment: ExperimentDescription) -> list[float]:
    """Return the HPI of all frames."""
    frames = range(max(fov.frames for _, fov in experiment.fovs()))
    return [experiment.start_hpi + t * experiment.interval_minutes / 60 for t in frames]


def test_registries_reach_and_shrink() -> None:
    """Different channels at one position, colliding FOV names, a shared store; down to one experiment."""
    plates = conditions(max_conditions=1, max_wells=1)
    tiny = registries(max_frames=2, max_fovs=1, max_tracks=2, plates=plates)
    reached(
        tiny,
        lambda d: len({e.source_channel[-1] for e in d.experiments}) > 1,
        lambda d: len({e.channel_names.index("Phase3D") for e in d.experiments}) > 1,
        lambda d: d.experiments[0].store,
        lambda d: len(d.experiments) == 2 and max(_hours(d.experiments[0])) < min(_hours(d.experiments[1])),
        lambda d: any(e.condition_of(well.name) is None for e in d.experiments for well in e.wells),
    )
    reached(
        registries(min_experiments=3, max_experiments=3, max_frames=1, max_fovs=1), lambda d: len(d.experiments) == 3
    )
    reached(registries(min_sources=3, max_frames=1, max_fovs=1), lambda d: len(d.experiments[0].source_channel) == 3)
    reached(tiny, lambda d: len(_fovs(d)) > len({name for e in d.experiments for name, _ in e.fovs()}))
    assert smallest(tiny) == RegistryDescription(experiments=(SMALLEST,))


@ON_DISK
@given(description=stores(registry=registries(max_frames=4)))
def test_stores_are_sound(description: RegistryDescription) -> None:
    """Every format is written and read, and travels as JSON."""
    _accepted(description)
    assert RegistryDescription.from_json(description.to_json()) == description
    assert RegistryDescription.from_yaml(description.to_yaml()) == description


def test_stores_reach_and_shrink() -> None:
    """Versions, dtypes, chunks, shards, compression, statistics, stacks, sizes; down to the simplest format."""
    plates = conditions(max_conditions=1, max_wells=1)
    tiny = stores(registry=registries(max_experiments=1, max_frames=2, max_tracks=2, plates=plates))
    reached(
        tiny.map(lambda d: d.experiments[0]),
        lambda e: e.ome_version == "0.5",
        lambda e: e.axes == "TCZYX",
        lambda e: e.dtype == "uint8",
        lambda e: e.dtype == "float16",
        *(lambda e, one=one: e.shards == one for one in SHARDS),
        lambda e: e.compressed and e.ome_version == "0.4",
        lambda e: e.normalization,
        lambda e: not e.normalization,
        lambda e: e.chunks and e.chunks[-1] == 5,
        lambda e: e.chunks and e.ome_version == "0.5" and not e.shards,
        lambda e: any(fov.z > 1 for _, fov in e.fovs()),
        lambda e: len({(fov.z, fov.y, fov.x) for _, fov in e.fovs()}) > 1,
    )
    assert smallest(tiny) == RegistryDescription(experiments=(SMALLEST,))


# --- the sampler's input ----------------------------------------------------------------------------------------------


@given(table=anchor_tables())
def test_anchor_tables_are_sound(table: TableDescription) -> None:
    """A table has as many anchors as it says, and a label for each."""
    case = SamplerCase(table=table, options=SamplerOptions())
    frame = case.frame()
    assert len(frame) == table.size >= 1
    assert not frame[["experiment", "condition", "hours_post_infection", "lineage_id"]].isna().any(axis=None)
    assert SamplerCase.from_json(case.to_json()) == case


def test_anchor_tables_reach_and_shrink() -> None:
    """Each case of the docstring; down to a single anchor."""
    tables = anchor_tables()
    reached(
        tables,
        lambda t: t.size > 60,
        lambda t: len({s.experiment for s in t.strata}) >= 3,
        lambda t: any(len(set(s.hpi)) < len(s.hpi) for s in t.strata),
        lambda t: any(min(s.hpi) < 0 for s in t.strata),
        lambda t: len(t.strata) == 2 and max(t.strata[0].hpi) < min(t.strata[1].hpi),
        lambda t: any(s.lineages and s.lineages < s.cells for s in t.strata),
        lambda t: t.labels == "unused category",
        lambda t: t.labels == "arrow",
        lambda t: t.index == "constant",
        lambda t: t.order == "reversed" and t.extra_columns,
    )
    only = StratumDescription(experiment="a", condition="c", hpi=(0.0,))
    assert smallest(tables) == TableDescription(strata=(only,))


@given(case=sampler_cases())
def test_sampler_cases_are_sound(case: SamplerCase) -> None:
    """The sampler accepts every pair of table and options."""
    assert len(make_flexible(case.frame(), case.options)) >= 0


@given(options=sampler_options())
def test_sampler_options_are_sound(options: SamplerOptions) -> None:
    """The sampler accepts the options for the plain table."""
    make_flexible(SamplerCase(table=PLAIN_TABLE, options=options).frame(), options)


def _strata(case: SamplerCase) -> int:
    """Return the number of pairs of experiment and condition."""
    return len({(s.experiment, s.condition) for s in case.table.strata})


def _experiments(options: SamplerOptions) -> int:
    """Return the number of experiments of the plain table."""
    return len(PLAIN_TABLE.labels_of(options.group_by))


def _tells(fraction: float, number: int) -> bool:
    """Tell whether binary floating point finds another number of anchors than what was meant."""
    return int(fraction * number) != math.floor(stands_for(fraction) * number)


def test_sampler_options_reach_and_shrink() -> None:
    """Every axis and every boundary; down to a batch of one."""
    options = sampler_options()
    reached(
        options,
        lambda o: o.experiment_aware and o.condition_balanced and o.temporal_enrichment and o.exclusive_by and o.leaky,
        lambda o: not o.experiment_aware,
        lambda o: not o.condition_balanced,
        lambda o: o.batch_size == PLAIN_TABLE.size and o.drop_last,
        lambda o: o.batch_size > PLAIN_TABLE.size,
        lambda o: o.leaky == 0.99,
        lambda o: o.temporal_enrichment and o.temporal_window_hours == 0,
        lambda o: o.temporal_enrichment and o.temporal_global_fraction == 1,
        lambda o: o.experiment_weights and any(weight == 0 for _, weight in o.experiment_weights),
        lambda o: o.experiment_aware and o.experiment_weights and len(o.experiment_weights) < _experiments(o),
        lambda o: o.condition_ratio and any(part == 0 for _, part in o.condition_ratio),
        lambda o: len(o.group_by) == 2,
        lambda o: len(o.stratify_by) == 2,
        lambda o: o.num_replicas == 4 and o.rank == 3,
    )
    assert smallest(options) == SamplerOptions(batch_size=1)


def test_sampler_cases_reach_and_shrink() -> None:
    """Boundaries that only table and options have together; down to a batch of the only anchor."""
    reached(
        sampler_cases(),
        lambda c: c.options.condition_balanced and _strata(c) > c.options.batch_size > 1,
        lambda c: c.options.batch_size == c.table.size > 1,
        lambda c: c.options.batch_size > c.table.size and not c.options.drop_last,
        lambda c: c.options.experiment_aware and c.options.leaky and len(c.table.labels_of(("experiment",))) == 1,
        lambda c: c.options.temporal_enrichment and len({hpi for s in c.table.strata for hpi in s.hpi}) > 5,
        lambda c: _tells(c.options.leaky, c.options.batch_size) and CascadeOracle(c.frame(), c.options).num_leaked,
        lambda c: (
            c.options.leaky == 1 / 3 and CascadeOracle(c.frame(), c.options).num_leaked * 3 == c.options.batch_size
        ),
        lambda c: _tells(c.options.temporal_global_fraction, CascadeOracle(c.frame(), c.options).num_primary),
    )
    least = smallest(sampler_cases())
    assert least == SamplerCase(table=smallest(anchor_tables()), options=SamplerOptions(batch_size=1))


# --- all of them ------------------------------------------------------------------------------------------------------

STRATEGIES = sorted(
    name
    for name in dynaclr_strategies.__all__
    if (getattr(dynaclr_strategies, name).__doc__ or "").startswith("Strategy for ")
)
TESTS = "\n".join(path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("test_*.py")))


def test_the_strategies_of_the_page_are_public() -> None:
    """Those that users were promised are there."""
    promised = "channel_sets conditions time_axes lineages experiments registries anchor_tables sampler_options stores"
    assert {*promised.split(), "faults"} <= set(STRATEGIES)


@pytest.mark.parametrize("name", STRATEGIES)
def test_docstrings_say_what_is_generated_promised_and_shrunk_towards(name: str) -> None:
    """Each public strategy makes its three statements, and has the tests that hold it to them."""
    text = " ".join((getattr(dynaclr_strategies, name).__doc__ or "").split())
    for word in ("generates", "promises", "shrinks towards"):
        assert word in text.lower()
    assert f"def test_{name}_are_sound(" in TESTS
    assert f"def test_{name}_reach_and_shrink(" in TESTS


@pytest.mark.parametrize("name", STRATEGIES)
def test_arguments_with_a_default_are_keywords(name: str) -> None:
    """No public strategy takes a value by its place."""
    parameters = inspect.signature(getattr(dynaclr_strategies, name)).parameters.values()
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters if p.default is not p.empty)


def test_public_names_are_there() -> None:
    """Every name that the package announces is there."""
    assert all(getattr(dynaclr_strategies, name) is not None for name in dynaclr_strategies.__all__)


def test_checks_work_without_hypothesis() -> None:
    """Descriptions, writers, invariants and oracles can be used where Hypothesis and pytest are not installed."""
    program = """
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "hypothesis" else find(name, *rest)
sys.modules["hypothesis"] = sys.modules["pytest"] = None
import dynaclr_strategies
from dynaclr_strategies import INVARIANTS, SamplerCase, SamplerOptions, TableDescription
from dynaclr_strategies.sampler_descriptions import StratumDescription
from dynaclr_strategies.oracles.reference_sampler import ReferenceSampler
from dynaclr_strategies.oracles.sampler import CascadeOracle
stratum = StratumDescription(experiment="a", condition="c", hpi=(0.0, 1.0))
case = SamplerCase(table=TableDescription(strata=(stratum,)), options=SamplerOptions(batch_size=2))
for law in INVARIANTS.values():
    if law.subject == "sampler":
        if law.applies(CascadeOracle(case.frame(), case.options)):
            law.check(ReferenceSampler, case.frame(), case.options)
assert not hasattr(dynaclr_strategies, "anchor_tables")
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    "impossible",
    [
        lambda: anchor_tables(max_strata=0),
        lambda: channel_sets(max_extras=-1),
        lambda: conditions(max_wells=0),
        lambda: experiments(min_size=9, max_size=8),
        lambda: lineages(frames=0),
        lambda: experiments(max_tracks=0),
        lambda: registries(max_experiments=0),
        lambda: registries(min_experiments=3, max_experiments=2),
        lambda: registries(min_sources=0),
        lambda: time_axes(min_frames=3, max_frames=2),
    ],
)
def test_impossible_arguments_are_refused(impossible: Callable[[], st.SearchStrategy[Plain]]) -> None:
    """A strategy without values is an error, not an empty strategy."""
    with warnings.catch_warnings(), pytest.raises(InvalidArgument, match="must"):
        find(impossible(), lambda _: True, settings=SEARCH)
