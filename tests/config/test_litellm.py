"""LiteLLM configurations as their users write them: what arrives, and that nothing is dropped without a word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.config import Document, from_document
from interlock.config.litellm import INSTEAD, SERVICES, Imported, translate
from interlock.errors import ConfigError


@pytest.fixture
def imported(tmp_path: Path) -> Any:
    def read(text: str) -> Imported:
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return translate(Document.read(path))

    return read


def one(params: str, info: str = "{}") -> str:
    return f"model_list:\n- model_name: m\n  litellm_params: {params}\n  model_info: {info}\n"


@pytest.mark.parametrize(
    ("params", "kind", "url", "model"),
    [
        ("{model: openai/gpt-4o}", "openai", None, "gpt-4o"),
        ("{model: gpt-4o}", "openai", None, "gpt-4o"),
        ("{model: claude-sonnet-4-0}", "anthropic", None, "claude-sonnet-4-0"),
        ("{model: anthropic/claude-x}", "anthropic", None, "claude-x"),
        ("{model: ollama/llama3}", "openai", "http://127.0.0.1:11434/v1", "llama3"),
        ("{model: ollama_chat/llama3, api_base: 'http://box:1/'}", "openai", "http://box:1/v1", "llama3"),
        (
            "{model: hosted_vllm/Qwen/Qwen3-8B, api_base: 'http://box:1/v1'}",
            "openai",
            "http://box:1/v1",
            "Qwen/Qwen3-8B",
        ),
        ("{model: groq/llama-3.3-70b}", "openai", "https://api.groq.com/openai/v1", "llama-3.3-70b"),
        ("{model: openrouter/meta/llama}", "openai", "https://openrouter.ai/api/v1", "meta/llama"),
        ("{model: mine, api_base: 'http://box:1/v1'}", "openai", "http://box:1/v1", "mine"),
    ],
)
def test_a_deployment_becomes_a_candidate_of_the_right_provider(
    imported: Any, params: str, kind: str, url: str | None, model: str
) -> None:
    settings = imported(one(params)).settings
    candidate = settings["candidates"][0]
    provider = settings["providers"][candidate["provider"]]
    assert (candidate["name"], candidate["model"]) == ("m", model)
    assert (provider["kind"], provider.get("base_url")) == (kind, url)


def test_prices_sizes_capabilities_and_options_arrive(imported: Any) -> None:
    result = imported(
        one(
            "{model: gpt-4o, temperature: 0.1, input_cost_per_token: 0.0000025, timeout: 30}",
            "{output_cost_per_token: 1.0e-5, max_input_tokens: 128000, max_tokens: 4096, supports_vision: true,"
            " supports_function_calling: false, base_model: gpt-4o}",
        )
    )
    candidate = result.settings["candidates"][0]
    assert candidate["price"] == {"in": 2.5, "out": 10.0}
    assert (candidate["context_window"], candidate["max_output"]) == (128000, 4096)
    assert candidate["capabilities"] == {"image": "yes", "tools": "no"}
    assert candidate["options"] == {"temperature": 0.1}
    assert result.settings["providers"]["openai"]["first_byte_timeout_s"] == 30
    assert not result.left


def test_deployments_of_one_name_stand_behind_a_virtual_model(imported: Any) -> None:
    result = imported(
        """
        model_list:
        - {model_name: chat, litellm_params: {model: openai/a, api_key: os.environ/KEY}}
        - {model_name: chat, litellm_params: {model: openai/b, api_key: os.environ/KEY}}
        - {model_name: chat, litellm_params: {model: openai/c, api_key: os.environ/OTHER}}
        router_settings: {model_group_alias: {gpt-4: chat, lost: nowhere}}
        """
    )
    names = ["chat@1", "chat@2", "chat@3"]
    assert [candidate["name"] for candidate in result.settings["candidates"]] == names
    assert result.settings["models"]["chat"]["candidates"] == names
    assert result.settings["models"]["gpt-4"]["candidates"] == names
    assert [provider["api_key"] for provider in result.settings["providers"].values()] == ["env:KEY", "env:OTHER"]
    assert [left.path for left in result.left] == ["router_settings.model_group_alias.lost"]


def test_a_secret_is_asked_for_and_never_copied(imported: Any) -> None:
    result = imported(
        """
        model_list:
        - {model_name: a, litellm_params: {model: openai/a, api_key: sk-first}}
        - {model_name: b, litellm_params: {model: openai/b, api_key: sk-second}}
        - {model_name: c, litellm_params: {model: openai/c, api_key: sk-first}}
        general_settings: {master_key: sk-master}
        """
    )
    assert "sk-" not in yaml.safe_dump(result.settings)
    assert result.secrets == ["OPENAI_API_KEY", "OPENAI_API_KEY_2", "LITELLM_MASTER_KEY"]
    providers = {c["name"]: c["provider"] for c in result.settings["candidates"]}
    assert providers["a"] == providers["c"] != providers["b"]
    assert result.settings["server"]["keys"] == [{"tenant": "master", "key": "env:LITELLM_MASTER_KEY", "role": "admin"}]


def test_retries_and_cooldowns_arrive(imported: Any) -> None:
    settings = imported(
        one("{model: gpt-4o}")
        + "router_settings: {num_retries: 2, allowed_fails: 3, cooldown_time: 300}\n"
        + "litellm_settings: {request_timeout: 60}\n"
    ).settings
    assert settings["execution"] == {"retries": 2, "deadline_s": 60.0}
    assert settings["guards"] == {"health": {"failures": 4, "pause_s": 300.0, "longest_s": 300.0}}


@pytest.mark.parametrize(
    ("text", "line", "path", "why"),
    [
        ("rpm: 5", 3, "model_list[0].litellm_params.rpm", "429"),
        ("vertex_project: p", 3, "model_list[0].litellm_params.vertex_project", "no equivalent"),
    ],
)
def test_what_has_no_equivalent_is_named_with_its_line(
    imported: Any, text: str, line: int, path: str, why: str
) -> None:
    (left,) = imported(one(f"{{model: gpt-4o, {text}}}")).left
    assert (left.line, left.path) == (line, path)
    assert why in left.why


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("general_settings: {}", "no model_list"),
        ("model_list: 3", "list of deployments"),
        ("model_list: [{model_name: a}]", r"model_list\[0\].*litellm_params.model"),
        (one("{model: azure/x}"), "azure does not speak"),
        (one("{model: openai/*}"), "wildcard"),
        (one("{model: hosted_vllm/x}"), "needs an api_base"),
        (one("{model: openai/x, api_base: os.environ/BASE}"), "not taken from the environment"),
        (one("{model: openai/e}", "{mode: embedding}"), "for embedding"),
    ],
)
def test_a_file_without_a_usable_deployment_says_why(imported: Any, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        imported(text)


@settings(deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "model_name": st.text(min_size=1, max_size=8),
                "litellm_params": st.dictionaries(
                    st.sampled_from(
                        ["rpm", "temperature", "api_key", "timeout", "input_cost_per_token", "odd", "weight"]
                    ),
                    st.sampled_from([1, 0.5, "os.environ/KEY", None, True, [1]]),
                ).map(lambda more: {"model": "openai/x", **more}),
            }
        ),
        min_size=1,
        max_size=5,
    ),
    st.dictionaries(st.sampled_from([*INSTEAD, "num_retries", "allowed_fails", "cooldown_time"]), st.integers(0, 9)),
)
def test_every_translation_is_a_valid_configuration_and_loses_no_key_silently(
    entries: list[dict[str, Any]], router: dict[str, int]
) -> None:
    names = [entry["model_name"] for entry in entries]
    result = translate(Document({"model_list": entries, "router_settings": router}))
    made = from_document(
        Document(result.settings),
        {"KEY": "k", "OPENAI_API_KEY": "k", "OPENAI_API_KEY_2": "k"} | dict.fromkeys(result.secrets, "k"),
    )
    assert len(made.candidates) == len(names)
    told = {left.path.rsplit(".", 1)[-1] for left in result.left}
    assert {key for key in router if key in INSTEAD} <= told
    assert not {"odd", "weight", "rpm"} & {key for e in entries for key in e["litellm_params"]} - told


def test_services_speak_protocols_that_exist() -> None:
    assert {service.kind for service in SERVICES.values()} == {"openai", "anthropic"}
