"""What became of each mutant, read from where mutmut keeps it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files
from mutmut.utils.format_utils import orig_function_and_class_names_from_key

__all__ = ["KILLED", "Mutant", "changed_lines", "module_name", "mutants"]

KILLED = frozenset({"killed", "timeout", "segfault", "suspicious"})
"""What counts as killed: a mutant that loops, or takes the interpreter down, has been noticed."""


@dataclass(frozen=True)
class Mutant:
    """A mutant and what became of it.

    Attributes
    ----------
    name
        mutmut's name for it, whose number changes whenever the function does.
    path
        The mutated file.
    status
        In mutmut's words: ``"killed"``, ``"survived"``, ``"no tests"``, ``"timeout"``, ``"not checked"``, ...
    """

    name: str
    path: Path
    status: str

    @property
    def module(self) -> str:
        """The module without its package: ``sampler``, ``cascade.axes``."""
        return module_name(self.path)

    @property
    def function(self) -> str:
        """The mutated function: ``name`` or ``Class.name``."""
        function, owner = orig_function_and_class_names_from_key(self.name)
        return function if owner is None else f"{owner}.{function}"

    @cached_property
    def diff(self) -> str:
        """The mutation, as a unified diff of the function."""
        return get_diff_for_mutant(self.name, path=self.path)

    @property
    def change(self) -> tuple[str, str]:
        """The lines removed and the lines added."""
        return changed_lines(self.diff)


def changed_lines(diff: str) -> tuple[str, str]:
    """Return what a diff removes and what it adds, without indentation: what stays when the function moves."""
    body = [line for line in diff.splitlines() if not line.startswith(("---", "+++", "@@"))]
    removed, added = ("\n".join(line[1:].strip() for line in body if line.startswith(sign)) for sign in "-+")
    return removed, added


def module_name(path: Path) -> str:
    """Return the name of a module without its package."""
    return ".".join(path.with_suffix("").parts).removeprefix("src.dynaclr.")


def mutants(modules: list[str]) -> Iterator[Mutant]:
    """Return the mutants of some modules, of all where none is named."""
    for path in sorted(walk_mutatable_files()):
        if modules and module_name(path) not in modules:
            continue
        data = SourceFileMutationData(path=path)
        data.load()
        for name, code in data.exit_code_by_key.items():
            yield Mutant(name, path, status_by_exit_code[code])
