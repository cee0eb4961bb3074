"""POST /v1/chat/completions: parse, route, forward. Also the response headers every routed answer carries.

`x-interlock-id` names the decision (allocated before anything else is done), `x-interlock-model` the candidate that
answers, `x-interlock-pool: pocket` says that the embedded pool did; a whole answer of known price has its cost in
USD in `x-interlock-cost`. With `x-interlock-explain: 1` the answer's JSON has one more field `interlock`, the
explanation; in a stream it is in the first chunk. Fields nobody knows come through both ways.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from math import isfinite
from typing import TYPE_CHECKING

import msgspec

from ..errors import InterlockError
from . import explain, parse
from .exchange import EVENTS, JSON, Exchange, header
from .replies import as_json, retry_headers

if TYPE_CHECKING:
    from ..execution import Run
    from .service import Service

log = logging.getLogger("interlock.gateway")

DONE = b"data: [DONE]\n\n"


class Chat:
    """The handler. One instance serves all requests."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, exchange: Exchange) -> None:
        service = self._service
        caller = service.identify(exchange.headers)
        parsed = parse.chat(exchange.body, exchange.headers, caller.tenant, service.models)
        identity = b"x-interlock-id: %b\r\n" % parsed.request.id.encode()
        lease = run = None
        try:
            lease = await service.admit(caller, parsed.request)
            identity += lease.headers
            run = await service.router.start(lease.request)
            try:
                await (self._stream if parsed.request.stream else self._whole)(exchange, parsed, run, identity)
            finally:
                await run.aclose()
        except InterlockError as error:
            _give_error(exchange, error, identity)
        except Exception as error:
            log.exception("request %s failed", parsed.request.id, exc_info=error)
            problem = f"an internal error; the server's log has the details under {parsed.request.id}"
            _give_error(exchange, InterlockError(problem), identity)
        finally:
            if lease is not None:
                lease.settle(None if run is None else run.outcome)

    async def _whole(self, exchange: Exchange, parsed: parse.Parsed, run: Run, identity: bytes) -> None:
        raw = b""
        async for chunk in run:
            raw = chunk.raw
        cost = b"x-interlock-cost: %.12g\r\n" % run.outcome.cost if isfinite(run.outcome.cost) else b""
        exchange.respond(200, _explained(raw, parsed, run), b"".join((JSON, identity, self._served_by(run), cost)))

    async def _stream(self, exchange: Exchange, parsed: parse.Parsed, run: Run, identity: bytes) -> None:
        async for chunk in run:
            raw = chunk.raw
            if not raw:  # what the caller did not ask to see, such as the usage
                continue
            if not exchange.started:
                exchange.begin(200, EVENTS + identity + self._served_by(run))
                raw = _explained(raw, parsed, run)
            exchange.write(b"data: %b\n\n" % (raw if b"\n" not in raw else raw.replace(b"\n", b" ")))
            if exchange.congested:
                await exchange.drained()
        if not exchange.started:
            exchange.begin(200, EVENTS + identity + self._served_by(run))
        exchange.write(DONE)
        exchange.end()

    def _served_by(self, run: Run) -> bytes:
        candidate = run.candidate
        return b"" if candidate is None else _names(candidate.name, candidate.provider in self._service.front.pocket)


@lru_cache(1024)
def _names(candidate: str, pocket: bool) -> bytes:
    return header(b"x-interlock-model", candidate) + (b"x-interlock-pool: pocket\r\n" if pocket else b"")


def _give_error(exchange: Exchange, error: InterlockError, identity: bytes) -> None:
    """An error response, or an error event when the answer has begun; then no `[DONE]`, since it is not."""
    if not exchange.started:
        exchange.respond(error.status, as_json(error), JSON + identity + retry_headers(error))
    elif not exchange.response_complete:
        exchange.write(b"data: %b\n\n" % as_json(error))
        exchange.end()


def _explained(raw: bytes, parsed: parse.Parsed, run: Run) -> bytes:
    """`raw` with one more field, spliced in front of its last brace so that nothing of the provider's is re-encoded."""
    body = raw.rstrip()
    if not parsed.explain or not body.endswith(b"}"):
        return raw
    comma = b"," if body[:-1].rstrip() != b"{" else b""
    return b"".join(
        (body[:-1], comma, b'"interlock":', msgspec.json.encode(explain.decision(run.decision, True)), b"}")
    )
