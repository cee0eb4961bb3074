"""Settings -> the running parts. The only place that knows how each block of the configuration becomes an object."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from .affinity import Affinity, saving
from .caching import Cache
from .config import Settings, from_document, load
from .config.document import Document
from .config.load import secret
from .config.settings import CandidateSettings, PolicySettings, PrivacySettings, ProviderSettings
from .consumption import Consumption
from .errors import ConfigError
from .estimators import ESTIMATORS
from .execution import STRATEGIES, Cascade, Executor, Fallback, Recall, RetryBudget, Strategy
from .exploration import EXPLORATIONS
from .guards import (
    Access,
    Addressed,
    Board,
    BudgetGuard,
    CapabilityGuard,
    Dialect,
    Guard,
    Guards,
    Health,
    LimitsGuard,
    Rule,
    Rules,
    Trust,
    WorstCase,
)
from .learning.learner import Learner, Publish
from .learning.trust import Trust as JudgeTrust
from .ledger import Ledger, open_ledger
from .ledger.database import is_url, located
from .masking import Masking
from .objectives import OBJECTIVES
from .offered import Offer, offer
from .plan import Plan, Served
from .policy import Policy
from .providers import PROVIDERS, Provider
from .providers import Limits as HttpLimits
from .router import Router
from .signals import Reader
from .signals import build as build_reader
from .types import Candidate, Capability, Limits, Profile

log = logging.getLogger("interlock.assembly")

R = TypeVar("R", bound=Router)
UNTRAINED = "none"


def assemble(path: str | None, router: type[R], *, ledger: str | None = None) -> R:
    """A router from a configuration file, or from what the environment offers. Raises `ConfigError`."""
    settings, because = configured(path)
    return from_settings(settings, router, ledger=ledger, because=because)


def configured(path: str | None) -> tuple[Settings, str]:
    """The settings of a configuration file, or of what the environment offers, and which it was.

    Raises `ConfigError`.
    """
    found = Offer(Document.read(Path(path)), path) if path else offer()
    for note in found.notes:
        log.info("%s", note)
    return from_document(found.document), found.because


def from_settings(settings: Settings, router: type[R], *, ledger: Ledger | str | None = None, because: str = "") -> R:
    """A router with its ledger open and its learner folding. Raises `ConfigError`, `LedgerError`.

    `ledger` is one that is open, or the place of another than the configuration's.
    """
    plan = build_plan(settings, because=because)
    policy = build_policy(settings, plan.reader)
    book = ledger if isinstance(ledger, Ledger) else ledger_of(settings, ledger)
    try:
        made = router(plan, Served(policy.prepare(), UNTRAINED), book)
        made.learner = start_learner(settings, policy, made.ledger, made.adopt)
    except BaseException:
        book.close()
        raise
    return made


def ledger_of(settings: Settings, place: str | None = None) -> Ledger:
    """The ledger of a configuration, or of another place. Raises `ConfigError`, `LedgerError`."""
    own = settings.ledger
    where = located(place or own.url or own.path)
    if not place and own.url and not is_url(where):
        problem = f"the variable {own.url.removeprefix('env:')} holds no postgresql:// URL"
        raise ConfigError(problem, path="ledger.url")
    if is_url(where):
        return open_ledger(where, payload=own.payload, linger=0.0, spool=Path(own.spool) if own.spool else None)
    return open_ledger(_writable(Path(where)), payload=own.payload, linger=0.0)


def start_learner(settings: Settings, policy: Policy, ledger: Ledger, publish: Publish | None) -> Learner | None:
    """A learner that folds the ledger and publishes new snapshots, unless it is switched off."""
    if not settings.learner.enabled:
        return None
    own = settings.learner
    trust = trust_of(settings)
    learner = Learner(ledger, policy.clone(), publish, trust=trust, interval=own.interval_s, keep=own.keep)
    return learner.start()


def trust_of(settings: Settings) -> JudgeTrust:
    """How much each source's and tenant's scores count; models and providers may never judge."""
    own = settings.learner
    models = {name for block in settings.candidates for name in (block.name, block.model)}
    return JudgeTrust(
        sources=own.source_weights,
        tenants=own.tenant_weights,
        barred=frozenset(settings.providers) | models,
        earned=own.robust,
    )


def build_plan(settings: Settings, *, because: str = "", previous: Plan | None = None) -> Plan:
    """Everything of a configuration but its policy.

    Across a reload breakers keep their state, and unchanged providers run on.
    """
    candidates = tuple(candidate_of(block, settings.providers[block.provider]) for block in settings.candidates)
    board = board_of(settings, previous)
    board.register({candidate.name: candidate.domain for candidate in candidates})
    reader = build_reader(settings.signal_names(), settings.signals, settings.vector)
    guards = guards_of(settings, board)
    own = settings.execution
    fallback = Fallback(
        max_attempts=own.max_attempts,
        retries=own.retries,
        backoff=own.backoff_s,
        patience=own.patience_s,
        deadline=own.deadline_s,
        hedge_after=own.hedge_after_s,
        actions=own.actions,
    )
    budget = RetryBudget(
        own.retry_budget.share,
        own.retry_budget.floor,
        own.retry_budget.window_s,
        balances={} if previous is None else previous.executor.budget.balances,
    )
    providers = providers_of(settings, previous)  # last: they hold threads, and nothing after this should fail
    return Plan(
        candidates=candidates,
        reader=reader,
        guards=guards,
        executor=Executor(
            providers,
            candidates,
            strategy_of(settings),
            board,
            fallback,
            budget,
            default_order=settings.policy.default_order,
            traced=settings.telemetry.sample if settings.telemetry.otlp_endpoint else None,
            recall=recall_of(settings, previous),
        ),
        board=board,
        default_order=settings.policy.default_order,
        settings=settings,
        config=settings.hash,
        because=because,
        affinity=affinity_of(settings, candidates, previous),
    )


def build_policy(settings: Settings, reader: Reader, own: PolicySettings | None = None) -> Policy:
    """The composition, untrained: what candidates' profiles say is all it knows. `own` in the place of `policy`."""
    own = own or settings.policy
    return Policy(
        estimator=_member(ESTIMATORS, own.estimator),
        objective=_member(OBJECTIVES, own.objective),
        exploration=_member(EXPLORATIONS, own.exploration),
        consumption=Consumption(**own.consumption),
        columns=reader.columns,
    )


def _member(family: Mapping[str, type[Any]], block: Mapping[str, Any]) -> Any:
    parameters = dict(block)
    return family[parameters.pop("kind")](**parameters)


def recall_of(settings: Settings, previous: Plan | None) -> Recall | None:
    """The cache; across a reload it is kept while the candidates are the same."""
    own = settings.cache
    if not (own.exact or own.semantic):
        return None
    if previous is not None:
        before = previous.settings
        now = settings.cache, settings.candidates, settings.providers
        if (before.cache, before.candidates, before.providers) == now:
            return previous.executor.recall
    similarity = own.similarity if own.semantic else 2.0
    return Recall(Cache(own.ttl_s, own.entries, own.max_bytes, similarity), own.semantic)


def affinity_of(settings: Settings, candidates: Sequence[Candidate], previous: Plan | None) -> Affinity:
    """Who has which conversation in its cache; across a reload it is kept while the candidates are the same."""
    own = settings.affinity
    if previous is not None:
        before = previous.settings
        now = settings.affinity, settings.candidates, settings.providers
        if (before.affinity, before.candidates, before.providers) == now:
            return previous.affinity
    return Affinity(saving(candidates) if own.enabled else frozenset(), own.lifetime_s, own.entries, own.busy)


def strategy_of(settings: Settings) -> Strategy:
    own = settings.execution
    if own.strategy == "cascade":
        promising = settings.policy.objective["kind"] == "promise"
        return Cascade(own.threshold, own.stages, own.max_stages, from_choice=promising)
    return STRATEGIES[own.strategy]()


def guards_of(settings: Settings, board: Board) -> Guards:
    """All guards of a configuration, cheapest first."""
    own = settings.guards
    hard: list[Guard] = [
        Addressed({name: model.candidates for name, model in settings.models.items()}),
        Access(own.access.tenants, own.access.default),
        BudgetGuard(worst_case(settings)),
        CapabilityGuard(own.capability.forbid_unknown, own.capability.margin),
        Dialect({name: getattr(PROVIDERS[block.kind], "speaks", "") for name, block in settings.providers.items()}),
        Health(board),
    ]
    if own.trust is not None:
        hard.append(Trust(own.trust.signal, own.trust.allow))
    if own.rules:
        hard.append(Rules([Rule(rule.name, rule.when, rule.forbid, rule.because, rule.allow) for rule in own.rules]))
    limits = Limits(own.limits.max_cost_usd, own.limits.deadline_s, own.limits.min_quality)
    return Guards(hard, [LimitsGuard(limits)])


def worst_case(settings: Settings) -> WorstCase:
    """What one request may cost at most: a cascade pays for several answers."""
    own, assumed = settings.execution, settings.admission.assume
    return WorstCase(
        calls=own.max_stages if own.strategy == "cascade" else 1,
        price_in=None if assumed.price is None else assumed.price.input,
        price_out=None if assumed.price is None else assumed.price.output,
        output_tokens=assumed.output_tokens,
    )


def board_of(settings: Settings, previous: Plan | None) -> Board:
    """Circuits are carried over, but for those of a provider that is configured anew: a new key may have funds."""
    own, circuits = settings.guards.health, {}
    if previous is not None:
        before = {block.name: previous.settings.providers[block.provider] for block in previous.settings.candidates}
        now = {block.name: settings.providers[block.provider] for block in settings.candidates}
        known = previous.board.circuits
        circuits = {name: known[name] for name in now if name in known and now[name] == before.get(name)}
    return Board(
        failures=own.failures,
        pause=own.pause_s,
        longest=own.longest_s,
        probes=own.probes,
        jitter=own.jitter,
        ejectable=own.ejectable,
        longest_rest=own.longest_rest_s,
        park=own.park_s,
        longest_park=own.longest_park_s,
        circuits=circuits,
    )


def providers_of(settings: Settings, previous: Plan | None = None) -> dict[str, Provider]:
    """By name; those of `previous` whose settings are the same run on. Raises `ConfigError`, `WeightsError`."""
    same = previous is not None and previous.settings.privacy == settings.privacy
    kept = previous.executor.providers if previous is not None and same else {}
    before = {} if previous is None else previous.settings.providers
    return {
        name: kept[name] if name in kept and before.get(name) == block else masked(name, block, settings.privacy)
        for name, block in settings.providers.items()
    }


def masked(name: str, block: ProviderSettings, privacy: PrivacySettings) -> Provider:
    made = provider_of(name, block)
    return Masking(made, privacy.mask) if privacy.mask and name not in privacy.unmasked else made


def provider_of(name: str, block: ProviderSettings, environment: Mapping[str, str] = os.environ) -> Provider:
    """Raises `ConfigError` when a secret is missing, `NotFound` or `WeightsError` where pocket models are."""
    kind: type[Any] = PROVIDERS[block.kind]
    if block.kind == "pocket":
        made: Provider = kind(models=block.models, path=block.path)
    elif block.kind == "replay":
        made = kind(path=block.path)
    else:
        key = secret(block.api_key, Document({}), ("providers", name, "api_key"), environment) if block.api_key else ""
        limits = HttpLimits(
            connections=block.max_connections,
            connect=block.connect_timeout_s,
            first_byte=block.first_byte_timeout_s,
            between=block.stall_timeout_s,
        )
        base = {"base_url": block.base_url} if block.base_url else {}
        made = kind(
            **base,
            api_key=key,
            headers=block.headers,
            ca_file=block.ca_file,
            link_local=block.link_local,
            limits=limits,
        )
    return made


def candidate_of(block: CandidateSettings, provider: ProviderSettings) -> Candidate:
    price = block.price
    capabilities = {name: _capability(answer) for name, answer in block.capabilities.items()}
    return Candidate(
        name=block.name,
        provider=block.provider,
        model=block.model,
        budget=block.budget,
        options=block.options,
        quota_domain=block.quota_domain or provider.quota_domain,
        profile=Profile(
            price_in=None if price is None else price.input,
            price_out=None if price is None else price.output,
            price_cached=None if price is None else price.cached,
            price_cache_write=None if price is None else price.cache_write,
            context_window=block.context_window,
            max_output=block.max_output,
            capabilities=capabilities,
            trust=block.trust,
            quality=block.quality,
            output_tokens=block.output_tokens,
            ttft=block.ttft_s,
            tokens_per_second=block.tokens_per_second,
            joules_per_token=block.joules_per_token,
        ),
    )


def _capability(answer: bool | str) -> Capability:
    return Capability(answer) if isinstance(answer, str) else Capability.YES if answer else Capability.NO


def _writable(path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"the ledger's folder {path.parent} cannot be made: {error.strerror}", path="ledger.path"
        ) from None
    return path


__all__ = ["assemble", "build_plan", "build_policy", "from_settings", "load", "start_learner"]
