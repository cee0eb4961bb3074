"""Can the candidate do what the request needs: modalities, tools, JSON, log-probabilities, and room for the text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from ..types import Candidate, Capability, Context, Reason
from .base import Objection

WINDOW = "context_window"


class Room(NamedTuple):
    """The smallest window and the smallest longest answer of a pool, in tokens, among those that state one."""

    pool: Sequence[Candidate]
    window: float
    most: float


@dataclass(frozen=True)
class CapabilityGuard:
    """A candidate whose answer is `no` is ruled out; `forbid_unknown` says that `unknown` is as good as `no`.

    The window must hold the tokens asked for and the prompt, as counted by our own tokenizer times `margin`, since
    providers count differently. Whether it does is unknown when the window is not stated or the count was not read.
    """

    forbid_unknown: bool = False
    margin: float = 1.0
    name: str = "capability"
    _rooms: dict[int, Room] = field(default_factory=dict, init=False, repr=False, compare=False)

    def check(self, context: Context, candidates: Sequence[Candidate]) -> Iterable[Objection]:
        needs, asked = sorted(context.request.needs), context.request.max_tokens or 0
        signal = context.signals.get("tokens")
        prompt = None if signal is None or signal.value is None else int(context.number("tokens") * self.margin)
        room = self._room(candidates)
        if (
            not needs
            and room is not None
            and prompt is not None
            and prompt + asked <= room.window
            and asked <= room.most
        ):
            return
        for i, candidate in enumerate(candidates):
            for need in needs:
                answer = candidate.can(need)
                if answer is Capability.NO:
                    detail = f"it cannot do {need}"
                    yield i, Reason(self.name, f"no_{need}", detail, f"send the request without {need}")
                elif answer is Capability.UNKNOWN and self.forbid_unknown:
                    yield i, self._unknown(need)
            window, most = candidate.profile.context_window, candidate.profile.max_output
            if window is None or prompt is None:
                if self.forbid_unknown:
                    yield i, self._unknown(WINDOW)
            elif prompt + asked > window:
                detail = f"its window is {window} tokens; the prompt has about {prompt}, and {asked} are asked for"
                yield i, Reason(self.name, WINDOW, detail, "shorten the prompt or lower max_tokens")
            if most is not None and asked > most:
                detail = f"it writes at most {most} tokens, {asked} are asked for"
                yield i, Reason(self.name, "max_output", detail, "lower max_tokens")

    def _room(self, candidates: Sequence[Candidate]) -> Room | None:
        """What fits every candidate of the pool, worked out once; `None` if that cannot be said."""
        room = self._rooms.get(id(candidates))
        if room is None or room.pool is not candidates:
            profiles = [candidate.profile for candidate in candidates]
            windows = [p.context_window for p in profiles if p.context_window is not None]
            if (self.forbid_unknown and len(windows) < len(profiles)) or not isinstance(candidates, tuple):
                return None
            most = [p.max_output for p in profiles if p.max_output is not None]
            room = Room(candidates, min(windows, default=inf), min(most, default=inf))
            self._rooms.clear()
            self._rooms[id(candidates)] = room
        return room

    def _unknown(self, need: str) -> Reason:
        known = "whether the prompt fits its window" if need == WINDOW else f"whether it can do {need}"
        return Reason(self.name, f"unknown_{need}", f"{known} is not known", f"state {need} in its configuration")
