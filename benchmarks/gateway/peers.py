"""What is measured: each peer is a process (or none, for the direct way) that forwards to the same upstream."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from load import Failed, Target, receive

HERE = Path(__file__).parent
NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log crit;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; upstream bench {{ server 127.0.0.1:{upstream}; keepalive
  128; }} server {{ listen 127.0.0.1:{port} backlog=1024; keepalive_requests 1000000000;
    location / {{
      proxy_pass http://bench; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }} }}
}}
"""
LITELLM = """
model_list:
  - model_name: auto
    litellm_params: {{model: openai/bench, api_base: "http://127.0.0.1:{upstream}/v1", api_key: sk-bench}}
general_settings: {{master_key: sk-bench}}
"""


@dataclass
class Peer:
    """A running peer. `start` is seconds until its first answer."""

    name: str
    target: Target
    process: subprocess.Popen[bytes] | None = None
    start: float = 0.0
    pids: list[int] = field(default_factory=list)

    def cpu(self) -> float:
        """CPU seconds spent so far by the process and its children."""
        return sum(_ticks(pid) for pid in self.pids) / os.sysconf("SC_CLK_TCK")

    def rss(self) -> float:
        """Resident memory in MB."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids)
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(member for child in children for member in _family(int(child)))]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(
    name: str, command: list[str], target: Target, log: Path, core: int | None, patience: float = 240
) -> Iterator[Peer]:
    """A process, from its first answer on; bound to one core where the machine has more than one."""
    began = time.perf_counter()
    with log.open("wb") as output:
        environment = {**os.environ, "INTERLOCK_BENCH_KEY": target.key}
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    try:
        if core is not None:
            os.sched_setaffinity(process.pid, {core})
        while True:
            try:
                with contextlib.closing(target.connect()) as sock:
                    sock.sendall(target.request())
                    receive(sock)
                break
            except (OSError, Failed) as error:
                if process.poll() is not None or time.perf_counter() - began > patience:
                    raise RuntimeError(f"{name} does not answer ({error}):\n{log.read_text()[-3000:]}") from error
                time.sleep(0.02)
        yield Peer(name, target, process, time.perf_counter() - began, _family(process.pid))
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def nginx(folder: Path, upstream: int, port: int) -> list[str] | None:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        return None
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, upstream=upstream, port=port))
    return [program, "-p", str(folder), "-c", str(folder / "nginx.conf")]


def litellm(folder: Path, upstream: int, port: int) -> list[str] | None:
    program = os.environ.get("LITELLM") or shutil.which("litellm")
    if program is None:
        return None
    (folder / "litellm.yaml").write_text(LITELLM.format(upstream=upstream))
    return [
        program,
        "--config",
        str(folder / "litellm.yaml"),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--num_workers",
        "1",
    ]


def vllm_router(folder: Path, upstream: int, port: int) -> list[str] | None:
    """Round robin over one worker: vllm-router's cheapest way. `VLLM_ROUTER` names the program."""
    program = os.environ.get("VLLM_ROUTER") or shutil.which("vllm-router")
    return None if program is None else [program, *_round_robin(upstream, port)]


def sglang_router(folder: Path, upstream: int, port: int) -> list[str] | None:
    """Round robin over one worker. `SGLANG_PYTHON` names a Python that has sglang-router installed."""
    python = os.environ.get("SGLANG_PYTHON")
    return None if python is None else [python, "-m", "sglang_router.launch_router", *_round_robin(upstream, port)]


def _round_robin(upstream: int, port: int) -> list[str]:
    own = ["--host", "127.0.0.1", "--port", str(port), "--policy", "round_robin", "--prometheus-port", str(free_port())]
    return [*own, "--worker-urls", f"http://127.0.0.1:{upstream}"]


def interlock(folder: Path, upstream: int, port: int) -> list[str] | None:
    config = (HERE / "interlock.yaml").read_text().replace("UPSTREAM", str(upstream))
    (folder / "interlock.yaml").write_text(config)
    arguments = ["--host", "127.0.0.1", "--port", str(port), "--config", str(folder / "interlock.yaml")]
    return [sys.executable, "-m", "interlock", "serve", *arguments, "--ledger", str(folder / "ledger.db")]


PEERS: dict[str, Callable[[Path, int, int], list[str] | None]] = {
    "nginx": nginx,
    "interlock": interlock,
    "litellm": litellm,
    "vllm-router": vllm_router,
    "sglang-router": sglang_router,
}
