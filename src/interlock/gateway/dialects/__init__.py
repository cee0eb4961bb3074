"""The APIs that callers speak. One file a dialect, pure functions over JSON: a request into a chat request, and a chat
answer into an answer of that API, whole or as events.

What a dialect can say and chat cannot is never dropped in silence: it is refused with the field's name, or it keeps the
request from every provider that does not speak the dialect itself.
"""

from __future__ import annotations

from ...errors import InterlockError
from ..replies import as_json
from .base import Dialect
from .chat import Chat
from .completions import Completions
from .messages import Messages
from .responses import Responses


def error_body(error: InterlockError, path: bytes) -> bytes:
    """An error in the shape that callers of this path expect."""
    return _MESSAGES.error(error) if path.startswith(b"/v1/messages") else as_json(error)


_MESSAGES = Messages()

__all__ = ["Chat", "Completions", "Dialect", "Messages", "Responses", "error_body"]
