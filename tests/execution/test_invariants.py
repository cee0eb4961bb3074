"""Whatever providers do and whenever the caller leaves, these hold for every strategy."""

import asyncio
import inspect
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from interlock import errors
from interlock.errors import ProviderError, Skipped
from interlock.execution import Cascade, Fallback, Single

NAMES = "abcd"
LEAVES = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, ProviderError)]


@st.composite
def errors_of(draw):
    kind = draw(st.sampled_from([*LEAVES, ValueError]))
    if kind is ValueError:
        return ValueError("x")
    if kind is Skipped:
        return Skipped("x", cause="breaker_open")
    return kind("x", retry_after=draw(st.none() | st.floats(0, 5)))


answers = st.fixed_dictionaries(
    {
        "pieces": st.lists(st.sampled_from(["x", "yy"]), max_size=3),
        "error": st.none() | errors_of(),
        "seconds": st.floats(0, 4),
        "confidence": st.none() | st.floats(0, 1),
    }
)
cases = st.fixed_dictionaries(
    {
        "scripts": st.fixed_dictionaries({name: st.lists(answers, min_size=1, max_size=3) for name in NAMES}),
        "forbidden": st.sets(st.sampled_from(NAMES), max_size=3),
        "shut": st.sets(st.sampled_from(NAMES)),
        "costs": st.fixed_dictionaries({name: st.floats(0, 1) | st.just(float("nan")) for name in NAMES}),
        "strategy": st.sampled_from([Single(), Cascade(), Cascade(stages=("d", "a"), max_stages=2)]),
        "limits": st.tuples(st.integers(1, 5), st.integers(0, 3)),
        "deadline": st.floats(0, 20),
        "stream": st.booleans(),
        "leave_after": st.none() | st.integers(0, 3),
    }
)


@given(cases)
def test_invariants(world, answer, case):
    world = world(**{name: [answer(**one) for one in script] for name, script in case["scripts"].items()})
    world.shut = case["shut"]
    attempts, retries = case["limits"]
    began = world.now
    run = world.start(
        strategy=case["strategy"],
        fallback=Fallback(max_attempts=attempts, retries=retries),
        forbidden=case["forbidden"],
        rows={name: {"cost": cost} for name, cost in case["costs"].items()},
        deadline=case["deadline"],
        stream=case["stream"],
    )
    late = []
    send = world.send

    def watched(call):
        late.append(world.now - began >= case["deadline"])
        return send(call)

    world.send = watched
    seen = asyncio.run(consume(run, case["leave_after"]))

    assert not case["forbidden"] & set(world.calls)
    assert not case["shut"] & set(world.calls)
    assert len(world.calls) <= attempts
    assert all(world.calls.count(name) <= retries + 1 for name in NAMES)
    assert not any(late)
    assert world.begun == []
    assert sorted(world.closed) == sorted(world.calls)
    [outcome] = world.outcomes
    assert outcome is run.outcome
    called = [step for step in outcome.steps if step.error not in ("breaker_open", "deadline", "attempts")]
    assert [step.candidate for step in called] == world.calls
    assert len(world.ends) == len(world.calls)
    assert (outcome.candidate is None) <= (not seen)
    if not outcome.error:
        assert outcome.candidate in world.calls
        assert seen


async def consume(run, leave_after):
    """Chunks seen, leaving early if so many have been."""
    seen = []
    with suppress(ProviderError):
        while leave_after is None or len(seen) < leave_after:
            chunk = await anext(run, None)
            if chunk is None:
                return seen
            seen.append(chunk)
    await run.aclose()
    return seen
