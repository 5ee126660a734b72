"""The command ``dynaclr-fuzz`` in processes of its own: faults found, workers killed, searches cut off."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PLANTED = Path(__file__).parents[1] / "planted"

# Loaded by every Python that has this folder on its path; the workers alone get the fault.
SITE = """
import sys
if "dynaclr_strategies.fuzzing.worker" in sys.orig_argv:
    import fault_of_a_worker
"""
QUOTAS = "import planted_faults; planted_faults.FAULTS['remainder_to_the_last_condition']()"
DEADLY = """
import os
from dynaclr.sampler import FlexibleBatchSampler
begin = FlexibleBatchSampler.__init__
def init(self, table, **options):
    if len(table) > 20:
        os.abort()
    begin(self, table, **options)
FlexibleBatchSampler.__init__ = init
"""
SLOW = """
import time
from dynaclr.sampler import FlexibleBatchSampler
begin = FlexibleBatchSampler.__init__
def init(self, table, **options):
    time.sleep(0.2)
    begin(self, table, **options)
FlexibleBatchSampler.__init__ = init
"""


def environment(folder: Path, fault: str) -> dict[str, str]:
    """Return the environment of a search whose workers have a fault."""
    site = folder / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(SITE, encoding="utf-8")
    (site / "fault_of_a_worker.py").write_text(fault, encoding="utf-8")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(PLANTED)])}


def begin(folder: Path, *options: str, fault: str = "") -> subprocess.Popen[str]:
    """Start a search in a folder."""
    command = [sys.executable, "-m", "dynaclr_strategies.fuzzing.command", "--seed", "0", *options]
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**environment(folder, fault), "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder: Path, *options: str, fault: str = "") -> tuple[int, str, str]:
    """Search to the end; return exit code and output. No scratch is left behind."""
    search = begin(folder, *options, fault=fault)
    out, err = search.communicate(timeout=300)
    assert not list(folder.glob("dynaclr-fuzz-*"))
    return search.returncode, out, err


def bundles(folder: Path) -> list[Path]:
    """Return the bundles that were written, each of them whole."""
    there = sorted((folder / "failures").glob("*"))
    for bundle in there:
        assert {path.name for path in bundle.iterdir()} >= {"case.json", "README.md"}, bundle
    return there


def replayed(bundle: Path, folder: Path, fault: str | None) -> int:
    """Replay a bundle, with the fault in the code or without."""
    code = f"{fault or ''}\nimport sys\nfrom dynaclr_strategies.reproduction.replay import main\nsys.exit(main())"
    command = [sys.executable, "-c", code, bundle]
    return subprocess.run(command, env=environment(folder, fault or ""), check=False).returncode


def row(out: str, law: str) -> list[str]:
    """Return the columns of a law in the table."""
    return next(line.split(maxsplit=5) for line in out.splitlines() if line.startswith(f"{law} "))


def test_a_planted_fault_is_found_and_found_again(tmp_path: Path) -> None:
    """Exit code 1 and a bundle that replays; the next search has the failure in its example database."""
    code, out, err = run(tmp_path, "--minutes", "1", "--laws", "condition-quota", fault=QUOTAS)
    assert code == 1, out + err
    assert row(out, "condition-quota")[-1] == "FAILED"
    # Two workers, and one of a few smallest cases for each.
    bundle, *_ = bundles(tmp_path)
    assert f"dynaclr-replay {bundle}" in out
    assert replayed(bundle, tmp_path, QUOTAS) == 1
    assert replayed(bundle, tmp_path, None) == 0
    code, out, err = run(tmp_path, "--minutes", "1", "--seed", "1", "--laws", "condition-quota", fault=QUOTAS)
    assert code == 1, out + err
    assert bundle in bundles(tmp_path)


MINE = """
import os
from dataclasses import replace

from dynaclr_strategies.conformance import Claims
from dynaclr_strategies.oracles.reference_sampler import ReferenceSampler


def make(table, options):
    return ReferenceSampler(table, replace(options, leaky=0.0))


def deadly(table, options):
    if options.seed > 0:
        os.abort()
    return make(table, options)


make.claims = Claims(axes=["experiment", "leak"], ranks=False)
"""
REPLAY = [sys.executable, "-m", "dynaclr_strategies.reproduction.replay"]


def test_a_sampler_of_somebody_else_is_searched(tmp_path: Path) -> None:
    """Only for what it claims; what is found is replayed on it by the printed command."""
    (tmp_path / "mine.py").write_text(MINE, encoding="utf-8")
    laws = ["leak-exact", "condition-quota", "indices-in-range"]
    code, out, err = run(tmp_path, "--minutes", "0.4", "--sampler", "mine:make", "--laws", *laws)
    assert code == 1, out + err
    assert "searching 2 laws on mine:make for 0.4 min" in out
    assert row(out, "leak-exact")[-1] == "FAILED"
    assert row(out, "indices-in-range")[-1] == "holds"
    assert int(row(out, "indices-in-range")[3]) > 0, "arcs of its own code are counted"
    bundle, *_ = bundles(tmp_path)
    assert f"dynaclr-replay {bundle} --sampler mine:make" in out
    assert "The module `mine` has to be found" in (bundle / "README.md").read_text(encoding="utf-8")
    assert subprocess.run([*REPLAY, bundle, "--sampler", "mine:make"], cwd=tmp_path, check=False).returncode == 1


def test_a_sampler_of_somebody_else_that_dies_becomes_a_bundle(tmp_path: Path) -> None:
    """The bundle names the sampler that the process died of."""
    (tmp_path / "mine.py").write_text(MINE, encoding="utf-8")
    options = ["--minutes", "0.4", "--sampler", "mine:deadly", "--laws", "indices-in-range"]
    code, out, err = run(tmp_path, *options)
    assert code == 1, out + err
    bundle, *_ = bundles(tmp_path)
    assert f"dynaclr-replay {bundle} --sampler mine:deadly" in out
    died = subprocess.run([*REPLAY, bundle, "--sampler", "mine:deadly"], cwd=tmp_path, check=False)
    assert died.returncode == -signal.SIGABRT


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--sampler", "mine"], "sampler='mine' needs to be module:function"),
        (["--sampler", "not_there:make"], "sampler='not_there:make' needs a module that can be imported"),
        (
            ["--sampler", "mine:make", "--laws", "condition-*"],
            "--laws='condition-*' needs to match a law that the sampler claims (condition-quota: no axis 'condition'",
        ),
        (["--sampler", "mine:make", "--laws", "loss"], "needs to match a law that the sampler claims (loss-"),
    ],
)
def test_samplers_that_cannot_be_searched(tmp_path: Path, options: list[str], sentence: str) -> None:
    """One sentence, and nothing is begun."""
    (tmp_path / "mine.py").write_text(MINE, encoding="utf-8")
    code, out, err = run(tmp_path, "--minutes", "1", *options)
    assert (code, out) == (2, "")
    assert sentence in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "failures").exists()


def test_a_search_that_finds_nothing_ends_in_time(tmp_path: Path) -> None:
    """Exit code 0, all laws searched, on as many workers as there are although there are fewer laws."""
    began = time.monotonic()
    code, out, err = run(tmp_path, "--minutes", "0.3", "--workers", "3", "--laws", "indices-in-range", "loss-is-finite")
    assert code == 0, out + err
    assert time.monotonic() - began >= 18
    assert {row(out, law)[-1] for law in ("indices-in-range", "loss-is-finite")} == {"holds"}
    assert re.search(r"2 of 2 laws searched, \d{2,} examples run, 0 failures, 0 bundles", out)
    assert bundles(tmp_path) == []


def workers_of(search: subprocess.Popen[str]) -> Iterator[int]:
    """Yield the process numbers of the workers of a search."""
    children = Path(f"/proc/{search.pid}/task/{search.pid}/children")
    yield from map(int, children.read_text(encoding="ascii").split())


def wait_for_work(folder: Path) -> None:
    """Wait until a worker has begun an example."""
    import numpy as np

    for _ in range(600):
        boards = list(folder.glob("dynaclr-fuzz-*/began.npy"))
        if boards and np.load(boards[0], mmap_mode="r").any():
            return
        time.sleep(0.1)
    raise AssertionError("no worker ever began")


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc, to find the workers of a search")
def test_a_killed_worker_costs_its_example_alone(tmp_path: Path) -> None:
    """The search says so, goes on with another worker, and loses no example that was counted."""
    search = begin(tmp_path, "--minutes", "0.5", "--workers", "1", "--laws", "indices-in-range", fault=SLOW)
    wait_for_work(tmp_path)
    time.sleep(2)
    (worker,) = workers_of(search)
    os.kill(worker, signal.SIGKILL)
    out, err = search.communicate(timeout=120)
    assert search.returncode == 0, out + err
    assert "Worker 0 was killed at indices-in-range (SIGKILL); its current example is lost." in err
    assert row(out, "indices-in-range")[-1] == "holds"
    # At most one in 0.2 s; what the first worker did in two seconds is among them.
    assert int(row(out, "indices-in-range")[1]) > 20


def test_ctrl_c_ends_a_search_in_good_order(tmp_path: Path) -> None:
    """The table comes, no scratch is left, and the next search takes the example database up."""
    search = begin(tmp_path, "--minutes", "9", "--laws", "indices-in-range", "hpi-*", fault=SLOW)
    wait_for_work(tmp_path)
    began = time.monotonic()
    search.send_signal(signal.SIGINT)
    out, err = search.communicate(timeout=60)
    assert search.returncode == 0, out + err
    assert time.monotonic() - began < 30
    assert "Ctrl-C: examples that are running are finished first" in err
    assert "Traceback" not in err
    assert "of 3 laws searched" in out
    assert not list(tmp_path.glob("dynaclr-fuzz-*"))
    assert run(tmp_path, "--minutes", "0.2", "--laws", "hpi-shift")[0] == 0


def test_a_case_that_kills_the_process_becomes_a_bundle(tmp_path: Path) -> None:
    """A crash is a failure: the case that did it is kept, and the other laws are searched on."""
    laws = ["--laws", "indices-in-range", "loss-is-finite"]
    code, out, err = run(tmp_path, "--minutes", "0.4", "--workers", "1", *laws, fault=DEADLY)
    assert code == 1, out + err
    assert "Worker 0 died at indices-in-range (SIGABRT)" in err
    assert row(out, "indices-in-range")[-1] == "FAILED"
    assert row(out, "loss-is-finite")[-1] == "holds"
    (bundle,) = bundles(tmp_path)
    assert "the process died with SIGABRT" in (bundle / "README.md").read_text(encoding="utf-8")


def test_workers_that_cannot_start_are_told(tmp_path: Path) -> None:
    """A broken installation ends the search after a few tries, with what the worker said last."""
    code, out, err = run(tmp_path, "--minutes", "5", "--laws", "loss-is-finite", fault="raise SystemExit('no torch')")
    assert code == 2, out + err
    assert "no torch" in err
    assert bundles(tmp_path) == []
