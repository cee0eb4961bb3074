"""The verbs that talk to a gateway: pool, feedback, chat; what they say when it says no, or is not there."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from interlock.cli.remote import ask, call
from interlock.errors import Garbled, ProviderError, Refused, RequestError, Unreachable
from interlock.lab.process import Gateway

Run = Callable[..., Any]

NOBODY = "http://127.0.0.1:9"


def answered(gateway: Gateway) -> str:
    """The id of a fresh answer."""
    body = {"messages": [{"role": "user", "content": "Please add 4 to 8 for me."}]}
    return ask(gateway.url, "/v1/chat/completions", body).headers["x-interlock-id"]


def test_pool(run: Run, gateway: Gateway) -> None:
    document = run("pool", "--url", gateway.url, "--json").json
    names = [row["name"] for row in document["candidates"]]
    shown = run("pool", "--url", gateway.url)
    assert shown.code == 0
    assert names
    assert [name for name in names if name not in shown.out] == []


def test_feedback_is_recorded_replaced_and_revoked(run: Run, gateway: Gateway) -> None:
    decision = answered(gateway)
    first = run("feedback", decision, "1", "--url", gateway.url)
    assert (first.code, first.out) == (0, f"recorded for {decision}\n")
    assert run("feedback", decision, "0.5", "--url", gateway.url, "--json").json == {"id": decision, "recorded": True}
    assert run("feedback", decision, "--revoke", "--url", gateway.url).out == f"revoked for {decision}\n"
    told = call(gateway.url, f"/v1/ledger/{decision}")["feedback"]
    assert [(row["score"], row["source"], row["revoked"]) for row in told][:2] == [
        (1, "cli", False),
        (0.5, "cli", False),
    ]
    assert told[2]["revoked"]


def test_feedback_for_an_unknown_decision(run: Run, gateway: Gateway) -> None:
    done = run("feedback", "il-nothing", "1", "--url", gateway.url)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")
    assert "no decision 'il-nothing' in the ledger" in done.err


def test_feedback_needs_a_score_or_a_revocation(run: Run) -> None:
    done = run("feedback", "il-1", "--url", NOBODY)
    assert done.code == 2
    assert "--revoke" in done.err


@pytest.mark.parametrize("verb", [["pool"], ["feedback", "il-1", "1"], ["chat"], ["learner", "status"]])
def test_no_gateway_is_exit_code_5_and_says_what_to_do(run: Run, verb: list[str]) -> None:
    done = run(*verb, "--url", NOBODY, stdin="hello\n")
    assert (done.code, done.out) == (5, "")
    assert done.err.count("\n") == 1
    assert "no gateway answers at http://127.0.0.1:9" in done.err
    assert "interlock serve" in done.err


def test_a_chat_remembers_and_takes_feedback(run: Run, gateway: Gateway) -> None:
    done = run(
        "chat", "--url", gateway.url, "--json", stdin="Please add 4 to 8 for me.\n+\nPlease add 1 to 2 for me.\n"
    )
    assert done.code == 0, done.err
    first, second = map(json.loads, done.out.splitlines())
    assert "thank you, recorded" in done.err
    assert [row["score"] for row in call(gateway.url, f"/v1/ledger/{first['id']}")["feedback"]] == [1]
    assert not call(gateway.url, f"/v1/ledger/{second['id']}")["feedback"]
    assert second["usage"]["prompt_tokens"] > 0


def test_a_chat_shows_who_answers(run: Run, gateway: Gateway) -> None:
    name = call(gateway.url, "/v1/models")["data"][1]["id"]
    done = run("chat", "--url", gateway.url, "--model", name, stdin="Please add 4 to 8 for me.\n\n")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"{name}> ")


def test_a_chat_survives_a_request_that_is_refused(run: Run, gateway: Gateway) -> None:
    done = run("chat", "--url", gateway.url, "--json", stdin=f"{'word ' * 3000}\n+\nPlease add 4 to 8 for me.\n")
    assert done.code == 0
    assert "error: " in done.err
    assert "there is no answer to judge yet" in done.err
    assert len(done.out.splitlines()) == 1


class Odd(BaseHTTPRequestHandler):
    """Answers as the path says: `/500/...`, or a page that is no JSON."""

    def do_GET(self) -> None:
        status = int(self.path.split("/")[1])
        error = {"message": "it is so", "reasons": {"a": ["it is full"]} if status == 422 else None}
        body = b"<html>" if status == 200 else json.dumps({"error": error}).encode() if status != 502 else b"\xff"
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Silence."""


@pytest.fixture(scope="module")
def odd() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Odd) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "error", "says"),
    [
        (200, Garbled, "not as a gateway does"),
        (401, RequestError, "it is so"),
        (422, Refused, "a: it is full"),
        (429, ProviderError, "it is so"),
        (500, ProviderError, "it is so"),
        (502, ProviderError, "answered 502"),
    ],
)
def test_what_a_gateway_says_becomes_an_error_of_its_kind(
    odd: str, status: int, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        call(odd, f"/{status}/")


@pytest.mark.parametrize(
    ("url", "error"), [("http://127.0.0.1:nine", RequestError), ("http://[x", RequestError), (NOBODY, Unreachable)]
)
def test_an_address_that_is_none(url: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        call(url, "/v1/pool")
