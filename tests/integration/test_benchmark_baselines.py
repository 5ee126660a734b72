"""The opponents in `benchmarks/baselines.py` give right results: it is fair to be compared with them."""

from __future__ import annotations

import sys
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
import torch

from dynaclr.experiment import ExperimentRegistry
from dynaclr.index import MultiExperimentIndex
from dynaclr.sampler import FlexibleBatchSampler
from dynaclr_strategies.pixels import fov_pixels
from dynaclr_strategies.ready_made import two_experiments
from dynaclr_strategies.writers import write_registry

sys.path.insert(0, str(Path(__file__).parents[2]))  # `benchmarks` is not installed

from benchmarks import baselines, limits
from benchmarks.__main__ import main
from benchmarks.model import Results, at_least, at_most
from benchmarks.patches import one_process as one_process_of_patches
from benchmarks.sampler import anchors, combinations
from benchmarks.timing import added_peak, in_own_process, interleaved, middle_process
from benchmarks.training import one_process as one_process_of_training

DESCRIPTION = two_experiments(wells=("A/1", "B/1"), tracks=7, divisions=2, frames=8, size=(24, 24))


def small_index(root: Path) -> MultiExperimentIndex:
    """Two experiments with dividing cells."""
    registry = ExperimentRegistry.from_yaml(write_registry(DESCRIPTION, root))
    return MultiExperimentIndex(registry, slice(0, 1), (8, 8))


@pytest.mark.parametrize(
    ("name", "options"), [*combinations()], ids=lambda value: value if isinstance(value, str) else ""
)
def test_naive_batches_keep_what_their_axes_promise(name: str, options: dict[str, Any]) -> None:
    """A batch is full, of one experiment but for the leak, balanced, near one time, and without relatives."""
    del name
    table, size = anchors(12_000).assign(lineage_id=np.arange(12_000) // 4), 40
    naive = {key: value for key, value in options.items() if key != "exclusive_by"}
    sampler = baselines.NaiveSampler(table, size, exclusive="exclusive_by" in options, **naive)
    leaked = int(options.get("leaky", 0) * size)
    for _ in range(5):
        batch = table.iloc[sampler.batch()]
        assert len(batch) == size
        assert not batch.index.duplicated().any()
        own = batch
        if options["experiment_aware"]:
            most = batch["experiment"].value_counts().index[0]
            own = batch[batch["experiment"] == most]
            assert len(own) == size - leaked
        if options["condition_balanced"]:
            assert np.ptp(own["condition"].value_counts()) <= 2
        if options.get("temporal_enrichment"):
            hpi = own["hours_post_infection"].to_numpy()
            near = (np.abs(hpi[:, None] - np.unique(hpi)) <= 2.0).sum(axis=0)
            assert near.max() >= 0.6 * len(own)
        if "exclusive_by" in options:
            assert not batch["lineage_id"].duplicated().any()


def test_naive_ranks_share_the_batches_out() -> None:
    """All ranks build the same batches and yield different ones."""
    table = anchors(2_000)
    whole = [*baselines.NaiveSampler(table, 50)]
    ranks = [[*baselines.NaiveSampler(table, 50, num_replicas=3, rank=rank)] for rank in range(3)]
    assert [ranks[number % 3][number // 3] for number in range(len(whole))] == whole


def test_strings_group_like_codes() -> None:
    """Grouping by Python strings finds the strata that the sampler finds by codes."""
    table = anchors(3_000)
    groups = baselines.strings_of(table)
    strata = FlexibleBatchSampler(table, batch_size=8, temporal_enrichment=True)._recipe.strata
    cells = [strata.order[begin:end].tolist() for begin, end in pairwise(strata.cell_start.tolist())]
    assert sorted(cells) == sorted(rows for times in groups.values() for rows in times.values())
    names = {
        (strata.groups[group], strata.conditions[code])
        for group, code in zip(strata.stratum_group, strata.condition, strict=True)
    }
    assert names == set(groups)


def test_naive_lineages_and_positives_are_those_of_the_index(tmp_path: Path) -> None:
    """The loop over the rows finds the lineages, anchors and candidates that the index finds."""
    index = small_index(tmp_path)
    tracks, taus = index.tracks, index.tau_range_frames("exp_alpha")
    founder, found = baselines.lineages_and_anchors(tracks, taus)
    assert found == index.valid_anchors["row"].tolist()
    columns = [tracks[name].tolist() for name in ("experiment", "fov_name", "track_id")]
    names = [f"{e}_{f}_{founder[e, f, t]}" for e, f, t in zip(*columns, strict=True)]
    assert names == tracks["lineage_id"].tolist()

    naive = baselines.NaivePositives(tracks, taus)
    for row in found:
        for tau, candidates in naive.candidates(tracks.iloc[row]).items():
            start, stop = index.candidate_ranges([row], [tau])
            assert sorted(index.descent_order[start[0] : stop[0]].tolist()) == sorted(candidates)
    chosen = naive(np.array(found))
    assert all(taus[0] <= tau <= taus[1] for tau in tracks["t"].to_numpy()[chosen] - tracks["t"].to_numpy()[found])


def test_naive_and_bare_patches_are_the_pixels_that_were_written(tmp_path: Path) -> None:
    """One lazy slice per pandas row, and one bare read, give the pixels of the description."""
    import zarr

    index = small_index(tmp_path)
    names = [(name, fov) for name in index.registry.names for fov in index.registry.positions(name)]
    positions = {(name, fov): index.registry.positions(name)[fov] for name, fov in names}
    arrays = {key: zarr.open_array(position.array_path, mode="r") for key, position in positions.items()}
    where = (slice(0, 2), slice(0, 1), (8, 8))
    rows = np.arange(0, len(index.tracks), 5)
    patches = baselines.NaivePatches(index.tracks, arrays, *where)(rows)
    bare = limits.BareReads({key: (one.array_path, one.zarr_format) for key, one in positions.items()})
    assert np.array_equal(np.stack(bare.read(bare.windows(index.tracks, rows, *where))), patches)
    for patch, row in zip(patches, rows.tolist(), strict=True):
        one = index.tracks.iloc[row]
        pixels = fov_pixels(DESCRIPTION, one["experiment"], one["fov_name"])
        y, x = one["y_clamp"] - 4, one["x_clamp"] - 4
        assert np.array_equal(patch, pixels[one["t"], :2, :1, y : y + 8, x : x + 8])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_iohub_writes_the_images(tmp_path: Path, version: str) -> None:
    """The store that iohub writes in a loop holds what it was given."""
    import zarr

    images = {name: fov_pixels(DESCRIPTION, "exp_alpha", name) for name, _ in DESCRIPTION.experiments[0].fovs()}
    baselines.write_with_iohub(tmp_path / "a.zarr", ["Phase3D", "GFP", "Mito"], images, version)
    for name, image in images.items():
        array = zarr.open_array(tmp_path / "a.zarr" / name / "0", mode="r")
        assert np.array_equal(np.asarray(array[:]), image)


def test_figures_are_of_the_best_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every side takes a turn in every round, and what is reported is the shortest of each, per unit of work."""
    turns: list[str] = []
    lasting = {"a": [7.0, 3.0, 4.0, 5.0], "b": [8.0, 6.0, 2.0, 9.0]}
    now = 0.0

    def work(name: str) -> None:
        nonlocal now
        now += lasting[name][turns.count(name)]
        turns.append(name)

    monkeypatch.setattr("benchmarks.timing.time.perf_counter", lambda: now)
    taken = interleaved({"a": (partial(work, "a"), 2), "b": (partial(work, "b"), 4)}, budget=0, least=4)
    rounds = ["".join(turns[at : at + 2]) for at in range(0, 8, 2)]
    assert set(rounds) == {"ab", "ba"}  # neither always finds what the other one left
    assert taken == {"a": 1.5, "b": 0.5}


def test_memory_is_that_of_the_call_alone() -> None:
    """What was held before the call is not counted, what the call holds is."""
    assert 95 < added_peak("benchmarks.timing:holding", before=200, within=100) < 110


def test_the_middle_turn_counts_where_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each side gets its fewest turns, then what its share of the time holds; what prepares them is not counted."""
    lasting = {"quick": [1.0, 9.0, 2.0, 3.0, 4.0, 9.0], "slow": [40.0, 30.0, 50.0]}
    turns: list[str] = []
    now = 0.0

    def work(name: str) -> None:
        nonlocal now
        now += lasting[name][turns.count(name)]
        turns.append(name)

    def prepare() -> None:
        nonlocal now
        now += 100

    monkeypatch.setattr("benchmarks.timing.time.perf_counter", lambda: now)
    calls = {"quick": (partial(work, "quick"), 1), "slow": (partial(work, "slow"), 10)}
    taken = interleaved(calls, budget=36, before={"quick": prepare}, least=3, of_turns=median)
    assert sorted(turns[:6]) == ["quick"] * 3 + ["slow"] * 3
    assert turns[6:] == ["quick"] * 2
    assert taken == {"quick": 3.0, "slow": 4.0}


def test_each_process_measures_all_sides() -> None:
    """What the runs call by name, at its smallest."""
    assert one_process_of_patches(kind=0, batch_size=2, budget=0).keys() == {"ours", "limit", "baseline"}
    assert one_process_of_patches(kind=6, batch_size=2, budget=0).keys() == {"ours", "limit"}
    threads = torch.get_num_threads()
    try:
        taken = one_process_of_training(budget=0, least=1)
    finally:
        torch.set_num_threads(threads)
    assert taken.keys() == {"loader", "no loader", "no transforms", "encoder"}


def test_what_another_process_returns_comes_back() -> None:
    """A plain value."""
    assert in_own_process("benchmarks.timing:middle_process", taken=[{"a": 1, "b": 2}], ours="a", limit="b") == {
        "a": 1,
        "b": 2,
    }


def test_a_failure_in_another_process_is_told() -> None:
    """With its traceback."""
    with pytest.raises(RuntimeError, match=r"(?s)one_process.*Traceback.*IndexError"):
        in_own_process("benchmarks.patches:one_process", kind=99, batch_size=1, budget=0)


def test_the_process_in_the_middle_counts() -> None:
    """By the ratio of the two sides that are compared, all figures from one and the same process."""
    taken = [{"a": 1.0, "b": 2.0, "c": 9.0}, {"a": 9.0, "b": 3.0, "c": 1.0}, {"a": 3.0, "b": 3.0, "c": 0.5}]
    assert middle_process(taken, "a", "b") == taken[2]
    assert middle_process(taken, "c", "b") == taken[1]


def test_results_survive_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A quick run prints its table and leaves its figures behind, and loggers as they were."""
    import json
    import logging

    assert main(["--quick", "--only", "stores", "--output", str(tmp_path)]) == 0
    assert "stores: registry" in capsys.readouterr().out
    assert logging.getLogger("dynaclr").isEnabledFor(logging.WARNING)
    assert not (tmp_path / "quick.json").exists()  # a part does not stand for the whole
    plain = json.loads((tmp_path / "quick-stores.json").read_text())
    results = Results.from_plain(plain)
    assert results.to_plain() == plain
    assert results.groups == ["stores"]


def test_reaches_know_their_direction() -> None:
    """A ratio to the baseline has to be large, one to the limit small."""
    assert at_least("g", "w", "", 2.0, 1.5).met
    assert not at_least("g", "w", "", 1.0, 1.5).met
    assert at_most("g", "w", "", 1.0, 1.5).met
    assert not at_most("g", "w", "", 2.0, 1.5).met


def test_naive_loss_is_ours_without_beta() -> None:
    """The pair lists of pytorch-metric-learning give the loss that the matrix gives with beta 0."""
    import torch
    from pytorch_metric_learning.losses import NTXentLoss

    from dynaclr.loss import NTXentHCL

    embeddings, labels = torch.randn(12, 5, generator=torch.Generator().manual_seed(1)), torch.arange(6).repeat(2)
    torch.testing.assert_close(NTXentHCL(beta=0.0)(embeddings, labels), NTXentLoss()(embeddings, labels))
    unit = embeddings / embeddings.norm(dim=1, keepdim=True)
    terms = (unit @ unit.T / 0.07).exp()
    expected = (terms / terms.sum(1, keepdim=True)).square().sum()
    torch.testing.assert_close(limits.product_and_softmax(embeddings), expected)
