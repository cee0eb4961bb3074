"""One candidate answers: the one that was chosen, or the next permitted one when it fails."""

from __future__ import annotations

from dataclasses import dataclass

from ..providers.base import Chunks
from .calls import Calls
from .fallback import Walker


@dataclass(frozen=True)
class Single:
    """The chosen candidate, then the others by falling utility as the fallback table says."""

    def carry_out(self, calls: Calls, walker: Walker) -> Chunks:
        return walker.answer(calls, calls.permitted, "chosen")
