"""`interlock serve --workers`: one port, one ledger, one learner; a worker that is killed comes again."""

from __future__ import annotations

import json
import os
import re
import signal
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from interlock.lab.process import gateway
from interlock.ledger import Reading, verify
from interlock.offered import embedded


def post(url: str, path: str, body: Any) -> tuple[dict[str, str], Any]:
    request = urllib.request.Request(url + path, json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=60) as response:  # a new connection each time: any worker
        return {name.lower(): value for name, value in response.headers.items()}, json.load(response)


def get(url: str, path: str) -> Any:
    with urllib.request.urlopen(url + path, timeout=30) as response:
        return json.load(response)


def ask(url: str) -> str:
    body = {"model": "auto", "messages": [{"role": "user", "content": "Please add 47 to 85 for me."}]}
    return post(url, "/v1/chat/completions", body)[0]["x-interlock-id"]


def judge(url: str, id: str, score: float) -> None:
    post(url, "/v1/feedback", {"id": id, "score": score, "source": "person"})


def children(process: int) -> list[int]:
    """The workers: children that are not multiprocessing's own helper."""
    found = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(child) for child in found if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def requests_of_workers(url: str) -> Counter[str]:
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as response:
        text = response.read().decode()
    counted: Counter[str] = Counter()
    for worker, count in re.findall(r'^interlock_requests_total\{worker="(\d+)",.*route="chat".*\} (\S+)$', text, re.M):
        counted[worker] += int(float(count))
    for worker, up in re.findall(r'^interlock_worker_up\{worker="(\d+)"\} (\d)', text, re.M):
        counted[f"up {worker}"] += int(up)
    return counted


def eventually(holds: Callable[[], Any], patience: float = 40.0) -> None:
    deadline = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold in time"
        time.sleep(0.1)


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, str]]:
    if request.param == "sqlite":
        return str(tmp_path / "ledger.db"), {}
    url = request.getfixturevalue("postgres").database()
    return url, {"DATABASE_URL": url}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="a process's children are read from /proc")
def test_workers_share_a_port_a_ledger_and_a_learner(store: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    place, env = store
    config = tmp_path / "interlock.yaml"
    own = {"url": "env:DATABASE_URL", "spool": str(tmp_path / "spool")} if env else {"path": place}
    config.write_text(yaml.safe_dump(embedded() | {"ledger": own}))
    arguments = ["--config", str(config), "--workers", "2"]
    with gateway(tmp_path, *arguments, env=env, patience=120, ledger=None) as running:
        url = running.url
        eventually(lambda: (c := requests_of_workers(url))["up 0"] + c["up 1"] == 2)  # one alone is ready, too
        with ThreadPoolExecutor(8) as pool:
            ids = list(pool.map(lambda _: ask(url), range(40)))
            list(pool.map(lambda id: judge(url, id, 1.0), ids))  # mostly not by the worker that answered
        counted = requests_of_workers(url)
        assert counted["0"] > 0
        assert counted["1"] > 0
        assert counted["0"] + counted["1"] == 40
        assert (counted["up 0"], counted["up 1"]) == (1, 1)
        last = Reading(place).head()[0]
        eventually(lambda: all(int(served(url).partition("-")[0] or 0) >= last for _ in range(8)))
        assert len({served(url) for _ in range(8)}) == 1, "both serve the same snapshot"

        first = served(url)
        post(url, "/v1/learner/rollback", {"version": first})
        eventually(lambda: all(get(url, "/v1/learner")["pinned"] for _ in range(8)))
        post(url, "/v1/learner/resume", {})
        eventually(lambda: not any(get(url, "/v1/learner")["pinned"] for _ in range(8)))

        before = children(running.process.pid)
        assert len(before) == 2
        os.kill(before[0], signal.SIGKILL)
        eventually(lambda: len(set(children(running.process.pid)) - {before[0]}) == 2)
        eventually(lambda: (c := requests_of_workers(url))["up 0"] + c["up 1"] == 2)
        ids += [ask(url) for _ in range(10)]
    assert running.process.returncode == 0, running.log.read_text()
    assert all(not Path(f"/proc/{child}").exists() for child in before)
    assert verify(place).rows >= 130
    decided = [row.decision for row in Reading(place).rows(kind="decision")]
    assert sorted(decided) == sorted(ids)


def served(url: str) -> str:
    return str(get(url, "/v1/learner")["served"])


def test_a_port_that_is_taken_is_said_so(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with (
            pytest.raises(RuntimeError, match="cannot listen on"),
            gateway(tmp_path, "--workers", "2", "--port", port, patience=60),
        ):
            pass
