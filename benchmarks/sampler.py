"""The sampler's speed: batches per second against the size of the table, and construction against one lexsort.

Run ``python benchmarks/sampler.py [N ...]``; by default N is 100,000 and 10,000,000.
"""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd

from dynaclr.sampler import FlexibleBatchSampler

EXPERIMENTS, CONDITIONS, TIMES = 20, 3, 96
ALL: dict[str, Any] = {"leaky": 0.1, "temporal_enrichment": True}
OPTIONS: dict[str, tuple[dict[str, Any], int]] = {  # what to switch on, and how many batches to time
    "all axes": (ALL, 4000),
    "no time axis": ({"leaky": 0.1}, 4000),
    "all axes, exclusive lineages": ({**ALL, "exclusive_by": "lineage_id"}, 500),
}


def anchors(rows: int) -> pd.DataFrame:
    """Return a table of so many anchors, as an index makes it: categorical labels, lineages inside one stratum."""
    rng = np.random.default_rng(0)
    stratum = np.sort(rng.integers(0, EXPERIMENTS * CONDITIONS, rows))
    return pd.DataFrame(
        {
            "experiment": pd.Categorical.from_codes(stratum // CONDITIONS, [f"exp_{i:02}" for i in range(EXPERIMENTS)]),
            "condition": pd.Categorical.from_codes(stratum % CONDITIONS, ["infected", "mock", "uninfected"]),
            "hours_post_infection": rng.integers(0, TIMES, rows) * 0.5,
            "lineage_id": stratum * rows + np.arange(rows) // 40,
        }
    )


def seconds(work: Callable[[], object]) -> float:
    """Return how long one call takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def rate(sampler: FlexibleBatchSampler, count: int) -> tuple[float, float]:
    """Return seconds until the first batch, and batches per second for `count` more."""

    def endless() -> Iterator[list[int]]:
        epoch = 0
        while True:
            sampler.set_epoch(epoch)
            yield from sampler
            epoch += 1

    batches = endless()
    first = seconds(lambda: next(batches))
    return first, count / seconds(lambda: sum(1 for _ in islice(batches, count)))


def main() -> None:
    """Print the table."""
    sizes = [int(float(size)) for size in sys.argv[1:]] or [100_000, 10_000_000]
    rates: dict[tuple[str, int], float] = {}
    for size in sizes:
        table = anchors(size)
        codes = [table["hours_post_infection"].to_numpy(), table["condition"].cat.codes, table["experiment"].cat.codes]
        sort = min(seconds(lambda codes=codes: np.lexsort(codes)) for _ in range(2))
        for name, (options, count) in OPTIONS.items():
            make = partial(FlexibleBatchSampler, table, batch_size=128, **options)
            built = min(seconds(make) for _ in range(2))
            first, rates[name, size] = rate(make(), count)
            print(
                f"N={size:>10,}  {name:<30}{rates[name, size]:>9,.0f} batches/s"
                f"  construction {built / sort:.2f} x lexsort ({built:.3f} s)  first batch {first:.3f} s"
            )
        tracemalloc.start()
        sampler = FlexibleBatchSampler(table, batch_size=128, **ALL)
        next(iter(sampler))
        peak = tracemalloc.get_traced_memory()[1] / 1e6
        print(f"N={size:>10,}  all axes: memory peak {peak:.0f} MB above the table's own")
        tracemalloc.stop()
    for name in OPTIONS:
        print(
            f"{name}: rate at N={sizes[-1]:,} is {rates[name, sizes[-1]] / rates[name, sizes[0]]:.2f} of N={sizes[0]:,}"
        )


if __name__ == "__main__":
    main()
