"""What the gateway itself takes from a configuration: keys, models on offer, what may be shown of the settings."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..config import Settings, redacted
from ..types import Candidate
from .keys import Key, Keys
from .models import Catalogue, catalogue


@dataclass(frozen=True)
class Front:
    """A reload swaps it whole. `settings` hold references to secrets, never a secret."""

    keys: Keys
    models: Catalogue
    settings: Mapping[str, Any] = field(default_factory=dict)
    hash: str = ""
    pocket: frozenset[str] = frozenset()
    """Names of the providers that are the embedded pool."""


def front(settings: Settings, candidates: Sequence[Candidate], environment: Mapping[str, str] = os.environ) -> Front:
    """The front of settings that have been checked, so that every secret they refer to is there."""
    keys = [Key(key.tenant, environment[key.key.removeprefix("env:")], key.operator) for key in settings.server.keys]
    virtual = {name: model.candidates for name, model in settings.models.items()}
    return Front(
        keys=Keys(keys),
        models=catalogue(virtual, candidates, int(time.time())),
        settings=redacted(settings),
        hash=settings.hash,
        pocket=frozenset(name for name, provider in settings.providers.items() if provider.kind == "pocket"),
    )
