"""Virtual keys: made at run time, shown once, kept as a digest.

A secret is 256 random bits, so a plain SHA-256 of it cannot be guessed back; a slow password hash would only slow down
every request.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Mapping

import msgspec

from ..types import new_id
from .allowance import UNLIMITED, Allowance
from .identity import Identity, Role

MARK = "sk-il-"
SHOWN = len(MARK) + 4  # characters of a secret that are kept, so that people can tell keys apart
EDITABLE = ("name", "role", "candidates", "allowance", "expires", "metadata")


class VirtualKey(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a key. Times are seconds since the epoch; `revoked` and `expires` are `None` for never."""

    id: str
    digest: bytes
    prefix: str
    tenant: str
    created: float
    name: str = ""
    role: Role = "viewer"
    candidates: tuple[str, ...] = ("*",)
    allowance: Allowance = UNLIMITED
    expires: float | None = None
    revoked: float | None = None
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict)

    @property
    def identity(self) -> Identity:
        expires = math.inf if self.expires is None else self.expires
        return Identity(self.id, self.tenant, self.role, self.candidates, self.allowance, expires)


def mint() -> tuple[str, str]:
    """(the id, the secret) of a new key."""
    return new_id("key"), MARK + secrets.token_urlsafe(32)


def digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()
