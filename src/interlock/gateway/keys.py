"""Static API keys: which tenant a caller is. Without any configured key everybody is let in and names a tenant freely."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping

from ..errors import NotFound, Unauthorized


class Keys:
    """`tenants` maps key -> tenant. Tenants in `operators` see and steer everything, others only what is theirs.

    Only digests are kept, and looked up by digest, so the time a lookup takes says nothing about a key.
    """

    def __init__(self, tenants: Mapping[str, str], operators: Collection[str] = ()) -> None:
        self._tenants = {_digest(key.encode()): tenant for key, tenant in tenants.items()}
        self._operators = frozenset(operators)

    def tenant(self, authorization: bytes) -> str | None:
        """The tenant of an `Authorization` header; `None` while no keys are configured. Raises `Unauthorized`."""
        if not self._tenants:
            return None
        scheme, _, key = authorization.strip().partition(b" ")
        if scheme.lower() != b"bearer" or not key:
            raise Unauthorized("send a key: the header 'Authorization: Bearer <key>' is missing", code="missing_api_key")
        tenant = self._tenants.get(_digest(key.strip()))
        if tenant is None:
            raise Unauthorized("this key is not known here")
        return tenant

    def scope(self, authorization: bytes) -> str | None:
        """Whose records the caller may see: a tenant's, or `None` for everybody's. Raises `Unauthorized`."""
        tenant = self.tenant(authorization)
        return None if tenant is None or tenant in self._operators else tenant

    def operator(self, authorization: bytes) -> None:
        """Let only those pass who may steer the gateway. Others are told that the path does not exist for them."""
        if self.scope(authorization) is not None:
            raise NotFound("this path is for operators; list your tenant under server.operators to use it")


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
