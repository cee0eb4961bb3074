"""Logs as one JSON object a line, for machines that read them."""

from __future__ import annotations

import logging
import traceback

import msgspec


class JsonLines(logging.Formatter):
    """`at` (seconds since the epoch), `level`, `logger`, `message`; of an exception its type and the places it passed.

    The text of an exception is left out: a stranger's may quote a prompt.
    """

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": round(record.created, 6),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            frames = traceback.extract_tb(record.exc_info[2])
            line["exception"] = record.exc_info[0].__name__
            line["trace"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        return msgspec.json.encode(line).decode()
