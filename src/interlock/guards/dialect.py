"""Who can be asked: what chat has no words for, only a provider of the caller's own dialect can serve."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..types import Candidate, Context, Reason
from .base import Objection


@dataclass(frozen=True)
class Dialect:
    """`speaks` maps a provider's name to the dialect that it speaks beside chat."""

    speaks: Mapping[str, str] = field(default_factory=dict)
    name: str = "dialect"

    def check(self, context: Context, candidates: Sequence[Candidate]) -> Iterable[Objection]:
        native = context.request.native
        if native is None or not native.only:
            return
        detail = f"a provider of the {native.dialect} API alone understands {'; '.join(native.only)}"
        reason = Reason(self.name, "untranslatable", detail, "leave that out, or configure such a provider")
        for i, candidate in enumerate(candidates):
            if self.speaks.get(candidate.provider) != native.dialect:
                yield i, reason
