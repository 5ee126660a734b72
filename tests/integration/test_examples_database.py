"""Examples are kept in a folder, and shared through a Redis server that may come and go."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.database import DirectoryBasedExampleDatabase, ExampleDatabase, InMemoryExampleDatabase

from dynaclr_strategies.fuzzing import examples
from dynaclr_strategies.fuzzing.examples import VARIABLE, ExamplesError, ForgivingDatabase, example_database

WORKER = Path(__file__).parent / "sharing_worker.py"
KEYS, VALUES = (b"one", b"two"), (b"x", b"y", b"z")


class Server:
    """A Redis server on a free loopback port, which keeps nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it and wait until it answers; where the port has just been taken, take another."""
        for _ in range(5):
            if not self.port:
                with socket.socket() as free:
                    free.bind(("127.0.0.1", 0))
                    self.port = free.getsockname()[1]
            options = {"port": self.port, "bind": "127.0.0.1", "save": "", "appendonly": "no", "dir": self.folder}
            command = ["redis-server", *(part for name, one in options.items() for part in (f"--{name}", str(one)))]
            self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if self._answers():
                return
            self.stop()
            self.port = 0
        raise RuntimeError("redis-server did not start")

    def _answers(self) -> bool:
        for _ in range(200):
            assert self.process is not None
            if self.process.poll() is not None:
                return False
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                    connection.sendall(b"PING\r\n")
                    return connection.recv(16).startswith(b"+PONG")
            except OSError:
                time.sleep(0.05)
        return False

    def stop(self) -> None:
        """Kill it, as a machine that fails would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextmanager
def a_server() -> Iterator[Server]:
    """Run a server."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed (Debian package redis-server)")
    pytest.importorskip("redis", reason="the package redis is not installed: pip install 'dynaclr[redis]'")
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One server for the tests that do not kill it."""
    with a_server() as running:
        yield running


@contextmanager
def named(url: str | None) -> Iterator[None]:
    """Set the variable, or take it away."""
    with pytest.MonkeyPatch.context() as patch:
        if url is None:
            patch.delenv(VARIABLE, raising=False)
        else:
            patch.setenv(VARIABLE, url)
        yield


def shared_database(folder: Path, url: str) -> ExampleDatabase:
    """Return the database of a worker."""
    with named(url):
        return example_database(folder)


def start_worker(folder: Path, mode: str, url: str | None) -> subprocess.Popen[str]:
    """Start a worker of a search."""
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    if url is not None:
        environment[VARIABLE] = url
    command = [sys.executable, str(WORKER), str(folder), mode]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment)


def finish(worker: subprocess.Popen[str], told: str = "") -> tuple[dict[str, Any], str]:
    """Wait for a worker; return what it did, and its errors."""
    out, errors = worker.communicate(told, timeout=120)
    assert worker.returncode in {0, 1}, errors
    return json.loads(out.splitlines()[-1]), errors


def run_worker(folder: Path, mode: str, url: str | None) -> tuple[dict[str, Any], str]:
    """Run a worker to its end."""
    return finish(start_worker(folder, mode, url))


# --- the address ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", [None, ""])
def test_without_the_variable_there_is_a_folder(url: str | None) -> None:
    """Nobody needs a server, nor the package for one."""
    with named(url):
        assert example_database(Path("x")) == DirectoryBasedExampleDatabase("x")


# What an environment variable can hold.
texts = st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), min_size=1, max_size=40)
addresses = texts | texts.map(lambda rest: f"redis://{rest}") | texts.map(lambda rest: f"redis://host:1/{rest}")


@given(url=addresses)
def test_any_text_is_an_address_or_one_sentence(url: str) -> None:
    """Nothing else is raised, and nothing is asked of a server before there is something to keep."""
    with named(url):
        try:
            example_database(Path("x"))
        except ExamplesError as problem:
            said = str(problem)
        else:
            return
    assert said.startswith(f"{VARIABLE}=")
    assert "it needs to be redis://HOST[:PORT]/NUMBER" in said
    assert "\n" not in said


@pytest.mark.parametrize(
    "url",
    [
        "localhost:6379/0",
        "redis://localhost",
        "redis://localhost/",
        "redis://localhost/zero",
        "redis:///0",
        "redis://localhost:0/0",
        "redis://localhost:port/0",
        "redis://localhost:65536/0",
        "redis://local host/0",
        "redis://local\nhost/0",
        "redis://[::1/0",
        "redis://localhost/0?db=1",
        "redis://localhost/0#1",
        "http://localhost/0",
        "unix:///tmp/redis.sock",
    ],
)
def test_a_malformed_address_is_one_sentence(url: str) -> None:
    """It says which variable, what it holds and what it needs."""
    with named(url), pytest.raises(ExamplesError) as caught:
        example_database(Path("x"))
    assert str(caught.value) == (
        f"{VARIABLE}={url!r} cannot be read, it needs to be redis://HOST[:PORT]/NUMBER, such as redis://localhost/0."
    )


@pytest.mark.parametrize("url", ["redis://:secret@host/x", "redis://me:sec/ret@host/0", "redis://me:secret@host/0"])
def test_passwords_are_not_shown(url: str) -> None:
    """Neither in a sentence nor in a log."""
    with named(url):
        try:
            shown = repr(example_database(Path("x")))
        except ExamplesError as problem:
            shown = str(problem)
    assert "***@host" in shown
    assert "ret" not in shown


def test_the_parts_of_an_address_are_understood() -> None:
    """Host, port, number, user, password and encryption reach the client."""
    pytest.importorskip("redis")
    with named("rediss://me:p%40ss@[::1]:7000/3"):
        shared = example_database(Path("x"))._wrapped[1]._shared  # type: ignore[attr-defined]
    options = shared.redis.get_connection_kwargs()
    wanted = {"host": "::1", "port": 7000, "db": 3, "username": "me", "password": "p@ss"}
    assert wanted.items() <= options.items()
    assert "SSL" in shared.redis.connection_pool.connection_class.__name__


def test_a_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install."""
    monkeypatch.setitem(sys.modules, "redis", None)
    with named("redis://localhost/0"), pytest.raises(ExamplesError) as caught:
        example_database(Path("x"))
    sentence = f"{VARIABLE}='redis://localhost/0' needs the package redis: pip install 'dynaclr[redis]'."
    assert str(caught.value) == sentence


def test_a_run_of_tests_says_the_sentence_and_nothing_else() -> None:
    """Who mistypes the variable sees no stack trace of pytest."""
    command = [sys.executable, "-m", "pytest", "-q", str(Path(__file__).parent / "test_profiles.py")]
    environment = {**os.environ, VARIABLE: "redis:/localhost"}
    environment.pop("PYTEST_XDIST_WORKER", None)
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode != 0
    assert done.stderr.strip().startswith(f"{VARIABLE}='redis:/localhost' cannot be read")
    assert "Traceback" not in done.stdout + done.stderr


# --- a database that fails --------------------------------------------------------------------------------------------

steps = st.lists(
    st.tuples(
        st.sampled_from(("save", "delete", "move", "fetch")),
        st.sampled_from(KEYS),
        st.sampled_from(VALUES),
        st.sampled_from(("here", "away", "other worker")),
    ),
    max_size=20,
)


class Fickle(InMemoryExampleDatabase):
    """A database on another machine, which can be away."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.asked = 0

    def ask(self) -> None:
        """Fail while it is away."""
        self.asked += 1
        if self.away:
            raise ConnectionError("away")

    def fetch(self, key: bytes) -> Iterator[bytes]:
        """Fetch, or fail at the first value, as a generator does."""
        self.ask()
        yield from super().fetch(key)

    def save(self, key: bytes, value: bytes) -> None:
        """Save, or fail."""
        self.ask()
        super().save(key, value)

    def delete(self, key: bytes, value: bytes) -> None:
        """Delete, or fail."""
        self.ask()
        super().delete(key, value)

    def move(self, src: bytes, dest: bytes, value: bytes) -> None:
        """Move, or fail at once and not between its two halves."""
        self.ask()
        was, self.away = self.away, False
        super().move(src, dest, value)
        self.away = was


def do(database: ExampleDatabase, step: str, key: bytes, value: bytes) -> None:
    """Do one step."""
    if step == "move":
        database.move(key, KEYS[1 - KEYS.index(key)], value)
    elif step == "fetch":
        list(database.fetch(key))
    else:
        getattr(database, step)(key, value)


@given(done=steps)
def test_a_server_that_comes_and_goes_changes_what_is_there_only(done: list[tuple[str, bytes, bytes, str]]) -> None:
    """While it is there all goes through, while it is away nothing does, and nothing is ever raised."""
    shared, model = Fickle(), InMemoryExampleDatabase()
    database = ForgivingDatabase(shared, name="server", folder=Path("x"), pause=0.0)
    logging.getLogger(examples.__name__).addFilter(muted)
    try:
        for step, key, value, where in done:
            shared.away = where == "away"
            if shared.away and step == "fetch":
                assert list(database.fetch(key)) == []
            do(database, step, key, value)
            if not shared.away:
                do(model, step, key, value)
    finally:
        logging.getLogger(examples.__name__).removeFilter(muted)
    shared.away = False
    for key in KEYS:
        assert set(database.fetch(key)) == set(model.fetch(key))


def muted(_: logging.LogRecord) -> bool:
    """Keep warnings that are meant to be there out of the report of a failure."""
    return False


def test_a_warning_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """It says which server, why, and where examples are kept; all further trouble is the same trouble."""
    shared = Fickle()
    database = ForgivingDatabase(shared, name="redis://host/0", folder=Path("kept", "here"), pause=0.0)
    shared.away = True
    for key in KEYS * 3:
        database.save(key, b"x")
        assert database.fetch(key) == []
    (record,) = caplog.records
    assert record.getMessage() == (
        f"{VARIABLE}='redis://host/0' does not answer (ConnectionError: away); until it does, examples are kept in "
        f"{Path('kept', 'here')} alone."
    )


def test_a_server_that_is_away_is_left_alone_for_a_while() -> None:
    """One that hangs would otherwise hold up each of thousands of examples; then it is asked again."""
    shared = Fickle()
    database = ForgivingDatabase(shared, name="server", folder=Path("x"), pause=0.2)
    shared.away = True
    for _ in range(50):
        database.save(b"one", b"x")
    assert shared.asked == 1
    shared.away = False
    time.sleep(0.25)
    database.save(b"one", b"x")
    assert database.fetch(b"one") == [b"x"]


# --- a real server ----------------------------------------------------------------------------------------------------


@settings(max_examples=max(10, settings().max_examples // 4))
@given(done=steps)
def test_workers_read_what_others_wrote(done: list[tuple[str, bytes, bytes, str]], server: Server) -> None:
    """A worker finds what is in its folder and what is on the server, and nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        workers = [shared_database(Path(folder, name), server.url) for name in ("first", "second")]
        # What is on the server, then what is in each folder.
        models = [InMemoryExampleDatabase() for _ in range(3)]
        for key in KEYS:
            for value in VALUES:
                workers[0].delete(key, value)
        for step, key, value, where in done:
            number = int(where == "other worker")
            for one in (workers[number], models[0], models[1 + number]):
                do(one, step, key, value)
        for number, worker in enumerate(workers):
            for key in KEYS:
                values = list(worker.fetch(key))
                assert sorted(values) == sorted({*models[0].fetch(key), *models[1 + number].fetch(key)})


def test_what_one_worker_found_another_replays(server: Server) -> None:
    """With a folder of its own and without having searched; without the server it finds nothing."""
    with tempfile.TemporaryDirectory() as folder:
        found, errors = run_worker(Path(folder, "finder"), "search", server.url)
        assert found["failed"], errors
        assert found["last"] == 1235
        alone, _ = run_worker(Path(folder, "alone"), "replay", None)
        assert alone == {"failed": False, "tried": 0, "last": None}
        replayed, errors = run_worker(Path(folder, "other"), "replay", server.url)
        assert replayed["failed"], errors
        assert replayed["last"] == 1235
        assert errors == ""
        # What it replayed is in its folder from then on.
        later, _ = run_worker(Path(folder, "other"), "replay", None)
        assert later["failed"]


def test_a_server_that_dies_in_the_middle_costs_the_sharing_only() -> None:
    """The search goes on, finds, shrinks, and keeps in its folder what it found; when the server is back, it shares."""
    with a_server() as server, tempfile.TemporaryDirectory() as folder:
        own = Path(folder, "finder")
        worker = start_worker(own, "wait", server.url)
        assert worker.stdout is not None
        assert worker.stdout.readline() == "in the middle\n"
        server.stop()
        found, errors = finish(worker, "go on\n")
        assert found["failed"]
        assert found["last"] == 1235
        assert errors.count("does not answer") == 1, errors
        assert f"examples are kept in {own} alone" in errors
        replayed, errors = run_worker(own, "replay", server.url)
        assert replayed["failed"]
        assert errors.count("does not answer") == 1, errors
        server.start()
        assert run_worker(own, "replay", server.url)[0]["failed"]
        replayed, errors = run_worker(Path(folder, "other"), "replay", server.url)
        assert replayed["failed"], errors


def test_a_server_that_hangs_costs_seconds(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """It is given up after the time limit, once per pause."""
    monkeypatch.setattr(examples, "_ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(examples, "_CONNECT_SECONDS", 0.2)
    with a_server() as server, tempfile.TemporaryDirectory() as folder:
        database = shared_database(Path(folder), server.url)
        database.save(b"one", b"x")
        assert server.process is not None
        server.process.send_signal(signal.SIGSTOP)
        start = time.monotonic()
        for value in VALUES:
            database.save(b"one", value)
        assert sorted(database.fetch(b"one")) == list(VALUES)
        assert time.monotonic() - start < 3
    assert len(caplog.records) == 1


def test_a_server_without_that_number_is_a_warning(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """What the server refuses is no reason to stop a search."""
    with tempfile.TemporaryDirectory() as folder:
        database = shared_database(Path(folder), server.url.removesuffix("/0") + "/999")
        database.save(b"one", b"x")
        assert list(database.fetch(b"one")) == [b"x"]
    (record,) = caplog.records
    assert "DB index is out of range" in record.getMessage()
