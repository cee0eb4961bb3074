"""A caller may name one candidate instead of `auto`. Then the others stand aside; every other guard still applies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..types import Candidate, Context, Reason
from .base import Objection, matches


@dataclass(frozen=True)
class Addressed:
    """`virtual` maps each virtual model to the globs of the candidates it may use."""

    virtual: Mapping[str, Sequence[str]] = field(default_factory=lambda: {"auto": ("*",)})
    name: str = "addressed"

    def check(self, context: Context, candidates: Sequence[Candidate]) -> Iterable[Objection]:
        model = context.request.model
        globs = self.virtual.get(model)
        if globs is None:
            remedy = f"ask for {' or '.join(self.virtual)}, or for this candidate"
            reason = Reason(self.name, "not_asked_for", f"the request asks for {model!r}", remedy)
            yield from ((i, reason) for i, candidate in enumerate(candidates) if candidate.name != model)
        elif "*" not in globs:
            reason = Reason(
                self.name, "not_in_model", f"it is not part of the model {model!r}", "ask for another model"
            )
            yield from ((i, reason) for i, candidate in enumerate(candidates) if not matches(candidate, globs))
