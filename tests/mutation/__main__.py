"""The command: ``python -m mutation [MODULE ...]`` in the root folder of the repository."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

from mutation.equivalents import EquivalentsError, read_equivalents
from mutation.report import make_report
from mutation.results import module_name, mutants

EQUIVALENTS = Path(__file__).with_name("equivalent.toml")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 1 if too few mutants were killed or the list of equivalents is out of date."""
    parser = argparse.ArgumentParser(prog="mutation", description="Which mutants of the cascade do its laws kill?")
    parser.add_argument("modules", metavar="MODULE", nargs="*", help="such as sampler or cascade.axes (default: all)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="how many at once (default: all cores)")
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds of tests per mutant (default: all)")
    parser.add_argument("--report", action="store_true", help="only report what is known so far")
    parser.add_argument("--entries", action="store_true", help="show survivors as entries for the list of equivalents")
    parser.add_argument("--fresh", action="store_true", help="forget all results first")
    chosen = parser.parse_args(arguments)
    from mutmut.utils.file_utils import walk_mutatable_files

    known = sorted(module_name(path) for path in walk_mutatable_files())
    unknown = sorted(set(chosen.modules) - set(known))
    if unknown:
        parser.error(f"no such module: {', '.join(unknown)}; there are {', '.join(known)}")
    if chosen.fresh:
        shutil.rmtree("mutants", ignore_errors=True)
    try:
        listed = read_equivalents(EQUIVALENTS)
    except EquivalentsError as problem:
        parser.error(str(problem))
    if not chosen.report:
        from mutation.run import run

        try:
            run(chosen.modules, workers=chosen.workers, budget=chosen.budget)
        except KeyboardInterrupt:
            print("\nstopped; the same command goes on from here")
            return 130
    report = make_report(list(mutants(chosen.modules)), listed, chosen.modules)
    if chosen.entries:
        for mutant in report.survivors:
            removed, added = (json.dumps(part) for part in mutant.change)
            print(f"# {mutant.module} {mutant.function}\n  [{removed}, {added}],")
    else:
        print(report)
    return 0 if report.passes else 1


if __name__ == "__main__":
    sys.exit(main())
