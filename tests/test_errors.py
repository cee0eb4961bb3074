"""Every error says whose turn it is, travels in the OpenAI shape, and stands in the tree that opens the file."""

from __future__ import annotations

import inspect
import re

import pytest

from interlock import errors
from interlock.errors import (
    Busy,
    ConfigError,
    InterlockError,
    LedgerCorrupt,
    ProviderError,
    Refused,
    RequestError,
    Skipped,
    nearest,
)

LEAVES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, InterlockError)]


def test_the_drawn_tree_is_the_real_one() -> None:
    drawn: dict[str, str] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"^ {4}([│├└─ ]*)([A-Z]\w+)( {2,}\S.*)?$", line):
            depth, name = len(found[1]) // 4, found[2]
            above[depth:] = [name]
            if depth:
                drawn[name] = above[depth - 1]
    real = {kind.__name__: kind.__base__.__name__ for kind in LEAVES if kind is not InterlockError and kind.__base__}
    assert drawn == real


@pytest.mark.parametrize("kind", LEAVES, ids=lambda kind: kind.__name__)
def test_every_error_has_an_http_status_and_a_code(kind: type[InterlockError]) -> None:
    assert 400 <= kind.status <= 599
    assert re.fullmatch(r"[a-z_]+", kind.code)
    assert kind.kind.endswith("_error") or kind.kind == "insufficient_quota"  # as OpenAI says it
    assert (kind.status < 500) or kind.kind == "server_error"


def test_providers_errors_differ_by_code() -> None:
    codes = [kind.code for kind in LEAVES if issubclass(kind, ProviderError)]
    assert len(set(codes)) == len(codes), "the fallback table is keyed by them"


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ({}, "is wrong"),
        ({"path": "policy.seed"}, "policy.seed: is wrong"),
        ({"file": "a.yaml"}, "a.yaml: is wrong"),
        ({"file": "a.yaml", "line": 7, "path": "x"}, "a.yaml:7: x: is wrong"),
    ],
)
def test_a_configuration_error_says_where(place: dict[str, object], text: str) -> None:
    error = ConfigError("is wrong", **place)  # type: ignore[arg-type]
    assert str(error) == error.message == text
    assert error.problem == "is wrong"


def test_a_refusal_lists_every_candidate() -> None:
    error = Refused({"a": ["too dear", "too slow"], "b": ["not allowed"]}, "il-1")
    assert str(error) == "no candidate may serve this request (a: too dear, too slow; b: not allowed)"
    assert (error.reasons["a"], error.decision_id) == (["too dear", "too slow"], "il-1")
    assert "the pool is empty" in str(Refused({}))


def test_a_provider_error_names_its_candidate_once_it_is_known() -> None:
    error = ProviderError("full", retry_after=2.0, upstream_status=503)
    assert str(error) == "full"
    error.candidate = "small"
    assert str(error) == "small: full"
    assert (error.retry_after, error.upstream_status) == (2.0, 503)
    skipped = Skipped("its breaker is open", cause="breaker_open", candidate="small")
    assert (skipped.cause, str(skipped)) == ("breaker_open", "small: its breaker is open")


def test_what_a_caller_needs_to_act() -> None:
    assert Busy("full", retry_after=3.0).retry_after == 3.0
    assert LedgerCorrupt("does not verify", 12).seq == 12
    wrong = RequestError("no such model", param="model", code="model_not_found")
    assert (wrong.param, wrong.code, RequestError.code) == ("model", "model_not_found", "invalid_request")


def test_the_nearest_name_is_offered() -> None:
    assert nearest("thomson", ["thompson", "greedy"]) == "did you mean 'thompson'?"
    assert nearest("xyz", ["b", "a"]) == "known: a, b"
    assert nearest("xyz", []) == "none is known"
