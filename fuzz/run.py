"""Run the Atheris targets one after the other, on seeds from the corpus: ``tox -e atheris -- --minutes 30``.

Exit code 1 if anything was found, 0 if not, 2 if something cannot be used.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seeds import write_seeds

HERE = Path(__file__).parent
CORPUS = HERE.parent / "tests" / "property" / "corpus"
TARGETS = {path.stem.removeprefix("fuzz_"): path for path in sorted(HERE.glob("fuzz_*.py"))}

# A short input is one that breaks off in the middle of a case.
LIBFUZZER = ["-len_control=0", "-max_len=4096", "-timeout=300", "-rss_limit_mb=8192", "-print_final_stats=1"]


@dataclass(frozen=True)
class Result:
    """What one target came to.

    Attributes
    ----------
    runs
        How many inputs were checked.
    coverage
        How many arcs of ``dynaclr`` they reached.
    bundles
        What was found.
    failed
        Whether the target ended before its time.
    """

    runs: int
    coverage: int
    bundles: tuple[str, ...]
    failed: bool


def run_target(subject: str, seconds: float, corpus: Path, bundles: Path, seed: int) -> Result:
    """Run one target for a time, or until it finds something."""
    inputs = corpus / subject
    inputs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="dynaclr-seeds-") as seeds:
        write_seeds(subject, CORPUS, Path(seeds))
        crashes = inputs.parent / f"{subject}-crash-"
        limits = [f"-max_total_time={max(1, round(seconds))}", f"-seed={seed}", f"-artifact_prefix={crashes}"]
        done = subprocess.run(
            [sys.executable, str(TARGETS[subject]), str(inputs), seeds, *limits, *LIBFUZZER],
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
            env={**os.environ, "DYNACLR_BUNDLES": str(bundles), "OMP_NUM_THREADS": "1"},
        )
    runs = re.findall(r"number_of_executed_units: (\d+)", done.stderr) or re.findall(r"^#(\d+)\s", done.stderr, re.M)
    coverage = re.findall(r"\bcov: (\d+)", done.stderr)
    found = tuple(re.findall(r"^bundle: (.+)$", done.stderr, re.M))
    if done.returncode and not found:
        sys.stderr.write(done.stderr[-4000:])
    return Result(int(runs[-1]) if runs else 0, int(coverage[-1]) if coverage else 0, found, done.returncode != 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tox -e atheris --", description=__doc__)
    parser.add_argument("--minutes", metavar="N", type=float, required=True, help="how long to search, in all")
    parser.add_argument("--subjects", metavar="NAME", nargs="+", choices=list(TARGETS), default=list(TARGETS))
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of libFuzzer; 0 is another one every time")
    parser.add_argument(
        "--corpus",
        metavar="DIR",
        type=Path,
        default=Path(".hypothesis", "atheris"),
        help="where inputs are kept that reached something new (default: %(default)s)",
    )
    parser.add_argument(
        "--bundles", metavar="DIR", type=Path, default=Path("failures"), help="where bundles go (default: %(default)s)"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = _parser().parse_args(arguments)
    if importlib.util.find_spec("atheris") is None:
        sys.stderr.write("The package atheris is not installed: pip install 'dynaclr[atheris]'.\n")
        return 2
    if not 0 < options.minutes < float("inf"):
        sys.stderr.write(f"--minutes={options.minutes!r} needs to be more than 0.\n")
        return 2
    seconds = options.minutes * 60 / len(options.subjects)
    bundles = options.bundles.absolute()
    results = []
    sys.stdout.write(f"{'subject':12}  {'inputs':>8}  {'per s':>6}  {'arcs':>6}  result\n")
    for subject in options.subjects:
        result = run_target(subject, seconds, options.corpus.absolute(), bundles, options.seed)
        results.append(result)
        said = "FAILED" if result.failed else "holds"
        rate = result.runs / seconds
        sys.stdout.write(f"{subject:12}  {result.runs:>8}  {rate:>6.1f}  {result.coverage:>6}  {said}\n")
        sys.stdout.writelines(f"  dynaclr-replay {bundle}\n" for bundle in result.bundles)
        sys.stdout.flush()
    return int(any(result.failed for result in results))


if __name__ == "__main__":
    sys.exit(main())
