"""Plain prompts are read together, and found to be what each source finds in them alone."""

from __future__ import annotations

import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.encoder import Encoder
from interlock.signals import Reading, build
from interlock.signals import plain as plain_module
from interlock.signals.plain import Lexicon, is_plain
from interlock.types import Message, Request

NAMES = ("tokens", "structure", "language", "embedding", "task", "difficulty")
READER = build(NAMES, None, NAMES)

SOUP = (
    "The of und der HTTP x2 GPT4 3rd if then not True def return snake_case 1,234.5 12:30 A) - * 7. ```py``` {} [] (a) "
    "$x$ \\frac ^{2} https://a.b www. SELECT Answer: a++ i=>j don't O'Neil !? ... ; % / == # @ ~"
)
WORDS = st.sampled_from(SOUP.split())
TEXTS = st.one_of(
    st.text(string.printable + "éß“", max_size=300),
    st.lists(st.tuples(WORDS, st.sampled_from([" ", "\n", "\t", "  ", "", ", "])), max_size=120).map(
        lambda pairs: "".join(word + gap for word, gap in pairs)
    ),
)


def alone(request: Request) -> dict[str, Reading]:
    seen: dict[str, Reading] = {}
    for source in READER.sources:
        seen[source.name] = source.read(request, seen)
    return seen


@given(st.lists(TEXTS, min_size=1, max_size=5))
@settings(max_examples=150, deadline=None)
def test_together_as_alone(texts: list[str]) -> None:
    requests = [Request(messages=(Message("system", "Be brief."), Message("user", text))) for text in texts]
    for request, context in zip(requests, READER.read(requests), strict=True):
        expected = alone(request)
        columns = np.concatenate([np.asarray(expected[name].columns, np.float32) for name in NAMES])
        assert context.vector == pytest.approx(columns, abs=2e-5)
        for name, reading in expected.items():
            found = context.signals[name]
            assert found.evidence == reading.signal.evidence
            assert found.confidence == pytest.approx(reading.signal.confidence, abs=1e-4)
            value = reading.signal.value
            assert found.value == (pytest.approx(value, abs=1e-5) if isinstance(value, float) else value), name
    assert not READER.failures


@pytest.mark.parametrize(
    "text",
    ["def f():\n    return [1, 2]\n" * 400, "Sky?\nAnswer: B\n\nGrass?\nAnswer: A\n\nSnow?\nAnswer:", "a " * 700, ""],
    ids=["long", "shots", "many words", "empty"],
)
def test_together_as_alone_at_the_edges(text: str) -> None:
    test_together_as_alone.hypothesis.inner_test([text, "beside it"])  # type: ignore[attr-defined]


def test_what_is_plain() -> None:
    assert is_plain("a\tb\r\nc ~!")
    assert not any(map(is_plain, ("é", "a\x00", "\x7f", "\x0b", "\u2028")))


def test_a_full_lexicon_starts_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_module, "CAPACITY", 40)
    small, whole = Lexicon(Encoder.load()), Encoder.load()
    for start in range(0, 300, 20):
        text = " ".join(f"word{i}" for i in range(start, start + 20)) + " " + "x" * 100
        counted = small.count(text.encode())
        assert counted.pieces == len(whole.tokenizer.encode(text))
        assert counted.vector == pytest.approx(whole.total(whole.tokenizer.encode(text)), abs=1e-4)
        assert (counted.words, counted.longest) == (21, 100)
