from __future__ import annotations

from interlock.gateway.history import History
from interlock.gateway.pool import pool
from interlock.types import Candidate, Decision, Feedback, Outcome, Profile, Step, Usage

POOL = tuple(
    Candidate(name=name, provider="p", model=name, profile=Profile(price_in=1.0)) for name in ("tiny", "large", "idle")
)


def test_shares_accuracy_cost_and_failures() -> None:
    history = History()
    for i, (name, score) in enumerate([("tiny", 1.0), ("tiny", 0.0), ("tiny", None), ("large", 1.0)]):
        history.add(
            Decision(
                id=f"d{i}", at=0.0, tenant="", session="", model="auto", considered=(), chosen=name, policy="",
                snapshot="", config="", seed=0,
            )
        )  # fmt: skip
        steps = (
            (Step("tiny", "chosen", error="provider_timeout"), Step(name, "next"))
            if name == "large"
            else (Step(name, "chosen"),)
        )
        history.add(
            Outcome(
                decision=f"d{i}",
                at=0.0,
                candidate=name,
                steps=steps,
                usage=Usage(1, 10 * i),
                cost=0.1 * i,
                latency=float(i),
            )
        )
        if score is not None:
            history.add(Feedback(decision=f"d{i}", at=0.0, score=score, source="s"))
    tiny, large, idle = pool(
        POOL, history.decisions(), {"tiny": {"breaker": "open", "resting": 1.5, "last_error": "provider_timeout"}}
    )
    assert (tiny["answers"], tiny["share"], tiny["judged"], tiny["quality"]) == (3, 0.75, 2, 0.5)
    assert (tiny["failures"], large["failures"]) == (1, 0)
    assert (tiny["breaker"], large["breaker"]) == ("open", None)
    assert (tiny["latency"], tiny["output_tokens"]) == (1.0, 10.0)
    assert abs(tiny["cost"] - 0.1) < 1e-12
    assert (idle["answers"], idle["share"], idle["quality"], idle["cost"], idle["price"]["in"]) == (
        0,
        0.0,
        None,
        None,
        1.0,
    )
