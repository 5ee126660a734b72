"""A worker of a search: reads jobs from its standard input, a line each, and answers with reports.

``python -m dynaclr_strategies.fuzzing.worker FOLDER NUMBER WORKERS`` is started by the command; nobody else has reason
to. What the code under test prints goes into a file in the folder.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any, TextIO

__all__ = ["log_file", "main"]


def log_file(folder: Path, number: int) -> Path:
    """Return where a worker's output goes."""
    return folder / f"worker-{number}.log"


def _answers(log: Path) -> TextIO:
    """Keep standard output for answers, and send everything that is printed into a file."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
    return answers


def main(arguments: list[str]) -> int:
    """Do the jobs that come in, until there are no more."""
    folder, number, workers = Path(arguments[0]), int(arguments[1]), int(arguments[2])
    answers = _answers(log_file(folder, number))
    warnings.simplefilter("ignore")
    logging.getLogger().setLevel(logging.CRITICAL + 1)

    # Not before the output goes elsewhere: some of what is imported here writes to it.
    from dynaclr_strategies.conformance.contract import contract_of
    from dynaclr_strategies.fuzzing import examples, search
    from dynaclr_strategies.fuzzing.board import Board

    order = json.loads((folder / "search.json").read_text(encoding="utf-8"))
    board = Board(folder, order["laws"], workers)
    database, bundles = examples.example_database(Path(order["database"])), Path(order["bundles"])
    for module in (examples, search):
        logging.getLogger(module.__name__).addHandler(_Notes(answers))
    contract = None if order["sampler"] is None else contract_of(order["sampler"], Path.cwd())
    searcher = search.Searcher(board, number, database, bundles, Path(order["code"]), contract=contract)
    _answer(answers, {"ready": True})
    for line in sys.stdin:
        _answer(answers, {"report": searcher.search(search.Job(**json.loads(line))).to_plain()})
    return 0


def _answer(answers: TextIO, what: dict[str, Any]) -> None:
    answers.write(json.dumps(what) + "\n")
    answers.flush()


class _Notes(logging.Handler):
    """Passes on what the example database and the search have to say."""

    def __init__(self, answers: TextIO) -> None:
        super().__init__()
        self._answers = answers

    def emit(self, record: logging.LogRecord) -> None:
        """Send a warning to the command."""
        _answer(self._answers, {"note": record.getMessage()})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
