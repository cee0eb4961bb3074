"""Load from one thread: ready request bytes, epoll, no HTTP library, so that the generator stays cheap.

`closed` keeps every connection busy (throughput), `paced` sends at a fixed rate (added latency), `first_token` times
the first event of a stream.
"""

from __future__ import annotations

import json
import random
import select
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import cycle

PROMPTS = 1024  # different ones, so that nothing gains from having seen the same prompt before
LENGTH = 500  # characters, about
WORDS = (  # noqa: SIM905 - a text reads better than a list
    "a train leaves at nine and another one at ten which arrives first why does it matter here the of in is that to "
    "compute integral function python list numbers sort reverse string explain poem about sea river mountain compare "
    "prices summary contract law medical patient dose history war treaty chemistry reaction acid base proof theorem"
).split()


@dataclass(frozen=True)
class Target:
    """Where to send, and as which model with which key."""

    port: int
    model: str = "auto"
    key: str = "sk-bench"
    path: str = "/v1/chat/completions"

    def requests(self, stream: bool = False, pace: bool = False) -> Iterator[bytes]:
        """Ready requests without end, each with another prompt."""
        return cycle([self.request(prompt, stream, pace) for prompt in prompts()])

    def request(self, prompt: str = "Are you there?", stream: bool = False, pace: bool = False) -> bytes:
        document: dict[str, object] = {
            "model": self.model,
            "messages": [{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": prompt}],
            "temperature": 0.7,
            "max_tokens": 100,
        }
        if stream:
            document |= {"stream": True}
        if pace:
            document |= {"pace": 1}
        body = json.dumps(document).encode()
        lines = [
            f"POST {self.path} HTTP/1.1",
            "host: 127.0.0.1",
            f"authorization: Bearer {self.key}",
            "content-type: application/json",
            f"content-length: {len(body)}",
        ]
        return "\r\n".join([*lines, "", ""]).encode() + body

    def connect(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock


@cache
def prompts() -> list[str]:
    """Sentences of common words with some numbers, the same in every run."""
    draw = random.Random(0)

    def sentence() -> str:
        words = [*draw.choices(WORDS, k=draw.randint(6, 16)), *([str(draw.randint(1, 999))] * draw.randint(0, 1))]
        return " ".join(words).capitalize() + draw.choice(".?,")

    found = []
    for _ in range(PROMPTS):
        prompt = sentence()
        while len(prompt) < LENGTH:
            prompt += " " + sentence()
        found.append(prompt[:LENGTH])
    return found


class Failed(RuntimeError):
    """The target answered something other than 200, or closed the connection."""


def complete(buffer: bytes) -> bool:
    """Whether `buffer` holds one whole 200 response. Raises `Failed` for any other status."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return False
    if not buffer.startswith(b"HTTP/1.1 200"):
        raise Failed(buffer[:400].decode("latin-1"))
    head = buffer[:end].lower()
    at = head.find(b"content-length:")
    if at >= 0:
        return len(buffer) >= end + 4 + int(head[at + 15 :].split(b"\r\n", 1)[0])
    return buffer.endswith(b"0\r\n\r\n")


def receive(sock: socket.socket) -> bytes:
    buffer = b""
    while not complete(buffer):
        data = sock.recv(65536)
        if not data:
            raise Failed("the connection was closed")
        buffer += data
    return buffer


def closed(target: Target, connections: int, seconds: float, stream: bool = False) -> tuple[int, float]:
    """Requests answered (at least one) and seconds taken, with `connections` requests always under way."""
    requests = target.requests(stream)
    socks = {sock.fileno(): sock for sock in (target.connect() for _ in range(connections))}
    buffers = dict.fromkeys(socks, b"")
    poll = select.epoll()
    for fd in socks:
        poll.register(fd, select.EPOLLIN)
    for sock in socks.values():
        sock.sendall(next(requests))
    began, done = time.perf_counter(), 0
    while (now := time.perf_counter()) - began < seconds or not done:
        for fd, _ in poll.poll(1):
            data = socks[fd].recv(65536)
            if not data:
                raise Failed("the connection was closed")
            buffers[fd] += data
            if complete(buffers[fd]):
                buffers[fd] = b""
                done += 1
                socks[fd].sendall(next(requests))
    for sock in socks.values():
        sock.close()
    return done, now - began


def paced(target: Target, rate: float, seconds: float) -> list[float]:
    """Seconds per answer of one request after the other, started `rate` times a second, after a warm-up of ten."""
    requests, taken = target.requests(), []
    sock = target.connect()
    for index in range(10 + int(rate * seconds)):
        request = next(requests)
        began = time.perf_counter()
        sock.sendall(request)
        receive(sock)
        spent = time.perf_counter() - began
        if index >= 10:
            taken.append(spent)
        time.sleep(max(0.0, 1 / rate - spent))
    sock.close()
    return taken


def first_token(target: Target, count: int) -> list[float]:
    """Seconds to the first event of `count` paced streams, after a warm-up of three."""
    requests, taken = target.requests(stream=True, pace=True), []
    sock = target.connect()
    for index in range(3 + count):
        request = next(requests)
        began = time.perf_counter()
        sock.sendall(request)
        buffer = b""
        while b"data: " not in buffer:
            buffer += sock.recv(65536)
        if index >= 3:
            taken.append(time.perf_counter() - began)
        while not complete(buffer):
            buffer += sock.recv(65536)
    sock.close()
    return taken
