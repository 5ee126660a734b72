"""The laws as test methods, for a test file of one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, ClassVar, cast

import pytest

from dynaclr_strategies.conformance.contract import Claims, Contract, ContractError
from dynaclr_strategies.conformance.plans import LAWS
from dynaclr_strategies.conformance.running import EXAMPLES, hold_law
from dynaclr_strategies.invariants import INVARIANTS

__all__ = ["SamplerLaws"]


class SamplerLaws:
    """Base class of a test class that holds one sampler to the laws: a method ``test_...`` for each law.

    Attributes
    ----------
    make_sampler
        ``staticmethod(function)``, where ``function(table, options)`` returns an iterable of batches.
    claims
        What the sampler claims; by default the function's attribute ``claims``, else everything that it has methods
        for.
    xfails
        Laws that are known to fail, and the reasons.
    examples
        How many cases each law is tried on; a quarter for laws about distributions.

    Examples
    --------
    >>> from dynaclr_strategies.subjects.sampler import make_flexible
    >>> class TestFlexible(SamplerLaws):
    ...     make_sampler = staticmethod(make_flexible)
    >>> TestFlexible.test_single_experiment.__doc__
    'All anchors of a batch but the leaked ones come from one experiment.'
    """

    make_sampler: ClassVar[Callable[..., Any]]
    claims: ClassVar[Claims | None] = None
    xfails: ClassVar[Mapping[str, str]] = {}
    examples: ClassVar[int] = EXAMPLES


@cache
def _contract_of(tests: Any) -> Contract | str:
    """Return the contract of a subclass of `SamplerLaws`, or why there is none."""
    name = f"{tests.__module__}:{tests.__qualname__}.make_sampler"
    if not hasattr(tests, "make_sampler"):
        return f"{tests.__name__} needs make_sampler = staticmethod(function), where function(table, options)"
    if unknown := sorted(set(tests.xfails) - set(LAWS)):
        return f"xfails of {tests.__name__} has {unknown}, but needs laws of the sampler: {', '.join(LAWS)}"
    try:
        return Contract.of(tests.make_sampler, name, tests.claims)
    except ContractError as problem:
        return str(problem)


def _method(law: str) -> Callable[[SamplerLaws, pytest.FixtureRequest], None]:
    def test(self: SamplerLaws, request: pytest.FixtureRequest) -> None:
        __tracebackhide__ = True
        contract = _contract_of(cast("Any", type(self)))
        if isinstance(contract, str):
            pytest.fail(contract, pytrace=False)
        hold_law(law, contract, request, examples=self.examples, xfails=self.xfails)

    test.__name__ = "test_" + law.replace("-", "_")
    test.__qualname__ = f"{SamplerLaws.__qualname__}.{test.__name__}"
    test.__doc__ = INVARIANTS[law].sentence
    return test


for _law in LAWS:
    _one = _method(_law)
    setattr(SamplerLaws, _one.__name__, _one)
