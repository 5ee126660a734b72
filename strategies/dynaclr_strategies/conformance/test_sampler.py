"""The laws of the sampling cascade on the sampler that ``--sampler`` names."""

from __future__ import annotations

import pytest

from dynaclr_strategies.conformance.plans import LAWS
from dynaclr_strategies.conformance.plugin import CONTRACT, XFAILS
from dynaclr_strategies.conformance.running import hold_law


@pytest.mark.parametrize("law", LAWS)
def test_law(law: str, request: pytest.FixtureRequest) -> None:
    """The sampler keeps the law, if it claims it."""
    __tracebackhide__ = True
    stash = request.config.stash
    if CONTRACT not in stash:
        pytest.skip("there is no sampler: say pytest --pyargs dynaclr_strategies.conformance --sampler MODULE:FUNCTION")
    hold_law(law, stash[CONTRACT], request, examples=request.config.getoption("--examples"), xfails=stash[XFAILS])
