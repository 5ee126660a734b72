"""Batches against the description of what was written: which observation, which pixels, which positive."""

from __future__ import annotations

import pickle
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dynaclr.dataset import EpochIndices, MultiExperimentTripletDataset
from dynaclr.errors import DynaclrError
from dynaclr.experiment import ExperimentRegistry
from dynaclr.index import MultiExperimentIndex
from dynaclr.pixels import Image, PatchReader
from dynaclr.positives import occurrences
from dynaclr_strategies.descriptions import RegistryDescription
from dynaclr_strategies.pixels import DTYPES
from dynaclr_strategies.ready_made import two_experiments
from dynaclr_strategies.writers import expected_patch, what_was_read, write_registry

TAU_RANGE = (0.5, 2.0)


@contextmanager
def written(description: RegistryDescription) -> Iterator[ExperimentRegistry]:
    """Write a registry to a folder that lives as long as the block."""
    with tempfile.TemporaryDirectory() as folder:
        yield ExperimentRegistry.from_yaml(write_registry(description, Path(folder)))


def make_index(registry: ExperimentRegistry, **options: Any) -> MultiExperimentIndex:
    """Index a registry with a small window unless told otherwise."""
    return MultiExperimentIndex(registry, **{"z_range": slice(0, 1), "yx_patch_size": (9, 12), **options})


@st.composite
def descriptions(draw: st.DrawFn) -> RegistryDescription:
    """Two experiments with colliding FOV names whose stores differ in all that a reader must know."""
    fovs, z = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    both = two_experiments(wells=("A/1",), conditions=("mock",), fovs=fovs, frames=4, size=(24, 20), z=z)
    experiments = []
    for experiment in both.experiments:
        version: Literal["0.4", "0.5"] = draw(st.sampled_from(["0.4", "0.5"]))
        source = draw(st.permutations(experiment.channel_names))[:2]
        experiments.append(
            replace(
                experiment,
                source_channel=tuple(source),
                ome_version=version,
                dtype=draw(st.sampled_from(sorted(DTYPES))),
                chunks=draw(st.sampled_from([None, (2, 1, 1, 15, 20), (4, 3, 2, 24, 8)])),
                compressed=draw(st.booleans()),
            )
        )
    return replace(both, experiments=tuple(experiments))


def expected(description: RegistryDescription, row: pd.Series[Any], index: MultiExperimentIndex) -> NDArray[Any]:
    """Return what the patch of a row of the index must hold."""
    height, width = index.yx_patch_size
    top, left = row["y_clamp"] - height // 2, row["x_clamp"] - width // 2
    experiment = description.experiment(row["experiment"])
    rows, columns = slice(top, top + height), slice(left, left + width)
    return expected_patch(
        description, experiment.name, row["fov_name"], row["t"], experiment.source_channel, index.z_range, rows, columns
    )


def assert_patches(
    description: RegistryDescription, index: MultiExperimentIndex, rows: list[int], patches: torch.Tensor
) -> None:
    """Compare patches with what the rows of the index must show, and say what was read instead."""
    for row, patch in zip(rows, patches.numpy(), strict=True):
        wanted = expected(description, index.tracks.iloc[row], index)
        assert np.array_equal(patch, wanted), f"row {row}: {what_was_read(description, patch)}"


# --- pixels ------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(data=st.data(), description=descriptions())
def test_patches_hold_the_pixels_of_their_observations(data: st.DataObject, description: RegistryDescription) -> None:
    """Anchor and positive are float32 crops of the source channels, in source order, whatever the store holds."""
    depth = description.experiments[0].wells[0].fovs[0].z
    start = data.draw(st.integers(0, depth - 1), label="first plane")
    z_range = slice(start, data.draw(st.integers(start + 1, depth), label="plane after the last"))
    patch = data.draw(st.sampled_from([(24, 20), (9, 12), (8, 5), (1, 1)]), label="patch")
    with written(description) as registry:
        index = make_index(registry, z_range=z_range, yx_patch_size=patch)
        dataset = MultiExperimentTripletDataset(index)
        anchors = data.draw(st.lists(st.integers(0, len(dataset) - 1), min_size=1, max_size=8), label="anchors")
        batch = dataset.__getitems__(anchors)
        positives, _ = dataset.positives(anchors)
        assert batch["anchor"].dtype == batch["positive"].dtype == torch.float32
        assert batch["anchor"].shape == (len(anchors), 2, z_range.stop - start, *patch)
        assert_patches(description, index, index.valid_anchors["row"].iloc[anchors].tolist(), batch["anchor"])
        assert_patches(description, index, positives.tolist(), batch["positive"])


def test_sharded_stores_are_read() -> None:
    """A chunk inside a shard is found."""
    both = two_experiments(size=(24, 20), ome_version="0.5")
    sharded = tuple(replace(one, chunks=(1, 1, 1, 8, 8), shards=(1, 3, 1, 3, 3)) for one in both.experiments)
    description = replace(both, experiments=sharded)
    with written(description) as registry:
        index = make_index(registry)
        batch = MultiExperimentTripletDataset(index, fit=False).__getitems__(list(range(len(index.tracks))))
        assert_patches(description, index, list(range(len(index.tracks))), batch["anchor"])


@pytest.mark.parametrize("cache_pool_bytes", [0, 10_000, 10**8])
def test_threads_and_caches_change_nothing(cache_pool_bytes: int) -> None:
    """Many threads on one dataset get what one thread gets alone."""
    with written(two_experiments(fovs=2)) as registry:
        index = make_index(registry)
        alone = MultiExperimentTripletDataset(index)
        shared = MultiExperimentTripletDataset(index, cache_pool_bytes=cache_pool_bytes)
        batches = [[(7 * i + 3 * j) % len(alone) for j in range(6)] for i in range(24)]
        with ThreadPoolExecutor(8) as pool:
            read = list(pool.map(shared.__getitems__, batches))
        for indices, batch in zip(batches, read, strict=True):
            assert_same(batch, alone.__getitems__(indices))


def assert_same(batch: dict[str, Any], other: dict[str, Any]) -> None:
    """Compare two batches, tensors and lists alike."""
    assert batch.keys() == other.keys()
    for key, value in batch.items():
        same = torch.equal(value, other[key]) if isinstance(value, torch.Tensor) else value == other[key]
        assert same, key


def test_a_pickled_dataset_opens_its_images_anew() -> None:
    """A copy made after reading, as for a process worker, returns the same batch."""
    with written(two_experiments(normalization=True)) as registry:
        dataset = MultiExperimentTripletDataset(make_index(registry))
        batch = dataset.__getitems__([0, 5, 5])
        assert_same(pickle.loads(pickle.dumps(dataset)).__getitems__([0, 5, 5]), batch)  # noqa: S301  (our own bytes)


# --- positives ---------------------------------------------------------------------------------------------


def naive_positives(index: MultiExperimentIndex, row: int) -> dict[int, set[int]]:
    """Return for each tau of the range the rows on the line of descent of a row, by a walk over all rows."""
    tracks = index.tracks
    anchor = tracks.iloc[row]
    same_fov = tracks[(tracks["experiment"] == anchor["experiment"]) & (tracks["fov_name"] == anchor["fov_name"])]
    parents = dict(zip(same_fov["track_id"], same_fov["parent_track_id"], strict=True))
    tau_min, tau_max = index.tau_range_frames(anchor["experiment"])
    found: dict[int, set[int]] = {}
    for other, (track, t) in enumerate(zip(tracks["track_id"], tracks["t"], strict=True)):
        tau = int(t - anchor["t"])
        if tau_min <= tau <= tau_max and other in same_fov.index:
            ancestor = track
            while ancestor != anchor["track_id"] and ancestor in parents:
                ancestor = parents[ancestor]
            if ancestor == anchor["track_id"]:
                found.setdefault(tau, set()).add(other)
    return found


@pytest.mark.parametrize("tau_range", [TAU_RANGE, (1.0, 5.0), (1.0, 1.0), (0, 0)])
def test_positives_lie_on_the_line_of_descent(tau_range: tuple[float, float]) -> None:
    """Every positive is one that a walk over all rows finds, at a tau of the range; in time each is drawn."""
    with written(
        two_experiments(interval_minutes=(30.0, 20.0), frames=8, wells=("A/1",), conditions=("mock",))
    ) as registry:
        index = make_index(registry, tau_range_hours=tau_range)
        dataset = MultiExperimentTripletDataset(index, tau_range_hours=tau_range, tau_decay_rate=0.0)
        every = list(range(len(dataset)))
        drawn: list[set[tuple[int, int]]] = [set() for _ in every]
        for epoch in range(400):
            positives, taus = dataset.positives(EpochIndices(every, epoch))
            for anchor, pair in enumerate(zip(taus.tolist(), positives.tolist(), strict=True)):
                drawn[anchor].add(pair)
    for anchor, row in enumerate(index.valid_anchors["row"].tolist()):
        own = {0: {row}} if tau_range == (0, 0) else naive_positives(index, row)
        assert drawn[anchor] == {(tau, positive) for tau, rows in own.items() for positive in rows}


@pytest.mark.parametrize("rate", [0.0, 2.0, -1.0])
def test_near_taus_are_as_frequent_as_the_formula_says(rate: float) -> None:
    """Frequencies over 4000 epochs are those of the formula among the taus that the anchor has, within 5 sigma."""
    epochs = 4000
    with written(two_experiments(frames=10)) as registry:
        index = make_index(registry)
        dataset = MultiExperimentTripletDataset(index, tau_decay_rate=rate)
        # A cell that is seen to the end of the movie, in its first frame and in its last but three and two.
        table = index.valid_anchors
        whole = table[(table["experiment"] == "exp_alpha") & (table["track_id"] == 4) & (table["well_name"] == "A/1")]
        anchors = whole.index[whole["t"].isin([0, 6, 7])].tolist()
        drawn = np.array([dataset.positives(EpochIndices(anchors, epoch))[1] for epoch in range(epochs)])
    for column, longest in enumerate([4, 3, 2]):
        taus = np.arange(1, longest + 1)
        share = np.exp(-rate * (taus - 1) / (4 - 1))
        share /= share.sum()
        counts = np.array([(drawn[:, column] == tau).sum() for tau in taus])
        assert counts.sum() == epochs
        assert (np.abs(counts - epochs * share) <= 5 * np.sqrt(epochs * share * (1 - share)) + 1).all()


def test_daughters_are_equally_likely() -> None:
    """A mother's positive is either daughter's, each in half of the epochs within 5 sigma."""
    with written(two_experiments(frames=4, wells=("A/1",), conditions=("mock",))) as registry:
        index = make_index(registry)
        dataset = MultiExperimentTripletDataset(index)
        table = index.valid_anchors
        mother = table.index[(table["track_id"] == 1) & (table["t"] == 1)][:1].tolist()
        drawn = [int(dataset.positives(EpochIndices(mother, epoch))[0][0]) for epoch in range(2000)]
    counts = Counter(index.tracks["track_id"].iloc[drawn].tolist())
    assert set(counts) == {2, 3}
    assert abs(counts[2] - 1000) <= 5 * np.sqrt(500)


def test_no_decay_rate_leaves_an_anchor_without_positive() -> None:
    """Where every weight underflows, the nearest tau that the anchor has is drawn."""
    with written(two_experiments(frames=10)) as registry:
        index = make_index(registry, tau_range_hours=(0.5, 4.5))
        options: dict[str, Any] = {"tau_range_hours": (0.5, 4.5)}
        steep = MultiExperimentTripletDataset(index, tau_decay_rate=1e6, **options)
        anchors = list(range(len(steep)))
        nearest = [min(naive_positives(index, row)) for row in index.valid_anchors["row"]]
        assert steep.positives(anchors)[1].tolist() == nearest


@settings(max_examples=50)
@given(data=st.data())
def test_the_positive_depends_on_nothing_but_its_address(data: st.DataObject) -> None:
    """Seed, epoch, anchor and occurrence settle the positive: neither the other anchors nor the order matter."""
    dataset = _shared_dataset()
    epoch = data.draw(st.integers(0, 3), label="epoch")
    batch = data.draw(st.lists(st.integers(0, len(dataset) - 1), min_size=1, max_size=12), label="batch")
    order = data.draw(st.permutations(range(len(batch))), label="order")
    rows, _ = dataset.positives(EpochIndices(batch, epoch))
    by_address = set(zip(batch, occurrences(np.array(batch)).tolist(), rows.tolist(), strict=True))
    shuffled = [batch[i] for i in order]
    rows, _ = dataset.positives(EpochIndices(shuffled, epoch))
    assert set(zip(shuffled, occurrences(np.array(shuffled)).tolist(), rows.tolist(), strict=True)) == by_address
    alone = {(anchor, int(dataset.positives(EpochIndices([anchor], epoch))[0][0])) for anchor in set(batch)}
    assert {(anchor, row) for anchor, occurrence, row in by_address if occurrence == 0} == alone


_DATASETS: list[MultiExperimentTripletDataset] = []


def _shared_dataset() -> MultiExperimentTripletDataset:
    """Return a dataset whose positives are asked for only, so that its store may be gone."""
    if not _DATASETS:
        with written(two_experiments()) as registry:
            _DATASETS.append(MultiExperimentTripletDataset(make_index(registry)))
    return _DATASETS[0]


def test_seeds_epochs_and_occurrences_draw_anew() -> None:
    """Another seed, another epoch and a second occurrence each give other positives to some of the anchors."""
    dataset = _shared_dataset()
    anchors = list(range(len(dataset)))
    first = dataset.positives(anchors)[0]
    other_seed = MultiExperimentTripletDataset(dataset.index, seed=1)
    twice = dataset.positives(anchors + anchors)[0]
    assert (dataset.positives(EpochIndices(anchors, 0))[0] == first).all()
    assert (dataset.positives(EpochIndices(anchors, 1))[0] != first).any()
    assert (other_seed.positives(anchors)[0] != first).any()
    assert (twice[: len(anchors)] == first).all()
    assert (twice[len(anchors) :] != first).any()


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


def test_statistics_are_those_of_the_observation_by_source_position() -> None:
    """Each crop gets the statistics of its FOV, and those of its own frame, as ch_0, ch_1 in source order."""
    both = two_experiments(normalization=True)
    turned = replace(both.experiments[1], source_channel=("StressGranules", "Phase3D"))
    with written(replace(both, experiments=(both.experiments[0], turned))) as registry:
        index = make_index(registry)
        dataset = MultiExperimentTripletDataset(index)
        anchors = list(range(0, len(dataset), 7))
        batch = dataset.__getitems__(anchors)
        rows = {
            "anchor": index.valid_anchors["row"].iloc[anchors].tolist(),
            "positive": dataset.positives(anchors)[0].tolist(),
        }
        for key, metas in (("anchor", batch["anchor_norm_meta"]), ("positive", batch["positive_norm_meta"])):
            for row, meta in zip(rows[key], metas, strict=True):
                seen = index.tracks.iloc[row]
                stored = registry.positions(seen["experiment"])[seen["fov_name"]].normalization
                assert stored is not None
                assert list(meta) == ["ch_0", "ch_1"]
                for i, channel in enumerate(registry.get_experiment(seen["experiment"]).source_channel):
                    at_frame = stored[channel]["timepoint_statistics"][str(seen["t"])]
                    assert meta[f"ch_{i}"] == {**stored[channel], "timepoint_statistics": at_frame}


def test_a_store_without_statistics_says_none() -> None:
    """There is one entry per crop, None where the store has no statistics."""
    with written(two_experiments()) as registry:
        batch = MultiExperimentTripletDataset(make_index(registry)).__getitems__([0, 1, 2])
        assert batch["anchor_norm_meta"] == batch["positive_norm_meta"] == [None] * 3


def test_lineage_codes_agree_with_lineages() -> None:
    """Two anchors have the same code if and only if they have the same lineage."""
    with written(two_experiments()) as registry:
        index = make_index(registry)
        batch = MultiExperimentTripletDataset(index).__getitems__(list(range(len(index.valid_anchors))))
        assert batch["lineage"].dtype == torch.int64
        pairs = set(zip(batch["lineage"].tolist(), index.valid_anchors["lineage_id"], strict=True))
        assert len(pairs) == len({code for code, _ in pairs}) == len({name for _, name in pairs})


def test_without_fit_every_observation_is_read_with_its_name() -> None:
    """Indices then count all observations, also those without a positive, and there is no positive."""
    description = two_experiments(normalization=True)
    with written(description) as registry:
        index = make_index(registry)
        dataset = MultiExperimentTripletDataset(index, fit=False)
        assert len(dataset) == len(index.tracks) > len(index.valid_anchors)
        batch = dataset.__getitems__(list(range(len(dataset))))
        assert set(batch) == {"anchor", "anchor_norm_meta", "lineage", "index"}
        assert_patches(description, index, list(range(len(dataset))), batch["anchor"])
        named = [(one["global_track_id"], one["t"]) for one in batch["index"]]
        assert named == list(zip(index.tracks["global_track_id"], index.tracks["t"], strict=True))
        assert len(set(named)) == len(named)
        assert batch["index"][0] == {
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


# --- errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"tau_range_hours": (0.5, 3.0)},
            r"tau_range_hours is \(0.5, 3.0\), but needs to be the index's own \(0.5, 2.0\)",
        ),
        ({"tau_decay_rate": float("nan")}, "tau_decay_rate is nan, but needs a finite number"),
        ({"cache_pool_bytes": -1}, "cache_pool_bytes is -1, but needs a whole number of bytes"),
        ({"cache_pool_bytes": 1.5}, "cache_pool_bytes is 1.5, but needs a whole number of bytes"),
        ({"seed": 0.5}, "seed is 0.5, but needs an integer"),
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


def test_positives_need_a_dataset_for_training() -> None:
    """Single observations have no positives."""
    dataset = MultiExperimentTripletDataset(_shared_dataset().index, fit=False)
    with pytest.raises(DynaclrError, match="fit is False, but positives need"):
        dataset.positives([0])


def test_pixels_that_are_gone_are_an_error_that_names_the_fov() -> None:
    """A store that vanished after it was indexed is no batch of zeros."""
    with pytest.raises(DynaclrError, match=r"the array of experiment 'exp_alpha', FOV A/1/0 cannot be opened"):
        _shared_dataset().__getitems__([0])


def test_a_chunk_that_cannot_be_decoded_is_an_error_that_names_the_fov() -> None:
    """A truncated file stops the run with experiment, FOV and frame."""
    with written(two_experiments()) as registry:
        dataset = MultiExperimentTripletDataset(make_index(registry), fit=False)
        array = registry.positions("exp_alpha")["A/1/0"].array_path
        (array / "0" / "0" / "0" / "0" / "0").write_bytes(b"short")
        with pytest.raises(DynaclrError, match="frame 0 of experiment 'exp_alpha', FOV A/1/0 cannot be read"):
            dataset.__getitems__([0])


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
