"""Rules forbid what they say, and also when they cannot look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from interlock.errors import ConfigError
from interlock.guards import Rule, Rules
from interlock.guards.rules import CANDIDATE, REQUEST, SIGNALS, signals_in
from interlock.signals import SOURCES
from interlock.types import Candidate, Capability, Context, Profile, Request, Signal

POOL = (
    Candidate(name="near-1", provider="near", model="m", profile=Profile(price_in=1.0, trust="private")),
    Candidate(name="near-2", provider="near", model="m", profile=Profile(capabilities={"tools": Capability.YES})),
    Candidate(name="far", provider="far", model="m", profile=Profile(price_in=9.0, context_window=4096)),
)


def context(signals: Mapping[str, Any] | None = None, **fields: Any) -> Context:
    read = {name: Signal(name, value) for name, value in (signals or {}).items()}
    return Context(Request(**fields), read, np.zeros(0, np.float32))


def struck(rule: Rule, asked: Context | None = None) -> dict[str, str]:
    """The candidates a rule forbids, with the reason's text."""
    return {POOL[i].name: reason.detail for i, reason in Rules([rule]).check(asked or context(), POOL)}


def test_globs_and_expressions_name_candidates() -> None:
    assert set(struck(Rule("r", forbid=["near-*"]))) == {"near-1", "near-2"}
    assert set(struck(Rule("r", allow=["near-*"]))) == {"far"}
    assert set(struck(Rule("r", forbid="candidate.provider == 'near' && candidate.name != 'near-2'"))) == {"near-1"}
    assert set(struck(Rule("r", allow="candidate.trust == 'private'"))) == {"near-2", "far"}
    assert set(struck(Rule("r", allow="candidate.capabilities.tools == 'yes'"))) == {"near-1", "far"}
    assert set(struck(Rule("r", forbid="candidate.capabilities.tools == 'unknown'"))) == {"near-1", "far"}


def test_a_rule_holds_only_when_its_condition_does() -> None:
    rule = Rule("long", "signals.tokens > 400 && request.tenant != 'acme'", ["far"], "too long")
    assert struck(rule, context({"tokens": 500.0})) == {"far": "too long"}
    assert struck(rule, context({"tokens": 400.0})) == {}
    assert struck(rule, context({"tokens": 500.0}, tenant="acme")) == {}


def test_every_field_of_a_request_can_be_asked_for() -> None:
    asked = context(
        tenant="t", session="s", program="p", needs=frozenset({"json"}), hints={"a": "b"}, max_tokens=5, stream=True
    )
    when = (
        "request.model == 'auto' && request.tenant == 't' && request.session == 's' && request.program == 'p'"
        " && 'json' in request.needs && has(request.hints.a) && request.hints.a == 'b'"
        " && request.max_tokens == 5 && request.stream"
    )
    assert set(struck(Rule("r", when, ["far"]), asked)) == {"far"}
    assert all(name in when for name in REQUEST)


@pytest.mark.parametrize("signals", [{}, {"tokens": None}], ids=["absent", "unread"])
def test_a_condition_that_cannot_be_evaluated_forbids_and_says_so(signals: dict[str, Any]) -> None:
    found = struck(Rule("r", "signals.tokens > 400", ["far"], "too long"), context(signals))
    assert found == {"far": "too long (cannot be evaluated: 'tokens' is not known)"}
    found = struck(Rule("r", "!(signals.tokens > 400)", ["far"]), context(signals))
    assert set(found) == {"far"}
    assert struck(Rule("r", "has(signals.tokens) && signals.tokens > 400", ["far"]), context(signals)) == {}


def test_what_is_not_known_of_a_candidate_forbids_it_whichever_way_it_is_asked() -> None:
    assert (
        "cannot be evaluated: 'price_in' is not known" in struck(Rule("r", forbid="candidate.price_in > 5"))["near-2"]
    )
    assert set(struck(Rule("r", allow="candidate.price_in < 5"))) == {"near-2", "far"}
    known = "has(candidate.price_in) && candidate.price_in > 5"
    assert set(struck(Rule("r", forbid=known))) == {"far"}


def test_an_error_at_run_time_forbids() -> None:
    rule = Rule("r", "request.needs[1] == 'json' || size(request.needs) / size(request.tenant) > 1", ["far"])
    with pytest.raises(ConfigError):  # the sample has one need only: such an index is refused at load
        Rules([rule])
    divided = Rule("r", "size(request.needs) / size(request.tenant) > 1", ["far"])
    assert "ZeroDivisionError" in struck(divided, context())["far"]


def test_the_pool_is_looked_at_once_and_again_when_it_changes() -> None:
    rules = Rules([Rule("r", forbid="candidate.provider == 'far'")])
    first = [i for i, _ in rules.check(context(), POOL)]
    again = [i for i, _ in rules.check(context(), POOL)]
    turned = [i for i, _ in rules.check(context(), POOL[::-1])]
    assert (first, again, turned) == ([2], [2], [0])
    pool = list(POOL)
    assert [i for i, _ in rules.check(context(), pool)] == [2]
    del pool[0]
    assert [i for i, _ in rules.check(context(), pool)] == [1]


def test_mistakes_name_the_rule() -> None:
    with pytest.raises(ConfigError) as caught:
        Rules([Rule("one", forbid=["far"]), Rule("two", forbid="candidate.nam == 'x'")])
    assert caught.value.path == "guards.rules.two.forbid"
    assert "did you mean 'name'?" in caught.value.problem


def test_signals_are_found_in_both_spellings() -> None:
    assert signals_in("signals.pii && signals['task'] == 'signals.no' || has(signals.tokens)") == [
        "pii",
        "task",
        "tokens",
    ]


def test_rules_know_every_signal_and_every_candidate_field() -> None:
    assert set(SIGNALS) == set(SOURCES) - {"embedding"}
    fields = {"name", "provider", "model", "budget", *Profile.__struct_fields__}
    unasked = {
        "price_cached",
        "price_cache_write",
        "quality",
        "output_tokens",
        "ttft",
        "tokens_per_second",
        "joules_per_token",
    }
    assert set(CANDIDATE) == fields - unasked


@pytest.mark.parametrize("name", ["keywords", "shape", "modality", "pii", "hints", "structure"])
def test_the_sample_of_a_signal_has_the_type_that_is_read(name: str) -> None:
    reading = SOURCES[name]().read(Request(messages=()), {})
    assert type(reading.signal.value) is type(SIGNALS[name])
