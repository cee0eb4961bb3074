"""A running router changes its configuration, and ends.

Both happen on the router's event loop, with everything slow in threads. So the plan and the policy are swapped between
two decisions, never during one, and what was begun on the old plan is carried out on it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from .assembly import UNTRAINED, build_plan, build_policy, start_learner
from .config import Settings
from .errors import ConfigError
from .plan import Plan, Served
from .policy import Policy
from .providers import Provider, close_all
from .router import Router

log = logging.getLogger("interlock.lifecycle")

LOOK_EVERY = 1.0  # seconds between looks whether the last run on an old plan has ended


async def reload(router: Router, settings: Settings) -> None:
    """Serve `settings` from the next decision on. What has been learnt is kept, or folded anew from the ledger.

    Runs under way end on the old plan; then the providers that are gone from the configuration are closed. Goes on to
    its end even if the caller is cancelled. Raises `ConfigError` or whatever building raises, and then the old
    configuration goes on serving.
    """
    await asyncio.shield(_reload(router, settings))


async def _reload(router: Router, settings: Settings) -> None:
    async with router.changing:
        old, before, learner = router.plan, router.served, router.learner
        if settings.ledger != old.settings.ledger:
            raise ConfigError("the ledger is opened at the start; restart to change it", path="ledger")
        plan = await asyncio.to_thread(build_plan, settings, because=old.because, previous=old)
        stopped = False
        try:
            policy = build_policy(settings, plan.reader)
            served = await asyncio.to_thread(_carried_over, before, old, plan, policy.clone())
            if learner is not None:
                await asyncio.to_thread(router.ledger.head)  # while it cannot be read, no learner could start
                await asyncio.to_thread(learner.stop)
                stopped = True
            router.plan, router.served = plan, served
            router.learner = await asyncio.to_thread(start_learner, settings, policy, router.ledger, router.adopt)
        except BaseException:
            if stopped:
                router.plan, router.served = old, before
                again = build_policy(old.settings, old.reader)
                router.learner = await asyncio.to_thread(
                    start_learner, old.settings, again, router.ledger, router.adopt
                )
            await close_all(_gone(plan, old))
            raise
        router.leaving = asyncio.create_task(_let_go(router.leaving, old, _gone(old, plan)))


async def release(router: Router) -> None:
    """End everything a router runs, in the order that loses nothing. Safe to call twice."""
    async with router.changing:
        if router.learner is not None:
            await asyncio.to_thread(router.learner.stop)
        if router.leaving is not None and not router.leaving.done():
            router.leaving.cancel()
            await asyncio.wait([router.leaving])
        try:
            await close_all(router.plan.executor.providers.values())
        finally:
            await asyncio.to_thread(router.ledger.close)


def _carried_over(served: Served, old: Plan, plan: Plan, policy: Policy) -> Served:
    """What serves until the learner publishes: the state learnt so far, if it means the same under the new plan."""
    if _learning(old) == _learning(plan):
        return Served(policy.restore(served.policy.state()).prepare(), served.snapshot, served.degraded)
    return Served(policy.prepare(), UNTRAINED)


def _learning(plan: Plan) -> object:
    """What a learnt state depends on."""
    own = plan.settings
    return own.policy.estimator, own.policy.consumption, own.learner, own.vector, own.signals, plan.reader.columns


def _gone(plan: Plan, other: Plan) -> list[Provider]:
    """The providers of `plan` that `other` does not have."""
    kept = {id(provider) for provider in other.executor.providers.values()}
    return [provider for provider in plan.executor.providers.values() if id(provider) not in kept]


async def _let_go(earlier: asyncio.Task[None] | None, plan: Plan, dropped: Sequence[Provider]) -> None:
    """Close the `dropped` providers once every run begun on `plan` or on an `earlier` one has ended; or when cancelled.

    The first look comes late enough for a decision that was made before the swap and begins after it.
    """
    try:
        if earlier is not None:
            await earlier
        while True:
            await asyncio.sleep(LOOK_EVERY)
            if all(run.ended for run in plan.runs):
                return
    finally:
        try:
            await close_all(dropped)
        except Exception:
            log.exception("a provider that left the configuration could not be closed")
