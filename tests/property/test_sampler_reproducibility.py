"""Laws 15 to 29: the same batches again, on any process, from any state, of any table that means the same."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest import SkipTest

import numpy as np
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
from dynaclr_strategies.reproduction.attached import FailedCase, leaves
from dynaclr_strategies.reproduction.elsewhere import ElsewhereError, batches_elsewhere, check_elsewhere
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


HASHED = "test_sampler_reproducibility:HashedLabels"


class HashedLabels(ReferenceSampler):
    """Takes the order of experiments from a set of strings, which changes with ``PYTHONHASHSEED``."""

    def __init__(self, table: pd.DataFrame, options: SamplerOptions) -> None:
        super().__init__(table, options)
        names = {f"experiment {number}" for number in range(20)}
        self.noticed = list(names)

    def rng(self, epoch: int, *purpose: Any) -> Any:
        """Mix the order of the set into the randomness."""
        return super().rng(epoch, self.noticed, *purpose)


@pytest.mark.parametrize("hash_seed", ["0", "4242"])
def test_deterministic_in_another_process(hash_seed: str) -> None:
    """Another process with another hash seed yields the same batches."""
    maker = f"{make_flexible.__module__}:make_flexible"
    for one, batches in zip(CASES, batches_elsewhere(CASES, maker, hash_seed=hash_seed), strict=True):
        assert batches == transcript(make_flexible, one.frame(), one.options)


def test_a_set_of_strings_is_caught_in_another_process() -> None:
    """The law notices an order that depends on the hash seed, which one process alone cannot."""
    INVARIANTS["deterministic"].check(HashedLabels, PLAIN.frame(), PLAIN.options)
    with pytest.raises(InvariantViolation, match="in another process") as caught:
        check_elsewhere(CASES, HashedLabels, maker=HASHED)
    assert leaves(caught.value) == [(caught.value, FailedCase("deterministic", CASES[0], HASHED))]


def test_another_process_without_epochs() -> None:
    """There the method is not called."""
    (batches,) = batches_elsewhere(CASES[:1], HASHED, epochs=False)
    assert len(batches) == PLAIN.table.size // PLAIN.options.batch_size


@pytest.mark.parametrize(
    ("maker", "patience", "sentence"),
    [
        (
            "nowhere:make",
            60.0,
            "another process cannot make the sampler: sampler='nowhere:make' needs",
        ),
        (HASHED, 0.01, "another process did not answer within 0.01 s"),
    ],
)
def test_another_process_that_does_not_answer(maker: str, patience: float, sentence: str) -> None:
    """One sentence says why."""
    with pytest.raises(ElsewhereError, match=sentence):
        batches_elsewhere(CASES, maker, patience=patience)


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
def test_state_refused(case: SamplerCase) -> None:
    """A state of another table or of other options is refused."""
    hold("state-refused", case)


class WithoutBatches(ReferenceSampler):
    """Has no batches from its fourth epoch on, or none at all."""

    FIRST_WITHOUT = 0

    def __iter__(self) -> Iterator[list[int]]:
        return iter([]) if self.epoch >= self.FIRST_WITHOUT else super().__iter__()


class WithoutLaterBatches(WithoutBatches):
    """Has three epochs."""

    FIRST_WITHOUT = 3


@pytest.mark.parametrize(
    ("law", "sampler", "where"),
    [
        ("epochs-differ", WithoutBatches, "epochs 0 and 1 of every 12"),
        ("epochs-differ", WithoutLaterBatches, "epochs 3 and 4 of every 12"),
        ("seeds-differ", WithoutBatches, "epoch 0 of seed 0 and epoch 0 of seed 1"),
        ("seeds-differ", WithoutLaterBatches, "epoch 3 of seed 0 and epoch 3 of seed 1"),
    ],
)
def test_no_batches_are_not_called_the_same(law: str, sampler: type[ReferenceSampler], where: str) -> None:
    """Nobody looks for a seed where there is nothing to draw."""
    with pytest.raises(InvariantViolation) as caught:
        INVARIANTS[law].check(sampler, PLAIN.frame(), PLAIN.options)
    assert caught.value.where.startswith(where)
    assert (caught.value.seen, caught.value.expected) == ("no batches", "some, and different ones")


@pytest.mark.parametrize("law", ["resume", "resume-on-ranks"])
def test_no_batches_can_be_resumed(law: str) -> None:
    """That there are none is what `batches-per-epoch` says; here nothing is raised that nobody understands."""
    INVARIANTS[law].check(WithoutBatches, PLAIN.frame(), PLAIN.options)
    with pytest.raises(InvariantViolation, match="epoch 0: 0 batches of 6 out of 32 anchors"):
        INVARIANTS["batches-per-epoch"].check(WithoutBatches, PLAIN.frame(), PLAIN.options)


class OfLegacySeeds(ReferenceSampler):
    """Takes the seeds that NumPy's old generators take, and an epoch that somebody trains to."""

    def __init__(self, table: pd.DataFrame, options: SamplerOptions) -> None:
        super().__init__(table, options)
        np.random.RandomState(options.seed)

    def set_epoch(self, epoch: int) -> None:
        """Refuse the millionth."""
        assert epoch < 100_000
        super().set_epoch(epoch)


@pytest.mark.parametrize("law", ["seeds-differ", "epochs-differ", "state-refused"])
@pytest.mark.parametrize("seed", [0, 2**32 - 100, 2**32 - 1])
def test_no_law_asks_for_seeds_that_the_strategies_do_not_draw(law: str, seed: int) -> None:
    """Some generators take 32 bits, and nobody trains for a million epochs."""
    INVARIANTS[law].check(OfLegacySeeds, PLAIN.frame(), replace(PLAIN.options, seed=seed))


class InPairs(ReferenceSampler):
    """Is made for even batch sizes alone."""

    def __init__(self, table: pd.DataFrame, options: SamplerOptions) -> None:
        if options.batch_size % 2:
            raise ValueError("batch_size must be even")
        super().__init__(table, options)


def test_a_state_needs_no_refusal_by_samplers_that_cannot_be() -> None:
    """A batch size that the sampler is not made for is no other one to mistake a state for."""
    case_of_pairs = case(batch_size=4)
    INVARIANTS["state-refused"].check(InPairs, case_of_pairs.frame(), case_of_pairs.options)


@settings(max_examples=max(10, settings().max_examples // 2))
@given(case=sampler_cases(tables=SMALL))
def test_resume_on_ranks(case: SamplerCase) -> None:
    """It goes on with other processes too."""
    hold("resume-on-ranks", case)


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


class TakesConditions(ReferenceSampler):
    """Looks at the conditions, whether they are balanced or not, and at nothing but objects."""

    PROBLEM: type[Exception] = TypeError

    def __init__(self, table: pd.DataFrame, options: SamplerOptions) -> None:
        super().__init__(table, options)
        if table["condition"].dtype != object:
            raise self.PROBLEM("no objects")


class LacksAPackage(TakesConditions):
    """Would need one for other columns."""

    PROBLEM = ImportError


class IsSkipped(TakesConditions):
    """Skips the test of other columns."""

    PROBLEM = SkipTest


def test_what_a_change_of_the_table_raises_is_told_with_the_change() -> None:
    """A KeyError alone would not say that the law has left the column out."""
    plain = case(condition_balanced=False)
    with pytest.raises(InvariantViolation) as caught:
        INVARIANTS["extra-columns"].check(TakesConditions, plain.frame(), plain.options)
    left_out = "condition, organelle, moi, hours_post_infection, lineage_id"
    assert caught.value.where == f"a sampler without the columns {left_out}, which no axis works on"
    assert (caught.value.seen, caught.value.expected) == ("KeyError: 'condition'", "the same batches")
    with pytest.raises(InvariantViolation, match="a sampler with string columns: TypeError: no objects, but should be"):
        INVARIANTS["dtype"].check(TakesConditions, PLAIN.frame(), PLAIN.options)
    for sampler in (LacksAPackage, IsSkipped):  # which say something about the machine, or about the test
        with pytest.raises(sampler.PROBLEM):
            INVARIANTS["dtype"].check(sampler, PLAIN.frame(), PLAIN.options)


class FailsElsewhere(ReferenceSampler):
    """Works where it is asked first, and raises in any other process."""

    home = os.environ.get("FAILS_ELSEWHERE_HOME")

    def __init__(self, table: pd.DataFrame, options: SamplerOptions) -> None:
        super().__init__(table, options)
        if self.home:
            raise RuntimeError("no batches here")


def test_what_raises_in_another_process_only_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not count as untried."""
    monkeypatch.setenv("FAILS_ELSEWHERE_HOME", "set")
    with pytest.raises(InvariantViolation, match=r"another process: RuntimeError: no batches here, but should be"):
        check_elsewhere(CASES[:1], FailsElsewhere, maker="test_sampler_reproducibility:FailsElsewhere")
