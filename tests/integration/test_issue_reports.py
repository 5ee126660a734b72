"""From bundles to issues: grouping, what an issue says, what is decided, and what ``gh`` is told."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from witnesses import PLAIN

from dynaclr_strategies import INVARIANTS
from dynaclr_strategies.cases import IndexCase
from dynaclr_strategies.codec import Plain
from dynaclr_strategies.fuzzing import replays as replays_module
from dynaclr_strategies.fuzzing.decisions import Action, Kind, combined, decide
from dynaclr_strategies.fuzzing.failures import case_line, grouped, read_failure, read_failures
from dynaclr_strategies.fuzzing.github import GitHubError, all_issues, calls_of, issues_of
from dynaclr_strategies.fuzzing.issues import LABEL, Issue, case_of, issue_body, issue_title
from dynaclr_strategies.fuzzing.replays import read_verdicts, replayed, replays, write_verdicts
from dynaclr_strategies.fuzzing.report import main, run_url
from dynaclr_strategies.options import sampler_cases
from dynaclr_strategies.ready_made import two_experiments
from dynaclr_strategies.reproduction.attached import FailedCase
from dynaclr_strategies.reproduction.bundles import write_bundle
from dynaclr_strategies.reproduction.case_files import StoredCase
from dynaclr_strategies.reproduction.identity import MAX_NORMALISED, Failure, normalised
from dynaclr_strategies.reproduction.replay import Verdict
from dynaclr_strategies.table_cases import index_cases

HERE = Path(__file__).parent
LAWS = ("batch-size-exact", "indices-in-range", "len-matches-iteration")
OF_INDEX = next(law.law for law in INVARIANTS.values() if law.subject == "index")


def failure(
    message: str = "row 1: 2, but should be 3",
    *,
    law: str = LAWS[0],
    seed: int = 0,
    case: Plain | None = None,
    error: str = "InvariantViolation",
) -> Failure:
    """Return a failure; the seed tells cases apart."""
    one = replace(PLAIN, options=replace(PLAIN.options, seed=seed)) if case is None else case
    return Failure(StoredCase(FailedCase(law, one), message, {"python": "3.13.1"}), error)


def issue_of(*group: Failure, number: int = 1, is_open: bool = True, labels: Iterable[str] = (LABEL,)) -> Issue:
    """Return the issue that was opened for a group."""
    title, body = issue_title(group[0]), issue_body(group, group[0].identity)
    return Issue(number, title, body, frozenset(labels), is_open)


# --- grouping ---------------------------------------------------------------------------------------------------------

words = st.sampled_from(["row", "batch", "was drawn", "differs from", "should be", "in"])
NAMES = ("exp_a", "exp Ä", "ZIKV µ", "A/1", "Phase3D", "RFP", "b")
slots = {
    "number": st.integers(-(10**9), 10**9).map(str) | st.floats(allow_nan=True).map(repr),
    "quoted": st.sampled_from(NAMES).map(repr) | st.sampled_from(NAMES).map("`{}`".format),
    "name": st.sampled_from(NAMES),
    "path": st.sampled_from(["/scratch/a1/b", "/home/me/x.csv", "C:\\Users\\me\\a", "plates/A/1/0", "/x"]),
    "address": st.integers(0, 2**48).map("<Foo object at {:#x}>".format),
    "numbers": st.lists(st.integers(0, 99), min_size=1, max_size=5).map(str),
}


@st.composite
def tellings(draw: st.DrawFn) -> tuple[str, str]:
    """Strategy for two messages about the same failure of different cases."""
    parts = draw(st.lists(st.tuples(words, st.sampled_from(sorted(slots))), min_size=1, max_size=6))
    both = [" ".join(f"{word} {draw(slots[slot])}," for word, slot in parts) for _ in range(2)]
    return both[0], both[1]


@given(both=tellings())
def test_numbers_paths_and_names_tell_no_failures_apart(both: tuple[str, str]) -> None:
    """What a case fills into a message is taken out."""
    first, second = (normalised(message, NAMES) for message in both)
    assert first == second


@given(message=st.text(max_size=200), names=st.sets(st.text(min_size=1, max_size=5), max_size=3))
def test_any_message_can_be_normalised(message: str, names: set[str]) -> None:
    """It stays short and on one line."""
    wording = normalised(message, names)
    assert len(wording) <= MAX_NORMALISED
    assert len(wording.splitlines()) <= 1


@pytest.mark.parametrize(
    ("message", "wording"),
    [
        (
            "row 2, feature 0 of 3 embeddings in float64: derivative 2.1e-309",
            "row N, feature N of N embeddings in floatN",
        ),
        (
            "channel 1 of the anchor is `Mito` of exp_b, but should be `RFP`",
            "channel N of the anchor is NAME of NAME, but",
        ),
        ("batch [1, 2, 3]: nan, but should be -inf", "batch [N]: N, but should be N"),
        ("cannot index with <Foo object at 0x7f5a9c0e1d30>: 0X1F", "cannot index with <Foo object at N>: N"),
        ("10x20 voxels", "NxN voxels"),
        ("cannot open /tmp/tmpab12/exp_b.zarr/A/1: no such file", "cannot open PATH: no such file"),
    ],
)
def test_messages_are_normalised_so(message: str, wording: str) -> None:
    """Examples of real messages."""
    assert normalised(message, ["exp_b"]).startswith(wording)


def test_names_may_contain_each_other() -> None:
    """The longest is taken out first."""
    assert normalised("exp b of exp is 1", ["exp", "b", "exp b"]) == "NAME of NAME is N"


def test_names_are_those_of_the_case() -> None:
    """Unquoted names of experiments are taken out; choices, such as a column, are not: they tell failures apart."""
    case = IndexCase(registry=two_experiments())
    first, second = (experiment.name for experiment in case.registry.experiments)
    both = {failure(f"{name} has no fov_name", law=OF_INDEX, case=case).wording for name in (first, second)}
    assert both == {"NAME has no fov_name"}


def test_laws_errors_and_words_tell_failures_apart() -> None:
    """Each of them makes another failure; another case does not."""
    first = failure("row 1 is 2")
    assert failure("row 4 is 3", seed=9).identity == first.identity
    others = [failure("row 1 is 2", law=LAWS[1]), failure("row 1 was 2"), failure("row 1 is 2", error="ValueError")]
    assert len({first.identity, *(other.identity for other in others)}) == 4


# Made once: what a failure is called is computed from its whole case.
FOUND = [
    failure(message, law=law, seed=seed)
    for law in LAWS
    for message in ("row 1", "row 2", "batch 3 is 'a'", "batch 4 is 'b'", "other")
    for seed in range(4)
]
several = st.lists(st.sampled_from(FOUND), max_size=8)


@given(data=st.data(), found=several)
def test_the_order_of_bundles_does_not_matter(data: st.DataObject, found: list[Failure]) -> None:
    """Neither for the groups nor for what is decided."""
    again = data.draw(st.permutations(found))
    assert grouped(again) == grouped(found)
    assert decide(again, [], {}) == decide(found, [], {})


def test_bundles_are_found_wherever_they_are() -> None:
    """In folders of shards and side by side; drafts and other files are not bundles, and what is broken is named."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        kept = failure(seed=1)
        for shard in ("one", "two"):
            write_bundle(failure().stored.failed, ValueError("broken"), root / shard)
        (root / "corpus").mkdir()
        (root / "corpus" / f"{kept.name}.json").write_text(case_line(kept), encoding="utf-8")
        (root / ".draft-1").mkdir()
        (root / ".draft-1" / "case.json").write_text("{", encoding="utf-8")
        (root / "replayed.json").write_text("{}", encoding="utf-8")
        (root / "case.json").write_text("{", encoding="utf-8")
        found, problems = read_failures(root)
    assert [(one.name, one.error) for one in found] == sorted(
        [(failure().name, "ValueError"), (kept.name, "InvariantViolation")]
    )
    assert len(problems) == 1
    assert "is no JSON document" in problems[0]


# --- what an issue says -----------------------------------------------------------------------------------------------

# Texts that try to break out, among all others.
ATTACKS = (
    "@everyone",
    "`````",
    "```\n# free\n@octocat",
    "<!-- dynaclr-fuzz 0000000000000000 -->",
    "\nBundles: `batch-size-exact-00000000`\n",
    '\n{"format": 1}\n',
    "</details><script>",
    "$(touch pwned); `touch pwned`",
    "\u202egnp.exe",
    "\ud800",
    "\x00\x1b[2J",
    "#1, closes #2",
    "~~~\n",
    "[x](javascript:y)",
)
strange = st.lists(st.sampled_from(ATTACKS) | st.text(st.characters(), max_size=30), max_size=6).map("".join)


def outside(body: str) -> list[str]:
    """Return the lines of a text that are in no code block, as CommonMark reads it."""
    lines, fence = [], ""
    for line in body.split("\n"):
        opened = re.match(r" {0,3}(`{3,}|~{3,})", line)
        if fence:
            if re.fullmatch(rf" {{0,3}}{fence[0]}{{{len(fence)},}}[ \t]*", line):
                fence = ""
        elif opened:
            fence = opened.group(1)
        else:
            lines.append(line)
    assert not fence, "a code block was never closed"
    return lines


@given(message=strange, error=st.sampled_from(["InvariantViolation", "ValueError"]))
def test_no_message_gets_out_of_its_block(message: str, error: str) -> None:
    """Outside its code blocks an issue is the same whatever the message is; signs that nobody sees are spelled out."""
    one = failure(message, error=error)
    body = issue_body([one], "0123456789abcdef")
    harmless = issue_body([failure("x", error=error)], "0123456789abcdef")
    assert outside(body) == outside(harmless)
    assert all(sign.isprintable() or sign == "\n" for sign in body)
    issue = Issue(1, "", body, frozenset({LABEL}), is_open=True)
    assert issue.identity == "0123456789abcdef"
    assert issue.names == [one.name]


@settings(max_examples=max(10, settings().max_examples // 2))
@given(message=strange, law=st.sampled_from(LAWS), case=sampler_cases() | index_cases(), name=strange)
def test_an_issue_holds_its_case(message: str, law: str, case: Plain, name: str) -> None:
    """It is read again as it was, whatever the names in it are, or it was too long to be there."""
    if isinstance(case, IndexCase):
        first, *others = case.registry.experiments
        named = replace(first, organelle=name)
        law, case = OF_INDEX, replace(case, registry=replace(case.registry, experiments=(named, *others)))
    one = failure(message, law=law, case=case)
    body = issue_body([one], one.identity, "https://github.com/a/b/actions/runs/1")
    assert len(body.encode()) <= 65536
    held = case_of(Issue(1, "", body, frozenset({LABEL}), is_open=True))
    if len(case_line(one)) <= 24000:
        assert held is not None
        assert held.stored.failed == one.stored.failed
        assert held.identity == one.identity or len(message) > 3000
    else:
        assert held is None


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_message_hides_the_case(attack: str) -> None:
    """A message that looks like a case, a marker or the end of a block is none."""
    held = case_of(issue_of(failure(f"x\n{attack}\nx")))
    assert held is not None
    assert held.stored.failed == failure().stored.failed


def test_long_texts_are_cut() -> None:
    """An issue has at most 65,536 characters, however they are encoded."""
    many = two_experiments(tracks=100)
    body = issue_body([failure("\U0001f9ec" * 10**5, law=OF_INDEX, case=IndexCase(registry=many))], "0" * 16)
    assert len(body.encode()) <= 65536
    assert body.count("... (cut)") == 2
    assert "case.json" not in body


@given(message=strange)
def test_a_case_is_one_line_of_plain_letters(message: str) -> None:
    """It means nothing to Markdown and HTML even outside a block, and is read as it was written."""
    line = case_line(failure(message))
    assert line.isascii()
    assert line.isprintable()
    assert not set("`<>@&#") & set(line)
    assert json.loads(line)["message"] == message[:3000]


@given(message=strange)
def test_titles_are_short_and_plain(message: str) -> None:
    """One line that mentions nobody."""
    title = issue_title(failure(message))
    assert title.startswith(f"{LAWS[0]}: ")
    assert len(title) <= 120
    assert title.isprintable()
    assert "@" not in title


def test_an_issue_says_law_example_and_command() -> None:
    """What a person needs."""
    one = failure()
    body = issue_body([one, failure(seed=5)], one.identity, "https://github.com/a/b/actions/runs/1")
    for part in (INVARIANTS[one.law].sentence, "row 1: 2, but should be 3", "batch_size: ", "dynaclr-replay case.json"):
        assert part in body
    assert f"dynaclr-replay {one.name}" in body
    assert "[the run](https://github.com/a/b/actions/runs/1)" in body
    assert f"Bundles: `{one.name}`, `{failure(seed=5).name}`" in body


def test_an_issue_names_the_bundle_of_its_own_failure(tmp_path: Path) -> None:
    """The second failure of a law on a case has a folder of its own, and it is that which a person is to replay."""
    failed = failure().stored.failed
    first, second = (write_bundle(failed, ValueError(text), tmp_path) for text in ("broken", "gone"))
    assert read_failure(second).folder == second.name == f"{first.name}-2"
    found, _ = read_failures(tmp_path)
    for path in (first, second):
        (one,) = [one for one in found if one.identity == read_failure(path).identity]
        issue = issue_of(one)
        assert f"dynaclr-replay {path.name}\n" in issue.body
        assert issue.names == [first.name]
        assert case_of(issue) == one


@pytest.mark.parametrize("name", ["{}-x", "{}-2-2", "{}; rm", "failures", "x-{}"])
def test_a_folder_of_another_name_is_no_bundle_s(name: str, tmp_path: Path) -> None:
    """A stranger's name for a folder does not get into an issue."""
    bundle = write_bundle(failure().stored.failed, ValueError("broken"), tmp_path)
    one = read_failure(bundle.rename(tmp_path / name.format(bundle.name)))
    assert one.folder is None
    assert f"dynaclr-replay {bundle.name}\n" in issue_of(one).body


def test_a_case_that_an_issue_is_not_about_is_not_read() -> None:
    """Whoever edits an issue cannot have something else replayed in its name."""
    issue = issue_of(failure())
    assert case_of(issue) == failure()
    assert case_of(replace(issue, body=issue.body.replace(case_line(failure()), case_line(failure(seed=8))))) is None
    assert case_of(replace(issue, body=issue.body.replace(case_line(failure()), '{"format": 1'))) is None
    assert case_of(replace(issue, body="")) is None


@pytest.mark.parametrize(
    ("run", "url"),
    [
        (("https://github.com", "a/b", "12"), "https://github.com/a/b/actions/runs/12"),
        (("https://github.com", "a/b", "1)[x"), None),
        (("", "", ""), None),
    ],
)
def test_the_run_is_named_if_there_is_one(run: tuple[str, str, str], url: str | None) -> None:
    """And only if it is an address."""
    names = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
    assert run_url(dict(zip(names, run, strict=True))) == url


# --- decisions --------------------------------------------------------------------------------------------------------


def applied(actions: Iterable[Action], issues: list[Issue]) -> list[Issue]:
    """Return the issues after what was decided is done."""
    after = {issue.number: issue for issue in issues}
    for action in actions:
        if action.kind is Kind.OPEN:
            number = max(after, default=0) + 1
            after[number] = Issue(number, action.title or "", action.body or "", frozenset({LABEL}), is_open=True)
        elif action.kind is not Kind.LEAVE:
            assert action.number is not None
            issue = after[action.number]
            is_open = {Kind.REOPEN: True, Kind.CLOSE: False}.get(action.kind, issue.is_open)
            after[action.number] = replace(issue, is_open=is_open, body=action.body or issue.body)
    return list(after.values())


def kinds(actions: Iterable[Action]) -> list[Kind]:
    """Return what is done."""
    return [action.kind for action in actions]


some_verdicts = st.dictionaries(st.sampled_from(FOUND).map(lambda one: one.name), st.sampled_from(list(Verdict)))


@st.composite
def repositories(draw: st.DrawFn) -> list[Issue]:
    """Strategy for issues that earlier runs, and people, left: duplicates and closed ones included."""
    nights = draw(st.lists(several, max_size=3), label="earlier nights")
    issues = [
        issue_of(*group, number=1 + number, is_open=draw(st.booleans(), label="open"))
        for number, group in enumerate(group for found in nights for group in grouped(found).values())
    ]
    unlabelled = [replace(issue, number=100 + issue.number, labels=frozenset({"bug"})) for issue in issues[:1]]
    return [*issues, *unlabelled, Issue(999, "by hand", "text", frozenset({LABEL}), is_open=True)]


@settings(max_examples=max(10, settings().max_examples // 2))
@given(found=several, issues=repositories(), verdicts=some_verdicts)
def test_deciding_again_changes_nothing(
    found: list[Failure], issues: list[Issue], verdicts: dict[str, Verdict]
) -> None:
    """Once what was decided is done, there is nothing to do."""
    after = applied(decide(found, issues, verdicts), issues)
    assert set(kinds(decide(found, after, verdicts))) <= {Kind.LEAVE}


@settings(max_examples=max(10, settings().max_examples // 2))
@given(found=several, issues=repositories(), verdicts=some_verdicts)
def test_every_failure_has_one_open_issue(
    found: list[Failure], issues: list[Issue], verdicts: dict[str, Verdict]
) -> None:
    """What fails has an open issue, what is fixed has none, and there is one new issue at most for each."""
    actions = decide(found, issues, verdicts)
    after = applied(actions, issues)
    before = {issue.identity for issue in issues}
    for identity, group in grouped(found).items():
        names = {one.name for one in group}.union(*(issue.names for issue in issues if issue.identity == identity))
        said = {verdicts.get(name, Verdict.FAILS if name in {one.name for one in group} else None) for name in names}
        those = [issue for issue in after if issue.identity == identity]
        if Verdict.FAILS in said:
            assert any(issue.is_open for issue in those)
            assert len(those) == max(1, sum(issue.identity == identity for issue in issues))
        elif Verdict.CANNOT_RUN not in said:
            assert not any(issue.is_open for issue in those)
        if identity not in before:
            assert len(those) <= 1
    assert {issue.number: issue for issue in issues if issue.identity is None}.items() <= {
        issue.number: issue for issue in after
    }.items()


@settings(max_examples=max(10, settings().max_examples // 2))
@given(data=st.data(), found=several, issues=repositories(), verdicts=some_verdicts)
def test_the_order_of_issues_does_not_matter(
    data: st.DataObject, found: list[Failure], issues: list[Issue], verdicts: dict[str, Verdict]
) -> None:
    """Nor does it matter which shard finished first."""
    assert decide(found, data.draw(st.permutations(issues)), verdicts) == decide(found, issues, verdicts)


ONE, OTHER = failure(), failure(seed=1)


@pytest.mark.parametrize(
    ("found", "is_open", "verdicts", "kind", "why"),
    [
        ([ONE], None, {}, Kind.OPEN, "is new"),
        ([ONE], None, {ONE.name: Verdict.FIXED}, Kind.LEAVE, "was found, but replays as FIXED"),
        ([ONE], True, {}, Kind.LEAVE, "it still fails"),
        ([], True, {ONE.name: Verdict.FAILS}, Kind.LEAVE, "it still fails"),
        ([OTHER], True, {}, Kind.UPDATE, "more bundles"),
        ([OTHER], True, {ONE.name: Verdict.FIXED}, Kind.UPDATE, "more bundles"),
        ([], True, {ONE.name: Verdict.FIXED}, Kind.CLOSE, "its cases are FIXED"),
        ([ONE], True, {ONE.name: Verdict.FIXED}, Kind.CLOSE, "its cases are FIXED"),
        ([], True, {ONE.name: Verdict.CANNOT_RUN}, Kind.LEAVE, "CANNOT RUN here"),
        ([], True, {}, Kind.LEAVE, "none of its cases was replayed"),
        ([ONE], False, {}, Kind.REOPEN, "it fails again"),
        ([], False, {ONE.name: Verdict.FAILS}, Kind.REOPEN, "it fails again"),
        ([], False, {ONE.name: Verdict.FIXED}, Kind.LEAVE, "it is fixed"),
        ([], False, {}, Kind.LEAVE, "none of its cases was replayed"),
    ],
)
def test_what_is_decided(
    found: list[Failure], is_open: bool | None, verdicts: dict[str, Verdict], kind: Kind, why: str
) -> None:
    """The table of decisions."""
    issues = [] if is_open is None else [issue_of(ONE, is_open=is_open)]
    (action,) = decide(found, issues, verdicts)
    assert action.kind is kind
    assert why in action.why


def test_issues_of_strangers_are_left_alone() -> None:
    """Without the label a copied marker neither keeps a failure from its issue, nor has an issue closed."""
    copied = issue_of(ONE, labels=["bug"])
    assert kinds(decide([ONE], [copied], {})) == [Kind.OPEN]
    assert decide([], [copied], {ONE.name: Verdict.FIXED}) == []


def test_all_issues_of_what_is_fixed_are_closed() -> None:
    """Where somebody copied an issue, label and all, none stays open."""
    both = [issue_of(ONE, number=number) for number in (4, 7)]
    actions = decide([], both, {ONE.name: Verdict.FIXED})
    assert [(action.kind, action.number) for action in actions] == [(Kind.CLOSE, 4), (Kind.CLOSE, 7)]


def test_what_people_add_to_an_issue_stays() -> None:
    """Only the line of bundles is changed, and where somebody took it out, nothing."""
    issue = issue_of(ONE)
    noted = replace(issue, body=f"Seen on the cluster too.\r\n{issue.body}\nMy guess: the leak.")
    (action,) = decide([OTHER], [noted], {})
    assert action.kind is Kind.UPDATE
    assert action.body == noted.body.replace(f"`{ONE.name}`", f"`{ONE.name}`, `{OTHER.name}`", 1)
    without = replace(issue, body=issue.body.replace("Bundles: ", "The bundles were "))
    assert kinds(decide([OTHER], [without], {})) == [Kind.LEAVE]


def test_an_issue_names_so_many_bundles_and_no_more() -> None:
    """A failure with hundreds of shrunk cases does not edit its issue every night."""
    first, later = [failure(seed=seed) for seed in range(30)], [failure(seed=seed) for seed in range(30, 60)]
    (opened,) = decide(first, [], {})
    issues = applied([opened], [])
    assert len(issues[0].names) == 20
    assert kinds(decide(later, issues, {})) == [Kind.LEAVE]


@given(verdicts=st.lists(st.sampled_from(list(Verdict))))
def test_what_fails_anywhere_fails(verdicts: list[Verdict]) -> None:
    """Only what is fixed everywhere is fixed."""
    together = combined(verdicts)
    assert (together is Verdict.FAILS) == (Verdict.FAILS in verdicts)
    assert (together is Verdict.FIXED) == (set(verdicts) == {Verdict.FIXED})
    assert (together is None) == (not verdicts)


# --- replays ----------------------------------------------------------------------------------------------------------


@contextmanager
def customised(code: str) -> Iterator[None]:
    """Run code at the start of every Python process."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        Path(folder, "sitecustomize.py").write_text(code, encoding="utf-8")
        patch.setenv("PYTHONPATH", folder)
        yield


BREAK_OFF = "from dynaclr.sampler import FlexibleBatchSampler\nFlexibleBatchSampler.__iter__ = lambda self: iter([])\n"


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        ("", Verdict.FIXED),
        (BREAK_OFF, Verdict.FAILS),
        ("import os\nos._exit(1)\n", Verdict.CANNOT_RUN),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", Verdict.CANNOT_RUN),
        ("import time\ntime.sleep(60)\n", Verdict.CANNOT_RUN),
    ],
)
def test_a_case_is_replayed_in_a_process_of_its_own(code: str, verdict: Verdict) -> None:
    """One that dies or hangs says nothing about the law."""
    with customised(code):
        assert replayed(failure(law="len-matches-iteration"), timeout=1.0 if "sleep" in code else 120.0) is verdict


def test_cases_of_issues_are_replayed() -> None:
    """Those that open issues hold, and those of the corpus that any issue names; what was found just now fails."""
    asked: list[str] = []

    def fixed(one: Failure) -> Verdict:
        asked.append(one.name)
        return Verdict.FIXED

    held, closed, kept, other = failure(seed=1), failure(seed=2), failure(seed=3), failure(seed=4)
    issues = [issue_of(held), issue_of(closed, number=2, is_open=False), issue_of(kept, number=3, is_open=False)]
    verdicts = replays(issues, [kept, other], [ONE], fixed)
    assert verdicts == {held.name: Verdict.FIXED, kept.name: Verdict.FIXED, ONE.name: Verdict.FAILS}
    assert sorted(asked) == sorted([held.name, kept.name])
    asked.clear()
    assert replays(issues, [], [held], fixed) == {held.name: Verdict.FAILS}
    assert asked == []


@given(verdicts=some_verdicts)
def test_verdicts_travel(verdicts: dict[str, Verdict]) -> None:
    """From the machine that replayed to the one that decides."""
    with tempfile.TemporaryDirectory() as folder:
        write_verdicts(verdicts, Path(folder, "replayed.json"))
        assert read_verdicts(Path(folder, "replayed.json")) == verdicts


# --- gh ---------------------------------------------------------------------------------------------------------------


class GitHub:
    """A repository whose issues are in a file, and a ``gh`` on the path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, *failures: Failure) -> Path:
        """Write bundles, in place of those that were there."""
        bundles = self.folder / "bundles"
        for path in bundles.glob("*.json"):
            path.unlink()
        bundles.mkdir(exist_ok=True)
        for one in failures:
            (bundles / f"{one.name}.json").write_text(case_line(one), encoding="utf-8")
        return bundles

    def report(
        self, *failures: Failure, replayed: dict[str, Verdict] | None = None, options: Iterable[str] = ()
    ) -> int:
        """Run the command."""
        verdicts = self.folder / "verdicts"
        verdicts.mkdir(exist_ok=True)
        write_verdicts(replayed or {}, verdicts / "replayed-3.13-1.json")
        return main(["--bundles", str(self.write(*failures)), "--replayed", str(verdicts), *options])

    def read(self, name: str) -> list[Any]:
        """Return what was kept."""
        path = self.folder / f"{name}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []

    def states(self) -> list[str]:
        """Return the states of all issues."""
        return [issue["state"] for issue in self.read("issues")]

    def changes(self) -> list[str]:
        """Return what was asked for, but for lists and labels, and forget it."""
        calls = [call["arguments"][1] for call in self.read("calls") if call["arguments"][0] == "issue"]
        (self.folder / "calls.json").unlink(missing_ok=True)
        return [call for call in calls if call != "list"]


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> GitHub:
    """Put a ``gh`` on the path that is a real process."""
    program = tmp_path / "bin" / "gh"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "{HERE / "fake_gh.py"}" "{tmp_path}" "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return GitHub(tmp_path)


def test_the_life_of_an_issue(github: GitHub) -> None:
    """Opened, seen again, fixed, back again, closed by hand and back again; the same night twice changes nothing."""
    assert github.report(ONE, failure(law=LAWS[1])) == 0
    assert github.changes() == ["create", "create"]
    assert github.report(ONE, failure(law=LAWS[1])) == 0
    assert github.changes() == []
    assert github.report(OTHER) == 0
    assert github.changes() == ["edit"]
    assert github.report(replayed={ONE.name: Verdict.CANNOT_RUN}) == 0
    assert github.changes() == []
    assert github.report(replayed={ONE.name: Verdict.FIXED, OTHER.name: Verdict.FIXED}) == 0
    assert github.changes() == ["close", "comment"]
    assert sorted(github.states()) == ["CLOSED", "OPEN"]
    assert github.report(replayed={ONE.name: Verdict.FIXED, OTHER.name: Verdict.FIXED}) == 0
    assert github.changes() == []
    assert github.report(ONE) == 0
    assert github.changes() == ["reopen", "comment"]
    assert github.states() == ["OPEN", "OPEN"]
    (issue,) = [issue for issue in github.read("issues") if "comments" in issue]
    assert issue["title"] == f"{LAWS[0]}: row N: N, but should be N"
    assert [text.partition(":")[0] for text in issue["comments"]] == [
        "Replayed on the current code, and FIXED",
        "It fails again",
    ]


@given(found=st.lists(st.builds(failure, strange, seed=st.integers(0, 9)), max_size=3))
def test_no_text_becomes_an_argument(found: list[Failure]) -> None:
    """But for the title, which is plain; all else is read by ``gh``."""
    calls = [call for action in decide(found, [], {}) for call in calls_of(action)]
    for arguments, text in calls:
        assert [*arguments[:3], *arguments[4:]] == ["issue", "create", "--title", "--label", LABEL, "--body-file", "-"]
        assert arguments[3].isprintable()
        assert text is not None
        assert text.encode()


def test_no_text_becomes_a_command(github: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is run that a bundle names, and what ``gh`` reads is what was decided."""
    monkeypatch.chdir(github.folder)
    found = [failure(attack, seed=seed) for seed, attack in enumerate(ATTACKS)]
    before = {path.name for path in github.folder.iterdir()}
    assert github.report(*found) == 0
    assert {path.name for path in github.folder.iterdir()} - before == {
        "bundles",
        "calls.json",
        "issues.json",
        "verdicts",
    }
    wanted = {action.body for action in decide(found, [], {})}
    assert {issue["body"] for issue in github.read("issues")} == wanted


def test_a_dry_run_changes_nothing(github: GitHub, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints the calls, which can be repeated by hand, and the texts indented."""
    assert github.report(ONE, options=["--dry-run"]) == 0
    assert github.changes() == []
    out = capsys.readouterr().out
    assert "gh label create fuzz --force" in out
    assert f"gh issue create --title '{issue_title(ONE)}' --label fuzz --body-file -" in out
    assert "    Bundles: " in out
    assert "1 bundles, 0 issues, 1 decisions" in out


def test_issues_can_come_from_a_file(github: GitHub) -> None:
    """As ``gh issue list`` gives them; then ``gh`` is not asked."""
    path = github.folder / "given.json"
    path.write_text("[]", encoding="utf-8")
    assert github.report(ONE, options=["--dry-run", "--issues", str(path)]) == 0
    assert github.read("calls") == []


def test_what_gh_refuses_is_said(github: GitHub, capsys: pytest.CaptureFixture[str]) -> None:
    """The others are done all the same, and the exit code is 1."""
    (github.folder / "refuse").touch()
    assert github.report(ONE, failure(law=LAWS[1])) == 1
    errors = capsys.readouterr().err.splitlines()
    assert errors[1:] == ["gh issue create --title ended with 1: HTTP 403: no"] * 2
    assert github.changes() == ["create", "create"]


@pytest.mark.parametrize("text", ["{", "{}x", '{"a": 1}', "[1]", '[{"number": 1}]'])
def test_what_are_no_issues_is_one_sentence(github: GitHub, capsys: pytest.CaptureFixture[str], text: str) -> None:
    """A list of another kind decides nothing."""
    path = github.folder / "given.json"
    path.write_text(text, encoding="utf-8")
    assert github.report(ONE, options=["--issues", str(path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    with pytest.raises(GitHubError, match="cannot be read"):
        issues_of(github.folder / "nothing.json")


def test_without_gh_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to do."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(GitHubError, match="the command gh is missing: install it, or say --dry-run and --issues FILE"):
        all_issues()


def test_what_cannot_be_read_is_said(github: GitHub, capsys: pytest.CaptureFixture[str]) -> None:
    """A bundle or a verdict that is broken does not keep the others from their issues, and the exit code is 2."""
    bundles = github.write(ONE)
    (bundles / "case.json").write_text("{", encoding="utf-8")
    wrong = github.folder / "replayed.json"
    wrong.write_text('{"a": "MAYBE"}', encoding="utf-8")
    assert main(["--bundles", str(bundles), "--replayed", str(wrong), str(github.folder / "nothing.json")]) == 2
    assert github.changes() == ["create"]
    errors = capsys.readouterr().err
    for part in ("is no JSON document", "needs to hold an object of FIXED, FAILS, CANNOT RUN", "nothing.json"):
        assert part in errors


@pytest.mark.parametrize("output", ["/proc/nope.json", "nowhere/replayed.json", "."])
def test_verdicts_that_cannot_be_written_are_said_first(
    output: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Not after hours of replays: nothing is replayed, and nothing asked for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(replays_module, "all_issues", lambda: pytest.fail("gh was asked"))
    assert replays_module.main(["--output", output]) == 2
    assert re.fullmatch(rf"output={re.escape(repr(output))} cannot be written: .+\n", capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_verdicts_replace_those_that_were_there(github: GitHub, tmp_path: Path) -> None:
    """A file that can be written is left as it is until there is something to write."""
    output = tmp_path / "replayed.json"
    output.write_text("old", encoding="utf-8")
    (github.folder / "given.json").write_text("{", encoding="utf-8")
    arguments = ["--output", str(output), "--issues"]
    assert replays_module.main([*arguments, str(github.folder / "given.json")]) == 2
    assert output.read_text(encoding="utf-8") == "old"
    (github.folder / "given.json").write_text("[]", encoding="utf-8")
    assert replays_module.main([*arguments, str(github.folder / "given.json")]) == 0
    assert read_verdicts(output) == {}


def test_a_folder_that_is_missing_is_said(github: GitHub, capsys: pytest.CaptureFixture[str]) -> None:
    """A name with a slip in it finds nothing, which looks like a night without failures; an empty folder is one."""
    given = github.folder / "given.json"
    given.write_text("[]", encoding="utf-8")
    empty, output = github.folder / "empty", github.folder / "replayed.json"
    empty.mkdir()
    issues = ["--issues", str(given)]
    assert main(["--bundles", str(empty), *issues]) == 0
    assert replays_module.main(["--cases", str(empty), "--output", str(output), *issues]) == 0
    assert capsys.readouterr().err == ""
    assert main(["--bundles", "nowhere", *issues]) == 2
    assert replays_module.main(["--cases", "nowhere", "--output", str(output), *issues]) == 2
    assert capsys.readouterr().err == "bundles='nowhere' is no folder\ncases='nowhere' is no folder\n"
    # A search that found nothing has made no folder.
    assert replays_module.main(["--found", "nowhere", "--output", str(output), *issues]) == 0


def test_the_commands_run_as_the_workflow_runs_them(github: GitHub) -> None:
    """Replay what there are issues about, then decide; what is FIXED is closed."""
    one = failure(law="len-matches-iteration")
    assert github.report(one) == 0
    github.changes()
    shard = github.folder / "found" / "bundles-3.13-1"
    (shard / "failures").mkdir(parents=True)
    command = [sys.executable, "-m", "dynaclr_strategies.fuzzing.replays", "--cases", str(github.folder / "corpus")]
    command += ["--found", str(shard / "failures"), "--output", str(shard / "replayed.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == f"FIXED  {one.name}\n", done.stderr
    found = str(github.folder / "found")
    command = [sys.executable, "-m", "dynaclr_strategies.fuzzing.report", "--bundles", found, "--replayed", found]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "close #1: its cases are FIXED\n0 bundles, 1 issues, 1 decisions\n"
    assert github.changes() == ["close", "comment"]


def test_what_one_machine_found_another_cannot_close(github: GitHub) -> None:
    """A failure of one version of Python is FIXED on the others, and stays open."""
    assert github.report(ONE) == 0
    github.changes()
    for number, verdict in enumerate((Verdict.FIXED, Verdict.FAILS, Verdict.FIXED)):
        shard = github.folder / "verdicts" / f"bundles-{number}"
        shard.mkdir()
        write_verdicts({ONE.name: verdict}, shard / "replayed.json")
    assert github.report() == 0
    assert github.changes() == []
    assert github.states() == ["OPEN"]
