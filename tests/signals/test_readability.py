from __future__ import annotations

import pytest

from interlock.signals import build
from interlock.signals.readability import complexity, syllables
from interlock.types import Message, Request


@pytest.mark.parametrize(
    ("word", "count"), [("cat", 1), ("table", 2), ("make", 1), ("banana", 3), ("free", 1), ("rhythm", 1), ("the", 1)]
)
def test_syllables(word: str, count: int) -> None:
    assert syllables(word) == count


def test_long_words_and_sentences_are_harder() -> None:
    easy = complexity("The cat sat on the mat. It was fat.")
    hard = complexity("Epistemological considerations necessitate multidimensional characterisation of the phenomenon.")
    assert easy is not None
    assert hard is not None
    assert easy < 20 < 60 < hard


def test_it_is_flesch() -> None:
    assert complexity("The cat sat.") == pytest.approx(100 - (206.835 - 1.015 * 3 - 84.6))


@pytest.mark.parametrize("text", ["", "12345 + 678", "最近的药店在哪里", "x" * 100_000])
def test_columns_stay_in_range_whatever_comes(text: str) -> None:
    (context,) = build(["readability"], None, ["readability"]).read([Request(messages=(Message("user", text),))])
    assert ((context.vector >= 0.0) & (context.vector <= 1.0)).all()
