"""GET /openapi.json: the API's description, made of the structs that requests are checked against.

What an endpoint does is its docstring; only what cannot be read off the code stands in `DETAILS`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from .. import __version__
from ..ledger.records import KINDS
from .admin import ChangedKey, NewKey
from .dialects import Chat, Completions, Messages, Responses
from .dialects.messages import CountBody
from .embed import EmbeddingsBody
from .judge import FeedbackBody
from .parse import ChatBody

Json = dict[str, Any]
REF = "#/components/schemas/{name}"
WHOLE: Json = {"type": "integer", "minimum": 1}


class ErrorDetails(msgspec.Struct):
    """`reasons` and `decision` are there when every candidate was ruled out."""

    message: str
    type: str
    param: str | None
    code: str
    reasons: dict[str, list[str]] = {}
    decision: str = ""


class Error(msgspec.Struct):
    """What every path answers with when it cannot do what it is asked; those under /v1/messages: `AnthropicError`."""

    error: ErrorDetails


class AnthropicDetails(msgspec.Struct):
    type: str
    message: str
    code: str


class AnthropicError(msgspec.Struct):
    type: str
    error: AnthropicDetails


class Version(msgspec.Struct):
    version: str


@dataclass(frozen=True)
class Details:
    """`body` is the struct of a request body, `query` the schemas of parameters, `answer` the media types of a 200."""

    summary: str = ""
    body: type[msgspec.Struct] | None = None
    query: Mapping[str, Json] | None = None
    answer: tuple[str, ...] = ("application/json",)


ANSWERED = ("application/json", "text/event-stream")
DETAILS: Mapping[tuple[str, str], Details] = {
    ("POST", "/v1/chat/completions"): Details("Answer a conversation (OpenAI).", Chat.body, answer=ANSWERED),
    ("POST", "/v1/completions"): Details("Continue a prompt (OpenAI, legacy).", Completions.body, answer=ANSWERED),
    ("POST", "/v1/responses"): Details("Answer, and keep the answer (OpenAI).", Responses.body, answer=ANSWERED),
    ("POST", "/v1/messages"): Details("Answer a conversation (Anthropic).", Messages.body, answer=ANSWERED),
    ("POST", "/v1/messages/count_tokens"): Details("Count the tokens of a conversation (Anthropic).", CountBody),
    ("POST", "/v1/embeddings"): Details("Texts as vectors (OpenAI).", EmbeddingsBody),
    ("POST", "/v1/route"): Details("Decide without calling anybody.", ChatBody),
    ("POST", "/v1/feedback"): Details("Score an answer.", FeedbackBody),
    ("POST", "/v1/learner/rollback"): Details(body=Version),
    ("POST", "/admin/keys"): Details(body=NewKey),
    ("POST", "/admin/keys/{id}"): Details(body=ChangedKey),
    ("GET", "/v1/responses/{id}/input_items"): Details(
        query={
            "limit": WHOLE | {"maximum": 100},
            "order": {"type": "string", "enum": ["asc", "desc"]},
            "after": {"type": "string"},
        }
    ),
    ("GET", "/v1/ledger"): Details(
        query={"limit": WHOLE | {"maximum": 1000}, "before": WHOLE, "kind": {"type": "string", "enum": [*KINDS]}}
    ),
    ("GET", "/v1/curve"): Details(query={"points": WHOLE | {"maximum": 400}}),
    ("GET", "/v1/events"): Details(answer=("text/event-stream",)),
    ("GET", "/metrics"): Details(answer=("text/plain",)),
}


def document(endpoints: Mapping[tuple[str, str], Any]) -> Json:
    """The description of the data plane's paths and of `endpoints`, which map (method, path) to what answers there."""
    described = {("POST", path): None for method, path in DETAILS if method == "POST"} | dict(endpoints)
    bodies = {details.body for details in DETAILS.values() if details.body is not None}
    kinds = [*sorted(bodies, key=lambda kind: kind.__name__), Error, AnthropicError]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=REF)
    named = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, Json] = {}
    for (method, path), endpoint in described.items():
        plain = re.sub(r"\{(\w+):\w+\}", r"{\1}", path)
        paths.setdefault(plain, {})[method.lower()] = _operation(method, path, plain, endpoint, named)
    return {
        "openapi": "3.1.0",
        "info": {"title": "interlock", "version": __version__},
        "security": [{}, {"bearer": []}, {"key": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


def _operation(method: str, path: str, plain: str, endpoint: Any, schemas: Mapping[Any, Json]) -> Json:
    details = DETAILS.get((method, path), Details())
    summary = details.summary or (inspect.getdoc(endpoint) or "").split("\n\n")[0].replace("\n", " ")
    error = schemas[AnthropicError if plain.startswith("/v1/messages") else Error]
    operation: Json = {
        "operationId": re.sub(r"\W+", "_", f"{method.lower()}{plain}").strip("_"),
        "parameters": [*_in_path(plain), *_in_query(details.query or {})],
        "responses": {
            "200": {"description": "as asked", "content": {kind: {} for kind in details.answer}},
            "default": {"description": "an error", "content": {"application/json": {"schema": error}}},
        },
    }
    if summary:
        operation["summary"] = summary
    if details.body is not None:
        content = {"application/json": {"schema": schemas[details.body]}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _in_path(path: str) -> Iterable[Json]:
    for name in re.findall(r"\{(\w+)\}", path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _in_query(query: Mapping[str, Json]) -> Iterable[Json]:
    for name, schema in query.items():
        yield {"name": name, "in": "query", "schema": schema}
