"""Laws 15 to 29: the same batches again, on any process, from any state, of any table that means the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from witnesses import PLAIN, case

from dynaclr_strategies.holding import hold
from dynaclr_strategies.invariants import INVARIANTS, InvariantViolation
from dynaclr_strategies.invariants.sampler_runs import transcript
from dynaclr_strategies.options import sampler_cases
from dynaclr_strategies.oracles.reference_sampler import ReferenceSampler
from dynaclr_strategies.sampler_descriptions import SamplerCase, SamplerOptions
from dynaclr_strategies.subjects.sampler import make_flexible
from dynaclr_strategies.tables import anchor_tables

ON = st.just(True)
SMALL = anchor_tables(max_strata=4, max_times=4, max_cells=3)


@given(case=sampler_cases())
def test_deterministic(case: SamplerCase) -> None:
    """Two samplers of the same arguments agree."""
    hold("deterministic", case)


CASES = [
    PLAIN,
    case(leaky=0.5, num_replicas=2, rank=1),
    case(temporal_enrichment=True, exclusive_by="lineage_id", drop_last=False),
    case(experiment_aware=False, condition_ratio=(("c", 0.3), ("d", 0.7))),
]
RUNNER = """
import json, sys
sys.path.insert(0, sys.argv[1])
from dynaclr_strategies.subjects.sampler import make_flexible
from test_sampler_reproducibility import HashedLabels
from dynaclr_strategies.invariants.sampler_runs import transcript
from dynaclr_strategies.sampler_descriptions import SamplerCase
makers = {"flexible": make_flexible, "hashed": HashedLabels}
cases = [SamplerCase.from_plain(plain) for plain in json.load(sys.stdin)]
print(json.dumps([transcript(makers[sys.argv[2]], case.frame(), case.options) for case in cases]))
"""


class HashedLabels(ReferenceSampler):
    """Takes the order of experiments from a set of strings, which changes with ``PYTHONHASHSEED``."""

    def __init__(self, table: pd.DataFrame, options: SamplerOptions) -> None:
        super().__init__(table, options)
        names = {f"experiment {number}" for number in range(20)}
        self.noticed = list(names)

    def rng(self, epoch: int, *purpose: Any) -> Any:
        """Mix the order of the set into the randomness."""
        return super().rng(epoch, self.noticed, *purpose)


def _elsewhere(maker: str, hash_seed: str) -> list[list[list[int]]]:
    """Return the batches of all cases from another process."""
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    asked = json.dumps([one.to_plain() for one in CASES])
    command = [sys.executable, "-c", RUNNER, str(Path(__file__).parent), maker]
    answer = subprocess.run(command, input=asked, capture_output=True, text=True, env=environment, check=True)
    batches: list[list[list[int]]] = json.loads(answer.stdout)
    return batches


def _check_elsewhere(maker: Any, one: SamplerCase, batches: list[list[int]]) -> None:
    check = INVARIANTS["deterministic"].check
    check(maker, one.frame(), one.options, elsewhere=lambda _table, _options: batches)


@pytest.mark.parametrize("hash_seed", ["0", "4242"])
def test_deterministic_in_another_process(hash_seed: str) -> None:
    """Another process with another hash seed yields the same batches."""
    for one, batches in zip(CASES, _elsewhere("flexible", hash_seed), strict=True):
        _check_elsewhere(make_flexible, one, batches)


def test_a_set_of_strings_is_caught_in_another_process() -> None:
    """The law notices an order that depends on the hash seed, which one process alone cannot."""
    INVARIANTS["deterministic"].check(HashedLabels, PLAIN.frame(), PLAIN.options)
    first, second = (_elsewhere("hashed", hash_seed)[0] for hash_seed in ("1", "2"))
    # This process has a hash seed of its own, which may be one of the two.
    other = first if first != transcript(HashedLabels, PLAIN.frame(), PLAIN.options) else second
    with pytest.raises(InvariantViolation, match="in another process"):
        _check_elsewhere(HashedLabels, PLAIN, other)


def test_transcripts_travel() -> None:
    """Batches survive JSON, so that what another process prints can be compared."""
    batches = transcript(make_flexible, PLAIN.frame(), PLAIN.options)
    assert json.loads(json.dumps(batches)) == batches


@given(case=sampler_cases())
def test_epochs_differ(case: SamplerCase) -> None:
    """Each epoch is a new one."""
    hold("epochs-differ", case)


@given(case=sampler_cases())
def test_epoch_kept(case: SamplerCase) -> None:
    """An epoch lasts until another one is selected."""
    hold("epoch-kept", case)


@given(case=sampler_cases())
def test_seeds_differ(case: SamplerCase) -> None:
    """Each seed is a new one, and no epoch of another."""
    hold("seeds-differ", case)


@given(case=sampler_cases())
def test_random_access(case: SamplerCase) -> None:
    """Any batch can be read without the ones before it."""
    hold("random-access", case)


@settings(max_examples=max(10, settings().max_examples // 2))
@given(case=sampler_cases(tables=SMALL))
def test_resume(case: SamplerCase) -> None:
    """A state goes on where it was taken."""
    hold("resume", case)


@given(case=sampler_cases())
def test_global_rng_untouched(case: SamplerCase) -> None:
    """Global generators play no part."""
    hold("global-rng-untouched", case)


@given(case=sampler_cases())
def test_input_untouched(case: SamplerCase) -> None:
    """The caller's table is the caller's."""
    hold("input-untouched", case)


@given(case=sampler_cases())
def test_ranks_equal_length(case: SamplerCase) -> None:
    """All ranks do the same number of steps."""
    hold("ranks-equal-length", case)


@given(case=sampler_cases())
def test_ranks_partition(case: SamplerCase) -> None:
    """Ranks share the epoch out by turns."""
    hold("ranks-partition", case)


@given(case=sampler_cases())
def test_elastic(case: SamplerCase) -> None:
    """The data do not depend on the number of ranks."""
    hold("elastic", case)


@given(case=sampler_cases())
def test_relabel(case: SamplerCase) -> None:
    """Names do not matter."""
    hold("relabel", case)


@given(case=sampler_cases(temporal_enrichment=ON))
def test_hpi_shift(case: SamplerCase) -> None:
    """The origin of time does not matter."""
    hold("hpi-shift", case)


@given(case=sampler_cases(temporal_enrichment=ON))
def test_hpi_scale(case: SamplerCase) -> None:
    """The unit of time does not matter."""
    hold("hpi-scale", case)


@given(case=sampler_cases())
def test_dtype(case: SamplerCase) -> None:
    """What holds the labels does not matter."""
    hold("dtype", case)


@given(case=sampler_cases())
def test_extra_columns(case: SamplerCase) -> None:
    """What nobody needs does not matter."""
    hold("extra-columns", case)
