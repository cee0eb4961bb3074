import time
from collections import Counter

import pytest

from interlock.errors import Garbled, Overloaded, ProviderError, RateLimited, TimedOut, Unreachable
from interlock.providers.fault import Fault, Faulty, scripted, seeded
from interlock.types import Chunk


class Three:
    def __init__(self):
        self.closed = 0

    async def send(self, call):
        try:
            for text in "abc":
                yield Chunk(raw=text.encode(), text=text)
        finally:
            self.closed += 1


async def play(fault, call, **fields):
    naps, texts, inner = [], [], Three()

    async def sleep(seconds):
        naps.append((seconds, len(texts)))

    error = None
    try:
        async for chunk in Faulty(inner, scripted([fault]), sleep).send(call(stream=True, **fields)):
            texts.append(chunk.text)
    except ProviderError as raised:
        error = raised
    return "".join(texts), error, naps, inner.closed


@pytest.mark.parametrize(
    ("fault", "text", "kind", "naps"),
    [
        (None, "abc", None, []),
        (Fault("latency", 2.0), "abc", None, [(2.0, 0)]),
        (Fault("stall", 3.0, after=2), "abc", None, [(3.0, 2)]),
        (Fault("reset"), "", Unreachable, []),
        (Fault("reset", after=1), "a", Garbled, []),
        (Fault("truncate", after=2), "ab", Garbled, []),
        (Fault("rate_limit", 7.0), "", RateLimited, []),
        (Fault("server_error"), "", Overloaded, []),
        (Fault("garbage"), "", Garbled, []),
    ],
)
async def test_each_fault(call, fault, text, kind, naps):
    got, error, slept, closed = await play(fault, call)
    assert (got, type(error) if error else None, slept) == (text, kind, naps)
    assert closed == bool(text)
    if kind is RateLimited:
        assert error.retry_after == 7.0


async def test_latency_beyond_the_deadline_is_a_timeout(call):
    text, error, naps, _ = await play(Fault("latency", 60.0), call, deadline=time.monotonic() + 1)
    assert (text, type(error)) == ("", TimedOut)
    assert naps[0][0] <= 1


async def test_a_script_ends_and_spares_what_follows(call):
    provider = Faulty(Three(), scripted([Fault("garbage"), None]))
    with pytest.raises(Garbled):
        [chunk async for chunk in provider.send(call())]
    for _ in range(3):
        assert len([chunk async for chunk in provider.send(call())]) == 3


def test_seeded_faults_are_the_same_every_time_and_as_frequent_as_asked():
    rates = {Fault("reset"): 0.3, Fault("garbage"): 0.2}
    first, second = (seeded(rates, 7) for _ in range(2))
    drawn = [first() for _ in range(4000)]
    assert drawn == [second() for _ in range(4000)]
    counts = Counter(fault.kind if fault else "none" for fault in drawn)
    assert counts["reset"] == pytest.approx(1200, abs=120)
    assert counts["garbage"] == pytest.approx(800, abs=120)


@pytest.mark.parametrize("rates", [{Fault("reset"): 1.2}, {Fault("reset"): -0.1}])
def test_impossible_rates(rates):
    with pytest.raises(ValueError, match="sum to at most 1"):
        seeded(rates, 0)
