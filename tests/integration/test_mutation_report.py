"""The report of the mutation tests: what counts as killed, and that the list of equivalents stays true."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from mutation.equivalents import Equivalent, EquivalentsError, is_equivalent, read_equivalents, stale
from mutation.report import Report, make_report, score
from mutation.results import Mutant, changed_lines, module_name

DIFF = """--- src/dynaclr/sampler.py
+++ src/dynaclr/sampler.py
@@ -3,5 +3,5 @@
 def f(x):
     y = [
-        x + 1,
-        2,
+        x - 1,
     ]
"""


@dataclass(frozen=True)
class Changed:
    """A mutant whose change is given, not read from the mutated tree."""

    status: str
    added: str = "b"
    module: str = "sampler"
    function: str = "f"
    name: str = "dynaclr.sampler.x_f__mutmut_1"
    diff: str = "the diff"

    @property
    def change(self) -> tuple[str, str]:
        """The lines removed and the lines added."""
        return "a", self.added


def written(folder: Path, text: str) -> Path:
    """Write a list of equivalents."""
    path = folder / "equivalent.toml"
    path.write_text(text)
    return path


def entry(added: str = "b", module: str = "sampler") -> Equivalent:
    """Return an entry of the list."""
    return Equivalent(module, "f", "a", added, "nothing depends on it")


def reported(*found: Changed, listed: tuple[Equivalent, ...] = (), modules: tuple[str, ...] = ()) -> Report:
    """Return the report on some mutants."""
    return make_report(list(found), listed, list(modules))  # type: ignore[arg-type]


def test_the_change_is_what_stays_when_a_function_moves() -> None:
    """Neither numbers nor indentation nor the lines around belong to a change."""
    assert changed_lines(DIFF) == ("x + 1,\n2,", "x - 1,")


@pytest.mark.parametrize(
    ("name", "function"), [("x_f__mutmut_3", "f"), ("xǁSamplerǁ__iter____mutmut_12", "Sampler.__iter__")]
)
def test_a_mutant_knows_its_function(name: str, function: str) -> None:
    """The function of a mutant is named as in the code."""
    mutant = Mutant(f"dynaclr.cascade.axes.{name}", Path("src/dynaclr/cascade/axes.py"), "killed")
    assert (mutant.module, mutant.function) == ("cascade.axes", function)


def test_module_names_lack_the_package() -> None:
    """Modules are named as on the command line."""
    assert module_name(Path("src/dynaclr/sampler.py")) == "sampler"


def test_the_score_leaves_equivalents_out() -> None:
    """The score is of what can be killed; a timeout kills, and a mutant that no test reaches lives."""
    counts = Counter({"killed": 17, "timeout": 2, "survived": 0, "no tests": 1, "equivalent": 50})
    assert score(counts) == 95.0


def test_each_mutant_is_counted_once() -> None:
    """Each mutant is in one column."""
    statuses = ["killed", "suspicious", "segfault", "timeout", "survived", "no tests", "not checked"]
    report = reported(*map(Changed, statuses))
    assert report.total == Counter({"killed": 3, "timeout": 1, "survived": 1, "no tests": 1, "not checked": 1})
    assert [mutant.status for mutant in report.survivors] == ["survived", "no tests"]
    assert not report.passes


def test_a_listed_survivor_is_equivalent() -> None:
    """What is listed is neither in the score nor shown; what differs from it by one word is."""
    report = reported(Changed("survived"), Changed("survived", "c"), Changed("killed", "d"), listed=(entry(),))
    assert report.total == Counter({"equivalent": 1, "survived": 1, "killed": 1})
    assert [mutant.change[1] for mutant in report.survivors] == ["c"]


@pytest.mark.parametrize("found", [(), (Changed("killed"),), (Changed("survived", "c"), Changed("timeout"))])
def test_an_entry_that_is_of_no_living_mutant_fails(found: tuple[Changed, ...]) -> None:
    """An entry whose mutant is gone, or is killed, makes the report fail."""
    report = reported(*found, *[Changed("killed", "z")] * 99, listed=(entry(),))
    assert report.stale == [entry()]
    assert not report.passes
    assert "killed or gone: sampler f" in str(report)


def test_entries_of_other_modules_are_not_stale() -> None:
    """A report on some modules says nothing about the entries of the others."""
    assert not stale([entry(module="index")], [], ["sampler"])
    assert stale([entry(module="index")], [], ["index"])
    assert not is_equivalent(Changed("survived"), [entry(module="index")])


@pytest.mark.parametrize(("killed", "passes"), [(95, True), (94, False)])
def test_passes_from_95_percent_on(killed: int, passes: bool) -> None:
    """95 of 100 suffice, 94 do not."""
    report = reported(*[Changed("killed")] * killed, *[Changed("survived")] * (100 - killed))
    assert report.passes is passes


def test_the_report_ends_with_the_table() -> None:
    """Survivors come with their diffs, and the table comes last."""
    lines = str(reported(Changed("survived"), Changed("killed", "c"))).splitlines()
    assert lines[:2] == ["dynaclr.sampler.x_f__mutmut_1: survived", "the diff"]
    assert lines[-1].split("|")[1:-1][0].strip() == "all"
    assert lines[-1].split("|")[-2].strip() == "50.0 %"


GROUP = """[[equivalent]]
module = "sampler"
function = "f"
why = "{why}"
mutants = [["a", "b"], ["  x\\n  y", "c"]]
"""


def test_a_list_is_read(tmp_path: Path) -> None:
    """Mutants with one reason share a group; lines are compared without indentation."""
    listed = read_equivalents(written(tmp_path, GROUP.format(why="nothing depends on it")))
    assert listed == [entry(), Equivalent("sampler", "f", "x\ny", "c", "nothing depends on it")]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (GROUP.format(why=" "), "lacks a reason"),
        (GROUP.format(why="so").replace('why = "so"\n', ""), "lacks why"),
        (GROUP.format(why="so") * 2, "listed twice"),
    ],
)
def test_a_list_without_reasons_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    """Each entry gives its reason, and is given once."""
    with pytest.raises(EquivalentsError, match=problem):
        read_equivalents(written(tmp_path, text))


def test_our_list_can_be_read() -> None:
    """The list in the repository is well-formed."""
    read_equivalents(Path(__file__).parents[1] / "mutation" / "equivalent.toml")
