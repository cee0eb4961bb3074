"""Answers given before, given again: which request asks the same, what was kept, and an answer whole or as a stream."""

from __future__ import annotations

from .cache import Cache, Hit, Kept
from .pieces import joined, split
from .same_question import difference

__all__ = ["Cache", "Hit", "Kept", "difference", "joined", "split"]
