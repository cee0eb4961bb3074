"""Answering: parse, route, forward, the same for every dialect. Also the headers every routed answer carries.

`x-interlock-id` names the decision (allocated before anything else is done), `x-interlock-model` the candidate that
answers, `x-interlock-pool: pocket` says that the embedded pool did; a whole answer of known price has its cost in
USD in `x-interlock-cost`. Where a cache is configured, `x-interlock-cache` says `hit` or `miss`. With
`x-interlock-explain: 1` the answer's JSON has one more field `interlock`, the explanation; in a stream it is in the
first event. Fields nobody knows come through both ways.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import lru_cache
from math import isfinite
from typing import TYPE_CHECKING

import msgspec

from ..errors import InterlockError
from . import explain, parse
from .dialects.base import Dialect, Events, Json
from .exchange import EVENTS, JSON, Exchange, header
from .replies import retry_headers

if TYPE_CHECKING:
    from ..execution import Run
    from ..identity import Identity
    from .service import Service

log = logging.getLogger("interlock.gateway")

HIT, MISS = b"x-interlock-cache: hit\r\n", b"x-interlock-cache: miss\r\n"

Keep = Callable[[bytes], Awaitable[None]]  # what is to happen with a whole answer before its caller has it


class Answering:
    """The handler of one dialect. One instance serves all requests."""

    def __init__(self, service: Service, dialect: Dialect) -> None:
        self._service, self._dialect = service, dialect

    async def __call__(self, exchange: Exchange) -> None:
        try:
            caller = self._service.identify(exchange.headers)
            await self.give(exchange, caller, parse.document(exchange.body))
        except InterlockError as error:
            self._give_error(exchange, None, error)

    async def give(self, exchange: Exchange, caller: Identity, asked: Json, keep: Keep | None = None) -> None:
        """Answer what was `asked` in this dialect."""
        service, dialect = self._service, self._dialect
        body, native = dialect.request(asked, exchange.headers)
        parsed = parse.chat(body, exchange.headers, caller.tenant, service.models, native)
        id = parsed.request.id
        identity = b"x-interlock-id: %b\r\n" % id.encode()
        lease = run = None
        events = dialect.stream(asked, id) if parsed.request.stream else None
        try:
            lease = await service.admit(caller, parsed.request)
            identity += lease.headers
            run = await service.router.start(lease.request)
            try:
                if events is None:
                    await self._whole(exchange, asked, parsed, run, identity, keep)
                else:
                    await self._stream(exchange, events, parsed, run, identity, keep)
            finally:
                await run.aclose()
        except InterlockError as error:
            self._give_error(exchange, events, error, identity)
        except Exception as error:
            log.exception("request %s failed", id, exc_info=error)
            problem = f"an internal error; the server's log has the details under {id}"
            self._give_error(exchange, events, InterlockError(problem), identity)
        finally:
            if lease is not None:
                lease.settle(None if run is None else run.outcome)

    async def _whole(
        self, exchange: Exchange, asked: Json, parsed: parse.Parsed, run: Run, identity: bytes, keep: Keep | None
    ) -> None:
        raw = native = b""
        async for chunk in run:
            raw, native = chunk.raw, chunk.native
        body = native or self._dialect.whole(raw, asked, parsed.request.id)
        if keep is not None:
            await keep(body)
        cost = b"x-interlock-cost: %.12g\r\n" % run.outcome.cost if isfinite(run.outcome.cost) else b""
        body = _explained(body, b"", run) if parsed.explain else body
        exchange.respond(200, body, b"".join((JSON, identity, self._served_by(run), cost)))

    async def _stream(
        self, exchange: Exchange, events: Events, parsed: parse.Parsed, run: Run, identity: bytes, keep: Keep | None
    ) -> None:
        native = False
        async for chunk in run:
            native = native or bool(chunk.native)
            data = chunk.native or (events.read(chunk.raw) if chunk.raw else b"")
            if not data:  # what the caller did not ask to see, such as the usage
                continue
            if not exchange.started:
                exchange.begin(200, EVENTS + identity + self._served_by(run))
                data = _explained(data, b"\n\n", run) if parsed.explain else data
            exchange.write(data)
            if exchange.congested:
                await exchange.drained()
        if not exchange.started:
            exchange.begin(200, EVENTS + identity + self._served_by(run))
        if not native:  # the provider's own events have their own end
            last = events.end()
            if keep is not None:
                await keep(events.final)
            exchange.write(last)
        exchange.end()

    def _served_by(self, run: Run) -> bytes:
        candidate = run.candidate
        cache = b"" if run.recalled is None else HIT if run.recalled else MISS
        if candidate is None:
            return cache
        return cache + _names(candidate.name, candidate.provider in self._service.front.pocket)

    def _give_error(
        self, exchange: Exchange, events: Events | None, error: InterlockError, identity: bytes = b""
    ) -> None:
        """An error response, or an error event when the answer has begun."""
        if not exchange.started:
            exchange.respond(error.status, self._dialect.error(error), JSON + identity + retry_headers(error))
        elif not exchange.response_complete:
            assert events is not None
            exchange.write(events.fail(error))
            exchange.end()


@lru_cache(1024)
def _names(candidate: str, pocket: bool) -> bytes:
    return header(b"x-interlock-model", candidate) + (b"x-interlock-pool: pocket\r\n" if pocket else b"")


def _explained(data: bytes, end: bytes, run: Run) -> bytes:
    """`data`, a document or an event that `end` ends, with one more field, spliced in front of its last brace so that
    nothing of the provider's is re-encoded."""
    first, found, rest = data.partition(b"}" + end) if end else (data.rstrip()[:-1], data.rstrip()[-1:], b"")
    if found != b"}" + end:
        return data
    comma = b"" if first.rstrip().endswith(b"{") else b","
    explanation = msgspec.json.encode(explain.decision(run.decision, True))
    return b"".join((first, comma, b'"interlock":', explanation, found, rest))
