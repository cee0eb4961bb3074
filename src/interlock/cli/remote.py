"""Talk to a running gateway from a verb, with errors a person can act on."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException, InvalidURL
from typing import Any, NamedTuple

import msgspec
import typer

from ..errors import Garbled, InterlockError, ProviderError, Refused, RequestError, Unreachable

URL = typer.Option("http://127.0.0.1:8400", "--url", envvar="INTERLOCK_URL", help="Where the gateway listens.")
PATIENCE = 120.0  # seconds


class Reply(NamedTuple):
    """A gateway's answer: its JSON, and its headers (looked up in any case)."""

    document: Any
    headers: Mapping[str, str]


def call(url: str, path: str, body: Any = None) -> Any:
    """`ask`, when only the JSON matters."""
    return ask(url, path, body).document


def ask(url: str, path: str, body: Any = None) -> Reply:
    """GET, or POST when there is a body, and the JSON that comes back. Raises what `fetch` does."""
    content, headers = fetch(url, path, body)
    try:
        return Reply(msgspec.json.decode(content), headers)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _no_gateway(url) from error


def fetch(url: str, path: str, body: Any = None) -> tuple[bytes, Mapping[str, str]]:
    """What the gateway sends, and its headers. Sends `INTERLOCK_KEY` as bearer token when set.

    Raises `Unreachable` when nothing answers, `Garbled` when it is no gateway that answers; when the gateway says no,
    `Refused`, `RequestError` or, for what is not the caller's fault, `ProviderError`, with its own message.
    """
    headers = {"content-type": "application/json"}
    if key := os.environ.get("INTERLOCK_KEY"):
        headers["authorization"] = f"Bearer {key}"
    data = None if body is None else msgspec.json.encode(body)
    address = _address(url)
    try:
        request = urllib.request.Request(address + path, data, headers)
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            return response.read(), response.headers
    except urllib.error.HTTPError as error:
        raise _denied(f"{address}{path}", error.code, error.read()) from error
    except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
        reason = getattr(error, "reason", error)
        raise Unreachable(
            f"no gateway answers at {address} ({reason}); start one with `interlock serve`, or give --url"
        ) from error
    except (InvalidURL, ValueError) as error:
        raise RequestError(f"{url!r} is no address of a gateway: {error}", param="url") from error
    except HTTPException as error:
        raise _no_gateway(url) from error


def _address(url: str) -> str:
    return url.rstrip("/") if "://" in url else f"http://{url.rstrip('/')}"


def _no_gateway(url: str) -> Garbled:
    return Garbled(f"{_address(url)} answers, but not as a gateway does; give its --url")


def _denied(where: str, status: int, content: bytes) -> InterlockError:
    """The gateway's own error, as far as it can be told from its document."""
    try:
        error = msgspec.json.decode(content)["error"]
        message, reasons = str(error["message"]), error.get("reasons")
    except (msgspec.DecodeError, UnicodeDecodeError, LookupError, TypeError, AttributeError):
        message, reasons = content[:300].decode(errors="replace").strip() or "nothing", None
    if reasons:
        return Refused(reasons)
    text = f"{where} answered {status}: {message}"
    return ProviderError(text) if status >= 500 or status == 429 else RequestError(text)
