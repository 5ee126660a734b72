"""Sampler: batches per second in every combination of axes, ranks, construction, memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import islice, product
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks import limits
from benchmarks.baselines import NaiveSampler, strings_of
from benchmarks.model import Entry, Figure, Memory, Scale, at_least, at_most
from benchmarks.timing import Call, added_peak, interleaved
from dynaclr.sampler import FlexibleBatchSampler

GROUP, RANKS, CONSTRUCTION = "sampler", "one rank of 8", "sampler construction"
EXPERIMENTS, CONDITIONS, TIMES = 20, 3, 96
ALL: dict[str, Any] = {"leaky": 0.1, "temporal_enrichment": True}

_AXES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "experiment": ({"experiment_aware": True}, {"experiment_aware": False}),
    "leak": ({"leaky": 0.1}, {}),
    "condition": ({"condition_balanced": True}, {"condition_balanced": False}),
    "time": ({"temporal_enrichment": True}, {}),
    "exclusive": ({"exclusive_by": "lineage_id"}, {}),
}


def anchors(rows: int) -> pd.DataFrame:
    """Return a table of so many anchors, as an index makes it: categorical labels, lineages inside one stratum."""
    rng = np.random.default_rng(0)
    stratum = np.sort(rng.integers(0, EXPERIMENTS * CONDITIONS, rows))
    return pd.DataFrame(
        {
            "experiment": _labels(stratum // CONDITIONS, [f"exp_{i:02}" for i in range(EXPERIMENTS)]),
            "condition": _labels(stratum % CONDITIONS, ["infected", "mock", "uninfected"]),
            "hours_post_infection": rng.integers(0, TIMES, rows) * 0.5,
            "lineage_id": stratum * rows + np.arange(rows) // 40,
        }
    )


def _labels(codes: npt.NDArray[np.int64], names: list[str]) -> pd.Categorical[str]:
    return pd.Categorical.from_codes(codes, pd.Index(names))


def combinations() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every combination of axes that means something, with its name and options."""
    for switches in product((True, False), repeat=len(_AXES)):
        on = dict(zip(_AXES, switches, strict=True))
        if on["leak"] and not on["experiment"]:
            continue  # there are no other experiments to leak from
        options: dict[str, Any] = {}
        for name, is_on in on.items():
            options |= _AXES[name][0 if is_on else 1]
        yield " + ".join(name for name, is_on in on.items() if is_on) or "no axis", options


def turns(table: pd.DataFrame, batch_size: int, options: dict[str, Any], epochs: int = 1) -> tuple[Call, int]:
    """Return a call that takes all batches of so many new epochs of ours, and how many they are.

    Whole epochs, since batches are composed by the chunk: a turn that ended within a chunk would leave batches to the
    next one, which would only have to hand them out, and the best turn would be one that composed nothing.
    """
    sampler = FlexibleBatchSampler(table, batch_size=batch_size, **options)
    return partial(_next_epochs, sampler, epochs), epochs * len(sampler)


def naive_turns(table: pd.DataFrame, batch_size: int, options: dict[str, Any]) -> tuple[Call, int]:
    """Return a call that builds some batches of the baseline, and how many."""
    naive = {name: value for name, value in options.items() if name != "exclusive_by"}
    sampler = NaiveSampler(table, batch_size, exclusive="exclusive_by" in options, **naive)
    sampler.batch()
    count = max(2, min(40, 4_000_000 // len(table)))
    return (lambda: [sampler.batch() for _ in range(count)]), count


def _exhaust(batches: Iterable[list[int]]) -> None:
    for _ in batches:
        pass


def _next_epoch(sampler: FlexibleBatchSampler, batches: int | None = None) -> None:
    """Yield the first batches of an epoch that the sampler has not planned yet, or all of them."""
    sampler.set_epoch(sampler.epoch + 1)
    _exhaust(islice(sampler, batches))


def _next_epochs(sampler: FlexibleBatchSampler, epochs: int) -> None:
    for _ in range(epochs):
        _next_epoch(sampler)


def measure(scale: Scale) -> Iterator[Entry]:
    """Measure the rows of the sampler."""
    yield from _all_axes(scale)
    yield from _every_combination(scale)
    yield from _one_rank(scale)
    yield from _construction(scale)


def _all_axes(scale: Scale) -> Iterator[Entry]:
    sizes = scale.sizes(100_000, 1_000_000, 10_000_000, quick=(20_000, 200_000))
    rng = np.random.default_rng(0)
    for batch_size in (128, 1024):
        work = f"all axes, B = {batch_size}"
        calls: dict[str, tuple[Call, int]] = {}
        for rows in sizes:
            table = anchors(rows)
            count = 80
            # As many anchors a turn whatever the size: long turns are disturbed more often than short ones.
            calls[f"ours {rows}"] = turns(table, batch_size, ALL, epochs=sizes[-1] // rows)
            calls[f"baseline {rows}"] = naive_turns(table, batch_size, ALL)
            calls[f"limit {rows}"] = partial(limits.draw_numbers, rng, rows, batch_size, count), count
        taken = interleaved(calls, 3 * scale.budget, least=5)
        figures = [
            Figure(
                GROUP, work, rows, "anchors", "batch",
                {side: taken[f"{side} {rows}"] for side in ("ours", "baseline", "limit")},
            )
            for rows in sizes
        ]  # fmt: skip
        yield from figures
        first, last = figures[0], figures[-1]
        yield at_least(GROUP, work, f"of the baseline's speed at N = {last.size:.0e}", last.over_baseline, 200)
        flat = first.seconds["ours"] / last.seconds["ours"]
        yield at_least(GROUP, work, f"flat in N: speed at {last.size:.0e} over {first.size:.0e}", flat, 0.8)
        yield at_most(GROUP, work, "times the limit, at every N", max(figure.over_limit or 0 for figure in figures), 25)


def _every_combination(scale: Scale) -> Iterator[Entry]:
    rows = scale.sizes(100_000, quick=(20_000,))[0]
    table, rng = anchors(rows), np.random.default_rng(0)
    for batch_size in (128, 1024):
        figures = []
        for name, options in combinations():
            calls: dict[str, tuple[Call, int]] = {
                "ours": turns(table, batch_size, options),
                "baseline": naive_turns(table, batch_size, options),
                "limit": (partial(limits.draw_numbers, rng, rows, batch_size, 80), 80),
            }
            taken = interleaved(calls, scale.budget / 4)
            figures.append(Figure(GROUP, f"{name}, B = {batch_size}", rows, "anchors", "batch", taken))
            yield figures[-1]
        four = [figure for figure in figures if "exclusive" not in figure.work]
        worst = min(four, key=lambda figure: figure.over_baseline or 0)
        work = f"every combination of the four axes, B = {batch_size}"
        asked = f"of the baseline's speed at N = {rows:.0e}; least with {worst.work.rpartition(',')[0]}"
        yield at_least(GROUP, work, asked, worst.over_baseline, 1.5)


def _one_rank(scale: Scale) -> Iterator[Entry]:
    rows = scale.sizes(1_000_000, quick=(50_000,))[0]
    table = anchors(rows)
    for name, options in (("all axes", ALL), ("without the time axis", {"leaky": 0.1})):
        single = FlexibleBatchSampler(table, **options)
        rank = FlexibleBatchSampler(table, num_replicas=8, rank=3, **options)
        naive = NaiveSampler(table, num_replicas=8, rank=3, **options)
        naive.num_batches = 24
        taken = interleaved(
            {
                "ours": (partial(_next_epoch, rank), len(rank)),
                "single": (partial(_next_epoch, single), len(single)),
                "baseline": (partial(_exhaust, naive), 3),
            },
            scale.budget,
        )
        limit = taken.pop("single")
        yield Figure(RANKS, f"{name}, B = 128", rows, "anchors", "batch of the rank", {**taken, "limit": limit})
        if options is ALL:  # without the time axis every rank shuffles whole strata, which an epoch costs once
            yield at_least(RANKS, f"{name}, a whole epoch", "of an eighth of one process", limit / taken["ours"], 0.9)


def _construction(scale: Scale) -> Iterator[Entry]:
    sizes = scale.sizes(100_000, 1_000_000, 10_000_000, quick=(20_000, 200_000))
    for rows in sizes:
        table = anchors(rows)
        stratum = (
            table["experiment"].cat.codes.to_numpy(np.int64) * CONDITIONS + table["condition"].cat.codes.to_numpy()
        )
        codes = stratum * TIMES + (table["hours_post_infection"].to_numpy() * 2).astype(np.int64)
        taken = interleaved(
            {
                "ours": (partial(FlexibleBatchSampler, table, **ALL), 1),
                "baseline": (partial(strings_of, table), 1),
                "limit": (partial(limits.sort_codes, codes), 1),
            },
            scale.budget,
            least=2 if rows > 10**6 else 3,
        )
        figure = Figure(CONSTRUCTION, "all axes", rows, "anchors", "sampler", taken)
        yield figure
        yield at_most(CONSTRUCTION, "all axes", f"times one stable argsort, N = {rows:.0e}", figure.over_limit, 2)
        for name, options in (("all axes", ALL), ("without the time axis", {"leaky": 0.1})):
            time = _first_batch(table, options, scale.budget / 8)
            yield Figure(CONSTRUCTION, f"first batch, {name}", rows, "anchors", "batch", time)
            if rows == sizes[-1]:
                yield at_most(CONSTRUCTION, f"first batch, {name}", f"seconds, N = {rows:.0e}", time["ours"], 0.5)
    for name, options in (("all axes", ALL), ("without the time axis", {"leaky": 0.1})):
        rows = sizes[-1]
        memory = added_peak("benchmarks.sampler:constructed", rows=rows, options=options)
        yield Memory(CONSTRUCTION, f"sampler and first batch, {name}", rows, "anchors", memory)
        asked = f"MB added to the table's own, N = {rows:.0e}"
        yield at_most(CONSTRUCTION, f"memory, {name}", asked, memory * 2**20 / 1e6, 400)


def _first_batch(table: pd.DataFrame, options: Mapping[str, Any], budget: float) -> dict[str, float]:
    """Return the seconds of the first batch that a sampler makes."""
    made: list[FlexibleBatchSampler] = []

    def make() -> None:
        made[:] = [FlexibleBatchSampler(table, **options)]

    return interleaved({"ours": ((lambda: next(iter(made[0]))), 1)}, budget, {"ours": make})


def constructed(rows: int, options: dict[str, Any]) -> Call:
    """Prepare a table; the call makes a sampler and its first batch."""
    table = anchors(rows)
    FlexibleBatchSampler(table.iloc[:1000], batch_size=64, **options)  # imports and caches are not the sampler's

    def work() -> object:
        sampler = FlexibleBatchSampler(table, **options)
        return sampler, next(iter(sampler))

    return work
