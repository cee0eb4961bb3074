"""What types cannot say: names that must exist, names that must not come twice, settings that would do nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from inspect import signature
from typing import Any
from urllib.parse import urlsplit

from ..errors import ConfigError, nearest
from ..identity import Budget, misfit
from .document import Document, Place
from .environment import secret
from .fit import constructed
from .settings import ProviderSettings, Settings

Check = Callable[[Settings, Document, Mapping[str, str]], None]

ANSWERS = ("yes", "no", "unknown")
SYMMETRIC = ("HS256", "HS384", "HS512")
ASYMMETRIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
RESERVED = ("messages", "model", "stream", "stream_options")
LIMITS = ("max_connections", "connect_timeout_s", "first_byte_timeout_s", "stall_timeout_s")


def names(settings: Settings, document: Document, _: Mapping[str, str]) -> None:
    candidates = [candidate.name for candidate in settings.candidates]
    unique(candidates, "candidate", document, ("candidates",), "name")
    unique([rule.name for rule in settings.guards.rules], "rule", document, ("guards", "rules"), "name")
    for name in settings.models:
        if name in candidates:
            problem = f"{name!r} is the name of a candidate; a virtual model needs one of its own"
            raise document.error(problem, "models", name)
    for place, listed in (
        (("policy", "default_order"), settings.policy.default_order),
        (("execution", "stages"), settings.execution.stages),
    ):
        for i, name in enumerate(listed):
            known(name, candidates, "candidate", document, (*place, i))
        unique(listed, "entry", document, place)


def providers(settings: Settings, document: Document, environment: Mapping[str, str]) -> None:
    from ..providers import PROVIDERS
    from ..providers.address import forbidden, literal

    for name, provider in settings.providers.items():
        place = ("providers", name)
        known(provider.kind, PROVIDERS, "kind of provider", document, (*place, "kind"))
        _no_inert_keys(provider, PROVIDERS[provider.kind], document, place)
        host = _host(provider.base_url)
        if provider.base_url and not host:
            raise document.error(f"{provider.base_url!r} is not an http or https URL", *place, "base_url")
        if not provider.link_local and literal(host) and forbidden(host):
            problem = f"{host} is link-local or a cloud's metadata service; if it is meant, set `link_local: true`"
            raise document.error(problem, *place, "base_url")
        if provider.api_key:
            secret(provider.api_key, document, (*place, "api_key"), environment)
        for header in provider.headers:
            if re.search(r"authorization|cookie|api-?key|token|secret", header, re.IGNORECASE):
                problem = "a secret does not belong here; give it as `api_key: env:NAME`"
                raise document.error(problem, *place, "headers", header)


def _host(url: str) -> str:
    """Empty when this is no http or https URL."""
    try:
        return (urlsplit(url).hostname or "") if re.match(r"^https?://[^/\s]+\S*$", url) else ""
    except ValueError:  # brackets without an IPv6 address between them
        return ""


def _no_inert_keys(provider: ProviderSettings, kind: type[Any], document: Document, place: Place) -> None:
    """Raises for a setting that this kind of provider would ignore, and for a missing one that it needs."""
    parameters = signature(kind).parameters
    usable = [
        key
        for key in provider.__struct_fields__
        if ("limits" if key in LIMITS else key) in (*parameters, "kind", "quota_domain")
    ]
    for key in document.data["providers"][place[1]]:
        if key not in usable:
            problem = f"a provider of kind {provider.kind} has no {key}; it has {', '.join(usable)}"
            raise document.error(problem, *place, key)
    for key in usable:
        if key in parameters and parameters[key].default is parameters[key].empty and not getattr(provider, key):
            raise document.error(f"a provider of kind {provider.kind} needs {key}", *place)


def candidates(settings: Settings, document: Document, _: Mapping[str, str]) -> None:
    for i, candidate in enumerate(settings.candidates):
        place = ("candidates", i)
        known(candidate.provider, settings.providers, "provider", document, (*place, "provider"))
        loaded = settings.providers[candidate.provider].models
        if loaded and not candidate.model.startswith(tuple(f"{model}-" for model in loaded)):
            problem = f"{candidate.model!r} is none of what provider {candidate.provider!r} loads, {', '.join(loaded)}"
            raise document.error(problem, *place, "model")
        for capability, answer in candidate.capabilities.items():
            if isinstance(answer, str) and answer not in ANSWERS:
                problem = f"a capability is yes, no or unknown, not {answer!r}; {nearest(answer, ANSWERS)}"
                raise document.error(problem, *place, "capabilities", capability)
        for option in candidate.options:
            if option in RESERVED:
                problem = f"{option!r} belongs to the request; options set others, such as reasoning_effort"
                raise document.error(problem, *place, "options", option)
        window, most, price = candidate.context_window, candidate.max_output, candidate.price
        if window is not None and most is not None and most > window:
            raise document.error(f"it cannot write {most} tokens in a window of {window}", *place, "max_output")
        if price is not None and price.cached is not None and price.cached > price.input:
            problem = f"a cached token ({price.cached:g}) cannot cost more than a fresh one ({price.input:g})"
            raise document.error(problem, *place, "price", "cached")


def models(settings: Settings, document: Document, _: Mapping[str, str]) -> None:
    for name, model in settings.models.items():
        globs(model.candidates, settings, document, ("models", name, "candidates"))


def families(settings: Settings, document: Document, _: Mapping[str, str]) -> None:
    """Each block is tried on the constructor of the class that its `kind` names."""
    from ..consumption import Consumption
    from ..estimators import ESTIMATORS
    from ..exploration import EXPLORATIONS
    from ..objectives import OBJECTIVES

    members: dict[str, Mapping[str, type[Any]]] = {
        "estimator": ESTIMATORS,
        "objective": OBJECTIVES,
        "exploration": EXPLORATIONS,
    }
    for family, kinds in members.items():
        _member(kinds, family, getattr(settings.policy, family), document, ("policy", family))
        if settings.shadow is not None and (block := getattr(settings.shadow, family)):
            _member(kinds, family, block, document, ("shadow", family))
    constructed(Consumption, settings.policy.consumption, document, ("policy", "consumption"))


def _member(
    kinds: Mapping[str, type[Any]], family: str, block: Mapping[str, Any], document: Document, place: Place
) -> None:
    parameters = dict(block)
    kind = parameters.pop("kind", None)
    if kind is None:
        raise document.error(f"the key 'kind' is missing; {nearest('', list(kinds))}", *place)
    known(str(kind), kinds, family, document, (*place, "kind"))
    constructed(kinds[kind], parameters, document, place)


def shadow(settings: Settings, document: Document, _: Mapping[str, str]) -> None:
    from ..presets import PRESETS

    if settings.shadow is None:
        return
    if settings.shadow.preset:
        known(settings.shadow.preset, PRESETS, "preset", document, ("shadow", "preset"))
    if settings.shadow_policy == settings.policy:
        problem = (
            "it would decide as `policy` does; name a preset, or an estimator, objective or exploration of its own"
        )
        raise document.error(problem, "shadow")


def execution(settings: Settings, document: Document, _: Mapping[str, str]) -> None:
    from ..execution import STRATEGIES, Fallback

    known(settings.execution.strategy, STRATEGIES, "strategy", document, ("execution", "strategy"))
    if settings.execution.strategy == "single":
        for key in ("threshold", "stages", "max_stages"):
            if key in document.data.get("execution", {}):
                raise document.error("it does nothing with the strategy single; it is cascade's", "execution", key)
    try:
        Fallback(actions=settings.execution.actions)
    except ConfigError as error:
        raise document.error(error.problem, *error.path.split(".")) from None


def signals(settings: Settings, document: Document, _: Mapping[str, str]) -> None:
    from ..signals import SOURCES, build

    for name, block in settings.signals.items():
        known(name, SOURCES, "signal", document, ("signals", name))
        constructed(SOURCES[name], block, document, ("signals", name))
    for i, entry in enumerate(settings.vector):
        known(entry.split(".")[0], SOURCES, "signal", document, ("vector", i))
    try:
        build([], settings.signals, settings.vector)
    except ConfigError as error:
        raise document.error(error.problem, "vector") from None


def guards(settings: Settings, document: Document, _: Mapping[str, str]) -> None:
    from ..guards.rules import SIGNALS

    own, place = settings.guards, ("guards",)
    tenants = [*(key.tenant for key in settings.server.keys), *settings.tenants]
    for tenant, listed in own.access.tenants.items():
        if tenants and settings.server.jwt is None:
            what = "tenant (no key is its, nor does `tenants` list it)"
            known(tenant, tenants, what, document, (*place, "access", "tenants", tenant))
        globs(listed, settings, document, (*place, "access", "tenants", tenant))
    globs(own.access.default, settings, document, (*place, "access", "default"))
    if own.trust is not None:
        truths = [name for name, sample in SIGNALS.items() if isinstance(sample, bool)]
        known(own.trust.signal, truths, "signal that is true or false", document, (*place, "trust", "signal"))
        domains = sorted({candidate.trust for candidate in settings.candidates})
        for i, domain in enumerate(own.trust.allow):
            known(domain, domains, "trust domain among the candidates", document, (*place, "trust", "allow", i))
    for first, longest in (("pause_s", "longest_s"), ("park_s", "longest_park_s")):
        least = getattr(own.health, first)
        if getattr(own.health, longest) < least:
            raise document.error(f"must be at least {first}, which is {least:g}", *place, "health", longest)


def rules(settings: Settings, document: Document, _: Mapping[str, str]) -> None:
    from ..guards.rules import Rule, Rules

    for i, rule in enumerate(settings.guards.rules):
        place = ("guards", "rules", i)
        if (rule.forbid is None) is (rule.allow is None):
            raise document.error(
                "a rule has either `forbid` or `allow`: which candidates it strikes, or leaves", *place
            )
        for key, listed in (("forbid", rule.forbid), ("allow", rule.allow)):
            if isinstance(listed, tuple):
                globs(listed, settings, document, (*place, key))
        try:
            Rules([Rule(rule.name, rule.when, rule.forbid, rule.because, rule.allow)])
        except ConfigError as error:
            raise document.error(error.problem, *place, error.path.rsplit(".", 1)[-1]) from None


def keys(settings: Settings, document: Document, environment: Mapping[str, str]) -> None:
    seen: dict[str, int] = {}
    for i, key in enumerate(settings.server.keys):
        value = secret(key.key, document, ("server", "keys", i, "key"), environment)
        if value in seen:
            raise document.error(f"the same secret as server.keys[{seen[value]}]", "server", "keys", i, "key")
        seen[value] = i
        globs(key.candidates, settings, document, ("server", "keys", i, "candidates"))
        budgets(key.budgets, document, ("server", "keys", i, "budgets"))
    for name, tenant in settings.tenants.items():
        budgets(tenant.budgets, document, ("tenants", name, "budgets"))


def admission(settings: Settings, document: Document, environment: Mapping[str, str]) -> None:
    redis, place = settings.admission.redis, ("admission", "redis")
    if redis.startswith("env:"):
        secret(redis, document, place, environment)
    elif re.match(r"^\w+://[^/]*@", redis):
        problem = "an address with a password is a secret: write `env:NAME` and put it into that environment variable"
        raise document.error(problem, *place)
    elif redis and not re.match(r"^(rediss?|unix)://\S+$", redis):
        raise document.error(f"{redis!r} is no address; write redis://host:port/0 or `env:NAME`", *place)


def tokens(settings: Settings, document: Document, environment: Mapping[str, str]) -> None:
    own, place = settings.server.jwt, ("server", "jwt")
    if own is None:
        return
    ways = [name for name in ("jwks_url", "public_key", "secret") if getattr(own, name)]
    if len(ways) != 1:
        found = " and ".join(ways) or "none"
        raise document.error(f"give one of jwks_url, public_key and secret, not {found}", *place)
    for name in ("public_key", "secret"):
        if getattr(own, name):
            secret(getattr(own, name), document, (*place, name), environment)
    if own.jwks_url and not re.match(r"^https?://[^/\s@]+(/\S*)?$", own.jwks_url):
        raise document.error(f"{own.jwks_url!r} is no https URL without credentials", *place, "jwks_url")
    usable = SYMMETRIC if own.secret else ASYMMETRIC
    for i, algorithm in enumerate(own.algorithms):
        known(algorithm, usable, f"algorithm for a {ways[0]}", document, (*place, "algorithms", i))
    globs(own.candidates, settings, document, (*place, "candidates"))
    budgets(own.budgets, document, (*place, "budgets"))


def budgets(listed: Sequence[Budget], document: Document, place: Place) -> None:
    """Raises for one that makes no sense beside the others."""
    if (found := misfit(listed)) is not None:
        raise document.error(found[1], *place, found[0])


def cache(settings: Settings, document: Document, _: Mapping[str, str]) -> None:
    own, block = settings.cache, document.data.get("cache") or {}
    if not (own.exact or own.semantic) and set(block) - {"exact", "semantic"}:
        raise document.error("nothing is cached: set `exact: true` or `semantic: true`, or leave the rest out", "cache")
    if not own.semantic and "similarity" in block:
        raise document.error("it does nothing without `semantic: true`", "cache", "similarity")


def privacy(settings: Settings, document: Document, _: Mapping[str, str]) -> None:
    from ..signals.pii import KINDS

    for i, kind in enumerate(settings.privacy.mask):
        known(kind, KINDS, "kind of personal data", document, ("privacy", "mask", i))
    for i, name in enumerate(settings.privacy.unmasked):
        known(name, settings.providers, "provider", document, ("privacy", "unmasked", i))
    if settings.privacy.unmasked and not settings.privacy.mask:
        raise document.error("it does nothing without privacy.mask", "privacy", "unmasked")


def ledger(settings: Settings, document: Document, environment: Mapping[str, str]) -> None:
    own, given = settings.ledger, document.data.get("ledger", {})
    if own.url and "path" in given:
        raise document.error("a ledger is in one place; leave out `path` or `url`", "ledger", "path")
    if "spool" in given and not own.url:
        problem = "it does nothing for a ledger in a file; it is where rows wait for the database of `url`"
        raise document.error(problem, "ledger", "spool")
    if own.url:
        secret(own.url, document, ("ledger", "url"), environment)


ALL: Sequence[Check] = (
    names,
    providers,
    candidates,
    models,
    families,
    shadow,
    execution,
    signals,
    guards,
    rules,
    privacy,
    keys,
    cache,
    tokens,
    admission,
    ledger,
)
"""In this order, so that later checks may rely on earlier ones."""


def known(name: str, names: Iterable[str], what: str, document: Document, place: Place) -> None:
    names = list(names)
    if name not in names:
        raise document.error(f"unknown {what} {name!r}; {nearest(name, names)}", *place)


def unique(listed: Sequence[str], what: str, document: Document, place: Place, *key: str) -> None:
    first: dict[str, int] = {}
    for i, name in enumerate(listed):
        if name in first:
            line = document.line((*place, first[name], *key))
            raise document.error(f"a second {what} {name!r}; the first is on line {line}", *place, i, *key)
        first[name] = i


def globs(listed: Sequence[str], settings: Settings, document: Document, place: Place) -> None:
    """Raises for a glob that matches no candidate, and for an empty list."""
    every = [candidate.name for candidate in settings.candidates]
    if not listed:
        raise document.error("an empty list names no candidate; leave it out, or name some", *place)
    for i, glob in enumerate(listed):
        if not any(fnmatchcase(name, glob) for name in every):
            raise document.error(f"{glob!r} matches no candidate; {nearest(glob, every)}", *place, i)
