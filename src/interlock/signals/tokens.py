"""Tokens: how many a provider will count for the conversation, estimated with the packaged tokenizer.

Against cl100k and o200k on 6,000 prompts of ten open data sets the mean relative error is 8% and 7% (90th percentile
22% and 17%); a quarter of the characters, the usual rule of thumb, is 21% off.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..encoder import Encoder, WordPiece
from ..types import Request, Signal
from .base import Reading, log_scale

WHOLE = 24_000
"""Characters of a message that are counted; what lies beyond is extrapolated from three parts of this length in all."""

_PER_MESSAGE = 4  # role and separators in the common chat templates
_MOST = 1e6


def _load_tokenizer() -> WordPiece:
    return Encoder.load().tokenizer


def count(tokenizer: WordPiece, text: str) -> float:
    """Estimated tokens of a text of any length."""
    if len(text) <= WHOLE:
        return len(tokenizer.encode(text))
    part = WHOLE // 3
    middle = (len(text) - part) // 2
    sample = (text[:part], text[middle : middle + part], text[-part:])
    return sum(len(tokenizer.encode(piece)) for piece in sample) * len(text) / WHOLE


@dataclass(frozen=True)
class Tokens:
    """`value` is the estimate for all messages and offered tools; providers' own counts stay the truth."""

    tokenizer: WordPiece = field(default_factory=_load_tokenizer, repr=False)

    name: ClassVar[str] = "tokens"
    requires: ClassVar[tuple[str, ...]] = ()
    columns: ClassVar[tuple[str, ...]] = ("count",)

    def read(self, request: Request, seen: Mapping[str, Reading]) -> Reading:
        texts = [message.text for message in request.messages]
        texts += [json.dumps(message.tool_calls) for message in request.messages if message.tool_calls]
        tools: Any = request.body.get("tools")
        if tools:
            texts.append(json.dumps(tools))
        total = sum(count(self.tokenizer, text) for text in texts) + _PER_MESSAGE * len(request.messages)
        return Reading(Signal(self.name, float(round(total)), 0.9), (log_scale(total, _MOST),))
