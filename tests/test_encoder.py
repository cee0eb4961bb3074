from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.encoder import DATA, WHOLE, Encoder, WordPiece, excerpt
from interlock.errors import WeightsError

ANY_TEXT = st.text(st.characters(), max_size=300)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.load()


def cosine(encoder: Encoder, a: str, b: str) -> float:
    left, right = encoder.encode([a, b])
    return float(left @ right)


@given(ANY_TEXT)
@settings(max_examples=300, deadline=None)
def test_any_text_gives_a_finite_unit_or_zero_vector_the_same_each_time(text: str) -> None:
    encoder = Encoder.load()
    vector = encoder.encode_one(text)
    assert vector.shape == (encoder.dim,)
    assert vector.dtype == np.float32
    length = float(np.linalg.norm(vector))
    assert length == pytest.approx(1, abs=1e-4) or length == 0
    assert np.array_equal(vector, encoder.encode([text, "other"])[0])


@given(ANY_TEXT)
@settings(max_examples=200, deadline=None)
def test_words_that_are_cached_encode_as_they_did_when_new(text: str) -> None:
    tokenizer = Encoder.load().tokenizer
    fresh = WordPiece(list(tokenizer.ids))
    assert fresh.encode(text) == tokenizer.encode(text) == fresh.encode(text)


@pytest.mark.parametrize("text", ["", "   ", "\n\t\r\n"])
def test_texts_without_a_word_or_symbol_give_zero(encoder: Encoder, text: str) -> None:
    assert not encoder.encode_one(text).any()


@pytest.mark.parametrize("text", ["🎉🎉", "\x00\x01", "\ud800", "ÿ", "会议", "a" * 100_000, "word " * 100_000, "́" * 50])
def test_odd_and_huge_texts_are_encoded(encoder: Encoder, text: str) -> None:
    assert np.isfinite(encoder.encode_one(text)).all()


def test_no_texts_give_no_rows(encoder: Encoder) -> None:
    assert encoder.encode([]).shape == (0, encoder.dim)


def test_paraphrases_are_nearer_than_other_topics(encoder: Encoder) -> None:
    question = "How do I sort a list in Python?"
    near = cosine(encoder, question, "Write Python code that orders the elements of a list")
    assert near > cosine(encoder, question, "What is the capital of France?") + 0.2
    assert near > cosine(encoder, question, "Translate this poem into German") + 0.2


def test_case_and_accents_do_not_matter(encoder: Encoder) -> None:
    assert cosine(encoder, "CAFÉ in the city", "cafe in the City") == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Hello, world!", ["hello", ",", "world", "!"]),
        ("unaffable", ["una", "##ffa", "##ble"]),
        ("snake_case", ["snake", "_", "case"]),
        ("会议", ["会", "[UNK]"]),
    ],
)
def test_words_are_split_into_the_longest_known_pieces(encoder: Encoder, text: str, pieces: list[str]) -> None:
    names = {index: piece for piece, index in encoder.tokenizer.ids.items()}
    assert [names[index] for index in encoder.tokenizer.encode(text)] == pieces


def test_a_question_after_a_long_document_still_counts(encoder: Encoder) -> None:
    document = "The committee discussed the budget of the harbour. " * 2_000
    question = "Write a Python function that reverses a linked list. " * 3
    target = "Python code to reverse a linked list"
    plain = cosine(encoder, document, target)
    for text in (question + document, document + question):
        assert cosine(encoder, text, target) > plain + 0.02


@given(st.integers(0, 200_000))
def test_excerpts_are_bounded_and_say_how_much_they_cover(length: int) -> None:
    text, covered = excerpt("x" * length)
    assert len(text) <= WHOLE + 16
    assert covered == (1.0 if length <= WHOLE else WHOLE / length)


def test_excerpts_hold_both_ends_and_the_middle() -> None:
    text = "".join(f"<{i}>" for i in range(20_000))
    short, _ = excerpt(text)
    assert short.startswith("<0>")
    assert short.endswith("<19999>")
    assert any(f"<{i}>" in short for i in range(9_000, 11_000))


def test_the_word_cache_is_bounded(encoder: Encoder) -> None:
    tokenizer = WordPiece(list(encoder.tokenizer.ids))
    for start in range(0, 80_000, 1_000):
        tokenizer.encode(" ".join(f"w{i}" for i in range(start, start + 1_000)))
    assert len(tokenizer._cache) <= 1 << 15


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be read"):
        Encoder.load(tmp_path)
    shutil.copy(DATA / "encoder.safetensors", tmp_path)
    (tmp_path / "encoder.vocab.txt").write_text("[UNK]\nonly\n", "utf-8")
    with pytest.raises(WeightsError, match="damaged"):
        Encoder.load(tmp_path / ".")


def test_a_vocabulary_without_unknown_is_refused() -> None:
    with pytest.raises(WeightsError, match="UNK"):
        WordPiece(["a", "b"])
