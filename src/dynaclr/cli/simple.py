"""The commands without a training configuration: demo, preprocess and schema."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from dynaclr.cli.sentences import sentence_of_unknown
from dynaclr.errors import DynaclrError

__all__ = ["demo", "preprocess", "schema"]


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are our errors, and which takes no abbreviations."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and leaving."""
        raise DynaclrError(sentence_of_unknown(message, self) or f"{self.prog}: {message} (see {self.prog} --help)")


def demo(arguments: Sequence[str]) -> None:
    """Run ``dynaclr demo [DIR]``.

    Parameters
    ----------
    arguments
        What follows the command.
    """
    parser = _Parser(prog="dynaclr demo", description="Write two small experiments and train an encoder on them.")
    parser.add_argument(
        "directory", metavar="DIR", nargs="?", type=Path, default=Path("dynaclr-demo"), help="default: %(default)s"
    )
    options = parser.parse_args(arguments)
    from dynaclr.cli.main import run_command
    from dynaclr.demo import run_demo

    run_demo(options.directory, run_command)


def preprocess(arguments: Sequence[str]) -> None:
    """Run ``dynaclr preprocess EXPERIMENTS_YML [--overwrite]``.

    Parameters
    ----------
    arguments
        What follows the command.
    """
    parser = _Parser(
        prog="dynaclr preprocess",
        description="Compute each FOV's statistics and write them into the store's metadata, under 'normalization'. "
        "It can be interrupted: the next run goes on where this one stopped.",
    )
    parser.add_argument("experiments", metavar="EXPERIMENTS_YML", type=Path, help="the registry of experiments")
    parser.add_argument("--overwrite", action="store_true", help="compute again what is there already")
    options = parser.parse_args(arguments)
    from dynaclr.experiment import ExperimentRegistry
    from dynaclr.preprocess import compute_statistics
    from dynaclr.wording import counted

    registry = ExperimentRegistry.from_yaml(options.experiments)
    report = compute_statistics(registry, progress=True, overwrite=options.overwrite)
    print(f"{counted(len(report.computed), 'FOV')} computed, {len(report.skipped)} had their statistics already.")


def schema(arguments: Sequence[str]) -> None:
    """Run ``dynaclr schema [--output FILE]``.

    Parameters
    ----------
    arguments
        What follows the command.
    """
    parser = _Parser(prog="dynaclr schema", description="Print the JSON Schema of experiments.yml.")
    parser.add_argument("--output", metavar="FILE", type=Path, help="write it to this file instead")
    options = parser.parse_args(arguments)
    from dynaclr.config import json_schema
    from dynaclr.files import write_atomically

    text = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    if options.output is None:
        print(text, end="")
        return
    try:
        write_atomically(options.output, text)
    except OSError as error:
        raise DynaclrError(f"output={str(options.output)!r} cannot be written: {error.strerror}") from error
