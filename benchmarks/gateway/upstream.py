"""A chat endpoint that costs next to nothing: one thread, epoll, ready bytes. Run as `python upstream.py PORT`.

It answers every POST with the same completion, or, when the body asks for a stream, with the same events. `PACE`
seconds pass before the first event of a stream and between events when the request has the header `x-pace: 1`.
"""

from __future__ import annotations

import heapq
import json
import select
import socket
import sys
import time

PACE = 0.005
EVENTS = 16
TEXT = "The router chose this model since it is the cheapest one that answers well enough. " * 3


def completion() -> bytes:
    body = json.dumps(
        {
            "id": "chatcmpl-bench",
            "object": "chat.completion",
            "created": 1700000000,
            "model": "bench",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 160, "completion_tokens": 60, "total_tokens": 220},
        }
    ).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def events() -> list[bytes]:
    """The head, then one HTTP chunk per event."""

    def event(choices: list[object], **more: object) -> bytes:
        document = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1700000000, "model": "bench"}
        data = b"data: " + json.dumps({**document, "choices": choices, **more}).encode() + b"\n\n"
        return b"%x\r\n%b\r\n" % (len(data), data)

    pieces = [event([{"index": 0, "delta": {"content": " word"}, "finish_reason": None}]) for _ in range(EVENTS)]
    last = event([{"index": 0, "delta": {}, "finish_reason": "stop"}])
    usage = event([], usage={"prompt_tokens": 160, "completion_tokens": EVENTS, "total_tokens": 160 + EVENTS})
    done = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return [head + pieces[0], *pieces[1:], last, usage, done]


def whole(buffer: bytes) -> int:
    """Length of the first complete request in `buffer`, 0 when there is none yet."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return 0
    head = buffer[:end].lower()
    at = head.find(b"content-length:")
    size = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
    return end + 4 + size if len(buffer) >= end + 4 + size else 0


def serve(port: int) -> None:
    answer, stream = completion(), events()
    burst = b"".join(stream)
    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    clients: dict[int, socket.socket] = {}
    buffers: dict[int, bytes] = {}
    later: list[tuple[float, int, int]] = []  # when, whom, which event
    while True:
        wait = max(0.0, later[0][0] - time.monotonic()) if later else -1
        for fd, _ in poll.poll(wait):
            if fd == listener.fileno():
                client, _ = listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                clients[client.fileno()], buffers[client.fileno()] = client, b""
                poll.register(client, select.EPOLLIN)
                continue
            client = clients[fd]
            try:
                data = client.recv(65536)
            except ConnectionError:
                data = b""
            if not data:
                poll.unregister(fd)
                clients.pop(fd).close()
                later = [item for item in later if item[1] != fd]
                heapq.heapify(later)
                continue
            buffers[fd] = buffer = buffers[fd] + data
            while length := whole(buffer):
                request, buffer = buffer[:length], buffer[length:]
                buffers[fd] = buffer
                if b'"stream":true' not in request and b'"stream": true' not in request:
                    client.sendall(answer)
                elif b"x-pace: 1" not in request.lower() and b'"pace":' not in request:
                    client.sendall(burst)
                else:
                    heapq.heappush(later, (time.monotonic() + PACE, fd, 0))
        now = time.monotonic()
        while later and later[0][0] <= now:
            _, fd, index = heapq.heappop(later)
            clients[fd].sendall(stream[index])
            if index + 1 < len(stream):
                heapq.heappush(later, (now + PACE, fd, index + 1))


if __name__ == "__main__":
    serve(int(sys.argv[1]))
