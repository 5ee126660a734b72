"""The index of whole registries on disk, against a walk over their descriptions one cell and frame at a time."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynaclr.errors import DynaclrError, TracksError
from dynaclr.experiment import ExperimentRegistry
from dynaclr.fovs import all_fovs, select_fovs
from dynaclr.index import MultiExperimentIndex
from dynaclr.splits import entries_for
from dynaclr_strategies.descriptions import (
    ExperimentDescription,
    FovDescription,
    RegistryDescription,
    TrackDescription,
    WellDescription,
)
from dynaclr_strategies.ready_made import two_experiments
from dynaclr_strategies.writers import write_registry

PATCH = (5, 4)
REAL_DATA = Path(__file__).parents[3] / "shared" / "data" / "experiments.yml"

# Hundreds of small files per example: eight times faster in memory, where the machine has such a folder.
SCRATCH = next((folder for folder in ("/dev/shm",) if os.access(folder, os.W_OK)), None)  # noqa: S108

COLUMNS: tuple[Any, ...] = (
    ("parent_track_id",),
    ("z", "parent_track_id"),
    ("id", "parent_id"),
    ("id", "parent_track_id", "parent_id"),
)

# --- strategies and oracle ---------------------------------------------------------------------------------


@st.composite
def tracks(draw: st.DrawFn, frames: int) -> tuple[TrackDescription, ...]:
    """Tracks of one FOV, some of them outside the image; shrinks to one founder in one frame at (0, 0)."""
    described: list[TrackDescription] = []
    for number in draw(st.lists(st.integers(1, 9), min_size=1, max_size=5, unique=True)):
        seen = tuple(sorted(draw(st.sets(st.integers(0, frames - 1), min_size=1))))
        mothers = [track.track_id for track in described if track.frames[0] < seen[0]]
        parent = draw(st.sampled_from([None, *mothers]))
        y, x = (draw(st.sampled_from([0.0, 3.5, 6.99, 9.4, -0.01, 7.0, 10.0])) for _ in "yx")
        cell = TrackDescription(track_id=number, frames=seen, y=y, x=x, dy=draw(st.sampled_from([0.0, 1.5])))
        no_parent = draw(st.sampled_from(["empty", "-1", "0", "own id"]))
        described.append(replace(cell, parent=parent, no_parent=no_parent))
    return tuple(described)


@st.composite
def registries(draw: st.DrawFn, *, may_be_empty: bool = False) -> RegistryDescription:
    """One to three experiments whose wells, FOVs and track ids have the same names; FOVs differ in size and length.

    Unless they may be empty, each has an observation inside an image.
    """
    experiments = []
    for number in range(draw(st.integers(1, 3))):
        wells = []
        for name in ("A/1", "A/2", "B/1")[: draw(st.integers(1, 3))]:
            fovs = []
            for fov in range(draw(st.integers(1, 2))):
                frames = draw(st.integers(1, 8))
                size = draw(st.sampled_from([(7, 7), (10, 7), (8, 10)]))
                cells = draw(tracks(frames))
                has_csv = draw(st.integers(0, 4)) > 0
                if not (may_be_empty or wells or fovs):
                    has_csv, cells = True, (replace(cells[0], y=0.0, x=0.0), *cells[1:])
                fovs.append(FovDescription(name=str(fov), frames=frames, y=size[0], x=size[1], tracks=cells))
                fovs[-1] = replace(fovs[-1], has_csv=has_csv)
            wells.append(WellDescription(name=name, fovs=tuple(fovs)))
        first, *rest = (well.name for well in wells)
        owned = (("mock", (first,)), ("infected", tuple(rest))) if rest else (("mock", (first,)),)
        source = draw(st.sampled_from([("GFP",), ("GFP", "Mito"), ("Mito", "Phase", "GFP")]))
        described = ExperimentDescription(
            name=f"exp_{number}",
            channel_names=("Phase", "GFP", "Mito"),
            source_channel=experiments[0].source_channel if experiments else source,
            condition_wells=owned,
            wells=tuple(wells),
            interval_minutes=draw(st.sampled_from([15.0, 25.0, 60.0])),
            start_hpi=draw(st.sampled_from([0.0, -2.5, 24.0])),
            optional_columns=draw(st.sampled_from(COLUMNS)),
            chunks=(8, 3, 1, 10, 10),
        )
        experiments.append(described)
    return RegistryDescription(experiments=tuple(experiments))


class Cell(NamedTuple):
    """One observation as the description has it."""

    experiment: str
    fov_name: str
    track_id: int
    t: int


def observations(description: RegistryDescription, *, with_dropped: bool = False) -> dict[Cell, dict[str, Any]]:
    """Return what each observation inside an image should say, cell by cell."""
    cells = {}
    for experiment in description.experiments:
        for fov_name, fov in experiment.fovs():
            for track in fov.tracks if fov.has_csv else ():
                for t in track.frames:
                    y, x = track.position(t)
                    if not (0 <= y < fov.y and 0 <= x < fov.x) and not with_dropped:
                        continue
                    well = fov_name.rsplit("/", 1)[0]
                    cells[Cell(experiment.name, fov_name, track.track_id, t)] = {
                        "condition": experiment.condition_of(well),
                        "well_name": well,
                        "y": y,
                        "x": x,
                        "global_track_id": f"{experiment.name}_{fov_name}_{track.track_id}",
                        "lineage_id": f"{experiment.name}_{fov_name}_{founder(fov, track.track_id)}",
                        "hours_post_infection": experiment.start_hpi + t * experiment.interval_minutes / 60,
                        "fluorescence_channel": "+".join(experiment.source_channel[1:]),
                    }
    return cells


def founder(fov: FovDescription, track_id: int) -> int:
    """Walk up to the first cell of a lineage."""
    parents = {track.track_id: track.parent for track in fov.tracks}
    while (parent := parents[track_id]) is not None:
        track_id = parent
    return track_id


def is_descendant(fov: FovDescription, track_id: int, ancestor: int) -> bool:
    """Tell whether a track is the ancestor or one of its descendants, walking up."""
    parents = {track.track_id: track.parent for track in fov.tracks}
    walk: int | None = track_id
    while walk is not None and walk != ancestor:
        walk = parents[walk]
    return walk == ancestor


def positives(description: RegistryDescription, cells: dict[Cell, Any], anchor: Cell, tau: int) -> set[Cell]:
    """Return the observations on an anchor's line of descent, tau frames later."""
    if tau == 0:
        return {anchor}
    fov = description.experiment(anchor.experiment).fov(anchor.fov_name)
    return {
        cell
        for cell in cells
        if cell[:2] == anchor[:2]
        and cell.t == anchor.t + tau
        and is_descendant(fov, cell.track_id, ancestor=anchor.track_id)
    }


def is_empty(description: RegistryDescription, cells: dict[Cell, Any]) -> bool:
    """Tell whether some experiment has no observation."""
    return {cell.experiment for cell in cells} != {experiment.name for experiment in description.experiments}


@contextmanager
def written(description: RegistryDescription) -> Iterator[ExperimentRegistry]:
    """Write a registry to a temporary folder and open it."""
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        yield ExperimentRegistry.from_yaml(write_registry(description, Path(folder)))


def index_of(registry: ExperimentRegistry, **options: Any) -> MultiExperimentIndex:
    """Index a registry of generated stores."""
    return MultiExperimentIndex(registry, **{"z_range": slice(0, 1), "yx_patch_size": PATCH, **options})


def cells_of(table: pd.DataFrame) -> list[Cell]:
    """Return the observations of a table, in its order."""
    names = (table[name].tolist() for name in Cell._fields)
    return [Cell(*row) for row in zip(*names, strict=True)]


# --- laws --------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(registries(may_be_empty=True))
def test_every_observation_inside_an_image_has_one_row(description: RegistryDescription) -> None:
    """Each cell and frame is one row that says what the description says; an empty experiment is an error."""
    expected = observations(description)
    with written(description) as registry:
        if is_empty(description, expected):
            with pytest.raises(TracksError, match="needs at least one observation inside an image"):
                index_of(registry)
            return
        table = index_of(registry).tracks
    cells = cells_of(table)
    assert len(set(cells)) == len(cells)
    assert set(cells) == set(expected)
    for cell, row in zip(cells, table.to_dict("records"), strict=True):
        want = expected[cell]
        assert {name: row[name] for name in want} == want


@settings(max_examples=60, deadline=None)
@given(registries(), st.sampled_from([(0.5, 2.0), (0, 0), (1.0, 1.25)]))
def test_anchors_and_positives_lie_on_the_line_of_descent(
    description: RegistryDescription, hours: tuple[float, float]
) -> None:
    """An anchor is valid if some tau of its experiment has a positive, and its positives are those of the walk."""
    expected = observations(description)
    with written(description) as registry:
        index = index_of(registry, tau_range_hours=hours)
    cells = cells_of(index.tracks)
    valid = []
    for row, anchor in enumerate(cells):
        low, high = index.tau_range_frames(anchor.experiment)
        found = set()
        for tau in range(low, high + 1):
            start, stop = index.candidate_ranges(np.array([row]), np.array([tau]))
            candidates = {cells[i] for i in index.descent_order[start[0] : stop[0]]}
            assert candidates == positives(description, expected, anchor, tau)
            found |= candidates
        valid += [anchor] if found else []
    assert cells_of(index.valid_anchors) == valid
    assert cells_of(index.tracks.iloc[index.valid_anchors["row"]]) == valid
    assert index.valid_anchors.index.equals(pd.RangeIndex(len(valid)))


@settings(max_examples=60, deadline=None)
@given(registries(), st.integers(1, 7), st.integers(1, 7))
def test_patches_lie_inside_their_images(description: RegistryDescription, height: int, width: int) -> None:
    """A patch of the asked size lies in the image, as near to the centroid as the border allows."""
    with written(description) as registry:
        index = index_of(registry, yx_patch_size=(height, width))
    for row in index.tracks.to_dict("records"):
        fov = description.experiment(row["experiment"]).fov(row["fov_name"])
        for axis, patch, size in (("y", height, fov.y), ("x", width, fov.x)):
            first = row[f"{axis}_clamp"] - patch // 2
            assert 0 <= first <= size - patch
            wanted = [int(row[axis] + 0.5) - patch // 2]
            assert first == min(range(size - patch + 1), key=lambda start: abs(start - wanted[0]))


@settings(max_examples=40, deadline=None)
@given(registries())
def test_groups_and_codes_follow_their_columns(description: RegistryDescription) -> None:
    """Groups partition the anchors by label, and lineage codes partition the rows as lineage ids do."""
    with written(description) as registry:
        index = index_of(registry)
    for column, groups in (("experiment", index.experiment_groups), ("condition", index.condition_groups)):
        assert set(groups) == set(index.tracks[column])
        for label, rows in groups.items():
            assert rows.tolist() == np.flatnonzero(index.valid_anchors[column] == label).tolist()
    codes, ids = index.lineage_codes.tolist(), index.tracks["lineage_id"].tolist()
    assert index.lineage_codes.dtype == np.int64
    assert len(set(codes)) == len(set(ids)) == len(set(zip(codes, ids, strict=True)))


@settings(max_examples=40, deadline=None)
@given(registries(), st.randoms(use_true_random=False))
def test_row_order_of_the_files_does_not_matter(description: RegistryDescription, random: Any) -> None:
    """Shuffling the rows of every CSV changes neither table nor positives."""
    with written(description) as registry:
        before = index_of(registry)
        for path in sorted(registry.experiments[0].tracks_path.parent.rglob("*.csv")):
            head, *lines = path.read_text(encoding="utf-8").splitlines()
            random.shuffle(lines)
            path.write_text("\n".join([head, *lines]), encoding="utf-8")
        after = index_of(registry)
    pd.testing.assert_frame_equal(before.tracks, after.tracks)
    pd.testing.assert_frame_equal(before.valid_anchors, after.valid_anchors)
    assert before.descent_order.tolist() == after.descent_order.tolist()


@settings(max_examples=40, deadline=None)
@given(registries(), st.data())
def test_experiments_do_not_mix(description: RegistryDescription, data: st.DataObject) -> None:
    """An experiment has the same rows alone as beside others with the same wells, FOVs and track ids."""
    name = data.draw(st.sampled_from([experiment.name for experiment in description.experiments]), label="experiment")
    with written(description) as registry:
        together, alone = index_of(registry), index_of(registry.subset([name]))
    for attribute in ("tracks", "valid_anchors"):
        one, other = (getattr(index, attribute) for index in (together, alone))
        one = one[one["experiment"] == name].drop(columns=["row"], errors="ignore").reset_index(drop=True)
        other = other.drop(columns=["row"], errors="ignore")
        shared = list(other.columns)
        pd.testing.assert_frame_equal(one[shared].astype(object), other.astype(object), check_dtype=False)


@settings(max_examples=60, deadline=None)
@given(registries(may_be_empty=True), st.data())
def test_selectors_keep_what_they_name(description: RegistryDescription, data: st.DataObject) -> None:
    """Wells and FOVs, of all experiments or of one, are kept by `include_wells` and left out by `exclude_fovs`."""
    names = [(experiment.name, fov_name) for experiment in description.experiments for fov_name, _ in experiment.fovs()]
    known = sorted({place for name, fov in names for place in _places(name, fov)})
    include = data.draw(st.none() | st.lists(st.sampled_from(known), min_size=1, max_size=4), label="include_wells")
    exclude = data.draw(st.none() | st.lists(st.sampled_from(known), max_size=3), label="exclude_fovs")
    kept = {
        (name, fov)
        for name, fov in names
        if _is_included(name, fov, include) and not _places(name, fov) & set(exclude or ())
    }
    expected = {cell for cell in observations(description) if cell[:2] in kept}
    with written(description) as registry:
        if is_empty(description, dict.fromkeys(expected)):
            with pytest.raises(DynaclrError, match=r"leave no FOV of experiment|needs at least one observation"):
                index_of(registry, include_wells=include, exclude_fovs=exclude)
        else:
            index = index_of(registry, include_wells=include, exclude_fovs=exclude)
            assert set(cells_of(index.tracks)) == expected


def _is_included(experiment: str, fov_name: str, include: list[str] | None) -> bool:
    """Restrict an experiment by the entries without an experiment and by its own, if there are any."""
    general = [entry for entry in include or () if ":" not in entry]
    own = [entry for entry in include or () if entry.startswith(f"{experiment}:")]
    return not (general or own) or not _places(experiment, fov_name).isdisjoint(general + own)


def _places(experiment: str, fov_name: str) -> set[str]:
    well = fov_name.rsplit("/", 1)[0]
    return {well, fov_name, f"{experiment}:{well}", f"{experiment}:{fov_name}"}


# --- examples ----------------------------------------------------------------------------------------------

TWO = two_experiments()
"""exp_alpha and exp_beta, wells A/1 and B/1, one FOV each, 5 tracks, 10 frames, 64 x 64 pixels."""


def _with_first_fov(description: RegistryDescription, **changes: Any) -> RegistryDescription:
    """Change the first FOV of the first experiment."""
    experiment, *others = description.experiments
    well, *wells = experiment.wells
    changed = replace(well, fovs=(replace(well.fovs[0], **changes), *well.fovs[1:]))
    return replace(description, experiments=(replace(experiment, wells=(changed, *wells)), *others))


@pytest.mark.parametrize(
    ("include", "kept"),
    [
        (["exp_alpha:A/1"], {"exp_alpha:A/1/0", "exp_beta:A/1/0", "exp_beta:B/1/0"}),
        (["exp_alpha:A/1/0", "exp_beta:B/1"], {"exp_alpha:A/1/0", "exp_beta:B/1/0"}),
        (["A/1", "exp_beta:B/1"], {"exp_alpha:A/1/0", "exp_beta:A/1/0", "exp_beta:B/1/0"}),
        (["A/1"], {"exp_alpha:A/1/0", "exp_beta:A/1/0"}),
    ],
)
def test_an_entry_for_one_experiment_leaves_the_others_whole(include: list[str], kept: set[str]) -> None:
    """Only entries without an experiment restrict experiments that no entry names."""
    with written(TWO) as registry:
        tracks = index_of(registry, include_wells=include).tracks
        assert set(tracks["experiment"].astype(str) + ":" + tracks["fov_name"].astype(str)) == kept


def test_entries_of_the_other_side_of_a_split_neither_fail_nor_restrict() -> None:
    """One side takes the user's whole list, restricts its own experiments alone, and quotes it in errors."""
    with written(TWO) as registry:
        side = registry.subset(["exp_beta"])

        def fovs(include: list[str], exclude: list[str] | None = None) -> list[str]:
            sides = [entries_for(registry, side.names, entries) for entries in (include, exclude)]
            return [fov.label for fov in select_fovs(all_fovs(side), *sides)]

        assert fovs(["exp_alpha:A/1"]) == ["exp_beta:A/1/0", "exp_beta:B/1/0"]
        assert fovs(["exp_alpha:A/1", "exp_beta:B/1"], ["exp_alpha:A/1"]) == ["exp_beta:B/1/0"]
        quoted = (
            r"include_wells=\['exp_alpha:A/1', 'exp_beta:B/1'\] and exclude_fovs=\['B/1'\] leave no FOV .*'exp_beta'"
        )
        with pytest.raises(DynaclrError, match=quoted):
            fovs(["exp_alpha:A/1", "exp_beta:B/1"], ["B/1"])
        with pytest.raises(DynaclrError, match="include_wells has 'exp_alpha:C/1', which matches no well and no FOV"):
            fovs(["exp_alpha:A/1", "exp_alpha:C/1"])


def test_wells_that_one_side_of_a_split_lacks_leave_it_nothing() -> None:
    """An entry without an experiment restricts every experiment, also one without such a well."""
    with written(TWO) as registry:
        alpha, beta = registry.experiments
        restricted = ExperimentRegistry([alpha, beta.model_copy(update={"condition_wells": {"x": ["B/1"]}})])
        entries = entries_for(restricted, ["exp_beta"], ["A/1"])
        with pytest.raises(DynaclrError, match=r"include_wells=\['A/1'\] .*leave no FOV of experiment 'exp_beta'"):
            select_fovs(all_fovs(restricted.subset(["exp_beta"])), entries, None)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"z_range": slice(0, 2)}, r"z_range needs .*got 0 to 2 for FOV 'exp_alpha:A/1/0' of 1 planes"),
        ({"z_range": slice(1, 1)}, r"z_range needs 0 <= start < stop, got slice\(1, 1, None\)"),
        ({"z_range": slice(-1, 1)}, r"z_range needs 0 <= start < stop"),
        ({"z_range": slice(0, 1, 2)}, r"z_range needs to be slice\(start, stop\) of whole numbers without a step"),
        ({"z_range": slice(None)}, r"z_range needs to be slice\(start, stop\) of whole numbers"),
        ({"z_range": slice(0.0, 1.0)}, r"z_range needs to be slice\(start, stop\) of whole numbers"),
        ({"z_range": [0, 1]}, r"z_range needs to be slice\(start, stop\).* got \[0, 1\]"),
        ({"yx_patch_size": (65, 8)}, r"got \(65, 8\) for FOV 'exp_alpha:A/1/0' of 64 x 64 pixels"),
        ({"yx_patch_size": (8, 65)}, r"yx_patch_size needs to fit into every image"),
        ({"yx_patch_size": (0, 8)}, r"yx_patch_size needs two whole numbers above 0 \(height, width\), got \(0, 8\)"),
        ({"yx_patch_size": (8, True)}, r"yx_patch_size needs two whole numbers"),
        ({"yx_patch_size": (8.0, 8.0)}, r"yx_patch_size needs two whole numbers"),
        ({"yx_patch_size": 8}, r"yx_patch_size needs two whole numbers .* got 8"),
        ({"yx_patch_size": (8, 8, 8)}, r"yx_patch_size needs two whole numbers"),
        ({"include_wells": ["A/2"]}, r"include_wells has 'A/2', which matches no well and no FOV; did you mean 'A/1'"),
        ({"exclude_fovs": ["exp_gamma:A/1"]}, r"exclude_fovs has 'exp_gamma:A/1', .*did you mean 'exp_"),
        ({"exclude_fovs": ["plate"]}, r"exclude_fovs has 'plate', .*; the experiments' wells are A/1, B/1"),
        ({"include_wells": "A/1"}, r"include_wells needs a list of wells or FOVs, got the text 'A/1'; write \['A/1'\]"),
        ({"include_wells": []}, r"include_wells=\[\] and exclude_fovs=None leave no FOV of experiment 'exp_alpha'"),
        ({"exclude_fovs": ["exp_beta:A/1", "B/1"]}, r"leave no FOV of experiment 'exp_beta'"),
        ({"frames": {("exp_alpha", "C/1/0"): pd.DataFrame()}}, r"frames has \('exp_alpha', 'C/1/0'\), which is no"),
    ],
)
def test_each_wrong_argument_gets_its_sentence(options: dict[str, Any], sentence: str) -> None:
    """The sentence names the parameter, what it got and what it needs."""
    with written(TWO) as registry, pytest.raises(DynaclrError, match=sentence):
        index_of(registry, **options)


def test_only_fovs_that_are_used_must_hold_the_window() -> None:
    """A FOV without tracks, or one that the user excludes, may be as small as it is."""
    with written(_with_first_fov(TWO, y=4, x=4, tracks=())) as registry:
        with pytest.raises(DynaclrError, match=r"for FOV 'exp_alpha:A/1/0' of 4 x 4 pixels"):
            index_of(registry)
        assert set(index_of(registry, exclude_fovs=["exp_alpha:A/1"]).tracks["experiment"]) == {"exp_alpha", "exp_beta"}
    with written(_with_first_fov(TWO, y=4, x=4, has_csv=False)) as registry:
        assert "B/1/0" in set(index_of(registry).tracks["fov_name"])


def test_a_patch_is_compared_with_height_and_width() -> None:
    """In an image of 64 x 40 pixels, 41 fits the height and not the width; a patch as large as the image fits."""
    with written(_with_first_fov(TWO, y=64, x=40)) as registry:
        with pytest.raises(DynaclrError, match=r"got \(8, 41\) for FOV 'exp_alpha:A/1/0' of 64 x 40 pixels"):
            index_of(registry, yx_patch_size=(8, 41))
        table = index_of(registry, yx_patch_size=(64, 40), include_wells=["A/1"]).tracks
    assert set(table.loc[table["experiment"] == "exp_alpha", "y_clamp"]) == {32}
    assert set(table.loc[table["experiment"] == "exp_alpha", "x_clamp"]) == {20}


def test_any_tau_of_the_range_makes_an_anchor() -> None:
    """With taus of 1 to 4 frames, a cell seen in frames 0 and 4 is an anchor in frame 0, one seen in 0 and 5 is not."""
    gaps = tuple(TrackDescription(track_id=i, frames=(0, i)) for i in (4, 5))
    with written(_with_first_fov(TWO, tracks=gaps)) as registry:
        anchors = index_of(registry, include_wells=["A/1"]).valid_anchors
    assert cells_of(anchors[anchors["experiment"] == "exp_alpha"]) == [Cell("exp_alpha", "A/1/0", 4, 0)]


def test_a_fov_without_csv_is_skipped_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """The warning names the experiment and its FOVs, once."""
    with written(_with_first_fov(TWO, has_csv=False)) as registry:
        index_of(registry)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        "experiment 'exp_alpha': skipped 1 FOVs that have no tracking CSV: A/1/0"
    ]


def test_dropped_observations_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    """Rows outside the image are logged per experiment and condition and stand in the summary."""
    outside = tuple(TrackDescription(track_id=i, frames=(0, 1), y=8.0 * i, x=-1.0 if i < 3 else 1.0) for i in range(5))
    with written(_with_first_fov(TWO, tracks=outside)) as registry, caplog.at_level(logging.INFO):
        index = index_of(registry)
    assert "experiment 'exp_alpha', condition 'uninfected': dropped 6 observations outside the image" in caplog.messages
    assert index.summary().splitlines()[2].split()[-1] == "6"


def test_impossible_parents_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """With `impossible_parents: founder` one line per experiment says how many tracks became founders."""
    late = (TrackDescription(track_id=1, frames=(0, 1)), TrackDescription(track_id=2, frames=(0, 1), parent=1))
    alpha, beta = TWO.experiments
    wells = tuple(replace(well, fovs=(replace(well.fovs[0], tracks=late),)) for well in alpha.wells)
    odd = replace(TWO, experiments=(replace(alpha, wells=wells), beta))
    with written(odd) as registry, pytest.raises(TracksError, match=r"tracks\.csv: parent_track_id 1 of track 2"):
        index_of(registry)
    tolerant = replace(TWO, experiments=(replace(alpha, wells=wells, impossible_parents="founder"), beta))
    with written(tolerant) as registry:
        index = index_of(registry)
    assert "experiment 'exp_alpha': 2 tracks became founders" in " ".join(caplog.messages)
    assert index.tracks.query("experiment == 'exp_alpha'")["lineage_id"].nunique() == 4


def test_rows_tell_organelle_date_and_moi_of_their_experiment() -> None:
    """As the registry has them; a column of the CSV of that name keeps its values under another."""
    with written(TWO) as registry:
        alpha, beta = registry.experiments
        told = [
            alpha.model_copy(update={"organelle": "ER", "date": "2024-01-02", "moi": 0.5}),
            beta.model_copy(update={"moi": 2.0}),
        ]
        for path in sorted(alpha.tracks_path.rglob("*.csv")):
            pd.read_csv(path).assign(moi=7, organelle="theirs").to_csv(path, index=False)
        index = index_of(ExperimentRegistry(experiments=told))
    for table in (index.tracks, index.valid_anchors):
        assert [table[name].dtype.kind for name in ("organelle", "date", "moi")] == ["O", "O", "f"]
        for config in told:
            rows = table[table["experiment"] == config.name]
            assert len(rows)
            assert set(rows["organelle"]) == {config.organelle}
            assert set(rows["date"]) == {config.date}
            assert set(rows["moi"]) == {config.moi}
        of_alpha = table[table["experiment"] == alpha.name]
        assert set(of_alpha["moi_csv"]) == {7}
        assert set(of_alpha["organelle_csv"]) == {"theirs"}


def test_columns_of_the_csv_never_overwrite_ours() -> None:
    """A CSV column with one of our names is kept under another, and a column of one file is NaN elsewhere."""
    with written(TWO) as registry:
        path = registry.get_experiment("exp_alpha").tracks_path / "A/1/0/tracks.csv"
        table = pd.read_csv(path).assign(experiment="mine", experiment_csv="other", row=7, area=1.5, y_clamp=-1)
        table.to_csv(path, index=False)
        tracks = index_of(registry).tracks
        anchors = index_of(registry).valid_anchors
    changed = (tracks["experiment"] == "exp_alpha") & (tracks["well_name"] == "A/1")
    assert changed.sum() == len(table)
    assert set(tracks["experiment"]) == {"exp_alpha", "exp_beta"}
    assert (tracks["y_clamp"] >= 0).all()
    for column, value in {"experiment_csv_csv": "mine", "experiment_csv": "other", "row_csv": 7, "area": 1.5}.items():
        assert (tracks.loc[changed, column] == value).all()
        assert tracks.loc[~changed, column].isna().all()
    assert tracks.iloc[anchors["row"]]["t"].tolist() == anchors["t"].tolist()


def test_frames_in_memory_are_indexed_like_files() -> None:
    """Tables that are handed over give the same index as the same tables on disk."""
    with written(TWO) as registry:
        frames = {
            (config.name, fov_name): pd.read_csv(config.tracks_path / fov_name / "tracks.csv")
            for config in registry.experiments
            for fov_name in registry.positions(config.name)
        }
        on_disk, in_memory = index_of(registry), index_of(registry, frames=frames)
        with pytest.raises(TracksError, match="exp_alpha:A/1/0 lacks the columns"):
            index_of(registry, frames={("exp_alpha", "A/1/0"): pd.DataFrame({"t": [0]})})
    pd.testing.assert_frame_equal(on_disk.tracks, in_memory.tracks)
    pd.testing.assert_frame_equal(on_disk.valid_anchors, in_memory.valid_anchors)


def test_categories_of_other_columns_stay_as_they_are() -> None:
    """A categorical column of a table in memory keeps its values, its missing ones and its categories."""
    with written(TWO) as registry:
        path = registry.get_experiment("exp_alpha").tracks_path / "A/1/0/tracks.csv"
        table = pd.read_csv(path)
        table["phase"] = pd.Categorical(["G1" if t % 2 else None for t in table["t"]], categories=["G2", "G1"])
        keys = [(name, "A/1/0") for name in registry.names]
        anchors = index_of(registry, frames=dict.fromkeys(keys, table)).valid_anchors
    assert list(anchors["phase"].cat.categories) == ["G2", "G1"]
    assert (anchors["phase"] == "G1").tolist() == (anchors["t"] % 2 == 1).tolist()
    assert anchors["phase"].isna().tolist() == (anchors["t"] % 2 == 0).tolist()


def test_global_track_ids_are_unique_or_refused() -> None:
    """Names that would give two tracks one global id are an error that names both FOVs."""
    alpha, beta = TWO.experiments
    renamed = replace(alpha, name="exp", condition_wells=(("mock", ("b_A/1",)),))
    renamed = replace(renamed, wells=(replace(alpha.wells[0], name="b_A/1"),))
    clash = replace(TWO, experiments=(renamed, replace(beta, name="exp_b")))
    with (
        written(clash) as registry,
        pytest.raises(DynaclrError, match=r"FOVs 'exp:b_A/1/0' and 'exp_b:A/1/0' would all begin with 'exp_b_A/1/0_'"),
    ):
        index_of(registry)


def test_the_summary_counts_what_is_there() -> None:
    """Experiments x conditions, with FOVs, tracks, lineages, observations, anchors, HPI and tau."""
    with written(two_experiments(start_hpi=(3.0, 24.0), interval_minutes=(30.0, 15.0))) as registry:
        summary = index_of(registry).summary().splitlines()
    assert summary[0].startswith("2 experiments, 140 observations, ")
    assert len(summary) == 6
    assert summary[2].split()[:6] == ["exp_alpha", "uninfected", "1", "5", "3", "35"]
    assert "3 to 7.5" in summary[2]
    assert "1 to 4" in summary[2]
    assert "24 to 26.25" in summary[5]
    assert "2 to 8" in summary[5]


def test_unknown_experiments_have_no_taus() -> None:
    """Asking for the taus of an experiment that is not there is a `KeyError` that lists the names."""
    with written(TWO) as registry, pytest.raises(KeyError, match="exp_alpha"):
        index_of(registry).tau_range_frames("exp_gamma")


@pytest.mark.skipif(not REAL_DATA.is_file(), reason="the real movies of ../shared/data are not on this machine")
def test_real_movies_have_the_published_counts() -> None:
    """The real movies index with the tracks, rows and 43 divisions that their provenance lists."""
    registry = ExperimentRegistry.from_yaml(REAL_DATA)
    index = index_of(registry, yx_patch_size=(32, 32))
    assert len(index.tracks) == sum(
        len(path.read_text(encoding="utf-8").splitlines()) - 1
        for path in sorted(REAL_DATA.parent.glob("tracks/*/*/*/*/*.csv"))
    )
    bacteria = index.tracks[index.tracks["experiment"] == "bacteria_phase"]
    daughters = bacteria[bacteria["parent_track_id"] >= 0].drop_duplicates(["fov_name", "track_id"])
    per_mother = daughters.groupby(["fov_name", "parent_track_id"], observed=True).size()
    assert (per_mother >= 2).sum() == 43
    mda = index.tracks[index.tracks["experiment"] == "mda231_qpi"]
    assert (mda["parent_track_id"] == -1).all()
    assert (mda["lineage_id"].astype(str) == mda["global_track_id"].astype(str)).all()
    assert index.tau_range_frames("mda231_qpi") == (5, 20)
    assert index.tau_range_frames("bacteria_phase") == (8, 30)
    # Bacteria divide about every six frames: eight frames later only daughters and their daughters are positives.
    anchors = index.experiment_groups["bacteria_phase"]
    assert len(anchors) > 100
