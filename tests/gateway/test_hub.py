"""Events reach those who may know; a slow listener loses the oldest, is told so, and never holds anybody up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from interlock.gateway.hub import QUEUE, Hub


async def opened(hub: Hub, tenant: str | None = None) -> AsyncIterator[bytes]:
    stream = hub.listen(tenant)
    assert (await anext(stream)).startswith(b":")
    return stream


async def test_nobody_listening_costs_no_document() -> None:
    def never() -> Any:
        raise AssertionError

    Hub().publish("decision", never)


async def test_a_tenant_hears_its_own_and_what_concerns_all() -> None:
    hub = Hub()
    everyone, acme = await opened(hub), await opened(hub, "acme")
    hub.publish("decision", lambda: {"n": 1}, "other")
    hub.publish("decision", lambda: {"n": 2}, "acme")
    hub.publish("config", lambda: {"n": 3})
    assert [await anext(everyone) for _ in range(3)] == [
        b'event: decision\ndata: {"n":1}\n\n',
        b'event: decision\ndata: {"n":2}\n\n',
        b'event: config\ndata: {"n":3}\n\n',
    ]
    assert [await anext(acme) for _ in range(2)] == [
        b'event: decision\ndata: {"n":2}\n\n',
        b'event: config\ndata: {"n":3}\n\n',
    ]


async def test_a_slow_listener_loses_the_oldest_and_is_told() -> None:
    hub = Hub()
    slow = await opened(hub)
    for n in range(QUEUE + 10):
        hub.publish("decision", lambda n=n: {"n": n})
    assert hub.dropped == 10
    assert await anext(slow) == b'event: dropped\ndata: {"events":10}\n\n'
    assert await anext(slow) == b'event: decision\ndata: {"n":10}\n\n'


async def test_a_listener_that_leaves_is_forgotten() -> None:
    hub = Hub()
    stream = await opened(hub)
    assert hub.listeners == 1
    await stream.aclose()  # type: ignore[attr-defined]
    assert hub.listeners == 0


async def test_closing_ends_the_streams_after_what_is_queued() -> None:
    hub = Hub()
    stream = await opened(hub)
    hub.publish("decision", dict)
    hub.close()
    async with asyncio.timeout(5):
        assert [event async for event in stream] == [b"event: decision\ndata: {}\n\n"]
