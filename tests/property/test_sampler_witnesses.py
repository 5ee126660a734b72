"""Each law of the sampler catches a sampler that breaks it, and shows which anchors of the batch are to blame."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from witnesses import WITNESSES, Witness

from dynaclr_strategies.invariants import INVARIANTS, InvariantViolation, sampler
from dynaclr_strategies.invariants.evidence import BatchEvidence, DrawsEvidence
from dynaclr_strategies.oracles.reference_sampler import ReferenceSampler
from dynaclr_strategies.oracles.sampler import CascadeOracle
from dynaclr_strategies.sampler_descriptions import SamplerCase
from dynaclr_strategies.subjects import run_law

UNNUMBERED = {
    "batch-order",
    "batches-per-epoch",
    "epoch-kept",
    "experiment-order",
    "experiment-unbiased",
    "focal-hpi-uniform",
    "focal-quota-unbiased",
    "focal-uniform",
    "leak-uniform",
    "passes-shuffled",
    "relatives-alike",
    "resume-on-ranks",
    "state-refused",
}
OF_MANY_BATCHES = {
    "batch-order",
    "condition-unbiased",
    "experiment-order",
    "experiment-share",
    "experiment-unbiased",
    "focal-hpi-uniform",
    "focal-quota-unbiased",
    "focal-uniform",
    "leak-uniform",
    "passes-shuffled",
    "plain-when-global",
    "relatives-alike",
}
LAWS = [law for law in INVARIANTS.values() if law.subject == "sampler"]


def test_the_page_has_31_laws_and_each_has_a_check() -> None:
    """Every numbered law of the page on the cascade is checked, once, under its short name."""
    assert sorted(law.number for law in LAWS if law.number is not None) == list(range(1, 32))
    assert {law.law for law in LAWS if law.number is None} == UNNUMBERED
    checks = {name: value for name, value in vars(sampler).items() if name.startswith("check_")}
    assert set(checks.values()) == {law.check for law in LAWS}
    assert set(checks) == set(sampler.__all__)


def violation(witness: Witness) -> InvariantViolation:
    """Return what the law says about its witness."""
    with pytest.raises(InvariantViolation, match=rf", but should be .* \[{witness.law}\]$") as caught:
        run_law(witness.law, witness.case, witness.sampler)
    return caught.value


@pytest.mark.parametrize("witness", WITNESSES, ids=lambda w: f"{w.law}: {w.name}")
def test_each_witness_is_caught(witness: Witness) -> None:
    """The law raises on the witness, and on the same case not on the sampler without the defect."""
    assert run_law(witness.law, witness.case, ReferenceSampler)
    caught = violation(witness)
    assert caught.law == witness.law
    assert str(caught).startswith(f"{caught.where}: {caught.seen}, but should be")
    if witness.law in OF_MANY_BATCHES and not caught.seen.startswith("an anchor"):
        assert isinstance(caught.evidence, DrawsEvidence)
        assert set(caught.evidence.anchors) <= set(range(witness.case.table.size))
        # What is said of one anchor is marked at that anchor, all else at several.
        named = re.match(r"(?:\d+ of )?anchor (\d+)", caught.seen)
        assert caught.evidence.anchors == (int(named[1]),) if named else len(caught.evidence.anchors) > 1
    elif witness.law == "life":
        batches = caught.seen.startswith("[") and caught.expected.startswith("[")
        assert isinstance(caught.evidence, BatchEvidence) == batches
    elif caught.where.startswith("batch "):
        assert isinstance(caught.evidence, BatchEvidence)
        assert caught.evidence.anchors
        assert Counter(caught.evidence.offenders) <= Counter(caught.evidence.anchors)
    else:
        assert caught.evidence is None


NAMING = ("no-needless-repeat", "focal-concentration")
"""Laws that name experiments and conditions, and apply where an axis is off."""


@pytest.mark.parametrize(
    "off", [("experiment_aware",), ("condition_balanced",), ("experiment_aware", "condition_balanced")]
)
def test_no_sentence_names_an_axis_that_is_off(off: tuple[str, ...]) -> None:
    """Nobody has an experiment or a condition that is called None."""
    beside: dict[str, Any] = {"experiment_aware": {"leaky": 0.0, "experiment_weights": None}}
    said: dict[str, list[str]] = {}
    for one in (one for one in WITNESSES if one.sampler.__module__ == "composition_witnesses"):
        options = replace(one.case.options, **dict.fromkeys(off, False), **beside.get(off[0], {}))
        for law in dict.fromkeys([one.law, *NAMING]) if isinstance(one.case, SamplerCase) else ():
            try:
                run_law(law, replace(one.case, options=options), one.sampler)
            except InvariantViolation as problem:
                said.setdefault(law, []).append(str(problem))
            except (IndexError, RuntimeError):
                continue  # a defect that needs the axis
    assert {"fair-pass", "focal-uniform", "focal-hpi-uniform", *NAMING} <= set(said)
    # What `explain` tells of an axis that is off is None.
    assert [text for law, texts in said.items() for text in texts if "None" in text and law != "explained"] == []


def innocent(evidence: BatchEvidence) -> list[int]:
    """Return the batch without those that are to blame."""
    return list((Counter(evidence.anchors) - Counter(evidence.offenders)).elements())


def one_experiment(oracle: CascadeOracle, evidence: BatchEvidence) -> bool:
    """Without those to blame, the batch is of one experiment, and none of them is of it."""
    (home,) = {oracle.group(anchor) for anchor in innocent(evidence)}
    return all(oracle.group(anchor) != home for anchor in evidence.offenders)


def too_many_of_one(oracle: CascadeOracle, evidence: BatchEvidence) -> bool:
    """Those to blame are all that a batch has of one experiment, and more than it may have."""
    (home,) = {oracle.group(anchor) for anchor in evidence.offenders}
    apart = all(oracle.group(anchor) != home for anchor in innocent(evidence))
    return apart and len(evidence.offenders) > oracle.num_primary


def full_condition(oracle: CascadeOracle, evidence: BatchEvidence) -> bool:
    """Those to blame are all that a batch has of one condition, and more than its quota."""
    (condition,) = {oracle.condition(anchor) for anchor in evidence.offenders}
    quota = oracle.quotas(oracle.group(evidence.anchors[0]))[condition]
    apart = all(oracle.condition(anchor) != condition for anchor in innocent(evidence))
    return apart and len(evidence.offenders) > math.ceil(quota)


def outside_the_window(oracle: CascadeOracle, evidence: BatchEvidence) -> bool:
    """Around the middle of the others, just those to blame lie farther away than the window."""
    hours = [oracle.hpi(anchor) for anchor in innocent(evidence)]
    middle = (min(hours) + max(hours)) / 2
    far = [anchor for anchor in evidence.anchors if abs(oracle.hpi(anchor) - middle) > 0.5]
    return sorted(far) == sorted(evidence.offenders)


def repeated(oracle: CascadeOracle, evidence: BatchEvidence) -> bool:
    """Those to blame occur more often than any other of their stratum."""
    counts, stratum = Counter(evidence.anchors), {oracle.condition(anchor) for anchor in evidence.offenders}
    others = [counts[anchor] for anchor in innocent(evidence) if oracle.condition(anchor) in stratum]
    least = min(counts[anchor] for anchor in evidence.offenders)
    return least > 1 and least > max(others)


def one_lineage(oracle: CascadeOracle, evidence: BatchEvidence) -> bool:
    """Those to blame are several, and relatives."""
    return len(evidence.offenders) > 1 and len({oracle.lineage(anchor) for anchor in evidence.offenders}) == 1


Blame = Callable[[CascadeOracle, BatchEvidence], bool]
GUILTY: dict[str, Blame] = {
    "NumpyIntegers": lambda _, evidence: type(evidence.offenders[0]) is not int,
    "OffByOne": lambda oracle, evidence: evidence.offenders == (len(oracle.rows),),
    "OneTooMany": lambda oracle, evidence: evidence.offenders == evidence.anchors[oracle.options.batch_size :],
    "MixedExperiments": one_experiment,
    "BinaryLeak": too_many_of_one,
    "LeakyZeroWeight": lambda oracle, evidence: {oracle.group(anchor) for anchor in evidence.offenders} == {"z"},
    "ConditionByDice": full_condition,
    "EnrichmentSwitchesBalancingOff": full_condition,
    "Unfocused": outside_the_window,
    "WithReplacement": repeated,
    "UnevenRepeats": repeated,
    "CarelessPasses": lambda _, evidence: evidence.anchors.count(evidence.offenders[0]) > 1,
    "FreshDrawPerBatch": lambda _, evidence: len(evidence.offenders) == 1,
    "SistersTogether": one_lineage,
    "AllPrimary": lambda oracle, evidence: len(evidence.offenders) > oracle.num_primary,
    "NothingWidened": lambda oracle, evidence: abs(oracle.hpi(evidence.offenders[0]) - 10.0) > 0.5,
    "AnyInsteadOfNearest": lambda oracle, evidence: {oracle.hpi(a) for a in evidence.offenders} == {60.0, 70.0},
    "NeverRepeated": lambda _, evidence: evidence.anchors.count(evidence.offenders[0]) > 1,
}


@pytest.mark.parametrize("name", GUILTY)
def test_those_to_blame_are_guilty(name: str) -> None:
    """The anchors that a violation points at do break the law, and the others of the batch do not."""
    witness = next(one for one in WITNESSES if one.name == name)
    caught = violation(witness)
    assert isinstance(caught.evidence, BatchEvidence)
    assert caught.evidence.offenders
    assert GUILTY[name](CascadeOracle(witness.case.frame(), witness.case.options), caught.evidence)


def test_a_batch_that_is_too_small_blames_nobody() -> None:
    """Where something is missing, it is the batch as a whole."""
    caught = violation(next(one for one in WITNESSES if one.name == "ShortLastBatch"))
    assert isinstance(caught.evidence, BatchEvidence)
    assert caught.evidence.offenders == ()
