"""The pytest plugin: a bundle for each failure that carries a case, and a summary of what was checked."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

__all__ = [
    "pytest_addoption",
    "pytest_runtest_makereport",
    "pytest_sessionfinish",
    "pytest_terminal_summary",
    "pytest_testnodedown",
]

BUNDLE = "dynaclr_bundle"
_examples: pytest.StashKey[Counter[str]] = pytest.StashKey()
_replayed: pytest.StashKey[int] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say where bundles go."""
    parser.getgroup("dynaclr").addoption(
        "--dynaclr-bundles",
        metavar="DIR",
        type=Path,
        help="where failure bundles are written (default: $DYNACLR_BUNDLES, else failures/ in the root folder)",
    )


def _attached() -> Any:
    """Return the module that counts and keeps cases, if a test has imported it: this plugin is in every pytest run."""
    return sys.modules.get("dynaclr_strategies.reproduction.attached")


def _folder(config: pytest.Config) -> Path:
    chosen = config.getoption("--dynaclr-bundles") or os.environ.get("DYNACLR_BUNDLES")
    return Path(chosen).absolute() if chosen else config.rootpath / "failures"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write one bundle for each failure that carries a case, and say where it is."""
    report = yield
    attached = _attached()
    if attached is None or call.excinfo is None or report.outcome != "failed":
        return report
    for problem, failed in attached.leaves(call.excinfo.value):
        from dynaclr_strategies.reproduction.bundles import replay_command_here, write_bundle
        from dynaclr_strategies.reproduction.names import found_in, maker_note

        try:
            bundle = write_bundle(failed, problem, _folder(item.config))
        except Exception as trouble:  # noqa: BLE001 - the failure itself must be reported, whatever happens here
            text = f"no bundle could be written: {type(trouble).__name__}: {trouble}"
        else:
            report.user_properties.append((BUNDLE, str(bundle)))
            notes = (maker_note(failed.maker), found_in(failed.maker))
            lines = [f"bundle: {bundle}", f"replay: {replay_command_here(bundle, failed.maker)}", *filter(None, notes)]
            text = "\n".join(lines)
        report.sections.append((f"law {failed.law}", text))
    return report


# --- summary ----------------------------------------------------------------------------------------------------------


def _counted() -> dict[str, Any]:
    """Return what this process checked."""
    attached = _attached()
    if attached is None:
        return {"examples": {}, "replayed": {}}
    return {"examples": dict(attached.EXAMPLES), "replayed": dict(attached.REPLAYED)}


def _add(config: pytest.Config, counted: dict[str, Any]) -> None:
    config.stash.setdefault(_examples, Counter()).update(counted["examples"])
    config.stash[_replayed] = config.stash.get(_replayed, 0) + sum(counted["replayed"].values())


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:  # noqa: ARG001 - the hook of pytest-xdist passes it
    """Take over what a worker of pytest-xdist checked."""
    output = getattr(node, "workeroutput", {})
    if "dynaclr" in output:
        _add(node.config, output["dynaclr"])


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand over what this process checked."""
    output = getattr(session.config, "workeroutput", None)
    if output is None:
        _add(session.config, _counted())
    else:
        output["dynaclr"] = _counted()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say how much was checked, and where the bundles are, in runs that check laws at all."""
    examples = config.stash.get(_examples, Counter())
    if not examples:
        return
    from dynaclr_strategies.invariants.base import INVARIANTS

    failed = terminalreporter.stats.get("failed", [])
    bundles = sorted({path for report in failed for name, path in report.user_properties if name == BUNDLE})
    terminalreporter.section("laws")
    terminalreporter.line(
        f"{len(examples)} of {len(INVARIANTS)} laws checked, {sum(examples.values())} examples run, "
        f"{config.stash[_replayed]} cases of the corpus replayed, {len(bundles)} bundles written"
    )
    for bundle in bundles:
        terminalreporter.line(bundle)
