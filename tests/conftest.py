"""Profiles of the property suite: ``HYPOTHESIS_PROFILE=dev|ci|nightly|mutation``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from dynaclr_strategies.fuzzing.examples import ExamplesError, example_database

# The witnesses are shared by test modules of one folder; ``--import-mode=importlib`` puts no folder on the path.
# The other folder holds ``mutation``, the driver of the mutation tests.
sys.path[:0] = [str(Path(__file__).parent / "property"), str(Path(__file__).parent)]

try:
    EXAMPLES = example_database(Path(__file__).parent.parent / ".hypothesis" / "examples")
except ExamplesError as problem:
    # Raised as it is, pytest would show a stack trace of itself.
    sys.exit(str(problem))

# The database is named in every profile: one derived from Hypothesis' own `ci` inherits `database=None` and replays
# nothing. Derandomized runs cannot have one. No deadline: it is raised outside the test body and leaves no bundle.
# Nor is anything else left to the default, which is another one wherever the variable CI is set.
# A bundle shows the failure; what else could vary in it takes longer to find out than to find and shrink it.
PHASES = [phase for phase in Phase if phase is not Phase.explain]
settings.register_profile("dev", phases=PHASES, database=EXAMPLES, derandomize=False, deadline=None, max_examples=50)
settings.register_profile(
    "ci",
    database=None,
    derandomize=True,
    deadline=None,
    max_examples=100,
    print_blob=True,
    phases=PHASES,
)
settings.register_profile(
    "nightly",
    phases=PHASES,
    database=EXAMPLES,
    derandomize=False,
    deadline=None,
    max_examples=2000,
    print_blob=True,
)
# Whether a test fails is all that a mutant is asked for, thousands of times and the same way each time: nothing is
# shrunk, explained or reported, and a busy machine must not look like a failure.
settings.register_profile(
    "mutation",
    phases=[Phase.explicit, Phase.generate],
    database=None,
    derandomize=True,
    deadline=None,
    max_examples=20,
    report_multiple_bugs=False,
    print_blob=False,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Check the kept cases first: what was broken once is what breaks again."""
    items.sort(key=lambda item: item.path.name != "test_corpus.py")
