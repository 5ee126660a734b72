"""Where the command `dynaclr` starts: which command, what a mistake looks like, how the program ends."""

from __future__ import annotations

import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version
from typing import NamedTuple

from dynaclr.cli.interruption import is_interruption, repeating_lost_interruptions
from dynaclr.cli.sentences import sentence_of
from dynaclr.errors import DynaclrError, did_you_mean

__all__ = ["COMMANDS", "main", "run_command"]

EXIT_MISTAKE = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
EXIT_PIPE = 141  # 128 + SIGPIPE

_HANDLER = "dynaclr on the command line"


class Command(NamedTuple):
    """One command: the line that describes it, and the function that runs it, imported when needed."""

    summary: str
    module: str
    function: str


COMMANDS = {
    "demo": Command("write two small experiments, train on them, say where the results are", "simple", "demo"),
    "preprocess": Command("compute the statistics that normalizations need, into the stores", "simple", "preprocess"),
    "batches": Command("show what the batches of a fit hold, without training", "batches", "batches"),
    "fit": Command("train an encoder: dynaclr fit --config FILE", "training", "fit"),
    "validate": Command("compute the validation loss of a checkpoint", "training", "validate"),
    "predict": Command("write the embeddings of all cells to an AnnData Zarr store", "training", "predict"),
    "schema": Command("print the JSON Schema of experiments.yml, for editors", "simple", "schema"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments
        What follows ``dynaclr``; None for the program's own arguments.

    Returns
    -------
    int
        The exit code: 0, 2 for a user's mistake, 130 after Ctrl-C, 141 if the reader of a pipe has gone.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        with repeating_lost_interruptions():
            code = run_command(words)
        sys.stdout.flush()
    except KeyboardInterrupt:
        if debug:
            traceback.print_exc()
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # What is left in the buffer would raise again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE
    except Exception as error:
        if is_interruption(error):
            return EXIT_INTERRUPTED
        sentence = sentence_of(error)
        if sentence is None:
            raise
        if debug:
            traceback.print_exc()
        print(f"dynaclr: error: {sentence}", file=sys.stderr)
        return EXIT_MISTAKE
    return code


def run_command(words: Sequence[str]) -> int:
    """Run one command in this process and let its errors pass, for commands that are made of others.

    Parameters
    ----------
    words
        The command and its options.

    Returns
    -------
    int
        The exit code.

    Raises
    ------
    DynaclrError
        If there is no such command, or from the command itself.
    """
    name = words[0] if words else ""
    if name in ("-h", "--help", "help"):
        print(_help())
        return 0
    if name == "--version":
        print(f"dynaclr {version('dynaclr')}")
        return 0
    if not name:
        print(_help(), file=sys.stderr)
        return EXIT_MISTAKE
    if name not in COMMANDS:
        raise DynaclrError(
            f"there is no command {name!r}{did_you_mean(name, COMMANDS)}; the commands are {', '.join(COMMANDS)}"
        )
    _prepare_output()
    command = COMMANDS[name]
    run: Callable[[list[str]], None] = getattr(import_module(f"dynaclr.cli.{command.module}"), command.function)
    run(list(words[1:]))
    return 0


def _help() -> str:
    width = max(map(len, COMMANDS))
    commands = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: dynaclr COMMAND [OPTIONS]",
            "",
            "Contrastive learning on cells in time-lapse microscopy.",
            "",
            "commands:",
            *commands,
            "",
            "options:",
            "  -h, --help  this page; after a command, the command's options",
            "  --version   the version",
            "  --debug     show the stack trace of an error, before or after the command",
        ]
    )


def _prepare_output() -> None:
    """Show what our modules log, and warnings as one line without the source that raised them."""
    logger = logging.getLogger("dynaclr")
    for earlier in [handler for handler in logger.handlers if handler.name == _HANDLER]:
        logger.removeHandler(earlier)  # it may hold a stream that is closed by now
    handler = logging.StreamHandler()
    handler.set_name(_HANDLER)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    warnings.formatwarning = lambda message, category, *_args, **_kwargs: f"{category.__name__}: {message}\n"


if __name__ == "__main__":
    sys.exit(main())
