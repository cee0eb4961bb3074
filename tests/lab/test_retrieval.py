from __future__ import annotations

import random

import numpy as np
import pytest

from interlock.lab.docstrings import documents, queries, rare_words, with_typos
from interlock.lab.retrieval import Bm25, CharNgram, Chunked, Hybrid, Lsa, Retriever, count_tokens

pytest.importorskip("sklearn")

TEXTS = [
    "the heron waits by the river and eats small fish",
    "a lantern hangs above the door of the old tavern",
    "sorting algorithms compare elements and move them into order",
    "the river floods the meadow when the snow melts in spring",
    "a treaty ended the war between the two kingdoms",
]


@pytest.mark.parametrize("retriever", [Bm25(), CharNgram(), Lsa(4), Chunked(words=5), Hybrid(depth=4)])
def test_a_document_is_found_by_its_own_words(retriever: Retriever) -> None:
    found = retriever.fit(TEXTS).search(TEXTS, 3)
    assert found.documents.shape == found.scores.shape == found.tokens.shape == (5, 3)
    np.testing.assert_array_equal(found.documents[:, 0], np.arange(5))
    assert (np.diff(found.scores, axis=1) <= 1e-12).all(), "best first"


@pytest.mark.parametrize("retriever", [Bm25(), CharNgram(), Chunked(words=5)])
def test_nothing_in_common_is_nothing_found(retriever: Retriever) -> None:
    found = retriever.fit(TEXTS).search(["", "zzzz qqqq"], 2)
    assert (found.documents == -1).all()
    assert not found.tokens.any()


def test_bm25_is_the_formula() -> None:
    found = Bm25(k1=1.2, b=0.75).fit(TEXTS).search(["heron"], 1)
    length, average = 10, np.mean([len(text.split()) for text in TEXTS])  # every token counts, "a" too
    rarity = np.log1p((5 - 1 + 0.5) / (1 + 0.5))
    assert found.scores[0, 0] == pytest.approx(rarity * 2.2 / (1 + 1.2 * (0.25 + 0.75 * length / average)), rel=1e-9)


def test_characters_forgive_what_words_do_not() -> None:
    assert CharNgram().fit(TEXTS).search(["algoritms compair"], 1).documents[0, 0] == 2
    assert Bm25().fit(TEXTS).search(["algoritms compair"], 1).documents[0, 0] == -1


def test_passages_are_shorter_and_point_to_their_document() -> None:
    found = Chunked(words=4).fit(TEXTS).search(["snow melts"], 1)
    assert found.documents[0, 0] == 3
    assert found.tokens[0, 0] < count_tokens(TEXTS[3])


def test_docstrings_give_documents_and_queries() -> None:
    corpus = documents(most=40)
    assert len(corpus) == 40
    assert len({one.summary for one in corpus}) == 40
    asked = queries(corpus, seed=0)
    assert queries(corpus, seed=0) == asked, "seeded"
    assert asked["name"] == [one.name for one in corpus]
    assert asked["typos"] != asked["summary"]


def test_typos_spare_short_words() -> None:
    rng = random.Random(0)
    assert with_typos("a bad cat", rng) == "a bad cat"
    changed = [with_typos("heron", rng) != "heron" for _ in range(300)]
    assert 0.4 < sum(changed) / 300 < 0.75, "six in ten, less those exchanged for themselves"


def test_rare_words_are_rare() -> None:
    from collections import Counter

    spread = Counter({"common": 9, "words": 9, "heron": 1, "tavern": 1, "treaty": 1})
    found = rare_words("common words heron tavern treaty", spread, random.Random(0)).split()
    assert len(found) == 3
    assert set(found) <= {"heron", "tavern", "treaty", "common", "words"}
