"""Pocket models: a family of tiny transformers with exact verifiers, served without torch."""

from __future__ import annotations

from interlock.pocket.config import SIZES, PocketConfig

__all__ = ["SIZES", "PocketConfig"]
