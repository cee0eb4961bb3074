"""What this machine offers without any configuration: keys in the environment, an Ollama that answers.

Detection looks and reports; it decides nothing. The only requests it makes are to Ollama's own address.

Source: Ollama API reference, "List Local Models" and "Show Model Information".
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from ..errors import ConfigError, ProviderError
from .http import Client, Limits

OLLAMA = "http://127.0.0.1:11434"
BUDGET = 0.2

Reply = TypeVar("Reply")

log = logging.getLogger("interlock.providers")


class Found(msgspec.Struct, frozen=True):
    """One provider that could be used.

    `secret` names the environment variable that holds its key, empty for none. `models` are those it said it serves and
    that can chat; empty when it was not asked. `because` says in words what gave it away.
    """

    kind: str
    base_url: str
    because: str
    secret: str = ""
    models: tuple[str, ...] = ()


class _Details(msgspec.Struct):
    family: str = ""


class _Model(msgspec.Struct):
    """`capabilities` are `completion`, `embedding`, `tools`, ...; None where Ollama does not say."""

    name: str
    details: _Details | None = None
    capabilities: list[str] | None = None


class _Shown(msgspec.Struct):
    capabilities: list[str] | None = None


class _Tags(msgspec.Struct):
    models: list[_Model] = []


async def detect(environment: Mapping[str, str], budget: float = BUDGET) -> tuple[list[Found], list[str]]:
    """What was found, and notes on what was tried in vain, within `budget` seconds."""
    found, notes = [], []
    for kind, secret, base, default in (
        ("openai", "OPENAI_API_KEY", "OPENAI_BASE_URL", "https://api.openai.com/v1"),
        ("anthropic", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "https://api.anthropic.com"),
    ):
        if environment.get(secret, "").strip():
            url = environment.get(base, "").strip() or default
            if kind == "anthropic" and not url.rstrip("/").endswith("/v1"):
                url = url.rstrip("/") + "/v1"  # Anthropic's own clients take the base URL without it
            found.append(Found(kind, url, f"{secret} is set", secret))
    address = ollama_address(environment)
    try:
        models = await _ollama_models(address, budget)
    except (ProviderError, ConfigError) as error:
        notes.append(f"no Ollama at {address}: {error}")
    else:
        found.append(Found("openai", f"{address}/v1", f"Ollama answers at {address}", models=models))
    return found, notes


def ollama_address(environment: Mapping[str, str]) -> str:
    """`OLLAMA_HOST` as Ollama itself reads it: scheme and port may be missing, 0.0.0.0 means this machine."""
    host = environment.get("OLLAMA_HOST", "").strip().rstrip("/")
    if not host:
        return OLLAMA
    scheme, separator, rest = host.partition("://")
    scheme, rest = (scheme, rest) if separator else ("http", host)
    name, colon, port = rest.rpartition(":")
    name, port = (name, port) if colon and port.isdigit() else (rest, "11434")
    return f"{scheme}://{'127.0.0.1' if name in ('', '0.0.0.0') else name}:{port}"


async def _ollama_models(address: str, budget: float) -> tuple[str, ...]:
    """Those that can chat. Raises `ProviderError` when nothing answers in time, or not like Ollama."""
    deadline = time.monotonic() + budget
    client = Client(address, Limits(connections=4, connect=budget, first_byte=budget, between=budget, body=1 << 20))
    try:
        models = (await _ask(client, "GET", "/api/tags", b"", _Tags, deadline)).models
        chats = await asyncio.gather(*(_chats(client, model, deadline) for model in models))
        return tuple(model.name for model, can in zip(models, chats, strict=True) if can)
    finally:
        await client.aclose()


async def _chats(client: Client, model: _Model, deadline: float) -> bool:
    """Whether a model can chat: as Ollama lists it, else as it shows it, else by its family.

    BERT's families only make embeddings. When in doubt it can.
    """
    capabilities = model.capabilities
    if capabilities is None:
        try:
            body = msgspec.json.encode({"model": model.name})
            capabilities = (await _ask(client, "POST", "/api/show", body, _Shown, deadline)).capabilities
        except ProviderError as error:
            log.debug("Ollama does not show %s: %s", model.name, error)
    if capabilities is not None:
        return "completion" in capabilities
    return model.details is None or "bert" not in model.details.family


async def _ask(client: Client, method: str, path: str, body: bytes, kind: type[Reply], deadline: float) -> Reply:
    headers = {"content-type": "application/json"} if body else {}
    response = await client.send(client.endpoint(method, path, headers), body, deadline=deadline)
    answer = await response.read()
    if response.status != 200:
        raise ProviderError(f"it answered {response.status}")
    try:
        return msgspec.json.decode(answer, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise ProviderError("it does not answer like Ollama") from None
