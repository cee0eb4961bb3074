"""Each mistake in a configuration gives one precise message: the file, the line, what is wrong and the nearest valid name."""

from __future__ import annotations

from pathlib import Path

import pytest

from interlock.config import Watch, diff, load, redacted
from interlock.errors import ConfigError

GOOD = """\
version: 1
providers:
  pocket: {kind: pocket}
  far:
    kind: openai
    base_url: http://127.0.0.1:9/v1
    api_key: env:FAR_KEY
candidates:
  - name: small
    provider: pocket
    model: small-t1
    price: {in: 1.27, out: 1.27}
    context_window: 512
    capabilities: {tools: no}
    trust: private
  - name: large
    provider: far
    model: big-model
    price: {in: 2.0, out: 8.0}
    max_output: 4096
models:
  auto: {candidates: ["*"]}
  private: {candidates: [small]}
vector: [tokens, structure]
guards:
  access:
    tenants: {acme: [small]}
  trust: {signal: pii, allow: [private]}
  rules:
    - name: long-prompts
      when: "signals.tokens > 400.0 && request.tenant != 'acme'"
      forbid: "candidate.context_window < 1000.0"
      because: long prompts need a large window
policy:
  estimator: {kind: ridge, forgetting: 0.998}
  objective: {kind: weighted, quality: 1.0, cost: 20.0}
  exploration: {kind: thompson, scale: 1.0}
  default_order: [large, small]
execution:
  strategy: cascade
  actions: {provider_timeout: next}
server:
  port: 8400
"""

ENVIRONMENT = {"FAR_KEY": "secret"}

MISTAKES = {
    "unknown key": ("guards:\n", "gaurds:\n", 24, "gaurds", "did you mean 'guards'?"),
    "unknown key inside a block": ("context_window: 512", "context_windw: 512", 13, "context_windw", "did you mean 'context_window'?"),
    "unknown key in a price": ("{in: 1.27", "{inn: 1.27", 12, "inn", "did you mean 'in'?"),
    "wrong type": ("port: 8400", "port: eight", 42, "server.port", "expected 'int'"),
    "number out of range": ("port: 8400", "port: 84000", 42, "server.port", "<= 65535"),
    "impossible price": ("in: 2.0", "in: -2.0", 19, "price", ">= 0"),
    "duplicate candidate": ("name: large", "name: small", 16, "candidates[1].name", "the first is on line 9"),
    "duplicate key": ("version: 1\n", "version: 1\nversion: 1\n", 2, "version", "twice"),
    "unknown provider": ("provider: far", "provider: fra", 17, "candidates[1].provider", "did you mean 'far'?"),
    "unknown kind of provider": ("kind: openai", "kind: openia", 5, "providers.far.kind", "did you mean 'openai'?"),
    "not a URL": ("http://127.0.0.1:9/v1", "127.0.0.1:9/v1", 6, "base_url", "not an http or https URL"),
    "secret written out": ("env:FAR_KEY", "sk-123", 7, "api_key", "env:NAME"),
    "missing secret": ("env:FAR_KEY", "env:FAR_KYE", 7, "FAR_KYE", "did you mean 'FAR_KEY'?"),
    "unknown capability answer": ("tools: no", "tools: nope", 14, "capabilities.tools", "yes, no or unknown"),
    "unknown signal in the vector": ("[tokens, structure]", "[tokens, structre]", 24, "vector[1]", "did you mean 'structure'?"),
    "tenant's glob matches nothing": ("acme: [small]", "acme: [smol]", 27, "acme", "did you mean 'small'?"),
    "unknown signal in a rule": ("signals.tokens", "signals.tokns", 31, "column 9", "did you mean 'tokens'?"),
    "unknown field of a candidate": ("candidate.context_window", "candidate.window", 32, "column 11", "context_window"),
    "type error in a rule": ("> 400.0", "> 'many'", 31, "type error", "doubles"),
    "type error behind a short circuit": ("request.tenant != 'acme'", "request.tenant > 5.0", 31, "type error", "doubles"),
    "rule that is not CEL": ("> 400.0", "> > 400.0", 31, "not CEL", "column"),
    "rule that is not a condition": ("candidate.context_window < 1000.0", "candidate.name", 32, "must give true or false", "str"),
    "unknown estimator": ("kind: ridge", "kind: rigde", 35, "policy.estimator.kind", "did you mean 'ridge'?"),
    "unknown parameter": ("forgetting:", "forgeting:", 35, "forgeting", "did you mean 'forgetting'?"),
    "parameter of the wrong type": ("forgetting: 0.998", "forgetting: slow", 35, "forgetting", "expected 'float'"),
    "unknown candidate in an order": ("[large, small]", "[large, smal]", 38, "default_order[1]", "did you mean 'small'?"),
    "unknown strategy": ("strategy: cascade", "strategy: casacde", 40, "execution.strategy", "did you mean 'cascade'?"),
    "unknown error code": ("provider_timeout", "provider_timout", 41, "provider_timout", "did you mean 'provider_timeout'?"),
    "virtual model named like a candidate": ("  private: {", "  small: {", 23, "models.small", "name of a candidate"),
    "not YAML": ("version: 1", "version: [1", 2, "not YAML", ""),
}  # fmt: skip


def write(folder: Path, text: str) -> Path:
    path = folder / "interlock.yaml"
    path.write_text(text)
    return path


def test_a_right_configuration_loads(tmp_path: Path) -> None:
    settings = load(write(tmp_path, GOOD), ENVIRONMENT)
    assert [candidate.name for candidate in settings.candidates] == ["small", "large"]
    assert {"tokens", "structure", "pii"} == set(settings.signal_names())
    assert settings.hash == load(write(tmp_path, GOOD), ENVIRONMENT).hash


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_gives_one_precise_message(mistake: str, tmp_path: Path) -> None:
    right, wrong, line, where, hint = MISTAKES[mistake]
    text = GOOD.replace(right, wrong, 1)
    assert text != GOOD, "the mistake must change the file"
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(path, ENVIRONMENT)
    message = str(caught.value)
    assert message.startswith(f"{path}:{line}: "), message
    assert where in message
    assert hint in message


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load(tmp_path / "nowhere.yaml")


def test_what_is_shown_holds_no_secret(tmp_path: Path) -> None:
    text = GOOD.replace("api_key: env:FAR_KEY", "api_key: env:FAR_KEY\n    headers: {x-token: marker}")
    assert "marker" not in str(redacted(load(write(tmp_path, text), ENVIRONMENT)))


def test_a_difference_is_listed_by_path(tmp_path: Path) -> None:
    old = load(write(tmp_path, GOOD), ENVIRONMENT)
    new = load(write(tmp_path, GOOD.replace("cost: 20.0", "cost: 30.0")), ENVIRONMENT)
    assert diff(old, new) == ["policy.objective.cost: 20.0 -> 30.0"]
    assert old.hash != new.hash


def test_a_change_is_noticed_once_and_touching_is_none(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    watch = Watch(path)
    assert not watch.changed()
    path.touch()
    assert not watch.changed()
    write(tmp_path, GOOD + "\n# more\n")
    assert watch.changed()
    assert not watch.changed()
