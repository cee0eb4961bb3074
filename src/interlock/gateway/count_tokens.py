"""POST /v1/messages/count_tokens: how many tokens a message would be, as our own tokenizer counts them.

Which model will answer, and so whose tokenizer counts, is decided with the message itself: this is the estimate that
routing uses, images and documents not counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..errors import InterlockError
from ..signals.tokens import Tokens
from . import parse
from .dialects import Messages
from .exchange import JSON, Exchange

if TYPE_CHECKING:
    from .service import Service


class CountTokens:
    """The handler. The body is a message's without `max_tokens`."""

    def __init__(self, service: Service) -> None:
        self._service, self._dialect = service, Messages()
        self._tokens = Tokens()

    async def __call__(self, exchange: Exchange) -> None:
        try:
            caller = self._service.identify(exchange.headers)
            asked = {"max_tokens": 1, **parse.document(exchange.body)}
            body, native = self._dialect.request(asked, exchange.headers)
            parsed = parse.chat(body, exchange.headers, caller.tenant, self._service.models, native)
        except InterlockError as error:
            exchange.respond(error.status, self._dialect.error(error), JSON)
            return
        counted = self._tokens.read(parsed.request, {}).signal.value
        exchange.respond(200, msgspec.json.encode({"input_tokens": int(counted or 0)}))
