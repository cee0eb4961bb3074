"""A LiteLLM proxy configuration as an interlock configuration, key by key; what has no equivalent is named.

A deployment of `model_list` becomes a candidate. Deployments that share a `model_name` become candidates of their own
behind a virtual model of that name, among which interlock then decides. No secret is copied: one that is written out
becomes a reference to an environment variable, which the result names.

Source: the keys as LiteLLM documents them, https://docs.litellm.ai/docs/proxy/configs and /config_settings.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NamedTuple

from .document import Document, Place, dotted


class Service(NamedTuple):
    """Where the models behind a LiteLLM prefix are. `suffix` completes an `api_base` that lacks it."""

    kind: str = "openai"
    base_url: str = ""
    key: str = ""
    suffix: str = ""


SERVICES: Mapping[str, Service] = {
    "openai": Service(key="OPENAI_API_KEY"),
    "anthropic": Service("anthropic", key="ANTHROPIC_API_KEY"),
    "ollama": Service(base_url="http://127.0.0.1:11434/v1", suffix="/v1"),
    "ollama_chat": Service(base_url="http://127.0.0.1:11434/v1", suffix="/v1"),
    "hosted_vllm": Service(),
    "vllm": Service(),
    "lm_studio": Service(),
    "llamafile": Service(),
    "custom_openai": Service(),
    "litellm_proxy": Service(),
    "cerebras": Service(base_url="https://api.cerebras.ai/v1", key="CEREBRAS_API_KEY"),
    "deepinfra": Service(base_url="https://api.deepinfra.com/v1/openai", key="DEEPINFRA_API_KEY"),
    "deepseek": Service(base_url="https://api.deepseek.com/v1", key="DEEPSEEK_API_KEY"),
    "fireworks_ai": Service(base_url="https://api.fireworks.ai/inference/v1", key="FIREWORKS_API_KEY"),
    "gemini": Service(base_url="https://generativelanguage.googleapis.com/v1beta/openai", key="GEMINI_API_KEY"),
    "groq": Service(base_url="https://api.groq.com/openai/v1", key="GROQ_API_KEY"),
    "mistral": Service(base_url="https://api.mistral.ai/v1", key="MISTRAL_API_KEY"),
    "nvidia_nim": Service(base_url="https://integrate.api.nvidia.com/v1", key="NVIDIA_NIM_API_KEY"),
    "openrouter": Service(base_url="https://openrouter.ai/api/v1", key="OPENROUTER_API_KEY"),
    "perplexity": Service(base_url="https://api.perplexity.ai", key="PERPLEXITYAI_API_KEY"),
    "together_ai": Service(base_url="https://api.together.xyz/v1", key="TOGETHERAI_API_KEY"),
    "xai": Service(base_url="https://api.x.ai/v1", key="XAI_API_KEY"),
}
"""Services that speak OpenAI's or Anthropic's protocol. `custom_openai` and its neighbours need an `api_base`."""

UNPREFIXED = (("claude", "anthropic"), ("gpt", "openai"), ("chatgpt", "openai"), ("o1", "openai"), ("o3", "openai"))
"""What a model without a prefix is, by how its name begins; `o4-mini` and later names say `openai/`."""

PRICES = {
    "input_cost_per_token": "in",
    "output_cost_per_token": "out",
    "cache_read_input_token_cost": "cached",
}
CAPABILITIES = {
    "supports_function_calling": "tools",
    "supports_response_schema": "json",
    "supports_vision": "image",
    "supports_audio_input": "audio",
}
SIZES = {"max_input_tokens": "context_window", "max_output_tokens": "max_output"}
SAMPLING = ("temperature", "top_p", "n", "seed", "stop", "presence_penalty", "frequency_penalty")
OPTIONS = (*SAMPLING, "max_tokens", "max_completion_tokens", "reasoning_effort", "thinking", "service_tier", "user")
TIMEOUTS = {"timeout": "first_byte_timeout_s", "stream_timeout": "stall_timeout_s"}
COMMENTS = (
    "id",
    "base_model",
    "description",
    "mode",
    "db_model",
    "updated_at",
    "created_at",
)  # of model_info: harmless

_FALLS_BACK = "interlock falls back to any permitted candidate of the model asked for: list them under models"
_RESTS = "interlock has no limit per candidate; a 429 rests a candidate for as long as the provider asks"
_OBSERVED = "interlock exports metrics at /metrics and keeps every call in its ledger"
INSTEAD = {
    "rpm": _RESTS,
    "tpm": _RESTS,
    "weight": "the share of a candidate follows from the policy",
    "order": "give policy.default_order, or a quality and a price, from which the policy follows",
    "routing_strategy": "the policy block takes its place: estimator, objective, exploration",
    "routing_strategy_args": "the policy block takes its place",
    "fallbacks": _FALLS_BACK,
    "default_fallbacks": _FALLS_BACK,
    "context_window_fallbacks": "not needed: the capability guard rules out windows that are too small beforehand",
    "content_policy_fallbacks": "give execution.actions, from error code to retry, next or refuse",
    "enable_pre_call_checks": "not needed: guards check every candidate before it is chosen",
    "drop_params": "interlock forwards the caller's fields as they are",
    "database_url": "interlock keeps a ledger of its own: ledger.path",
    "cache": "interlock has no response cache",
    "cache_params": "interlock has no response cache",
    "success_callback": _OBSERVED,
    "failure_callback": _OBSERVED,
    "callbacks": _OBSERVED,
    "set_verbose": "logging is set where interlock is started",
    "guardrails": "give guards.rules and guards.trust",
}
"""What to do about keys without an equivalent."""


class Left(NamedTuple):
    """A key that could not be honoured: where it stands, and what to do about it."""

    line: int
    path: str
    why: str


@dataclass
class Imported:
    """`settings` as `interlock.yaml` has them; `left` what it lacks; `secrets` the variables that were written out."""

    settings: dict[str, Any] = field(default_factory=dict)
    left: list[Left] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)


def translate(document: Document) -> Imported:
    """Raises `ConfigError` when the file is not a LiteLLM configuration, or no deployment of it can be served."""
    translation = _Translation(document)
    for key, value in document.data.items():
        sections = translation.sections()
        if key in sections:
            sections[key](value)
        else:
            translation.leave(key)
    return translation.finish()


class _Translation:
    """The state of one translation. Methods take a section of the file and fill `result`."""

    def __init__(self, document: Document) -> None:
        self.document, self.result = document, Imported()
        self.providers: dict[str, dict[str, Any]] = {}
        self.candidates: list[dict[str, Any]] = []
        self.groups: dict[str, list[str]] = {}  # model_name -> its candidates
        self.aliases: dict[str, str] = {}
        self.blocks: dict[str, dict[str, Any]] = {}
        self.written_out: dict[str, str] = {}  # secret -> the variable to put it into

    def sections(self) -> dict[str, Callable[[Any], None]]:
        return {
            "model_list": self.models,
            "router_settings": lambda value: self.tuning("router_settings", value),
            "litellm_settings": lambda value: self.tuning("litellm_settings", value),
            "general_settings": self.general,
        }

    def leave(self, *place: str | int, why: str = "") -> None:
        reason = why or INSTEAD.get(str(place[-1]), "interlock has no equivalent")
        self.result.left.append(Left(self.document.line(place), dotted(place), reason))

    # model_list

    def models(self, entries: Any) -> None:
        if not isinstance(entries, list):
            raise self.document.error(
                "must be a list of deployments, each with model_name and litellm_params", "model_list"
            )
        shared = Counter(_name(str(entry.get("model_name"))) for entry in entries if isinstance(entry, dict))
        taken = {group for group, deployments in shared.items() if deployments == 1}
        for i, entry in enumerate(entries):
            place = ("model_list", i)
            params = entry.get("litellm_params") if isinstance(entry, dict) else None
            if not isinstance(params, dict) or not isinstance(params.get("model"), str) or not entry.get("model_name"):
                raise self.document.error("a deployment needs model_name and litellm_params.model", *place)
            group = _name(str(entry["model_name"]))
            name = (
                group if shared[group] == 1 else next(free for n in count(1) if (free := f"{group}@{n}") not in taken)
            )
            taken.add(name)
            candidate = self.deployment(name, params, entry.get("model_info") or {}, place)
            for key in entry:
                if key not in ("model_name", "litellm_params", "model_info"):
                    self.leave(*place, key)
            if candidate is not None:
                self.candidates.append(candidate)
                self.groups.setdefault(group, []).append(name)

    def deployment(
        self, name: str, params: Mapping[str, Any], info: Mapping[str, Any], place: Place
    ) -> dict[str, Any] | None:
        """One candidate, or `None` when interlock cannot reach it."""
        if info.get("mode", "chat") not in ("chat", "responses"):
            self.leave(
                *place, "model_info", "mode", why=f"interlock routes chat; {name} is for {info['mode']}: left out"
            )
            return None
        if "*" in params["model"]:
            self.leave(*place, "litellm_params", "model", why="a wildcard: name the models that may be chosen")
            return None
        prefix, model = self.service(params["model"], params)
        if prefix not in SERVICES:
            problem = f"{prefix or params['model']} does not speak a protocol that interlock speaks: {name} is left out"
            self.leave(*place, "litellm_params", "model", why=problem)
            return None
        provider = self.provider(prefix, params, place)
        if provider is None:
            return None
        candidate: dict[str, Any] = {"name": name, "provider": provider, "model": model}
        self.describe(candidate, params, (*place, "litellm_params"))
        self.describe(candidate, info, (*place, "model_info"))
        if "price" in candidate and not {"in", "out"} <= candidate["price"].keys():
            self.leave(*place, why="a price needs input_cost_per_token and output_cost_per_token: left out")
            del candidate["price"]
        return candidate

    def service(self, model: str, params: Mapping[str, Any]) -> tuple[str, str]:
        """(LiteLLM's prefix, the model as its provider calls it); an empty prefix when there is none to be known."""
        prefix, slash, rest = model.partition("/")
        if slash and prefix in SERVICES:
            return prefix, rest
        stated = params.get("custom_llm_provider")
        if stated:
            return str(stated), model
        if slash:
            return prefix, rest
        guess = next((service for start, service in UNPREFIXED if model.startswith(start)), "")
        return guess or ("custom_openai" if params.get("api_base") else ""), model

    def provider(self, prefix: str, params: Mapping[str, Any], place: Place) -> str | None:
        """The name of the provider with this address, key and patience; a new one if there is none yet."""
        service, within = SERVICES[prefix], (*place, "litellm_params")
        block: dict[str, Any] = {"kind": service.kind}
        url = str(params.get("api_base") or service.base_url)
        if url.startswith("os.environ/"):
            why = (
                f"an address is written out in interlock, not taken from the environment: {params['model']} is left out"
            )
            self.leave(*within, "api_base", why=why)
            return None
        if not url and prefix not in ("openai", "anthropic"):
            self.leave(*within, "model", why=f"{prefix} needs an api_base: {params['model']} is left out")
            return None
        if url:
            url = url.rstrip("/")
            block["base_url"] = url if url.endswith(service.suffix) else url + service.suffix
        key = params.get("api_key") or (f"os.environ/{service.key}" if service.key else "")
        if key:
            block["api_key"] = self.secret(str(key), service.key or f"{prefix.upper()}_API_KEY")
        block.update({ours: params[theirs] for theirs, ours in TIMEOUTS.items() if _number(params.get(theirs))})
        for name, known in self.providers.items():
            if known == block:
                return name
        taken = sum(known == prefix or known.startswith(f"{prefix}-") for known in self.providers)
        name = prefix if not taken else f"{prefix}-{taken + 1}"
        self.providers[name] = block
        return name

    def secret(self, value: str, variable: str) -> str:
        """A reference to a secret; one that is written out is not copied but asked for."""
        if value.startswith("os.environ/"):
            return f"env:{value.removeprefix('os.environ/')}"
        if value not in self.written_out:
            others = sum(known == variable or known.startswith(f"{variable}_") for known in self.result.secrets)
            self.written_out[value] = variable if not others else f"{variable}_{others + 1}"
            self.result.secrets.append(self.written_out[value])
        return f"env:{self.written_out[value]}"

    def describe(self, candidate: dict[str, Any], facts: Mapping[str, Any], place: Place) -> None:
        """Prices, sizes, capabilities and options, which LiteLLM allows in `litellm_params` and in `model_info`."""
        info = place[-1] == "model_info"
        for key, value in facts.items():
            if key in PRICES and _number(value):
                candidate.setdefault("price", {})[PRICES[key]] = round(value * 1e6, 9)
            elif key in CAPABILITIES and isinstance(value, bool):
                candidate.setdefault("capabilities", {})[CAPABILITIES[key]] = "yes" if value else "no"
            elif key in SIZES and _number(value):
                candidate[SIZES[key]] = int(value)
            elif not info and key in OPTIONS:
                candidate.setdefault("options", {})[key] = value
            elif info and key == "max_tokens" and _number(value):
                candidate.setdefault("max_output", int(value))
            elif info and key in COMMENTS:
                continue
            elif info or key not in ("model", "api_base", "api_key", "custom_llm_provider", *TIMEOUTS):
                self.leave(*place, key)

    # settings

    def tuning(self, section: str, values: Any) -> None:
        """`router_settings` and `litellm_settings`, which share many keys."""
        for key, value in (values or {}).items():
            if key == "model_group_alias" and isinstance(value, dict):
                self.aliases.update({_name(str(alias)): _name(_target(group)) for alias, group in value.items()})
            elif key == "num_retries" and _number(value):
                self.set("execution", "retries", min(int(value), 10))
            elif key in ("timeout", "request_timeout") and _number(value):
                self.set("execution", "deadline_s", float(value))
            elif key == "retry_after" and _number(value):
                self.set("execution", "backoff_s", float(value))
            elif key == "allowed_fails" and _number(value):
                self.set("health", "failures", int(value) + 1)
            elif key == "cooldown_time" and _number(value):
                self.set("health", "pause_s", max(float(value), 0.1))
            else:
                self.leave(section, key)

    def set(self, block: str, key: str, value: Any) -> None:
        self.blocks.setdefault(block, {})[key] = value

    def general(self, values: Any) -> None:
        for key, value in (values or {}).items():
            if key == "master_key":
                reference = self.secret(str(value), "LITELLM_MASTER_KEY")
                self.blocks["server"] = {"keys": [{"tenant": "master", "key": reference, "role": "admin"}]}
            else:
                self.leave("general_settings", key)

    # the whole

    def finish(self) -> Imported:
        if not self.candidates:
            why = "; ".join(f"line {left.line}: {left.why}" for left in self.result.left[:3])
            problem = (
                "no deployment that interlock can reach" if "model_list" in self.document.data else "no model_list"
            )
            raise self.document.error(f"{problem}{': ' + why if why else ''}")
        models: dict[str, Any] = {"auto": {"candidates": ["*"], "description": "any candidate"}}
        models |= {group: {"candidates": names} for group, names in self.groups.items() if names != [group]}
        for alias, group in self.aliases.items():
            if alias in self.groups:
                self.leave("router_settings", "model_group_alias", alias, why="a deployment has this name already")
            elif group in self.groups:
                models[alias] = {"candidates": list(self.groups[group])}
            else:
                self.leave("router_settings", "model_group_alias", alias, why=f"there is no deployment called {group}")
        settings: dict[str, Any] = {
            "version": 1,
            "providers": self.providers,
            "candidates": self.candidates,
            "models": models,
        }
        health = self.blocks.pop("health", None)
        if health:
            settings["guards"] = {"health": health | {"longest_s": max(120.0, health.get("pause_s", 0.0))}}
        self.result.settings = settings | self.blocks
        self.result.left.sort()
        return self.result


def _name(text: str) -> str:
    """A name as interlock allows it."""
    return re.sub(r"[^A-Za-z0-9._:/@-]+", "-", text).lstrip("._:/@-") or "model"


def _target(group: Any) -> str:
    """LiteLLM writes an alias as a name, or as a mapping with `model` and `hidden`."""
    return str(group["model"]) if isinstance(group, dict) and "model" in group else str(group)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
