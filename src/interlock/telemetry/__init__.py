"""What others may watch: traces in OpenTelemetry's words, logs as lines of JSON. Off unless configured."""

from __future__ import annotations

from .context import Trace
from .export import Exporting
from .logs import JsonLines

__all__ = ["Exporting", "JsonLines", "Trace"]
