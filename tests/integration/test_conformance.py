"""The laws on anybody's sampler: claims, lists of known failures, adapters, and the command itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from dynaclr_strategies.conformance import AXES, Claims, ContractError
from dynaclr_strategies.conformance.adapters import (
    metric_learning_m_per_class,
    torch_batches,
    torch_distributed,
    viscy_flexible,
)
from dynaclr_strategies.conformance.contract import METHODS, Contract, contract_of
from dynaclr_strategies.conformance.plans import LAWS, PLANS, drawn_cases, why_not
from dynaclr_strategies.conformance.sentences import case_in_words, problem_in_words
from dynaclr_strategies.conformance.xfails import read_xfails
from dynaclr_strategies.invariants import INVARIANTS, InvariantViolation
from dynaclr_strategies.oracles.reference_sampler import ReferenceSampler
from dynaclr_strategies.sampler_descriptions import SamplerCase, SamplerOptions, StratumDescription, TableDescription
from dynaclr_strategies.subjects import run_law
from dynaclr_strategies.subjects.sampler import make_flexible

PACKAGE = "dynaclr_strategies.conformance"
ADAPTERS = f"{PACKAGE}.adapters"
PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"

# --- claims -----------------------------------------------------------------------------------------------------------

NO_AXES = Claims(axes=())


def claims() -> st.SearchStrategy[Claims]:
    """Strategy for claims.

    Generates all subsets of axes and flags, promises that they are consistent, and shrinks towards no axes.
    """
    return st.builds(
        lambda axes, always, ranks, last_batch: Claims(
            axes=axes, always=sorted(always & axes), ranks=ranks, last_batch=last_batch
        ),
        axes=st.frozensets(st.sampled_from(sorted(AXES))).map(_with_what_it_needs),
        always=st.frozensets(st.sampled_from(("experiment", "condition", "time", "exclusive"))),
        ranks=st.booleans(),
        last_batch=st.booleans(),
    )


def _with_what_it_needs(axes: frozenset[str]) -> frozenset[str]:
    needed = {"experiment"} if axes & {"leak", "weights"} else set()
    return axes | needed | ({"condition"} if "ratio" in axes else set())


@settings(max_examples=max(10, settings().max_examples // 2))
@given(claimed=claims(), law=st.sampled_from(LAWS), data=st.data())
def test_drawn_cases_fit_the_claims(claimed: Claims, law: str, data: st.DataObject) -> None:
    """A sampler is never asked for what it does not claim, nor without what is always on; our own takes it."""
    if why_not(law, Contract.of(make_flexible, "ours", claimed).claims) is not None:
        return
    case = data.draw(drawn_cases(law, claimed))
    options, plan = case.options, PLANS.get(law)
    asked = {
        "experiment": options.experiment_aware,
        "leak": options.leaky > 0,
        "weights": options.experiment_weights is not None,
        "condition": options.condition_balanced,
        "ratio": options.condition_ratio is not None,
        "time": options.temporal_enrichment,
        "exclusive": options.exclusive_by is not None,
        "columns": (options.group_by, options.stratify_by) != (("experiment",), ("condition",)),
    }
    on = {axis for axis, is_on in asked.items() if is_on}
    assert on <= set(claimed.axes)
    assert on >= set(claimed.always)
    assert claimed.ranks or options.num_replicas is None
    assert claimed.last_batch or options.drop_last
    assert plan is None or (on.isdisjoint(plan.off) and on >= plan.on - {"leak"})
    make_flexible(case.frame(), options)


def test_plans_are_about_laws() -> None:
    """No plan, and no claim, is about something that is not there."""
    assert set(PLANS) <= set(LAWS)
    assert {axis for plan in PLANS.values() for axis in plan.on | plan.off} <= set(AXES)
    fields = set(Claims.__dataclass_fields__)
    assert set(METHODS) | {need for plan in PLANS.values() for need in plan.needs} <= fields
    methods = {method for names in METHODS.values() for method in names}
    assert {need for law in LAWS for need in INVARIANTS[law].needs} <= methods | fields


def test_claims_are_derived_from_methods() -> None:
    """What a sampler has methods for it claims, unless somebody says otherwise."""
    assert all(why_not(law, Contract.of(make_flexible, "ours").claims) is None for law in LAWS)
    assert all(why_not(law, Contract.of(ReferenceSampler, "theirs").claims) is None for law in LAWS)
    bare = Contract.of(lambda table, _options: [[0]] * len(table), "bare", NO_AXES).claims
    assert bare.length
    assert {bare.epochs, bare.resume, bare.explain, bare.random_access} == {False}
    assert why_not("random-access", bare) == "no epochs, no random_access"
    assert why_not("leak-exact", bare) == "no axis 'experiment', no axis 'leak'"
    assert why_not("fair-pass", Claims(always=["time"])) == "axis 'time' always on"
    assert why_not("fair-pass", Claims(without={"fair-pass": "draws with replacement"})) == "draws with replacement"


def test_what_is_not_claimed_does_not_show() -> None:
    """A method of the same name may be about something else."""
    case = NO_AXES.plain
    shown = Contract.of(ReferenceSampler, "x", Claims(explain=False, resume=False)).make(case.frame(), case.options)
    assert not hasattr(shown, "explain")
    assert not hasattr(shown, "state_dict")
    assert shown.batch(0) == next(iter(shown))
    assert len(shown) == len(list(shown))


def _one_argument(table: pd.DataFrame) -> list[int]:
    return list(table.index)


@pytest.mark.parametrize(
    ("make", "claimed", "sentence"),
    [
        (_one_argument, None, r"needs to take \(table, options\).* raised TypeError: .*positional"),
        (lambda _table, _options: 5, None, "returned 5, but needs to return an iterable of batches"),
        (lambda _table, _options: [[0]], Claims(epochs=True), "claims epochs, but the list that it makes needs set_ep"),
        (make_flexible, "all", "claims='all' of sampler='m:f' needs to be a Claims"),
        (viscy_flexible, None, "ImportError: VisCy's FlexibleBatchSampler is in none of .*; install viscy"),
    ],
)
def test_a_sampler_that_cannot_be_tested(make: Any, claimed: Any, sentence: str) -> None:
    """One sentence says why."""
    with pytest.raises(ContractError, match=sentence):
        Contract.of(make, "m:f", claimed)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"axes": ["colour"]}, "needs to be a collection of names out of"),
        ({"axes": "time"}, "axes='time' needs to be a collection"),
        ({"axes": ["leak"]}, "has 'leak', but needs 'experiment' with it"),
        ({"axes": ["time"], "always": ["condition"]}, r"always=\['condition'\] needs to be a collection of those of"),
        ({"without": {"fair-play": "no"}}, "has 'fair-play', but needs laws of the sampler"),
    ],
)
def test_claims_that_cannot_be(wrong: dict[str, Any], sentence: str) -> None:
    """One sentence says why."""
    with pytest.raises(ContractError, match=sentence):
        Claims(**wrong)


# --- words ------------------------------------------------------------------------------------------------------------


def test_an_example_is_one_line() -> None:
    """It names anchors, and the options that do not go without saying."""
    table = TableDescription(
        strata=(StratumDescription(experiment="a", condition="c", hpi=(1.0, 0.0), cells=2, moi=0.5, lineages=3),),
        labels="arrow",
    )
    case = SamplerCase(table=table, options=SamplerOptions(batch_size=2, drop_last=False))
    words = "4 x a/c/moi 0.5 at 0, 1 h in 3 lineages, labels='arrow'; batch_size=2, drop_last=False"
    assert case_in_words(case, SamplerOptions()) == words
    many = SamplerCase(table=TableDescription(strata=table.strata * 5), options=case.options)
    assert case_in_words(many, case.options) == "20 anchors in 5 strata of 1 experiment; batch_size=2"
    assert problem_in_words(InvariantViolation("x", "1\n 2", "3", "elastic")) == "x: 1 2, but should be 3"
    assert problem_in_words(ValueError("a\nb")) == "ValueError: a b"
    assert len(problem_in_words(ValueError("x" * 1000))) == 200


# --- known failures ---------------------------------------------------------------------------------------------------


def test_known_failures_are_read() -> None:
    """Laws and reasons; comments and blank lines say nothing."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "xfails.txt")
        path.write_text("# ours\n\nelastic  # by rank # really\nresume# no state\n", encoding="utf-8")
        assert read_xfails(path, LAWS) == {"elastic": "by rank # really", "resume": "no state"}
        path.write_text("elastic # by rank", encoding="utf-8-sig")  # as editors on Windows do
        assert read_xfails(path, LAWS) == {"elastic": "by rank"}
        with pytest.raises(ContractError, match="cannot be read"):
            read_xfails(Path(folder, "nothing"), LAWS)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("\nelastics  # x", "line 2: 'elastics' is no law of the sampler; did you mean 'elastic'"),
        ("zzz  # x", "line 1: 'zzz' is no law of the sampler; it needs one of indices-in-range, "),
        ("elastic", "line 1: 'elastic' needs a reason"),
        ("elastic # x\nelastic # y", "line 2: 'elastic' is listed already"),
    ],
)
def test_a_list_that_cannot_be(text: str, sentence: str) -> None:
    """One sentence says which line and why."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "xfails.txt")
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ContractError, match=sentence):
            read_xfails(path, LAWS)


# --- adapters ---------------------------------------------------------------------------------------------------------


def _documented() -> list[tuple[str, str]]:
    """Return adapter and law of each known failure on the page."""
    blocks = re.findall(rf"```text\n# {ADAPTERS}:(\w+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    listed = []
    with tempfile.TemporaryDirectory() as folder:
        for adapter, text in blocks:
            path = Path(folder, adapter)
            path.write_text(text, encoding="utf-8")
            listed += [(adapter, law) for law in read_xfails(path, LAWS)]
    return listed


def test_the_page_lists_all_adapters_that_can_run_here() -> None:
    """Each block of the page is found."""
    makers = (torch_batches, torch_distributed, metric_learning_m_per_class)
    assert {adapter for adapter, _ in _documented()} == {maker.__name__ for maker in makers}


@pytest.mark.parametrize(("adapter", "law"), _documented())
def test_documented_failures_are_real(adapter: str, law: str) -> None:
    """The adapter breaks what the page says that it breaks."""
    contract = Contract.of(globals()[adapter], adapter)
    assert why_not(law, contract.claims) is None

    @settings(max_examples=200, phases=[Phase.generate], database=None, deadline=None)
    @given(case=drawn_cases(law, contract.claims))
    def holds(case: SamplerCase) -> None:
        run_law(law, case, contract.make)

    with pytest.raises((InvariantViolation, ExceptionGroup)):
        holds()


# --- the command ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """What a command said."""

    code: int
    out: str
    err: str

    def line(self, law: str) -> str:
        """Return the line of a law on the scoreboard."""
        (line,) = re.findall(rf"^{law} .*$", self.out, re.MULTILINE)
        return str(line)


def run_pytest(folder: Path, *arguments: str) -> Run:
    """Run pytest in a folder of its own."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--hypothesis-seed=0", *arguments]
    environment = {name: value for name, value in os.environ.items() if name not in {"CI", "PYTEST_ADDOPTS"}}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    return Run(done.returncode, done.stdout, done.stderr)


def conformance(folder: Path, *arguments: str) -> Run:
    """Run the laws in a folder of its own."""
    return run_pytest(folder, "--pyargs", PACKAGE, *arguments)


@pytest.mark.parametrize(
    ("sampler", "examples"),
    [(f"{make_flexible.__module__}:make_flexible", 4), (f"{ReferenceSampler.__module__}:ReferenceSampler", 2)],
)
def test_our_own_samplers_keep_all_laws(sampler: str, examples: int) -> None:
    """Every law is claimed, tried, and holds."""
    with tempfile.TemporaryDirectory() as folder:
        run = conformance(Path(folder), "--sampler", sampler, "--examples", str(examples))
        assert run.code == 0, run.out + run.err
        assert all(re.fullmatch(rf"{law} +holds    on [1-9]\d* cases", run.line(law)) for law in LAWS), run.out
        assert f"{len(LAWS)} laws: {len(LAWS)} hold" in run.out


XFAILS = """
no-needless-repeat  # ends with a short batch
indices-in-range    # was repaired long ago
elastic             # nobody claims it
"""


@pytest.fixture(scope="module")
def batch_sampler(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """PyTorch's sampler on some of the laws, with a list of known failures."""
    folder = tmp_path_factory.mktemp("torch")
    (folder / "xfails.txt").write_text(XFAILS, encoding="utf-8")
    some = "batch-size-exact or no-needless-repeat or indices-in-range or elastic or single-experiment"
    return conformance(folder, "--sampler", f"{ADAPTERS}:torch_batches", "--xfails", "xfails.txt", "-k", some)


def test_the_scoreboard_shows_the_shrunk_example(batch_sampler: Run) -> None:
    """One anchor in a batch of two is the smallest epoch that ends with a short batch."""
    assert batch_sampler.code == 1
    seen = "batch 0 of epoch 0: len(batch)=1 with anchors=[0], but should be 2"
    expected = f"BROKEN   1 x a/c at 0 h; batch_size=2, drop_last=False -> {seen}"
    assert batch_sampler.line("batch-size-exact").endswith(expected)
    assert f"--sampler {ADAPTERS}:torch_batches" in batch_sampler.out.partition("replay: ")[2].partition("\n")[0]


def test_known_failures_fail_without_harm(batch_sampler: Run) -> None:
    """They show with their reason, and leave no bundle."""
    assert re.search(r"known +ends with a short batch: 1 x a/c", batch_sampler.line("no-needless-repeat"))
    assert "5 laws: 1 broken, 1 known to fail, 2 stale, 1 skipped" in batch_sampler.out
    assert "1 bundles written" in batch_sampler.out


def test_stale_entries_are_warned_about(batch_sampler: Run) -> None:
    """Laws that are listed and hold, or are not claimed at all."""
    assert "STALE    holds, but is listed as known: was repaired" in batch_sampler.line("indices-in-range")
    assert "STALE    not claimed: no ranks" in batch_sampler.line("elastic")
    assert "warning: elastic, indices-in-range are listed as known to fail without failing" in batch_sampler.out


def test_what_is_not_claimed_is_skipped_by_name(batch_sampler: Run) -> None:
    """With the reason."""
    assert batch_sampler.line("single-experiment").endswith("skipped  not claimed: no axis 'experiment'")


HASHED = """
import random
from dynaclr_strategies.oracles.reference_sampler import ReferenceSampler

class Hashed(ReferenceSampler):
    def rng(self, epoch, *purpose):
        return random.Random(hash((str(self.options.seed), epoch, str(purpose))))
"""


def test_another_process_is_asked_and_replays_ask_it_too(tmp_path: Path) -> None:
    """A sampler that uses the hashes of strings keeps the law in one process, and breaks it in two."""
    (tmp_path / "hashed.py").write_text(HASHED, encoding="utf-8")
    run = conformance(tmp_path, "--sampler", "hashed:Hashed", "-k", "deterministic", "--examples", "5")
    assert run.code == 1
    assert re.search(r"BROKEN   .* -> batch \d+ in another process: anchors=", run.line("deterministic"))
    command = [sys.executable, "-m", "dynaclr_strategies.reproduction.replay", "--sampler", "hashed:Hashed"]
    (bundle,) = (tmp_path / "failures").iterdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    again = subprocess.run(
        [*command, str(bundle)], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
    )
    assert again.returncode == 1, again.stdout + again.stderr
    assert "in another process" in again.stdout


NOT_BY_NAME = f"""
from {PACKAGE} import Claims, SamplerLaws
from {ADAPTERS} import torch_batches

def tests():
    class TestLocal(SamplerLaws):
        make_sampler = staticmethod(torch_batches)
        claims = Claims(axes=(), ranks=False)
    return TestLocal

TestLocal = tests()
"""


def test_the_scoreboard_says_what_was_not_tried_in_another_process(tmp_path: Path) -> None:
    """A sampler that has no name to be imported by is not asked for there."""
    (tmp_path / "test_local.py").write_text(NOT_BY_NAME, encoding="utf-8")
    run = run_pytest(tmp_path, "-k", "deterministic")
    assert run.code == 0, run.out + run.err
    seen = (
        r"holds    not tried in another process: another process cannot make the sampler: sampler='test_local:tests\."
    )
    assert re.match(rf"deterministic +{seen}", run.line("deterministic"))


SILENT = f"""
from dataclasses import replace
from {PACKAGE} import Claims
from dynaclr_strategies.oracles.reference_sampler import ReferenceSampler

def in_pairs(case):
    options = replace(case.options, batch_size=2, leaky=0.5, drop_last=False, exclusive_by=None)
    return replace(case, options=options)

def silent(table, options):
    return ReferenceSampler(table, options)

silent.claims = Claims(explain=False, restrict=in_pairs)
"""


@pytest.mark.parametrize(
    ("law", "reason"),
    [
        ("leak-uniform", "as many anchors leak as do not, and there is no explain to tell which are which"),
        ("experiment-order", "not every batch shows which experiment it belongs to, and there is no explain"),
    ],
)
def test_the_scoreboard_says_what_could_not_be_judged(law: str, reason: str, tmp_path: Path) -> None:
    """A batch of two anchors of two experiments does not show which one leaked: nobody knows that the law holds."""
    (tmp_path / "silent.py").write_text(SILENT, encoding="utf-8")
    (tmp_path / "known.txt").write_text(f"{law}  # fails where it shows\n", encoding="utf-8")
    for known in ([], ["--xfails", "known.txt"]):  # nor does anybody know that it fails no longer
        run = conformance(tmp_path, "--sampler", "silent:silent", "-k", law, "--examples", "20", *known)
        assert run.code == 0, run.out + run.err
        assert run.line(law).endswith(f"skipped  cannot be judged: {reason}")


def test_the_scoreboard_says_how_many_cases_could_not_be_judged(tmp_path: Path) -> None:
    """A law that holds on tables of one experiment is not known to hold on others."""
    (tmp_path / "silent.py").write_text(SILENT, encoding="utf-8")
    run = conformance(tmp_path, "--sampler", "silent:silent", "-k", "fair-pass", "--examples", "40")
    seen = r"fair-pass +holds    \d+ of \d+ cases could not be judged: no batch shows which experiment it belongs to"
    assert re.search(seen, run.line("fair-pass"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--sampler", "nowhere:make"], "sampler='nowhere:make' needs a module that can be imported: installed,"),
        ([], "--sampler is missing: it needs MODULE:FUNCTION"),
    ],
)
def test_a_wrong_sampler_is_one_sentence(arguments: Sequence[str], sentence: str) -> None:
    """The exit code is that of wrong usage, and there is no traceback."""
    with tempfile.TemporaryDirectory() as folder:
        run = conformance(Path(folder), *arguments)
        assert run.code == pytest.ExitCode.USAGE_ERROR
        assert run.err.startswith(f"ERROR: {sentence}")
        assert len(run.err.strip().splitlines()) == 1


def test_a_module_that_breaks_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong inside; and the current folder is looked at."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "broken_sampler.py").write_text("def make(:\n", encoding="utf-8")
        with pytest.raises(ContractError, match="sampler='broken_sampler:make' cannot be imported: SyntaxError: "):
            contract_of("broken_sampler:make", Path(folder))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("import sys\nsys.exit('no licence')\n", "cannot be imported: SystemExit: no licence"),
        ("def make(table, options):\n    raise SystemExit(3)\n", "for the plainest case it raised SystemExit: 3"),
    ],
)
def test_a_sampler_that_ends_the_process_is_one_sentence(text: str, sentence: str, tmp_path: Path) -> None:
    """Whether its module does or the function itself; the exit code is that of wrong usage."""
    (tmp_path / "ends.py").write_text(text, encoding="utf-8")
    run = conformance(tmp_path, "--sampler", "ends:make")
    assert run.code == pytest.ExitCode.USAGE_ERROR
    assert re.fullmatch(rf"ERROR: sampler='ends:make' .*{sentence}\n+", run.err), run.out + run.err


OWN_FILE = f"""
from {PACKAGE} import Claims, SamplerLaws
from {ADAPTERS} import torch_batches

class TestMine(SamplerLaws):
    make_sampler = staticmethod(torch_batches)
    claims = Claims(axes=(), ranks=False)
    xfails = {{"batch-size-exact": "ends with a short batch"}}

class TestEmpty(SamplerLaws):
    pass
"""


def test_a_file_of_ones_own() -> None:
    """A subclass of `SamplerLaws` has a test for each law, and the scoreboard; options of the command are not there."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_own.py").write_text(OWN_FILE, encoding="utf-8")
        some = "Mine and (size_exact or single) or Empty and resume"
        run = run_pytest(Path(folder), "-v", "-k", some)
        assert re.search(r"TestMine::test_single_experiment SKIPPED", run.out), run.out + run.err
        assert re.search(r"TestMine::test_batch_size_exact XFAIL", run.out)
        assert "conformance of test_own:TestMine.make_sampler" in run.out
        assert "known    ends with a short batch: 1 x a/c at 0 h; batch_size=2, drop_last=False -> " in run.out
        assert "TestEmpty needs make_sampler = staticmethod(function)" in run.out
        assert run.code == 1


def test_other_runs_do_not_know_the_options() -> None:
    """They are only there where conformance is asked for."""
    with tempfile.TemporaryDirectory() as folder:
        assert "--xfails" not in run_pytest(Path(folder), "--help").out


def test_what_pytest_always_loads_needs_no_hypothesis() -> None:
    """Where it is not installed, other people's tests run as before."""
    program = f"""
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "hypothesis" else find(name, *rest)
sys.modules["hypothesis"] = None
import {PACKAGE}.entry
"""
    subprocess.run([sys.executable, "-c", program], check=True)
