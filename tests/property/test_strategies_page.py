"""The page on strategies: its tests run as they are written there, and its table names every strategy."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis.strategies import SearchStrategy

import dynaclr_strategies

PAGE = (Path(__file__).parents[2] / "docs" / "strategies.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def _tests() -> dict[str, Callable[[], None]]:
    """Return the tests of the page by name."""
    found: dict[str, Callable[[], None]] = {}
    for number, block in enumerate(BLOCKS):
        module: dict[str, Any] = vars(ModuleType(f"block_{number}"))
        exec(compile(block, f"docs/strategies.md, block {number}", "exec"), module)  # noqa: S102  (our own page)
        found |= {name: value for name, value in module.items() if name.startswith("test_")}
    return found


TESTS = _tests()


@pytest.mark.filterwarnings("ignore::dynaclr.errors.RepeatedAnchorsWarning")  # small tables are drawn too
@pytest.mark.parametrize("name", TESTS)
def test_the_tests_of_the_page_pass(name: str) -> None:
    """Whoever copies one begins with a test that passes."""
    TESTS[name]()


def test_every_block_of_the_page_has_a_test() -> None:
    """None is lost, and two of a name would hide one."""
    assert sum(block.count("def test_") for block in BLOCKS) == len(TESTS) >= len(BLOCKS) > 0


def test_the_table_names_every_strategy() -> None:
    """Those of the package are those of the first column."""
    named = {name for line in PAGE.splitlines() if line.startswith("| `") for name in _names(line.split("|")[1])}
    public = {name: getattr(dynaclr_strategies, name) for name in dynaclr_strategies.__all__}
    assert named == {name for name, value in public.items() if _makes_a_strategy(value)}


def _names(cell: str) -> list[str]:
    return re.findall(r"`(\w+)\(\)`", cell)


def _makes_a_strategy(value: object) -> bool:
    if not inspect.isfunction(value):
        return False
    required = [p for p in inspect.signature(value).parameters.values() if p.default is p.empty]
    return not required and isinstance(value(), SearchStrategy)
