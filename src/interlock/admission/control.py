"""Admission control: what a request may cost at most is set aside before it is routed, its real cost counted after.

lease = await control.admit(identity, request)    OverBudget, Throttled, CounterUnreachable
... route lease.request ...
lease.settle(outcome)                          whatever happened, exactly once
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import msgspec

from ..errors import CounterUnreachable, OverBudget, Throttled
from ..guards.base import matches
from ..guards.budget import WorstCase, most_tokens
from ..identity import UNLIMITED, Allowance, Budget, Identity
from ..types import Candidate, Outcome, Request
from .counter import Ask, Cap, Counter, LocalCounter, Open, Rate, Settlement, Verdict
from .fold import Readable, Spent, accounts_of, came, fold
from .headers import rate_headers, warning
from .money import charge, nano, nano_up, usd
from .windows import Line, spans

BOUNDLESS = 1 << 52  # nano-dollars: where a budget is soft only
UNCOUNTED = "several processes write this ledger, and budgets and limits need a Redis in which they count together"
EXPECTED_ANSWER = 256  # tokens taken from a bucket for an answer of unknown length; the rest follows with the real ones


@dataclass(frozen=True)
class Terms:
    """What a configuration says of admission; a reload replaces it.

    `tenants` maps names to what each may use, `models` the virtual models to globs of their candidates.
    """

    tenants: Mapping[str, Allowance] = field(default_factory=dict)
    models: Mapping[str, Sequence[str]] = field(default_factory=dict)
    candidates: Sequence[Candidate] = ()
    worst: WorstCase = field(default_factory=WorstCase)
    _eligible: dict[tuple[str, tuple[str, ...]], list[Candidate]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def eligible(self, model: str, globs: tuple[str, ...]) -> list[Candidate]:
        """The candidates that may answer to this name, as far as a key may use them."""
        known = self._eligible.get((model, globs))
        if known is None:
            named = self.models.get(model)
            asked = [c for c in self.candidates if (c.name == model if named is None else matches(c, named))]
            known = self._eligible[model, globs] = [candidate for candidate in asked if matches(candidate, globs)]
        return known


@dataclass(frozen=True)
class Standing:
    """One budget of one account at present, in USD."""

    account: str
    budget: Budget
    used: float
    reserved: float
    ends: float


class Lease:
    """A request let in. `request` is the one to route; `headers` go into its answer."""

    __slots__ = ("_ask", "_control", "_granted", "_settled", "headers", "request")

    def __init__(self, control: AdmissionControl, request: Request, ask: Ask, granted: int, headers: bytes) -> None:
        self.request, self.headers = request, headers
        self._control, self._ask, self._granted, self._settled = control, ask, granted, False

    def settle(self, outcome: Outcome | None) -> None:
        """Give back what was reserved and count what was spent; `None` when nothing was carried out."""
        if not self._settled:
            self._settled = True
            self._control.settle(self._ask, self._granted, outcome)


class AdmissionControl:
    """`counter` counts, `terms` say what is allowed.

    `tell` hears of what happens (`warning`, `budget` or `rate`), in which scope (`key`, `tenant`), to which window or
    rate.
    """

    def __init__(
        self,
        counter: Counter,
        terms: Terms | None = None,
        *,
        clock: Callable[[], float] = time.time,
        tell: Callable[[str, str, str], None] = lambda what, scope, name: None,
    ) -> None:
        self.counter, self.terms, self._clock, self._tell = counter, terms or Terms(), clock, tell
        self._since: dict[str, tuple[Ask, int]] | None = None
        self.writer = ""
        """The life of this process, where several count one ledger together: see `Decision.writer`."""
        self.alone = True
        """Whether the counter sees all that is written to the ledger; else no limit can be held."""

    async def admit(self, identity: Identity, request: Request) -> Lease:
        """Raises `OverBudget`, `Throttled`, `CounterUnreachable`."""
        allowances = self._allowances(identity, request)
        accounts = accounts_of(identity.key, request.tenant)
        at = came(request.id, self._clock())
        if all(allowance == UNLIMITED for _, allowance in allowances):
            return Lease(self, stamped(request, identity, None, self.writer), Ask(request.id, at, accounts), 0, b"")
        if not self.alone:
            raise CounterUnreachable(UNCOUNTED)
        ask, soft = self._ask(identity, request, allowances, accounts, at)
        verdict = await self.counter.reserve(ask) if ask.caps or ask.rates or ask.streams else Verdict(0)
        if verdict.against:
            raise self._denied(ask, verdict)
        warned = self._warnings(ask, soft, verdict) if ask.caps else b""
        reserved = usd(verdict.granted) if any(cap.hard < BOUNDLESS for cap in ask.caps) else None
        return Lease(
            self,
            stamped(request, identity, reserved, self.writer),
            ask,
            verdict.granted,
            warned + rate_headers(ask.rates, verdict.levels),
        )

    def settle(self, ask: Ask, granted: int, outcome: Outcome | None) -> None:
        """For the lease."""
        end = None
        if outcome is not None:
            tokens = outcome.usage.input + outcome.usage.output
            end = Settlement(charge(outcome.cost, granted), tokens)
            if self._since is not None:
                self._since[ask.id] = ask, end.cost
        if ask.accounts:
            self.counter.settle(ask, granted, end)

    async def standings(self, accounts: Mapping[str, Allowance]) -> list[Standing]:
        """Every budget of the accounts as it is now: the figures that admission enforces."""
        now = self._clock()
        asked = [
            (account, budget, line_of(account, budget.window, now))
            for account, allowance in accounts.items()
            for budget in allowance.budgets
        ]
        counted = await self.counter.usage([line for *_, line in asked])
        return [
            Standing(account, budget, usd(used), usd(reserved), line.end)
            for (account, budget, line), (used, reserved) in zip(asked, counted, strict=True)
        ]

    async def used(self, accounts: Sequence[str]) -> dict[str, dict[str, float]]:
        """USD by account and window."""
        now = self._clock()
        asked = [Line(account, *span) for account in accounts for span in spans(now)]
        found: dict[str, dict[str, float]] = {account: {} for account in accounts}
        for line, (used, _) in zip(asked, await self.counter.usage(asked), strict=True):
            found[line.account][line.window] = usd(used)
        return found

    async def catch_up(self, ledger: Readable, mine: LocalCounter) -> None:
        """Set `mine` to what the ledger says has been spent, while requests go on. Raises `LedgerError`."""
        self._since = {}
        try:
            now = self._clock()
            await ledger.flush()
            found: Spent = await asyncio.to_thread(lambda: fold(ledger, now, ledger.head()[0]))
            mine.restore(found.totals)
            for ask, cost in (kept for id, kept in self._since.items() if id not in found.late):
                mine.settle(ask._replace(rates=(), streams=()), 0, Settlement(cost, 0))
        finally:
            self._since = None

    def _allowances(self, identity: Identity, request: Request) -> list[tuple[str, Allowance]]:
        of_tenant = self.terms.tenants.get(request.tenant, UNLIMITED)
        return [(f"key:{identity.key}", identity.allowance), (f"tenant:{request.tenant}", of_tenant)]

    def _ask(
        self,
        identity: Identity,
        request: Request,
        allowances: Sequence[tuple[str, Allowance]],
        accounts: tuple[str, ...],
        at: float,
    ) -> tuple[Ask, list[float | None]]:
        """What to reserve, and the soft budget beside each cap."""
        caps, rates, streams, soft = list[Cap](), list[Rate](), list[Open](), list[float | None]()
        prompt = -1
        for account, allowance in allowances:
            for budget in allowance.budgets:
                line = line_of(account, budget.window, at)
                caps.append(Cap(line, BOUNDLESS if budget.hard_usd is None else nano(budget.hard_usd)))
                soft.append(budget.soft_usd)
            limits = allowance.limits
            if limits.requests_per_minute is not None:
                rates.append(Rate(account, "requests", limits.requests_per_minute, 1))
            if limits.tokens_per_minute is not None:
                prompt = most_tokens(request) if prompt < 0 else prompt
                amount = prompt // 4 + (request.max_tokens or EXPECTED_ANSWER)
                rates.append(Rate(account, "tokens", limits.tokens_per_minute, amount))
            if limits.parallel_streams is not None and request.stream:
                streams.append(Open(account, limits.parallel_streams))
        hard = any(cap.hard < BOUNDLESS for cap in caps)
        least, most = self._bounds(identity, request, prompt) if hard else (0, 0)
        return Ask(request.id, at, accounts, tuple(caps), tuple(rates), tuple(streams), least, most), soft

    def _bounds(self, identity: Identity, request: Request, prompt: int) -> tuple[int, int]:
        """What the cheapest and the dearest eligible candidate may cost at most, in nano-dollars.

        Those of unknown cost are not among them: the budget's guard rules them out.
        """
        prompt = most_tokens(request) if prompt < 0 else prompt
        eligible = self.terms.eligible(request.model, identity.candidates)
        costs = [self.terms.worst.cost(request, candidate, prompt) for candidate in eligible]
        known = [nano_up(cost) for cost in costs if cost is not None and math.isfinite(cost)]
        return (min(known), max(known)) if known else (0, 0)

    def _warnings(self, ask: Ask, soft: Sequence[float | None], verdict: Verdict) -> bytes:
        headers = []
        for cap, budget, (used, reserved) in zip(ask.caps, soft, verdict.room, strict=True):
            if budget is not None and used + reserved > nano(budget):
                self._tell("warning", cap.line.account.split(":", 1)[0], cap.line.window)
                headers.append(warning(cap.line, usd(used), budget))
        return b"".join(headers)

    def _denied(self, ask: Ask, verdict: Verdict) -> OverBudget | Throttled:
        if verdict.against == "budget":
            cap, (used, reserved) = ask.caps[verdict.which], verdict.room[verdict.which]
            scope, name = cap.line.account.split(":", 1)
            self._tell("budget", scope, cap.line.window)
            only_reserved = cap.hard - used >= ask.least
            return OverBudget(
                scope=scope,
                name=name,
                window=cap.line.window,
                used=usd(used),
                reserved=usd(reserved),
                limit=usd(cap.hard),
                needed=usd(ask.least),
                ends=None if cap.line.window == "total" else float(cap.line.end),
                retry_after=1.0 if only_reserved else None if cap.line.window == "total" else cap.line.end - ask.at,
            )
        if verdict.against == "streams":
            account, limit = ask.streams[verdict.which]
            kind = "streams"
        else:
            account, kind, limit, _ = ask.rates[verdict.which]
        scope, name = account.split(":", 1)
        self._tell("rate", scope, kind)
        headers = rate_headers(ask.rates, verdict.levels)
        return Throttled(scope=scope, name=name, limited=kind, limit=limit, retry_after=verdict.wait, headers=headers)


def stamped(request: Request, identity: Identity, reserved: float | None = None, writer: str = "") -> Request:
    """The request with what is known of who sent it, and of who counts it."""
    globs = None if "*" in identity.candidates else identity.candidates
    if not identity.key and globs is None and reserved is None and not writer:
        return request
    return msgspec.structs.replace(request, key=identity.key, allowed=globs, reserved=reserved, writer=writer)


@lru_cache(4096)
def _line(account: str, window: str, hour: int) -> Line:
    return next(Line(account, *span) for span in spans(hour * 3600.0) if span.window == window)


def line_of(account: str, window: str, at: float) -> Line:
    return _line(account, window, int(at // 3600))
