"""Bytes of a chat request -> `types.Request`, or a `RequestError` that says what is wrong and what would be right.

Only the fields that routing needs are checked here. Everything else the caller sent stays in `Request.body`
untouched and reaches the provider, fields of providers we have never heard of included.

Extensions, in an `interlock` object of the body (removed before forwarding) or in headers; the body wins:

    interlock.tenant               x-interlock-tenant        only while no keys are configured
    interlock.session, .program    x-interlock-session, x-interlock-program
    interlock.limits.max_cost      x-interlock-max-cost      USD
    interlock.limits.deadline      x-interlock-deadline      seconds
    interlock.limits.min_quality   x-interlock-min-quality   0 to 1
    interlock.hints                x-interlock-hints         name=value, name=value
    interlock.explain              x-interlock-explain       1: the answer carries the explanation
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, TypeVar

import msgspec

from ..errors import NotFound, RequestError, nearest
from ..telemetry.context import HEADER
from ..types import Limits, Message, Native, Request

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
MOST_TOKENS = 1 << 20  # no model answers at such length; more is a slip of the caller's
NO_LIMITS = Limits()
LIMIT_HEADERS = {
    b"x-interlock-max-cost": "max_cost",
    b"x-interlock-deadline": "deadline",
    b"x-interlock-min-quality": "min_quality",
}
PART_NEEDS = {
    "image_url": "image",
    "input_image": "image",
    "input_audio": "audio",
    "file": "file",
    "video_url": "video",
}

Tokens = Annotated[int, msgspec.Meta(ge=1, le=MOST_TOKENS)]
Body = TypeVar("Body", bound=msgspec.Struct)

_WHERE = re.compile(r"^(?P<problem>.*?)(?: - at `\$\.?(?P<param>[^`]*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"^Object contains unknown field `(?P<name>.*)`$", re.DOTALL)


class Bounds(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """`interlock.limits`."""

    max_cost: Annotated[float, msgspec.Meta(ge=0)] | None = None
    deadline: Annotated[float, msgspec.Meta(gt=0)] | None = None
    min_quality: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None


class Extensions(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The `interlock` object of a request body."""

    tenant: str | None = None
    session: str | None = None
    program: str | None = None
    limits: Bounds | None = None
    hints: dict[str, str] | None = None
    explain: bool | None = None


class ChatBody(msgspec.Struct, gc=False):
    """The fields of a chat request that routing looks at."""

    messages: list[Message]
    model: str = "auto"
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    seed: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    tools: list[dict[str, Any]] | None = None
    functions: list[dict[str, Any]] | None = None
    response_format: dict[str, Any] | None = None
    modalities: list[str] | None = None
    logprobs: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    interlock: Extensions | None = None


class Parsed(msgspec.Struct, frozen=True, gc=False):
    """A request, and whether its answer shall carry the explanation."""

    request: Request
    explain: bool


def document(body: bytes | bytearray) -> dict[str, Any]:
    """The JSON object in a body. Raises `RequestError` when there is none."""
    try:
        decoded = msgspec.json.decode(body)
    except UnicodeDecodeError as error:
        raise RequestError(
            f"the body is not UTF-8: {error.reason} at byte {error.start}", code="invalid_json"
        ) from None
    except RecursionError:
        raise RequestError("the body's JSON is nested too deeply", code="invalid_json") from None
    except msgspec.DecodeError as error:
        problem = str(error).replace("Input data was truncated", "it ends too early") if body else "it is empty"
        raise RequestError(f"the body is not valid JSON: {problem.split(' - at ')[0]}", code="invalid_json") from None
    if not isinstance(decoded, dict):
        raise RequestError(f"the body must be a JSON object, not {_kind(decoded)}", code="invalid_json")
    return decoded


def convert(value: Any, into: type[Body]) -> Body:
    """`value` as a struct. Raises `RequestError` with the field's path in `param`."""
    try:
        return msgspec.convert(value, into)
    except msgspec.ValidationError as error:
        found = _WHERE.match(str(error))
        problem, param = (found["problem"], found["param"] or None) if found else (str(error), None)
        if unknown := _UNKNOWN.match(problem):
            inner = {"interlock": Extensions, "interlock.limits": Bounds}.get(param or "", into)
            hint = nearest(unknown["name"], inner.__struct_fields__)
            problem = f"unknown field {unknown['name']!r}; {hint}"
        problem = problem.replace("Object missing required field", "missing field")
        raise RequestError(f"{param}: {problem}" if param else problem, param=param) from None
    except RecursionError:
        raise RequestError("the body's JSON is nested too deeply", code="invalid_json") from None


def chat(
    body: dict[str, Any],
    headers: Mapping[bytes, bytes],
    tenant: str | None,
    models: Collection[str],
    native: Native | None = None,
) -> Parsed:
    """The request in a chat body. `tenant` is the key's, or `None` while no keys are configured; `models` are the names
    that may be asked for; `native` is what the body was translated from. Our own fields are taken out of `body`.
    Raises `RequestError`, or `NotFound` for a model that does not exist.
    """
    fields = convert(body, ChatBody)
    _check_messages(fields.messages)
    if fields.model not in models:
        problem = f"model {fields.model!r} does not exist; {nearest(fields.model, list(models))}"
        raise NotFound(problem, param="model", code="model_not_found")
    said = fields.interlock or Extensions()
    body.pop("interlock", None)
    request = Request(
        messages=tuple(fields.messages),
        model=fields.model,
        needs=frozenset(_needs(fields)),
        tenant=_tenant(said.tenant or _text(headers, b"x-interlock-tenant"), tenant),
        session=said.session or _text(headers, b"x-interlock-session"),
        program=said.program or _text(headers, b"x-interlock-program"),
        limits=_limits(said.limits, headers),
        hints=said.hints or _hints(_text(headers, b"x-interlock-hints")),
        max_tokens=fields.max_completion_tokens or fields.max_tokens,
        stream=bool(fields.stream),
        seed=fields.seed,
        body=body,
        native=native,
        traceparent=_traceparent(headers),
        cache=_cache(headers.get(b"cache-control")),
    )
    explain = bool(said.explain) or _text(headers, b"x-interlock-explain") in ("1", "true")
    return Parsed(request, explain)


def _check_messages(messages: list[Message]) -> None:
    if not messages:
        raise RequestError("messages: it is empty; send at least one message", param="messages")
    for index, message in enumerate(messages):
        if message.role not in ROLES:
            hint = nearest(message.role, ROLES)
            raise RequestError(
                f"messages[{index}].role: {message.role!r} is no role; {hint}", param=f"messages[{index}].role"
            )
        if message.content is None and message.role in ("system", "developer", "user", "tool"):
            problem = f"messages[{index}].content: a {message.role} message needs content"
            raise RequestError(problem, param=f"messages[{index}].content")
        for place, part in enumerate(message.content if isinstance(message.content, list) else ()):
            if not isinstance(part.get("type"), str):
                where = f"messages[{index}].content[{place}].type"
                raise RequestError(f"{where}: every part of a content list has a type such as 'text'", param=where)


def _needs(fields: ChatBody) -> Iterator[str]:
    if fields.tools or fields.functions:
        yield "tools"
    if fields.response_format is not None and fields.response_format.get("type") in ("json_object", "json_schema"):
        yield "json"
    if fields.logprobs:
        yield "logprobs"
    if "audio" in (fields.modalities or ()):
        yield "audio"
    for message in fields.messages:
        if isinstance(message.content, list):
            yield from (PART_NEEDS[part["type"]] for part in message.content if part["type"] in PART_NEEDS)


def _tenant(asked: str, of_the_key: str | None) -> str:
    if of_the_key is None:
        return asked
    if asked and asked != of_the_key:
        raise RequestError(
            "interlock.tenant: with keys configured the tenant is the key's; leave it out", param="interlock.tenant"
        )
    return of_the_key


def _limits(said: Bounds | None, headers: Mapping[bytes, bytes]) -> Limits:
    asked = {field: headers[field] for field in LIMIT_HEADERS if field in headers}
    if said is None and not asked:
        return NO_LIMITS
    numbers = {}
    for field, name in LIMIT_HEADERS.items():
        value = getattr(said, name, None)
        if value is None and field in asked:
            value = _number(field.decode(), name, asked[field].decode("latin-1").strip())
        numbers[name] = value
    return Limits(**numbers)


def _number(field: str, name: str, text: str) -> float:
    try:
        number = float(text)
        msgspec.convert({name: number}, Bounds)
    except msgspec.ValidationError as error:
        raise RequestError(f"header {field}: {str(error).split(' - at ')[0]}", param=field) from None
    except ValueError:
        raise RequestError(f"header {field}: {text!r} is no number", param=field) from None
    if not math.isfinite(number):
        raise RequestError(f"header {field}: {text!r} is no limit; leave it out for none", param=field)
    return number


def _hints(text: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    for name, equals, _ in pairs:
        if not equals or not name.strip():
            raise RequestError("header x-interlock-hints: write name=value, name=value", param="x-interlock-hints")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _traceparent(headers: Mapping[bytes, bytes]) -> str:
    """Only one that is well-formed: it is sent on."""
    text = _text(headers, b"traceparent")
    return text if HEADER.fullmatch(text) else ""


def _cache(control: bytes | None) -> str:
    """The stricter of the two wishes that we know."""
    if control is None:
        return ""
    wishes = {wish.strip() for wish in control.lower().split(b",")}
    return "no-store" if b"no-store" in wishes else "no-cache" if b"no-cache" in wishes else ""


def _text(headers: Mapping[bytes, bytes], name: bytes) -> str:
    value = headers.get(name)
    return value.decode("latin-1").strip() if value else ""


def _kind(value: Any) -> str:
    return {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}.get(type(value), "a number")
