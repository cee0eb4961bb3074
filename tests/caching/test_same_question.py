from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.caching.same_question import difference


@pytest.mark.parametrize(
    ("asked", "cached"),
    [
        ("In Python, how do I sort a list?", "How do I sort a list in Python?"),
        ("Can you tell me what's the capital of France please?", "what is the capital of France"),
        ("what is twelve times 5", "What is 12 times 5?"),
        ("Hey, could you describe recursion? Thanks!", "Explain recursion."),
        ("List the biggest cities", "enumerate the biggest towns"),
        ("It is not safe, right?", "It isn't safe, right?"),
        ("1,000 apples", "1000 apples"),
    ],
)
def test_the_same_in_other_words(asked: str, cached: str) -> None:
    assert difference(asked, cached) == difference(cached, asked) == ""


@pytest.mark.parametrize(
    ("asked", "cached", "why"),
    [
        ("What is 12 times 5?", "What is 12 times 6?", "number"),
        ("Convert 5 USD to EUR", "Convert 5 EUR to USD", "order"),
        ("Is Bob taller than Alice?", "Is Alice taller than Bob?", "order"),
        ("Is it not safe?", "Is it safe?", "polarity"),
        ("Why can't I swim?", "Why can I swim?", "polarity"),
        ("the largest prime below 9", "the largest prime above 9", "polarity"),
        ("Who was the president?", "Who is the president?", "words"),
        ("What is my name?", "What is your name?", "words"),
        ("capital of Austria", "capital of Australia", "words"),
        ("sqrt(2)*sqrt(3)", "sqrt(2), sqrt(3)", "words"),
        ('print("A  b")', 'print("a b")', "words"),
        ("Add 3 and -4", "Add 3 and 4", "words"),
        ("divide 8 by 2", "divide 2 by 8", "number"),
        ("(2 + 3) * 4", "2 + (3 * 4)", "order"),
    ],
)
def test_traps(asked: str, cached: str, why: str) -> None:
    assert difference(asked, cached) == why
    assert difference(cached, asked)


@settings(deadline=None)
@given(st.text(max_size=120), st.text(max_size=120))
def test_it_is_symmetric_reflexive_and_never_fails(one: str, other: str) -> None:
    assert difference(one, one) == ""
    assert bool(difference(one, other)) == bool(difference(other, one))


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["sort", "list", "7", "not", "Paris", "before", "é"]), min_size=1, max_size=8), st.data()
)
def test_no_word_number_or_negation_is_lost(words: list[str], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(words) - 1))
    without = words[:place] + words[place + 1 :]
    assert difference(" ".join(words), " ".join(without))
