"""What this machine offers without any configuration: keys in the environment, an Ollama that answers.

Detection looks and reports; it decides nothing. The only request it makes is to Ollama's own address.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import msgspec

from ..errors import ConfigError, ProviderError
from .http import Client, Limits

OLLAMA = "http://127.0.0.1:11434"
BUDGET = 0.2


class Found(msgspec.Struct, frozen=True):
    """One provider that could be used.

    `secret` names the environment variable that holds its key, empty for none. `models` are those it said it serves;
    empty when it was not asked. `because` says in words what gave it away.
    """

    kind: str
    base_url: str
    because: str
    secret: str = ""
    models: tuple[str, ...] = ()


class _Model(msgspec.Struct):
    name: str


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
    """Raises `ProviderError` when nothing answers in time, or not like Ollama."""
    deadline = time.monotonic() + budget
    client = Client(address, Limits(connections=1, connect=budget, first_byte=budget, between=budget, body=1 << 20))
    try:
        response = await client.send(client.endpoint("GET", "/api/tags", {}), deadline=deadline)
        body = await response.read()
        if response.status != 200:
            raise ProviderError(f"it answered {response.status}")
        return tuple(model.name for model in msgspec.json.decode(body, type=_Tags).models)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise ProviderError("it does not answer like Ollama") from None
    finally:
        await client.aclose()
