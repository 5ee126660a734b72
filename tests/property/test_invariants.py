"""No law is vacuous or nameless: each is listed, says in one sentence what it is, and has a witness that it catches.

That the witnesses are caught is tested beside them, in the file of their subject.
"""

from __future__ import annotations

import importlib
import inspect
import pickle
import re

import pytest
from write_invariants_page import all_witnesses

from dynaclr_strategies import invariants
from dynaclr_strategies.invariants import INVARIANTS, Invariant, InvariantViolation
from dynaclr_strategies.invariants.evidence import BatchEvidence
from dynaclr_strategies.invariants_page import SUBJECTS as ON_THE_PAGE
from dynaclr_strategies.subjects import SUBJECTS

WITNESSES = all_witnesses()
every_law = pytest.mark.parametrize("law", INVARIANTS.values(), ids=INVARIANTS)


@every_law
def test_each_law_is_one_sentence(law: Invariant) -> None:
    """The docstring of a check is the law in one sentence, and its name is the law's."""
    assert law.check.__name__ == f"check_{law.law.replace('-', '_')}"
    first = (inspect.getdoc(law.check) or "").partition("\n\n")[0]
    assert re.fullmatch(r"[A-Z`][^.]*(\.[^ .][^.]*)*\.", first), first
    assert "\n" not in first


@every_law
def test_each_law_says_when_it_applies(law: Invariant) -> None:
    """In words, which are more than "always" where some cases are left out."""
    assert law.when
    assert not law.when.endswith(".")


@every_law
def test_each_law_has_a_witness(law: Invariant) -> None:
    """There is something broken for every law, and most often it says what is wrong with it beyond its name."""
    witnesses = WITNESSES.get(law.law, [])
    assert witnesses
    assert any(one.sentence for one in witnesses)
    for one in witnesses:
        assert re.fullmatch(r"([A-Z`].*\.)?", one.sentence), f"{one.name}: {one.sentence!r}"


@every_law
def test_each_law_is_exported(law: Invariant) -> None:
    """It can be imported from a public module of the invariants."""
    module = importlib.import_module(law.check.__module__)
    assert law.check.__name__ in module.__all__
    public = [getattr(invariants, name) for name in invariants.__all__ if inspect.ismodule(getattr(invariants, name))]
    assert any(getattr(one, law.check.__name__, None) is law.check for one in public)


def test_witnesses_are_of_laws() -> None:
    """No witness is left over from a law that is no more."""
    assert set(WITNESSES) <= set(INVARIANTS)


def test_each_subject_is_on_the_page() -> None:
    """The page says what each subject is, and there are no others."""
    assert set(ON_THE_PAGE) == set(SUBJECTS) == {law.subject for law in INVARIANTS.values()}


def test_a_violation_travels_with_its_evidence() -> None:
    """Workers of pytest-xdist send it through a pipe."""
    violation = InvariantViolation("batch 0", "1", "2", "resume", evidence=BatchEvidence((1, 2), (2,)))
    again = pickle.loads(pickle.dumps(violation))  # noqa: S301 - our own
    assert (str(again), again.evidence) == ("batch 0: 1, but should be 2 [resume]", violation.evidence)
