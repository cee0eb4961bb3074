"""What answers requests: each kind of provider behind one method, `send(call) -> chunks`.

`PROVIDERS` maps the `kind` of a configured provider to its class, whose constructor's parameters are the settings.
Ollama, vLLM, SGLang and llama.cpp speak OpenAI's protocol: their kind is `openai` with a `base_url`.
"""

from __future__ import annotations

from .anthropic import Anthropic
from .base import Call, Chunks, Closable, Provider, close_all
from .connection import Limits
from .detect import Found, detect
from .openai import OpenAI
from .pocket import Pocket
from .replay import Recorder, Replay

PROVIDERS: dict[str, type[Provider]] = {
    "openai": OpenAI,
    "anthropic": Anthropic,
    "pocket": Pocket,
    "replay": Replay,
}

__all__ = [
    "PROVIDERS",
    "Anthropic",
    "Call",
    "Chunks",
    "Closable",
    "Found",
    "Limits",
    "OpenAI",
    "Pocket",
    "Provider",
    "Recorder",
    "Replay",
    "close_all",
    "detect",
]
