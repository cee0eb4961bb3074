"""Joining a family means receiving its tests.

    @pytest.mark.parametrize("check", checks.for_estimator(MyEstimator), ids=str)
    def test_my_estimator(check):
        check()

A factory is anything that, called without arguments, gives a fresh member. A check raises `AssertionError` and says
what was promised and not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..estimators import Estimator
from ..exploration import Exploration
from ..guards import Guard
from . import estimators, explorations, guards


@dataclass(frozen=True)
class Check:
    """One promise, bound to one member. `str()` is its name."""

    name: str
    run: Callable[[], None]

    def __call__(self) -> None:
        self.run()

    def __str__(self) -> str:
        return self.name


def for_estimator(factory: Callable[[], Estimator]) -> Iterator[Check]:
    """What `estimators.base.Estimator` promises."""
    return _bound(estimators.CHECKS, factory)


def for_exploration(factory: Callable[[], Exploration]) -> Iterator[Check]:
    """What `exploration.Exploration` promises."""
    return _bound(explorations.CHECKS, factory)


def for_guard(factory: Callable[[], Guard]) -> Iterator[Check]:
    """What `guards.Guard` promises."""
    return _bound(guards.CHECKS, factory)


def _bound(checks: tuple[Callable[[Any], None], ...], factory: Callable[[], Any]) -> Iterator[Check]:
    for check in checks:
        yield Check(check.__name__, partial(check, factory))


__all__ = ["Check", "for_estimator", "for_exploration", "for_guard"]
