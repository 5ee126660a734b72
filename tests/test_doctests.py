"""The examples in the docstrings show what happens."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import warnings

import pytest

import dynaclr
import dynaclr_strategies

MODULES = [
    info.name
    for package in (dynaclr, dynaclr_strategies)
    for info in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    if not info.name.endswith("__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    """Each example prints what its docstring says."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some libraries warn when first imported
        module = importlib.import_module(name)
    failed, _ = doctest.testmod(module)
    assert not failed
