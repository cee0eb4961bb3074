"""POST /v1/feedback: a score for an earlier answer. A 200 means that it is on disk."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from ..errors import RequestError
from ..types import Feedback
from . import parse
from .exchange import Exchange

if TYPE_CHECKING:
    from .service import Service

LONGEST_NOTE = 4096  # characters
LONGEST_NAME = 128


class FeedbackBody(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """`score` is 0 to 1, or true or false; it may be left out only to `revoke` what this `source` said before."""

    id: str
    score: float | bool | None = None
    source: str = "person"
    note: str = ""
    revoke: bool = False


class Judge:
    """The handler. One instance serves all requests."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, exchange: Exchange) -> None:
        tenant = self._service.identify(exchange.headers).scope
        body = parse.convert(parse.document(exchange.body), FeedbackBody)
        _check(body)
        feedback = Feedback(
            decision=body.id,
            at=time.time(),
            score=float(body.score or 0.0),
            source=body.source,
            tenant=tenant or "",
            note=body.note,
            revoked=body.revoke,
        )
        await self._service.owned(body.id, tenant)
        await self._service.router.feedback(feedback)
        exchange.respond(200, msgspec.json.encode({"id": body.id, "recorded": True}))


def _check(body: FeedbackBody) -> None:
    if not body.id:
        raise RequestError("id: it is empty; send the answer's x-interlock-id", param="id")
    if body.score is None and not body.revoke:
        raise RequestError("score: send a number from 0 to 1, or true or false, or revoke: true", param="score")
    if body.score is not None and not 0 <= body.score <= 1:
        raise RequestError(f"score: {body.score:g} is outside 0 to 1", param="score")
    if not 0 < len(body.source) <= LONGEST_NAME:
        raise RequestError(f"source: between 1 and {LONGEST_NAME} characters, not {len(body.source)}", param="source")
    if len(body.note) > LONGEST_NOTE:
        raise RequestError(f"note: at most {LONGEST_NOTE} characters, not {len(body.note)}", param="note")
