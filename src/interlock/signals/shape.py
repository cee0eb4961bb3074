"""Shape of the conversation: turns, and whether it is inside a tool loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..types import Request, Signal
from .base import Reading, log_scale


@dataclass(frozen=True)
class Shape:
    """`value` is empty, single, multi (several user turns) or tool_loop (tools called since the last user turn)."""

    name: ClassVar[str] = "shape"
    requires: ClassVar[tuple[str, ...]] = ()
    columns: ClassVar[tuple[str, ...]] = ("turns", "user_turns", "tool_calls", "rounds", "system", "tools_offered")

    def read(self, request: Request, seen: Mapping[str, Reading]) -> Reading:
        roles = [message.role for message in request.messages]
        user_turns = roles.count("user")
        since_user = roles[::-1].index("user") if user_turns else len(roles)
        calls = sum(len(message.tool_calls or ()) for message in request.messages)
        rounds = sum(1 for message in request.messages[len(roles) - since_user :] if message.tool_calls)
        offered = request.body.get("tools") or ()
        in_loop = rounds > 0 or "tool" in roles[len(roles) - since_user :]
        value = "tool_loop" if in_loop else "multi" if user_turns > 1 else "single" if roles else "empty"
        columns = (
            log_scale(len(roles), 100),
            log_scale(user_turns, 50),
            log_scale(calls, 50),
            log_scale(rounds, 20),
            float("system" in roles or "developer" in roles),
            log_scale(len(offered) if isinstance(offered, list | tuple) else 0, 64),
        )
        return Reading(Signal(self.name, value), columns)
