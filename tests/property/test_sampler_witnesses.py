"""No law is vacuous: each is listed, says what it is, and catches a sampler that breaks it."""

from __future__ import annotations

import inspect
import re

import pytest
from witnesses import WITNESSES, Witness

from dynaclr_strategies.invariants import INVARIANTS, Invariant, InvariantViolation, sampler
from dynaclr_strategies.oracles.reference_sampler import ReferenceSampler
from dynaclr_strategies.oracles.sampler import CascadeOracle

UNNUMBERED = {"focal-hpi-uniform", "focal-quota-unbiased", "focal-uniform", "leak-uniform"}
LAWS = [law for law in INVARIANTS.values() if law.subject == "sampler"]


def test_the_page_has_31_laws_and_each_has_a_check() -> None:
    """Every numbered law of the page on the cascade is checked, once, under its short name."""
    assert sorted(law.number for law in LAWS if law.number is not None) == list(range(1, 32))
    assert {law.law for law in LAWS if law.number is None} == UNNUMBERED
    checks = {name: value for name, value in vars(sampler).items() if name.startswith("check_")}
    assert set(checks.values()) == {law.check for law in LAWS}
    assert set(checks) == set(sampler.__all__)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.law)
def test_each_law_is_one_sentence(law: Invariant) -> None:
    """The docstring of a check is the law in one sentence, and its name is the law's."""
    assert law.check.__name__ == f"check_{law.law.replace('-', '_')}"
    first = (inspect.getdoc(law.check) or "").partition("\n\n")[0]
    assert re.fullmatch(r"[A-Z`][^.]*(\.[^ .][^.]*)*\.", first), first
    assert "\n" not in first


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.law)
def test_each_law_has_a_witness(law: Invariant) -> None:
    """There is a broken sampler for every law."""
    assert any(witness.law == law.law for witness in WITNESSES)


@pytest.mark.parametrize("witness", WITNESSES, ids=lambda w: f"{w.law}: {w.sampler.__name__}")
def test_each_witness_is_caught(witness: Witness) -> None:
    """The law raises on the witness, and on the same case not on the sampler without the defect."""
    law, table, options = INVARIANTS[witness.law], witness.case.frame(), witness.case.options
    assert law.applies(CascadeOracle(table, options))
    law.check(ReferenceSampler, table.copy(), options)
    with pytest.raises(InvariantViolation, match=rf", but should be .* \[{witness.law}\]$") as caught:
        law.check(witness.sampler, table.copy(), options)
    assert caught.value.law == witness.law
    assert str(caught.value).startswith(f"{caught.value.where}: {caught.value.seen}, but should be")
