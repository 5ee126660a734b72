"""Where the search keeps its examples: a folder, and a Redis server where several machines search together."""

from __future__ import annotations

import importlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from hypothesis.database import DirectoryBasedExampleDatabase, ExampleDatabase, MultiplexedDatabase

__all__ = ["VARIABLE", "ExamplesError", "ForgivingDatabase", "example_database"]

VARIABLE = "DYNACLR_EXAMPLES"
"""The environment variable that names the server."""

_NEEDED = "it needs to be redis://HOST[:PORT]/NUMBER, such as redis://localhost/0"
_PORT = 6379
_CONNECT_SECONDS, _ANSWER_SECONDS, _PAUSE_SECONDS = 2.0, 5.0, 30.0

_log = logging.getLogger(__name__)


class ExamplesError(ValueError):
    """The example database cannot be had as it was asked for; the message says why, in one sentence."""


def example_database(folder: Path) -> ExampleDatabase:
    """Return the example database of a search.

    Parameters
    ----------
    folder
        Where examples are kept on this machine; made when there is something to keep.

    Returns
    -------
    ExampleDatabase
        The folder. Where the environment variable ``DYNACLR_EXAMPLES`` names a Redis server, as in
        ``redis://host:6379/0``, all is written to both and read from both. Losing the server costs the sharing only.

    Raises
    ------
    ExamplesError
        If the variable is no such address, or the package ``redis`` is missing.
    """
    local = DirectoryBasedExampleDatabase(folder)
    url = os.environ.get(VARIABLE, "")
    if not url:
        return local
    parts = _parts(url)
    return MultiplexedDatabase(local, ForgivingDatabase(_shared(parts), name=_shown(url), folder=folder))


class ForgivingDatabase(ExampleDatabase):
    """A database on another machine: whatever goes wrong with it is said once, and does no harm.

    Parameters
    ----------
    shared
        The database.
    name
        What it is called in the warning.
    folder
        Where examples are kept while it is away.
    pause
        For how many seconds it is left alone after something went wrong, so that a server that hangs does not hold
        up the search.
    """

    def __init__(self, shared: ExampleDatabase, *, name: str, folder: Path, pause: float = _PAUSE_SECONDS) -> None:
        super().__init__()
        self._shared, self._name, self._folder, self._pause = shared, name, folder, pause
        self._away_until = 0.0
        self._warned = False

    def __repr__(self) -> str:
        return f"ForgivingDatabase({self._name!r})"

    def fetch(self, key: bytes) -> Iterable[bytes]:
        """Return the values of a key; none while the server is away."""
        return self._try(lambda: list(self._shared.fetch(key))) or []

    def save(self, key: bytes, value: bytes) -> None:
        """Keep a value."""
        self._try(lambda: self._shared.save(key, value))

    def delete(self, key: bytes, value: bytes) -> None:
        """Drop a value."""
        self._try(lambda: self._shared.delete(key, value))

    def move(self, src: bytes, dest: bytes, value: bytes) -> None:
        """Drop a value of one key and keep it under another."""
        self._try(lambda: self._shared.move(src, dest, value))

    def _try(self, ask: Callable[[], Any]) -> Any:
        if time.monotonic() < self._away_until:
            return None
        try:
            return ask()
        except Exception as problem:  # noqa: BLE001 - a search of hours must not end with its server, however that fails
            self._away_until = time.monotonic() + self._pause
            if not self._warned:
                self._warned = True
                _log.warning(
                    "%s=%r does not answer (%s: %s); until it does, examples are kept in %s alone.",
                    VARIABLE,
                    self._name,
                    type(problem).__name__,
                    problem,
                    self._folder,
                )
            return None


def _parts(url: str) -> SplitResult:
    """Take an address apart."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as problem:
        raise _malformed(url) from problem
    # `urlsplit` drops line feeds and tabs without a word.
    readable = url.isprintable() and not re.search(r"\s", url)
    whole = parts.scheme in {"redis", "rediss"} and parts.hostname and port != 0
    if not (readable and whole and re.fullmatch(r"/[0-9]{1,9}", parts.path) and not parts.query and not parts.fragment):
        raise _malformed(url)
    return parts


def _malformed(url: str) -> ExamplesError:
    return ExamplesError(f"{VARIABLE}={_shown(url)!r} cannot be read, {_NEEDED}.")


def _shown(url: str) -> str:
    """Return an address without the password that may be in it."""
    return re.sub(r"//.*@", "//***@", url, flags=re.DOTALL)


def _shared(parts: SplitResult) -> ExampleDatabase:
    """Return the database on a server, which need not be there yet."""
    try:
        # By name: an optional package, without which this module has to import.
        redis: Any = importlib.import_module("redis")
        backoff: Any = importlib.import_module("redis.backoff")
        retry: Any = importlib.import_module("redis.retry")
        extra: Any = importlib.import_module("hypothesis.extra.redis")
    except ImportError as problem:
        raise ExamplesError(
            f"{VARIABLE}={_shown(parts.geturl())!r} needs the package redis: pip install 'dynaclr[redis]'."
        ) from problem
    server = redis.Redis(
        host=unquote(parts.hostname or ""),
        port=parts.port or _PORT,
        db=int(parts.path[1:]),
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        ssl=parts.scheme == "rediss",
        socket_connect_timeout=_CONNECT_SECONDS,
        socket_timeout=_ANSWER_SECONDS,
        # Once more at once: servers close connections that were idle. By itself it would try for half a minute.
        retry=retry.Retry(backoff.NoBackoff(), 1),
    )
    shared: ExampleDatabase = extra.RedisExampleDatabase(server)
    return shared
