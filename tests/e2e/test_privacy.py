"""No prompt, answer, key or token in anything that is kept or shown: markers are planted, every sink is searched."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from interlock.lab.process import Gateway, gateway

PROMPT, ANSWER, ARGUMENT = "marker-prompt-7f3a", "marker-answer-9c1e", "marker-argument-2b8d"
UPSTREAM_KEY, CALLER_KEY, OPERATOR_KEY = "sk-marker-upstream-55aa", "sk-marker-caller-66bb", "sk-marker-operator-77cc"
WRONG_KEY, SYSTEM, IMAGE, HEADER = (
    "sk-marker-wrong-88dd",
    "marker-system-11ee",
    "marker-image-33ff",
    "marker-header-44ab",
)
MARKERS = (PROMPT, ANSWER, ARGUMENT, UPSTREAM_KEY, CALLER_KEY, OPERATOR_KEY, WRONG_KEY, SYSTEM, IMAGE, HEADER)

CONFIG = """
providers:
  up: {{kind: openai, base_url: "http://127.0.0.1:{port}/v1", api_key: "env:UPSTREAM_KEY", stall_timeout_s: 1}}
candidates:
  - {{name: a, provider: up, model: a, price: {{in: 1, out: 2}}, capabilities: {{tools: yes, image: yes}},
     trust: private}}
  - {{name: b, provider: up, model: b, price: {{in: 1, out: 2}}, capabilities: {{tools: yes, image: yes}}}}
signals: {{pii: {{}}, keywords: {{}}}}
execution: {{backoff_s: 0.01}}
privacy: {{mask: [email]}}
guards:
  trust: {{signal: pii, allow: [private]}}
  health: {{failures: 100, park_s: 0.01, longest_park_s: 0.01, longest_rest_s: 0.01}}
server:
  keys:
    - {{tenant: acme, key: "env:CALLER_KEY"}}
    - {{tenant: ops, key: "env:OPERATOR_KEY", role: operator}}
ledger: {{payload: {payload}}}
telemetry: {{otlp_endpoint: "http://127.0.0.1:{port}/v1/traces", interval_s: 0.1, logs: {logs}}}
"""

PAGES = (
    "/v1/models", "/v1/ledger", "/v1/pool", "/v1/curve", "/v1/shadow", "/v1/savings", "/v1/traffic", "/v1/config",
    "/v1/learner", "/v1/whoami", "/openapi.json", "/metrics", "/",
)  # fmt: skip


class Quoting(BaseHTTPRequestHandler):
    """An upstream that quotes prompt and key wherever it can: in answers, in errors, in what is not even JSON."""

    protocol_version = "HTTP/1.1"

    spans: list[bytes]

    def do_POST(self) -> None:
        if self.path == "/v1/traces":  # it is the collector as well
            raw = self.rfile.read(int(self.headers["content-length"]))
            self.spans.append(gzip.decompress(raw) if self.headers["content-encoding"] == "gzip" else raw)
            self.answer(200, "application/x-protobuf", "")
            return
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        quote = f"{PROMPT} {SYSTEM} {ANSWER} {self.headers['authorization']}"
        way = next((way for way in WAYS if way in json.dumps(body["messages"])), "fine")
        call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": json.dumps({"x": ARGUMENT})}}
        message: dict[str, Any] = {"role": "assistant", "content": ANSWER, "tool_calls": [call]}
        error = {"error": {"message": quote, "type": "invalid_request_error", "code": "odd", "param": "messages"}}
        usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
        events = [
            {"choices": [{"index": 0, "delta": message}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
            {"choices": [], "usage": usage},
        ]
        if way in STATUS:
            self.answer(STATUS[way], "application/json", json.dumps(error))
        elif way == "garbled":
            self.answer(200, "application/json", f"<html>{quote}</html>")
        elif way == "breaks":
            self.answer(200, "text/event-stream", f"data: {json.dumps(events[0])}\n\ndata: {json.dumps(error)}\n\n")
        elif way == "nonsense":
            self.answer(200, "text/event-stream", f"data: {json.dumps(events[0])}\n\ndata: {quote}\n\n")
        elif body.get("stream"):
            text = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
            self.answer(200, "text/event-stream", text + "data: [DONE]\n\n")
        else:
            choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
            self.answer(200, "application/json", json.dumps({"id": "c", "choices": [choice], "usage": usage}))

    def answer(self, status: int, kind: str, text: str) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""


STATUS = {"rejects": 400, "forbids": 401, "limits": 429, "fails": 500, "unpaid": 402}
WAYS = (*STATUS, "garbled", "breaks", "nonsense")


@pytest.fixture(scope="module")
def quoting() -> Iterator[int]:
    Quoting.spans = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Quoting)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def body(way: str, **more: Any) -> dict[str, Any]:
    call = {"id": "c0", "type": "function", "function": {"name": "f", "arguments": json.dumps({"x": ARGUMENT})}}
    url = f"data:image/png;base64,{IMAGE}"
    parts = [
        {"type": "text", "text": f"{way}: {PROMPT}, mail eve@example.org"},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    messages = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": PROMPT},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c0", "content": ARGUMENT},
        {"role": "user", "content": parts},
    ]
    tools = [{"type": "function", "function": {"name": "f", "description": PROMPT, "parameters": {"type": "object"}}}]
    return {"model": "auto", "messages": messages, "tools": tools, "user": PROMPT, "metadata": {"x": PROMPT}, **more}


def drive(running: Gateway) -> dict[str, bytes]:
    """Every path through the gateway; what it showed, by sink. An answer is its caller's own, an error is not."""
    shown: dict[str, bytes] = {}
    key = {"authorization": f"Bearer {CALLER_KEY}", "x-custom": HEADER}
    operator = {"authorization": f"Bearer {OPERATOR_KEY}"}
    with httpx.Client(base_url=running.url, timeout=30) as http:
        events = bytearray()

        def listen() -> None:
            with httpx.stream("GET", f"{running.url}/v1/events", headers=operator, timeout=60) as stream:
                for piece in stream.iter_raw():
                    events.extend(piece)

        listener = threading.Thread(target=lambda: _until_closed(listen), daemon=True)
        listener.start()
        while not events:
            time.sleep(0.02)
        ids = []
        for way in ("fine", *WAYS):
            for stream in (False, True):
                response = http.post("/v1/chat/completions", json=body(way, stream=stream), headers=key)
                ids.append(response.headers["x-interlock-id"])
                if not response.is_success:
                    shown[f"error of {way}"] = response.content
                elif way in ("breaks", "nonsense") and stream:
                    shown[f"event of {way}"] = response.content.split(b"data: ")[-1]
        for path, document in (
            ("/v1/messages", {"model": "auto", "max_tokens": 9, "messages": [{"role": "user", "content": PROMPT}]}),
            ("/v1/responses", {"model": "auto", "input": PROMPT, "store": False}),
            ("/v1/route", {"model": "auto", "messages": [{"role": "user", "content": PROMPT}]}),
        ):
            response = http.post(path, json=document, headers=key)
            assert response.status_code == 200, (path, response.text)
        assert http.post("/v1/route", json=body("fine"), headers=key).is_success
        wrong = {"authorization": f"Bearer {WRONG_KEY}"}
        shown["unauthorized"] = http.post("/v1/chat/completions", json=body("fine"), headers=wrong).content
        for path in PAGES:
            shown[path] = http.get(path, headers=operator).content
        for id in ids:
            shown[f"/v1/ledger/{id}"] = http.get(f"/v1/ledger/{id}", headers=operator).content
        time.sleep(0.3)
        shown["events"] = bytes(events)
    return shown


def _until_closed(listen: Any) -> None:
    try:
        listen()
    except httpx.HTTPError:
        pass  # the gateway went down


def found(sinks: dict[str, bytes], markers: tuple[str, ...] = MARKERS) -> list[str]:
    return [f"{marker} in {name}" for name, data in sinks.items() for marker in markers if marker.encode() in data]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(folder: Path, port: int, payload: str, logs: str) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """What was shown, and what was kept: while it runs (the write-ahead log) and after its end."""
    (folder / "interlock.yaml").write_text(CONFIG.format(port=port, payload=payload, logs=logs))
    keys = {"UPSTREAM_KEY": UPSTREAM_KEY, "CALLER_KEY": CALLER_KEY, "OPERATOR_KEY": OPERATOR_KEY}
    with gateway(folder, "--config", str(folder / "interlock.yaml"), "--log-level", "debug", env=keys) as running:
        shown = drive(running)
        kept = {f"{name} (running)": data for name, data in files(folder).items()}
        assert any(name.startswith("ledger.db-wal") for name in kept)
    spans = {"spans": b"".join(Quoting.spans)}
    assert b"gen_ai.usage.input_tokens" in spans["spans"]
    return shown | spans, kept | files(folder)


@pytest.mark.parametrize("logs", ["text", "json"])
def test_no_marker_is_kept_or_shown(tmp_path: Path, quoting: int, logs: str) -> None:
    shown, kept = run(tmp_path, quoting, "false", logs)
    assert len([name for name in shown if name.startswith("error of")]) >= 5
    assert b"event: outcome" in shown["events"]
    assert kept["serve.log"]
    assert found(shown | kept) == []


def test_with_payloads_the_prompt_is_kept_and_still_no_key(tmp_path: Path, quoting: int) -> None:
    """Which also shows that the search would find what is there."""
    shown, kept = run(tmp_path, quoting, "true", "text")
    assert found(kept, (PROMPT,))
    assert found(shown | kept, (UPSTREAM_KEY, CALLER_KEY, OPERATOR_KEY, WRONG_KEY)) == []
