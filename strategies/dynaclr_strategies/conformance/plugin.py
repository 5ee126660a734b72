"""The options of a conformance run, and its setup: `dynaclr_strategies.conformance.entry` loads it only there."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynaclr_strategies.conformance.contract import Contract, ContractError, contract_of
from dynaclr_strategies.conformance.plans import LAWS
from dynaclr_strategies.conformance.running import EXAMPLES
from dynaclr_strategies.conformance.xfails import read_xfails

__all__ = ["CONTRACT", "XFAILS", "pytest_addoption", "pytest_configure"]

CONTRACT = pytest.StashKey[Contract]()
XFAILS = pytest.StashKey[dict[str, str]]()


def _examples(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise pytest.UsageError(f"examples={text!r} needs a whole number of at least 1")
    return int(text)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say what is tested, and how much."""
    group = parser.getgroup("conformance", "the laws of the sampling cascade on a sampler of yours")
    group.addoption(
        "--sampler",
        metavar="MODULE:FUNCTION",
        help="what makes the sampler: function(table, options) returns an iterable of batches of row numbers",
    )
    group.addoption(
        "--xfails",
        metavar="FILE",
        type=Path,
        help="known failures, a line for each: law-name  # reason",
    )
    group.addoption(
        "--examples",
        metavar="N",
        type=_examples,
        default=EXAMPLES,
        help=f"cases that each law is tried on (default: {EXAMPLES}; a quarter for laws about distributions)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Find the sampler and the list, or say in one sentence why not."""
    spec, listed = config.getoption("--sampler"), config.getoption("--xfails")
    if config.option.help:
        return
    if config.option.tbstyle == "auto":
        config.option.tbstyle = "short"  # the code of the laws says less than what they say
    if spec is None:
        raise pytest.UsageError("--sampler is missing: it needs MODULE:FUNCTION, such as --sampler mine:make_sampler")
    try:
        config.stash[XFAILS] = {} if listed is None else read_xfails(listed, LAWS)
        config.stash[CONTRACT] = contract_of(spec, config.invocation_params.dir)
    except ContractError as problem:
        raise pytest.UsageError(str(problem)) from problem
