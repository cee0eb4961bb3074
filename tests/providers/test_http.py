"""The client against a server that resets, drips, lies about lengths, stalls and hangs up."""

import asyncio
import shutil
import ssl
import subprocess
import time

import pytest

from interlock.errors import ConfigError, Garbled, ProviderError, TimedOut, Unreachable
from interlock.providers.http import Client, Limits

SOON = 0.15


async def forever(peer):
    while True:
        await peer.receive()
        await peer.answer(b"{}")


def client_of(server, **limits):
    client = Client(server.url, Limits(**limits))
    return client, client.endpoint("POST", "/x", {"X-Key": "k"})


async def test_one_connection_serves_request_after_request(serve):
    server = await serve(forever)
    client, endpoint = client_of(server)
    for _ in range(5):
        response = await client.send(endpoint, b"abc")
        assert (response.status, await response.read()) == (200, b"{}")
        assert response.headers[b"content-type"] == b"application/json"
    assert server.connections == 1
    head, body = server.requests[0]
    assert head.startswith(b"POST /x HTTP/1.1\r\nhost: 127.0.0.1:")
    assert b"x-key: k\r\n" in head
    assert body == b"abc"


async def test_a_slow_drip_is_put_together(serve):
    async def drip(peer):
        await peer.receive()
        head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        for byte in head + b"5\r\nhello\r\n1;x=y\r\n!\r\n0\r\ntrailer: t\r\n\r\n":
            await peer.write(bytes([byte]))
            await asyncio.sleep(0)

    server = await serve(drip)
    client, endpoint = client_of(server)
    assert await (await client.send(endpoint)).read() == b"hello!"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_body_may_end_with_the_connection(serve, stream):
    async def until_eof(peer):
        await peer.receive()
        await peer.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")

    server = await serve(until_eof)
    client, endpoint = client_of(server)
    assert await (await client.send(endpoint, stream=stream)).read() == b"all of it"
    assert await (await client.send(endpoint, stream=stream)).read() == b"all of it"
    assert server.connections == 2


async def test_informational_answers_are_passed_over(serve):
    async def hints(peer):
        while True:
            await peer.receive()
            await peer.write(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")
            await peer.answer(b"yes")

    server = await serve(hints)
    client, endpoint = client_of(server)
    for _ in range(2):
        response = await client.send(endpoint)
        assert (response.status, await response.read(), b"link" in response.headers) == (200, b"yes", False)
    assert server.connections == 1


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort", "cut off"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel", "cut off"),
        (b"HTTP/1.1 200 OK\r\ncontent-le", "cut off"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "not HTTP"),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n\r\nx", "compressed"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 3000\r\n\r\n" + b"x" * 3000, "exceeds 1000 bytes"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 400, "exceeds"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_wrong_answer_is_garbled(serve, answer, problem, stream):
    async def play(peer):
        await peer.receive()
        for at in range(0, len(answer), 500):
            await peer.write(answer[at : at + 500])
            await asyncio.sleep(0.001)

    server = await serve(play)
    client, endpoint = client_of(server, head=500, body=1000)
    with pytest.raises(Garbled, match=problem):
        await (await client.send(endpoint, stream=stream)).read()
    assert len(server.requests) == 1


async def test_a_reset_before_the_answer_is_unreachable_and_not_repeated_on_a_new_connection(serve):
    async def reset(peer):
        await peer.receive()
        peer.reset()

    server = await serve(reset)
    client, endpoint = client_of(server)
    with pytest.raises(Unreachable):
        await client.send(endpoint)
    assert len(server.requests) == 1


async def test_a_connection_found_dead_is_replaced(serve):
    async def one_each(peer):
        await peer.receive()
        await peer.answer(b"{}")

    server = await serve(one_each)
    client, endpoint = client_of(server)
    for number in range(1, 4):
        assert (await client.send(endpoint)).status == 200
        while len(server.gone) < number:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)  # for the news to arrive
    assert server.connections == len(server.requests) == 3


async def test_a_request_that_was_sent_is_never_sent_again_unasked(serve):
    async def then_resets(peer):
        await peer.receive()
        await peer.answer(b"{}")
        await peer.receive()
        peer.reset()

    server = await serve(then_resets)
    client, endpoint = client_of(server)
    await client.send(endpoint)
    with pytest.raises(Unreachable):
        await client.send(endpoint)
    assert len(server.requests) == 2


async def test_nobody_listens():
    client = Client("http://127.0.0.1:9")
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9"):
        await client.send(client.endpoint("GET", "/", {}))


async def test_a_name_that_does_not_resolve():
    client = Client("http://no-such-host.invalid")
    with pytest.raises((Unreachable, TimedOut), match=r"no-such-host\.invalid"):
        await client.send(client.endpoint("GET", "/", {}))


async def silent(peer):
    await peer.receive()
    await peer.gone()


async def test_silence_before_the_first_byte(serve):
    server = await serve(silent)
    client, endpoint = client_of(server, first_byte=SOON)
    with pytest.raises(TimedOut, match="silent"):
        await client.send(endpoint)


async def test_the_deadline_ends_the_wait_and_the_call(serve):
    server = await serve(silent)
    client, endpoint = client_of(server)
    with pytest.raises(TimedOut, match="deadline"):
        await client.send(endpoint, deadline=time.monotonic() + SOON)
    await settled(lambda: server.gone)


async def test_silence_between_chunks(serve):
    async def stall(peer):
        await peer.receive()
        await peer.begin_stream()
        await peer.piece(b"one")
        await peer.gone()

    server = await serve(stall)
    client, endpoint = client_of(server, between=SOON)
    response = await client.send(endpoint, stream=True)
    assert await response.chunk() == b"one"
    with pytest.raises(TimedOut, match="silent"):
        await response.chunk()


async def test_a_slow_reader_is_not_a_silent_provider(serve):
    async def all_at_once(peer):
        await peer.receive()
        await peer.begin_stream()
        await peer.piece(b"one")
        await peer.gone()

    server = await serve(all_at_once)
    client, endpoint = client_of(server, between=SOON)
    response = await client.send(endpoint, stream=True)
    await asyncio.sleep(3 * SOON)
    assert await response.chunk() == b"one"
    response.close()


async def test_a_slow_reader_stops_the_sender(serve):
    sent = []

    async def pour(peer):
        await peer.receive()
        await peer.begin_stream()
        for _ in range(1000):
            await peer.piece(b"x" * 65536)
            sent.append(65536)
        await peer.end_stream()

    server = await serve(pour)
    client, endpoint = client_of(server, body=1 << 30)
    response = await client.send(endpoint, stream=True)
    before = -1
    while before != len(sent):  # until the sender makes no more progress
        before = len(sent)
        await asyncio.sleep(0.1)
    assert sum(sent) < 32 << 20
    assert len(await response.read()) == 1000 * 65536


async def settled(condition):
    """Until something that another task does has happened."""
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never happened")


@pytest.mark.parametrize("stream", [False, True])
async def test_cancelling_closes_the_connection(serve, stream):
    server = await serve(silent)
    client, endpoint = client_of(server, connections=1)
    task = asyncio.create_task(client.send(endpoint, stream=stream))
    await settled(lambda: server.requests)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await settled(lambda: server.gone)


async def test_closing_an_unfinished_stream_closes_the_connection_and_frees_its_slot(serve):
    async def endless(peer):
        await peer.receive()
        await peer.begin_stream()
        while True:
            await peer.piece(b"tick")
            await asyncio.sleep(0.001)

    server = await serve(endless)
    client, endpoint = client_of(server, connections=1)
    for number in (1, 2, 3):
        response = await client.send(endpoint, stream=True)
        assert (await response.chunk()).startswith(b"tick")
        response.close()
        await settled(lambda number=number: len(server.gone) == number)


async def test_a_released_stream_keeps_its_connection_if_it_ends_soon(serve):
    async def tail(peer):
        while True:
            await peer.receive()
            await peer.begin_stream()
            await peer.piece(b"enough")
            await asyncio.sleep(0.01)
            await peer.piece(b"more")
            await peer.end_stream()

    server = await serve(tail)
    client, endpoint = client_of(server, connections=1)
    for _ in range(3):
        response = await client.send(endpoint, stream=True)
        assert await response.chunk() == b"enough"
        response.release()
    assert server.connections == 1


async def test_requests_beyond_the_limit_wait_in_order(serve):
    order = []

    async def slow(peer):
        while True:
            _, body = await peer.receive()
            order.append(body)
            await asyncio.sleep(0.005)
            await peer.answer(body)

    server = await serve(slow)
    client, endpoint = client_of(server, connections=2)
    bodies = [b"%d" % number for number in range(8)]
    responses = await asyncio.gather(*(client.send(endpoint, body) for body in bodies))
    assert [await response.read() for response in responses] == bodies
    assert server.connections == 2
    assert sorted(order[:2]) == bodies[:2]
    assert all(abs(order.index(body) - number) <= 1 for number, body in enumerate(bodies))


async def test_waiting_in_line_ends_with_the_deadline_and_costs_no_slot(serve):
    gate = asyncio.Event()

    async def held(peer):
        while True:
            await peer.receive()
            await gate.wait()
            await peer.answer(b"{}")

    server = await serve(held)
    client, endpoint = client_of(server, connections=1)
    first = asyncio.create_task(client.send(endpoint))
    await settled(lambda: server.requests)
    with pytest.raises(TimedOut, match="busy"):
        await client.send(endpoint, deadline=time.monotonic() + SOON)
    given_up = asyncio.create_task(client.send(endpoint))
    await asyncio.sleep(0)
    given_up.cancel()
    last = asyncio.create_task(client.send(endpoint))
    await asyncio.sleep(0)
    gate.set()
    assert (await first).status == (await last).status == 200
    assert server.connections == 1


async def test_a_waiter_cancelled_after_its_turn_came_passes_the_turn_on(serve):
    gate = asyncio.Event()

    async def first_held(peer):
        while True:
            await peer.receive()
            await peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
            await gate.wait()
            await peer.write(b"{}")

    server = await serve(first_held)
    client, endpoint = client_of(server, connections=1)
    first = await client.send(endpoint, stream=True)
    waiting = [asyncio.create_task(client.send(endpoint)) for _ in range(2)]
    await asyncio.sleep(0)
    gate.set()
    await first.read()
    waiting[0].cancel()  # the connection was handed to it a moment ago, and it has not run since
    assert (await waiting[1]).status == 200
    assert waiting[0].cancelled()
    assert server.connections == 1


async def test_unasked_bytes_close_an_idle_connection(serve):
    async def chatty(peer):
        await peer.receive()
        await peer.answer(b"{}")
        await asyncio.sleep(0.01)
        await peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nstolen")
        await peer.gone()

    server = await serve(chatty)
    client, endpoint = client_of(server)
    assert await (await client.send(endpoint)).read() == b"{}"
    await settled(lambda: server.gone)
    assert await (await client.send(endpoint)).read() == b"{}"


async def test_bytes_after_the_end_close_the_connection(serve):
    async def two_answers(peer):
        await peer.receive()
        one = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
        await peer.write(one + one.replace(b"{}", b"no"))
        await peer.gone()

    server = await serve(two_answers)
    client, endpoint = client_of(server)
    for _ in range(2):
        assert await (await client.send(endpoint)).read() == b"{}"
        await settled(lambda: len(server.gone) == server.connections)


async def test_idle_connections_expire(serve):
    server = await serve(forever)
    client, endpoint = client_of(server, idle=SOON)
    await client.send(endpoint)
    await settled(lambda: server.gone)


async def test_aclose_closes_everything(serve):
    server = await serve(silent)
    client, endpoint = client_of(server)
    task = asyncio.create_task(client.send(endpoint))
    await settled(lambda: server.requests)
    await client.aclose()
    with pytest.raises(ProviderError):
        await task
    await settled(lambda: server.gone)


def test_a_client_outlives_an_event_loop(unused_tcp_port_factory):
    client = Client(f"http://127.0.0.1:{unused_tcp_port_factory()}")
    endpoint = client.endpoint("GET", "/", {})

    async def once():
        async def handle(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

        server = await asyncio.start_server(handle, "127.0.0.1", client._port)
        response = await client.send(endpoint)
        server.close()
        return response.status

    assert [asyncio.run(once()), asyncio.run(once())] == [200, 200]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the test's certificate")
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2",
               "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


async def test_tls_with_a_trusted_and_an_untrusted_certificate(certificate):
    async def handle(reader, writer):
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret")

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    trusting = Client(f"https://localhost:{port}", ca_file=str(certificate[0]))
    for _ in range(2):
        assert await (await trusting.send(trusting.endpoint("GET", "/", {}))).read() == b"secret"
    doubting = Client(f"https://localhost:{port}")
    with pytest.raises(Unreachable, match=f"localhost:{port}"):
        await doubting.send(doubting.endpoint("GET", "/", {}))
    await trusting.aclose()
    server.close()


async def test_a_server_that_speaks_no_tls_is_unreachable(serve):
    async def plain(peer):
        await peer.reader.read(100)
        await peer.write(b"this is not TLS")

    server = await serve(plain)
    client = Client(server.url.replace("http:", "https:"))
    with pytest.raises(Unreachable):
        await client.send(client.endpoint("GET", "/", {}))


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("ftp://host", "scheme 'ftp'"),
        ("localhost:8000", "scheme"),
        ("http://", "no host"),
        ("http://user:secret@host", "credentials"),
        ("http://host/v1?x=1", "query"),
        ("http://host:99999", "malformed"),
        ("http://ho st", "space"),
        ("http://höst", "ASCII"),
    ],
)
def test_a_wrong_base_url_is_a_configuration_error(url, problem):
    with pytest.raises(ConfigError, match=problem) as caught:
        Client(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("value", ["a\r\nx: y", "snow ☃"])
def test_a_header_cannot_smuggle_another(value):
    with pytest.raises(ConfigError, match="cannot be sent"):
        Client("http://host").endpoint("GET", "/", {"authorization": value})


@pytest.mark.parametrize(
    ("url", "host", "head"),
    [
        ("http://host/v1/", "host", b"GET /v1/models HTTP/1.1\r\nhost: host\r\n"),
        ("https://host:8443", "host", b"GET /models HTTP/1.1\r\nhost: host:8443\r\n"),
        ("http://[::1]:80/v1", "::1", b"GET /v1/models HTTP/1.1\r\nhost: [::1]:80\r\n"),
    ],
)
def test_the_head_of_a_request(url, host, head):
    client = Client(url)
    assert client._host == host
    assert client.endpoint("GET", "/models", {}).startswith(head)
