"""A worker of a search: one property with a planted failure, and an example database in a folder of its own.

It is run by ``test_examples_database.py`` as ``python sharing_worker.py FOLDER search|replay|wait``, prints what
it did as JSON, and ends with 1 if the property failed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from unittest import SkipTest

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from dynaclr_strategies.fuzzing.examples import ExamplesError, example_database

FAILS_ABOVE = 1234
TRIED: list[int] = []


def make(folder: Path, mode: str) -> settings:
    """Return settings of a search, or of a worker that replays only what it finds in the database."""
    phases = [Phase.reuse] if mode == "replay" else [Phase.reuse, Phase.generate, Phase.shrink]
    database = example_database(folder)
    return settings(database=database, phases=phases, max_examples=5000, deadline=None, derandomize=False)


def main(folder: Path, mode: str) -> int:
    """Run the property."""

    @settings(make(folder, mode))
    @given(number=st.integers(0, 10**9))
    def planted(number: int) -> None:
        # What fails does not hang on when it is tried: Hypothesis does not try again what has passed.
        failing = number > FAILS_ABOVE
        if failing and mode == "wait" and max(TRIED, default=0) <= FAILS_ABOVE:
            # The server dies here, in the middle of the search: nothing is kept yet, and nothing shrunk.
            sys.stdout.write("in the middle\n")
            sys.stdout.flush()
            sys.stdin.readline()
        TRIED.append(number)
        assert not failing, "planted"

    try:
        planted()
        failed = False
    except AssertionError:
        failed = True
    except SkipTest:
        # There was nothing to replay.
        failed = False
    sys.stdout.write(json.dumps({"failed": failed, "tried": len(TRIED), "last": TRIED[-1] if TRIED else None}) + "\n")
    return int(failed)


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
    except ExamplesError as problem:
        sys.exit(str(problem))
