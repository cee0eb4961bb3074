"""Who can be asked: what chat has no words for, only a provider of the caller's own dialect can serve.

The same holds for reasoning that is signed, while tools are being called: it is part of the context of those calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..types import Candidate, Context, Native, Reason
from .base import Objection


@dataclass(frozen=True)
class Dialect:
    """`speaks` maps a provider's name to the dialect that it speaks beside chat."""

    speaks: Mapping[str, str] = field(default_factory=dict)
    name: str = "dialect"

    def check(self, context: Context, candidates: Sequence[Candidate]) -> Iterable[Objection]:
        native = context.request.native
        if native is None or not (native.only or native.signed):
            return
        reason = self._untranslatable(native) if native.only else self._signed(native)
        for i, candidate in enumerate(candidates):
            if self.speaks.get(candidate.provider) != native.dialect:
                yield i, reason

    def _untranslatable(self, native: Native) -> Reason:
        detail = f"a provider of the {native.dialect} API alone understands {'; '.join(native.only)}"
        return Reason(self.name, "untranslatable", detail, "leave that out, or configure such a provider")

    def _signed(self, native: Native) -> Reason:
        detail = f"a provider of the {native.dialect} API alone can read {'; '.join(native.signed)}"
        remedy = "go on with such a provider until the user speaks again, or leave the thinking out"
        return Reason(self.name, "signed_reasoning", detail, remedy)
