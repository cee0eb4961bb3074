"""Real gateways: `interlock serve` as a process of its own, on a free port, with a temporary ledger."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from interlock.lab.process import Gateway, gateway

WITHOUT_PROVIDERS = {"OPENAI_API_KEY": "", "ANTHROPIC_API_KEY": "", "OLLAMA_HOST": "127.0.0.1:9"}


@pytest.fixture(scope="session")
def pocket_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """What somebody gets who has nothing: the embedded pocket pool."""
    with gateway(tmp_path_factory.mktemp("pocket"), env=WITHOUT_PROVIDERS) as running:
        yield running


class Upstream(BaseHTTPRequestHandler):
    """An OpenAI-compatible server that calls the first tool it is offered, and else repeats the last message."""

    protocol_version = "HTTP/1.1"
    received: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.received.append(body)
        message: dict[str, Any] = {"role": "assistant", "content": body["messages"][-1]["content"]}
        if body.get("tools"):
            function = {"name": body["tools"][0]["function"]["name"], "arguments": '{"city": "Ulm"}'}
            message = {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
            }
        finish = "tool_calls" if body.get("tools") else "stop"
        usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
        common = {"id": "chatcmpl-upstream", "created": 1, "model": body["model"]}
        if body.get("stream"):
            delta = message | {"tool_calls": [call | {"index": 0} for call in message.get("tool_calls", [])]}
            chunks = [
                {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
                {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]},
                {"choices": [], "usage": usage},
            ]
            events = [json.dumps(common | {"object": "chat.completion.chunk"} | chunk) for chunk in chunks]
            self.answer("text/event-stream", "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"]))
        else:
            choice = {"index": 0, "message": message, "finish_reason": finish}
            document = common | {
                "object": "chat.completion",
                "choices": [choice],
                "usage": usage,
                "x_vendor": {"kept": True},
            }
            self.answer("application/json", json.dumps(document))

    def answer(self, kind: str, text: str) -> None:
        data = text.encode()
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Silence: the requests are in `received`."""


@pytest.fixture(scope="session")
def upstream() -> Iterator[ThreadingHTTPServer]:
    Upstream.received = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def hosted_gateway(tmp_path_factory: pytest.TempPathFactory, upstream: ThreadingHTTPServer) -> Iterator[Gateway]:
    """Two models of an OpenAI-compatible provider, one of which takes tools, behind two keys."""
    folder: Path = tmp_path_factory.mktemp("hosted")
    config = folder / "interlock.yaml"
    config.write_text(
        f"""
providers:
  hosted: {{kind: openai, base_url: "http://127.0.0.1:{upstream.server_address[1]}/v1"}}
candidates:
  - {{name: plain, provider: hosted, model: plain-1, price: {{in: 1, out: 2}}, quality: 0.9,
     capabilities: {{tools: no}}}}
  - {{name: tooled, provider: hosted, model: tooled-1, price: {{in: 3, out: 6}}, quality: 0.5,
     capabilities: {{tools: yes}}}}
policy: {{exploration: {{kind: greedy}}}}
server:
  keys:
    - {{tenant: acme, key: "env:ACME_KEY"}}
    - {{tenant: ops, key: "env:OPS_KEY", role: operator}}
"""
    )
    keys = {"ACME_KEY": "sk-acme", "OPS_KEY": "sk-ops"}
    with gateway(folder, "--config", str(config), env=keys) as running:
        yield running
