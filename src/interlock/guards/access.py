"""Which tenant may use which candidates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..types import Candidate, Context, Reason
from .base import Objection, matches


@dataclass(frozen=True)
class Access:
    """`tenants` maps a tenant to globs of candidate names. One that is not listed gets `default`."""

    tenants: Mapping[str, Sequence[str]] = field(default_factory=dict)
    default: Sequence[str] = ("*",)
    name: str = "access"

    def check(self, context: Context, candidates: Sequence[Candidate]) -> Iterable[Objection]:
        tenant = context.request.tenant
        globs = self.tenants.get(tenant, self.default)
        if "*" in globs:
            return
        who = f"tenant {tenant!r}" if tenant else "a caller without a tenant"
        reason = Reason(self.name, "not_allowed", f"{who} may not use it", "ask the operator to allow it")
        yield from ((i, reason) for i, candidate in enumerate(candidates) if not matches(candidate, globs))
