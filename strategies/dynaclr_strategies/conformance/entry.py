"""What pytest loads in every run where this package is installed; it does nothing until conformance is asked for.

Pytest reads its options before it looks into a package that ``--pyargs`` names: a ``conftest.py`` in there would come
too late. Hypothesis need not be installed for this module.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

__all__ = ["PROPERTY", "pytest_load_initial_conftests", "pytest_terminal_summary"]

PROPERTY = "dynaclr_conformance"
"""Under which name a test tells the scoreboard what it found."""

_HERE = Path(__file__).parent
_PACKAGE = "dynaclr_strategies.conformance"


def _is_asked_for(argument: str) -> bool:
    name = argument.partition("::")[0]
    if name == _PACKAGE or name.startswith(f"{_PACKAGE}."):
        return True
    return _HERE in (Path(name).absolute(), *Path(name).absolute().parents)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Load the options of a conformance run, if this is one."""
    if any(_is_asked_for(argument) for argument in early_config.known_args_namespace.file_or_dir):
        early_config.pluginmanager.import_plugin(f"{_PACKAGE}.plugin")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Write the scoreboard of the samplers that were tested, by a conformance run or by `SamplerLaws`."""
    reports = [report for group in terminalreporter.stats.values() for report in group]
    if any(name == PROPERTY for report in reports for name, _ in getattr(report, "user_properties", ())):
        from dynaclr_strategies.conformance.scoreboard import write_scoreboard

        write_scoreboard(terminalreporter)
