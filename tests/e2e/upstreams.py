"""A server that speaks Anthropic's Messages API over real HTTP, for gateways in tests."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]
SIGNED = {"type": "thinking", "thinking": "Ulm lies on the Danube.", "signature": "sig-of-the-provider"}
USAGE = {"input_tokens": 7, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 2, "output_tokens": 3}


class Claude(BaseHTTPRequestHandler):
    """Thinks, signs its thoughts, and calls the first tool it is offered; else it repeats the last text. `received`
    are bodies and headers."""

    protocol_version = "HTTP/1.1"
    received: list[tuple[Json, Json]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.received.append((body, {name.lower(): value for name, value in self.headers.items()}))
        last = body["messages"][-1]["content"]
        text = last if isinstance(last, str) else next((b["text"] for b in last if b["type"] == "text"), "nothing")
        said = {"type": "text", "text": text, "citations": None}
        tool = next((tool for tool in body.get("tools", ()) if "input_schema" in tool), None)
        if tool is not None:
            said = {"type": "tool_use", "id": "toolu_1", "name": tool["name"], "input": {"city": "Ulm"}}
        blocks = [SIGNED, said]
        head = {"id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "x_vendor": 7}
        stop = {"stop_reason": "tool_use" if tool else "end_turn", "stop_sequence": None}
        if body.get("stream"):
            self.answer("text/event-stream", "".join(events(head, blocks, stop)))
        else:
            self.answer("application/json", json.dumps({**head, "content": blocks, **stop, "usage": USAGE}))

    def answer(self, kind: str, text: str) -> None:
        data = text.encode()
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""


def events(head: Json, blocks: list[Json], stop: Json) -> Iterator[str]:
    def event(kind: str, **fields: Any) -> str:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n"

    began = {**head, "content": [], "stop_reason": None, "stop_sequence": None, "usage": USAGE | {"output_tokens": 1}}
    yield event("message_start", message=began)
    yield event("ping")
    for index, block in enumerate(blocks):
        empty, deltas = {
            "thinking": ({"type": "thinking", "thinking": "", "signature": ""}, ("thinking", "signature")),
            "text": ({"type": "text", "text": ""}, ("text",)),
            "tool_use": ({**block, "input": {}}, ("input_json",)),
        }[block["type"]]
        yield event("content_block_start", index=index, content_block=empty)
        for name in deltas:
            piece = {"partial_json": json.dumps(block["input"])} if name == "input_json" else {name: block[name]}
            yield event("content_block_delta", index=index, delta={"type": f"{name}_delta", **piece})
        yield event("content_block_stop", index=index)
    yield event("message_delta", delta=stop, usage={"output_tokens": USAGE["output_tokens"]})
    yield event("message_stop")


@contextlib.contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Its URL up to and including /v1."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
