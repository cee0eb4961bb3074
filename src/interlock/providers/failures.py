"""A provider's HTTP error, or the error object inside an answer, as a leaf of `ProviderError`.

The provider's own sentence is read, to tell failures apart, but never repeated: providers quote prompts and parts of
keys in it. What is repeated are the machine-readable words `code`, `type` and `param`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from ..errors import (
    Garbled,
    NoSuchModel,
    OutOfFunds,
    Overloaded,
    ProviderError,
    RateLimited,
    Rejected,
    TimedOut,
    TooLong,
    Unauthenticated,
)

LONGEST = 3600.0  # seconds of a Retry-After that are believed
WORD = re.compile(r"[A-Za-z0-9_.\[\]-]{1,64}")
TOO_LONG = re.compile(r"context.?(length|window)|prompt is too long|too many (input )?tokens|maximum.{0,9}tokens", re.I)
NO_FUNDS = re.compile(r"credit balance|insufficient.?(quota|balance|credit)|billing|exceeded your current quota", re.I)
NO_MODEL = re.compile(r"model.{0,80}(not found|does not exist|not exist)|model_not_found|no such model", re.I)

BY_STATUS: Mapping[int, type[ProviderError]] = {
    400: Rejected,
    401: Unauthenticated,
    402: OutOfFunds,
    403: Unauthenticated,
    404: NoSuchModel,
    405: NoSuchModel,
    408: TimedOut,
    409: Overloaded,
    413: TooLong,
    422: Rejected,
    425: Overloaded,
    429: RateLimited,
    504: TimedOut,
}

BY_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
    "server_error": 500,
    "api_error": 500,
}


def failure(status: int, headers: Mapping[bytes, bytes], body: bytes) -> ProviderError:
    """The error for an answer whose status is not 200. `headers` have lower-case names."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        document = None
    return _error(status, document, retry_after(headers))


def failure_inside(raw: bytes | msgspec.Raw) -> ProviderError:
    """The error for an error object that arrived where an answer was due (status 200, or inside a stream)."""
    document = msgspec.json.decode(raw)
    words = _words(document)
    code = words.get("code", "")
    status = int(code) if code.isdigit() else BY_TYPE.get(words.get("type", ""), BY_TYPE.get(code, 500))
    status = status if 400 <= status < 600 else 500
    return _error(status, document, None)


def _error(status: int, document: Any, wait: float | None) -> ProviderError:
    words, sentence = _words(document), _sentence(document)
    kind = BY_STATUS.get(status, Overloaded if status >= 500 else Rejected if status >= 400 else Garbled)
    told = " ".join((*words.values(), sentence))
    if kind in (Rejected, TooLong) or status == 403:
        if NO_FUNDS.search(told):
            kind = OutOfFunds
        elif TOO_LONG.search(told):
            kind = TooLong
        elif NO_MODEL.search(told):
            kind = NoSuchModel
    elif kind is RateLimited and ("insufficient_quota" in words.values() or NO_FUNDS.search(sentence)):
        kind = OutOfFunds
    named = ", ".join(f"{name} {word}" for name, word in words.items())
    hint = "; a redirect is not followed, set base_url to where it points" if 300 <= status < 400 else ""
    problem = f"the provider answered {status}" + (f" ({named})" if named else "") + hint
    return kind(problem, retry_after=wait, upstream_status=status)


def _inner(document: Any) -> Any:
    """The error object inside the envelopes in use: `{"error": {...}}`, `{"error": "..."}`, a bare object."""
    return document.get("error", document) if isinstance(document, dict) else document


def _words(document: Any) -> dict[str, str]:
    inner = _inner(document)
    if not isinstance(inner, dict):
        return {}
    found = {name: str(inner[name]) for name in ("code", "type", "param") if isinstance(inner.get(name), str | int)}
    return {name: word for name, word in found.items() if WORD.fullmatch(word)}


def _sentence(document: Any) -> str:
    inner = _inner(document)
    sentence = inner.get("message", inner.get("detail")) if isinstance(inner, dict) else inner
    return sentence if isinstance(sentence, str) else ""


def retry_after(headers: Mapping[bytes, bytes]) -> float | None:
    """Seconds from `retry-after-ms` or `retry-after` (seconds or an HTTP date); `None` when absent or unreadable.

    Never negative, and never above `LONGEST`: callers are given it too, and the air holds absurd values.
    """
    for name, scale in ((b"retry-after-ms", 1e-3), (b"retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * scale
        except (KeyError, ValueError):
            continue
        if math.isfinite(seconds):
            return min(LONGEST, max(0.0, seconds))
    try:
        date = parsedate_to_datetime(headers[b"retry-after"].decode("latin-1"))
    except (KeyError, ValueError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return min(LONGEST, max(0.0, (date - datetime.now(UTC)).total_seconds()))
