"""The Atheris targets: laws and seeds in the right one, findings that become bundles, and a fault that is reached."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.database import InMemoryExampleDatabase
from loss_witnesses import CASE
from witnesses import PLAIN

import dynaclr_strategies
from dynaclr_strategies.fuzzing.coverage_guided import REJECTED, Target, laws_of, mutated, seed_of
from dynaclr_strategies.fuzzing.failures import read_failures
from dynaclr_strategies.invariants import INVARIANTS, InvariantViolation
from dynaclr_strategies.reproduction.attached import FailedCase
from dynaclr_strategies.reproduction.case_files import case_text, read_case

ROOT = Path(__file__).parents[2]
TARGETS = [path.stem.removeprefix("fuzz_") for path in sorted((ROOT / "fuzz").glob("fuzz_*.py"))]
HAS_ATHERIS = importlib.util.find_spec("atheris") is not None


def test_each_law_is_in_one_target() -> None:
    """There is a target for each subject, and none for anything else."""
    assert set(TARGETS) == {law.subject for law in INVARIANTS.values()}
    assert sorted(law for subject in TARGETS for law in laws_of(subject)) == sorted(INVARIANTS)
    for subject in TARGETS:
        assert f'main("{subject}")' in (ROOT / "fuzz" / f"fuzz_{subject}.py").read_text(encoding="utf-8")


def target(tmp_path: Path, subject: str) -> Target:
    """Return a target with its board in a scratch folder."""
    (tmp_path / "board").mkdir()
    return Target(subject, tmp_path / "board", InMemoryExampleDatabase(), tmp_path / "failures")


def kept(tmp_path: Path, law: str, maker: str | None = None) -> bytes:
    """Return the seed of a kept case of a law."""
    case = CASE if INVARIANTS[law].subject == "loss" else PLAIN
    path = tmp_path / "case.json"
    path.write_text(case_text(FailedCase(law, case, maker), ValueError("once")), encoding="utf-8")
    return seed_of(path)


def test_inputs_are_cases_or_bytes(tmp_path: Path) -> None:
    """A kept case is checked, zeros are the smallest case, and whatever stands for no case is turned down."""
    checks = target(tmp_path, "sampler")
    case = kept(tmp_path, "indices-in-range")
    assert checks(case) == 0
    assert checks(bytes(2000)) == 0
    changed = [case.replace(b'"leaky": 0.0', b'"leaky": 1.0'), kept(tmp_path, "indices-in-range", maker="os:getcwd")]
    assert case not in changed
    for broken in (b"", b"\x00", b"{", b"{}", case[:-30], kept(tmp_path, "loss-is-finite"), *changed):
        assert checks(broken) == REJECTED
    assert not (tmp_path / "failures").exists()


def test_findings_become_bundles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a case or bytes broke the law: there is one small bundle, and the fuzzer sees the exception."""
    from dynaclr.sampler import FlexibleBatchSampler

    checks = target(tmp_path, "sampler")
    monkeypatch.setattr(FlexibleBatchSampler, "__iter__", lambda _: iter(()))
    law = laws_of("sampler").index("len-matches-iteration")
    with pytest.raises(InvariantViolation, match="len-matches-iteration"):
        checks(bytes([law]) + bytes(2000))
    (bundle,) = (tmp_path / "failures").iterdir()
    assert read_case(bundle).failed.case.table.size == 1  # type: ignore[attr-defined]
    with pytest.raises(InvariantViolation, match="len-matches-iteration"):
        checks(kept(tmp_path, "len-matches-iteration"))
    assert len(list((tmp_path / "failures").iterdir())) == 2


@given(data=st.binary(), seed=st.integers(0, 2**32), max_size=st.integers(1, 2000))
def test_every_second_input_is_new(data: bytes, seed: int, max_size: int) -> None:
    """A kept case is never changed in its text, nothing is longer than allowed, and the seed decides."""
    mutations = [mutated(data, max_size, seed, lambda data, size: (data + b"!")[:size]) for _ in range(2)]
    assert mutations[0] == mutations[1]
    assert len(mutations[0]) <= max_size
    if data.startswith(b"{"):
        assert mutations[0] != (data + b"!")[:max_size] or max_size == 1


def test_seeds_are_the_kept_cases(tmp_path: Path) -> None:
    """Every kept case is in the archive of its subject, and a target takes it."""
    subprocess.run([sys.executable, ROOT / "fuzz" / "seeds.py", tmp_path], check=True)
    kept = sorted((ROOT / "tests" / "property" / "corpus").glob("*.json"))
    unpacked = tmp_path / "unpacked"
    for archive in tmp_path.glob("*.zip"):
        board = Path(tempfile.mkdtemp(dir=tmp_path))
        subject = archive.name.removeprefix("fuzz_").removesuffix("_seed_corpus.zip")
        shutil.unpack_archive(archive, unpacked / subject)
        assert len(list((unpacked / subject).iterdir())) >= len(laws_of(subject))
        for path in (unpacked / subject).glob("*.json"):
            assert INVARIANTS[read_case(path).failed.law].subject == subject
            assert Target(subject, board, InMemoryExampleDatabase(), tmp_path / "failures")(path.read_bytes()) == 0
    assert sorted(path.name for path in unpacked.rglob("*.json")) == [path.name for path in kept]


@pytest.mark.parametrize("script", ["fuzz/build.sh", ".clusterfuzzlite/build.sh"])
def test_build_scripts_are_shell(script: str) -> None:
    """The scripts for OSS-Fuzz and ClusterFuzzLite can be run and read."""
    assert os.access(ROOT / script, os.X_OK)
    subprocess.run([shutil.which("bash") or "bash", "-n", ROOT / script], check=True)


# An epoch without batches, but only with enrichment, more than three anchors in a batch and one of six windows.
RARE = """        if self._axes.time is not None:
            if self.batch_size > 3:
                if self._axes.time.window_hours == 0.25:
                    return
"""
BEFORE = "        self._newest = turn = object()\n"


@pytest.mark.skipif(not HAS_ATHERIS, reason="atheris is not installed; not every machine has a wheel of it")
def test_a_planted_fault_is_reached(tmp_path: Path) -> None:
    """Atheris finds a fault that needs a combination of options; its bundles, one for each telling, are small."""
    import dynaclr

    package = tmp_path / "code" / "dynaclr"
    shutil.copytree(Path(dynaclr.__file__).parent, package)
    source = (package / "sampler.py").read_text(encoding="utf-8")
    assert source.count(BEFORE) == 1
    (package / "sampler.py").write_text(source.replace(BEFORE, RARE + BEFORE), encoding="utf-8")
    library = Path(dynaclr_strategies.__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(package.parent), str(library)])}
    command = [sys.executable, ROOT / "fuzz" / "run.py", "--minutes", "3", "--subjects", "sampler", "--seed", "1"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    found, _ = read_failures(tmp_path / "failures")
    bundles = list((tmp_path / "failures").iterdir())
    # One law finds it, and may tell it in two ways: where it changes the options, and where they were so before.
    assert len({one.law for one in found}) == 1
    assert len(bundles) == len(found) == len({one.error for one in found}) <= 2
    for bundle in bundles:
        assert f"dynaclr-replay {bundle}" in done.stdout
        assert read_case(bundle).failed.case.table.size <= 12  # type: ignore[attr-defined]
        replay = [sys.executable, "-m", "dynaclr_strategies.reproduction.replay", bundle]
        assert subprocess.run(replay, env=environment, check=False).returncode == 1
        assert subprocess.run(replay, check=False).returncode == 0
