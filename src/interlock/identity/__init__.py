"""Who calls, and what they may use: static keys, virtual keys and signed tokens become one record."""

from .allowance import UNLIMITED, Allowance, Budget, RateLimits, misfit
from .identity import NOBODY, RANK, Identity, Role
from .keyring import Keyring, presented
from .signed import Claims, SignedTokens
from .store import KeyStore, Loaded, SqliteKeys
from .virtual import VirtualKey, digest, mint

__all__ = [
    "NOBODY",
    "RANK",
    "UNLIMITED",
    "Allowance",
    "Budget",
    "Claims",
    "Identity",
    "KeyStore",
    "Keyring",
    "Loaded",
    "RateLimits",
    "Role",
    "SignedTokens",
    "SqliteKeys",
    "VirtualKey",
    "digest",
    "mint",
    "misfit",
    "presented",
]
