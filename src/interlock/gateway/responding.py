"""Responses that have a past and a future: continuing a stored one, storing the new one, asking for it again."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response as Reply

from ..errors import NotFound, RequestError
from . import parse
from .answering import Answering
from .dialects import Responses
from .dialects.responses import ResponsesBody, items
from .exchange import Exchange
from .response_store import Item, Response

if TYPE_CHECKING:
    from .service import Service

MOST_ITEMS = 100  # a page


class _Named(msgspec.Struct):
    id: str
    output: list[Item] = []


class Responding:
    """The handler of POST /v1/responses. One instance serves all requests."""

    def __init__(self, service: Service) -> None:
        self._service, self._answering = service, Answering(service, Responses())

    async def __call__(self, exchange: Exchange) -> None:
        service = self._service
        caller = service.identify(exchange.headers)
        tenant = caller.tenant or ""
        asked = parse.document(exchange.body)
        fields = parse.convert(asked, ResponsesBody)
        whole = [*await self._before(fields.previous_response_id, tenant), *items(fields.input)]
        keep = None if fields.store is False else partial(self._keep, tenant, whole)
        await self._answering.give(exchange, caller, {**asked, "input": whole}, keep)

    async def _before(self, id: str | None, tenant: str) -> list[Item]:
        """What was said up to the end of a response. Raises `RequestError` when it is not there."""
        if id is None:
            return []
        try:
            found = await self._service.stored.get(id, tenant)
        except NotFound as error:
            problem = f"previous_response_id: {error.message}"
            raise RequestError(problem, param="previous_response_id", code="previous_response_not_found") from None
        return [*found.input, *msgspec.json.decode(found.body, type=_Named).output]

    async def _keep(self, tenant: str, given: list[Item], body: bytes) -> None:
        named = msgspec.json.decode(body, type=_Named)
        kept = [_identified(item, i, named.id) for i, item in enumerate(given)]
        await self._service.stored.put(Response(named.id, kept, body), tenant)


def _identified(item: Item, place: int, response: str) -> Item:
    """An input item as it is listed: with a name, and its text as a part."""
    kind = item.get("type") or "message"
    listed = {"id": f"in_{response}_{place}", **item, "type": kind}
    if kind == "message" and isinstance(item.get("content"), str):
        part = "output_text" if item.get("role") == "assistant" else "input_text"
        listed["content"] = [{"type": part, "text": item["content"]}]
    return listed


async def retrieve(service: Service, request: Request) -> Any:
    """A stored response. Streaming it again is not offered."""
    if request.query_params.get("stream") == "true":
        raise RequestError("stream: a stored response is given whole", param="stream", code="unsupported")
    found = await service.stored.get(request.path_params["id"], _owner(service, request))
    return Reply(found.body, media_type="application/json")


async def delete(service: Service, request: Request) -> Any:
    """Forget a stored response."""
    id = request.path_params["id"]
    await service.stored.delete(id, _owner(service, request))
    return {"id": id, "object": "response", "deleted": True}


async def input_items(service: Service, request: Request) -> Any:
    """What a response was given to answer, newest first unless `order=asc`; `limit` of them, from behind `after`."""
    found = await service.stored.get(request.path_params["id"], _owner(service, request))
    query = request.query_params
    limit, order, after = query.get("limit", "20"), query.get("order", "desc"), query.get("after")
    if not (limit.isascii() and limit.isdecimal() and 1 <= int(limit[:9]) <= MOST_ITEMS):
        raise RequestError(f"limit: {limit!r} is not a whole number from 1 to {MOST_ITEMS}", param="limit")
    if order not in ("asc", "desc"):
        raise RequestError(f"order: {order!r} is neither asc nor desc", param="order")
    listed = found.input if order == "asc" else found.input[::-1]
    if after is not None:
        places = [i for i, item in enumerate(listed) if item["id"] == after]
        if not places:
            raise NotFound(f"no item {after!r} in this response", param="after")
        listed = listed[places[0] + 1 :]
    page = listed[: int(limit)]
    ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {"first_id": None, "last_id": None}
    return {"object": "list", "data": page, **ends, "has_more": len(listed) > len(page)}


def _owner(service: Service, request: Request) -> str:
    return service.identify(dict(request.headers.raw)).tenant or ""
