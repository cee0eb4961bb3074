"""The HTTP face: an OpenAI-compatible API on a fast path, and everything a person wants to see beside it."""

from __future__ import annotations

from .serve import listen, serving, standing

__all__ = ["listen", "serving", "standing"]
