"""Write ``docs/invariants.md`` from the laws and their witnesses; run me to update it."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dynaclr_strategies.invariants_page import Caught, invariants_page

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "invariants.md"
COMMAND = "python tests/property/write_invariants_page.py"


def all_witnesses() -> dict[str, list[Caught]]:
    """Return what each law catches, by law.

    A witness is anything in a list ``*WITNESSES`` of a module ``*witnesses.py`` that has a ``law`` and says what is
    broken: a ``sampler`` or something else that a ``make`` returns. Its name is that of the class or function, unless
    it has another, and the first paragraph of its docstring says what is wrong with it.
    """
    if str(HERE) not in sys.path:
        sys.path.insert(0, str(HERE))
    caught: dict[str, list[Caught]] = {}
    for path in sorted(HERE.glob("*witnesses.py")):
        if path.name.startswith("test_"):
            continue
        module = importlib.import_module(path.stem)
        for witness in _listed(module):
            caught.setdefault(witness.law, []).append(_described(witness, module))
    for make, *_ in importlib.import_module("test_faults").WITNESSES:
        caught.setdefault("fault-refused", []).append(Caught(make.__name__, _sentence(make)))
    return {law: list(dict.fromkeys(those)) for law, those in caught.items()}


def _listed(module: Any) -> Iterable[Any]:
    lists = [value for name, value in vars(module).items() if name.endswith("WITNESSES") and isinstance(value, list)]
    return [witness for each in lists for witness in each]


def _described(witness: Any, module: Any) -> Caught:
    broken = witness.sampler if hasattr(witness, "sampler") else witness.make
    name = (getattr(witness, "name", None) or broken.__name__).removeprefix(f"{witness.law}: ")
    # Where a witness holds a maker of the broken class, the class has the docstring.
    return Caught(name, _sentence(getattr(module, name, broken)))


def _sentence(broken: Any) -> str:
    """Return what is wrong with something broken: the first paragraph of its docstring."""
    return (inspect.getdoc(broken) or "").partition("\n\n")[0].replace("\n", " ")


def page() -> str:
    """Return what the page has to be."""
    return invariants_page(all_witnesses(), command=COMMAND)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
