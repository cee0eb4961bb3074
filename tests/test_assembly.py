"""Every block of a configuration becomes the part it describes; the embedded pool answers for real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from interlock.assembly import assemble, build_plan, build_policy, from_settings, provider_of, trust_of
from interlock.config import Document, from_document
from interlock.config.settings import ProviderSettings
from interlock.errors import ConfigError, LedgerError
from interlock.execution import Cascade, Single
from interlock.ledger import SqliteLedger
from interlock.offered import embedded
from interlock.router import Router
from interlock.types import Capability, Decision, Message, Request

CANDIDATE = {
    "name": "full",
    "provider": "near",
    "model": "m1",
    "budget": "high",
    "price": {"in": 1, "out": 2, "cached": 0.5},
    "context_window": 1000,
    "max_output": 100,
    "capabilities": {"tools": True, "json": False, "image": "unknown", "audio": "yes"},
    "trust": "private",
    "options": {"reasoning_effort": "high"},
    "quality": 0.7,
    "output_tokens": 50,
    "ttft_s": 0.2,
    "tokens_per_second": 100,
    "joules_per_token": 0.3,
}
BARE = {"name": "bare", "provider": "far", "model": "m2"}


def ask(text: str, **fields: Any) -> Request:
    return Request(messages=(Message("user", text),), **fields)


async def test_candidates_carry_everything_that_is_configured(scripted: Any) -> None:
    full, bare = build_plan(scripted.settings(candidates=[CANDIDATE, BARE])).candidates
    assert (full.name, full.provider, full.model, full.budget) == ("full", "near", "m1", "high")
    assert full.options == {"reasoning_effort": "high"}
    known = full.profile
    assert (known.price_in, known.price_out, known.price_cached) == (1, 2, 0.5)
    assert (known.context_window, known.max_output, known.trust, known.quality) == (1000, 100, "private", 0.7)
    assert (known.output_tokens, known.ttft, known.tokens_per_second, known.joules_per_token) == (50, 0.2, 100, 0.3)
    answers = [full.can(need) for need in ("tools", "json", "image", "audio", "video")]
    yes, no, unknown = Capability.YES, Capability.NO, Capability.UNKNOWN
    assert answers == [yes, no, unknown, yes, unknown]
    assert (bare.profile.price_in, bare.profile.price_cached, bare.profile.quality) == (None, None, None)
    assert bare.can("tools") is unknown


async def test_guards_stand_as_configured(scripted: Any) -> None:
    always = [guard.name for guard in build_plan(scripted.settings()).guards.guards]
    assert always == ["addressed", "access", "budget", "capability", "dialect", "health"]
    rule = {"name": "long", "when": "signals.tokens > 100.0", "forbid": ["cheap"]}
    blocks = {"trust": {"allow": ["public"]}, "rules": [rule], "limits": {"max_cost_usd": 0.5}}
    plan = build_plan(scripted.settings(guards=blocks))
    assert [guard.name for guard in plan.guards.guards] == [*always, "trust", "rules"]
    assert [guard.limits.max_cost for guard in plan.guards.estimate_guards] == [0.5]
    assert {"pii", "tokens"} <= {source.name for source in plan.reader.sources}, "what guards look at is computed"


async def test_execution_stands_as_configured(scripted: Any) -> None:
    assert isinstance(build_plan(scripted.settings()).executor.strategy, Single)
    own = {
        "strategy": "cascade",
        "threshold": 0.6,
        "stages": ["cheap", "good"],
        "max_stages": 2,
        "max_attempts": 3,
        "retries": 2,
        "backoff_s": 0.1,
        "patience_s": 1.0,
        "deadline_s": 9.0,
        "actions": {"provider_timeout": "refuse"},
    }
    executor = build_plan(scripted.settings(execution=own)).executor
    assert executor.strategy == Cascade(threshold=0.6, stages=("cheap", "good"), max_stages=2)
    rules = executor.fallback
    assert (rules.max_attempts, rules.retries, rules.backoff, rules.patience, rules.deadline) == (3, 2, 0.1, 1.0, 9.0)
    assert rules.actions == {"provider_timeout": "refuse"}


async def test_a_cache_stands_as_configured_and_outlives_a_reload_that_leaves_the_candidates(scripted: Any) -> None:
    assert build_plan(scripted.settings()).executor.recall is None
    own = {"semantic": True, "similarity": 0.9, "ttl_s": 5, "entries": 7, "max_bytes": 8}
    plan = build_plan(scripted.settings(cache=own))
    recall = plan.executor.recall
    assert recall is not None
    cache = recall.cache
    assert (recall.semantic, cache.similarity, cache.ttl, cache.entries, cache.size) == (True, 0.9, 5, 7, 8)
    policy = {"seed": 3}
    assert build_plan(scripted.settings(cache=own, policy=policy), previous=plan).executor.recall is recall
    others = scripted.settings(cache=own, candidates=[CANDIDATE, BARE])
    assert build_plan(others, previous=plan).executor.recall is not recall
    exact = build_plan(scripted.settings(cache={"exact": True})).executor.recall
    assert exact is not None
    assert (exact.semantic, exact.cache.similarity) == (False, 2.0)


async def test_health_and_policy_stand_as_configured(scripted: Any) -> None:
    health = {"failures": 2, "pause_s": 1.5, "longest_s": 9.0, "probes": 1, "jitter": 0.1, "ejectable": 1.0,
              "longest_rest_s": 3.0}  # fmt: skip
    policy = {
        "estimator": {"kind": "constant"},
        "objective": {"kind": "weighted", "quality": 2.0, "cost": 3.0},
        "exploration": {"kind": "epsilon", "rate": 0.25},
        "default_order": ["good"],
    }
    plan = build_plan(scripted.settings(guards={"health": health}, policy=policy))
    board = plan.board
    assert (board.failures, board.pause, board.longest, board.probes) == (2, 1.5, 9.0, 1)
    assert (board.jitter, board.ejectable, board.longest_rest) == (0.1, 1.0, 3.0)
    assert set(board.circuits) == {"cheap", "good"}
    made = build_policy(plan.settings, plan.reader)
    assert made.name == "constant+weighted+epsilon"
    assert (made.exploration.rate, made.objective.quality, made.objective.cost) == (0.25, 2.0, 3.0)
    assert made.columns == plan.reader.columns
    assert plan.default_order == ("good",)


async def test_models_and_providers_may_never_judge(scripted: Any) -> None:
    trust = trust_of(scripted.settings(learner={"source_weights": {"judge": 0.5}, "tenant_weights": {"acme": 2.0}}))
    assert trust.barred == {"near", "far", "cheap", "good", "m1", "m2"}
    assert (trust.sources, trust.tenants) == ({"judge": 0.5}, {"acme": 2.0})


def test_a_secret_comes_from_the_environment() -> None:
    block = ProviderSettings("openai", base_url="http://127.0.0.1:9/v1", api_key="env:SOME_KEY")
    provider_of("far", block, {"SOME_KEY": "sk-1"})
    with pytest.raises(ConfigError, match="SOME_KEY is not set"):
        provider_of("far", block, {})


async def test_a_ledger_another_router_writes_is_refused(scripted: Any) -> None:
    scripted.router()
    with pytest.raises(LedgerError, match="writes this ledger already"):
        from_settings(scripted.settings(), Router)


async def test_a_ledger_folder_that_cannot_be_made_is_the_operators_turn(scripted: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made") as wrong:
        from_settings(scripted.settings(ledger={"path": str(tmp_path / "file" / "ledger.db")}), Router)
    assert wrong.value.path == "ledger.path"


async def test_a_file_with_a_mistake_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "interlock.yaml"
    path.write_text("providers:\n  far: {kind: opnai}\ncandidates:\n  - {name: a, provider: far, model: m}\n")
    with pytest.raises(ConfigError, match="openai") as wrong:
        assemble(str(path), Router)
    assert (wrong.value.file, wrong.value.line) == (str(path), 2)


async def test_the_embedded_pool_answers_learns_and_remembers(tmp_path: Path) -> None:
    """The default configuration over the shipped models, whole and streamed."""
    ledger = {"ledger": {"path": str(tmp_path / "ledger.db"), "payload": True}}
    router = from_settings(from_document(Document(embedded() | ledger)), Router, because="a test")
    whole = await router.route(ask("Please add 47 to 85 for me."))
    run = await router.start(ask("Please add 47 to 85 for me.", stream=True))
    pieces = [chunk.text async for chunk in run]
    assert len(pieces) > 1
    for answer in (whole.outcome, run.outcome):
        assert answer.error == ""
        assert answer.usage.output > 0
        assert answer.cost > 0
    assert whole.text
    assert all(row.permitted for row in whole.decision.considered)
    assert whole.decision.vector.shape == (len(router.plan.reader.columns),)
    await router.close()
    with SqliteLedger(tmp_path / "ledger.db") as again:
        kinds = [row.kind for row in again.rows()]
        assert (kinds.count("decision"), kinds.count("outcome")) == (2, 2)
        case = again.decision(whole.decision.id)
        assert isinstance(case.decision, Decision)
        assert case.prompt is not None
        assert "47" in case.prompt
