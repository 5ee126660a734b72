"""One law on one sampler, inside a running test."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, given, register_random, settings
from hypothesis.database import DirectoryBasedExampleDatabase, ExampleDatabase
from hypothesis.errors import Unsatisfiable

from dynaclr_strategies.conformance.contract import Contract
from dynaclr_strategies.conformance.entry import PROPERTY
from dynaclr_strategies.conformance.plans import PLANS, Plan, drawn_cases, why_not
from dynaclr_strategies.conformance.sentences import case_in_words, problem_in_words
from dynaclr_strategies.invariants import INVARIANTS
from dynaclr_strategies.reproduction.attached import check_law, leaves
from dynaclr_strategies.reproduction.elsewhere import LAW as ELSEWHERE
from dynaclr_strategies.reproduction.elsewhere import ElsewhereError, check_elsewhere
from dynaclr_strategies.sampler_descriptions import LifeCase, SamplerCase

__all__ = ["EXAMPLES", "hold_law"]

EXAMPLES = 100
"""How many cases a law is tried on, unless somebody says otherwise."""

_ASKED_ELSEWHERE = 20
"""On how many of them the one law that asks for it is tried in another process too."""


class _TorchGenerator:
    """Torch's global generator, for Hypothesis to seed: a failure of a sampler that reads it must happen again."""

    def seed(self, seed: int) -> None:
        import torch

        torch.manual_seed(seed)

    def getstate(self) -> Any:
        import torch

        return torch.get_rng_state()

    def setstate(self, state: Any) -> None:
        import torch

        torch.set_rng_state(state)


_TORCH = _TorchGenerator()


def hold_law(
    law: str,
    contract: Contract,
    request: pytest.FixtureRequest,
    *,
    examples: int = EXAMPLES,
    xfails: Mapping[str, str] | None = None,
) -> None:
    """Check a law on drawn cases, and tell the scoreboard.

    Parameters
    ----------
    law
        Name of the law.
    contract
        The sampler.
    request
        The running test.
    examples
        How many cases to draw; a quarter for laws about distributions.
    xfails
        Known failures and their reasons.
    """
    __tracebackhide__ = True
    known = (xfails or {}).get(law)
    found: dict[str, str] = {"sampler": contract.name, "law": law, "known": known or ""}
    request.node.user_properties.append((PROPERTY, found))
    if (reason := why_not(law, contract.claims)) is not None:
        pytest.skip(f"{law}: not claimed: {reason}")
    tried: list[SamplerCase | LifeCase] = []
    undecided: list[str] = []
    test = _test_of(law, contract, _settings(law, examples, request.config), tried, undecided)
    try:
        test()
        found["note"] = f"on {len(tried)} cases"
        if law == ELSEWHERE and (untried := _elsewhere(contract, tried)):
            found["note"] = untried
        elif undecided:
            cases = len(tried) + len(undecided)
            found["note"] = f"{len(undecided)} of {cases} cases could not be judged: {undecided[-1]}"
    except Unsatisfiable:
        found["open"] = "nobody knows whether it holds"
        if undecided:
            pytest.skip(f"{law}: cannot be judged: {undecided[-1]}")
        pytest.skip(f"{law}: not tried: it needs {INVARIANTS[law].when}, and no case that was drawn is like that")
    except Exception as problem:
        found["example"] = _example(problem, contract)
        if known is not None:
            pytest.xfail(known)
        raise


def _settings(law: str, examples: int, config: pytest.Config) -> settings:
    """Return settings that do not depend on where the suite runs, but for the profile's choice to derandomize."""
    derandomize = settings().derandomize
    database: ExampleDatabase | None = None
    if not derandomize:
        database = DirectoryBasedExampleDatabase(config.rootpath / ".hypothesis" / "examples")
    return settings(
        max_examples=max(1, examples // 4 if PLANS.get(law, Plan()).costly else examples),
        deadline=None,
        database=database,
        derandomize=derandomize,
        # Which lines of the laws failing cases run says nothing about the sampler, and takes long to find out.
        phases=[phase for phase in Phase if phase is not Phase.explain],
        # One example per law on the scoreboard; the next failure shows when this one is mended.
        report_multiple_bugs=False,
        # How fast other people's samplers are, and how much of the tables they take, is up to them.
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )


def _elsewhere(contract: Contract, tried: list[SamplerCase | LifeCase]) -> str:
    """Try some of the cases in another process, small ones first; return why this was not done, if it was not."""
    alone = [case for case in tried if isinstance(case, SamplerCase)]
    different = sorted(dict.fromkeys(alone), key=lambda case: case.table.size)
    some = different[:: -(-len(different) // _ASKED_ELSEWHERE)]
    epochs = bool(contract.claims.epochs)
    try:
        check_elsewhere(some, contract.make, maker=contract.name, epochs=epochs)
    except ElsewhereError as problem:
        return f"not tried in another process: {problem}"
    return ""


def _test_of(
    law: str, contract: Contract, chosen: settings, tried: list[SamplerCase | LifeCase], undecided: list[str]
) -> Callable[[], None]:
    """Return the test; it lists the cases that it was decided on, and why it was not on others."""
    if "torch" in sys.modules:
        register_random(_TORCH)

    def check(case: SamplerCase | LifeCase) -> None:
        assume(check_law(law, case, contract.make, maker=contract.name, undecided=undecided))
        tried.append(case)

    # The database and a derandomized run tell tests apart by their names.
    check.__name__ = check.__qualname__ = re.sub(r"\W", "_", f"check_{law}_{contract.name}")
    test: Callable[[], None] = chosen(given(case=drawn_cases(law, contract.claims))(check))
    return test


def _example(problem: BaseException, contract: Contract) -> str:
    """Return the shrunk example of a failure and what it showed, in one line."""
    for inner, failed in leaves(problem):
        if isinstance(failed.case, SamplerCase | LifeCase):
            words = case_in_words(failed.case, contract.claims.plain.options)
            return f"{words} -> {problem_in_words(inner)}"
    return problem_in_words(problem)
