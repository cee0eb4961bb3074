"""Steps in order on one purse: each is a decision of its own, knows what came before, and cannot overspend."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from interlock.errors import ConfigError, Refused
from interlock.pipeline import Pipeline, Purse, Step
from interlock.types import Answer, Message, Request


def passing_on(request: Request, answer: Answer) -> Request:
    return msgspec.structs.replace(request, messages=(*request.messages, Message("user", f"seen: {answer.text}")))


def ask(text: str = "What is 2 + 2?", **fields: Any) -> Request:
    return Request(messages=(Message("user", text),), **fields)


async def test_every_step_is_a_decision_whose_id_begins_with_the_request(scripted, tmp_path) -> None:
    first = scripted.router(ledger={"path": str(tmp_path / "a.db")})
    second = scripted.router(
        ledger={"path": str(tmp_path / "b.db")},
        vector=["structure", "hints"],
        signals={"hints": {"known": {"find": ["good"]}}},
    )
    done = await Pipeline([Step("find", first, passing_on), Step("answer", second)]).run(ask(id="il-1"))
    assert [answer.decision.id for answer in done.answers] == ["il-1.find", "il-1.answer"]
    assert done.text == done.answers[1].text == "yes."
    assert done.cost == pytest.approx(sum(answer.outcome.cost for answer in done.answers))
    assert done.answers[1].decision.signals["hints"].value == "find=good", (
        "the second step is told of the first's choice"
    )
    (call,) = second.plan.executor.providers["far"].calls
    assert call.request.messages[-1].content == "seen: yes."
    assert await first.ledger.knows("il-1.find")
    assert await second.ledger.knows("il-1.answer")


async def test_an_empty_purse_refuses_and_lists_every_price(scripted) -> None:
    router = scripted.router()
    with pytest.raises(Refused) as refused:
        await Pipeline([Step("answer", router)], Purse(1e-12)).run(ask())
    assert set(refused.value.reasons) == {"cheap", "good"}


async def test_what_one_step_spends_is_missing_to_the_next(scripted, tmp_path) -> None:
    first = scripted.router(ledger={"path": str(tmp_path / "a.db")})
    second = scripted.router(ledger={"path": str(tmp_path / "b.db")})
    free = await Pipeline([Step("one", first), Step("two", second)]).run(ask())
    assert [answer.decision.chosen for answer in free.answers] == ["good", "good"]
    expected = {row.candidate: row.cost for row in free.answers[0].decision.considered}
    purse = Purse(expected["good"] * 1.01)
    purse_left = purse.per_request - free.answers[0].outcome.cost
    done = await Pipeline([Step("one", first), Step("two", second)], purse).run(ask())
    second_decision = done.answers[1].decision
    for row in second_decision.considered:
        assert row.permitted == (row.cost <= purse_left)


@pytest.mark.parametrize("names", [[], ["a", "b", "a"]])
def test_no_step_or_one_twice_is_an_error(names: list[str]) -> None:
    with pytest.raises(ConfigError, match="pipeline"):
        Pipeline([Step(name, None) for name in names])  # type: ignore[arg-type]


def test_the_purse_never_gives_more_than_came_in() -> None:
    purse, spent = Purse(1.0, most=5.0), 0.0
    for n in range(1, 101):
        purse.fill()
        cost = purse.there * (0.9 if n % 7 else 0.0)
        purse.spend(cost)
        spent += cost
        assert spent <= n * 1.0 + 1e-9
        assert purse.there <= 5.0
