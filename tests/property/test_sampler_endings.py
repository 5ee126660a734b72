"""A sampler whose epochs do not end breaks the laws that iterate it, and lets nobody wait."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, repeat
from typing import Any

import pytest
from composition_witnesses import NeverEnds
from witness_cases import ENRICHED, PLAIN, case

from dynaclr_strategies.conformance import Claims
from dynaclr_strategies.conformance.contract import Contract
from dynaclr_strategies.invariants import INVARIANTS, InvariantViolation
from dynaclr_strategies.invariants.sampler_endings import ending
from dynaclr_strategies.reproduction.elsewhere import batches_elsewhere
from dynaclr_strategies.sampler_descriptions import SamplerCase, SamplerOptions
from dynaclr_strategies.subjects import run_law


@pytest.mark.parametrize(
    "law",
    [law for law in INVARIANTS.values() if law.subject == "sampler" and law.law != "state-refused"],
    ids=lambda law: law.law,
)
def test_no_law_waits_for_the_end(law: Any) -> None:
    """All that take the batches of an epoch say that they do not end."""
    weights = (("a", 1.0), ("b", 0.0)) if law.law == "zero-weight-excluded" else None
    leak = 0.4 if law.law == "leak-uniform" else 0.0
    exclusive = "lineage_id" if law.law in {"lineage-exclusive", "relatives-alike"} else None
    plain = law.law in {"fair-pass", "passes-shuffled", "relatives-alike"}
    options = {"temporal_enrichment": not plain, "leaky": leak, "exclusive_by": exclusive}
    chosen = case(ENRICHED.table, experiment_weights=weights, **options)
    with pytest.raises(InvariantViolation, match=rf"^batches do not end: more than 1\d\d of them, .* \[{law.law}\]$"):
        run_law(law.law, chosen, NeverEnds)


class _Endless:
    """Yields the same batch over and over, and may have a length."""

    def __init__(self, length: int | None) -> None:
        self.length = length

    def __iter__(self) -> Iterator[list[int]]:
        return repeat([0])

    def __len__(self) -> int:
        if self.length is None:
            raise TypeError("nobody knows")
        return self.length


@pytest.mark.parametrize(
    ("length", "most", "expected"), [(None, 110, 5), (3, 110, 5), (2000, 4100, 2000), (2**62, 110, 5)]
)
def test_it_is_given_up_soon(length: int | None, most: int, expected: int) -> None:
    """After what the sampler announces, if a sampler can mean it, and what 32 anchors in batches of 7 come to."""
    assert PLAIN.table.size == 32
    options = SamplerOptions(batch_size=7)
    iterated = iter(ending(lambda *_: _Endless(length), "life")(PLAIN.frame(), options))
    assert len(list(islice(iterated, most))) == most
    with pytest.raises(InvariantViolation, match=f"^batches do not end: more than {most} .* an epoch's {expected} "):
        next(iterated)


def test_what_is_longer_than_an_epoch_may_end() -> None:
    """Whether its length is right is another law's business, whatever it announces."""
    for made in ([[0]] * 109, iter([[0]] * 110), [[0]] * 5000):
        assert list(ending(lambda *_, made=made: made, "life")(PLAIN.frame(), SamplerOptions(batch_size=7)))


def test_an_unclaimed_length_is_not_asked() -> None:
    """It may be about something else: the number of anchors, say."""
    contract = Contract.of(lambda *_: _Endless(2000), "x", Claims(length=False, ranks=False))
    made = ending(contract.make, "life")(PLAIN.frame(), SamplerOptions(batch_size=7))
    with pytest.raises(InvariantViolation, match="more than 110 of them"):
        list(made)


class _Noting:
    """Notes when an iteration begins."""

    def __init__(self, *_: Any) -> None:
        self.noted: list[str] = []

    def __iter__(self) -> Iterator[list[int]]:
        self.noted.append("begun")
        return iter([[0]])


def test_an_iteration_begins_when_it_is_asked_for() -> None:
    """Not with its first batch: some samplers note there how far they are."""
    made = ending(_Noting, "life")(PLAIN.frame(), PLAIN.options)
    running = iter(made)
    assert made.noted == ["begun"]
    assert list(running) == [[0]]
    assert not hasattr(made, "nothing")


def test_another_process_gives_up_too() -> None:
    """Its answer is the sentence."""
    tiny = SamplerCase(table=PLAIN.table, options=PLAIN.options)
    [answer] = batches_elsewhere([tiny], "composition_witnesses:NeverEnds")
    assert "batches do not end" in answer
