"""Write docs/reference/configuration.md from settings and families. `--check` only says whether it is current."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from interlock.config import settings as parts
from interlock.consumption import Consumption
from interlock.estimators import ESTIMATORS
from interlock.execution import TABLE
from interlock.exploration import EXPLORATIONS
from interlock.guards.rules import CANDIDATE, REQUEST, SIGNALS
from interlock.identity import Budget, RateLimits
from interlock.objectives import OBJECTIVES
from interlock.signals import SOURCES

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "configuration.md"

HEAD = """# interlock.yaml

Everything that can be configured, generated from the code by `python scripts/configuration_page.py`. Durations and
sizes are plain numbers whose unit ends the key: `_s` seconds, `_usd` dollars. Prices are USD per million tokens. A key
that does not exist is an error, and so is a setting that would do nothing. `interlock check` reads a file, and says of
the first mistake where it is, what is wrong and what would be right:

```text
interlock.yaml:31: guards.rules[0].when: column 9: there is no signals.tokns; did you mean 'tokens'?
```

A small configuration, with a model server of your own beside the embedded pool:

```yaml
version: 1
providers:
  pocket: {kind: pocket}
  local: {kind: openai, base_url: "http://127.0.0.1:8000/v1"}
candidates:
  - {name: small, provider: pocket, model: small-t1, price: {in: 1.3, out: 1.3}, context_window: 512, trust: private}
  - name: qwen
    provider: local
    model: Qwen/Qwen3-8B
    price: {in: 0.05, out: 0.2}
    context_window: 32768
    capabilities: {tools: yes, json: yes, image: no}
    trust: private
guards:
  rules:
    - name: long-prompts
      when: signals.tokens > 400
      forbid: candidate.context_window < 1000
      because: long prompts need a large window
policy:
  objective: {kind: weighted, quality: 1.0, cost: 20.0}
```

Secrets are never written into the file. `env:NAME` refers to an environment variable; one that is not set is an error.
While the gateway runs it looks at the file and serves a changed one as soon as it is right. One with a mistake changes
nothing: the old configuration serves on, and the page and the metrics say what is wrong.
"""

BLOCKS: list[tuple[str, type[msgspec.Struct], str, dict[str, str]]] = [
    (
        "The whole file",
        parts.Settings,
        "",
        {
            "version": "of this format",
            "providers": "where answers come from, by a name of your own; see [providers](#providersname)",
            "candidates": "what can be chosen; see [candidates](#candidates)",
            "models": "names callers may ask for, beside those of candidates; see [models](#modelsname)",
            "signals": "parameters of signals, by name; see [signals](#signals)",
            "vector": "the numbers the policy sees: a signal stands for all its columns, `signal.column` for one",
            "guards": "hard constraints; see [guards](#guards)",
            "policy": "estimator, objective, exploration; see [policy](#policy)",
            "shadow": "a second policy that decides too and executes nothing; see [shadow](#shadow)",
            "execution": "how a decision is carried out; see [execution](#execution)",
            "privacy": "see [privacy](#privacy)",
            "telemetry": "see [telemetry](#telemetry)",
            "ledger": "see [ledger](#ledger)",
            "learner": "see [learner](#learner)",
            "tenants": "budgets and rates of tenants, by name; see [tenants](#tenantsname)",
            "admission": "how budgets and rates are counted; see [admission](#admission)",
            "server": "see [server](#server)",
            "responses": "see [responses](#responses)",
            "cache": "see [cache](#cache)",
            "affinity": "see [affinity](#affinity)",
        },
    ),
    (
        "`providers.<name>`",
        parts.ProviderSettings,
        "A key that the kind does not use is an error: `pocket` has `path` and `models`, `replay` has `path`, the "
        "others all else.",
        {
            "kind": "`openai` (also vLLM, SGLang, Ollama, llama.cpp), `anthropic`, `pocket` or `replay`",
            "base_url": "up to and including `/v1`; empty is the kind's own service",
            "api_key": "`env:NAME`",
            "headers": "further headers of each call; none may carry a secret",
            "ca_file": "certificates to trust instead of the system's",
            "path": "pocket: a folder of weights instead of the packaged ones; replay: the recording",
            "models": "pocket: which to load, each with its specialists; all that ship where none is named",
            "max_connections": "open at once; further calls wait",
            "connect_timeout_s": "until a connection stands",
            "first_byte_timeout_s": "until the answer begins",
            "stall_timeout_s": "between two pieces of an answer",
            "quota_domain": "who share a name share one quota and one account; empty is this provider alone",
            "link_local": "permit addresses at which clouds keep credentials; else what leads there is refused",
        },
    ),
    (
        "candidates[]",
        parts.CandidateSettings,
        "A model at two reasoning budgets is two candidates. What is left out is unknown, never zero.",
        {
            "name": "unique; what decisions, rules and callers refer to",
            "provider": "a name under `providers`",
            "model": "as the provider calls it",
            "budget": "a label for people, such as `low`",
            "price": "see [price](#candidatesprice); without one, cost is unknown",
            "context_window": "tokens of prompt and answer together",
            "max_output": "tokens it writes at most",
            "capabilities": "`yes`, `no` or `unknown` by capability: tools, json, logprobs, image, audio, video, file",
            "trust": "the trust domain it is in; a name of your own",
            "options": "fields set on each call, such as `reasoning_effort`",
            "quality": "expected before anything is learned",
            "output_tokens": "expected length of an answer",
            "ttft_s": "expected time to the first token",
            "tokens_per_second": "expected speed after it",
            "joules_per_token": "expected energy",
            "quota_domain": "where its quota or account is not the provider's; a 429 or 402 rests the whole domain",
        },
    ),
    (
        "candidates[].price",
        parts.PriceSettings,
        "USD per million tokens.",
        {
            "in": "of the prompt",
            "out": "of the answer, reasoning included",
            "cached": "of the part of the prompt read from the provider's cache; like `in` unless stated",
            "cache_write": "of the part written to it (Anthropic counts it apart); like `in` unless stated",
        },
    ),
    (
        "`models.<name>`",
        parts.ModelSettings,
        "What is listed of a virtual model is derived from its candidates.",
        {"candidates": "globs over candidates' names", "description": "for people"},
    ),
    (
        "guards",
        parts.GuardsSettings,
        "Hard constraints, before anything is learned. They only remove candidates, and give a reason for each.",
        {
            "capability": "see [capability](#guardscapability)",
            "access": "see [access](#guardsaccess)",
            "trust": "off until configured; see [trust](#guardstrust)",
            "limits": "see [limits](#guardslimits)",
            "health": "see [health](#guardshealth)",
            "rules": "see [rules](#guardsrules)",
        },
    ),
    (
        "guards.capability",
        parts.CapabilitySettings,
        "",
        {
            "forbid_unknown": "treat `unknown` as `no`, the context window included",
            "margin": "factor on our own token count, since providers count differently",
        },
    ),
    (
        "guards.access",
        parts.AccessSettings,
        "",
        {
            "tenants": "globs over the candidates a tenant may use; with keys, each tenant must have one",
            "default": "for tenants that are not listed",
        },
    ),
    (
        "guards.trust",
        parts.TrustSettings,
        "Unless the signal is false, only candidates of certain trust domains are permitted.",
        {"signal": "one that is true or false; unread counts as true", "allow": "trust domains of candidates"},
    ),
    (
        "guards.limits",
        parts.LimitsSettings,
        "Held against predictions, together with the request's own limits; an unknown prediction meets no limit.",
        {
            "max_cost_usd": "of one answer",
            "deadline_s": "until the whole answer",
            "min_quality": "expected quality",
        },
    ),
    (
        "guards.health",
        parts.HealthSettings,
        "A circuit breaker per candidate. Being rate limited is neither success nor failure.",
        {
            "failures": "in a row that open the circuit",
            "pause_s": "it stays open at first; doubles with each failed probe",
            "longest_s": "the pause grows to this",
            "probes": "calls let through at once when half open; as many successes close it",
            "jitter": "share by which a pause is drawn longer or shorter",
            "ejectable": "share of the pool that may be open at once; above 0 at least one candidate",
            "longest_rest_s": "cap on a provider's Retry-After, for which its whole quota domain rests",
            "park_s": "an account without funds (402) is left alone at first, with its whole quota domain; doubles",
            "longest_park_s": "parking grows to this; a successful probe or a changed provider block ends it",
        },
    ),
    (
        "guards.rules[]",
        parts.RuleSettings,
        "",
        {
            "name": "unique; the reason's code",
            "when": "CEL over `signals` and `request`",
            "forbid": "the candidates it strikes: CEL over `candidate`, or a list of globs",
            "allow": "instead of `forbid`: the only candidates it leaves",
            "because": "what a refused caller reads",
        },
    ),
    (
        "policy",
        parts.PolicySettings,
        "Each block has a `kind` and that kind's parameters.",
        {
            "estimator": "what quality to expect; see [estimators](#estimators)",
            "objective": "what is wanted; see [objectives](#objectives)",
            "exploration": "how to choose; see [explorations](#explorations)",
            "consumption": "tokens, latency and energy to expect; no `kind`; see [consumption](#consumption)",
            "default_order": "used when no estimate is usable; candidates left out come last",
            "seed": "of the draw when a request brings none",
        },
    ),
    (
        "shadow",
        parts.ShadowSettings,
        "The parts in which a second policy differs from `policy`: [how to](../how-to/shadow-a-policy.md).",
        {
            "preset": "a published composition, such as `quality_cost`; all names: `interlock.presets.PRESETS`",
            "estimator": "in the place of the preset's or the policy's; another one learns beside the gateway",
            "objective": "in the place of the preset's or the policy's",
            "exploration": "in the place of the preset's or the policy's",
        },
    ),
    (
        "execution",
        parts.ExecutionSettings,
        "",
        {
            "strategy": "`single`, or `cascade`: cheap first, escalate when the answer does not convince",
            "threshold": "cascade: the confidence that convinces",
            "stages": "cascade: candidates in this order; empty is by expected cost",
            "max_stages": "cascade: at most so many",
            "max_attempts": "calls of one request, over all candidates",
            "retries": "repeated calls to one candidate",
            "backoff_s": "mean pause before the first retry; doubles with each",
            "patience_s": "the longest Retry-After that is waited for",
            "deadline_s": "of a request that states none",
            "retry_budget": "see [retry_budget](#executionretry_budget)",
            "hedge_after_s": "silence after which the next is asked too; the loser is cancelled, and counted as free",
            "actions": "overrides of the [fallback table](#fallback-table): `retry`, `next` or `refuse` by error code",
        },
    ),
    (
        "execution.retry_budget",
        parts.RetryBudgetSettings,
        "Per quota domain and process. Spent by repeated calls, by hedges, and by a request's further calls into a "
        "domain in which one has failed. A call that it does not cover is not made, and that is a recorded step.",
        {
            "share": "retries per call, so 0.1 is one retry in ten calls",
            "floor": "retries that need no traffic",
            "window_s": "in which what was saved is forgotten, and the floor comes back",
        },
    ),
    (
        "privacy",
        parts.PrivacySettings,
        "Reversible masking, request by request. When the detector fails nothing is sent.",
        {
            "mask": "kinds of personal data that become placeholders: email, card, iban, phone, id, key",
            "unmasked": "providers that see the original, such as your own",
        },
    ),
    (
        "telemetry",
        parts.TelemetrySettings,
        "Read at the start. Traces need the extra `otel`; a caller's `traceparent` goes on to providers in any case.",
        {
            "otlp_endpoint": "the collector, such as `http://127.0.0.1:4318/v1/traces`; empty sends nothing",
            "service_name": "ours in the traces",
            "sample": "share of the requests traced that come without a trace; one that comes with one decides itself",
            "interval_s": "between two batches",
            "queue": "requests that wait for the next batch; more are dropped and counted",
            "logs": "`text`, or `json`: one object a line",
        },
    ),
    (
        "ledger",
        parts.LedgerSettings,
        "",
        {
            "path": "of the SQLite file; its folder is made",
            "url": "`env:NAME`, a variable with the `postgresql://` URL of a database to share; then no `path`",
            "spool": "with `url`: the folder where rows wait while the database does not answer; empty for none",
            "payload": "keep prompts, answers and evidence that quotes them, apart from the chain and erasable",
        },
    ),
    (
        "learner",
        parts.LearnerSettings,
        "",
        {
            "enabled": "fold feedback into new snapshots",
            "interval_s": "between looks at the ledger",
            "keep": "snapshots kept for rollback",
            "source_weights": "how much a source of feedback counts; 1 when not listed",
            "tenant_weights": "how much a tenant's feedback counts; see `robust` for those not listed",
            "robust": "tenants that are not listed earn their weight by agreeing with others; off: each counts 1",
        },
    ),
    (
        "server",
        parts.ServerSettings,
        "Host and port are read at the start only.",
        {
            "host": "address to listen on",
            "port": "0 lets the system choose",
            "keys": "see [keys](#serverkeys); without any, virtual ones included, everyone may call",
            "jwt": "see [jwt](#serverjwt)",
            "max_body_bytes": "larger requests are refused",
            "max_head_bytes": "of a request line and its headers; larger ones are refused",
            "idle_timeout_s": "an unused connection is kept",
            "receive_timeout_s": "from the first byte of a request to its last",
            "send_timeout_s": "in which a client must take something of what waits for it",
            "drain_s": "after SIGTERM, not ready but still serving, so that balancers notice",
            "grace_s": "for requests under way to end",
            "reload_every_s": "between looks at this file",
        },
    ),
    (
        "server.keys[]",
        parts.KeySettings,
        "",
        {
            "tenant": "whose requests these are",
            "key": "`env:NAME`, sent by callers as a bearer token",
            "role": "`viewer` sees what is its tenant's; `operator` sees all and steers; `admin` also manages keys",
            "candidates": "globs over the candidates it may use",
            "budgets": "see [budgets](#budgets)",
            "limits": "see [limits](#limits)",
        },
    ),
    (
        "server.jwt",
        parts.JwtSettings,
        "Signed bearer tokens as keys; needs the extra `jwt`. Exactly one of `jwks_url`, `public_key` and `secret`.",
        {
            "issuer": "what `iss` must be",
            "audience": "what `aud` must be or hold",
            "jwks_url": "where the issuer's public keys are; https, fetched beside the requests",
            "public_key": "`env:NAME`, PEM",
            "secret": "`env:NAME`, shared with the issuer",
            "algorithms": "of signatures that are accepted",
            "tenant_claim": "a claim, or a dotted path to one",
            "key_claim": "what budgets and rates are counted by",
            "role_claim": "a text or a list of texts",
            "roles": "roles by value of that claim; the highest counts, else `viewer`",
            "tenant": "of tokens without a tenant claim; empty refuses them",
            "candidates": "globs over the candidates a token may use",
            "budgets": "of each key; see [budgets](#budgets)",
            "limits": "of each key; see [limits](#limits)",
        },
    ),
    (
        "`tenants.<name>`",
        parts.TenantSettings,
        "What all keys of a tenant may use together.",
        {"budgets": "see [budgets](#budgets)", "limits": "see [limits](#limits)"},
    ),
    (
        "budgets[]",
        Budget,
        "Of a key or a tenant, one for each window. Windows are calendar ones in UTC. See "
        "[keys and budgets](../how-to/keys-and-budgets.md).",
        {
            "window": "which window it is for",
            "hard_usd": "requests that might exceed it are refused",
            "soft_usd": "answers carry the header `x-interlock-budget-warning` above it",
        },
    ),
    (
        "limits",
        RateLimits,
        "Of a key or a tenant.",
        {
            "requests_per_minute": "a bucket of this size that fills within a minute",
            "tokens_per_minute": "prompt and answer together, as the provider counts them",
            "parallel_streams": "streamed answers open at once",
        },
    ),
    (
        "admission",
        parts.AdmissionSettings,
        "Read at the start only.",
        {
            "keys": "a SQLite file of virtual keys; default: the ledger's PostgreSQL, or `<ledger>.keys.db`",
            "redis": "count together with other gateways; needs the extra `redis`",
            "prefix": "of everything in Redis",
            "when_lost": "without Redis each gateway lets in its share (`local`), or nobody who has a limit (`refuse`)",
            "assume": "see [assume](#admissionassume)",
        },
    ),
    (
        "admission.assume",
        parts.AssumeSettings,
        "What candidates that do not say so may cost at most. Without it a hard budget rules them out.",
        {"price": "see [price](#candidatesprice)", "output_tokens": "of an answer"},
    ),
    (
        "responses",
        parts.ResponsesSettings,
        "What `/v1/responses` keeps to be asked for again. Read at the start only.",
        {
            "path": "a SQLite file, which several processes may share; empty: the memory of each process",
            "retention_s": "how long a response is kept at most",
            "entries": "at most so many; the oldest goes first",
            "max_bytes": "of all of them together",
        },
    ),
    (
        "cache",
        parts.CacheSettings,
        "Off unless asked for; in the memory of each process. How it works: [Answer from the cache]"
        "(../how-to/answer-from-the-cache.md).",
        {
            "exact": "give an answer again to the same request of the same tenant",
            "semantic": "also to a request that asks the same in other words",
            "similarity": "semantic: the least cosine of two prompts; words, numbers and negations must agree too",
            "ttl_s": "how old an answer may be",
            "entries": "at most so many answers; the least recently used goes first",
            "max_bytes": "of all answers together",
        },
    ),
    (
        "affinity",
        parts.AffinitySettings,
        "What is expected of providers' prompt caches; in the memory of each process. Only candidates whose "
        "`price.cached` is below `price.in` are concerned. How it works: [Policy]"
        "(../concepts/policy.md#conversations-and-prompt-caches).",
        {
            "enabled": "expect a conversation's next turn to cost less where its beginning is cached",
            "lifetime_s": "when a provider has forgotten a prompt; what is expected falls to nothing until then",
            "entries": "at most so many beginnings of prompts; the oldest goes first",
            "busy": "calls under way with a candidate at which half as much is expected of its cache",
        },
    ),
]

RULES = """## What rules see

`when` sees the signals and the request, `forbid` and `allow` the candidate. Expressions are [CEL](https://cel.dev) and
are checked when they are loaded: names, functions, types. Numbers are doubles: compare them with any number, but
calculate with `2.0` rather than `2`. What is not known is absent: a signal that could not be read, a price nobody
stated, a hint the caller did not send. A condition that depends on it cannot be evaluated and then *forbids*;
`has(signals.task) && ...` asks first.
"""


def page() -> str:
    return "\n".join([HEAD, *sections()]) + "\n"


def sections() -> Iterator[str]:
    for title, kind, prose, meanings in BLOCKS:
        yield f"## {title}\n" + (f"\n{prose}\n" if prose else "")
        yield table(("key", "value", "default", "meaning"), settings_rows(kind, meanings))
    yield RULES
    roots = {"signals": SIGNALS, "request": samples(REQUEST), "candidate": samples(CANDIDATE)}
    names = ((f"`{root}.{name}`", words(type(value))) for root, known in roots.items() for name, value in known.items())
    yield table(("name", "value"), names)
    yield "## Signals\n\nOnly those that something refers to are read. Parameters stand under `signals.<name>`.\n"
    yield table(("signal", "parameters", "what it says"), members(SOURCES))
    for title, family in (("Estimators", ESTIMATORS), ("Objectives", OBJECTIVES), ("Explorations", EXPLORATIONS)):
        yield f"## {title}\n"
        yield table(("kind", "parameters", "what it does"), members(family))
    said = " ".join((Consumption.__doc__ or "").split())
    yield f"## Consumption\n\nParameters: {parameters(Consumption)}.\n\n{said}\n"
    yield "## Fallback table\n"
    yield table(("error code", "action"), ((f"`{kind.code}`", action.value) for kind, action in TABLE.items()))


def settings_rows(kind: type[msgspec.Struct], meanings: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    """One row per key. Raises `ValueError` when a key has no meaning here, or a meaning no key."""
    known = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    if set(known) != set(meanings):
        raise ValueError(f"{kind.__name__}: {sorted(set(known) ^ set(meanings))} on one side only")
    hints = get_type_hints(kind, include_extras=True)
    for name, meaning in meanings.items():
        yield f"`{name}`", words(hints[known[name].name]), default_of(known[name]), meaning


def words(kind: Any) -> str:
    """A type as a reader of YAML would call it, with its range."""
    if get_origin(kind) is Annotated:
        inner, meta = get_args(kind)
        return " ".join([words(inner), *(f"{sign} {bound:g}" for sign, bound in bounds_of(meta))])
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return "block"
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind))
    if get_args(kind) and get_origin(kind) not in (dict, list, tuple):
        return " or ".join(dict.fromkeys(words(arg) for arg in get_args(kind) if arg is not type(None)))
    plain = {str: "text", int: "whole number", float: "number", bool: "true or false", dict: "mapping", list: "list"}
    return {**plain, tuple: "list"}[get_origin(kind) or kind]


def bounds_of(meta: msgspec.Meta) -> Iterator[tuple[str, float]]:
    for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
        if getattr(meta, name) is not None:
            yield sign, getattr(meta, name)


def default_of(field: Any) -> str:
    if field.required:
        return "required"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if isinstance(value, msgspec.Struct) or value is None:
        return ""
    return f"`{json.dumps(msgspec.to_builtins(value), ensure_ascii=False)}`"


def samples(known: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    return {name: sample for name, (sample, _) in known.items()}


def members(family: Mapping[str, type[Any]]) -> Iterator[tuple[str, ...]]:
    for name in family:
        said = " ".join((family[name].__doc__ or "").split("\n\n")[0].split())
        yield f"`{name}`", parameters(family[name]), said


def parameters(kind: type[Any]) -> str:
    shown = []
    for field in fields(kind):
        if field.init and field.repr:
            default = field.default_factory() if field.default is MISSING else field.default  # type: ignore[operator]
            shown.append(f"`{field.name}: {json.dumps(default)}`")
    return ", ".join(shown)


def table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def main() -> None:
    if "--check" not in sys.argv:
        PAGE.write_text(page())
    elif not PAGE.exists() or PAGE.read_text() != page():
        sys.exit(f"{PAGE.name} is not current: run `python scripts/configuration_page.py`")


if __name__ == "__main__":
    main()
