"""The tokenizer is total, reversible on ASCII, and keeps operands apart."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from interlock.pocket.tasks import TASKS
from interlock.pocket.tokenizer import BUDGETS, SIZE, TOKENIZER_HASH, UNK, VOCAB, decode, encode

ascii_text = st.text(st.characters(min_codepoint=32, max_codepoint=126) | st.just("\n"))


@given(ascii_text)
def test_ascii_survives(text: str) -> None:
    assert decode(encode(text)) == text
    assert UNK not in encode(text)


@given(st.text())
def test_any_text_is_encoded(text: str) -> None:
    ids = encode(text)
    assert all(0 <= index < SIZE for index in ids)
    assert decode(ids) == "".join(character for character in text if character == "\n" or " " <= character <= "~")


@given(st.lists(st.integers(-5, SIZE + 5)))
def test_any_ids_are_decoded(ids: list[int]) -> None:
    assert isinstance(decode(ids), str)


def test_the_vocabulary_is_fixed() -> None:
    assert len(VOCAB) == len(set(VOCAB)) == SIZE
    assert VOCAB[:10] == ("<pad>", "<bos>", "<eos>", "<unk>", "<t0>", "<t1>", "<t2>", "<t3>", "<ans>", "<chk>")
    assert [VOCAB[index] for index in BUDGETS] == ["<t0>", "<t1>", "<t2>", "<t3>"]
    assert TOKENIZER_HASH == "0c8ab7228839350512ec90de677e4484710cd53e36da552625546a9857937836"


def test_words_are_one_token_and_operands_are_characters() -> None:
    assert [VOCAB[index] for index in encode("Sort the letters THE 12.")] == [
        "Sort", " the", " letters", " ", "T", "H", "E", " ", "1", "2", ".",
    ]  # fmt: skip
    assert [VOCAB[index] for index in encode("sorted sorting")][:2] == ["s", "o"]


def test_every_wording_is_made_of_words() -> None:
    """No wording falls back to spelling a word out, which would make its prompts needlessly long."""
    for task in TASKS.values():
        for variant in range(len(task.forms)):
            tokens = [VOCAB[index] for index in encode(task.example(Random(0), task.levels[0], variant).prompt)]
            spelled = [token for token in tokens if len(token) == 1 and token.islower() and token != "a"]
            assert not spelled, (task.name, variant, tokens)
