"""Errors in the OpenAI shape: `{"error": {"message", "type", "param", "code"}}`, plus `reasons` for a refusal."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from ..errors import InterlockError, Refused, Throttled


def as_document(error: InterlockError) -> dict[str, Any]:
    body: dict[str, Any] = {
        "message": error.message,
        "type": error.kind,
        "param": getattr(error, "param", None),
        "code": error.code,
    }
    body.update(error.details)
    if isinstance(error, Refused):
        body["reasons"] = error.reasons
        body["decision"] = error.decision_id
    return {"error": body}


def as_json(error: InterlockError) -> bytes:
    return msgspec.json.encode(as_document(error))


def retry_headers(error: InterlockError) -> bytes:
    """`retry-after` in whole seconds, where the error knows how long to wait; and what is left of a rate."""
    wait: float | None = getattr(error, "retry_after", None)
    line = b"" if wait is None else b"retry-after: %d\r\n" % max(1, math.ceil(wait))
    return line + error.headers if isinstance(error, Throttled) else line
