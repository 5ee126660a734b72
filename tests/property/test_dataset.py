"""What the laws of the dataset leave open: epochs that indices carry, columns, types, and errors."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, chisquare

from dynaclr.dataset import EpochIndices, MultiExperimentTripletDataset
from dynaclr.errors import DynaclrError
from dynaclr.experiment import ExperimentRegistry
from dynaclr.index import MultiExperimentIndex
from dynaclr.pixels import Image, PatchReader
from dynaclr.positives import PositiveDraw, _pick, occurrences
from dynaclr.preprocess import compute_statistics
from dynaclr.randomness import fractions
from dynaclr_strategies.descriptions import RegistryDescription, TrackDescription
from dynaclr_strategies.pixels import fov_pixels
from dynaclr_strategies.ready_made import two_experiments
from dynaclr_strategies.writers import write_registry


@contextmanager
def written(description: RegistryDescription) -> Iterator[ExperimentRegistry]:
    """Write a registry to a folder that lives as long as the block."""
    with tempfile.TemporaryDirectory() as folder:
        yield ExperimentRegistry.from_yaml(write_registry(description, Path(folder)))


def make_index(registry: ExperimentRegistry, **options: Any) -> MultiExperimentIndex:
    """Index a registry with a small window unless told otherwise."""
    return MultiExperimentIndex(registry, **{"z_range": slice(0, 1), "yx_patch_size": (9, 12), **options})


# --- positives ---------------------------------------------------------------------------------------------

_DATASETS: list[MultiExperimentTripletDataset] = []


def _shared_dataset() -> MultiExperimentTripletDataset:
    """Return a dataset whose positives are asked for only, so that its store may be gone."""
    if not _DATASETS:
        with written(two_experiments()) as registry:
            _DATASETS.append(MultiExperimentTripletDataset(make_index(registry)))
    return _DATASETS[0]


@pytest.mark.parametrize("last", [1e3, 1e12])
def test_positives_may_lie_as_far_off_as_there_are_any(last: float) -> None:
    """A range of hours beyond every movie costs nothing: a table of all its taus would not fit into memory."""
    with written(two_experiments()) as registry:
        index = make_index(registry, tau_range_hours=(0.5, last))
        draw = PositiveDraw(index, tau_decay_rate=0.0)
        anchors = np.tile(np.arange(len(index.valid_anchors)), 100)
        rows = index.valid_anchors["row"].to_numpy()[anchors]
        positives, taus = draw(rows, anchors, 0)
        t = index.tracks["t"].to_numpy()
        assert (t[positives] - t[rows] == taus).all()
        assert set(taus) == set(range(1, int(t.max()) + 1))


def test_the_attribute_epoch_is_for_indices_that_carry_none() -> None:
    """Plain lists belong to ``dataset.epoch``, tagged ones to their own."""
    dataset = MultiExperimentTripletDataset(_shared_dataset().index)
    anchors = list(range(len(dataset)))
    fifth = dataset.positives(EpochIndices(anchors, 5))[0]
    dataset.epoch = 5
    assert (dataset.positives(anchors)[0] == fifth).all()
    assert (dataset.positives(EpochIndices(anchors, 0))[0] == _shared_dataset().positives(anchors)[0]).all()


@given(st.lists(st.integers(-3, 3)))
def test_occurrences_count_what_came_before(values: list[int]) -> None:
    """Each value's occurrence is how often it stands to its left."""
    assert occurrences(np.array(values, dtype=np.int64)).tolist() == [values[:i].count(v) for i, v in enumerate(values)]


# --- what else a batch holds -------------------------------------------------------------------------------


def test_statistics_are_those_of_the_frame() -> None:
    """Statistics per time point are resolved to the crop's own; all others come as they are in the store."""
    with written(two_experiments(frames=3)) as registry:
        compute_statistics(registry)
        registry.refresh()
        dataset = MultiExperimentTripletDataset(make_index(registry), fit=False)
        rows = range(0, len(dataset), 5)
        batch = dataset.__getitems__(rows)
        for row, meta in zip(rows, batch["anchor_norm_meta"], strict=True):
            seen = dataset.index.tracks.iloc[row]
            experiment = registry.get_experiment(str(seen["experiment"]))
            stored = registry.positions(experiment.name)[str(seen["fov_name"])].normalization
            assert stored is not None
            for i, channel in enumerate(experiment.source_channel):
                expected = dict(stored[channel])
                expected["timepoint_statistics"] = expected["timepoint_statistics"][str(seen["t"])]
                assert meta[f"ch_{i}"] == expected


def test_a_frame_without_statistics_has_none() -> None:
    """What was computed for other frames is not passed off as its own."""
    with written(two_experiments(frames=3)) as registry:
        compute_statistics(registry)
        registry.refresh()
        for name in registry.names:
            for position in registry.positions(name).values():
                assert position.normalization is not None
                for statistics in position.normalization.values():
                    del statistics["timepoint_statistics"]["1"]
        dataset = MultiExperimentTripletDataset(make_index(registry), fit=False)
        metas = dataset.__getitems__(range(len(dataset)))["anchor_norm_meta"]
    for t, meta in zip(dataset.index.tracks["t"], metas, strict=True):
        assert ("timepoint_statistics" in meta["ch_0"]) is (t != 1)
        assert "fov_statistics" in meta["ch_0"]


@pytest.mark.parametrize("something", [None, [], 3.0, "1"])
def test_statistics_by_frame_in_another_form_are_none(something: Any) -> None:
    """Another program may have written something of this name; the levels that are there can be read all the same."""
    with written(two_experiments(frames=3)) as registry:
        compute_statistics(registry)
        registry.refresh()
        for position in registry.positions("exp_alpha").values():
            assert position.normalization is not None
            for statistics in position.normalization.values():
                statistics["timepoint_statistics"] = something
        dataset = MultiExperimentTripletDataset(make_index(registry), fit=False)
        metas = dataset.__getitems__(range(len(dataset)))["anchor_norm_meta"]
    for experiment, meta in zip(dataset.index.tracks["experiment"], metas, strict=True):
        assert ("timepoint_statistics" in meta["ch_0"]) is (experiment != "exp_alpha")
        assert "fov_statistics" in meta["ch_0"]


def test_images_of_many_experiments_are_told_apart() -> None:
    """By experiment and FOV, however many there are of both."""
    two = two_experiments(fovs=2, tracks=3, size=(16, 16))
    more = tuple(replace(two.experiments[1], name=name) for name in ("exp_gamma", "exp_delta"))
    description = replace(two, experiments=(*two.experiments, *more))
    with written(description) as registry:
        dataset = MultiExperimentTripletDataset(make_index(registry), fit=False)
        rows = list(range(0, len(dataset), 7))
        crops = dataset.__getitems__(rows)["anchor"].numpy()
        for row, crop in zip(rows, crops, strict=True):
            seen = dataset.index.tracks.iloc[row]
            experiment = registry.get_experiment(str(seen["experiment"]))
            channels = [experiment.channel_names.index(channel) for channel in experiment.source_channel]
            pixels = fov_pixels(description, experiment.name, str(seen["fov_name"]))
            y, x = seen["y_clamp"] - 4, seen["x_clamp"] - 6
            assert np.array_equal(crop, pixels[seen["t"], channels, :1, y : y + 9, x : x + 12])


def dataset_of(
    tracks: tuple[TrackDescription, ...], tau_range_hours: tuple[float, float] = (0.5, 2.0), **options: Any
) -> MultiExperimentTripletDataset:
    """Return a dataset of one experiment and one FOV with these tracks, whose positives are asked for only."""
    first = two_experiments(wells=("A/1",), conditions=("mock",)).experiments[0]
    fov = replace(first.wells[0].fovs[0], tracks=tracks)
    experiment = replace(first, wells=(replace(first.wells[0], fovs=(fov,)),))
    with written(replace(two_experiments(), experiments=(experiment,))) as registry:
        index = make_index(registry, tau_range_hours=tau_range_hours)
        return MultiExperimentTripletDataset(index, tau_range_hours=tau_range_hours, **options)


def test_a_steep_decay_takes_the_nearest_that_there_is() -> None:
    """Where the nearest offsets have no candidate, the likeliest of the others is taken, however unlikely that was."""
    gap = TrackDescription(track_id=1, frames=(0, 3, 4), y=30.0, x=30.0)
    others = (replace(gap, track_id=2, frames=(0, 1, 2)), replace(gap, track_id=3, frames=(0, 2)))
    dataset = dataset_of((gap, *others), tau_decay_rate=5000.0)
    anchors = dataset.index.valid_anchors
    taus = dataset.positives(list(range(len(dataset))))[1].tolist()
    seen = dict(zip(zip(anchors["track_id"], anchors["t"], strict=True), taus, strict=True))
    assert seen == {(1, 0): 3, (1, 3): 1, (2, 0): 1, (2, 1): 1, (3, 0): 2}


def test_an_anchor_with_gaps_draws_among_what_it_has() -> None:
    """Offset 1 has no candidate and offset 4 has two: the others keep their proportions, and two share alike.

    The frequencies of 40,000 draws are compared by a chi-squared test, and so is what each draw is followed by, since
    draws know nothing of each other; either fails by chance once in 1e9 seeds.
    """
    mother = TrackDescription(track_id=1, frames=(0, 2, 3), y=30.0, x=30.0)
    daughters = tuple(replace(mother, track_id=i, frames=(4,), parent=1, y=20.0 + 5 * i) for i in (2, 3))
    dataset = dataset_of((mother, *daughters))
    anchors, tracks = dataset.index.valid_anchors, dataset.index.tracks
    anchor = int(np.flatnonzero((anchors["track_id"] == 1) & (anchors["t"] == 0))[0])
    rows, taus = dataset.positives([anchor] * 40_000)
    drawn = list(zip(taus.tolist(), tracks["track_id"].iloc[rows].tolist(), strict=True))
    weights = {tau: np.exp(-2.0 * (tau - 1) / 3) for tau in (2, 3, 4)}
    expected = {(2, 1): weights[2], (3, 1): weights[3], (4, 2): weights[4] / 2, (4, 3): weights[4] / 2}
    assert set(drawn) == set(expected)
    counts = [drawn.count(one) for one in expected]
    shares = np.array(list(expected.values())) / sum(weights.values())
    assert chisquare(counts, 40_000 * shares).pvalue > 1e-9
    follows = Counter(pairwise(drawn))
    table = [[follows[one, other] for other in expected] for one in expected]
    assert chi2_contingency(table).pvalue > 1e-9


@given(weights=st.lists(st.floats(0, 1), max_size=6).map(lambda rest: [0.0, *rest, 1.0, 0.0]))
def test_extreme_numbers_pick_what_weighs_something(weights: list[float]) -> None:
    """The smallest fraction and the largest fall on the first and the last column that weigh anything."""
    words = np.array([0, 2**64 - 1], dtype=np.uint64)
    picked = _pick(np.array([weights, weights]), fractions(words))
    cumulative = np.cumsum(weights)
    assert picked.tolist() == [np.flatnonzero(cumulative)[0], np.searchsorted(cumulative, cumulative[-1])]


def test_the_farthest_of_two_offsets_decays_in_full() -> None:
    """At offsets of 1 and 2 frames, the second is ``exp(-2)`` as likely, and the daughters at both share alike.

    The frequencies of 40,000 draws, and what follows what, are each compared by a chi-squared test that fails by chance
    once in 1e9 seeds.
    """
    mother = TrackDescription(track_id=1, frames=(0,), y=30.0, x=30.0)
    daughters = tuple(replace(mother, track_id=i, frames=(1, 2), parent=1, y=20.0 + 5 * i) for i in (2, 3))
    dataset = dataset_of((mother, *daughters), tau_range_hours=(0.5, 1.0))
    anchors, tracks = dataset.index.valid_anchors, dataset.index.tracks
    rows, taus = dataset.positives([int(np.flatnonzero(anchors["track_id"] == 1)[0])] * 40_000)
    drawn = list(zip(taus.tolist(), tracks["track_id"].iloc[rows].tolist(), strict=True))
    expected = {(tau, daughter): np.exp(-2.0 * (tau - 1)) for tau in (1, 2) for daughter in (2, 3)}
    shares = np.array(list(expected.values())) / sum(expected.values())
    assert chisquare([drawn.count(one) for one in expected], 40_000 * shares).pvalue > 1e-9
    follows = Counter(pairwise(drawn))
    assert chi2_contingency([[follows[one, other] for other in expected] for one in expected]).pvalue > 1e-9


@settings(max_examples=10)
@given(last=st.integers(4, 60), cells=st.integers(2, 4))
def test_the_range_that_was_asked_for_measures_the_decay(last: int, cells: int) -> None:
    """However short the movie is: an offset's weight is that of the range of hours, not of what is left of it.

    A cell of 3 to 5 frames, and a range of up to 60: what its first frame draws 20,000 times is compared by a
    chi-squared test that fails by chance once in 1e9 seeds.
    """
    track = TrackDescription(track_id=1, frames=tuple(range(cells + 1)), y=30.0, x=30.0)
    dataset = dataset_of((track,), tau_range_hours=(0.5, last / 2))
    anchor = int(np.flatnonzero(dataset.index.valid_anchors["t"] == 0)[0])
    taus = dataset.positives([anchor] * 20_000)[1]
    weights = np.array([np.exp(-2.0 * (tau - 1) / (last - 1)) for tau in range(1, cells + 1)])
    counts = np.bincount(taus, minlength=cells + 1)[1:]
    assert chisquare(counts, 20_000 * weights / weights.sum()).pvalue > 1e-9


def test_cells_alike_draw_apart() -> None:
    """Sixty cells of the same four offsets do not all draw the same one, which chance would let happen once in 1e17."""
    cell = TrackDescription(track_id=1, frames=(0, 1, 2, 3, 4), y=30.0, x=30.0)
    dataset = dataset_of(tuple(replace(cell, track_id=i + 1, y=16.0 + i / 2) for i in range(60)))
    first = np.flatnonzero(dataset.index.valid_anchors["t"] == 0).tolist()
    assert len(set(dataset.positives(first)[1].tolist())) > 1


def test_a_row_without_a_positive_is_refused() -> None:
    """By its number in the table, whatever else the batch holds."""
    cell = TrackDescription(track_id=1, frames=(0, 1, 2), y=30.0, x=30.0)
    index = dataset_of((cell,)).index
    with pytest.raises(DynaclrError, match=r"^row 2 of the index has no positive in its tau range$"):
        PositiveDraw(index)(np.array([0, 2, 1]), np.array([0, 2, 1]), 0)


def test_defaults_are_those_of_the_draw() -> None:
    """A decay rate of 2, seed 0, and nothing kept in memory; so are those of the draw by itself."""
    index, draw = _shared_dataset().index, PositiveDraw(_shared_dataset().index)
    anchors = list(range(len(_shared_dataset())))
    rows = index.valid_anchors["row"].to_numpy()
    explicit = MultiExperimentTripletDataset(index, tau_decay_rate=2.0, seed=0, cache_pool_bytes=0)
    for epoch in range(4):
        seen = _shared_dataset().positives(EpochIndices(anchors, epoch))
        assert np.array_equal(seen, explicit.positives(EpochIndices(anchors, epoch)))
        assert np.array_equal(seen, draw(rows, np.array(anchors), epoch))


def test_lineage_codes_are_int64() -> None:
    """A tensor that a loss can compare."""
    with written(two_experiments()) as registry:
        batch = MultiExperimentTripletDataset(make_index(registry)).__getitems__([0, 1])
        assert batch["lineage"].dtype == torch.int64


def test_without_fit_an_observation_has_these_columns() -> None:
    """What a prediction is filed under, as plain values."""
    with written(two_experiments()) as registry:
        batch = MultiExperimentTripletDataset(make_index(registry), fit=False).__getitems__([0])
        assert batch["index"] == [
            {
                "experiment": "exp_alpha",
                "condition": "uninfected",
                "well_name": "A/1",
                "fov_name": "A/1/0",
                "track_id": 1,
                "t": 0,
                "y": 32.0,
                "x": 32.0,
                "global_track_id": "exp_alpha_A/1/0_1",
                "lineage_id": "exp_alpha_A/1/0_1",
                "hours_post_infection": 0.0,
            }
        ]


# --- errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"tau_range_hours": 0.5},
            r"tau_range_hours is 0.5, but needs two finite numbers of hours, \(min, max\)",
        ),
        (
            {"tau_range_hours": (0.5, 3.0)},
            r"tau_range_hours is \(0.5, 3.0\), but needs to be the index's own \(0.5, 2.0\)",
        ),
        ({"tau_decay_rate": "2"}, "tau_decay_rate is '2', but needs a finite number"),
        ({"tau_decay_rate": float("nan")}, "tau_decay_rate is nan, but needs a finite number"),
        ({"cache_pool_bytes": -1}, "cache_pool_bytes=-1 needs a whole number of at least 0"),
        ({"cache_pool_bytes": 1.5}, "cache_pool_bytes=1.5 needs a whole number of at least 0"),
        ({"seed": 0.5}, "seed=0.5 needs a whole number"),
        ({"fit": "no"}, "fit='no' needs True or False"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], sentence: str) -> None:
    """Each mistake is one sentence, at construction."""
    with pytest.raises(DynaclrError, match=sentence):
        MultiExperimentTripletDataset(_shared_dataset().index, **options)


@pytest.mark.parametrize("wrong", [-1, 10**6])
def test_an_index_out_of_range_is_refused(wrong: int) -> None:
    """Negative indices do not count from the end: they are a bug of a sampler."""
    with pytest.raises(DynaclrError, match=f"index {wrong} is out of range, but needs to lie in"):
        _shared_dataset().__getitems__([0, wrong])


@pytest.mark.parametrize("wrong", [[0, 1.9], [True, False], ["0"], np.array([0.0])])
def test_indices_that_are_no_whole_numbers_are_refused(wrong: Any) -> None:
    """Cut to whole numbers they would name other anchors."""
    with pytest.raises(DynaclrError, match=r"indices are of type .*, but need to be whole numbers in \[0, "):
        _shared_dataset().__getitems__(wrong)


def test_positives_need_a_dataset_for_training() -> None:
    """Single observations have no positives."""
    dataset = MultiExperimentTripletDataset(_shared_dataset().index, fit=False)
    with pytest.raises(DynaclrError, match="fit is False, but positives need"):
        dataset.positives([0])


def test_pixels_that_are_gone_are_an_error_that_names_the_fov() -> None:
    """A store that vanished after it was indexed is no batch of zeros."""
    with pytest.raises(DynaclrError, match=r"the array of experiment 'exp_alpha', FOV A/1/0 cannot be opened"):
        _shared_dataset().__getitems__([0])


@pytest.mark.parametrize("experiment", ["exp_alpha", "exp_beta"])
@pytest.mark.parametrize("frame", [0, 2])
def test_a_chunk_that_cannot_be_decoded_is_an_error_that_names_the_fov(experiment: str, frame: int) -> None:
    """A truncated file stops the run with experiment, FOV and frame, whichever else the batch reads."""
    with written(two_experiments()) as registry:
        dataset = MultiExperimentTripletDataset(make_index(registry), fit=False)
        array = registry.positions(experiment)["A/1/0"].array_path
        (array / str(frame) / "0" / "0" / "0" / "0").write_bytes(b"short")
        with pytest.raises(DynaclrError, match=f"frame {frame} of experiment '{experiment}', FOV A/1/0 cannot be read"):
            dataset.__getitems__(range(len(dataset)))


def test_a_chunk_that_is_mended_meanwhile_is_an_error_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be read is no batch, also if nobody can say any more which window it was."""
    with written(two_experiments()) as registry:
        dataset = MultiExperimentTripletDataset(make_index(registry), fit=False)
        chunk = registry.positions("exp_alpha")["A/1/0"].array_path / "0" / "0" / "0" / "0" / "0"
        whole, tell = chunk.read_bytes(), PatchReader._error
        chunk.write_bytes(b"short")

        def mended(*arguments: Any) -> DynaclrError:
            chunk.write_bytes(whole)
            return tell(*arguments)

        monkeypatch.setattr(PatchReader, "_error", mended)
        with pytest.raises(DynaclrError, match=r"^pixels cannot be read: .*exp_alpha"):
            dataset.__getitems__(range(len(dataset)))
        assert len(dataset.__getitems__([0])["anchor"]) == 1


@pytest.mark.parametrize("axis", range(5))
def test_an_image_that_was_cut_after_it_was_indexed_is_an_error(axis: int) -> None:
    """TensorStore may read zeros beyond its end."""
    with written(two_experiments(z=2)) as registry:
        dataset = MultiExperimentTripletDataset(make_index(registry), fit=False)
        place = registry.positions("exp_alpha")["A/1/0"]
        cut = [length - (number == axis) for number, length in enumerate(place.shape)]
        zarr.open_array(place.array_path, mode="r+").resize(cut)
        shapes = rf"\({', '.join(map(str, cut))}\), but had \({', '.join(map(str, place.shape))}\) when indexed"
        with pytest.raises(DynaclrError, match=f"array of experiment 'exp_alpha', FOV A/1/0 has the shape {shapes}$"):
            dataset.__getitems__([0])
        zarr.open_array(place.array_path, mode="r+").resize([length + 1 for length in place.shape])
        assert len(dataset.__getitems__([0])["anchor"]) == 1


def test_axes_may_be_labelled_in_capitals_or_not() -> None:
    """A batch of both holds the pixels of each."""
    alpha, beta = two_experiments(ome_version="0.5").experiments
    batches = []
    for axes in ("tczyx", "TCZYX"):
        with written(RegistryDescription(experiments=(replace(alpha, axes=axes), beta))) as registry:
            dataset = MultiExperimentTripletDataset(make_index(registry), fit=False)
            batches.append(dataset.__getitems__(range(len(dataset)))["anchor"])
    assert torch.equal(*batches)


@pytest.mark.parametrize("error", [KeyboardInterrupt, DynaclrError])
def test_memory_of_an_interrupted_read_is_not_lent_again(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After Ctrl-C, or the failure of one window, TensorStore goes on writing; the next batch must not lie there."""
    with written(two_experiments()) as registry:
        dataset = MultiExperimentTripletDataset(make_index(registry), fit=False)
        dataset.__getitems__([0, 1])
        copy, under_way = PatchReader._copy, []

        def interrupted(_reader: PatchReader, _sources: object, _windows: object, targets: list[Any]) -> NoReturn:
            under_way.extend(targets)
            raise error

        monkeypatch.setattr(PatchReader, "_copy", interrupted)
        with pytest.raises(error):
            dataset.__getitems__([0, 1])
        monkeypatch.setattr(PatchReader, "_copy", copy)
        anchor = dataset.__getitems__([0, 1])["anchor"]
        before = anchor.clone()
        for target in under_way:
            target.write(-1e9).result()
        assert torch.equal(anchor, before)


@pytest.mark.parametrize(
    ("t", "y", "x", "z_range"),
    [
        (0, -1, 0, (0, 1)),
        (0, 0, 53, (0, 1)),
        (0, 56, 0, (0, 1)),
        (10, 0, 0, (0, 1)),
        (-1, 0, 0, (0, 1)),
        (0, 0, 0, (0, 2)),
    ],
)
def test_a_window_that_hangs_over_the_border_is_refused(t: int, y: int, x: int, z_range: tuple[int, int]) -> None:
    """Never zeros: what lies outside the image is unknown."""
    with written(two_experiments()) as registry:
        place = registry.positions("exp_alpha")["A/1/0"]
        image = Image("exp_alpha", "A/1/0", place.array_path, place.zarr_format, place.shape, (0, 1))
        reader = PatchReader([image], slice(*z_range), (9, 12))
        windows = [np.array([0, value]) for value in (0, t, y, x)]
        with pytest.raises(DynaclrError, match="of experiment 'exp_alpha', FOV A/1/0 is not wholly inside the image"):
            reader.read(*windows)


@pytest.mark.parametrize("fit", [True, False])
def test_a_batch_holds_what_the_class_lists(fit: bool) -> None:
    """Nothing more and nothing less, a row each; of no index, nothing."""
    pair = {"anchor", "anchor_norm_meta", "positive", "positive_norm_meta", "lineage"}
    single = {"anchor", "anchor_norm_meta", "lineage", "index"}
    with written(two_experiments(tracks=3, size=(16, 16), normalization=True)) as registry:
        index = make_index(registry)
        dataset = MultiExperimentTripletDataset(index, fit=fit)
        rows = [len(dataset) - 1, 0, 0]
        batch = dataset.__getitems__(rows)
        assert set(batch) == (pair if fit else single)
        assert {len(values) for values in batch.values()} == {3}
        table = index.valid_anchors["row"].to_numpy() if fit else np.arange(len(index.tracks))
        assert batch["lineage"].tolist() == index.lineage_codes[table[rows]].tolist()
        assert batch["anchor_norm_meta"][1] == batch["anchor_norm_meta"][2]
        assert set(batch["anchor_norm_meta"][0]) == {"ch_0", "ch_1"}


def test_no_anchors_have_no_positives() -> None:
    """An empty batch is a batch."""
    rows, taus = _shared_dataset().positives([])
    assert (rows.dtype, taus.dtype, rows.size, taus.size) == (np.int64, np.int64, 0, 0)


def test_all_images_share_one_pool_of_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes to keep are those of all of them together, and not of each."""
    import tensorstore as ts

    limits: list[int] = []

    def counted(spec: dict[str, Any]) -> ts.Context:
        limits.append(spec["cache_pool"]["total_bytes_limit"])
        return context(spec)

    context = ts.Context
    monkeypatch.setattr(ts, "Context", counted)
    with written(two_experiments(fovs=2)) as registry:
        dataset = MultiExperimentTripletDataset(make_index(registry), cache_pool_bytes=12345)
        for first in range(0, len(dataset), 8):
            dataset.__getitems__(list(range(first, min(first + 8, len(dataset)))))
    assert limits == [12345]
