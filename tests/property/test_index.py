"""What the index says and logs, and what it refuses; its laws are in test_index_laws.py."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dynaclr.errors import DynaclrError, TracksError
from dynaclr.experiment import ExperimentRegistry
from dynaclr.fovs import all_fovs, select_fovs
from dynaclr.index import MultiExperimentIndex
from dynaclr.splits import entries_for
from dynaclr_strategies.descriptions import (
    RegistryDescription,
    TrackDescription,
)
from dynaclr_strategies.invariants.index_runs import cells_of
from dynaclr_strategies.oracles.index import Cell
from dynaclr_strategies.ready_made import two_experiments
from dynaclr_strategies.writers import write_registry

PATCH = (5, 4)
REAL_DATA = Path(__file__).parents[3] / "shared" / "data" / "experiments.yml"

# Hundreds of small files per example: eight times faster in memory, where the machine has such a folder.
SCRATCH = next((folder for folder in ("/dev/shm",) if os.access(folder, os.W_OK)), None)  # noqa: S108

# --- helpers --------------------------------------------------------------------------------------------------


@contextmanager
def written(description: RegistryDescription) -> Iterator[ExperimentRegistry]:
    """Write a registry to a temporary folder and open it."""
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        yield ExperimentRegistry.from_yaml(write_registry(description, Path(folder)))


def index_of(registry: ExperimentRegistry, **options: Any) -> MultiExperimentIndex:
    """Index a registry of generated stores."""
    return MultiExperimentIndex(registry, **{"z_range": slice(0, 1), "yx_patch_size": PATCH, **options})


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
        ({"z_range": slice(0, 2)}, r"z_range needs .*got 0 to 2 for FOV 'exp_alpha:A/1/0' of 1 plane"),
        ({"z_range": slice(1, 1)}, r"z_range needs 0 <= start < stop, got slice\(1, 1, None\)"),
        ({"z_range": slice(-1, 1)}, r"z_range needs 0 <= start < stop"),
        ({"z_range": slice(0, 1, 2)}, r"z_range needs to be slice\(start, stop\) of whole numbers without a step"),
        ({"z_range": slice(None)}, r"z_range needs to be slice\(start, stop\) of whole numbers"),
        ({"z_range": slice(0.0, 1.0)}, r"z_range needs to be slice\(start, stop\) of whole numbers"),
        ({"z_range": [0, 1]}, r"z_range needs to be slice\(start, stop\).* got \[0, 1\]"),
        ({"yx_patch_size": (65, 8)}, r"got \(65, 8\) for FOV 'exp_alpha:A/1/0' of 64 x 64 pixels"),
        ({"yx_patch_size": (8, 65)}, r"yx_patch_size needs to fit into every image"),
        ({"yx_patch_size": (0, 8)}, r"yx_patch_size=\(0, 8\) needs two whole numbers of at least 1"),
        ({"yx_patch_size": (8, True)}, r"yx_patch_size=\(.*\) needs two whole numbers of at least 1"),
        ({"yx_patch_size": (8.0, 8.0)}, r"yx_patch_size=\(.*\) needs two whole numbers of at least 1"),
        ({"yx_patch_size": 8}, r"yx_patch_size=8 needs two whole numbers"),
        ({"yx_patch_size": (8, 8, 8)}, r"yx_patch_size=\(.*\) needs two whole numbers of at least 1"),
        ({"tau_range_hours": 0.5}, r"tau_range_hours is 0.5, but needs two finite numbers of hours, \(min, max\)"),
        ({"tau_range_hours": (0.5,)}, r"tau_range_hours is \(0.5,\), but needs two finite numbers of hours"),
        ({"tau_range_hours": (0.5, 1.0, 2.0)}, r"tau_range_hours is \(0.5, 1.0, 2.0\), but needs two finite numbers"),
        (
            {"tau_range_hours": (2.0, 0.5)},
            r"tau_range_hours is \(2.0, 0.5\), but needs the smaller number of hours first",
        ),
        ({"include_wells": ["A/2"]}, r"include_wells has 'A/2', which matches no well and no FOV; did you mean 'A/1'"),
        ({"exclude_fovs": ["exp_gamma:A/1"]}, r"exclude_fovs has 'exp_gamma:A/1', .*did you mean 'exp_"),
        ({"exclude_fovs": ["plate"]}, r"exclude_fovs has 'plate', .*; the experiments' wells are A/1, B/1"),
        ({"include_wells": "A/1"}, r"include_wells needs a list of wells or FOVs, got the text 'A/1'; write \['A/1'\]"),
        ({"exclude_fovs": 5}, r"exclude_fovs is 5, but needs a list of wells or FOVs, such as \['A/1', 'B/1/0'\]"),
        ({"include_wells": ["A/1", 1]}, r"include_wells is \['A/1', 1\], but needs a list of wells or FOVs"),
        ({"include_wells": []}, r"include_wells=\[\] and exclude_fovs=None leave no FOV of experiment 'exp_alpha'"),
        ({"exclude_fovs": ["exp_beta:A/1", "B/1"]}, r"leave no FOV of experiment 'exp_beta'"),
        ({"frames": {("exp_alpha", "C/1/0"): pd.DataFrame()}}, r"frames has \('exp_alpha', 'C/1/0'\), which is no"),
    ],
)
def test_each_wrong_argument_gets_its_sentence(options: dict[str, Any], sentence: str) -> None:
    """The sentence names the parameter, what it got and what it needs."""
    with written(TWO) as registry, pytest.raises(DynaclrError, match=sentence):
        index_of(registry, **options)


@pytest.mark.parametrize("option", ["include_wells", "exclude_fovs"])
def test_entries_that_can_be_gone_through_only_once_are_refused(option: str) -> None:
    """They are spent when they have been checked, and would then restrict nothing."""
    with written(TWO) as registry, pytest.raises(DynaclrError, match=f"{option} is <.*iterator.*>, but needs a list"):
        index_of(registry, **{option: iter(["A/1"])})


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


@pytest.mark.parametrize(("changes", "files"), [({"tracks": ()}, 1), ({"has_csv": False}, 0)])
def test_an_experiment_without_rows_is_refused(changes: dict[str, Any], files: int) -> None:
    """Nothing inside an image, or no file at all, is an error that names the experiment."""
    with written(_with_first_fov(TWO, **changes)) as registry:
        with pytest.raises(TracksError) as caught:
            index_of(registry, include_wells=["exp_alpha:A/1"])
        assert str(caught.value) == (
            "experiment 'exp_alpha' needs at least one observation inside an image, but is left with none: "
            f"{files} of its FOVs have a CSV under {registry.experiments[0].tracks_path}"
        )


def test_tables_are_the_same_whatever_the_order_of_rows() -> None:
    """Types and labels of the tables, and the order behind the positives, do not come from the order in the files."""
    with written(TWO) as registry:
        before = index_of(registry)
        for path in sorted(registry.experiments[0].tracks_path.parent.rglob("*.csv")):
            pd.read_csv(path).iloc[::-1].to_csv(path, index=False)
        after = index_of(registry)
    pd.testing.assert_frame_equal(before.tracks, after.tracks)
    pd.testing.assert_frame_equal(before.valid_anchors, after.valid_anchors)
    assert before.descent_order.tolist() == after.descent_order.tolist()
    assert before.lineage_codes.dtype == np.int64
    assert before.valid_anchors.index.equals(pd.RangeIndex(len(before.valid_anchors)))


def test_a_subset_is_indexed_as_if_it_were_alone() -> None:
    """The rows and anchors of an experiment are the same in a registry of which it was cut out."""
    with written(TWO) as registry:
        together, alone = index_of(registry), index_of(registry.subset(["exp_beta"]))
    for whole, part in ((together.tracks, alone.tracks), (together.valid_anchors, alone.valid_anchors)):
        own = whole[whole["experiment"] == "exp_beta"].drop(columns="row", errors="ignore").reset_index(drop=True)
        other = part.drop(columns="row", errors="ignore")
        pd.testing.assert_frame_equal(own.astype(object), other.astype(object))


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
        "experiment 'exp_alpha': skipped 1 FOV without a tracking CSV: A/1/0"
    ]


def test_dropped_observations_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    """Rows outside the image are logged per experiment and condition and stand in the summary."""
    outside = tuple(TrackDescription(track_id=i, frames=(0, 1), y=8.0 * i, x=-1.0 if i < 3 else 1.0) for i in range(5))
    with written(_with_first_fov(TWO, tracks=outside)) as registry, caplog.at_level(logging.INFO):
        index = index_of(registry)
    assert "experiment 'exp_alpha', condition 'uninfected': dropped 6 observations outside the image" in caplog.messages
    assert index.summary().splitlines()[2].split()[-1] == "6"


def test_a_condition_of_which_nothing_is_left_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    """Its line stays in the summary, and a warning says why batches will do without it."""
    outside = tuple(TrackDescription(track_id=i, frames=(0, 1), y=1.0, x=-1.0) for i in range(3))
    with written(_with_first_fov(TWO, tracks=outside)) as registry:
        index = index_of(registry)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warning == (
        "experiment 'exp_alpha', condition 'uninfected': dropped 6 observations outside the image, so nothing is left "
        "of it"
    )
    lines = [" ".join(line.split()) for line in index.summary().splitlines()]
    assert lines[2] == "exp_alpha uninfected 0 0 0 0 0 - 1 to 4 6"
    assert lines[3].startswith("exp_alpha infected 1")


def test_columns_of_parents_that_nobody_reads_are_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """For each experiment, with the number of its tables."""
    with written(TWO) as registry:
        for path in registry.get_experiment("exp_beta").tracks_path.rglob("*.csv"):
            path.write_text(path.read_text().replace("parent_track_id", "parent_track"))
        index = index_of(registry)
    (warning,) = caplog.messages
    assert warning == (
        "experiment 'exp_beta': 2 tracking tables without a parent, though with a column 'parent_track'; parents are "
        "read from 'parent_track_id', or from 'id' and 'parent_id' together"
    )
    assert "parent_track" in index.tracks


def test_dropped_observations_of_several_fovs_add_up() -> None:
    """The summary has one line for all FOVs of a condition."""
    outside = tuple(TrackDescription(track_id=i, frames=(0,), y=1.0, x=-1.0 if i else 1.0) for i in range(3))
    several = two_experiments(fovs=2, tracks=3, size=(16, 16))
    alpha, beta = several.experiments
    first, second = alpha.wells
    wells = (replace(first, fovs=tuple(replace(fov, tracks=outside) for fov in first.fovs)), second)
    with written(replace(several, experiments=(replace(alpha, wells=wells), beta))) as registry:
        index = index_of(registry, yx_patch_size=(4, 4))
    assert [line.split()[-1] for line in index.summary().splitlines()[2:]] == ["4", "0", "0", "0"]


def test_a_condition_without_an_anchor_has_an_empty_group() -> None:
    """So has an experiment: the groups of the others are their own rows, not those of the next label."""
    seen_once = (TrackDescription(track_id=1, frames=(0,), y=8.0, x=8.0),)
    alpha, beta = two_experiments(conditions=("mock", "drug")).experiments
    lost = replace(alpha.wells[0], fovs=(replace(alpha.wells[0].fovs[0], tracks=seen_once),))
    with written(replace(TWO, experiments=(replace(alpha, wells=(lost, *alpha.wells[1:])), beta))) as registry:
        one_condition = index_of(registry, include_wells=["exp_alpha:A/1", "exp_beta:B/1"])
        all_wells = index_of(registry)
    for index in (one_condition, all_wells):
        groups = {"experiment": index.experiment_groups, "condition": index.condition_groups}
        for column, found in groups.items():
            assert list(found) == list(index.tracks[column].cat.categories)
            labels = index.valid_anchors[column].astype(str)
            assert {name: rows.tolist() for name, rows in found.items()} == {
                name: np.flatnonzero(labels == name).tolist() for name in found
            }
    assert not len(one_condition.experiment_groups["exp_alpha"])
    assert not len(one_condition.condition_groups["mock"])


@pytest.mark.parametrize("beyond", [{"x": -1.0}, {"y": 1e9}, {"x": -0.5, "dx": -1.0}])
def test_a_mother_outside_the_image_is_a_mother_all_the_same(beyond: dict[str, float]) -> None:
    """Her daughters and granddaughters are of her lineage, though no row of her is kept."""
    inside = {"y": 8.0, "x": 8.0}
    family = (
        TrackDescription(track_id=3, frames=(0, 1), **{**inside, **beyond}),
        TrackDescription(track_id=5, frames=(2, 3), parent=3, **inside),
        TrackDescription(track_id=7, frames=(2, 3), parent=3, **{**inside, **beyond}),
        TrackDescription(track_id=8, frames=(4, 5), parent=7, **inside),
        TrackDescription(track_id=9, frames=(0, 5), **inside),
    )
    with written(_with_first_fov(TWO, tracks=family)) as registry:
        tracks = index_of(registry).tracks
    mine = tracks[(tracks["experiment"] == "exp_alpha") & (tracks["fov_name"] == "A/1/0")]
    lineages = dict(zip(mine["track_id"], mine["lineage_id"].astype(str), strict=True))
    assert lineages == {5: "exp_alpha_A/1/0_3", 8: "exp_alpha_A/1/0_3", 9: "exp_alpha_A/1/0_9"}


def test_anchors_are_grouped_by_condition_too() -> None:
    """Each condition's anchors are the rows that have its label."""
    with written(TWO) as registry:
        index = index_of(registry)
    labels = index.valid_anchors["condition"].astype(str)
    assert {name: rows.tolist() for name, rows in index.condition_groups.items()} == {
        name: np.flatnonzero(labels == name).tolist() for name in ("uninfected", "infected")
    }


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
    sentence = "experiment 'exp_alpha': made founders of 2 tracks whose parent does not start before them"
    assert [message for message in caplog.messages if "made founders" in message] == [sentence]
    assert index.tracks.query("experiment == 'exp_alpha'")["lineage_id"].nunique() == 4


def test_impossible_parents_of_0_are_told_with_their_files(caplog: pytest.LogCaptureFixture) -> None:
    """Once per experiment: where 0 means 'no parent', a track that begins after track 0 is no daughter of it."""
    tracks = [
        TrackDescription(track_id=0, frames=(1, 2)),
        TrackDescription(track_id=1, frames=(0, 1), parent=0),
        TrackDescription(track_id=2, frames=(2,), parent=0),
    ]
    alpha, beta = TWO.experiments
    first, *others = alpha.wells
    doubtful = replace(first, fovs=(replace(first.fovs[0], tracks=tuple(tracks)), *first.fovs[1:]))
    odd = replace(alpha, wells=(doubtful, *others), impossible_parents="founder")
    for founder_parent in (None, 0):
        caplog.clear()
        changed = replace(odd, founder_parent=founder_parent)
        with written(replace(TWO, experiments=(changed, beta))) as registry:
            index = index_of(registry)
            (path,) = (registry.get_experiment("exp_alpha").tracks_path / "A" / "1" / "0").glob("*.csv")
        told = [message for message in caplog.messages if "with a parent of 0" in message]
        sentence = (
            "experiment 'exp_alpha': 1 tracking table with a parent of 0 that does not start before its daughter: "
            f"{path}; if 0 means 'no parent' there, set `founder_parent: 0` for the experiment, since other tracks "
            "with a parent of 0 stay daughters"
        )
        assert told == ([sentence] if founder_parent is None else [])
        lineages = index.tracks.query("fov_name == 'A/1/0' and experiment == 'exp_alpha'")["lineage_id"].nunique()
        assert lineages == (2 if founder_parent is None else 3)


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


def test_all_tables_with_a_problem_are_told_at_once() -> None:
    """Each with its own sentence, those that are as they should be without."""
    with written(TWO) as registry:
        paths = [
            config.tracks_path / fov_name / "tracks.csv"
            for config in registry.experiments
            for fov_name in registry.positions(config.name)
        ]
        alone, broken = [], {}
        for path, column in ((paths[0], "y"), (paths[-1], "x")):
            whole = path.read_text()
            pd.read_csv(path).drop(columns=column).to_csv(path, index=False)
            with pytest.raises(TracksError) as caught:
                index_of(registry)
            alone.append(str(caught.value))
            broken[path] = path.read_text()
            path.write_text(whole)
        for path, text in broken.items():
            path.write_text(text)
        with pytest.raises(TracksError) as caught:
            index_of(registry)
    assert [sentence.startswith(f"{path} ") for path, sentence in zip(broken, alone, strict=True)] == [True, True]
    assert str(caught.value) == "\n  - ".join(["problems in 2 tracking tables:", *alone])


def test_tables_without_a_row_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    """Like FOVs that have no table at all."""
    with written(TWO) as registry:
        config = registry.experiments[0]
        fov_name = next(iter(registry.positions(config.name)))
        path = config.tracks_path / fov_name / "tracks.csv"
        pd.read_csv(path).iloc[:0].to_csv(path, index=False)
        index_of(registry)
    assert f"1 FOV without a row in the tracking table: {config.name}:{fov_name}" in caplog.messages


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


def test_the_summary_lists_what_is_there_in_the_order_of_the_wells() -> None:
    """No line for a condition that an experiment lacks; conditions as the experiment's own wells have them."""
    two = two_experiments(conditions=("v", "i"), tracks=3, size=(16, 16))
    alpha, beta = two.experiments
    turned = replace(beta, condition_wells=(("v", ("B/1",)), ("i", ("A/1",))))
    with written(replace(two, experiments=(alpha, turned))) as registry:
        whole = index_of(registry, yx_patch_size=(4, 4)).summary()
        part = index_of(registry, yx_patch_size=(4, 4), include_wells=["A/1"]).summary()
    assert [line.split()[:2] for line in whole.splitlines()[2:]] == [
        ["exp_alpha", "v"],
        ["exp_alpha", "i"],
        ["exp_beta", "i"],
        ["exp_beta", "v"],
    ]
    assert [line.split()[:2] for line in part.splitlines()[2:]] == [["exp_alpha", "v"], ["exp_beta", "i"]]


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


def test_the_summary_as_it_is_printed() -> None:
    """Experiments and conditions in the order of the registry, with what was dropped."""
    two = two_experiments(
        conditions=("v", "i"), tracks=3, size=(16, 16), frames=4, start_hpi=(3.0, 0.0), interval_minutes=(30.0, 15.0)
    )
    two = replace(two, experiments=tuple(reversed(two.experiments)))
    with written(two) as registry:
        index = MultiExperimentIndex(registry, slice(0, 1), (4, 4), (0.5, 1.0))
        assert repr(index) == "MultiExperimentIndex(2 experiments, 24 observations, 12 valid anchors)"
        lines = [" ".join(line.split()) for line in index.summary().splitlines()]
    assert lines == [
        "2 experiments, 24 observations, 12 valid anchors; positives 0.5 to 1 h after the anchor",
        "experiment condition FOVs tracks lineages observations valid anchors HPI tau (frames) dropped outside image",
        "exp_beta v 1 3 1 6 2 0 to 0.75 2 to 4 0",
        "exp_beta i 1 3 1 6 2 0 to 0.75 2 to 4 0",
        "exp_alpha v 1 3 1 6 4 3 to 4.5 1 to 2 0",
        "exp_alpha i 1 3 1 6 4 3 to 4.5 1 to 2 0",
    ]
