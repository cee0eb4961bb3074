"""Where data may go: when a signal says that a request is sensitive, only candidates of certain trust domains may see it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..types import Candidate, Context, Reason
from .base import Objection


@dataclass(frozen=True)
class Trust:
    """While `signal` is true, or could not be read, only candidates whose `trust` is in `allow` are permitted."""

    signal: str = "pii"
    allow: Sequence[str] = ("private",)
    name: str = "trust"

    def check(self, context: Context, candidates: Sequence[Candidate]) -> Iterable[Objection]:
        signal = context.signals.get(self.signal)
        value = None if signal is None else signal.value
        if value is False:
            return
        why = f"the signal {self.signal} is set" if value else f"the signal {self.signal} could not be read"
        for i, candidate in enumerate(candidates):
            if candidate.profile.trust not in self.allow:
                detail = f"{why}, and its trust domain is {candidate.profile.trust!r}, not {' or '.join(map(repr, self.allow))}"
                yield i, Reason(self.name, "trust_domain", detail, "remove the sensitive data, or use a candidate of that domain")
