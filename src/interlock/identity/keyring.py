"""Headers -> identity, from memory: nothing is read, fetched or slowly hashed while a request waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from ..errors import Unauthorized
from .identity import NOBODY, Identity
from .signed import SignedTokens
from .virtual import VirtualKey, digest


class Keyring:
    """`static` maps the digests of the configuration's keys to whom they are; `tokens` reads signed bearer tokens.

    Keys are looked up by digest, so the time it takes says nothing about a key. While there is no key of any kind
    everybody is `NOBODY`; a revoked or expired key is still one, so the door does not open again.
    """

    def __init__(
        self,
        static: Mapping[bytes, Identity] | None = None,
        virtual: Iterable[VirtualKey] = (),
        tokens: SignedTokens | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._static, self._tokens, self._clock = dict(static or {}), tokens, clock
        self._virtual = {key.digest: key for key in virtual}
        self._known = {d: key.identity for d, key in self._virtual.items() if key.revoked is None} | self._static
        self.open = not self._static and not self._virtual and tokens is None

    def with_virtual(self, virtual: Iterable[VirtualKey]) -> Keyring:
        return Keyring(self._static, virtual, self._tokens, self._clock)

    def identify(self, headers: Mapping[bytes, bytes]) -> Identity:
        """Whose request this is. `headers` have lower-case names. Raises `Unauthorized`."""
        if self.open:
            return NOBODY
        secret = presented(headers)
        known = digest(secret)
        identity = self._known.get(known)
        if identity is None:
            if self._tokens is not None and secret.count(b".") == 2:
                return self._tokens.identify(secret, known)
            revoked = known in self._virtual
            problem = "this key was revoked" if revoked else "this key is not known here"
            raise Unauthorized(problem, code="revoked_api_key" if revoked else None)
        if identity.expires <= self._clock():
            raise Unauthorized("this key has expired", code="expired_api_key")
        return identity


def presented(headers: Mapping[bytes, bytes]) -> bytes:
    """The key in `Authorization: Bearer` or, where there is no such header, in `x-api-key`. Raises `Unauthorized`."""
    authorization = headers.get(b"authorization")
    if authorization is None:
        secret = headers.get(b"x-api-key", b"").strip()
    else:
        scheme, _, secret = authorization.strip().partition(b" ")
        secret = secret.strip() if scheme.lower() == b"bearer" else b""
    if not secret:
        problem = "send a key: neither 'Authorization: Bearer <key>' nor 'x-api-key: <key>' is among the headers"
        raise Unauthorized(problem, code="missing_api_key")
    return secret
