"""Budgets under fire: 64 clients at once on one hard budget, over one gateway and over three, killed in the middle."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import signal
import time
import urllib.request
from contextlib import ExitStack
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from interlock.admission import charges
from interlock.lab.process import Gateway, gateway
from interlock.ledger import Reading, verify

from ..conftest import Redis

CLIENTS = 64
HARD = 2.0  # USD
COST = 0.011  # USD: what the upstream's 5 and 3 tokens come to
RESERVED = (32 * 1000 + 3 * 2000) / 1e6  # USD: no request of ours is longer than 32 bytes, frame included
SECRETS = {"ACME_KEY": "sk-acme-MARKER-one", "ADMIN_KEY": "sk-admin-MARKER-two"}


def configuration(folder: Path, upstream: ThreadingHTTPServer, redis: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "interlock.yaml"
    path.write_text(
        f"""
providers:
  hosted: {{kind: openai, base_url: "http://127.0.0.1:{upstream.server_address[1]}/v1", max_connections: 16}}
candidates:
  - {{name: dear, provider: hosted, model: m, price: {{in: 1000, out: 2000}}, max_output: 3}}
vector: [structure]
policy: {{exploration: {{kind: greedy}}}}
learner: {{enabled: false}}
tenants: {{acme: {{budgets: [{{window: total, hard_usd: {HARD}}}]}}}}
{f'admission: {{redis: "{redis}"}}' if redis else ""}
server:
  keys:
    - {{tenant: acme, key: "env:ACME_KEY"}}
    - {{tenant: ops, key: "env:ADMIN_KEY", role: admin}}
"""
    )
    return path


def bearer(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {SECRETS[name]}"}


async def client(http: httpx.AsyncClient, url: str, seen: list[int], patient: bool) -> None:
    """Ask until the budget is used up, or the gateway is gone. Who is `patient` waits for reservations of others."""
    body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}], "stream": len(seen) % 2 == 0}
    with contextlib.suppress(httpx.TransportError):
        while True:
            answer = await http.post(f"{url}/v1/chat/completions", json=body, headers=bearer("ACME_KEY"))
            seen.append(answer.status_code)
            if answer.status_code == 429:
                budget = answer.json()["error"]["budget"]
                if not patient or budget["used_usd"] + budget["needed_usd"] > budget["limit_usd"]:
                    return
                await asyncio.sleep(0.02)


async def fire(urls: list[str], kill: Gateway | None = None, after: int = 0) -> list[int]:
    """64 clients over the gateways; `kill` is killed once `after` answers were given."""
    seen: list[int] = []
    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=CLIENTS)) as http:
        clients = [asyncio.create_task(client(http, urls[i % len(urls)], seen, kill is None)) for i in range(CLIENTS)]
        if kill is not None:
            while seen.count(200) < after:
                await asyncio.sleep(0.005)
            kill.process.send_signal(signal.SIGKILL)
        await asyncio.gather(*clients)
    return seen


def ask(url: str, path: str) -> Any:
    request = urllib.request.Request(url + path, headers=bearer("ADMIN_KEY"))
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def standing(url: str) -> dict[str, Any]:
    """The tenant's budget once nothing is under way."""
    deadline = time.monotonic() + 45
    while True:
        (row,) = [row for row in ask(url, "/admin/budgets")["budgets"] if row["name"] == "acme"]
        if not row["reserved_usd"] or time.monotonic() > deadline:
            return dict(row)
        time.sleep(0.1)


def spent(*folders: Path) -> float:
    """USD, exactly, as the ledgers have it."""
    return sum(one.amount for folder in folders for one in charges(Reading(folder / "ledger.db"))) / 1e9


def test_64_clients_never_overspend_and_a_killed_gateway_counts_on(
    tmp_path: Path, upstream: ThreadingHTTPServer
) -> None:
    config = configuration(tmp_path, upstream)
    with gateway(tmp_path, "--config", str(config), env=SECRETS) as running:
        before = asyncio.run(fire([running.url], kill=running, after=60))
    assert running.process.returncode == -signal.SIGKILL
    with gateway(tmp_path, "--config", str(config), env=SECRETS) as running:
        assert standing(running.url)["used_usd"] == spent(tmp_path)
        after = asyncio.run(fire([running.url]))
        row = standing(running.url)
        assert row["used_usd"] == spent(tmp_path)
    assert set(before + after) <= {200, 429}
    assert HARD - RESERVED - COST < row["used_usd"] <= HARD
    assert row["reserved_usd"] == 0.0
    assert before.count(200) + after.count(200) == pytest.approx(math.floor(HARD / COST), abs=CLIENTS)
    verify(tmp_path / "ledger.db")


def test_three_gateways_share_a_budget_in_redis(
    tmp_path: Path, upstream: ThreadingHTTPServer, redis_server: Redis
) -> None:
    import redis

    redis.Redis.from_url(redis_server.url).flushall()
    folders = [tmp_path / name for name in "abc"]
    config = configuration(tmp_path, upstream, redis_server.url)
    with ExitStack() as stack:
        running = [stack.enter_context(gateway(f, "--config", str(config), env=SECRETS)) for f in folders]
        urls = [one.url for one in running]
        before = asyncio.run(fire(urls, kill=running[0], after=60))
        assert running[0].process.wait(10) == -signal.SIGKILL
        with gateway(folders[0], "--config", str(config), env=SECRETS) as again:
            after = asyncio.run(fire([again.url, *urls[1:]]))
            rows = [standing(url) for url in (again.url, *urls[1:])]
            assert [row["used_usd"] for row in rows] == [spent(*folders)] * 3
    assert set(before + after) <= {200, 429}
    assert HARD - RESERVED - COST < rows[0]["used_usd"] <= HARD
    assert all(spent(folder) > 10 * COST for folder in folders[1:])


def test_no_secret_of_a_key_is_kept_or_said(tmp_path: Path, upstream: ThreadingHTTPServer) -> None:
    config = configuration(tmp_path, upstream)
    body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
    with (
        gateway(tmp_path, "--config", str(config), "--log-level", "debug", env=SECRETS) as running,
        httpx.Client(base_url=running.url, timeout=30) as http,
    ):
        made = http.post("/admin/keys", json={"tenant": "acme"}, headers=bearer("ADMIN_KEY")).json()
        secrets = [made["secret"], *SECRETS.values(), "sk-unknown-MARKER"]
        said = [
            http.post("/v1/chat/completions", json=body, headers={header: prefix + secret}).text
            for secret in secrets
            for header, prefix in (("authorization", "Bearer "), ("x-api-key", ""), ("authorization", "Basic "))
        ]
        paths = ("/metrics", "/admin/keys", f"/admin/keys/{made['id']}", "/admin/budgets", "/admin/tenants")
        for path in (*paths, "/v1/config", "/v1/ledger?limit=1000"):
            answer = http.get(path, headers=bearer("ADMIN_KEY"))
            assert answer.status_code == 200
            said.append(answer.text)
        http.post(f"/admin/keys/{made['id']}/revoke", headers=bearer("ADMIN_KEY"))
        said.append(http.post("/v1/chat/completions", json=body, headers={"x-api-key": made["secret"]}).text)
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"ledger.db", "ledger.keys.db", "serve.log"} <= {path.name for path in kept}
    for secret in secrets:
        assert not [text for text in said if secret in text]
        assert not [path for path in kept if secret.encode() in path.read_bytes()]
