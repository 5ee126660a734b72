"""The profiles of the suite are what the nightly search relies on."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings
from hypothesis.database import DirectoryBasedExampleDatabase, MultiplexedDatabase

from dynaclr_strategies.fuzzing.examples import VARIABLE


@pytest.mark.parametrize("name", ["dev", "nightly"])
def test_profiles_replay_what_they_found(name: str) -> None:
    """A profile that searches keeps its examples; one derived from the built-in `ci` would have no database."""
    profile, shared = settings.get_profile(name), os.environ.get(VARIABLE)
    assert isinstance(profile.database, MultiplexedDatabase if shared else DirectoryBasedExampleDatabase)
    assert not profile.derandomize
    assert profile.deadline is None


def test_ci_is_derandomized() -> None:
    """The profile of pull requests gives the same verdict every time; Hypothesis allows it no database."""
    profile = settings.get_profile("ci")
    assert profile.derandomize
    assert profile.database is None
    assert profile.deadline is None
