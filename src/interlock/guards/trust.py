"""Where data may go: a request that a signal calls sensitive is seen only by candidates of certain trust domains."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..types import Candidate, Context, Reason
from .base import Objection


@dataclass(frozen=True)
class Trust:
    """Unless `signal` is false (also when it was not read), only candidates with a `trust` in `allow` are permitted."""

    signal: str = "pii"
    allow: Sequence[str] = ("private",)
    name: str = "trust"

    def check(self, context: Context, candidates: Sequence[Candidate]) -> Iterable[Objection]:
        signal = context.signals.get(self.signal)
        value = None if signal is None else signal.value
        if value is False:
            return
        why = f"the signal {self.signal} is set" if value else f"the signal {self.signal} could not be read"
        remedy = "remove the sensitive data, or use a candidate of that domain"
        for i, candidate in enumerate(candidates):
            domain = candidate.profile.trust
            if domain not in self.allow:
                detail = f"{why}, and its trust domain is {domain!r}, not {' or '.join(map(repr, self.allow))}"
                yield i, Reason(self.name, "trust_domain", detail, remedy)
