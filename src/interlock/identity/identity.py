"""Who calls: one record, whichever way it was found out (a static key, a virtual key, a signed token)."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from ..errors import Forbidden
from .allowance import UNLIMITED, Allowance

Role = Literal["viewer", "operator", "admin"]
RANK: dict[str, int] = {"viewer": 0, "operator": 1, "admin": 2}
"""A viewer sees what is its tenant's, an operator everything, and steers; an admin also manages keys."""


class Identity(msgspec.Struct, frozen=True):
    """`key` names what is counted, never a secret; empty is nobody in particular, who may name any `tenant` (`None`).

    `candidates` are globs of those it may use. `expires` is in seconds since the epoch.
    """

    key: str = ""
    tenant: str | None = None
    role: Role = "viewer"
    candidates: tuple[str, ...] = ("*",)
    allowance: Allowance = UNLIMITED
    expires: float = math.inf

    @property
    def scope(self) -> str | None:
        """Whose records it may see: a tenant's, or `None` for everybody's."""
        return None if RANK[self.role] >= RANK["operator"] else self.tenant

    def require(self, role: Role) -> None:
        """Raises `Forbidden` below that role."""
        if RANK[self.role] < RANK[role]:
            first = "there is none yet: make it with `interlock keys create --role admin --ledger <file>`"
            raise Forbidden(f"this needs a key of the role {role}; {f'this one is {self.role}' if self.key else first}")


NOBODY = Identity(role="operator")
"""Everyone, while no key exists at all: fit for one machine's own use."""
