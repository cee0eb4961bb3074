"""A provider that misbehaves on purpose: it wraps another one and does to its answers what networks do.

Which call suffers what is a plan: `scripted`, one entry a call, or `seeded`, at random but the same every time.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal

from ..errors import Garbled, Overloaded, RateLimited, TimedOut, Unreachable
from .base import Call, Chunks, Provider, close_all

Kind = Literal["latency", "reset", "truncate", "rate_limit", "server_error", "garbage", "stall"]


@dataclass(frozen=True)
class Fault:
    """What happens to one call.

    Attributes:
        kind: `latency`: `seconds` pass before the first chunk. `stall`: they pass after `after` chunks. `reset`: the
            connection breaks after `after` chunks. `truncate`: the answer stops after `after` chunks without an end.
            `rate_limit`: 429 that asks for `seconds`. `server_error`: 503. `garbage`: something that is no answer.
        seconds: of waiting, or of the Retry-After.
        after: chunks that arrive first.
    """

    kind: Kind
    seconds: float = 0.0
    after: int = 0


Plan = Callable[[], Fault | None]


def scripted(faults: Iterable[Fault | None]) -> Plan:
    """The first call suffers the first fault, and so on; `None`, and every call after the last entry, is spared."""
    remaining = iter(faults)
    return lambda: next(remaining, None)


def seeded(rates: Mapping[Fault, float], seed: int) -> Plan:
    """Each call suffers a fault with its rate, at most one; rates sum to at most 1. Raises `ValueError` otherwise."""
    faults, weights = list(rates), list(rates.values())
    spared = 1.0 - sum(weights)
    if spared < -1e-9 or any(weight < 0 for weight in weights):
        raise ValueError(f"fault rates must be at least 0 and sum to at most 1, got {weights}")
    draw = random.Random(seed)
    return lambda: draw.choices([*faults, None], [*weights, max(0.0, spared)])[0]


@dataclass
class Faulty:
    """`inner`, with the plan's faults. `sleep` is replaced in tests."""

    inner: Provider
    plan: Plan
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def send(self, call: Call) -> Chunks:
        fault = self.plan() or Fault("latency")
        if fault.kind == "rate_limit":
            raise RateLimited("the provider answered 429", retry_after=fault.seconds, upstream_status=429)
        if fault.kind == "server_error":
            raise Overloaded("the provider answered 503", upstream_status=503)
        if fault.kind == "garbage":
            raise Garbled("the answer is not in the OpenAI chat shape: JSON is malformed")
        given = 0
        await self._strike(fault, call, given)
        async with aclosing(self.inner.send(call)) as chunks:
            async for chunk in chunks:
                yield chunk
                given += 1
                await self._strike(fault, call, given)

    async def aclose(self) -> None:
        await close_all([self.inner])

    async def _strike(self, fault: Fault, call: Call, given: int) -> None:
        """Do what is due after `given` chunks."""
        if given != fault.after:
            return
        if fault.kind == "reset":
            if given:
                raise Garbled("the answer was cut off")
            raise Unreachable("the connection was closed before the answer began")
        if fault.kind == "truncate":
            raise Garbled("the stream ended before the answer did")
        if fault.seconds and fault.kind in ("latency", "stall"):
            left = None if call.deadline is None else call.deadline - asyncio.get_running_loop().time()
            if left is not None and left < fault.seconds:
                await self.sleep(max(0.0, left))
                raise TimedOut("the deadline passed")
            await self.sleep(fault.seconds)
