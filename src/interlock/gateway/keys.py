"""Static API keys: which tenant a caller is. Without any key everybody is let in, as the tenant they name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..errors import NotFound, Unauthorized


@dataclass(frozen=True)
class Key:
    """An operator's key sees all tenants and may steer; any other sees only what is its tenant's."""

    tenant: str
    secret: str = field(repr=False)
    operator: bool = False


class Keys:
    """Only digests are kept, and looked up by digest, so the time a lookup takes says nothing about a key."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._holders = {_digest(key.secret.encode()): (key.tenant, key.operator) for key in keys}

    def tenant(self, authorization: bytes) -> str | None:
        """The tenant of an `Authorization` header; `None` while no keys are configured. Raises `Unauthorized`."""
        return self._holder(authorization)[0] if self._holders else None

    def scope(self, authorization: bytes) -> str | None:
        """Whose records the caller may see: a tenant's, or `None` for everybody's. Raises `Unauthorized`."""
        if not self._holders:
            return None
        tenant, operator = self._holder(authorization)
        return None if operator else tenant

    def operator(self, authorization: bytes) -> None:
        """Let only operators pass. Raises `Unauthorized`, and `NotFound` for other tenants' keys."""
        if self.scope(authorization) is not None:
            raise NotFound("this path is for operators: use a key that has `operator: true` in the configuration")

    def _holder(self, authorization: bytes) -> tuple[str, bool]:
        scheme, _, secret = authorization.strip().partition(b" ")
        if scheme.lower() != b"bearer" or not secret:
            raise Unauthorized(
                "send a key: the header 'Authorization: Bearer <key>' (or 'x-api-key: <key>') is missing",
                code="missing_api_key",
            )
        holder = self._holders.get(_digest(secret.strip()))
        if holder is None:
            raise Unauthorized("this key is not known here")
        return holder


def presented(headers: Mapping[bytes, bytes]) -> bytes:
    """The key that a request's headers carry, as `Authorization` does; Anthropic's clients send it as `x-api-key`."""
    bearer = headers.get(b"authorization")
    if bearer is None and (key := headers.get(b"x-api-key")) is not None:
        return b"Bearer " + key
    return bearer or b""


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()
