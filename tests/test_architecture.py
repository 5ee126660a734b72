"""The layers of ARCHITECTURE.md hold: imports run downward only, and foreign packages stay where they belong."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"dynaclr": ROOT / "src" / "dynaclr", "dynaclr_strategies": ROOT / "strategies" / "dynaclr_strategies"}

# Each tower from its lowest floor up; within a floor, a module may import those named before it.
GROUND = [["errors", "checks", "exact", "paths", "randomness", "wording"]]
TABLES = [
    ["files", "tau_sampling", "plate", "fields", "config", "store_checks", "experiment"],
    ["sorted_keys", "lineage", "tracks", "fovs", "observations", "index"],
    ["cascade.draws", "cascade.rounding", "cascade.strata", "cascade.axes", "cascade.quotas", "cascade.focus"],
    ["cascade.recipe", "cascade.schedule", "cascade.passes", "cascade.composition"],
    ["cascade.distinct", "cascade.exclusive", "cascade.fold"],
    ["sampler"],
    ["memory", "pixels", "positives", "dataset"],
]
TENSORS = [
    ["transforms.base", "transforms.intensity", "transforms.normalize", "transforms.spatial", "transforms"],
    ["augment", "batch_transforms"],
    ["log_sum", "loss", "encoder", "weights", "sample_grid", "embeddings", "schedules"],
    ["engine"],
]
ROOF = [
    ["normalization", "summaries", "preprocess"],
    ["loader", "splits", "trainers", "on_device", "stages", "datamodule"],
    ["report", "report.batches", "report.embeddings"],
    ["demo.movies", "demo.run", "demo"],
    ["cli", "cli.interruption", "cli.sentences", "cli.main", "cli.simple"],
    ["cli.checkpoints", "cli.training", "cli.batches", "__main__"],
]
MARKERS = ["", "cascade"]  # packages whose __init__ only documents

# Floors that must import without torch: thousands of examples of a property test cost seconds, not minutes.
LIGHT = [name for floor in TABLES[:5] for name in floor]


def _order(*towers: list[list[str]]) -> list[str]:
    return [name for tower in towers for floor in tower for name in floor]


def _module_name(path: Path, package: str) -> str:
    parts = path.relative_to(PACKAGES[package]).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it: inside functions and for type checking too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
            found.add(node.module)
    return found


def _files(package: str) -> list[Path]:
    return sorted(PACKAGES[package].rglob("*.py"))


def _own_imports(path: Path) -> set[str]:
    known = {_module_name(file, "dynaclr") for file in _files("dynaclr")}
    return {name.removeprefix("dynaclr.") for name in _imports(path) if name.removeprefix("dynaclr.") in known - {""}}


def _allowed(module: str) -> set[str]:
    for towers in ([GROUND], [GROUND, TABLES], [GROUND, TENSORS], [GROUND, TABLES, TENSORS, ROOF]):
        order = _order(*towers)
        if module in order:
            return {*order[: order.index(module)], "cascade"}
    raise AssertionError(f"module {module!r} has no floor in {__file__}; name it where it belongs")


def test_every_module_has_one_floor() -> None:
    """Each module stands on exactly one floor, and each name on a floor is a module."""
    named = _order(GROUND, TABLES, TENSORS, ROOF) + MARKERS
    assert sorted(named) == sorted({_module_name(path, "dynaclr") for path in _files("dynaclr")})


@pytest.mark.parametrize("path", _files("dynaclr"), ids=lambda path: _module_name(path, "dynaclr") or "__init__")
def test_imports_run_downward(path: Path) -> None:
    """A module imports from lower floors of its own tower only; the roof sees both towers."""
    module = _module_name(path, "dynaclr")
    if module in MARKERS:
        assert not _own_imports(path)
        return
    upward = _own_imports(path) - _allowed(module) - {module}
    assert not upward, f"{module} imports {sorted(upward)}, which stand above it or in the other tower"


def test_the_library_knows_no_tests() -> None:
    """`dynaclr` imports neither Hypothesis nor pytest nor the property library."""
    for path in _files("dynaclr"):
        roots = {name.partition(".")[0] for name in _imports(path)}
        assert not roots & {"hypothesis", "pytest", "dynaclr_strategies"}, path


# The property library from its ground up; a name stands for a module or for all of a package. Each part may import
# those named before it and nothing of those behind it.
LIBRARY = [
    "codec",
    "descriptions",
    "parts",
    "sampler_descriptions",
    "pixels",
    "ready_made",
    "writers",
    "cases",
    "loss_descriptions",
    "fault_descriptions",
    "fault_arms",
    "oracles",
    "invariants",
    "invariants_page",
    "subjects",
    "reproduction",
    "holding",
    "channels",
    "times",
    "lineages",
    "registries",
    "tables",
    "options",
    "table_cases",
    "dataset_cases",
    "datamodule_cases",
    "embeddings",
    "augment_cases",
    "faults",
    "from_types",
    "conformance",
    "law_cases",
    "fuzzing",
]
WITH_HYPOTHESIS = LIBRARY[LIBRARY.index("holding") :]
WITH_PYTEST = {"reproduction.plugin", "conformance"}
WITH_DYNACLR = {"subjects", "from_types"}


def _library_files() -> list[Path]:
    return [
        path
        for path in _files("dynaclr_strategies")
        if path.parent != PACKAGES["dynaclr_strategies"] or path.stem != "__init__"
    ]


def _is_below(module: str, parts: Iterable[str]) -> bool:
    """Tell whether a module is one of the parts, or inside one."""
    return any(module == part or module.startswith(f"{part}.") for part in parts)


@pytest.mark.parametrize("path", _library_files(), ids=lambda path: _module_name(path, "dynaclr_strategies"))
def test_the_property_library_has_floors_too(path: Path) -> None:
    """Imports run downward; Hypothesis, pytest and `dynaclr` stay in the parts that are there for them."""
    module, imports = _module_name(path, "dynaclr_strategies"), _imports(path)
    place = LIBRARY.index(module.partition(".")[0])
    own = {name.removeprefix("dynaclr_strategies.") for name in imports if name.startswith("dynaclr_strategies.")}
    above = {name for name in own if _is_below(name, LIBRARY[place + 1 :])}
    assert not above, f"{module} imports {sorted(above)}, which stand above it"
    roots = {name.partition(".")[0] for name in imports}
    assert "hypothesis" not in roots or _is_below(module, WITH_HYPOTHESIS)
    assert "pytest" not in roots or _is_below(module, WITH_PYTEST)
    assert "dynaclr" not in roots or _is_below(module, WITH_DYNACLR)


def test_tables_import_without_torch() -> None:
    """The floors below the sampler import in a process that never loads torch."""
    code = f"import sys\nfor name in {LIGHT!r}: __import__('dynaclr.' + name)\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
