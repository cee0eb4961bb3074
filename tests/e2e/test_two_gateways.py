"""Two gateways and a PostgreSQL under traffic, while each part of it fails in its turn.

A provider is cut off, the database crashes, a gateway is killed, one is killed while the database is away: answers go
on, nothing that a client was told is lost, another gateway learns within ten seconds, and the chain verifies.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from interlock.lab.process import Gateway, gateway
from interlock.ledger import Reading, verify
from interlock.types import Feedback

CLIENTS = 6
MOVES_WITHIN = 10.0  # seconds
LONG_ENOUGH = 30  # answers that show that traffic goes on


class Upstream(BaseHTTPRequestHandler):
    """An OpenAI-compatible provider that can be cut off: then it closes every connection without a word."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.server.cut:  # type: ignore[attr-defined]
            self.close_connection = True
            self.connection.close()
            return
        usage = {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}
        common = {"id": "chatcmpl-1", "created": 1, "model": body["model"]}
        if body.get("stream"):
            delta = {"index": 0, "delta": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}
            chunks = [{"choices": [delta]}, {"choices": [], "usage": usage}]
            events = [json.dumps(common | {"object": "chat.completion.chunk"} | chunk) for chunk in chunks]
            kind, text = "text/event-stream", "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"])
        else:
            choice = {"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}
            document = common | {"object": "chat.completion", "choices": [choice], "usage": usage}
            kind, text = "application/json", json.dumps(document)
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""


@contextlib.contextmanager
def provider() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    server.cut = False  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@dataclass
class Witness:
    """What clients were told."""

    completed: list[str] = field(default_factory=list)
    acknowledged: dict[str, float] = field(default_factory=dict)
    refused: int = 0  # scores of what was decided just before the database went away
    surprises: list[str] = field(default_factory=list)


class Pair:
    """Two gateways over one database, each of which can be killed and started again."""

    def __init__(self, folder: Path, config: Path, env: dict[str, str]) -> None:
        self._folder, self._config, self._env = folder, config, env
        self._held = [contextlib.ExitStack(), contextlib.ExitStack()]
        self.running: list[Gateway | None] = [None, None]

    def start(self, which: int) -> Gateway:
        folder = self._folder / f"gateway-{which}"
        made = gateway(folder, "--config", str(self._config), env=self._env, patience=120, ledger=None)
        self.running[which] = running = self._held[which].enter_context(made)
        return running

    def kill(self, which: int) -> None:
        """SIGKILL; clients turn to the other from now on."""
        running, self.running[which] = self.running[which], None
        assert running is not None
        running.process.kill()
        running.process.wait()

    def stop(self) -> None:
        for held in self._held:
            held.close()

    async def leader(self) -> int | None:
        async with httpx.AsyncClient(timeout=5) as http:
            for which, running in enumerate(self.running):
                if running is not None and (await http.get(f"{running.url}/v1/learner")).json()["leading"]:
                    return which
        return None


async def client(pair: Pair, name: int, witness: Witness) -> None:
    """Ask one gateway after the other, streamed or not, and score every answer; a dead gateway is passed over."""
    async with httpx.AsyncClient(timeout=30) as http:
        for turn in range(10**6):
            running = pair.running[(turn + name) % 2] or pair.running[(turn + name + 1) % 2]
            assert running is not None
            with contextlib.suppress(httpx.TransportError):
                await ask(http, running.url, f"question {name} {turn}", turn % 2 == 1, witness)
            await asyncio.sleep(0.01)


async def ask(http: httpx.AsyncClient, url: str, text: str, stream: bool, witness: Witness) -> None:
    body = {"model": "auto", "messages": [{"role": "user", "content": text}], "stream": stream}
    answer = await http.post(f"{url}/v1/chat/completions", json=body)
    if answer.status_code != 200 or (stream and "data: [DONE]" not in answer.text):
        witness.surprises.append(f"{answer.status_code}: {answer.text[:300]}")
        return
    id = answer.headers["x-interlock-id"]
    witness.completed.append(id)
    score = round(len(witness.completed) % 7 / 7, 6)
    said = await http.post(f"{url}/v1/feedback", json={"id": id, "score": score, "source": "person"})
    if said.status_code == 200:
        witness.acknowledged[id] = score
    elif said.status_code == 503:
        witness.refused += 1
    else:
        witness.surprises.append(f"feedback {said.status_code}: {said.text[:300]}")


@contextlib.asynccontextmanager
async def traffic(pair: Pair, witness: Witness) -> AsyncIterator[None]:
    clients = [asyncio.create_task(client(pair, name, witness)) for name in range(CLIENTS)]
    try:
        yield
    finally:
        for task in clients:
            task.cancel()
        found = await asyncio.gather(*clients, return_exceptions=True)
        assert [error for error in found if not isinstance(error, asyncio.CancelledError)] == []


async def goes_on(witness: Witness, patience: float = 30.0) -> None:
    """Some more answers come."""
    wanted, deadline = len(witness.completed) + LONG_ENOUGH, time.monotonic() + patience
    while len(witness.completed) < wanted:
        assert time.monotonic() < deadline, f"answers have ended; surprises: {witness.surprises[:3]}"
        await asyncio.sleep(0.02)


async def eventually(holds: Any, patience: float) -> float:
    """Seconds until the coroutine function gives what is true."""
    began = time.monotonic()
    while not await holds():
        assert time.monotonic() - began < patience
        await asyncio.sleep(0.1)
    return time.monotonic() - began


async def play(pair: Pair, postgres: Any, near: ThreadingHTTPServer, witness: Witness) -> dict[str, float]:
    took: dict[str, float] = {}
    async with traffic(pair, witness):
        await goes_on(witness)
        await eventually(lambda: _known(pair.leader()), 20)

        near.cut = True  # type: ignore[attr-defined]
        await goes_on(witness)
        near.cut = False  # type: ignore[attr-defined]

        await asyncio.to_thread(postgres.stop, signal.SIGQUIT)
        await goes_on(witness)
        await asyncio.to_thread(postgres.start)
        await goes_on(witness)
        took["leads again after the database crashed"] = await eventually(lambda: _known(pair.leader()), 20)

        leads = await pair.leader()
        assert leads is not None
        pair.kill(leads)
        took["leadership moved"] = await eventually(lambda: _known(pair.leader()), MOVES_WITHIN)
        await goes_on(witness)
        await asyncio.to_thread(pair.start, leads)
        await goes_on(witness)

        await asyncio.to_thread(postgres.stop, signal.SIGQUIT)
        await goes_on(witness)
        pair.kill(leads)  # with rows on its machine that are not in the database
        await goes_on(witness)
        await asyncio.to_thread(postgres.start)
        await asyncio.to_thread(pair.start, leads)
        await goes_on(witness)
    return took


async def _known(leader: Any) -> bool:
    return await leader is not None


@pytest.mark.slow
def test_whatever_fails_answers_go_on_and_nothing_told_is_lost(postgres: Any, tmp_path: Path) -> None:
    place = postgres.database()
    witness = Witness()
    with provider() as near, provider() as far:
        hosts = {"near": near, "far": far}
        kind = {
            name: {"kind": "openai", "base_url": f"http://127.0.0.1:{s.server_address[1]}/v1"}
            for name, s in hosts.items()
        }
        candidates = [
            {"name": "cheap", "provider": "near", "model": "m1", "quality": 0.8, "price": {"in": 1, "out": 1}},
            {"name": "good", "provider": "far", "model": "m2", "quality": 0.9, "price": {"in": 2, "out": 2}},
        ]
        ledger = {"url": "env:DATABASE_URL", "spool": str(tmp_path / "spool")}
        config = tmp_path / "interlock.yaml"
        config.write_text(yaml.safe_dump({"providers": kind, "candidates": candidates, "ledger": ledger}))
        pair = Pair(tmp_path, config, {"DATABASE_URL": place})
        try:
            pair.start(0)
            pair.start(1)
            took = asyncio.run(play(pair, postgres, near, witness))
            print({what: round(seconds, 1) for what, seconds in took.items()}, len(witness.completed), witness.refused)
        finally:
            pair.stop()

    assert witness.surprises == []
    report = verify(place)
    rows = list(Reading(place).rows())
    assert len(rows) == report.rows == report.head
    decided = [row.decision for row in rows if row.kind == "decision"]
    assert len(decided) == len(set(decided)), "nothing is written twice"
    assert set(witness.completed) <= set(decided)
    stored = {row.decision: row.record for row in rows if row.kind == "feedback"}
    scores = {id: record.score for id, record in stored.items() if isinstance(record, Feedback)}
    assert witness.acknowledged.items() <= scores.items()
    assert list((tmp_path / "spool").iterdir()) == []
