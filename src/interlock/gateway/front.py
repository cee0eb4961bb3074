"""What the gateway itself takes from a configuration: keys, models on offer, what may be shown of the settings."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..admission import UNCOUNTED, Terms
from ..assembly import worst_case
from ..config import Settings, redacted
from ..config.settings import AdmissionSettings, JwtSettings
from ..errors import ConfigError
from ..identity import UNLIMITED, Allowance, Claims, Identity, Keyring, SignedTokens, digest
from ..types import Candidate
from .models import Catalogue, catalogue


@dataclass(frozen=True)
class Front:
    """A reload swaps it whole. `settings` hold references to secrets, never a secret; `static` maps digests of keys.

    `pocket` names the providers that are the embedded pool.
    """

    models: Catalogue
    static: Mapping[bytes, Identity] = field(default_factory=dict)
    tokens: SignedTokens | None = None
    terms: Terms = field(default_factory=Terms)
    admission: AdmissionSettings = field(default_factory=AdmissionSettings)
    settings: Mapping[str, Any] = field(default_factory=dict)
    hash: str = ""
    pocket: frozenset[str] = frozenset()

    @property
    def keyring(self) -> Keyring:
        return Keyring(self.static, (), self.tokens)


def front(
    settings: Settings,
    candidates: Sequence[Candidate],
    environment: Mapping[str, str] = os.environ,
    previous: Front | None = None,
) -> Front:
    """The front of settings that have been checked, so that every secret they refer to is there.

    Tokens found good by a `previous` front stay good while what says so has not changed.
    """
    static = {}
    for key in settings.server.keys:
        name = key.key.removeprefix("env:")
        allowance = Allowance(key.budgets, key.limits)
        static[digest(environment[name].encode())] = Identity(name, key.tenant, key.role, key.candidates, allowance)
    virtual = {name: model.candidates for name, model in settings.models.items()}
    shown = redacted(settings)
    tokens = None if settings.server.jwt is None else signed_tokens(settings.server.jwt, environment)
    if previous is not None and previous.settings["server"]["jwt"] == shown["server"]["jwt"]:
        tokens = previous.tokens
    return Front(
        models=catalogue(virtual, candidates, int(time.time())),
        static=static,
        tokens=tokens,
        terms=Terms(
            tenants={name: Allowance(own.budgets, own.limits) for name, own in settings.tenants.items()},
            models=virtual,
            candidates=candidates,
            worst=worst_case(settings),
        ),
        admission=settings.admission,
        settings=shown,
        hash=settings.hash,
        pocket=frozenset(name for name, provider in settings.providers.items() if provider.kind == "pocket"),
    )


def countable(settings: Settings, alone: bool) -> None:
    """Raises `ConfigError` when there is something to count, and nobody who sees everything that is spent.

    `alone` says whether one process writes the ledger.
    """
    tokens = settings.server.jwt
    allowed = [*settings.server.keys, *settings.tenants.values(), *(() if tokens is None else (tokens,))]
    limited = any(Allowance(own.budgets, own.limits) != UNLIMITED for own in allowed)
    if limited and not alone and not settings.admission.redis:
        raise ConfigError(
            f"{UNCOUNTED} (a ledger in PostgreSQL, and --workers, mean several); give its address,"
            " or take away what is in `budgets` and `limits`",
            path="admission.redis",
        )


def signed_tokens(own: JwtSettings, environment: Mapping[str, str]) -> SignedTokens:
    """Raises `ConfigError` when PyJWT is not installed."""
    try:
        import jwt  # noqa: F401 - a missing extra is found out now, not with the first token
    except ImportError:
        raise ConfigError("needs the extra `jwt`: pip install 'interlock[jwt]'", path="server.jwt") from None
    claims = Claims(
        tenant_claim=own.tenant_claim,
        key_claim=own.key_claim,
        role_claim=own.role_claim,
        roles=own.roles,
        tenant=own.tenant,
        candidates=own.candidates,
        allowance=Allowance(own.budgets, own.limits),
    )
    reference = own.public_key or own.secret
    keys = {"": environment[reference.removeprefix("env:")]} if reference else {}
    return SignedTokens(claims, own.algorithms, own.issuer, own.audience, keys, url=own.jwks_url)
