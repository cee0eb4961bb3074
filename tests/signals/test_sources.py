from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from interlock.errors import ConfigError
from interlock.signals import build
from interlock.signals.keywords import nested_repeats
from interlock.signals.language import identify
from interlock.signals.national_ids import luhn
from interlock.signals.pii import find, iban_checks
from interlock.signals.text import strip_preamble
from interlock.types import Context, Message, Request

SHOTS = (
    "Sky?\nA) red\nB) blue\nPrint one letter.\nAnswer:\nB\n\n"
    "Grass?\nA) green\nB) pink\nPrint one letter.\nAnswer:\nA\n\n"
)
QUESTION = "Snow?\nA) white\nB) black\nPrint one letter.\nAnswer:"


def read(name: str, prompt: str = "", settings: dict[str, Any] | None = None, **fields: Any) -> Context:
    request = Request(**{"messages": (Message("user", prompt),), **fields})
    reader = build([name], {name: settings or {}}, [name] if name != "hints" or settings else [])
    (context,) = reader.read([request])
    assert not reader.failures
    return context


def column(context: Context, name: str, which: str) -> float:
    columns = build([name], None, [name]).columns
    return float(context.vector[columns.index(f"{name}.{which}")])


def test_fixed_preambles_are_cut_off() -> None:
    assert strip_preamble(SHOTS + QUESTION) == (QUESTION, 2)
    inline = "He ran because _ was late. A) Bo B) Al Only a letter. Answer:\nA\n\n" * 3 + "Last. Answer:"
    assert strip_preamble(inline) == ("Last. Answer:", 3)


@pytest.mark.parametrize(
    "text", ["", "Answer: 3", "Q: why?\nA: because\nQ: how?\nA:", "a: b: c: d:", "note: this: and: that"]
)
def test_other_texts_are_left_alone(text: str) -> None:
    assert strip_preamble(text) == (text, 0)


def test_the_preamble_does_not_reach_the_embedding() -> None:
    with_shots, without = read("embedding", SHOTS + QUESTION), read("embedding", QUESTION)
    assert np.array_equal(with_shots.vector, without.vector)
    assert "2 worked examples" in with_shots.signals["embedding"].evidence
    assert column(read("structure", SHOTS + QUESTION), "structure", "examples") > 0


def test_long_prompts_say_how_much_was_read() -> None:
    signal = read("embedding", "word " * 10_000).signals["embedding"]
    assert signal.confidence == pytest.approx(0.12)
    assert "of 50000 characters" in signal.evidence


@pytest.mark.parametrize(
    ("low", "high", "which"),
    [
        ("add 12 34", "add 123456 7", "longest_number"),
        ("sort GCJ", "sort GINGIC", "longest_upper"),
        ("cups 5: 43 12", "cups 5: 43 12 52 12", "numbers"),
        ("recall Z0 A6: Z", "recall Z0 A6 B3 C4: Z", "code_words"),
        ("brackets ()[", "brackets ([{(", "depth"),
        ("bool T or F", "bool T or F and not T", "logic"),
        ("one, two", "one, two, three", "commas"),
        ("Go.", "Go. Stop. Go.", "sentences"),
    ],
)
def test_levels_show_in_structure(low: str, high: str, which: str) -> None:
    a, b = (column(read("structure", text), "structure", which) for text in (low, high))
    assert 0 < a < b <= 1


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("", "empty"),
        ("def f(x):\n    return x + g()\nprint(f(3))", "code"),
        ('{"a": [1, 2]}', "data"),
        ("Solve $x^2 = 4$ for \\frac{1}{2}", "math"),
        ("Sky?\nA) red\nB) blue", "choice"),
        ("Do this:\n- one\n- two\n- three", "list"),
        ("Who wrote Faust?", "question"),
        ("Tell me a story", "prose"),
    ],
)
def test_forms(text: str, form: str) -> None:
    assert read("structure", text).signals["structure"].value == form


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Where is the nearest pharmacy and when does it open?", "en"),
        ("Wo ist die nächste Apotheke und wann macht sie auf?", "de"),
        ("Où est la pharmacie la plus proche, et quand est-elle ouverte ?", "fr"),
        ("¿Dónde está la farmacia más cercana y cuándo abre?", "es"),
        ("Dov'è la farmacia più vicina e quando apre?", "it"),
        ("Gdzie jest najbliższa apteka i kiedy się otwiera?", "pl"),
        ("Где ближайшая аптека и когда она открывается?", "ru"),
        ("Де найближча аптека і коли вона відчиняється?", "uk"),
        ("最寄りの薬局はどこですか", "ja"),
        ("最近的药店在哪里", "zh"),
        ("가장 가까운 약국이 어디에 있습니까", "ko"),
        ("أين أقرب صيدلية ومتى تفتح؟", "ar"),
        ("12 + 34 =", "und"),
        ("", "und"),
    ],
)
def test_languages(text: str, code: str) -> None:
    found, confidence = identify(text)
    assert found == code
    assert (confidence > 0) == (code != "und")


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("write to bob.smith+x@mail.example.org now", {"email"}),
        ("card 4111 1111 1111 1111", {"card"}),
        ("card 4111 1111 1111 1112", set()),
        ("order 0000 0000 0000 0000", set()),
        ("IBAN GB82 WEST 1234 5698 7654 32", {"iban"}),
        ("IBAN GB82 WEST 1234 5698 7654 33", set()),
        ("call +49 30 1234 5678 today", {"phone"}),
        ("call 555-123-4567", {"phone"}),
        ("key sk-abcdefghijklmnopqrstuvwx", {"key"}),
        ("AKIAIOSFODNN7EXAMPLE", {"key"}),
        ("add 633740 781241", set()),
        ("3 - 4 + 5, on 2024-05-06 at 12:30", set()),
    ],
)
def test_personal_data(text: str, kinds: set[str]) -> None:
    assert {finding.kind for finding in find(text)} == kinds
    assert read("pii", text).signals["pii"].value is bool(kinds)


def test_personal_data_is_found_in_every_message_and_at_the_end_of_long_ones() -> None:
    messages = (Message("system", "x" * 50_000 + " bob@example.org"), Message("user", "hi"))
    signal = read("pii", messages=messages).signals["pii"]
    assert signal.value is True
    assert "bob@example.org" in signal.evidence


def test_checksums() -> None:
    assert luhn("79927398713")
    assert not luhn("79927398710")
    assert iban_checks("DE89370400440532013000")
    assert not iban_checks("DE88370400440532013000")


@pytest.mark.parametrize(
    ("method", "hit", "miss"),
    [
        ("regex", "a contract dispute", "a sunny day"),
        ("bm25", "the contract and the court", "a sunny day in the park"),
        ("fuzzy", "a contarct dispute", "a sunny day"),
    ],
)
def test_keywords(method: str, hit: str, miss: str) -> None:
    settings = {"lists": {"law": {"words": ["contract", "court"], "match": method}}}
    context = read("keywords", hit, settings)
    assert context.signals["keywords"].value == "law"
    assert context.signals["keywords"].evidence
    assert 0 < context.vector[0] <= 1
    assert read("keywords", miss, settings).signals["keywords"].value == ""


def test_keyword_lists_are_named_best_first() -> None:
    lists = {"law": {"words": ["contract", "court", "judge"], "match": "bm25"}, "any": {"words": ["contract"]}}
    assert read("keywords", "the contract", {"lists": lists}).signals["keywords"].value == "any,law"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"words": []}, "at least one"),
        ({"words": "contract"}, "at least one"),
        ({"words": ["a("]}, "not a regular expression"),
        ({"words": ["(a+)+$"]}, "exponential"),
        ({"words": ["a"], "match": "regexp"}, "did you mean 'regex'"),
        ({"words": ["a"], "treshold": 1}, "did you mean 'threshold'"),
        ({"words": ["a"], "threshold": 2}, "must be a number"),
        ({"words": ["?"], "match": "bm25"}, "cannot be matched"),
    ],
)
def test_keyword_mistakes_are_named(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        build(["keywords"], {"keywords": {"lists": {"law": entry}}})
    assert caught.value.path.startswith("signals.keywords.lists.law")


@pytest.mark.parametrize("pattern", [r"(a+)+", r"(a*b?)*", r"(?:x(?:y+)z)*", r"(a|b+)+"])
def test_nested_repeats_are_seen(pattern: str) -> None:
    assert nested_repeats(pattern)


@pytest.mark.parametrize("pattern", [r"a+b+", r"\bcode\b", r"(ab)+", r"(a{2,3})+", r"[a-z]+@\w+"])
def test_plain_repeats_are_allowed(pattern: str) -> None:
    assert not nested_repeats(pattern)


def test_shape() -> None:
    call = [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]
    user, says = Message("user", "hi"), Message("assistant", "yo")
    calls, result = Message("assistant", tool_calls=call), Message("tool", "3")
    expected: list[tuple[tuple[Message, ...], str]] = [
        ((), "empty"),
        ((user,), "single"),
        ((Message("system", "s"), user), "single"),
        ((user, says, user), "multi"),
        ((user, calls, result), "tool_loop"),
        ((user, calls, result, says, user), "multi"),
    ]
    for messages, value in expected:
        assert read("shape", messages=messages).signals["shape"].value == value


def test_modality() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:"}}
    words = {"type": "text", "text": "what is this?"}
    assert read("modality", "hi").signals["modality"].value == "text"
    assert read("modality", messages=(Message("user", [words, picture]),)).signals["modality"].value == "image+text"
    odd = read("modality", messages=(Message("user", [{"type": "hologram"}]),)).signals["modality"]
    assert (odd.value, odd.confidence) == ("other", 0.5)


def test_hints() -> None:
    context = read("hints", "x", {"known": {"task": ["code", "math"]}}, hints={"task": "math", "a": "b"})
    assert context.signals["hints"].value == "a=b;task=math"
    assert context.vector.tolist() == [0.0, 1.0]


def test_token_counts_grow_with_messages_and_tools_and_are_extrapolated() -> None:
    def tokens(**fields: Any) -> float:
        return read("tokens", **fields).number("tokens")

    one = tokens(messages=(Message("user", "one two three four five"),))
    assert one == 5 + 4
    assert tokens(messages=(Message("user", "one two three four five"),) * 2) == 2 * one
    assert tokens(messages=(Message("user", "hi"),), body={"tools": [{"name": "f"}]}) > tokens(
        messages=(Message("user", "hi"),)
    )
    assert tokens(messages=(Message("user", "one two " * 40_000),)) == pytest.approx(80_000, rel=0.01)


@pytest.mark.parametrize(
    ("prompt", "task"),
    [
        ("Write a Python function that returns the longest word of a list.", "code"),
        (
            "A shop sells pens for 3 dollars each. How many dollars do 17 pens cost with a discount of 10 percent?",
            "math",
        ),
        ("Translate into German: The meeting was moved to Friday.", "translation"),
        ("add 2706 7907", "pocket_add"),
        ("Write the letters of VARCCX from A to Z.", "pocket_sort"),
        ("The coin is at 4, and these places are exchanged: 34 31 53 41 25 52", "pocket_cups"),
    ],
)
def test_tasks(prompt: str, task: str) -> None:
    context = read("task", prompt)
    assert context.signals["task"].value == task
    assert context.vector.sum() == pytest.approx(1, abs=1e-4)


def test_difficulty_tells_a_competition_problem_from_a_simple_one() -> None:
    hard = read(
        "difficulty",
        "Let $a, b, c$ be positive integers with $a^2+b^2=c^2$ and $\\gcd(a,b)=1$. "
        "Find the number of ordered triples with $c<1000$ such that $\\frac{a+b}{c}$ has a denominator divisible "
        "by 5, and express the answer modulo 97.",
    )
    easy = read("difficulty", "Which of these do plants need to make food?")
    assert hard.number("difficulty") > easy.number("difficulty") + 0.1
    assert 0 < hard.signals["difficulty"].confidence < 1


@pytest.mark.parametrize("name", ["task", "difficulty"])
def test_heads_know_nothing_about_an_empty_prompt(name: str) -> None:
    signal = read(name, " ").signals[name]
    assert (signal.value, signal.confidence) == (None, 0.0)
