"""A caller may name one candidate instead of `auto`. Then the others stand aside; every other guard still applies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from ..types import Candidate, Context, Reason
from .base import Objection


@dataclass(frozen=True)
class Addressed:
    """`virtual` maps each virtual model to the globs of the candidates it may use."""

    virtual: Mapping[str, Sequence[str]] = field(default_factory=lambda: {"auto": ("*",)})
    name: str = "addressed"

    def check(self, context: Context, candidates: Sequence[Candidate]) -> Iterable[Objection]:
        model = context.request.model
        globs = self.virtual.get(model)
        if globs is not None:
            if tuple(globs) == ("*",):
                return
            reason = Reason(self.name, "not_in_model", f"is not part of the model {model!r}", "ask for `auto`")
            yield from (
                (i, reason) for i, c in enumerate(candidates) if not any(fnmatchcase(c.name, glob) for glob in globs)
            )
            return
        reason = Reason(self.name, "not_asked_for", f"the request asks for {model!r}", "ask for `auto` or for this candidate")
        yield from ((i, reason) for i, candidate in enumerate(candidates) if candidate.name != model)
