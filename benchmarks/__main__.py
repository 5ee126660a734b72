"""``python -m benchmarks``: measure, print the table, write ``docs/benchmarks.md``."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from benchmarks.machine import describe
from benchmarks.model import Entry, Results, Scale
from benchmarks.report import table, write_page

ROOT = Path(__file__).parents[1]
_MODULES = ("sampler", "index", "patches", "loss", "stores", "laws", "training")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks; return the exit code."""
    options = _parser().parse_args(arguments)
    modules = [name for name in _MODULES if options.only is None or options.only in name]
    if not modules:
        print(f"--only {options.only!r} matches none of {', '.join(_MODULES)}", file=sys.stderr)
        return 2
    results = Results(describe(), options.quick)
    for name in modules:
        begin = time.monotonic()
        measure: Callable[[Scale], Iterator[Entry]] = import_module(f"benchmarks.{name}").measure
        print(f"{name} ...", file=sys.stderr, flush=True)
        with _silence():
            results.entries.extend(measure(Scale(options.quick)))
        print(f"{name}: {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    _save(results, options.output, "" if modules == list(_MODULES) else f"-{'-'.join(modules)}")
    print(table(results))
    if not options.quick and modules == list(_MODULES):
        write_page(results, ROOT / "docs")
    missed = [reach for reach in results.reaches if not reach.met]
    return 1 if options.check and missed else 0


@contextmanager
def _silence() -> Iterator[None]:
    """Keep back what other libraries warn of and log while they are timed."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _save(results: Results, folder: Path, part: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    name = "quick" if results.quick else "full"
    (folder / f"{name}{part}.json").write_text(json.dumps(results.to_plain(), indent=1), encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, a few minutes; writes no page")
    parser.add_argument("--only", metavar="NAME", help=f"one of {', '.join(_MODULES)}, or a part of its name")
    parser.add_argument("--check", action="store_true", help="exit with 1 if something asked for is missed")
    parser.add_argument("--output", type=Path, default=ROOT / ".benchmarks", help="folder for the results as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
