"""Budgets under fire: 64 clients at once on one hard budget, over one gateway and over three, killed in the middle."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from interlock.admission import charges
from interlock.lab.process import gateway
from interlock.ledger import Reading, verify

from ..conftest import Redis
from .test_workers import children

CLIENTS = 64
HARD = 2.0  # USD
COST = 0.011  # USD: what the upstream's 5 and 3 tokens come to
RESERVED = (32 * 1000 + 3 * 2000) / 1e6  # USD: no request of ours is longer than 32 bytes, frame included
SECRETS = {"ACME_KEY": "sk-acme-MARKER-one", "ADMIN_KEY": "sk-admin-MARKER-two"}


def configuration(folder: Path, upstream: ThreadingHTTPServer, redis: str = "", postgres: bool = False) -> Path:
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
{'ledger: {url: "env:LEDGER_URL"}' if postgres else ""}
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


async def fire(urls: list[str], kill: int = 0, after: int = 0) -> list[int]:
    """64 clients over the gateways; the process `kill` is killed once `after` answers were given."""
    seen: list[int] = []
    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=CLIENTS)) as http:
        clients = [asyncio.create_task(client(http, urls[i % len(urls)], seen, not kill)) for i in range(CLIENTS)]
        if kill:
            while seen.count(200) < after:
                await asyncio.sleep(0.005)
            os.kill(kill, signal.SIGKILL)
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


def spent(*ledgers: Path | str) -> float:
    """USD, exactly, as the ledgers have it; a folder's is its `ledger.db`."""
    places = [place / "ledger.db" if isinstance(place, Path) else place for place in ledgers]
    return sum(one.amount for place in places for one in charges(Reading(place))) / 1e9


def settled(url: str, ledger: Path | str) -> dict[str, Any]:
    """The tenant's budget once it is what the ledger says, and nothing is reserved: a dead process was counted."""
    deadline = time.monotonic() + 90
    while True:
        row, exactly = standing(url), spent(ledger)
        if (row["used_usd"], row["reserved_usd"]) == (exactly, 0.0):
            return row
        assert time.monotonic() < deadline, (row, exactly)
        time.sleep(0.2)


def test_64_clients_never_overspend_and_a_killed_gateway_counts_on(
    tmp_path: Path, upstream: ThreadingHTTPServer
) -> None:
    config = configuration(tmp_path, upstream)
    with gateway(tmp_path, "--config", str(config), env=SECRETS) as running:
        before = asyncio.run(fire([running.url], kill=running.process.pid, after=60))
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
        before = asyncio.run(fire(urls, kill=running[0].process.pid, after=60))
        assert running[0].process.wait(10) == -signal.SIGKILL
        with gateway(folders[0], "--config", str(config), env=SECRETS) as again:
            after = asyncio.run(fire([again.url, *urls[1:]]))
            rows = [standing(url) for url in (again.url, *urls[1:])]
            assert [row["used_usd"] for row in rows] == [spent(*folders)] * 3
    assert set(before + after) <= {200, 429}
    assert HARD - RESERVED - COST < rows[0]["used_usd"] <= HARD
    assert all(spent(folder) > 10 * COST for folder in folders[1:])


def test_three_workers_count_one_ledger_together(
    tmp_path: Path, upstream: ThreadingHTTPServer, redis_server: Redis
) -> None:
    import redis

    redis.Redis.from_url(redis_server.url).flushall()
    config = configuration(tmp_path, upstream, redis_server.url)
    with gateway(tmp_path, "--config", str(config), "--workers", "3", env=SECRETS, patience=120) as running:
        victim = children(running.process.pid)[0]
        before = asyncio.run(fire([running.url], kill=victim, after=60))
        settled(running.url, tmp_path)
        after = asyncio.run(fire([running.url]))
        row = settled(running.url, tmp_path)
    assert set(before + after) <= {200, 429}
    assert HARD - RESERVED - COST < row["used_usd"] <= HARD
    assert len({one.writer for one in charges(Reading(tmp_path / "ledger.db"))}) >= 3
    verify(tmp_path / "ledger.db")


def test_three_gateways_count_one_postgres_together_and_share_its_keys(
    tmp_path: Path, upstream: ThreadingHTTPServer, redis_server: Redis, postgres: Any
) -> None:
    import redis

    redis.Redis.from_url(redis_server.url).flushall()
    place = postgres.database()
    config = configuration(tmp_path, upstream, redis_server.url, postgres=True)
    env = SECRETS | {"LEDGER_URL": place}
    with ExitStack() as stack:
        running = [
            stack.enter_context(gateway(tmp_path / name, "--config", str(config), env=env, ledger=None))
            for name in "abc"
        ]
        urls = [one.url for one in running]
        before = asyncio.run(fire(urls, kill=running[0].process.pid, after=60))
        assert running[0].process.wait(10) == -signal.SIGKILL
        settled(urls[1], place)
        again = stack.enter_context(gateway(tmp_path / "a", "--config", str(config), env=env, ledger=None))
        urls[0] = again.url
        after = asyncio.run(fire(urls))
        rows = [settled(url, place) for url in urls]
        assert set(before + after) <= {200, 429}
        assert HARD - RESERVED - COST < rows[0]["used_usd"] <= HARD
        assert rows[0] == rows[1] == rows[2]
        assert len({one.writer for one in charges(Reading(place))}) == 4
        everywhere_within_seconds(urls)
    verify(place)


def everywhere_within_seconds(urls: list[str]) -> None:
    """A key made at one gateway is known at the others, and then revoked there."""
    with httpx.Client(timeout=30) as http:
        made = http.post(f"{urls[0]}/admin/keys", json={"tenant": "beta"}, headers=bearer("ADMIN_KEY")).json()
        who = {"authorization": f"Bearer {made['secret']}"}
        for status, change in ((200, ""), (401, f"/admin/keys/{made['id']}/revoke")):
            if change:
                assert http.post(urls[1] + change, headers=bearer("ADMIN_KEY")).status_code == 200
            deadline = time.monotonic() + 5
            while {http.get(f"{url}/v1/models", headers=who).status_code for url in urls} != {status}:
                assert time.monotonic() < deadline
                time.sleep(0.1)


def test_budgets_that_several_processes_could_not_hold_are_refused_at_the_start(
    tmp_path: Path, upstream: ThreadingHTTPServer, postgres: Any
) -> None:
    config = configuration(tmp_path, upstream)
    shared = configuration(tmp_path / "shared", upstream, postgres=True)
    env = os.environ | SECRETS | {"LEDGER_URL": postgres.database()}
    for arguments in (["--config", str(config), "--workers", "2"], ["--config", str(shared)]):
        command = [sys.executable, "-m", "interlock", "serve", "--port", "0", *arguments]
        found = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
        assert found.returncode == 3
        assert "admission.redis: several processes write this ledger" in " ".join(found.stderr.split())


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
