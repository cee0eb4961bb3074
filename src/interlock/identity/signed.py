"""Signed bearer tokens (JWT): a second way to the same identity, checked against keys that are already here.

Signatures are checked with PyJWT (the extra `jwt`). A token that was found good is remembered by its digest until it
expires, so a client's second request costs a lookup. The issuer's keys (JWKS) are fetched beside the requests, from the
configured address alone: what a token says of where its key may be found (`jku`, `x5u`, `jwk`) is never followed.

Source: RFC 7519 (JWT), RFC 7517 (JWK), RFC 8725 (best current practice: fixed algorithms, issuer and audience).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ..errors import Unauthorized
from .allowance import UNLIMITED, Allowance
from .identity import RANK, Identity, Role

REMEMBERED = 10_000  # tokens
LEEWAY = 30.0  # seconds that clocks may differ
LONGEST = 16 * 1024  # bytes


@dataclass(frozen=True)
class Claims:
    """How a token's claims become an identity. A claim may lie deeper: `realm_access.roles`.

    `roles` maps values of the role claim to ours; the highest that matches counts, `viewer` when none does. Who has no
    tenant claim gets `tenant`; without that the token is refused.
    """

    tenant_claim: str = "tenant"
    key_claim: str = "sub"
    role_claim: str = "role"
    roles: Mapping[str, Role] = field(default_factory=lambda: {name: name for name in RANK})  # type: ignore[misc]
    tenant: str = ""
    candidates: tuple[str, ...] = ("*",)
    allowance: Allowance = UNLIMITED

    def identity(self, claims: Mapping[str, Any]) -> Identity:
        """Raises `Unauthorized` when a claim that is needed is missing."""
        tenant = _text(claims, self.tenant_claim) or self.tenant
        subject = _text(claims, self.key_claim)
        for name, value in ((self.tenant_claim, tenant), (self.key_claim, subject)):
            if not value:
                raise Unauthorized(f"the token has no claim {name!r}", code="invalid_token")
        said = _reach(claims, self.role_claim)
        values = said if isinstance(said, list) else str(said or "").split()
        roles = [self.roles[value] for value in values if isinstance(value, str) and value in self.roles]
        role: Role = max(roles, key=RANK.__getitem__, default="viewer")
        return Identity(f"jwt:{subject}", tenant, role, self.candidates, self.allowance, float(claims["exp"]))


class SignedTokens:
    """Reads tokens. `keys` maps key ids to what PyJWT verifies with; the id `""` serves any token. `url` is where
    others are fetched from (key_set.py).
    """

    def __init__(
        self,
        claims: Claims,
        algorithms: Sequence[str],
        issuer: str,
        audience: str,
        keys: Mapping[str, Any] | None = None,
        url: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.claims, self.algorithms, self.issuer, self.audience = claims, list(algorithms), issuer, audience
        self.keys: Mapping[str, Any] = keys or {}
        self.url = url
        self.missed = False  # whether a token named a key that is not here: the set should be fetched again
        self._clock = clock
        self._good: OrderedDict[bytes, Identity] = OrderedDict()

    def adopt(self, keys: Mapping[str, Any]) -> None:
        """Check with these from now on. What was found good under keys that are gone is checked again."""
        self.keys, self.missed = keys, False
        self._good.clear()

    def identify(self, token: bytes, digest: bytes) -> Identity:
        """Raises `Unauthorized` for a token that is forged, expired, meant for others or unreadable."""
        found = self._good.get(digest)
        if found is None:
            found = self.claims.identity(self._verified(token))
            self._good[digest] = found
            if len(self._good) > REMEMBERED:
                self._good.popitem(last=False)
        if found.expires + LEEWAY <= self._clock():
            self._good.pop(digest, None)
            raise Unauthorized("the token has expired", code="expired_token")
        return found

    def _verified(self, token: bytes) -> dict[str, Any]:
        import jwt

        if len(token) > LONGEST:
            raise Unauthorized(f"the token is longer than {LONGEST} bytes", code="invalid_token")
        try:
            kid = str(jwt.get_unverified_header(token).get("kid", ""))
            key = self.keys.get(kid, self.keys.get(""))
            if key is None:
                self.missed = True
                problem = f"the token is signed with a key that is not known here (kid {kid[:64]!r})"
                raise Unauthorized(problem, code="invalid_token")
            found: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=self.algorithms,
                issuer=self.issuer,
                audience=self.audience,
                leeway=LEEWAY,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.PyJWTError as error:
            raise Unauthorized(f"the token is not accepted: {error}", code="invalid_token") from None
        except (ValueError, TypeError, msgspec.DecodeError):
            raise Unauthorized("this is no token", code="invalid_token") from None
        return found


def _reach(claims: Mapping[str, Any], path: str) -> Any:
    """A claim by its name, or by a dotted path into nested ones."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for step in path.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _text(claims: Mapping[str, Any], path: str) -> str:
    value = _reach(claims, path)
    return value if isinstance(value, str) else ""
