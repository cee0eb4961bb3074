"""Every member of every family keeps its family's promises, and the checks notice those who do not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest

from interlock import checks
from interlock.estimators import ESTIMATORS, Constant, Kernel, Ridge
from interlock.exploration import EXPLORATIONS, Greedy
from interlock.guards import Access, Addressed, Board, CapabilityGuard, Dialect, Health, Trust
from interlock.types import Reason

VARIANTS: dict[str, Callable[[], Any]] = {
    **ESTIMATORS,
    "ridge, forgetting": partial(Ridge, forgetting=0.99),
    "ridge, nothing shared": partial(Ridge, share=0.0),
    "kernel, few landmarks": partial(Kernel, landmarks=24),
    "constant, forgetting": partial(Constant, forgetting=0.98),
}
GUARDS: dict[str, Callable[[], Any]] = {
    "addressed": partial(Addressed, {"auto": ("*",)}),
    "access": partial(Access, {"t": ("small",)}, ("*",)),
    "capability": CapabilityGuard,
    "dialect": partial(Dialect, {"p": "messages"}),
    "health": lambda: Health(Board()),
    "trust": partial(Trust, "pii", ("private",)),
}


def members(families: Iterator[tuple[str, checks.Check]]) -> Any:
    return pytest.mark.parametrize("check", [pytest.param(check, id=f"{name}: {check}") for name, check in families])


@members((name, check) for name, factory in VARIANTS.items() for check in checks.for_estimator(factory))
def test_estimators(check: checks.Check) -> None:
    check()


@members((name, check) for name, factory in EXPLORATIONS.items() for check in checks.for_exploration(factory))
def test_explorations(check: checks.Check) -> None:
    check()


@members((name, check) for name, factory in GUARDS.items() for check in checks.for_guard(factory))
def test_guards(check: checks.Check) -> None:
    check()


def broken(family: Callable[[Callable[[], Any]], Iterator[checks.Check]], factory: Callable[[], Any]) -> set[str]:
    """The names of the checks that this member fails."""
    failed = set()
    for check in family(factory):
        try:
            check()
        except AssertionError:
            failed.add(str(check))
    return failed


class AveragesItsBatch(Constant):
    def partial_fit(self, vectors: Any, names: Any, targets: Any, weights: Any = None) -> Any:
        return super().partial_fit(vectors, names, np.full(len(names), np.mean(targets)), weights)


class CountsPredictions(Constant):
    asked = 0

    def predict(self, vectors: Any, candidates: Any, prior: Any = None) -> Any:
        self.asked += 1
        return super().predict(vectors, candidates, prior)

    def state(self) -> dict[str, Any]:
        return {**super().state(), "asked": self.asked}


def test_an_estimator_that_depends_on_batches_is_noticed() -> None:
    assert "batches_do_not_matter" in broken(checks.for_estimator, AveragesItsBatch)


def test_an_estimator_whose_predict_is_not_pure_is_noticed() -> None:
    assert "predict_changes_nothing" in broken(checks.for_estimator, CountsPredictions)


@dataclass
class Unguarded:
    def probabilities(self, utility: Any, std: Any, permitted: Any) -> Any:
        return Greedy().probabilities(utility, std, np.ones_like(permitted))


class First:
    def probabilities(self, utility: Any, std: Any, permitted: Any) -> Any:
        return np.eye(utility.shape[1])[np.argmax(np.where(permitted, utility, -np.inf), axis=1)]


def test_an_exploration_that_ignores_permission_is_noticed() -> None:
    assert {"the_forbidden_get_exactly_zero"} <= broken(checks.for_exploration, Unguarded)


def test_an_exploration_that_prefers_the_first_is_noticed() -> None:
    assert {"equals_are_treated_equally", "what_is_not_finite_gets_exactly_zero", "rows_sum_to_one"} <= broken(
        checks.for_exploration, First
    )


class Mute:
    name = "mute"

    def check(self, context: Any, candidates: Any) -> Any:
        yield len(candidates), Reason("someone else", "", "")


def test_a_guard_without_reasons_is_noticed() -> None:
    assert {"only_removes_with_a_reason", "an_empty_pool_is_fine"} <= broken(checks.for_guard, Mute)
