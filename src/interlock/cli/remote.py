"""Talk to a running gateway from a verb, with errors a person can act on."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from typing import Any

import msgspec
import typer

from ..errors import RequestError, Unreachable

URL = typer.Option("http://127.0.0.1:8400", "--url", envvar="INTERLOCK_URL", help="Where the gateway listens.")


def call(url: str, path: str, body: Any = None) -> Any:
    """GET, or POST when there is a body; the decoded JSON.

    Sends `INTERLOCK_KEY` as bearer token when set. Raises `Unreachable` when nothing answers, `RequestError` with the
    gateway's own message when it says no.
    """
    headers = {"content-type": "application/json"}
    if key := os.environ.get("INTERLOCK_KEY"):
        headers["authorization"] = f"Bearer {key}"
    data = None if body is None else msgspec.json.encode(body)
    try:
        with urllib.request.urlopen(urllib.request.Request(url.rstrip("/") + path, data, headers), timeout=120) as response:
            return msgspec.json.decode(response.read())
    except urllib.error.HTTPError as error:
        text = error.read().decode(errors="replace")
        try:
            message = msgspec.json.decode(text)["error"]["message"]
        except (msgspec.DecodeError, KeyError, TypeError):
            message = text[:300]
        raise RequestError(f"{url}{path} answered {error.code}: {message}") from error
    except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
        reason = getattr(error, "reason", error)
        raise Unreachable(f"no gateway answers at {url} ({reason}); start one with `interlock serve`, or give --url") from error
