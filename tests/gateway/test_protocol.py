"""The connection: limits, pipelining, framing and what a client is told when it does not speak HTTP properly."""

from __future__ import annotations

import asyncio
import json
import socket
from types import SimpleNamespace
from typing import Any

import pytest

from interlock.gateway.exchange import Exchange
from interlock.gateway.protocol import HttpLimits

from .conftest import Running, Script, Start

BODY = json.dumps({"messages": [{"role": "user", "content": "hi"}]}).encode()

CHUNKED = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"


def post(body: bytes = BODY, headers: bytes = b"", version: bytes = b"1.1") -> bytes:
    head = b"POST /v1/chat/completions HTTP/%b\r\nhost: x\r\n%bcontent-length: %d\r\n\r\n"
    return head % (version, headers, len(body)) + body


async def talk(gateway: Running, *sent: bytes, pause: float = 0.0) -> bytes:
    """Send bytes, then everything that comes back until the server closes or falls silent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    for data in sent:
        writer.write(data)
        await asyncio.sleep(pause)
    got = b""
    try:
        while data := await asyncio.wait_for(reader.read(65536), 0.5):
            got += data
    except TimeoutError:
        pass
    writer.close()
    return got


async def test_pipelined_requests_are_answered_in_order(start: Start) -> None:
    async with start() as gateway:
        got = await talk(gateway, post() + b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n" + post() + post())
        kinds = [b"status" if b'"status"' in part else b"chat" for part in got.split(b"HTTP/1.1 200 OK")[1:]]
        assert kinds == [b"chat", b"status", b"chat", b"chat"]


async def test_a_request_in_small_pieces(start: Start) -> None:
    async with start() as gateway:
        whole = post()
        got = await talk(gateway, *(whole[i : i + 7] for i in range(0, len(whole), 7)), pause=0.001)
        assert got.startswith(b"HTTP/1.1 200 OK")


async def test_http_1_0_gets_no_chunks_and_the_end_of_the_connection(start: Start) -> None:
    async with start() as gateway:
        body = BODY[:-1] + b', "stream": true}'
        got = await talk(gateway, post(body, version=b"1.0"))
        assert b"transfer-encoding" not in got
        assert b"connection: close" in got
        assert got.endswith(b"data: [DONE]\n\n")


async def test_expect_continue(start: Start) -> None:
    async with start() as gateway:
        head, body = post(headers=b"expect: 100-continue\r\n").split(b"\r\n\r\n")
        got = await talk(gateway, head + b"\r\n\r\n", body, pause=0.05)
        assert got.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (post(headers=b"x-much: " + b"a" * 5000 + b"\r\n"), 431),
        (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n", 431),
        (post(b"x" * 3000), 413),
        (CHUNKED + b"bb8\r\n" + b"x" * 3000, 413),
        (b"GET /v1/chat/completions HTTP/1.1\r\nhost: x\r\n\r\n", 405),
        (post(headers=b"content-length: 3\r\n"), 400),
    ],
)
async def test_refused_before_it_is_heard_out(start: Start, sent: bytes, status: int) -> None:
    async with start(limits=HttpLimits(body=2048, head=4096)) as gateway:
        got = await talk(gateway, sent)
        head, _, body = got.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d" % status)
        assert b"connection: close" in head
        assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
        assert (await gateway.chat()).status_code == 200


async def test_a_large_body_is_refused_while_the_client_still_sends(start: Start) -> None:
    async with start(limits=HttpLimits(body=2048)) as gateway:
        response = await gateway.client.post("/v1/chat/completions", content=b"x" * 5_000_000)
        assert response.status_code == 413
        assert "2048 bytes" in response.json()["error"]["message"]


async def test_an_idle_connection_and_a_slow_sender_are_let_go(start: Start) -> None:
    async with start(limits=HttpLimits(idle=0.2, receive=0.2)) as gateway:
        idle, slow = await asyncio.gather(read_until_closed(gateway, b""), read_until_closed(gateway, post()[:-5]))
        assert idle == b""
        assert slow.startswith(b"HTTP/1.1 408")


async def test_a_long_answer_is_not_idleness(start: Start) -> None:
    gate = asyncio.Event()
    async with start(Script(gate=gate), limits=HttpLimits(idle=0.1, receive=0.1)) as gateway:
        answer = asyncio.create_task(gateway.chat())
        await asyncio.sleep(1.5)  # more than one sweep
        gate.set()
        assert (await answer).status_code == 200


async def test_small_events_are_not_held_back_by_nagle(start: Start) -> None:
    async with start() as gateway:
        await gateway.chat()
        (connection,) = gateway.server.server_state.connections
        sock = connection.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def read_until_closed(gateway: Running, sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(sent)
    got = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return got


async def test_a_client_that_stops_reading_is_let_go(start: Start) -> None:
    loop, words = asyncio.get_running_loop(), ["x" * 65536] * 1000
    streamed = json.dumps({"messages": [{"role": "user", "content": "hi"}], "stream": True}).encode()
    async with start(Script(words=words), limits=HttpLimits(send=0.2)) as gateway:
        with socket.create_connection(("127.0.0.1", gateway.port)) as client:
            client.setblocking(False)
            await loop.sock_sendall(client, post(streamed))
            head = (await loop.sock_recv(client, 4096)).decode("latin-1")
            id = head.split("x-interlock-id: ")[1].split("\r\n")[0]
            assert (await gateway.outcome(id)).error == "cancelled"
            assert gateway.script.closed == 1
            assert gateway.script.sent < len(words)


class Closing(asyncio.Transport):
    """As uvloop's: writing to what is closed raises."""

    def __init__(self) -> None:
        super().__init__()
        self.closed, self.sent = False, b""

    def is_closing(self) -> bool:
        return self.closed

    def write(self, data: Any) -> None:
        if self.closed:
            raise RuntimeError("the handler is closed")
        self.sent += data


@pytest.mark.parametrize("leaves", [True, False])
async def test_what_waits_for_the_end_of_the_tick_goes_with_the_client(leaves: bool) -> None:
    loop, transport, wrong = asyncio.get_running_loop(), Closing(), list[Any]()
    loop.set_exception_handler(lambda _, context: wrong.append(context))
    connection: Any = SimpleNamespace(loop=loop, transport=transport, default_head=lambda: b"")
    exchange = Exchange(connection, "chat", Exchange.drained, {}, True, True, False)
    exchange.begin(200, b"")
    exchange.write(b"data: {}\n\n")
    transport.closed = leaves
    await asyncio.sleep(0)
    assert (not wrong, bool(transport.sent)) == (True, not leaves)
