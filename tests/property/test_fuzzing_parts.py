"""The parts of a search: who is searched next, which code was run, and the memory that outlives a worker."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.database import InMemoryExampleDatabase
from loss_witnesses import CASE
from witnesses import PLAIN

from dynaclr_strategies.fuzzing import search
from dynaclr_strategies.fuzzing.arcs import ArcTracer
from dynaclr_strategies.fuzzing.board import ARCS, Board, now
from dynaclr_strategies.fuzzing.command import chosen_laws, main
from dynaclr_strategies.fuzzing.schedule import Schedule
from dynaclr_strategies.fuzzing.search import Job, Report, Searcher
from dynaclr_strategies.invariants import INVARIANTS, InvariantViolation
from dynaclr_strategies.invariants.nearness import listening, used
from dynaclr_strategies.reproduction.attached import FailedCase, attached
from dynaclr_strategies.reproduction.elsewhere import ElsewhereError
from dynaclr_strategies.subjects import run_law

LAWS = ["a", "b", "c", "d", "e"]

# --- schedule ---------------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 99), arcs=st.lists(st.integers(0, 1000), min_size=60, max_size=60))
def test_no_law_is_forgotten(seed: int, arcs: list[int]) -> None:
    """Each law comes first once, and every other slice keeps those up that discover nothing."""
    schedule = Schedule(LAWS, seed)
    dealt: Counter[str] = Counter()
    for number, new in enumerate(arcs):
        law = schedule.deal(())
        assert law is not None
        dealt[law] += 1
        if number == len(LAWS) - 1:
            assert set(dealt) == set(LAWS)
        schedule.told(law, 2.0, new)
    assert min(dealt.values()) >= len(arcs) // (2 * len(LAWS))


@given(seed=st.integers(0, 99), running=st.sets(st.sampled_from(LAWS)), retired=st.sets(st.sampled_from(LAWS)))
def test_running_and_retired_laws_are_not_dealt(seed: int, running: set[str], retired: set[str]) -> None:
    """A running law is dealt again only where nothing else is left, a retired one never."""
    schedule = Schedule(LAWS, seed)
    for law in retired:
        schedule.retire(law)
    for _ in range(20):
        law = schedule.deal(running)
        left = set(LAWS) - retired
        assert (law is None) == (not left)
        if law is not None:
            assert law in (left - running or left)
            schedule.told(law, 1.0, 3)


def test_slices_go_where_something_new_shows_up() -> None:
    """One law of two discovers: of a thousand slices it gets far more than half."""
    schedule = Schedule(["rich", "poor"], 0)
    dealt: Counter[str] = Counter()
    for _ in range(1000):
        law = schedule.deal(())
        assert law is not None
        dealt[law] += 1
        schedule.told(law, 1.0, 99 if law == "rich" else 0)
    # 250 of the 500 that go round, and about 5 of the others, of which the chance for more than 50 is below 1e-9.
    assert 250 <= dealt["poor"] <= 300


def test_a_slice_that_was_cut_off_comes_first() -> None:
    """What a killed worker was at is dealt out next, once."""
    schedule = Schedule(LAWS, 0)
    schedule.put_first("d")
    assert schedule.deal({"d"}) == "a"
    assert schedule.deal(()) == "d"
    assert schedule.deal(()) == "b"


# --- arcs -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def code(tmp_path: Path) -> ModuleType:
    """Return a module with a branch and a loop."""
    path = tmp_path / "code" / "branches.py"
    path.parent.mkdir()
    path.write_text(
        "def run(times):\n    total = 0\n    for i in range(times):\n        total += i\n    return total\n", "utf-8"
    )
    spec = importlib.util.spec_from_file_location("branches", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_arcs_are_new_once(code: ModuleType, tmp_path: Path) -> None:
    """The same run discovers nothing twice; a loop discovers something when it turns, and when it turns more often."""
    tracer = ArcTracer(tmp_path / "code", np.zeros(ARCS, np.uint8))
    news = []
    for times in (0, 0, 1, 1, 2, 5, 6, 200, 300):
        before = tracer.new
        with tracer:
            code.run(times)
        news.append(tracer.new - before)
    assert [new > 0 for new in news] == [True, False, True, False, True, True, False, True, False]
    assert sys.gettrace() is None


def test_arcs_elsewhere_do_not_count(code: ModuleType, tmp_path: Path) -> None:
    """Only the code that is searched is looked at, and an exception ends the tracing."""
    tracer = ArcTracer(tmp_path / "cod", np.zeros(ARCS, np.uint8))
    with pytest.raises(ZeroDivisionError), tracer:
        code.run(3 // 0)
    assert tracer.new == 0
    assert sys.gettrace() is None


# --- board ------------------------------------------------------------------------------------------------------------


def test_the_board_outlives_whoever_writes(tmp_path: Path) -> None:
    """Another process that maps the same files sees counts and the current case, and needs nobody to close them."""
    laws = ["indices-in-range", "loss-is-finite"]
    board = Board(tmp_path, laws, 2)
    for applied in (True, False, True):
        board.begin(1, "indices-in-range", PLAIN)
        board.end(1, "indices-in-range", applied=applied)
    board.begin(1, "indices-in-range", PLAIN)
    other = Board(tmp_path, laws, 2)
    assert other.checked.tolist() == [[0, 0], [2, 0]]
    assert other.drawn.tolist() == [[0, 0], [4, 0]]
    assert other.current(0) is None
    assert other.current(1) == FailedCase("indices-in-range", PLAIN)
    assert 0 < other.began[1] <= now()
    other.forget(1)
    assert board.current(1) is None
    assert board.began[1] == 0


# --- one slice --------------------------------------------------------------------------------------------------------


def searched(tmp_path: Path, law: str, *, seconds: float, examples: int) -> tuple[Board, Report, dict[bytes, Any]]:
    """Search one law in this process."""
    board, database = Board(tmp_path, [law], 1), InMemoryExampleDatabase()
    board.until[0] = now() + 600
    searcher = Searcher(board, 0, database, tmp_path / "failures", tmp_path)
    report = searcher.search(Job(law, 0, now() + seconds, examples))
    return board, report, database.data


def test_a_slice_ends_in_time_and_keeps_nothing_that_holds(tmp_path: Path) -> None:
    """The end of the time is no failure, neither in the report nor in the example database."""
    board, report, kept = searched(tmp_path, "indices-in-range", seconds=1.0, examples=10**6)
    assert report == Report("indices-in-range", 0, ())
    assert board.checked.sum() > 0
    assert board.began.tolist() == [0.0]
    assert not any(kept.values())
    assert not (tmp_path / "failures").exists()


def test_a_slice_makes_as_many_examples_as_it_is_told(tmp_path: Path) -> None:
    """Hypothesis climbs from the half of them on, so that the number matters."""
    board, _, _ = searched(tmp_path, "loss-is-finite", seconds=60.0, examples=40)
    assert board.checked.sum() == 40


def test_a_failure_is_kept_for_the_next_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With another seed and one example only, the next search has it: from the example database."""
    from dynaclr.sampler import FlexibleBatchSampler

    law, database, iterate = "len-matches-iteration", InMemoryExampleDatabase(), FlexibleBatchSampler.__iter__

    def broken(self: FlexibleBatchSampler) -> Any:
        return iterate(self) if self.batch_size < 7 else iter(())

    monkeypatch.setattr(FlexibleBatchSampler, "__iter__", broken)
    board = Board(tmp_path, [law], 1)
    board.until[0] = now() + 600
    searcher = Searcher(board, 0, database, tmp_path / "failures", tmp_path)
    assert searcher.search(Job(law, 0, now() + 600, 1)).failures == ()
    (first,) = searcher.search(Job(law, 1, now() + 600, 500)).failures
    (again,) = searcher.search(Job(law, 2, now() + 600, 1)).failures
    assert first.law == again.law == law
    assert Path(first.bundle).parent == tmp_path / "failures"


def test_a_slice_asks_another_process_for_the_law_that_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, with the cases that were checked here; what differs there is a failure."""
    asked: list[int] = []

    def check(cases: list[Any], _make: None, **_: Any) -> None:
        asked.append(len(cases))
        with attached(FailedCase("deterministic", cases[0])):
            raise InvariantViolation("batch 0", "1", "2", "deterministic")

    monkeypatch.setattr(search, "check_elsewhere", check)
    _, report, _ = searched(tmp_path, "deterministic", seconds=60.0, examples=100)
    (failure,) = report.failures
    assert asked == [50]
    assert (failure.law, failure.shrunk, Path(failure.bundle).parent) == ("deterministic", False, tmp_path / "failures")


def test_a_law_that_no_other_process_could_be_asked_for_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its half that needs one was not tried, which is no failure and no success."""

    def check(*_: Any, **__: Any) -> None:
        raise ElsewhereError("another process cannot make the sampler: there is no mine")

    monkeypatch.setattr(search, "check_elsewhere", check)
    _, report, _ = searched(tmp_path, "deterministic", seconds=60.0, examples=100)
    assert report.failures == ()
    sentence = (
        "deterministic is not tried in another process: another process cannot make the sampler: there is no mine."
    )
    assert caplog.messages.count(sentence) == 1


# --- how near a case came ---------------------------------------------------------------------------------------------


def test_laws_with_margins_say_how_much_they_used() -> None:
    """Rounding uses a part of what is allowed for it, and the most that was used is what counts."""
    with listening() as scores:
        used("chance", 0.5)
        used("chance", 0.25)
        used("chance", float("nan"))
        with listening() as inner:
            run_law("loss-equals-reference", CASE)
    assert scores == {"chance": 0.5}
    assert set(inner) == {"rounding"}
    assert 0 <= inner["rounding"] <= 1


# --- options ----------------------------------------------------------------------------------------------------------


@given(parts=st.integers(1, 200))
def test_shards_share_the_laws_out(parts: int) -> None:
    """Every law is in exactly one shard."""
    assume(parts <= len(INVARIANTS))
    shards = [chosen_laws([], f"{part}/{parts}") for part in range(1, parts + 1)]
    assert sorted(law for shard in shards for law in shard) == sorted(INVARIANTS)
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_patterns_are_laws_or_subjects() -> None:
    """A name, a wildcard, a subject."""
    assert chosen_laws(["leak-exact"]) == ["leak-exact"]
    assert set(chosen_laws(["leak-*"])) == {"leak-exact", "leak-uniform"}
    assert {INVARIANTS[law].subject for law in chosen_laws(["loss", "index"])} == {"loss", "index"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--laws", "leek-exact"], "--laws='leek-exact' needs to match a law or a subject; did you mean leak-exact"),
        (["--laws", "?"], "subjects are augment, datamodule"),
        (["--shard", "0/2"], "--shard='0/2' needs to be I/N with I from 1 to N"),
        (["--shard", "1"], "--shard='1' needs to be I/N"),
        (["--laws", "leak-exact", "--shard", "2/2"], "--shard='2/2' leaves nothing to search: there are 1 laws"),
        (["--bundles", "file"], "--bundles='file' needs to be a folder to write in"),
        (["--bundles", "/proc/in"], "--bundles='/proc/in' needs to be a folder to write in"),
        (["--database", "file/in"], "--database='file/in' needs to be a folder to write in"),
    ],
)
def test_options_that_cannot_be_used(
    options: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence, exit code 2, and nothing was made."""
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    assert main(["--minutes", "1", *options]) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("options", [["--minutes", "0"], ["--minutes", "nan"], ["--minutes", "x"], ["--workers", "0"]])
def test_numbers_that_cannot_be_used(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The parser says which option it is."""
    with pytest.raises(SystemExit) as exit_:
        main([*(["--minutes", "1"] if "--minutes" not in options else []), *options])
    assert exit_.value.code == 2
    assert f"argument {options[0]}" in capsys.readouterr().err
