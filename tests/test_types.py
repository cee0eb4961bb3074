"""The nouns derive what they can from their fields, and nothing else."""

from __future__ import annotations

import math

import numpy as np
import pytest

from interlock.types import (
    Candidate,
    Capability,
    Considered,
    Context,
    Decision,
    Message,
    Profile,
    Reason,
    Request,
    Signal,
    Slate,
    new_id,
)


def considered(name: str, *guards: str, utility: float = 0.0, probability: float = 0.0) -> Considered:
    reasons = tuple(Reason(guard, "no", "no") for guard in guards)
    return Considered(name, reasons, 0.5, 0.1, 0.0, 0.0, 0.0, utility, probability)


def decision(chosen: str | None, *rows: Considered) -> Decision:
    return Decision(
        id="il-1", at=0.0, tenant="", session="", model="auto", considered=rows, chosen=chosen, policy="p",
        snapshot="s", config="c", seed=0,
    )  # fmt: skip


def test_identifiers_are_unique_and_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len({new_id() for _ in range(1000)}) == 1000
    ids = []
    for milliseconds in (1, 999, 10**12, 10**12 + 1):
        monkeypatch.setattr("interlock.types.time.time_ns", lambda now=milliseconds: now * 1_000_000)
        ids.append(new_id("x"))
    assert ids == sorted(ids)
    assert all(id.startswith("x-") and len(id) == len("x-") + 12 + 18 for id in ids)


def test_the_text_of_a_message() -> None:
    parts = [
        {"type": "text", "text": "one"},
        {"type": "image_url", "image_url": {"url": "data:"}},
        {"type": "input_text", "text": "two"},
        {"type": "text"},
    ]
    assert Message("user", "plain").text == "plain"
    assert Message("user", parts).text == "one\ntwo\n"
    assert Message("assistant").text == ""


def test_the_prompt_is_the_last_user_turn() -> None:
    turns = (Message("system", "be brief"), Message("user", "first"), Message("assistant", "yes"))
    assert Request(messages=turns).prompt == "first"
    assert Request(messages=(*turns, Message("user", "second"), Message("tool", "42"))).prompt == "second"
    assert Request().prompt == ""


def test_a_signal_as_a_number() -> None:
    signals = {
        "tokens": Signal("tokens", 7),
        "pii": Signal("pii", True),
        "language": Signal("language", "de"),
        "broken": Signal("broken", None),
    }
    context = Context(Request(), signals, np.zeros(0, np.float32))
    assert [context.number(name, -1.0) for name in ("tokens", "pii", "language", "broken", "absent")] == [
        7.0, 1.0, -1.0, -1.0, -1.0,
    ]  # fmt: skip


def test_what_is_not_known_of_a_candidate_is_unknown() -> None:
    profile = Profile(capabilities={"tools": Capability.YES, "json": Capability.NO})
    candidate = Candidate(name="a", provider="p", model="m", profile=profile)
    assert [candidate.can(need) for need in ("tools", "json", "image")] == [
        Capability.YES, Capability.NO, Capability.UNKNOWN,
    ]  # fmt: skip
    assert Profile().price_in is None


def test_grades() -> None:
    assert considered("a").grade == "permitted"
    assert considered("a", "rules").grade == considered("a", "rules", "rules").grade == "but for rules"
    assert considered("a", "rules", "access").grade == "forbidden"
    assert not considered("a", "rules").permitted


def test_the_runner_up_is_the_best_permitted_of_those_not_chosen() -> None:
    rows = (
        considered("a", utility=1.0, probability=0.9),
        considered("b", utility=3.0, probability=0.1),
        considered("c", "rules", utility=9.0),
        considered("d", utility=2.0),
    )
    made = decision("b", *rows)
    assert made.probability == 0.1
    assert made.runner_up == rows[3]
    assert made.row("c") is rows[2]
    assert made.row("nobody") is None


def test_a_refusal_has_no_probability_and_no_runner_up() -> None:
    made = decision(None, considered("a", "rules"), considered("b", "access"))
    assert made.probability == 0.0
    assert made.runner_up is None
    assert decision(None).row(None) is None


def test_a_runner_up_of_unknown_utility_does_not_hide_a_known_one() -> None:
    rows = (considered("a", utility=2.0), considered("b", utility=math.nan), considered("c", utility=1.0))
    for order in (rows, rows[::-1]):
        found = decision("a", *order).runner_up
        assert found is not None
        assert found.candidate == "c"


def test_a_slate_is_the_sequence_of_its_rows() -> None:
    rows = (considered("a", "rules", utility=0.3), considered("b", utility=0.1, probability=1.0))
    slate = Slate.of(rows)
    assert slate == rows
    assert tuple(slate) == (slate[0], slate[1]) == slate[:] == rows
    assert (len(slate), repr(slate), hash(slate)) == (2, repr(rows), hash(rows))
    assert Slate.of(slate) is slate
    assert len(Slate.of(())) == 0
    with pytest.raises(IndexError):
        slate[2]
