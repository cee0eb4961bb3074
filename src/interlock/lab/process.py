"""Start a real gateway process for an experiment or a test, wait until it is ready, and stop it again."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Gateway:
    """A running `interlock serve`. `address` is `host:port`; its output goes to `log`."""

    address: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        return f"http://{self.address}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=1) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


@contextlib.contextmanager
def gateway(
    folder: Path,
    *arguments: str,
    env: dict[str, str] | None = None,
    patience: float = 60.0,
    ledger: str | None = "ledger.db",
) -> Iterator[Gateway]:
    """`interlock serve` on a free port, its `ledger` a file in `folder`, or with None the configuration's.

    Raises RuntimeError, with its log, if it fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    address, log = f"127.0.0.1:{free_port()}", folder / "serve.log"
    host, port = address.split(":")
    command = [sys.executable, "-m", "interlock", "serve", "--host", host, "--port", port]
    if ledger is not None:
        command += ["--ledger", str(folder / ledger)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *arguments], stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **(env or {})}
        )
    running = Gateway(address, process, log)
    try:
        deadline = time.monotonic() + patience
        while not ready(running.url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    f"the gateway did not get ready (exit code {process.poll()}):\n{log.read_text()[-4000:]}"
                )
            time.sleep(0.05)
        yield running
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
