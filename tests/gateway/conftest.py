"""A gateway on a free port of this process, over a router whose provider is a script."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pytest

from interlock import signals
from interlock.config import Settings
from interlock.config.settings import CandidateSettings, ProviderSettings
from interlock.errors import InterlockError
from interlock.estimators import Constant
from interlock.execution import Executor, Fallback, Single
from interlock.exploration import Greedy
from interlock.gateway.front import front
from interlock.gateway.protocol import HttpLimits
from interlock.gateway.server import Server, build
from interlock.gateway.service import Service
from interlock.guards import Addressed, Board, Guards, Objection
from interlock.identity import Allowance, Identity, Role, digest
from interlock.ledger import SqliteLedger
from interlock.objectives import Weighted
from interlock.policy import Policy
from interlock.providers import Call, Chunks
from interlock.router import Plan, Router, Served
from interlock.types import Candidate, Chunk, Context, Outcome, Profile, Reason, Usage

CANDIDATES = (
    Candidate(name="tiny", provider="pocket", model="tiny", profile=Profile(quality=0.6, price_in=1.0, price_out=2.0)),
    Candidate(name="large", provider="far", model="large", profile=Profile(quality=0.5)),
)

SETTINGS = Settings(
    providers={"pocket": ProviderSettings("pocket"), "far": ProviderSettings("openai")},
    candidates=tuple(CandidateSettings(c.name, c.provider, c.model) for c in CANDIDATES),
)


def completion(text: str) -> bytes:
    return (
        b'{"id":"c1","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"'
        + text.encode()
        + b'"},"finish_reason":"stop"}],'
        + b'"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5},"x_unknown":7}'
    )


def piece(text: str) -> bytes:
    return (
        b'{"id":"c1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"'
        + text.encode()
        + b'"}}]}'
    )


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


@dataclass(frozen=True)
class NoForbiddenWord:
    name: str = "rules"

    def check(self, context: Context, candidates: Sequence[Candidate]) -> Iterator[Objection]:
        if "forbidden" in context.request.prompt:
            yield from (
                (i, Reason(self.name, "forbidden_word", "the rule forbids this word")) for i in range(len(candidates))
            )


def router_over(script: Script, folder: Path) -> Router:
    """A router that prefers `tiny`, with the script behind both providers."""
    board = Board()
    board.register(candidate.name for candidate in CANDIDATES)
    plan = Plan(
        candidates=CANDIDATES,
        reader=signals.build(["structure"], vector=["structure"]),
        guards=Guards([Addressed(), NoForbiddenWord()]),
        executor=Executor({"pocket": script, "far": script}, CANDIDATES, Single(), board, Fallback(max_attempts=1)),
        board=board,
        default_order=(),
        settings=SETTINGS,
        config=SETTINGS.hash,
    )
    return Router(plan, Served(Policy(Constant(), Weighted(), Greedy()), "s1"), SqliteLedger(folder / "ledger.db"))


@dataclass
class Running:
    server: Server
    service: Service
    router: Router
    script: Script
    client: httpx.AsyncClient

    @property
    def port(self) -> int:
        return self.server.port

    async def outcome(self, id: str) -> Outcome:
        """How the decision's run ended, as soon as it is in the ledger."""
        async with asyncio.timeout(5):
            while (outcome := (await self.router.ledger.explain(id)).outcome) is None:
                await asyncio.sleep(0.01)
        return outcome

    async def chat(self, text: str = "hi", headers: dict[str, str] | None = None, **fields: object) -> httpx.Response:
        body = {"model": "auto", "messages": [{"role": "user", "content": text}], **fields}
        return await self.client.post("/v1/chat/completions", json=body, headers=headers)


def keys(*held: tuple[str, str, Role], allowance: Allowance | None = None) -> dict[bytes, Identity]:
    """Static keys: (secret, tenant, role), each called as its secret without `sk-`."""
    allowance = allowance or Allowance()
    return {
        digest(secret.encode()): Identity(secret.removeprefix("sk-"), tenant, role, allowance=allowance)
        for secret, tenant, role in held
    }


Start = Callable[..., contextlib.AbstractAsyncContextManager[Running]]


@contextlib.asynccontextmanager
async def running(
    folder: Path,
    script: Script | None = None,
    keys: Mapping[bytes, Identity] | None = None,
    limits: HttpLimits | None = None,
    grace: int = 5,
) -> AsyncIterator[Running]:
    script = script or Script()
    router = router_over(script, folder)
    service = Service(router, replace(front(SETTINGS, CANDIDATES), static=keys or {}))
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
def start(tmp_path: Path) -> Start:
    return functools.partial(running, tmp_path)
