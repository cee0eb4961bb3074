"""What answers requests: each kind of provider behind one method, `send(call) -> chunks`."""

from __future__ import annotations

from .base import Call, Chunks, Provider, close_all

__all__ = ["Call", "Chunks", "Provider", "close_all"]
