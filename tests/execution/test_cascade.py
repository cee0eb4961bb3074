import pytest

from interlock.errors import ConfigError, Overloaded, Rejected
from interlock.execution import Cascade, Fallback

COSTS = {"a": {"cost": 1.0}, "b": {"cost": 3.0}, "c": {"cost": 2.0}}


async def text_of(run):
    return "".join([chunk.text async for chunk in run])


def story(world):
    return [(step.candidate, step.why, step.error) for step in world.outcomes[0].steps]


async def test_a_confident_cheap_answer_is_enough(world, answer):
    w = world(a=[answer(["dear"])], b=[answer(["cheap"], confidence=0.8)])
    run = w.start(strategy=Cascade(threshold=0.7), rows={"a": {"cost": 2.0}, "b": {"cost": 1.0}})
    assert await text_of(run) == "cheap"
    assert story(w) == [("b", "chosen", "")]
    assert run.candidate.name == "b"


async def test_an_unsure_answer_escalates_and_every_stage_is_paid(world, answer):
    w = world(
        a=[answer(["a"], confidence=0.5, energy=1.0)],
        b=[answer(["b"], confidence=0.1, energy=4.0)],
        c=[answer(["c"], confidence=0.69, energy=2.0)],
    )
    run = w.start(strategy=Cascade(threshold=0.7), rows=COSTS, stream=True)
    assert await text_of(run) == "b"
    assert story(w) == [("a", "chosen", ""), ("c", "escalation", ""), ("b", "escalation", "")]
    outcome = run.outcome
    assert outcome.candidate == "b"
    assert outcome.cost == pytest.approx(3 * 15 / 1e6)
    assert outcome.usage.input == 30
    assert outcome.energy == 7.0
    assert [step.confidence for step in outcome.steps] == [0.5, 0.69, 0.1]


async def test_an_answer_without_confidence_does_not_convince(world, answer):
    w = world(a=[answer(["a"])], b=[answer(["b"])])
    assert await text_of(w.start(strategy=Cascade(threshold=0.0), rows=COSTS)) == "b"


@pytest.mark.parametrize(
    ("verdict", "confidence", "served"),
    [(True, 0.1, "a"), (False, 0.9, "b"), (None, 0.9, "a"), (None, 0.1, "b"), (True, None, "a")],
)
async def test_the_verifiers_word_counts_before_confidence(world, answer, verdict, confidence, served):
    asked = []

    def verifier(text):
        asked.append(text)
        return verdict

    w = world(a=[answer(["x", "y"], confidence=confidence)], b=[answer(["b"])])
    run = w.start(strategy=Cascade(verifier=verifier), rows=COSTS, stream=True)
    await text_of(run)
    assert run.candidate.name == served
    assert asked == ["xy"]


async def test_a_stage_that_may_be_rejected_is_held_back_and_the_last_streams_through(world, answer):
    w = world(a=[answer(["a1", "a2"], confidence=0.1)], b=[answer(["b1", "b2"])])
    run = w.start(strategy=Cascade(), rows=COSTS, stream=True)
    first = await anext(run)
    assert first.text == "b1"
    assert w.closed == ["a"]  # b is still going
    await run.aclose()
    assert w.closed == ["a", "b"]
    assert w.outcomes[0].error == "cancelled"


async def test_configured_stages_lose_the_forbidden_ones(world, answer):
    w = world(a=[answer(confidence=0.0)], b=[answer(confidence=0.0)], c=[answer(["c"])])
    run = w.start(strategy=Cascade(stages=("c", "b", "a")), rows=COSTS, forbidden=["c"])
    await text_of(run)
    assert w.calls == ["b", "a"]


async def test_only_so_many_stages_and_the_dearest_is_last(world, answer):
    w = world(**{name: [answer(confidence=0.0)] for name in "abcde"})
    rows = {name: {"cost": float(number)} for number, name in enumerate("abcde")}
    await text_of(w.start(strategy=Cascade(max_stages=2), rows=rows))
    assert w.calls == ["a", "e"]


async def test_unknown_costs_come_last(world, answer):
    w = world(a=[answer(confidence=0.0)], b=[answer(confidence=0.0)], c=[answer(confidence=0.0)])
    await text_of(w.start(strategy=Cascade(), rows={"b": {"cost": 2.0}, "c": {"cost": 1.0}}))
    assert w.calls == ["c", "b", "a"]


async def test_a_stage_that_fails_is_left_for_the_next(world, answer):
    w = world(a=[answer(error=Overloaded("x"))], b=[answer(["b"], confidence=0.9)])
    assert await text_of(w.start(strategy=Cascade(), rows=COSTS)) == "b"
    assert story(w) == [("a", "chosen", "provider_overloaded"), ("b", "fallback", "")]


async def test_a_rejected_request_goes_no_further(world, answer):
    w = world(a=[answer(error=Rejected("x"))], b=[answer()])
    with pytest.raises(Rejected):
        await text_of(w.start(strategy=Cascade(), rows=COSTS))
    assert w.calls == ["a"]


async def test_the_best_answer_held_back_is_better_than_none(world, answer):
    w = world(
        a=[answer(["a"], confidence=0.2)],
        c=[answer(["c"], confidence=0.6)],
        b=[answer(error=Overloaded("x"))],
    )
    run = w.start(strategy=Cascade(threshold=0.9), rows=COSTS)
    assert await text_of(run) == "c"
    assert (run.outcome.candidate, run.outcome.error) == ("c", "")
    assert run.outcome.steps[-1].error == "provider_overloaded"


async def test_attempts_bound_a_cascade_too(world, answer):
    w = world(a=[answer(["a"], confidence=0.2)], b=[answer()], c=[answer(["c"], confidence=0.1)])
    run = w.start(strategy=Cascade(), rows=COSTS, fallback=Fallback(max_attempts=1))
    assert await text_of(run) == "a"
    assert w.calls == ["a"]
    assert [step.error for step in run.outcome.steps] == ["", "attempts", "attempts"]


async def test_all_stages_fail(world, answer):
    w = world(a=[answer(error=Overloaded("x"))], b=[answer(error=Overloaded("y"))])
    with pytest.raises(Overloaded, match="b: y"):
        await text_of(w.start(strategy=Cascade(), rows=COSTS))


@pytest.mark.parametrize("wrong", [{"threshold": 1.5}, {"threshold": float("nan")}, {"max_stages": 0}])
def test_wrong_settings_are_configuration_errors(wrong):
    with pytest.raises(ConfigError):
        Cascade(**wrong)


async def test_it_can_begin_at_the_candidate_that_was_chosen(world, answer):
    w = world(a=[answer(["a"], confidence=0.1)], b=[answer(["b"])], c=[answer(["c"], confidence=0.1)])
    run = w.start(strategy=Cascade(from_choice=True), rows=COSTS, chosen="c")
    assert await text_of(run) == "b"
    assert story(w) == [("c", "chosen", ""), ("b", "escalation", "")]
