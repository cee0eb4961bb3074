"""interlock.yaml -> typed settings, with errors that say where, what is wrong, and what would be right."""

from __future__ import annotations

from .document import Document
from .load import Watch, diff, from_document, load, redacted
from .settings import Settings

__all__ = ["Document", "Settings", "Watch", "diff", "from_document", "load", "redacted"]
