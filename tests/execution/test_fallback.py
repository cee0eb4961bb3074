import pytest

from interlock import errors
from interlock.errors import (
    ConfigError,
    Garbled,
    Overloaded,
    ProviderError,
    RateLimited,
    Rejected,
    TooLong,
    Unauthenticated,
    Unreachable,
)
from interlock.execution import TABLE, Action, Fallback


async def text_of(run):
    return "".join([chunk.text async for chunk in run])


def story(world):
    return [(step.candidate, step.why, step.error) for step in world.outcomes[0].steps]


def test_every_provider_error_has_an_action_of_its_own():
    leaves = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ProviderError)}
    assert set(TABLE) == leaves


def test_a_strangers_error_takes_the_action_of_its_nearest_ancestor():
    class Odd(TooLong):
        code = "odd"

    assert Fallback().action(Odd("x")) is Action.NEXT
    assert Fallback(actions={"context_length_exceeded": "refuse"}).action(Odd("x")) is Action.REFUSE


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"actions": {"provider_time_out": "next"}}, "did you mean 'provider_timeout'"),
        ({"actions": {"provider_timeout": "retri"}}, "did you mean 'retry'"),
        ({"max_attempts": 0}, "at least 1"),
        ({"backoff": -1.0}, "at least 0"),
        ({"patience": float("nan")}, "at least 0"),
    ],
)
def test_wrong_settings_are_configuration_errors(settings, problem):
    with pytest.raises(ConfigError, match=problem) as caught:
        Fallback(**settings)
    assert caught.value.path.startswith("execution.")


async def test_the_next_candidate_answers_for_one_that_is_overloaded(world, answer):
    w = world(a=[answer(error=Overloaded("x"))], b=[answer(["b"])])
    run = w.start()
    assert await text_of(run) == "b"
    assert story(w) == [("a", "chosen", "provider_overloaded"), ("b", "fallback", "")]
    assert run.candidate.name == run.outcome.candidate == "b"
    assert w.pauses == []


async def test_an_unreachable_candidate_is_tried_once_more_after_a_pause(world, answer):
    w = world(a=[answer(error=Unreachable("x")), answer(["a"])], b=[answer(["b"])])
    assert await text_of(w.start(fallback=Fallback(backoff=0.2))) == "a"
    assert story(w) == [("a", "chosen", "provider_unreachable"), ("a", "retry", "")]
    assert w.pauses == [pytest.approx(0.2)]


async def test_pauses_double(world, answer):
    w = world(a=[answer(error=Unreachable("x"))])
    with pytest.raises(Unreachable):
        await text_of(w.start(fallback=Fallback(retries=3, backoff=0.1, max_attempts=9)))
    assert w.pauses == [pytest.approx(0.1), pytest.approx(0.2), pytest.approx(0.4)]


@pytest.mark.parametrize(("asked", "story_of"), [(1.5, ["a", "a"]), (30.0, ["a", "b"])])
async def test_a_short_retry_after_is_waited_out_and_a_long_one_is_not(world, answer, asked, story_of):
    w = world(a=[answer(error=RateLimited("x", retry_after=asked)), answer()], b=[answer()])
    await text_of(w.start(fallback=Fallback(patience=2.0)))
    assert w.calls == story_of
    assert all(pause >= asked for pause in w.pauses)
    assert w.ends[0] == ("a", "provider_rate_limited", asked)


async def test_a_pause_that_the_deadline_does_not_allow_is_not_made(world, answer):
    w = world(a=[answer(error=RateLimited("x", retry_after=1.5))], b=[answer()])
    await text_of(w.start(deadline=1.0))
    assert (w.calls, w.pauses) == (["a", "b"], [])


async def test_a_wrong_request_goes_to_nobody_else(world, answer):
    w = world(a=[answer(error=Rejected("x"))], b=[answer()])
    with pytest.raises(Rejected, match="a: x"):
        await text_of(w.start())
    assert w.calls == ["a"]


async def test_what_is_too_long_for_one_may_fit_another(world, answer):
    w = world(a=[answer(error=TooLong("x"))], b=[answer(["b"])])
    assert await text_of(w.start()) == "b"


async def test_the_table_can_be_overridden(world, answer):
    w = world(a=[answer(error=Overloaded("x"))], b=[answer()])
    with pytest.raises(Overloaded):
        await text_of(w.start(fallback=Fallback(actions={"provider_overloaded": "refuse"})))
    w = world(a=[answer(error=Rejected("x"))], b=[answer(["b"])])
    assert await text_of(w.start(fallback=Fallback(actions={"provider_rejected_request": "next"}))) == "b"


async def test_the_last_error_is_raised_when_all_fail(world, answer):
    w = world(a=[answer(error=Overloaded("x"))], b=[answer(error=Unauthenticated("y"))])
    with pytest.raises(Unauthenticated):
        await text_of(w.start())
    assert w.outcomes[0].error == "provider_authentication"
    assert w.outcomes[0].candidate is None


async def test_a_providers_error_is_worth_more_than_a_skipped_call(world, answer):
    w = world(a=[answer(error=Overloaded("x"))], b=[answer()])
    w.shut = {"b"}
    with pytest.raises(Overloaded):
        await text_of(w.start())


async def test_an_answer_already_begun_is_not_replaced(world, answer):
    w = world(a=[answer(["half "], error=Garbled("x"))], b=[answer()])
    seen = []
    with pytest.raises(Garbled):
        await into(seen, w.start(stream=True))
    assert seen == ["half "]
    assert w.calls == ["a"]
    assert w.outcomes[0].candidate == "a"
    assert w.outcomes[0].error == "provider_garbled"


async def into(seen, run):
    async for chunk in run:
        seen.append(chunk.text)


async def test_before_the_first_chunk_a_stream_can_still_go_elsewhere(world, answer):
    w = world(a=[answer([], error=Unreachable("x"))], b=[answer(["b1", "b2"])])
    assert await text_of(w.start(stream=True)) == "b1b2"


async def test_an_open_breaker_is_a_recorded_step_without_a_call(world, answer):
    w = world(a=[answer()], b=[answer(["b"])])
    w.shut = {"a"}
    assert await text_of(w.start()) == "b"
    assert story(w) == [("a", "chosen", "breaker_open"), ("b", "fallback", "")]
    assert w.calls == ["b"]


async def test_every_breaker_open(world, answer):
    w = world(a=[answer()], b=[answer()])
    w.shut = {"a", "b"}
    with pytest.raises(errors.Skipped, match="breaker"):
        await text_of(w.start())
    assert w.calls == []
    assert w.outcomes[0].cost == 0.0


async def test_a_strangers_exception_becomes_a_provider_error_without_its_text(world, answer, caplog):
    w = world(a=[answer(error=KeyError("the prompt"))], b=[answer(["b"])])
    assert await text_of(w.start()) == "b"
    assert story(w)[0] == ("a", "chosen", "provider_error")
    assert "KeyError" in caplog.text
    assert "the prompt" not in caplog.text


async def test_no_call_begins_that_cannot_finish(world, answer):
    w = world(a=[answer(error=Overloaded("x"), seconds=3.0)], b=[answer()], c=[answer(["c"])])
    run = w.start(deadline=5.0, rows={"b": {"latency": 2.5}, "c": {"latency": 1.0}})
    assert await text_of(run) == "c"
    assert story(w) == [
        ("a", "chosen", "provider_overloaded"),
        ("b", "fallback", "deadline"),
        ("c", "fallback", ""),
    ]


async def test_attempts_are_bounded(world, answer):
    w = world(**{name: [answer(error=Overloaded("x"))] for name in "abcdef"})
    with pytest.raises(Overloaded):
        await text_of(w.start(fallback=Fallback(max_attempts=3)))
    assert w.calls == ["a", "b", "c"]
    assert [step.error for step in w.outcomes[0].steps[3:]] == ["attempts"] * 3
