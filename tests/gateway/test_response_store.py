"""Kept responses: their tenant's own, bounded in number, size and age, in memory or in a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from interlock.errors import ConfigError, NotFound
from interlock.gateway.response_store import Response, ResponseStore

SAID = [{"type": "message", "role": "user", "content": "hi"}]


def response(id: str, body: bytes = b"{}") -> Response:
    return Response(id, SAID, body)


async def kept(stored: ResponseStore, *ids: str, tenant: str = "a") -> list[str]:
    found = []
    for id in ids:
        try:
            found.append((await stored.get(id, tenant)).id)
        except NotFound:
            continue
    return found


async def test_a_response_is_its_tenants_until_it_is_deleted() -> None:
    stored = ResponseStore()
    await stored.put(response("r1", b'{"x":1}'), "a")
    assert await stored.get("r1", "a") == response("r1", b'{"x":1}')
    for take in (stored.get, stored.delete):
        with pytest.raises(NotFound, match="responses are kept for 86400 seconds"):
            await take("r1", "b")
    await stored.delete("r1", "a")
    with pytest.raises(NotFound):
        await stored.delete("r1", "a")


async def test_the_oldest_go_first_and_all_go_in_time() -> None:
    now = [0.0]
    stored = ResponseStore(retention=10, entries=2, size=200, clock=lambda: now[0])
    for id in ("r1", "r2", "r3"):
        now[0] += 1
        await stored.put(response(id), "a")
    assert await kept(stored, "r1", "r2", "r3") == ["r2", "r3"]
    await stored.put(response("big", b"x" * 120), "a")
    assert await kept(stored, "r2", "r3", "big") == ["big"]
    await stored.put(response("bigger", b"x" * 500), "a")
    assert await kept(stored, "big", "bigger") == []
    await stored.put(response("last"), "a")
    now[0] += 11
    assert await kept(stored, "last") == []


async def test_a_file_is_shared_and_outlives_the_process(tmp_path: Path) -> None:
    path = str(tmp_path / "responses.db")
    one, two = ResponseStore(path), ResponseStore(path)
    await one.put(response("r1"), "a")
    assert await kept(two, "r1") == ["r1"]
    one.close()
    two.close()
    assert await kept(ResponseStore(path), "r1") == ["r1"]
    with pytest.raises(ConfigError, match="cannot be opened"):
        ResponseStore(str(tmp_path / "nowhere" / "responses.db"))
