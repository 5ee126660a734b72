"""A failure travels: case files, bundles, replay, the corpus, and the plugin that writes bundles in a run of pytest."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from witnesses import PLAIN, WITNESSES

import dynaclr
import dynaclr_strategies
from dynaclr_strategies import INVARIANTS, InvariantViolation, write_registry
from dynaclr_strategies.cases import IndexCase
from dynaclr_strategies.codec import Plain
from dynaclr_strategies.law_cases import law_cases
from dynaclr_strategies.options import sampler_cases
from dynaclr_strategies.ready_made import two_experiments
from dynaclr_strategies.reproduction import bundles
from dynaclr_strategies.reproduction.attached import FailedCase, attached, check_law, leaves
from dynaclr_strategies.reproduction.bundles import replay_command, replay_command_here, write_bundle
from dynaclr_strategies.reproduction.case_files import CannotRunError, case_text, check_harmless, read_case
from dynaclr_strategies.reproduction.corpus import check_kept, keep_case, kept_cases
from dynaclr_strategies.reproduction.makers import load_maker
from dynaclr_strategies.reproduction.names import can_be_imported, is_label, maker_name
from dynaclr_strategies.reproduction.replay import Verdict, main, replay
from dynaclr_strategies.sampler_descriptions import PLAIN_TABLE, SamplerCase, SamplerOptions
from dynaclr_strategies.table_cases import index_cases

SHORT = next(one for one in WITNESSES if one.law == "batch-size-exact")
SHORT_MAKER = f"composition_witnesses:{SHORT.sampler.__name__}"
PROPERTY = Path(__file__).parents[1] / "property"


def failure(law: str, case: Plain, make: Any, maker: str | None = None) -> tuple[FailedCase, BaseException]:
    """Check a law that does not hold, and return what a bundle is made of."""
    with pytest.raises(InvariantViolation) as caught:
        check_law(law, case, make, maker=maker)
    ((problem, failed),) = leaves(caught.value)
    return failed, problem


SHORT_BATCH = failure("batch-size-exact", SHORT.case, SHORT.sampler)


def edited(folder: str, **changes: Any) -> Path:
    """Write a bundle and change its case file."""
    bundle = write_bundle(*SHORT_BATCH, Path(folder))
    content = json.loads((bundle / "case.json").read_text(encoding="utf-8"))
    content.update(changes)
    (bundle / "case.json").write_text(json.dumps(content), encoding="utf-8")
    return bundle


# --- attaching --------------------------------------------------------------------------------------------------------


def test_the_innermost_case_travels() -> None:
    """A case is attached once, where the law was checked, and found in groups of groups."""
    inner, outer = FailedCase("resume", PLAIN), FailedCase("elastic", PLAIN)
    with pytest.raises(ValueError, match="broken") as caught, attached(outer), attached(inner):
        raise ValueError("broken")
    group = ExceptionGroup("all", [ExceptionGroup("some", [caught.value]), ValueError("without a case")])
    assert leaves(group) == [(caught.value, inner)]


# --- case files -------------------------------------------------------------------------------------------------------


@given(case=sampler_cases())
def test_sampler_cases_travel(case: SamplerCase) -> None:
    """What is read is what was written."""
    check_travels(FailedCase("resume", case))


@settings(max_examples=max(10, settings().max_examples // 4))
@given(case=index_cases())
def test_index_cases_travel(case: IndexCase) -> None:
    """Registries of all kinds are read as they were written."""
    check_travels(FailedCase(next(law.law for law in INVARIANTS.values() if law.subject == "index"), case))


def check_travels(failed: FailedCase) -> None:
    """Write a case file and read it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "case.json")
        path.write_text(case_text(failed, ValueError("a: b, but should be c")), encoding="utf-8")
        stored = read_case(path)
    assert stored.failed == failed
    assert stored.message == "a: b, but should be c"
    assert {"python", "dynaclr", "numpy", "pandas", "torch", "hypothesis"} <= set(stored.versions)


def test_a_case_says_law_sentence_seed_and_error() -> None:
    """People can read the file without this package."""
    content = json.loads(case_text(*SHORT_BATCH))
    assert content["law"] == "batch-size-exact"
    assert content["sentence"] == "Every batch holds exactly ``batch_size`` indices."
    assert content["seed"] == SHORT.case.options.seed
    assert content["error"] == "InvariantViolation"
    assert content["format"] == 1


HUGE = two_experiments().to_plain()
HUGE["experiments"][0]["wells"][0]["fovs"][0]["frames"] = 10**9


def _named(**names: str) -> Any:
    """Return the plain case of an index whose first well, FOV or store has another name."""
    registry = two_experiments().to_plain()
    first = registry["experiments"][0]
    first["store"] = names.get("store")
    first["wells"][0]["name"] = names.get("well", "A/1")
    first["wells"][0]["fovs"][0]["name"] = names.get("fov", "0")
    return {"registry": registry}


OF_INDEX = next(law.law for law in INVARIANTS.values() if law.subject == "index")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": 2}, "format=2 is newer than 1"),
        ({"format": "1"}, "is no case"),
        ({"law": "batch-size-exakt"}, "law='batch-size-exakt' is not known here; did you mean batch-size-exact"),
        ({"law": ["resume"]}, "is not known here"),
        ({"case": {"table": 3}}, "the case of law 'batch-size-exact' cannot be read"),
        ({"case": None}, "cannot be read: SamplerCase must be a mapping, got None"),
        ({"maker": "os:system; true"}, "maker='os:system; true' must be 'module:function'"),
        ({"maker": "os:system"}, "the case is about 'os:system'; if you trust it, say --sampler os:system"),
        ({"law": OF_INDEX, "case": {"registry": HUGE}}, "voxels, but needs at most"),
        ({"law": OF_INDEX, "case": _named(store="../../etc/x")}, "store name '../../etc/x' of experiment"),
        ({"law": OF_INDEX, "case": _named(store="/etc/x")}, "leads out of its folder"),
        ({"law": OF_INDEX, "case": _named(well="../..")}, "FOV name '../../0' of experiment"),
        ({"law": OF_INDEX, "case": _named(fov="..\\x")}, "leads out of its folder"),
        ({"law": "single-experiment", "case": None}, "cannot be read"),
    ],
)
def test_what_cannot_run_says_why(changes: dict[str, Any], reason: str) -> None:
    """A bundle from a newer version or from a stranger is refused in one sentence, and nothing is run or written."""
    with tempfile.TemporaryDirectory() as folder:
        result = replay(edited(folder, **changes))
    assert result.verdict is Verdict.CANNOT_RUN
    assert reason in result.text
    assert "\n" not in result.text


@pytest.mark.parametrize(
    "label", ["my-sampler:make_sampler", "build.<locals>:TestMine.make", "m:<lambda>", "m:f.<locals>.g"]
)
def test_the_name_of_a_maker_is_a_label(label: str) -> None:
    """Whatever a conformance run calls a sampler comes back, and another can be named instead."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = edited(folder, maker=label)
        assert read_case(bundle).failed.maker == label
        result = replay(bundle)
        assert result.verdict is Verdict.CANNOT_RUN
        way = "it needs --sampler MODULE:FUNCTION" if "<" in label else f"say --sampler {label}"
        assert f"the case is about {label!r}" in result.text
        assert way in result.text
        assert replay(bundle, SHORT_MAKER).verdict is Verdict.FAILS


@pytest.mark.parametrize("maker", ["os:system; true", "x", "", 5, ["os:system"], "a:b\n", "`a`:b", "x" * 999 + ":y"])
def test_a_maker_that_is_given_is_not_read(maker: Any) -> None:
    """What stands in the file decides nothing where somebody says what to check."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = edited(folder, maker=maker)
        assert "must be 'module:function' or null" in replay(bundle).text
        assert replay(bundle, SHORT_MAKER).verdict is Verdict.FAILS


def test_a_law_that_does_not_apply_cannot_run() -> None:
    """A verdict about nothing would be a wrong one."""
    with tempfile.TemporaryDirectory() as folder:
        result = replay(edited(folder, law="lineage-exclusive"))
    assert result == type(result)(
        Verdict.CANNOT_RUN, "law 'lineage-exclusive' does not apply to the case, it needs: exclusive_by"
    )


SILENT = """
from dynaclr_strategies.oracles.reference_sampler import ReferenceSampler

def batches(table, options):
    return list(ReferenceSampler(table, options))
"""
PAIRS = SamplerCase(table=PLAIN_TABLE, options=SamplerOptions(batch_size=2, leaky=0.5))


def test_a_law_that_cannot_be_judged_cannot_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two anchors of two experiments nobody knows which one leaked, if the sampler does not tell."""
    (tmp_path / "silent.py").write_text(SILENT, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "case.json"
    path.write_text(case_text(FailedCase("leak-uniform", PAIRS), InvariantViolation("", "", "", "")), encoding="utf-8")
    result = replay(path, "silent:batches")
    assert result.verdict is Verdict.CANNOT_RUN
    assert result.text.startswith("law 'leak-uniform' cannot be judged on the case: as many anchors leak as do not")


@pytest.mark.parametrize("content", [None, b"", b"[1]", b"{", b"\xff\xfe", b"[" * 100_000, b" " * (5 * 2**20)])
def test_what_is_no_case_cannot_run(content: bytes | None) -> None:
    """Missing, empty, broken, binary, deep and huge files get a sentence."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "case.json")
        if content is not None:
            path.write_bytes(content)
        assert replay(path).verdict is Verdict.CANNOT_RUN


def _registry(**changes: Any) -> Any:
    """Return the plain registry whose first experiment, FOV or track has other numbers."""
    registry = two_experiments().to_plain()
    first = registry["experiments"][0]
    fov = first["wells"][0]["fovs"][0]
    for name, value in changes.items():
        (first if name in first else fov if name in fov else fov["tracks"][0])[name] = value
    return registry


def _sampled(**options: Any) -> Any:
    """Return the plain case of a sampler with other options, or another first stratum."""
    plain = PLAIN.to_plain()
    for name, value in options.items():
        inner = plain["options"] if name in plain["options"] else plain["table"]["strata"][0]
        inner[name] = value
    return plain


OF_DATASET = next(law.law for law in INVARIANTS.values() if law.subject == "dataset")
OF_MODULE = next(law.law for law in INVARIANTS.values() if law.subject == "datamodule")


@pytest.mark.parametrize(
    ("law", "case", "reason"),
    [
        ("resume", _sampled(batch_size=4_000_000_000, drop_last=False), "batch_size=4000000000 "),
        ("resume", _sampled(batch_size=0), "batch_size=0 "),
        ("resume", _sampled(num_replicas=10**9), "num_replicas=1000000000 "),
        ("resume", _sampled(leaky=1.0), "leaky=1.0 "),
        ("resume", _sampled(leaky=float("nan")), "leaky=nan "),
        ("resume", _sampled(temporal_global_fraction=-1.0), "temporal_global_fraction=-1.0 "),
        ("resume", _sampled(temporal_window_hours=float("inf")), "temporal_window_hours=inf "),
        ("resume", _sampled(group_by=["nope"]), "group_by=('nope',) needs to be of the columns"),
        ("resume", _sampled(exclusive_by="nope"), "exclusive_by='nope' needs to be of the columns"),
        ("resume", _sampled(cells=-(10**9)), "cells=-1000000000 "),
        ("life", {**_sampled(), "ranks": 10**8}, "ranks=100000000 "),
        (OF_INDEX, {"registry": _registry(chunks=[1, 1, 4, 4, 4], shards=[1, 1, 1, 8000, 8000])}, "shards="),
        (OF_INDEX, {"registry": _registry(chunks=[1, 1, 8, 8, 8], shards=[9000, 9, 1, 1, 1])}, "shards="),
        (OF_INDEX, {"registry": _registry(chunks=[1, 1, 0, 4, 4])}, "chunks=(1, 1, 0, 4, 4) "),
        (OF_INDEX, {"registry": _registry(chunks=[1, 1, 1, 1, 1], y=200, x=200)}, "chunks=(1, 1, 1, 1, 1) "),
        (OF_INDEX, {"registry": _registry(frames=10**12, y=0)}, "voxels"),
        (OF_INDEX, {"registry": _registry(interval_minutes=1e-9)}, "tau_range_hours=(0.5, 2.0) "),
        (OF_INDEX, {"registry": _registry(interval_minutes=0.0)}, "interval_minutes=0.0 "),
        (
            OF_INDEX,
            {"registry": _registry(), "tau_range_hours": [0.0, 1e13]},
            "tau_range_hours=(0.0, 10000000000000.0) ",
        ),
        (OF_INDEX, {"registry": _registry(), "tau_range_hours": [0.0, float("nan")]}, "tau_range_hours=(0.0, nan) "),
        (OF_INDEX, {"registry": _registry(), "yx_patch_size": [10**6, 10**6]}, "yx_patch_size=(1000000, 1000000) "),
        (OF_INDEX, {"registry": _registry(), "z_range": [0, 10**12]}, "z_range=(0, 1000000000000) "),
        (OF_DATASET, {"index": {"registry": _registry()}, "batch": [0] * 200_000}, "batch with 200000 rows "),
        (
            OF_MODULE,
            {"index": {"registry": _registry()}, "sampling": {}, "num_workers": 10**5},
            "num_workers=100000 ",
        ),
        (
            OF_MODULE,
            {"index": {"registry": _registry()}, "sampling": {}, "final_yx_patch_size": [10**5, 10**5]},
            "final_yx_patch_size=(100000, 100000) ",
        ),
    ],
)
def test_what_would_fill_memory_or_time_is_refused(law: str, case: Any, reason: str, tmp_path: Path) -> None:
    """Whatever is computed from a number of the case: one sentence that names it, before anything is made."""
    path = tmp_path / "case.json"
    path.write_text(json.dumps({"format": 1, "law": law, "case": case}), encoding="utf-8")
    with pytest.raises(CannotRunError) as caught:
        read_case(path)
    assert reason in str(caught.value)
    assert "needs " in str(caught.value)


@pytest.mark.parametrize("law", sorted({law.subject: name for name, law in INVARIANTS.items()}.values()))
def test_what_is_drawn_is_harmless(law: str) -> None:
    """No bound is in the way of a case that the strategies draw."""

    @settings(max_examples=max(20, settings().max_examples // 2), suppress_health_check=[HealthCheck.too_slow])
    @given(case=law_cases(law))
    def holds(case: Plain) -> None:
        check_harmless(case)

    holds()


def test_names_that_leave_the_folder_are_not_written() -> None:
    """The writer itself refuses them, before it writes anything."""
    description = IndexCase.from_plain(_named(fov="../../../x")).registry
    with tempfile.TemporaryDirectory() as folder:
        with pytest.raises(ValueError, match="leads out of its folder"):
            write_registry(description, Path(folder, "root"))
        assert not list(Path(folder).iterdir())


def test_nothing_is_pickled() -> None:
    """No module that writes or reads cases knows pickle, nor anything else that runs what it reads."""
    folder = Path(dynaclr_strategies.__file__).parent
    for path in [*folder.glob("reproduction/**/*.py"), folder / "codec.py"]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
        imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        called = {
            node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not imported & {"pickle", "marshal", "shelve", "dill", "joblib"}, path
        assert not called & {"eval", "exec", "__import__"}, path


# --- bundles ----------------------------------------------------------------------------------------------------------


def test_a_bundle_holds_case_input_words_and_picture() -> None:
    """Everything that somebody needs who gets it by mail."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = write_bundle(*SHORT_BATCH, Path(folder))
        assert sorted(path.name for path in bundle.iterdir()) == ["README.md", "case.json", "input", "picture.png"]
        assert sorted(path.name for path in bundle.glob("input/*")) == ["anchors.csv"]
        readme = (bundle / "README.md").read_text(encoding="utf-8")
        assert (bundle / "picture.png").read_bytes().startswith(b"\x89PNG")
    for part in (SHORT_BATCH[1].seen, SHORT_BATCH[1].expected, f"dynaclr-replay {bundle.name}", "batch_size: 6"):  # type: ignore[attr-defined]
        assert part in readme


def test_a_bundle_of_a_registry_holds_its_files() -> None:
    """Stores, tracks and YAML can be opened with any other program."""
    failed = FailedCase(OF_INDEX, IndexCase(registry=two_experiments()))
    with tempfile.TemporaryDirectory() as folder:
        bundle = write_bundle(failed, ValueError("broken"), Path(folder))
        names = {path.name for path in bundle.glob("input/*")}
        assert "`ValueError` was raised" in (bundle / "README.md").read_text(encoding="utf-8")
    assert names == {"exp_alpha.zarr", "exp_beta.zarr", "tracks", "experiments.yml"}


def test_a_large_case_travels_without_its_files() -> None:
    """The case is small even where what is expanded from it is not; the bundle says so."""
    registry = two_experiments(frames=100, size=(512, 512))
    with tempfile.TemporaryDirectory() as folder:
        bundle = write_bundle(FailedCase(OF_INDEX, IndexCase(registry=registry)), ValueError("broken"), Path(folder))
        assert not (bundle / "input").exists()
        assert "no files of the case: the registry" in (bundle / "README.md").read_text(encoding="utf-8")
        assert sum(path.stat().st_size for path in bundle.rglob("*")) < 2**20


def test_under_tox_the_command_replays_with_the_code_of_the_clone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which another environment need not have installed."""
    monkeypatch.setenv("TOX_ENV_NAME", "property")
    monkeypatch.chdir(tmp_path)  # under the tox of another project
    assert replay_command_here(Path("a b"), "m:f") == replay_command(Path("a b"), "m:f")
    (tmp_path / "src" / "dynaclr").mkdir(parents=True)
    assert replay_command_here(Path("a b"), "m:f") == "tox -e replay -- 'a b' --sampler m:f"
    monkeypatch.delenv("TOX_ENV_NAME")
    assert replay_command_here(Path("a b"), "m:f") == replay_command(Path("a b"), "m:f")


def test_a_replay_says_with_which_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And warns in a clone that holds another."""
    code = Path(dynaclr.__file__).parent
    bundle = write_bundle(FailedCase("batch-size-exact", SHORT.case), SHORT_BATCH[1], tmp_path)
    monkeypatch.chdir(tmp_path)
    main([str(bundle)])
    assert capsys.readouterr().out.splitlines()[-1] == f"with dynaclr from {code}"
    shutil.copytree(code, tmp_path / "src" / "dynaclr")  # as tox installs it
    main([str(bundle)])
    assert capsys.readouterr().out.splitlines()[-1] == f"with dynaclr from {code}"
    (tmp_path / "src" / "dynaclr" / "wording.py").write_text("# changed", encoding="utf-8")
    main([str(bundle)])
    other = f"which is not that of {tmp_path / 'src' / 'dynaclr'} (`tox -e replay -- BUNDLE` replays with it)"
    assert capsys.readouterr().out.splitlines()[-1] == f"with dynaclr from {code}, {other}"


def test_what_a_sampler_raises_is_told_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Type, file and line in its own code, not in the library that asked."""
    bundle = write_bundle(FailedCase("batch-size-exact", SHORT.case), SHORT_BATCH[1], tmp_path)
    own = tmp_path / "raising_sampler.py"
    own.write_text("def make(table, options):\n    return table.nothing\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    found = replay(bundle, "raising_sampler:make")
    assert found.verdict is Verdict.FAILS
    assert found.text.startswith(f"AttributeError at {own}:2 in make: 'DataFrame' object has no attribute 'nothing'")
    compiled = tmp_path / "compiled_sampler.py"  # it fails in a file that is not there
    choice = "np.random.default_rng(0).choice(5, 9, replace=False)"
    compiled.write_text(f"import numpy as np\ndef make(table, options):\n    {choice}\n", encoding="utf-8")
    assert replay(bundle, "compiled_sampler:make").text.startswith(f"ValueError at {compiled}:3 in make: ")


def test_the_command_to_replay_is_one_that_a_shell_takes() -> None:
    """Spaces are quoted; a maker that cannot be imported is left to the reader, with the reason."""
    assert replay_command(Path("b")) == "dynaclr-replay b"
    assert replay_command(Path("a b"), "my mod:make") == "dynaclr-replay 'a b' --sampler 'my mod:make'"
    assert replay_command(Path("b"), "m:f.<locals>.g") == "dynaclr-replay b --sampler MODULE:FUNCTION"
    with tempfile.TemporaryDirectory() as folder:
        failed = FailedCase("batch-size-exact", SHORT.case, "m:f.<locals>.g")
        readme = (write_bundle(failed, SHORT_BATCH[1], Path(folder)) / "README.md").read_text(encoding="utf-8")
    assert "Subject: sampler (`m:f.<locals>.g`)" in readme
    assert "`m:f.<locals>.g` cannot be imported by that name" in readme
    assert "--sampler MODULE:FUNCTION" in readme


def test_the_same_failure_has_one_bundle() -> None:
    """Written twice it is replaced; another case or law gets another; drafts never stay."""
    other = failure("indices-in-range", PLAIN, next(w.sampler for w in WITNESSES if w.law == "indices-in-range"))
    with tempfile.TemporaryDirectory() as folder:
        first = write_bundle(*SHORT_BATCH, Path(folder))
        (first / "old").touch()
        assert write_bundle(*SHORT_BATCH, Path(folder)) == first
        assert not (first / "old").exists()
        assert write_bundle(*other, Path(folder)) != first
        assert len(list(Path(folder).iterdir())) == 2


def test_another_failure_on_the_same_case_has_its_own_bundle() -> None:
    """What is told in other words is kept beside what was there, and each is replaced by itself."""
    failed, problem = SHORT_BATCH
    with tempfile.TemporaryDirectory() as folder:
        first = write_bundle(failed, problem, Path(folder))
        other = write_bundle(failed, OverflowError("too many"), Path(folder))
        third = write_bundle(failed, TimeoutError("the check did not end within 60 s"), Path(folder))
        assert (other.name, third.name) == (f"{first.name}-2", f"{first.name}-3")
        assert f"dynaclr-replay {other.name}\n" in (other / "README.md").read_text(encoding="utf-8")
        for one, path in ((problem, first), (OverflowError("too many"), other)):
            (path / "old").touch()
            assert write_bundle(failed, one, Path(folder)) == path
            assert not (path / "old").exists()
        assert write_bundle(failed, TimeoutError("the check did not end within 90 s"), Path(folder)) == third
        assert [read_case(path).message for path in (first, other)] == [str(problem), "too many"]
        (first / "case.json").write_text("{}", encoding="utf-8")  # nobody knows what this is
        assert write_bundle(failed, problem, Path(folder)).name == f"{first.name}-4"
        assert sorted(path.name for path in Path(folder).iterdir()) == [
            first.name,
            *(f"{first.name}-{number}" for number in (2, 3, 4)),
        ]


@pytest.mark.parametrize("is_other", [True, False])
def test_a_faster_worker_loses_nothing(monkeypatch: pytest.MonkeyPatch, *, is_other: bool) -> None:
    """Who finds the place taken at the last moment leaves it to another failure, and shares it with the same one."""
    failed, problem = SHORT_BATCH
    fill = bundles._fill
    with tempfile.TemporaryDirectory() as folder:

        def overtaken(one: FailedCase, raised: BaseException, bundle: Path) -> None:
            fill(one, raised, bundle)
            monkeypatch.setattr(bundles, "_fill", fill)
            write_bundle(failed, OverflowError("faster") if is_other else problem, Path(folder))

        monkeypatch.setattr(bundles, "_fill", overtaken)
        written = write_bundle(failed, problem, Path(folder))
        found = {path: read_case(path).message for path in Path(folder).iterdir()}
        assert found[written] == str(problem)
        assert sorted(found.values()) == sorted([str(problem), "faster"] if is_other else [str(problem)])


def test_a_bundle_is_written_whole_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """What breaks off leaves the bundle that was there, and no draft."""

    def break_off(*_: Any) -> str:
        raise OSError("no space left")

    with tempfile.TemporaryDirectory() as folder:
        bundle = write_bundle(*SHORT_BATCH, Path(folder))
        before = (bundle / "README.md").read_bytes()
        monkeypatch.setattr(bundles, "_readme", break_off)
        with pytest.raises(OSError, match="no space"):
            write_bundle(*SHORT_BATCH, Path(folder))
        assert (bundle / "README.md").read_bytes() == before
        assert list(Path(folder).iterdir()) == [bundle]


# --- replay -----------------------------------------------------------------------------------------------------------


def test_replay_tells_fixed_from_failing(capsys: pytest.CaptureFixture[str]) -> None:
    """On dynaclr's own sampler the law holds; on the broken one it still fails."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = write_bundle(*SHORT_BATCH, Path(folder))
        assert main([str(bundle)]) == 0
        assert capsys.readouterr().out.startswith("FIXED  ")
        assert main([str(bundle), "--sampler", SHORT_MAKER]) == 1
        out = capsys.readouterr().out
        assert out.startswith("FAILS  ")
        assert str(SHORT_BATCH[1]) in out
        assert main([str(bundle), str(bundle / "nothing"), "--sampler", SHORT_MAKER]) == 1
        assert main([str(bundle), str(bundle / "nothing")]) == 2


@pytest.mark.parametrize(
    ("spec", "reason"),
    [("nowhere:make", "No module named 'nowhere'"), ("witnesses:Nobody", "Nobody"), ("witnesses:PLAIN", "called")],
)
def test_a_sampler_that_cannot_be_is_a_reason(spec: str, reason: str) -> None:
    """Nothing is replayed with something else."""
    with pytest.raises(CannotRunError, match=reason):
        load_maker(spec)
    with tempfile.TemporaryDirectory() as folder:
        assert replay(write_bundle(*SHORT_BATCH, Path(folder)), spec).verdict is Verdict.CANNOT_RUN


BREAKING = {
    "RuntimeError": "raise RuntimeError('no\\ngpu')\n",
    "SyntaxError": "def make(:\n",
    "SystemExit": "import sys\nsys.exit('no licence')\n",
    "Skipped": "import pytest\npytest.skip('not here', allow_module_level=True)\n",
    "TypeError": "max(1)\n",
}


@pytest.mark.parametrize("error", BREAKING)
def test_a_sampler_that_breaks_at_import_is_a_reason(
    error: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever its module raises, it is one sentence, and never the verdict that the law is broken."""
    (tmp_path / f"breaks_{error.lower()}.py").write_text(BREAKING[error], encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    result = replay(write_bundle(*SHORT_BATCH, tmp_path), f"breaks_{error.lower()}:make")
    assert result.verdict is Verdict.CANNOT_RUN
    assert result.text.startswith(f"sampler='breaks_{error.lower()}:make' cannot be imported: {error}: ")
    assert "\n" not in result.text


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("..x:f", "sampler='..x:f' needs to be module:function, but '..x' is no name of a module"),
        ("os:getcwd", "sampler='os:getcwd' needs to take (table, options), but "),
        ("builtins:print", "sampler='builtins:print' returned None, but needs to return an iterable of batches"),
        (":make", "sampler=':make' needs to be module:function, but '' is no name of a module"),
    ],
)
def test_what_makes_no_sampler_is_a_reason(spec: str, reason: str, tmp_path: Path) -> None:
    """Something that can be called, but not like a maker, breaks no law."""
    result = replay(write_bundle(*SHORT_BATCH, tmp_path), spec)
    assert result.verdict is Verdict.CANNOT_RUN
    assert result.text.startswith(reason)


def test_a_sampler_that_ends_the_process_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit code is the verdict's, not that of the code under test."""
    (tmp_path / "leaves.py").write_text("def make(table, options):\n    raise SystemExit(0)\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert replay(write_bundle(*SHORT_BATCH, tmp_path), "leaves:make").verdict is Verdict.FAILS


def test_a_case_that_breaks_before_anything_is_made_cannot_run(tmp_path: Path) -> None:
    """What nobody was asked to make cannot have broken a law: the case itself is not valid."""
    content = json.loads(case_text(*SHORT_BATCH))
    content["case"]["options"]["group_by"] = ["nope"]
    path = tmp_path / "case.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    result = replay(path)
    assert result.verdict is Verdict.CANNOT_RUN
    assert "'nope'" in result.text
    empty = _named(well="A/1")
    empty["registry"]["experiments"][0]["wells"][0]["fovs"][0]["tracks"][0]["frames"] = []
    path.write_text(json.dumps({**content, "law": OF_INDEX, "case": empty}), encoding="utf-8")
    result = replay(path)
    assert (result.verdict, result.text.partition(":")[0]) == (Verdict.CANNOT_RUN, "the case is not valid")


def test_replay_looks_into_the_current_folder(tmp_path: Path) -> None:
    """The command that a conformance run prints works where it was printed, as ``python -m`` would."""
    bundle = write_bundle(*SHORT_BATCH, tmp_path / "failures")
    code = "from dynaclr_strategies.subjects.sampler import make_flexible as make\n"
    (tmp_path / "in_this_folder.py").write_text(code, encoding="utf-8")
    # As an installed command runs: the folder of the command comes first on the path, not the current one.
    program = "import sys\nsys.path.remove('')\n"
    program += "from dynaclr_strategies.reproduction.replay import main\nsys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, str(bundle), "--sampler", "in_this_folder:make"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout.startswith("FIXED"), done.stdout + done.stderr


def test_a_strangers_text_is_printed_spelled_out(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing that steers a terminal, that no terminal can print, or that looks like another verdict."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = edited(folder, message="\x1b[2J\x1b]0;owned\x07 \x9b1m \ud800 \u202e µ\nFAILS  elsewhere")
        assert main([str(bundle)]) == 0
    out = capsys.readouterr().out
    assert "\\x1b[2J\\x1b]0;owned\\x07 \\x9b1m \\ud800 \\u202e µ\n    FAILS  elsewhere\n" in out
    assert all(sign.isprintable() or sign == "\n" for sign in out)


def test_verdicts_can_be_printed_in_any_encoding(tmp_path: Path) -> None:
    """A terminal that knows ASCII alone gets the other letters as escapes."""
    bundle = edited(str(tmp_path), message="0.5 µm")
    command = [sys.executable, "-m", "dynaclr_strategies.reproduction.replay", str(bundle)]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert "broken with: 0.5 \\xb5m" in done.stdout


def test_a_message_that_no_file_can_hold_is_written(tmp_path: Path) -> None:
    """Half a character, as a message may quote it from a file name, comes back from the bundle as it was."""
    failed, _ = SHORT_BATCH
    bundle = write_bundle(failed, ValueError("store '\udce9.zarr'"), tmp_path)
    assert read_case(bundle).message == "store '\udce9.zarr'"


WITHOUT_HYPOTHESIS = """
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "hypothesis" else find(name, *rest)
sys.modules["hypothesis"] = sys.modules["pytest"] = None
from dynaclr_strategies.reproduction.replay import main
sys.exit(main(sys.argv[1:]))
"""


def test_replay_needs_neither_hypothesis_nor_pytest(tmp_path: Path) -> None:
    """Where both are not installed, the verdict is the same."""
    bundle = write_bundle(*SHORT_BATCH, tmp_path)
    command = [sys.executable, "-c", WITHOUT_HYPOTHESIS, str(bundle)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("FIXED")


def test_replay_of_a_sampler_with_claims_needs_neither(tmp_path: Path) -> None:
    """Its module imports `Claims`, as the page on conformance says."""
    (tmp_path / "claiming.py").write_text(
        "from dynaclr_strategies.conformance import Claims\n"
        "def make_sampler(table, options):\n    return [[0]]\n"
        "make_sampler.claims = Claims(axes=[], ranks=False, order=False, last_batch=False)\n"
    )
    failed, problem = SHORT_BATCH
    bundle = write_bundle(replace(failed, maker="claiming:make_sampler"), problem, tmp_path)
    command = [sys.executable, "-c", WITHOUT_HYPOTHESIS, str(bundle), "--sampler", "claiming:make_sampler"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.startswith("FAILS")


# --- the corpus -------------------------------------------------------------------------------------------------------


def test_keeping_a_case_copies_it(capsys: pytest.CaptureFixture[str]) -> None:
    """The copy is named by law and case, is checked like any other, and needs a corpus to go to."""
    with tempfile.TemporaryDirectory() as folder:
        bundle, corpus = write_bundle(*SHORT_BATCH, Path(folder, "failures")), Path(folder, "corpus")
        assert main(["--keep", "--corpus", str(corpus), str(bundle)]) == 2
        assert "needs to be a folder" in capsys.readouterr().out
        corpus.mkdir()
        assert main(["--keep", "--corpus", str(corpus), str(bundle)]) == 0
        (kept,) = kept_cases(corpus)
        assert kept.name == f"{bundle.name}.json"
        check_kept(kept)
        assert keep_case(kept, corpus) == kept


def test_a_corpus_that_cannot_be_written_to_is_a_reason(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Not a stack trace, and not the exit code of a law that is broken."""
    bundle = write_bundle(*SHORT_BATCH, tmp_path)
    assert main(["--keep", "--corpus", "/proc", str(bundle)]) == 2
    assert "not kept: corpus='/proc' cannot be written to: " in capsys.readouterr().out


def test_a_kept_case_that_says_nothing_is_an_error() -> None:
    """A case to which its law does not apply would keep nothing fixed."""
    with tempfile.TemporaryDirectory() as folder, pytest.raises(CannotRunError, match="does not apply"):
        check_kept(edited(folder, law="lineage-exclusive") / "case.json")


# --- the plugin -------------------------------------------------------------------------------------------------------

SUITE = """
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from composition_witnesses import LengthOfAllRanks, ShortLastBatch
from witnesses import PLAIN, case
from dynaclr_strategies.holding import hold
from dynaclr_strategies.reproduction.attached import FailedCase, attached
from dynaclr_strategies.sampler_descriptions import LifeCase, LifeStep

settings.register_profile("unexplained", phases=[phase for phase in Phase if phase is not Phase.explain])
settings.load_profile("unexplained")
cases = st.integers(0, 99).map(lambda seed: case(drop_last=False, num_replicas=3, rank=2, seed=seed))

@given(case=cases)
def test_holds(case):
    hold("indices-in-range", case)

@given(case=cases)
def test_one_bug(case):
    hold("batch-size-exact", case, ShortLastBatch)

@given(case=cases)
def test_two_bugs(case):
    if case.options.seed % 2:
        hold("batch-size-exact", case, ShortLastBatch)
    else:
        hold("len-matches-iteration", case, LengthOfAllRanks)

@example(case=PLAIN)
@given(case=cases)
def test_example(case):
    with attached(FailedCase("resume", case)):
        assert case != PLAIN

@pytest.mark.parametrize("law", ["batch-size-exact", "elastic"])
def test_parametrized(law):
    with attached(FailedCase(law, PLAIN)):
        raise ZeroDivisionError("by zero")

def test_another_error():
    with attached(FailedCase("elastic", PLAIN)):
        raise OverflowError("too large")

def test_without_a_case():
    assert 1 == 2

class Machine(RuleBasedStateMachine):
    @rule(n=st.integers())
    def step(self, n):
        case = LifeCase(table=PLAIN.table, options=PLAIN.options, steps=(LifeStep(action="look", first=n),))
        with attached(FailedCase("life", case)):
            assert n < 5

TestMachine = Machine.TestCase
"""


def outside_tox() -> dict[str, str]:
    """Return the environment of a shell in which no environment of tox is active."""
    return {name: value for name, value in os.environ.items() if name != "TOX_ENV_NAME"}


@pytest.mark.parametrize("workers", [0, 2])
def test_every_distinct_failure_leaves_one_bundle(workers: int) -> None:
    """Of one and several bugs per test, examples, parameters and state machines, in one process and in several."""
    with tempfile.TemporaryDirectory() as folder:
        suite, failures = Path(folder, "test_suite.py"), Path(folder, "failures")
        suite.write_text(SUITE, encoding="utf-8")
        command = [sys.executable, "-m", "pytest", str(suite), "-p", "no:cacheprovider", "-c", "/dev/null"]
        command += [f"--rootdir={folder}", f"--dynaclr-bundles={failures}", *(["-n", str(workers)] if workers else [])]
        environment = {**outside_tox(), "PYTHONPATH": str(PROPERTY), "CI": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, check=False)
        assert done.returncode == 1, done.stdout + done.stderr
        written = sorted(read_case(path).failed.law for path in failures.iterdir())
        # One bug, a second case of the same law where the seed is odd, and the parameter; two errors on the same case;
        # the others once each.
        assert written == ["batch-size-exact"] * 3 + ["elastic"] * 2 + ["len-matches-iteration", "life", "resume"]
        looks = [read_case(path).failed.case for path in failures.glob("life-*")]
        assert [case.steps[0].first for case in looks] == [5]  # type: ignore[attr-defined]
        for path in failures.iterdir():
            assert f"replay: dynaclr-replay {path}" in done.stdout
        assert "8 bundles written" in done.stdout
        assert f"of {len(INVARIANTS)} laws checked" in done.stdout


OWN_MAKERS = """
from functools import partial
from hypothesis import given, settings, strategies as st
from composition_witnesses import ShortLastBatch
from witnesses import PLAIN, case
from dynaclr_strategies.holding import hold

settings.register_profile("quick", phases=["generate"], max_examples=5) or settings.load_profile("quick")
CASE = case(drop_last=False)

def make_short(table, options):
    return ShortLastBatch(table, options)

@given(case=st.just(CASE))
def test_named(case):
    hold("batch-size-exact", case, make_short)

@given(case=st.just(CASE))
def test_nameless(case):
    hold("batch-size-exact", case, lambda table, options: ShortLastBatch(table, options))
"""


def test_a_bundle_names_the_maker_of_the_test(tmp_path: Path) -> None:
    """The printed command shows the failure again; without its maker the case cannot run, instead of being FIXED."""
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks" / "test_own.py").write_text(OWN_MAKERS, encoding="utf-8")
    paths = [str(PROPERTY), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {**outside_tox(), "PYTHONPATH": os.pathsep.join(paths), "CI": "1"}
    command = [sys.executable, "-m", "pytest", "checks", "-p", "no:cacheprovider", "-c", "/dev/null"]
    command += [f"--rootdir={tmp_path}", "--dynaclr-bundles=failures"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    bundles = {str(read_case(path).failed.maker): path for path in (tmp_path / "failures").iterdir()}
    assert sorted(bundles) == ["test_own:make_short", "test_own:test_nameless.<locals>.<lambda>"], done.stdout
    assert [replay(path).verdict for path in bundles.values()] == [Verdict.CANNOT_RUN] * 2
    named, nameless = bundles["test_own:make_short"], bundles["test_own:test_nameless.<locals>.<lambda>"]
    assert f"replay: dynaclr-replay {named} --sampler test_own:make_short\n" in done.stdout
    assert f"the module test_own was found in {tmp_path / 'checks'}" in done.stdout
    assert f"replay: dynaclr-replay {nameless} --sampler MODULE:FUNCTION\n" in done.stdout
    again = [sys.executable, "-m", "dynaclr_strategies.reproduction.replay", str(named), "--sampler"]
    for folder in (tmp_path, tmp_path / "checks"):
        verdict = subprocess.run(
            [*again, "test_own:make_short"], capture_output=True, text=True, env=environment, cwd=folder, check=False
        )
        assert verdict.stdout.startswith("FAILS" if folder.name == "checks" else "CANNOT RUN"), verdict.stderr


def _decorated(make: Any) -> Any:
    return wraps(make)(lambda *given: [make(*given)])


def _plain_maker() -> None:
    """Be found by name."""


@_decorated
def _wrapped_maker() -> None:
    """Be found by name too."""


class _Maker:
    def __call__(self) -> None:
        """Be found by no name."""

    def make(self) -> None:
        """Be found by no name either."""

    @classmethod
    def of(cls) -> None:
        """Be found by name."""


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (_plain_maker, "test_reproduction:_plain_maker"),
        (_wrapped_maker, "test_reproduction:_wrapped_maker"),
        (_Maker, "test_reproduction:_Maker"),
        (_Maker.of, "test_reproduction:_Maker.of"),
        (_Maker(), "test_reproduction:<_Maker>"),
        (_Maker().make, "test_reproduction:<_Maker.make>"),
        (partial(_plain_maker), "functools:<partial>"),
        (_wrapped_maker.__wrapped__, "test_reproduction:<_wrapped_maker>"),
    ],
)
def test_makers_are_named_by_what_imports_them(make: Any, name: str) -> None:
    """A name that would import something else is none; it is a label all the same."""
    found = maker_name(make)
    assert is_label(found)
    assert found == name.replace("test_reproduction", __name__)
    assert can_be_imported(found) == ("<" not in name)
    if can_be_imported(found):
        assert load_maker(found) == make


def test_runs_without_laws_say_nothing() -> None:
    """The plugin is in every run of pytest where this package is installed: others should not notice."""
    with tempfile.TemporaryDirectory() as folder:
        suite = Path(folder, "test_other.py")
        suite.write_text("def test_fails():\n    assert 1 == 2\n", encoding="utf-8")
        command = [sys.executable, "-m", "pytest", str(suite), "-p", "no:cacheprovider", "-c", "/dev/null"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
        assert done.returncode == 1
        assert "laws" not in done.stdout
        assert [path.name for path in Path(folder).iterdir() if path.name != "__pycache__"] == ["test_other.py"]
