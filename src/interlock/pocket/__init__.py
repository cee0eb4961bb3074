"""Pocket models: a family of tiny transformers with exact verifiers, trained here and served without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interlock.pocket.config import SIZES, PocketConfig

if TYPE_CHECKING:
    from interlock.pocket.family import PocketCandidate
    from interlock.pocket.pool import Pool
    from interlock.pocket.requests import Delta, PocketRequest, PocketResult, Usage

__all__ = ["SIZES", "Delta", "PocketCandidate", "PocketConfig", "PocketRequest", "PocketResult", "Pool", "Usage"]

_HOME = {"PocketCandidate": "family", "Pool": "pool"}


def __getattr__(name: str) -> object:
    """The serving names are imported when first used: training needs none of them."""
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME.get(name, 'requests')}"), name)
