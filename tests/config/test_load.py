"""Each mistake gives one precise message: the file, the line, the path, what is wrong and the nearest valid name."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interlock.config import Document, Settings, from_document, load
from interlock.errors import ConfigError

GOOD = """\
version: 1
providers:
  pocket: {kind: pocket}
  far:
    kind: openai
    base_url: http://127.0.0.1:9/v1
    api_key: env:FAR_KEY
    max_connections: 8
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
    price: {in: 2.0, out: 8.0, cached: 0.5}
    max_output: 4096
    context_window: 128000
    options: {reasoning_effort: low}
models:
  auto: {candidates: ["*"]}
  private: {candidates: [small]}
signals:
  keywords:
    lists:
      legal: {words: [contract, liability], match: bm25, threshold: 0.2}
vector: [structure, keywords.legal]
guards:
  access:
    tenants: {acme: [small]}
    default: ["*"]
  trust: {signal: pii, allow: [private]}
  health: {pause_s: 5, longest_s: 60}
  rules:
    - name: long-prompts
      when: "signals.tokens > 400.0 && request.tenant != 'acme'"
      forbid: "candidate.context_window < 1000.0"
      because: long prompts need a large window
    - name: abroad
      when: >-
        signals.language != 'en'
        || has(request.hints.region)
      allow: [large]
policy:
  estimator: {kind: ridge, forgetting: 0.998}
  objective: {kind: weighted, quality: 1.0, cost: 20.0}
  exploration: {kind: thompson, scale: 1.0}
  default_order: [large, small]
execution:
  strategy: cascade
  stages: [small, large]
  actions: {provider_timeout: next}
learner:
  source_weights: {people: 1.0}
server:
  port: 8400
  keys:
    - {tenant: acme, key: "env:ACME_KEY"}
    - {tenant: other, key: "env:OTHER_KEY", role: operator}
shadow:
  preset: quality_cost
  exploration: {kind: softmax}
"""

ENVIRONMENT = {"FAR_KEY": "secret", "ACME_KEY": "one", "OTHER_KEY": "two"}

Mistake = tuple[str, str, str, str]
"""What stands in the file, what stands there instead, the dotted path and a part of the message."""

MISTAKES: dict[str, Mistake] = {
    # keys and types
    "unknown key": ("guards:\n", "gaurds:\n", "gaurds", "unknown key 'gaurds'; did you mean 'guards'?"),
    "unknown key in a block": ("max_output", "max_ouput", "candidates[1].max_ouput", "did you mean 'max_output'?"),
    "unknown key in a price": ("{in: 1.27", "{inn: 1.27", "candidates[0].price.inn", "did you mean 'in'?"),
    "unknown key of a tenant's key": ("role: operator", "rloe: operator", "server.keys[1].rloe", "'role'?"),
    "missing key": ("    model: big-model\n", "", "candidates[1]", "the key 'model' is missing"),
    "no candidates": ("candidates:\n  - name", "candidates: []\nx:\n  - name", "x", "unknown key 'x'"),
    "key twice": ("version: 1\n", "version: 1\nversion: 1\n", "version", "stands here twice; the first is on line 1"),
    "wrong type": ("port: 8400", "port: eight", "server.port", "expected a whole number, got 'eight'"),
    "number for a text": (
        "model: big-model",
        "model: 7",
        "candidates[1].model",
        "expected a text, got 7; put it in quotes",
    ),
    "text for a block": (
        "trust: {signal: pii, allow: [private]}",
        "trust: pii",
        "guards.trust",
        "expected a mapping or nothing",
    ),
    "value for a list": ("acme: [small]", "acme: small", "guards.access.tenants.acme", "expected a list, got 'small'"),
    "nothing for a block": ("pocket: {kind: pocket}", "pocket:", "providers.pocket", "expected a mapping, got nothing"),
    "not a name": ("name: large", "name: la rge", "candidates[1].name", "matching regex"),
    "not a number": ("scale: 1.0", "scale: .nan", "policy.exploration.scale", "expected a finite number, got nan"),
    "endless": ("pause_s: 5", "pause_s: .inf", "guards.health.pause_s", "expected a finite number, got inf"),
    # ranges
    "port out of range": ("port: 8400", "port: 84000", "server.port", "expected a whole number <= 65535, got 84000"),
    "negative price": ("in: 2.0", "in: -2.0", "candidates[1].price.in", "expected a number >= 0.0, got -2.0"),
    "absurd price": ("out: 8.0", "out: 8000000", "candidates[1].price.out", "<= 100000"),
    "number that YAML takes for a text": (
        "out: 8.0",
        "out: 8e6",
        "candidates[1].price.out",
        "got '8e6'; write its digits out",
    ),
    "cached dearer than fresh": ("cached: 0.5", "cached: 5", "candidates[1].price.cached", "cannot cost more"),
    "share above one": ("pause_s: 5,", "ejectable: 50,", "guards.health.ejectable", "expected a number <= 1.0, got 50"),
    "threshold above one": ("threshold: 0.2", "threshold: 20", "signals.keywords.lists.legal.threshold", "[0, 1]"),
    "negative weight": ("people: 1.0", "people: -1", "learner.source_weights.people", ">= 0.0, got -1"),
    "more output than window": ("max_output: 4096", "max_output: 999999", "candidates[1].max_output", "in a window of"),
    "longest below first pause": ("longest_s: 60", "longest_s: 1", "guards.health.longest_s", "at least pause_s"),
    # names
    "duplicate candidate": ("name: large", "name: small", "candidates[1].name", "the first is on line 10"),
    "duplicate rule": ("name: abroad", "name: long-prompts", "guards.rules[1].name", "a second rule 'long-prompts'"),
    "duplicate in an order": ("[large, small]", "[large, large]", "policy.default_order[1]", "a second entry 'large'"),
    "candidate and model of one name": ("  private: {c", "  small: {c", "models.small", "is the name of a candidate"),
    "unknown provider": ("provider: far", "provider: fra", "candidates[1].provider", "did you mean 'far'?"),
    "unknown kind of provider": ("kind: openai", "kind: openia", "providers.far.kind", "did you mean 'openai'?"),
    "unknown capability answer": ("tools: no", "tools: nope", "candidates[0].capabilities.tools", "did you mean 'no'?"),
    "unknown model's candidate": (
        "private: {candidates: [small]}",
        "private: {candidates: [smal]}",
        "models.private.candidates[0]",
        "did you mean 'small'?",
    ),
    "unknown candidate in an order": ("[large, small]", "[large, smal]", "policy.default_order[1]", "mean 'small'?"),
    "unknown candidate in stages": ("[small, large]", "[small, lagre]", "execution.stages[1]", "did you mean 'large'?"),
    "access for nobody": ("acme: [small]", "acme: [smol]", "guards.access.tenants.acme[0]", "did you mean 'small'?"),
    "access for an unknown tenant": (
        "{acme: [small]}",
        "{amce: [small]}",
        "guards.access.tenants.amce",
        "mean 'acme'?",
    ),
    "unknown trust domain": ("allow: [private]", "allow: [privat]", "guards.trust.allow[0]", "did you mean 'private'?"),
    "trust by a signal of many values": ("signal: pii", "signal: task", "guards.trust.signal", "known: pii"),
    "unknown signal": ("  keywords:\n", "  keyword:\n", "signals.keyword", "did you mean 'keywords'?"),
    "unknown signal in the vector": ("[structure,", "[structre,", "vector[0]", "did you mean 'structure'?"),
    "unknown column in the vector": ("keywords.legal]", "keywords.leagl]", "vector", "did you mean 'keywords.legal'?"),
    "unknown match of keywords": ("match: bm25", "match: bm52", "signals.keywords.lists.legal.match", "mean 'bm25'?"),
    "unknown estimator": ("kind: ridge", "kind: rigde", "policy.estimator.kind", "did you mean 'ridge'?"),
    "unknown objective": ("kind: weighted", "kind: wieghted", "policy.objective.kind", "did you mean 'weighted'?"),
    "unknown exploration": ("kind: thompson", "kind: tompson", "policy.exploration.kind", "did you mean 'thompson'?"),
    "no kind": ("{kind: thompson, scale: 1.0}", "{scale: 1.0}", "policy.exploration", "the key 'kind' is missing"),
    "unknown parameter": ("forgetting:", "forgeting:", "policy.estimator.forgeting", "did you mean 'forgetting'?"),
    "parameter of the wrong type": ("forgetting: 0.998", "forgetting: slow", "policy.estimator.forgetting", "a number"),
    "parameter out of range": (
        "{kind: thompson, scale: 1.0}",
        "{kind: epsilon, rate: 7}",
        "policy.exploration.rate",
        "in [0, 1]",
    ),
    "unknown strategy": ("strategy: cascade", "strategy: casacde", "execution.strategy", "did you mean 'cascade'?"),
    "unknown error code": (
        "provider_timeout",
        "provider_timout",
        "execution.actions.provider_timout",
        "'provider_timeout'",
    ),
    "unknown action": (
        "provider_timeout: next",
        "provider_timeout: nxt",
        "execution.actions.provider_timeout",
        "'next'",
    ),
    "unknown preset": ("preset: quality_cost", "preset: quality_costs", "shadow.preset", "mean 'quality_cost'?"),
    "unknown exploration of the shadow": ("kind: softmax", "kind: sotfmax", "shadow.exploration.kind", "'softmax'?"),
    # settings that would do nothing, or harm
    "shadow that is the policy": (
        "  preset: quality_cost\n  exploration: {kind: softmax}",
        "  exploration: {kind: thompson, scale: 1.0}",
        "shadow",
        "it would decide as `policy` does",
    ),
    "setting of another kind of provider": (
        "{kind: pocket}",
        "{kind: pocket, base_url: x}",
        "providers.pocket.base_url",
        "it has kind, path, models",
    ),
    "models of another kind of provider": (
        "{kind: pocket}",
        "{kind: replay, path: x, models: [nano]}",
        "providers.pocket.models",
        "has no models",
    ),
    "provider without what it needs": ("{kind: pocket}", "{kind: replay}", "providers.pocket", "needs path"),
    "stages without a cascade": ("  strategy: cascade\n", "", "execution.stages", "it is cascade's"),
    "option that is the request's": (
        "reasoning_effort: low",
        "messages: x",
        "candidates[1].options.messages",
        "belongs to",
    ),
    "rule without candidates": ("      allow: [large]\n", "", "guards.rules[1]", "either `forbid` or `allow`"),
    "rule for no candidate": ("allow: [large]", "allow: []", "guards.rules[1].allow", "names no candidate"),
    "rule for unknown candidates": (
        "allow: [large]",
        "allow: [lagre-*]",
        "guards.rules[1].allow[0]",
        "matches no candidate",
    ),
    # secrets and addresses
    "not a URL": ("http://127.0.0.1:9/v1", "127.0.0.1:9/v1", "providers.far.base_url", "not an http or https URL"),
    "half an address": (
        "http://127.0.0.1:9/v1",
        "http://[::1/v1",
        "providers.far.base_url",
        "not an http or https URL",
    ),
    "secret written out": ("env:FAR_KEY", "sk-123", "providers.far.api_key", "write `env:NAME`"),
    "secret in a header": (
        "max_connections: 8",
        "headers: {Authorization: x}",
        "providers.far.headers.Authorization",
        "api_key",
    ),
    "missing secret": (
        "env:FAR_KEY",
        "env:FAR_KYE",
        "providers.far.api_key",
        "FAR_KYE is not set; did you mean 'FAR_KEY'?",
    ),
    "missing key of a tenant": ("env:ACME_KEY", "env:AMCE_KEY", "server.keys[0].key", "did you mean 'ACME_KEY'?"),
    "one secret for two tenants": (
        "env:OTHER_KEY",
        "env:ACME_KEY",
        "server.keys[1].key",
        "the same secret as server.keys[0]",
    ),
    # rules
    "unknown signal in a rule": (
        "signals.tokens",
        "signals.tokns",
        "guards.rules[0].when",
        "column 9: there is no signals.tokns; did you mean 'tokens'?",
    ),
    "unknown field of a request": (
        "request.tenant",
        "request.tennant",
        "guards.rules[0].when",
        "column 35: there is no request.tennant; did you mean 'tenant'?",
    ),
    "unknown field of a candidate": (
        "candidate.context_window",
        "candidate.window",
        "guards.rules[0].forbid",
        "column 11: there is no candidate.window; did you mean 'context_window'?",
    ),
    "candidate where it cannot be seen": (
        "request.tenant",
        "candidate.name",
        "guards.rules[0].when",
        "unknown name 'candidate'",
    ),
    "type error in a rule": ("> 400.0", "> 'many'", "guards.rules[0].when", "compares a number with a string"),
    "type error behind a short circuit": (
        "request.tenant != 'acme'",
        "request.tenant > 5.0",
        "guards.rules[0].when",
        "column 27: 'request.tenant > 5.0' compares a string with a number",
    ),
    "rule that is not CEL": (
        "> 400.0",
        "> > 400.0",
        "guards.rules[0].when",
        "column 18: not CEL: extraneous input '>'",
    ),
    "rule that is no condition": (
        "candidate.context_window < 1000.0",
        "candidate.name",
        "guards.rules[0].forbid",
        "is a string, but must be true or false",
    ),
    "hint that may be absent": (
        "has(request.hints.region)",
        "request.hints.region == 'eu'",
        "guards.rules[1].when",
        "ask first: `has(request.hints.region)",
    ),
    "cache that is off": (
        "learner:\n",
        "cache: {ttl_s: 5}\nlearner:\n",
        "cache",
        "nothing is cached: set `exact: true`",
    ),
    "similarity of an exact cache": (
        "learner:\n",
        "cache: {exact: true, similarity: 0.9}\nlearner:\n",
        "cache.similarity",
        "without `semantic: true`",
    ),
    # YAML itself
    "not YAML": ("version: 1", "version: [1", "", "not YAML: expected ',' or ']'"),
    "control character": ("version: 1", "version: \x00 1", "", "not YAML: the character '\\x00' is not allowed"),
    "tag of another language": (
        "version: 1",
        "version: !!python/name:os.system 1",
        "",
        "not YAML: could not determine a constructor",
    ),
    "alias inside itself": ("reasoning_effort: low", "a: &a [*a]", "candidates[1].options", "nested more than"),
    "key that is a list": ("version: 1", "? [a]\n: 1", "", "a key must be a single word"),
}


def write(folder: Path, text: str) -> Path:
    path = folder / "interlock.yaml"
    path.write_text(text)
    return path


def test_a_right_configuration_loads(tmp_path: Path) -> None:
    settings = load(write(tmp_path, GOOD), ENVIRONMENT)
    assert [candidate.name for candidate in settings.candidates] == ["small", "large"]
    assert settings.candidates[1].price is not None
    assert settings.candidates[1].price.output == 8.0
    assert set(settings.signal_names()) == {"tokens", "structure", "keywords", "pii", "language"}
    assert settings.hash == load(write(tmp_path, GOOD), ENVIRONMENT).hash


def test_a_candidate_of_a_pocket_model_that_is_not_loaded_is_refused(tmp_path: Path) -> None:
    loaded = GOOD.replace("{kind: pocket}", "{kind: pocket, models: [small, micro]}")
    assert load(write(tmp_path, loaded), ENVIRONMENT).providers["pocket"].models == ("small", "micro")
    with pytest.raises(ConfigError, match="'base-t1' is none of what provider 'pocket' loads, small, micro") as caught:
        load(write(tmp_path, loaded.replace("model: small-t1", "model: base-t1")), ENVIRONMENT)
    assert (caught.value.path, caught.value.line) == ("candidates[0].model", 12)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_gives_one_precise_message(mistake: str, tmp_path: Path) -> None:
    right, wrong, where, message = MISTAKES[mistake]
    text = GOOD.replace(right, wrong, 1)
    assert text != GOOD, "the mistake must change the file"
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(path, ENVIRONMENT)
    error = caught.value
    assert (error.file, error.path) == (str(path), where)
    assert message in error.problem
    assert str(error).startswith(f"{path}:{error.line}: ")
    assert "\n" not in str(error)
    changed = [n for n, (old, new) in enumerate(zip(GOOD.split("\n"), text.split("\n"), strict=False), 1) if old != new]
    # A mistake of absence is reported where the block begins, and one inside a text of several lines where it begins.
    assert error.line in changed or "missing" in message or mistake in ABSENT, f"{error} (changed: {changed[:3]})"


ABSENT = {
    "rule without candidates": 43,
    "stages without a cascade": 54,
    "shadow that is the policy": 64,
    "hint that may be absent": 44,
    "key that is a list": 1,
    "not YAML": 2,
}
"""Mistakes whose line is not the one that was edited, with the line that is named."""


@pytest.mark.parametrize("mistake", ABSENT)
def test_a_mistake_of_absence_names_the_line_of_its_block(mistake: str, tmp_path: Path) -> None:
    right, wrong, _, _ = MISTAKES[mistake]
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, GOOD.replace(right, wrong, 1)), ENVIRONMENT)
    assert caught.value.line == ABSENT[mistake]


SCRAPS = [
    *"[]{}:,|%?-#()'\"\n\t\x00é",
    "null",
    "~",
    "&a",
    "*a",
    "!!x",
    "<<",
    "yes",
    "-1",
    "1e9",
    "env:",
    "&&",
    "signals.pii",
]


@given(
    st.lists(st.tuples(st.integers(0, len(GOOD)), st.integers(0, 6), st.sampled_from(SCRAPS)), min_size=1, max_size=3)
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_garbled_file_loads_or_gives_one_message_with_a_line(
    tmp_path: Path, damage: list[tuple[int, int, str]]
) -> None:
    text = GOOD
    for at, length, scrap in damage:
        text = text[:at] + scrap + text[at + length :]
    line, message = 1, ""
    try:
        load(write(tmp_path, text), ENVIRONMENT)
    except ConfigError as error:
        line, message = error.line, str(error)
    assert line > 0, message
    assert "\n" not in message


def test_a_secret_never_appears_in_a_message(tmp_path: Path) -> None:
    text = GOOD.replace("env:FAR_KEY", "sk-live-1234567890")
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text), ENVIRONMENT)
    assert "sk-live" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "no such file"),
        (b"\xff\xfe", "cannot be read"),
        (b"- a\n- b\n", "the top must be a mapping"),
        (b"just text", "the top must be a mapping"),
        (b"", "the key 'providers' is missing"),
    ],
)
def test_a_file_that_is_no_configuration_says_so(content: bytes | None, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "interlock.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=problem) as caught:
        load(path)
    assert caught.value.file == str(path)


def test_plain_values_need_no_file() -> None:
    data = {
        "providers": {"pocket": {"kind": "pocket"}},
        "candidates": [{"name": "small", "provider": "pocket", "model": "small-t1"}],
        "vector": ["structure"],
    }
    assert isinstance(from_document(Document(data)), Settings)
    data["candidates"][0]["provider"] = "poket"  # type: ignore[index]
    with pytest.raises(ConfigError) as caught:
        from_document(Document(data))
    assert str(caught.value) == "candidates[0].provider: unknown provider 'poket'; did you mean 'pocket'?"


def test_signals_that_nothing_refers_to_are_not_read(tmp_path: Path) -> None:
    text = GOOD.replace("  trust: {signal: pii, allow: [private]}\n", "")
    assert "pii" not in load(write(tmp_path, text), ENVIRONMENT).signal_names()


def test_a_shadow_differs_in_what_it_names_and_is_the_policy_in_the_rest() -> None:
    def of(**shadow: object) -> Settings:
        data = {
            "providers": {"far": {"kind": "openai"}},
            "candidates": [{"name": "a", "provider": "far", "model": "a"}],
            "policy": {"estimator": {"kind": "knn"}, "seed": 7},
            "vector": ["structure"],
        }
        return from_document(Document(data | ({"shadow": shadow} if shadow else {})))

    assert of().shadow_policy is None
    own = of(exploration={"kind": "greedy"}).shadow_policy
    assert own is not None
    assert (own.estimator, own.exploration, own.seed) == ({"kind": "knn"}, {"kind": "greedy"}, 7)
    preset = of(preset="quality_cost", objective={"kind": "chebyshev"}).shadow_policy
    assert preset is not None
    assert preset.estimator == {"kind": "logistic"}
    assert preset.objective == {"kind": "chebyshev"}
    assert preset.exploration == {"kind": "greedy"}
