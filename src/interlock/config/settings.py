"""What can be configured. Units stand in the names; every field has a default where a sane one exists."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal

import msgspec

from ..identity import Budget, RateLimits, Role

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Price = Annotated[float, msgspec.Meta(ge=0, le=100_000)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$")]


class Part(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Base of every block: a key that does not exist is an error."""


class ProviderSettings(Part, frozen=True):
    """Somewhere answers come from. `kind` is openai, anthropic, pocket or replay; `api_key` is `env:NAME`; `models`
    are the pocket models to load, all that ship where none is named."""

    kind: str
    base_url: str = ""
    api_key: str = ""
    headers: dict[str, str] = {}
    ca_file: str = ""
    path: str = ""
    models: tuple[str, ...] = ()
    max_connections: Count = 64
    connect_timeout_s: Positive = 5.0
    first_byte_timeout_s: Positive = 300.0
    stall_timeout_s: Positive = 60.0
    quota_domain: str = ""
    link_local: bool = False


class PriceSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, rename={"input": "in", "output": "out"}):
    """USD per million tokens."""

    input: Price
    output: Price
    cached: Price | None = None
    cache_write: Price | None = None


class CandidateSettings(Part, frozen=True):
    """One thing that can be chosen: a model of a provider at one budget."""

    name: Name
    provider: str
    model: str
    budget: str = ""
    price: PriceSettings | None = None
    context_window: Count | None = None
    max_output: Count | None = None
    capabilities: dict[str, bool | str] = {}
    trust: str = "public"
    options: dict[str, Any] = {}
    quality: Share | None = None
    output_tokens: Positive | None = None
    ttft_s: Positive | None = None
    tokens_per_second: Positive | None = None
    joules_per_token: NotNegative | None = None
    quota_domain: str = ""


class CapabilitySettings(Part, frozen=True):
    forbid_unknown: bool = False
    margin: Annotated[float, msgspec.Meta(ge=1, le=4)] = 1.0


class AccessSettings(Part, frozen=True):
    tenants: dict[str, tuple[str, ...]] = {}
    default: tuple[str, ...] = ("*",)


class TrustSettings(Part, frozen=True):
    signal: str = "pii"
    allow: tuple[str, ...] = ("private",)


class LimitsSettings(Part, frozen=True):
    max_cost_usd: NotNegative | None = None
    deadline_s: Positive | None = None
    min_quality: Share | None = None


class HealthSettings(Part, frozen=True):
    failures: Count = 5
    pause_s: Positive = 5.0
    longest_s: Positive = 120.0
    probes: Count = 2
    jitter: Share = 0.3
    ejectable: Share = 0.5
    longest_rest_s: Positive = 60.0
    park_s: Positive = 60.0
    longest_park_s: Positive = 3600.0


class RuleSettings(Part, frozen=True):
    """`when` is CEL over `request` and `signals`; `forbid` or `allow` is CEL over `candidate`, or a list of globs."""

    name: Name
    when: str = "true"
    forbid: str | tuple[str, ...] | None = None
    allow: str | tuple[str, ...] | None = None
    because: str = ""


class GuardsSettings(Part, frozen=True):
    """Which hard constraints hold. `trust` is off until it is configured; the others are always on."""

    capability: CapabilitySettings = CapabilitySettings()
    access: AccessSettings = AccessSettings()
    trust: TrustSettings | None = None
    limits: LimitsSettings = LimitsSettings()
    health: HealthSettings = HealthSettings()
    rules: tuple[RuleSettings, ...] = ()


class PolicySettings(Part, frozen=True):
    """Blocks of parameters; the `kind` of the first three says whose parameters they are."""

    estimator: dict[str, Any] = msgspec.field(default_factory=lambda: {"kind": "ridge", "forgetting": 0.998})
    objective: dict[str, Any] = msgspec.field(default_factory=lambda: {"kind": "weighted", "quality": 1.0})
    exploration: dict[str, Any] = msgspec.field(default_factory=lambda: {"kind": "thompson"})
    consumption: dict[str, Any] = {}
    default_order: tuple[str, ...] = ()
    seed: int = 0


class RetryBudgetSettings(Part, frozen=True):
    """Retries are at most `share` of the calls, beside a `floor` that comes back within `window_s`."""

    share: Share = 0.1
    floor: NotNegative = 10.0
    window_s: Positive = 10.0


class ShadowSettings(Part, frozen=True):
    """A second policy that decides on every request and executes nothing: the parts in which it differs from `policy`.

    `preset` gives all three parts as published; a part that stands beside it comes first.
    """

    preset: str = ""
    estimator: dict[str, Any] = {}
    objective: dict[str, Any] = {}
    exploration: dict[str, Any] = {}


class ExecutionSettings(Part, frozen=True):
    strategy: str = "single"
    threshold: Share = 0.7
    stages: tuple[str, ...] = ()
    max_stages: Count = 3
    max_attempts: Count = 4
    retries: Annotated[int, msgspec.Meta(ge=0, le=10)] = 1
    backoff_s: NotNegative = 0.2
    patience_s: NotNegative = 2.0
    deadline_s: Positive = 600.0
    retry_budget: RetryBudgetSettings = RetryBudgetSettings()
    hedge_after_s: Positive | None = None
    actions: dict[str, str] = {}


class PrivacySettings(Part, frozen=True):
    """Entities of these kinds are replaced before a provider sees them, and restored in its answer."""

    mask: tuple[str, ...] = ()
    unmasked: tuple[str, ...] = ()


class TelemetrySettings(Part, frozen=True):
    """Traces go to an OpenTelemetry collector when it is named. Read at the start."""

    otlp_endpoint: str = ""
    service_name: str = "interlock"
    sample: Share = 1.0
    interval_s: Positive = 1.0
    queue: Count = 2048
    logs: Literal["text", "json"] = "text"


class LedgerSettings(Part, frozen=True):
    """`payload` keeps prompts, answers and quoting evidence, in a separate erasable table. Off unless asked for.

    The ledger is the SQLite file `path`, or, for several gateways, the PostgreSQL database whose URL is in the variable
    that `url` names (`env:NAME`). In the folder `spool` rows wait while that database does not answer; empty for none.
    """

    path: str = ".interlock/ledger.db"
    url: str = ""
    spool: str = ".interlock/spool"
    payload: bool = False


class LearnerSettings(Part, frozen=True):
    enabled: bool = True
    interval_s: Positive = 0.2
    keep: Count = 20
    source_weights: dict[str, NotNegative] = {}
    tenant_weights: dict[str, NotNegative] = {}
    robust: bool = True


class KeySettings(Part, frozen=True):
    """A static key: `key` is `env:NAME`, and `NAME` is what it is called in decisions, budgets and the ledger."""

    tenant: Name
    key: str
    role: Role = "viewer"
    candidates: tuple[str, ...] = ("*",)
    budgets: tuple[Budget, ...] = ()
    limits: RateLimits = RateLimits()


class JwtSettings(Part, frozen=True):
    """Signed bearer tokens. One of `jwks_url`, `public_key` (`env:NAME`, PEM) and `secret` (`env:NAME`) verifies."""

    issuer: str
    audience: str
    jwks_url: str = ""
    public_key: str = ""
    secret: str = ""
    algorithms: tuple[str, ...] = ("RS256",)
    tenant_claim: str = "tenant"
    key_claim: str = "sub"
    role_claim: str = "role"
    roles: dict[str, Role] = msgspec.field(
        default_factory=lambda: {"viewer": "viewer", "operator": "operator", "admin": "admin"}
    )
    tenant: str = ""
    candidates: tuple[str, ...] = ("*",)
    budgets: tuple[Budget, ...] = ()
    limits: RateLimits = RateLimits()


class ServerSettings(Part, frozen=True):
    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8400
    keys: tuple[KeySettings, ...] = ()
    jwt: JwtSettings | None = None
    max_body_bytes: Count = 8 * 1024 * 1024
    max_head_bytes: Count = 64 * 1024
    idle_timeout_s: Positive = 75.0
    receive_timeout_s: Positive = 60.0
    send_timeout_s: Positive = 60.0
    drain_s: NotNegative = 0.0
    grace_s: Count = 30
    reload_every_s: Positive = 1.0


class TenantSettings(Part, frozen=True):
    """What all keys of a tenant may use together."""

    budgets: tuple[Budget, ...] = ()
    limits: RateLimits = RateLimits()


class AssumeSettings(Part, frozen=True):
    """What a candidate that does not state them may cost at most, where a hard budget has to hold."""

    price: PriceSettings | None = None
    output_tokens: Count | None = None


class AdmissionSettings(Part, frozen=True):
    """`redis` is `redis://host:port/0`, or `env:NAME` where the address holds a password."""

    keys: str = ""
    redis: str = ""
    prefix: Name = "interlock"
    when_lost: Literal["local", "refuse"] = "local"
    assume: AssumeSettings = AssumeSettings()


class ResponsesSettings(Part, frozen=True):
    """Where answers of /v1/responses are kept for their callers: in memory, or in a SQLite file. Read at the start."""

    path: str = ""
    retention_s: Positive = 86_400.0
    entries: Count = 10_000
    max_bytes: Count = 64 * 1024 * 1024


class CacheSettings(Part, frozen=True):
    """Answers given again: to the same request (`exact`), also to one that asks it in other words (`semantic`)."""

    exact: bool = False
    semantic: bool = False
    similarity: Share = 0.85
    ttl_s: Positive = 3600.0
    entries: Count = 10_000
    max_bytes: Count = 256 * 1024 * 1024


class AffinitySettings(Part, frozen=True):
    """A conversation's next turn costs less where its beginning is cached; the estimates say so unless switched off."""

    enabled: bool = True
    lifetime_s: Positive = 300.0
    entries: Count = 10_000
    busy: Count = 64


class ModelSettings(Part, frozen=True):
    """A virtual model: the name callers ask for, and globs of the candidates that may answer."""

    candidates: tuple[str, ...] = ("*",)
    description: str = ""


class Settings(Part, frozen=True):
    """Everything. `hash` identifies a configuration in decisions; secrets are references and never part of it."""

    providers: dict[Name, ProviderSettings]
    candidates: Annotated[tuple[CandidateSettings, ...], msgspec.Meta(min_length=1)]
    version: Annotated[int, msgspec.Meta(ge=1, le=1)] = 1
    models: dict[Name, ModelSettings] = msgspec.field(default_factory=lambda: {"auto": ModelSettings()})
    signals: dict[str, dict[str, Any]] = {}
    vector: tuple[str, ...] = ("tokens", "structure", "language", "task", "difficulty", "embedding")
    guards: GuardsSettings = GuardsSettings()
    policy: PolicySettings = PolicySettings()
    shadow: ShadowSettings | None = None
    execution: ExecutionSettings = ExecutionSettings()
    privacy: PrivacySettings = PrivacySettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    ledger: LedgerSettings = LedgerSettings()
    learner: LearnerSettings = LearnerSettings()
    tenants: dict[Name, TenantSettings] = {}
    admission: AdmissionSettings = AdmissionSettings()
    server: ServerSettings = ServerSettings()
    responses: ResponsesSettings = ResponsesSettings()
    cache: CacheSettings = CacheSettings()
    affinity: AffinitySettings = AffinitySettings()

    @property
    def hash(self) -> str:
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()

    @property
    def shadow_policy(self) -> PolicySettings | None:
        """The shadow's parts, in their order of precedence its own, its preset's and the serving policy's."""
        if (own := self.shadow) is None:
            return None
        from ..presets import PRESETS

        preset = PRESETS[own.preset]._asdict() if own.preset else {}
        parts = {
            part: dict(getattr(own, part) or preset.get(part) or getattr(self.policy, part))
            for part in ("estimator", "objective", "exploration")
        }
        return msgspec.structs.replace(self.policy, **parts)

    def signal_names(self) -> list[str]:
        """The signals that anything in this configuration refers to; no other is computed."""
        from ..guards.rules import signals_in

        named = ["tokens", *(entry.split(".")[0] for entry in self.vector), *self.signals]
        named += [self.guards.trust.signal] if self.guards.trust else []
        named += [name for rule in self.guards.rules for name in signals_in(rule.when)]
        return list(dict.fromkeys(named))
