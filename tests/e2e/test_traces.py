"""Traces of a real gateway, as a real collector over HTTP receives them."""

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

from interlock.lab.process import gateway
from interlock.telemetry import names

pytest.importorskip("opentelemetry.sdk")
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

THEIRS = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
CONFIG = """
providers:
  up: {{kind: openai, base_url: "http://127.0.0.1:{port}/v1"}}
  down: {{kind: openai, base_url: "http://127.0.0.1:9/v1"}}
candidates:
  - {{name: dead, provider: down, model: m-dead, price: {{in: 1, out: 1}}, quality: 0.9}}
  - {{name: live, provider: up, model: m-live, price: {{in: 1, out: 1}}, quality: 0.1}}
policy: {{exploration: {{kind: greedy}}}}
execution: {{retries: 0}}
{telemetry}
"""


class Both(BaseHTTPRequestHandler):
    """The collector, and the upstream that receives the trace's header."""

    protocol_version = "HTTP/1.1"
    spans: list[Any]
    headers_seen: list[str | None]

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/v1/traces":
            raw = gzip.decompress(raw) if self.headers["content-encoding"] == "gzip" else raw
            for resource in ExportTraceServiceRequest.FromString(raw).resource_spans:
                self.spans += [span for scope in resource.scope_spans for span in scope.spans]
            answer = b""
        else:
            self.headers_seen.append(self.headers["traceparent"])
            choice = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
            usage = {"prompt_tokens": 5, "completion_tokens": 3}
            answer = json.dumps({"id": "c", "choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""


@pytest.fixture
def port() -> Iterator[int]:
    Both.spans, Both.headers_seen = [], []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Both)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def ask(folder: Path, port: int, telemetry: str, header: str | None) -> None:
    folder.mkdir(exist_ok=True)
    config = folder / "interlock.yaml"
    config.write_text(CONFIG.format(port=port, telemetry=telemetry))
    body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
    with gateway(folder, "--config", str(config)) as running:
        headers = {} if header is None else {"traceparent": header}
        assert httpx.post(f"{running.url}/v1/chat/completions", json=body, headers=headers).is_success


def attributes(span: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


def test_a_request_is_one_trace_from_its_caller_to_the_provider(tmp_path: Path, port: int) -> None:
    telemetry = f'telemetry: {{otlp_endpoint: "http://127.0.0.1:{port}/v1/traces", interval_s: 0.1}}'
    ask(tmp_path, port, telemetry, THEIRS)
    deadline = time.monotonic() + 10
    while len(Both.spans) < 6 and time.monotonic() < deadline:
        time.sleep(0.05)
    spans = {span.name: span for span in Both.spans}
    assert sorted(span.name for span in Both.spans) == sorted(spans) == sorted(
        ["chat auto", names.DECIDE, names.SIGNALS, names.GUARDS_AND_ESTIMATE, "chat m-dead", "chat m-live"]
    )  # fmt: skip
    assert {span.trace_id.hex() for span in Both.spans} == {THEIRS.split("-")[1]}
    root = spans["chat auto"]
    assert root.parent_span_id.hex() == THEIRS.split("-")[2]
    for name in (names.DECIDE, "chat m-dead", "chat m-live"):
        assert spans[name].parent_span_id == root.span_id
    for name in (names.SIGNALS, names.GUARDS_AND_ESTIMATE):
        assert spans[name].parent_span_id == spans[names.DECIDE].span_id
    live, dead = attributes(spans["chat m-live"]), attributes(spans["chat m-dead"])
    assert Both.headers_seen == [f"00-{THEIRS.split('-')[1]}-{spans['chat m-live'].span_id.hex()}-01"]
    assert (live[names.PROVIDER], live[names.INPUT], live[names.OUTPUT], live[names.WHY]) == ("up", 5, 3, "fallback")
    assert dead[names.ERROR] == "provider_unreachable"
    assert attributes(root)[names.CANDIDATE] == "live"
    for span in Both.spans:
        assert root.start_time_unix_nano - 10**7 <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= root.end_time_unix_nano + 10**7


def test_without_a_collector_a_trace_still_goes_on(tmp_path: Path, port: int) -> None:
    ask(tmp_path / "one", port, "", THEIRS)
    ask(tmp_path / "two", port, "", None)
    assert Both.headers_seen == [THEIRS, None]
    assert Both.spans == []


def test_a_collector_that_is_away_costs_no_answer(tmp_path: Path, port: int) -> None:
    ask(tmp_path, port, 'telemetry: {otlp_endpoint: "http://127.0.0.1:9/v1/traces", interval_s: 0.1}', None)
