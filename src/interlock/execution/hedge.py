"""A second request for a first one that is slow to begin: whoever gives something first answers.

A hedge cuts the tail of the latency at the price of a few more calls. It goes to another permitted candidate, is drawn
from the retry budget like every other repeated call, and the loser is cancelled; both are steps of the outcome.

Source: Dean, Barroso, "The Tail at Scale", CACM 2013 (hedged requests).
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from ..errors import ProviderError, Skipped
from ..providers.base import Chunks
from ..types import Candidate, Chunk
from .calls import Calls

Runner = tuple[Chunks, Candidate]


async def hedged(calls: Calls, first: Candidate, second: Candidate, why: str, after: float) -> Chunks:
    """The chunks of `first`; or of `second`, asked as well once `first` has been silent for `after` seconds.

    Sets `calls.served`. Raises `ProviderError` when both fail: the first one's, unless that one was never called.
    """
    racing: dict[asyncio.Task[Chunk | None], Runner] = {}
    failed: dict[str, ProviderError] = {}
    try:
        _begin(racing, (calls.send(first, why), first))
        await asyncio.wait(racing, timeout=after)
        if not any(task.done() for task in racing):
            _begin(racing, (calls.send(second, "hedge"), second))
        while racing:
            done, _ = await asyncio.wait(racing, return_when=asyncio.FIRST_COMPLETED)
            task = next(task for task in racing if task in done)  # in order of asking, when both are there
            chunks, asked = racing.pop(task)
            try:
                chunk = task.result()
            except ProviderError as error:
                failed[asked.name] = error
                continue
            await _stop(racing)
            async with aclosing(chunks):
                while chunk is not None:
                    calls.served = asked
                    yield chunk
                    chunk = await anext(chunks, None)
            return
    finally:
        await _stop(racing)
    called = [name for name in (first.name, second.name) if not isinstance(failed.get(name), Skipped | None)]
    raise failed[called[0] if called else first.name]


def _begin(racing: dict[asyncio.Task[Chunk | None], Runner], runner: Runner) -> None:
    racing[asyncio.ensure_future(_first(runner[0]))] = runner


async def _first(chunks: Chunks) -> Chunk | None:
    return await anext(chunks, None)


async def _stop(racing: dict[asyncio.Task[Chunk | None], Runner]) -> None:
    """End every call that is still racing, so that its step is written before the outcome is."""
    for task in racing:
        task.cancel()
    await asyncio.gather(*racing, return_exceptions=True)
    for chunks, _ in racing.values():
        await chunks.aclose()
    racing.clear()
