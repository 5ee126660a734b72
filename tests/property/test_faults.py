"""Every mistake that the pages promise an error for gets it, and a mistake changes nothing."""

from __future__ import annotations

import random
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from searches import SEARCH, reached, smallest

from dynaclr.errors import DynaclrError
from dynaclr_strategies import FAULTS, INVARIANTS, InvariantViolation, faults
from dynaclr_strategies.cases import IndexCase
from dynaclr_strategies.fault_descriptions import FaultDescription, Given
from dynaclr_strategies.faults import CASES
from dynaclr_strategies.holding import hold
from dynaclr_strategies.ready_made import two_experiments
from dynaclr_strategies.sampler_descriptions import SamplerCase, SamplerOptions, StratumDescription, TableDescription
from dynaclr_strategies.subjects import SUBJECTS, run_law
from dynaclr_strategies.subjects.fault import make_given

# There are dozens of faults, each with its own examples.
FEW = settings(max_examples=max(4, settings().max_examples // 12))
SPEC = Path(__file__).resolve().parents[3] / "shared" / "spec"


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_fault_refused(name: str) -> None:
    """The error has its type, tells what is wrong in one sentence, and leaves files, tables and generators alone."""

    @FEW
    @given(case=faults(kinds=st.just(name)))
    def check(case: FaultDescription) -> None:
        hold("fault-refused", case)

    check()


# --- the strategy -----------------------------------------------------------------------------------------------------


@given(case=faults(kinds=st.sampled_from([name for name, arm in FAULTS.items() if arm.needs.endswith("table")])))
def test_faults_are_sound(case: FaultDescription) -> None:
    """A description names a fault, a place and a value that exist, breaks the case it has, and travels as JSON."""
    arm = FAULTS[case.fault]
    assert case.value in arm.values
    assert 0 <= case.place < len(arm.places(case.case))
    assert FaultDescription.from_json(case.to_json()) == case
    whole, broken = (case.given(Path("nowhere")) for _ in range(2))
    expected = case.apply(broken)
    assert expected
    assert all(problem and all(isinstance(text, str) for text in problem) for problem in expected)
    assert repr(whole.arguments) != repr(broken.arguments) or not whole.table.equals(broken.table)  # type: ignore[union-attr]


def test_faults_reach_and_shrink() -> None:
    """Late places and last values; down to the smallest case, broken at its first place with the first value."""
    # That every fault is reached is what `test_fault_refused` runs on.
    reached(faults(kinds=st.just("hpi-missing-or-not-finite")), lambda case: case.place > 5)
    reached(faults(kinds=st.just("name-no-text")), lambda case: case.value == "None" and case.place == 1)
    least = smallest(faults(kinds=st.just("leaky-out-of-range")))
    assert least == FaultDescription(
        fault="leaky-out-of-range",
        case=SamplerCase(
            table=TableDescription(strata=(StratumDescription(experiment="a", condition="c", hpi=(0.0,)),)),
            options=SamplerOptions(batch_size=1),
        ),
        value="1.0",
    )


def test_faults_of_every_kind_of_case_travel() -> None:
    """Whatever a fault is of, its description comes back from JSON and YAML as it was."""
    for name in {arm.needs: name for name, arm in FAULTS.items()}.values():
        case = find(faults(kinds=st.just(name)), lambda _: True, settings=settings(SEARCH, phases=[Phase.generate]))
        assert FaultDescription.from_json(case.to_json()) == case
        assert FaultDescription.from_yaml(case.to_yaml()) == case


def test_every_kind_of_case_is_needed() -> None:
    """Each fault says what its case has to be, and no kind of case is there for nothing."""
    assert {arm.needs for arm in FAULTS.values()} == set(CASES)


def test_a_fault_is_written_for_people() -> None:
    """A bundle gets the broken files, and says what was promised and what must be told."""
    broken = FaultDescription(fault="two-csvs", case=IndexCase(registry=two_experiments(tracks=3, size=(8, 8))))
    with tempfile.TemporaryDirectory() as folder:
        SUBJECTS["fault"].materialise(broken, Path(folder))
        assert (Path(folder) / "tracks" / "exp_alpha" / "A/1/0" / "again.csv").is_file()
        text = (Path(folder) / "fault.md").read_text(encoding="utf-8")
    assert "Exactly one CSV per FOV" in text
    assert "again.csv" in text
    with tempfile.TemporaryDirectory() as folder:
        SUBJECTS["fault"].materialise(CLEAR, Path(folder))
        assert (Path(folder) / "anchors.csv").is_file()


# --- what was promised ------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not SPEC.is_dir(), reason=f"no pages at {SPEC}")
@pytest.mark.parametrize("name", sorted(FAULTS))
def test_promises_are_quoted(name: str) -> None:
    """The words that promise the error stand on one of the pages; [...] marks what is left out."""
    pages = [" ".join((SPEC / page).read_text(encoding="utf-8").split()) for page in ("cascade.md", "pipeline.md")]
    parts = [part.strip() for part in FAULTS[name].promise.split("[...]")]
    assert any(re.search(".*?".join(map(re.escape, parts)), page) for page in pages), parts


@FEW
@given(case=faults(kinds=st.sampled_from([name for name, arm in FAULTS.items() if arm.needs.endswith("table")])))
def test_our_errors_are_of_our_type(case: FaultDescription) -> None:
    """The command line prints the sentence of a `DynaclrError`; of others it would show a stack trace."""
    broken = case.given(Path("nowhere"))
    case.apply(broken)
    with pytest.raises(DynaclrError):
        make_given(broken, case)


# --- witnesses --------------------------------------------------------------------------------------------------------

CLEAR = FaultDescription(
    fault="leaky-out-of-range",
    case=SamplerCase(
        table=TableDescription(strata=(StratumDescription(experiment="a", condition="c", hpi=(0.0, 1.0)),)),
        options=SamplerOptions(batch_size=1),
    ),
    value="1.5",
)
ON_DISK = FaultDescription(
    fault="interval-not-positive", case=IndexCase(registry=two_experiments(tracks=3, size=(8, 8))), value="0"
)
LATE = FaultDescription(
    fault="image-shrinks-after-indexing",
    case=IndexCase(registry=two_experiments(tracks=3, size=(8, 8)), yx_patch_size=(4, 4)),
    value="'y'",
)


def accepts_everything(_: Given, __: FaultDescription) -> None:
    """Check nothing."""


def refuses_everything(_: Given, __: FaultDescription) -> None:
    """Refuse what is right, too."""
    raise ValueError("leaky=1.5 needs a number in [0, 1)")


def _refusing(spoil: Callable[[DynaclrError, Given, FaultDescription], Any]) -> Callable[..., Any]:
    """Return a maker that is right but for what it does once it has found the mistake."""

    def make(given: Given, case: FaultDescription) -> Any:
        try:
            return make_given(given, case)
        except DynaclrError as error:
            spoil(error, given, case)
            raise

    make.__name__ = spoil.__name__
    make.__doc__ = spoil.__doc__
    return make


@_refusing
def another_type(error: DynaclrError, _: Given, __: FaultDescription) -> None:
    """Raise what nobody catches."""
    raise RuntimeError(str(error))


@_refusing
def no_value(error: DynaclrError, _: Given, __: FaultDescription) -> None:
    """Say nothing of what it got."""
    raise ValueError(re.sub(r"\d", "", str(error)))


@_refusing
def no_parameter(error: DynaclrError, _: Given, __: FaultDescription) -> None:
    """Say nothing of the parameter."""
    raise ValueError(re.sub("leaky|interval_minutes", "it", str(error)))


@_refusing
def several_sentences(error: DynaclrError, _: Given, __: FaultDescription) -> None:
    """Add a line that is no problem of its own."""
    raise ValueError(f"{error}\nThere may be more.")


@_refusing
def another_problem(error: DynaclrError, _: Given, __: FaultDescription) -> None:
    """List a problem that is none."""
    raise ValueError(f"{error}\n  - experiment 'exp_beta': interval_minutes is odd")


@_refusing
def writes_a_file(_: DynaclrError, given: Given, __: FaultDescription) -> None:
    """Leave a note behind."""
    (given.folder / "note.txt").write_text("broken", encoding="utf-8")


@_refusing
def changes_a_file(_: DynaclrError, given: Given, __: FaultDescription) -> None:
    """Repair the registry while it is at it."""
    (given.folder / "experiments.yml").write_text("experiments: []\n", encoding="utf-8")


@_refusing
def removes_a_file(_: DynaclrError, given: Given, __: FaultDescription) -> None:
    """Clear what is broken away."""
    (given.folder / "experiments.yml").unlink()


@_refusing
def changes_an_argument(_: DynaclrError, given: Given, __: FaultDescription) -> None:
    """Repair the argument for the next time."""
    given.arguments["leaky"] = 0.0


@_refusing
def changes_the_table(_: DynaclrError, given: Given, __: FaultDescription) -> None:
    """Set the caller's hours to 0."""
    given.table.loc[:, "hours_post_infection"] = 0.0  # type: ignore[union-attr]


@_refusing
def draws_a_number(_: DynaclrError, __: Given, ___: FaultDescription) -> None:
    """Move Python's global generator."""
    random.random()  # noqa: S311


def reads_zeros(given: Given, case: FaultDescription) -> Any:
    """Take what is not in the array for zeros."""
    try:
        return make_given(given, case)
    except DynaclrError:
        return {"anchor": 0.0}


WITNESSES: list[tuple[Callable[..., Any], FaultDescription, str]] = [
    (accepts_everything, CLEAR, "accepted, but should be a ValueError that tells leaky, 1.5"),
    (accepts_everything, ON_DISK, "accepted, but should be a ValueError that tells 'exp_alpha', interval_minutes"),
    (refuses_everything, CLEAR, "sampler without fault 'leaky-out-of-range': ValueError"),
    (another_type, CLEAR, "RuntimeError: leaky=1.5"),
    (no_value, CLEAR, "one that tells 1.5"),
    (no_parameter, CLEAR, "one that tells leaky too"),
    (no_parameter, ON_DISK, "one that tells interval_minutes too"),
    (several_sentences, CLEAR, "1 problem, one line each"),
    (another_problem, ON_DISK, "1 problem, one line each"),
    (writes_a_file, ON_DISK, "file note.txt written"),
    (changes_a_file, ON_DISK, "file experiments.yml changed"),
    (removes_a_file, ON_DISK, "file experiments.yml changed"),
    (changes_an_argument, CLEAR, "argument leaky changed"),
    (changes_the_table, CLEAR, "the table changed"),
    (draws_a_number, CLEAR, "Python's generator changed"),
    (reads_zeros, LATE, "accepted, but should be a ValueError that tells 'exp_alpha', A/1/0"),
]


@pytest.mark.parametrize(("make", "case", "seen"), WITNESSES, ids=lambda one: getattr(one, "__name__", None))
def test_each_witness_is_caught(make: Callable[..., Any], case: FaultDescription, seen: str) -> None:
    """The law raises on what refuses badly, and not on our own."""
    assert run_law("fault-refused", case)
    with pytest.raises(InvariantViolation) as caught:
        run_law("fault-refused", case, make)
    assert seen in str(caught.value)
    assert caught.value.law == "fault-refused"


def test_the_law_is_one_sentence() -> None:
    """Its docstring says it, and its name is the law's."""
    law = INVARIANTS["fault-refused"]
    assert law.check.__name__ == "check_fault_refused"
    assert re.fullmatch(r"[A-Z][^.\n]*\.", (law.check.__doc__ or "").partition("\n\n")[0])
