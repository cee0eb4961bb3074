"""A gateway on a free port of this process, over a router whose provider is a script."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

import httpx
import pytest

from interlock.errors import InterlockError, Refused
from interlock.execution import Executor, Fallback, Run, Single
from interlock.gateway.keys import Keys
from interlock.gateway.models import catalogue
from interlock.gateway.protocol import HttpLimits
from interlock.gateway.server import Server, build
from interlock.gateway.service import Service
from interlock.providers import Call, Chunks
from interlock.types import Candidate, Chunk, Considered, Decision, Feedback, Outcome, Reason, Request, Usage

CANDIDATES = tuple(Candidate(name=name, provider="pocket" if name == "tiny" else "far", model=name) for name in ("tiny", "large"))


def completion(text: str) -> bytes:
    return (
        b'{"id":"c1","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"'
        + text.encode()
        + b'"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5},"x_unknown":7}'
    )


def piece(text: str) -> bytes:
    return b'{"id":"c1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"' + text.encode() + b'"}}]}'


@dataclass
class Script:
    """A provider that says `words`; `fails` is raised before word number `fails_at`."""

    words: Sequence[str] = ("hello", " world")
    fails: InterlockError | None = None
    fails_at: int = 0
    gate: asyncio.Event | None = None  # waited for before every word but the first
    closed: int = 0
    calls: list[Call] = field(default_factory=list)
    sent: int = 0

    async def send(self, call: Call) -> Chunks:
        self.calls.append(call)
        try:
            if not call.stream:
                if self.gate is not None:
                    await self.gate.wait()
                if self.fails is not None:
                    raise self.fails
                yield Chunk(completion("".join(self.words)), "".join(self.words), Usage(3, 2), "stop")
                return
            for index, word in enumerate(self.words):
                if self.gate is not None and index:
                    await self.gate.wait()
                if self.fails is not None and index == self.fails_at:
                    raise self.fails
                self.sent += 1
                yield Chunk(piece(word), word)
            yield Chunk(b"", usage=Usage(3, 2), finish="stop")
        finally:
            self.closed += 1


class OpenBoard:
    def begin(self, candidate: str) -> bool:
        return True

    def end(self, candidate: str, error: str | None, seconds: float, retry_after: float | None = None) -> None: ...


class FakeRouter:
    """Chooses `tiny`, or refuses what contains the word forbidden; keeps what it was told."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.outcomes: list[Outcome] = []
        self.scores: list[Feedback] = []
        self.closed = False
        self.executor = Executor({"pocket": script, "far": script}, CANDIDATES, Single(), OpenBoard(), Fallback(max_attempts=1))

    def decide(self, requests: Sequence[Request]) -> list[Decision]:
        return [self._decision(request) for request in requests]

    def _decision(self, request: Request) -> Decision:
        refused = "forbidden" in request.prompt
        reasons = (Reason("rules", "forbidden_word", "the rule forbids this word"),) if refused else ()
        nan = float("nan")
        considered = tuple(
            Considered(c.name, reasons, 0.5, 0.1, nan, 0.1, nan, 0.5 - i, 0.0 if refused else (0.9, 0.1)[i])
            for i, c in enumerate(CANDIDATES)
        )
        chosen = None if refused else request.model if request.model in ("tiny", "large") else "tiny"
        return Decision(
            id=request.id, at=1.0, tenant=request.tenant, session=request.session, model=request.model, considered=considered,
            chosen=chosen, policy="test", snapshot="s1", config="c1", seed=0,
        )  # fmt: skip

    async def start(self, request: Request) -> Run:
        decision = self._decision(request)
        if decision.chosen is None:
            raise Refused({row.candidate: [r.detail for r in row.reasons] for row in decision.considered}, decision.id)
        return self.executor.start(request, decision, self.outcomes.append)

    async def feedback(self, feedback: Feedback) -> None:
        self.scores.append(feedback)

    async def close(self) -> None:
        self.closed = True


@dataclass
class Running:
    server: Server
    service: Service
    router: FakeRouter
    script: Script
    client: httpx.AsyncClient

    @property
    def port(self) -> int:
        return self.server.port

    async def chat(self, text: str = "hi", headers: dict[str, str] | None = None, **fields: object) -> httpx.Response:
        body = {"model": "auto", "messages": [{"role": "user", "content": text}], **fields}
        return await self.client.post("/v1/chat/completions", json=body, headers=headers)


Start = Callable[..., contextlib.AbstractAsyncContextManager[Running]]


@contextlib.asynccontextmanager
async def running(
    script: Script | None = None, keys: Keys | None = None, limits: HttpLimits | None = None, grace: int = 5
) -> AsyncIterator[Running]:
    script = script or Script()
    router = FakeRouter(script)
    service = Service(router, keys or Keys({}), catalogue({"auto": ()}, CANDIDATES, 0))
    server = build(service, port=0, limits=limits, grace=grace)
    task = asyncio.create_task(server.serve())
    while not server.started:
        assert not task.done(), "the server did not start"
        await asyncio.sleep(0.005)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=10) as client:
        try:
            yield Running(server, service, router, script, client)
        finally:
            server.should_exit = True
            await client.aclose()
            await asyncio.wait_for(task, grace + 5)


@pytest.fixture
def start() -> Start:
    return running
