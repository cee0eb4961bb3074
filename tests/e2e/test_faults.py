"""Everything that networks and providers do wrong, at once: nobody hangs, nothing leaks, everything is written down.

INTERLOCK_FAULT_REQUESTS=10000 pytest tests/e2e/test_faults.py        any size; the slow test is that one
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from interlock.execution.calls import CANCELLED
from interlock.lab.process import Gateway, gateway
from interlock.ledger import Reading, verify
from interlock.types import Decision, Outcome


def _injector() -> Any:
    """`injector.py` stands beside this file, and test folders are no packages."""
    spec = importlib.util.spec_from_file_location("injector", Path(__file__).with_name("injector.py"))
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    sys.modules["injector"] = module
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


injector = _injector()

CONCURRENCY = 64
DEADLINE = 6.0  # seconds that every request allows
PAUSE = 0.1  # seconds after being told to come later: impatient, but no busy loop
GRACE = 3.0  # for a busy machine to deliver what was ready in time
SHARE, FLOOR, WINDOW = 0.1, 5.0, 10.0
NOT_CALLED = {"breaker_open", "deadline", "attempts", "retry_budget"}
TROUBLE = {
    "provider_rate_limited",
    "provider_overloaded",
    "provider_timeout",
    "provider_unreachable",
    "provider_garbled",
}

MIXED = {
    "ok": 60, "latency": 5, "reset_before": 5, "reset_after": 3, "truncated": 3, "malformed": 4, "limited": 3,
    "storm": 10, "half_open": 1, "stall": 1, "error_event": 3, "broke": 0.5,
}  # fmt: skip
BAD = MIXED | {"ok": 5, "storm": 60}

CONFIG = """
providers:
  mixed: {{kind: openai, base_url: "http://127.0.0.1:{mixed}/v1", first_byte_timeout_s: 1, stall_timeout_s: 1}}
  bad: {{kind: openai, base_url: "http://127.0.0.1:{bad}/v1", first_byte_timeout_s: 1, stall_timeout_s: 1}}
candidates:
  - {{name: a, provider: mixed, model: a, price: {{in: 1, out: 2}}, ttft_s: 0.01, tokens_per_second: 1000}}
  - {{name: b, provider: mixed, model: b, price: {{in: 1, out: 2}}, ttft_s: 0.01, tokens_per_second: 1000}}
  - {{name: c, provider: bad, model: c, price: {{in: 1, out: 2}}, ttft_s: 0.01, tokens_per_second: 1000}}
  - {{name: d, provider: bad, model: d, price: {{in: 1, out: 2}}, ttft_s: 0.01, tokens_per_second: 1000}}
guards: {{health: {{pause_s: 0.2, longest_s: 1, longest_rest_s: 0.1, park_s: 0.1, longest_park_s: 0.2}}}}
policy: {{exploration: {{kind: epsilon, rate: 1.0}}}}
execution: {{backoff_s: 0.02, retries: 2, retry_budget: {{share: {share}, floor: {floor}, window_s: {window}}}}}
learner: {{enabled: false}}
server: {{receive_timeout_s: 2, send_timeout_s: 3}}
"""


@dataclass
class Seen:
    """What clients were told."""

    ids: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest: float = 0.0
    lag: float = 0.0


async def client(url: str, numbers: Any, seen: Seen) -> None:
    """One caller with a connection of its own: in a pool that callers share they wait for each other."""
    async with httpx.AsyncClient(base_url=url, timeout=60, verify=False) as http:
        await calls(http, numbers, seen)


async def calls(http: httpx.AsyncClient, numbers: Any, seen: Seen) -> None:
    for number in numbers:
        stream, leaves = number % 2 == 1, number % 20 == 19
        body = {
            "model": "auto",
            "messages": [{"role": "user", "content": f"number {number}"}],
            "stream": stream,
            "interlock": {"limits": {"deadline": DEADLINE}},
        }
        began, pause = time.monotonic(), 0.0
        try:
            async with asyncio.timeout(DEADLINE + GRACE):
                pause = await (left if leaves else heard)(http, body, seen)
        except TimeoutError:
            seen.wrong.append(f"{number}: no end after {DEADLINE + GRACE} s")
        except Exception as error:  # noqa: BLE001 - whatever a client saw is the finding
            seen.wrong.append(f"{number}: {type(error).__name__} {error}")
        seen.slowest = max(seen.slowest, time.monotonic() - began)
        await asyncio.sleep(pause)


async def left(http: httpx.AsyncClient, body: dict[str, Any], seen: Seen) -> float:
    """A client who goes away as soon as the answer has begun."""
    async with http.stream("POST", "/v1/chat/completions", json=body) as response:
        seen.ids.append(response.headers["x-interlock-id"])
        seen.answers["left"] += 1
    return 0.0


async def heard(http: httpx.AsyncClient, body: dict[str, Any], seen: Seen) -> float:
    """The whole answer, or an error in the shape the API promises, before or after the answer began.

    Returns for how long (seconds) to leave the gateway alone.
    """
    async with http.stream("POST", "/v1/chat/completions", json=body) as response:
        text = (await response.aread()).decode()
    seen.ids.append(response.headers["x-interlock-id"])
    if response.status_code != 200:
        seen.answers[str(response.status_code)] += 1
        well_formed(json.loads(text))
        if "retry-after" in response.headers:
            assert 1 <= int(response.headers["retry-after"]) <= 3600
            return PAUSE
    elif not body["stream"]:
        seen.answers["whole"] += 1
        assert json.loads(text)["choices"][0]["message"]["content"] == "".join(injector.WORDS)
    else:
        events = [block.removeprefix("data: ") for block in text.split("\n\n") if block]
        if events[-1] == "[DONE]":
            seen.answers["stream"] += 1
            deltas = [json.loads(event)["choices"][0]["delta"].get("content", "") for event in events[:-1]]
            assert "".join(deltas) == "".join(injector.WORDS)  # and no usage that nobody asked for
        else:
            seen.answers["error event"] += 1
            well_formed(json.loads(events[-1]))
            assert all("choices" in json.loads(event) for event in events[:-1])
    return 0.0


def well_formed(document: dict[str, Any]) -> None:
    error = document["error"]
    assert error["message"]
    assert error["type"]
    assert error["code"]


async def lagging(seen: Seen) -> None:
    """How late this process itself is, in which clients and injectors share a loop."""
    while True:
        due = time.monotonic() + 0.05
        await asyncio.sleep(0.05)
        seen.lag = max(seen.lag, time.monotonic() - due)


def descriptors(running: Gateway) -> int:
    return len(os.listdir(f"/proc/{running.process.pid}/fd"))


async def gauges(http: httpx.AsyncClient) -> dict[str, float]:
    lines = (await http.get("/metrics")).text.splitlines()
    wanted = ("interlock_tasks", "interlock_runs_open")
    return {line.split()[0]: float(line.split()[1]) for line in lines if line.startswith(wanted)}


async def storm(running: Gateway, requests: int, seen: Seen) -> tuple[list[bytes], float]:
    """All clients at once, and slow-loris ones beside them; then nothing may be left. What the slow ones were told."""
    host, port = running.address.split(":")
    until = asyncio.Event()
    async with httpx.AsyncClient(base_url=running.url, timeout=60) as http:
        await gauges(http)
        before = descriptors(running), await gauges(http)
        slow = [asyncio.create_task(injector.dribble(host, int(port), until)) for _ in range(4)]
        lag = asyncio.create_task(lagging(seen))
        numbers, began = iter(range(requests)), time.monotonic()
        await asyncio.gather(*(client(running.url, numbers, seen) for _ in range(CONCURRENCY)))
        seconds = time.monotonic() - began
        lag.cancel()
        told = await asyncio.gather(*slow)
        until.set()
    async with httpx.AsyncClient(base_url=running.url) as http:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:  # the idle upstream connections go after a while
            now = await gauges(http)
            if descriptors(running) <= before[0] and now == before[1]:
                break
            await asyncio.sleep(0.5)
        assert (descriptors(running), now) <= (before[0], before[1])
        assert now == before[1]
    return told, seconds


def check(ledger: Path, seen: Seen, requests: int, seconds: float, mixed: Any, bad: Any) -> dict[str, Any]:
    """The ledger holds every request, and no domain was called more often than its budget allows."""
    report = verify(ledger)
    assert report.rows == report.head
    decisions, outcomes = dict[str, Decision](), dict[str, Outcome]()
    for row in Reading(ledger).rows():
        if isinstance(row.record, Decision):
            decisions[row.decision] = row.record
        elif isinstance(row.record, Outcome):
            assert row.decision not in outcomes
            outcomes[row.decision] = row.record
    answered = seen.answers["whole"] + seen.answers["stream"]
    assert answered > requests / 20, "the storm leaves room: whoever asks while all rest is told so at once"
    assert set(mixed.faults + bad.faults) == set(MIXED)
    assert len(seen.ids) == len(decisions) == requests
    assert set(seen.ids) == set(decisions)
    assert set(outcomes) == {id for id, decision in decisions.items() if decision.chosen is not None}

    domains = {"a": "mixed", "b": "mixed", "c": "bad", "d": "bad"}
    first, repeated = Counter[str](), Counter[str]()
    for outcome in outcomes.values():
        troubled = set[str]()
        for step in outcome.steps:
            domain = domains[step.candidate]
            if step.error in NOT_CALLED:
                continue
            (repeated if step.why == "retry" or domain in troubled else first)[domain] += 1
            if step.error in TROUBLE:
                troubled.add(domain)
        for step in outcome.steps:  # usage reaches the ledger though nobody asked for it
            assert step.error or (step.usage.input, step.usage.output) == (5, 4), step
    allowed = {d: FLOOR + SHARE * first[d] + FLOOR * (seconds + 1) / WINDOW for d in first}
    assert all(repeated[domain] <= allowed[domain] for domain in first), (repeated, allowed)
    for domain, upstream in (("mixed", mixed), ("bad", bad)):
        recorded, received = first[domain] + repeated[domain], sum(upstream.calls.values())
        left = sum(o.error == CANCELLED for o in outcomes.values())
        assert recorded - left <= received <= recorded, (domain, recorded, received)
        assert upstream.without_usage == 0
    return {
        "requests": requests, "seconds": round(seconds, 1), "slowest": round(seen.slowest, 2),
        "own lag": round(seen.lag, 2),
        "slowest outcome": round(max(outcome.latency for outcome in outcomes.values()), 2),
        "answers": dict(seen.answers), "first calls": dict(first), "repeated": dict(repeated), "allowed": allowed,
        "faults": dict(mixed.faults + bad.faults),
    }  # fmt: skip


def run(folder: Path, requests: int) -> dict[str, Any]:
    async def whole() -> dict[str, Any]:
        mixed, bad, seen = injector.Injector(MIXED, 1), injector.Injector(BAD, 2), Seen()
        async with injector.injecting(mixed, bad):
            config = folder / "interlock.yaml"
            numbers = {"mixed": mixed.port, "bad": bad.port, "share": SHARE, "floor": FLOOR, "window": WINDOW}
            config.write_text(CONFIG.format(**numbers))
            running = await asyncio.to_thread((context := gateway(folder, "--config", str(config))).__enter__)
            try:
                told, seconds = await storm(running, requests, seen)
            finally:
                await asyncio.to_thread(context.__exit__, None, None, None)
        assert not seen.wrong, "\n".join(seen.wrong)
        assert running.process.returncode == -signal.SIGTERM  # and not killed for hanging
        assert all(b"408" in answer.split(b"\r\n")[0] for answer in told), told
        log = running.log.read_text()
        assert "Traceback" not in log, log[-3000:]
        return check(folder / "ledger.db", seen, requests, seconds, mixed, bad)

    return asyncio.run(whole())


def test_nobody_hangs_nothing_leaks_and_everything_is_written_down(tmp_path: Path) -> None:
    report = run(tmp_path, int(os.environ.get("INTERLOCK_FAULT_REQUESTS", "600")))
    print(json.dumps(report))


@pytest.mark.slow
def test_ten_thousand_requests(tmp_path: Path) -> None:
    print(json.dumps(run(tmp_path, 10_000)))
