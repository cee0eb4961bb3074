"""interlock.yaml -> typed settings, with errors that say where, what is wrong, and what would be right."""

from __future__ import annotations

from .changes import Change, Watch, changes, diff, redacted
from .document import Document
from .load import from_document, load
from .settings import Settings

__all__ = ["Change", "Document", "Settings", "Watch", "changes", "diff", "from_document", "load", "redacted"]
