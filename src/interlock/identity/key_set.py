"""An issuer's public keys (JWKS): fetched in a thread, on a schedule and when a token names one that is not here.

The address is the configuration's alone. It must be https (plain http only to this machine), is not followed to another
one, and may not lie among link-local addresses, where clouds hand out credentials.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import time
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import IO, Any
from urllib.parse import urlsplit

import msgspec

from ..errors import KeySetError
from .signed import SignedTokens

log = logging.getLogger("interlock.identity")

LARGEST = 1024 * 1024  # bytes
PATIENCE = 10.0  # seconds for one fetch
EVERY = 600.0  # seconds between fetches
AFTER_A_MISS = 10.0  # seconds at least: whoever sends tokens of unknown keys must not make us hammer the issuer


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str) -> None:
        raise KeySetError(f"it redirects ({code}); give the address of the key set itself")


async def keeping_fresh(current: Callable[[], SignedTokens | None], look: float = 1.0) -> None:
    """Fetch now and again, until cancelled, for the tokens that are read at present; the first time is the caller's."""
    known, fetched = current(), time.monotonic()
    while True:
        await asyncio.sleep(look)
        tokens, waited = current(), time.monotonic() - fetched
        if tokens is None or not tokens.url:
            continue
        if tokens is not known or waited > EVERY or (tokens.missed and waited > AFTER_A_MISS):
            await refresh(tokens)
            known, fetched = tokens, time.monotonic()


async def refresh(tokens: SignedTokens) -> None:
    """Fetch once; those fetched before stay when it fails."""
    try:
        tokens.adopt(await asyncio.to_thread(fetch, tokens.url))
    except KeySetError as error:
        log.error("the issuer's keys were not fetched from %s: %s", tokens.url, error)


def fetch(url: str) -> dict[str, Any]:
    """The usable keys by id. Raises `KeySetError`."""
    import jwt

    check(url)
    opener = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=PATIENCE) as response:
            content = response.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise KeySetError(f"it is larger than {LARGEST} bytes")
        listed = msgspec.json.decode(content)["keys"]
        found = {}
        for entry in listed:
            if isinstance(entry, Mapping) and entry.get("use", "sig") == "sig" and entry.get("kty") != "oct":
                found[str(entry.get("kid", ""))] = jwt.PyJWK(dict(entry)).key
    except (OSError, HTTPException, msgspec.DecodeError, UnicodeDecodeError, LookupError, TypeError) as error:
        raise KeySetError(f"{type(error).__name__}: {error}") from error
    except jwt.PyJWTError as error:
        raise KeySetError(f"a key cannot be read: {error}") from error
    if not found:
        raise KeySetError("it holds no public key for signatures")
    return found


def check(url: str) -> None:
    """Raises `KeySetError` for an address that must not be asked."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise KeySetError(f"its address is malformed: {error}") from error
    host = parts.hostname or ""
    if parts.username or parts.password:
        raise KeySetError("its address holds credentials")
    try:
        infos = socket.getaddrinfo(host, parts.port or 443, type=socket.SOCK_STREAM)
        addresses = [ipaddress.ip_address(str(info[4][0]).partition("%")[0]) for info in infos]
    except (OSError, ValueError) as error:
        raise KeySetError(f"its host {host!r} cannot be resolved: {error}") from error
    if any(address.is_link_local or address.is_multicast or address.is_unspecified for address in addresses):
        raise KeySetError(f"its host {host!r} is a link-local address")
    if parts.scheme != "https" and not (parts.scheme == "http" and all(a.is_loopback for a in addresses)):
        raise KeySetError("it must be https; plain http is for this machine only")
