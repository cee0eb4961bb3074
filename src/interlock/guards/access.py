"""Which tenant, and which key, may use which candidates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..types import Candidate, Context, Reason
from .base import Objection, matches


@dataclass(frozen=True)
class Access:
    """`tenants` maps a tenant to globs of candidate names. One that is not listed gets `default`.

    A key may be narrower than its tenant (`Request.allowed`), never wider.
    """

    tenants: Mapping[str, Sequence[str]] = field(default_factory=dict)
    default: Sequence[str] = ("*",)
    name: str = "access"

    def check(self, context: Context, candidates: Sequence[Candidate]) -> Iterable[Objection]:
        tenant, allowed = context.request.tenant, context.request.allowed
        if allowed is not None:
            yield from ((i, NOT_OF_THE_KEY) for i, one in enumerate(candidates) if not matches(one, allowed))
        globs = self.tenants.get(tenant, self.default)
        if "*" in globs:
            return
        who = f"tenant {tenant!r}" if tenant else "a caller without a tenant"
        reason = Reason(self.name, "not_allowed", f"{who} may not use it", "ask the operator to allow it")
        yield from ((i, reason) for i, candidate in enumerate(candidates) if not matches(candidate, globs))


NOT_OF_THE_KEY = Reason(
    "access", "not_allowed_for_key", "the key may not use it", "use another key, or ask the operator to allow it"
)
