"""POST /v1/route: what would be decided, and why. Nothing is executed and nothing recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..admission import stamped
from . import explain, parse
from .exchange import Exchange

if TYPE_CHECKING:
    from .service import Service


class Decide:
    """The handler. The body is a chat request's, whole conversation and extensions included; so are its errors.

    A refusal is a valid answer here: `chosen` is `null`, and each candidate has its reasons.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, exchange: Exchange) -> None:
        service = self._service
        caller = service.identify(exchange.headers)
        parsed = parse.chat(parse.document(exchange.body), exchange.headers, caller.tenant, service.models)
        (decision,) = service.router.decide([stamped(parsed.request, caller)])
        exchange.respond(200, msgspec.json.encode(explain.decision(decision, quoting=True)))
