"""Retrieval from the prompt: ``level`` key-value pairs, one asked for. The long form hides its pairs in filler text.

A pair of the long form takes four tokens and a filler sentence about ten: 50 pairs are 0.26k tokens, 400 are 2.1k, and
the longest, with twice the filler, 4k.
"""

from __future__ import annotations

from random import Random
from string import ascii_uppercase

from interlock.pocket.tasks.base import Forms, Instance, Task
from interlock.pocket.tasks.strings import letters

_MORE_TURNS = 7
_MORE_LONG_TURNS = 63
_LONGEST = 600
_FILLER = (
    "The day was long and the road was dry.",
    "No one knows what comes after this.",
    "We keep the old list in a box.",
    "Some of these words do not matter.",
)


def make(rng: Random, level: int) -> Instance:
    """``level`` pairs of different capital letters and digits."""
    keys = rng.sample(ascii_uppercase, level)
    table = {key: str(rng.randrange(10)) for key in keys}
    asked, *others = rng.sample(keys, min(level, 1 + _MORE_TURNS))
    slots = {"pairs": " ".join(key + value for key, value in table.items()), "key": asked}
    return Instance(slots, table[asked], turns=tuple((f" {key}", table[key]) for key in others))


def make_long(rng: Random, level: int) -> Instance:
    """``level`` pairs of two-letter keys and digits, filler after each eighth pair, in the longest each fourth."""
    every = 4 if level == _LONGEST else 8
    keys = list(dict.fromkeys(letters(rng, 2) for _ in range(3 * level)))[:level]
    table = {key: str(rng.randrange(10)) for key in keys}
    parts = []
    for index, (key, value) in enumerate(table.items(), start=1):
        parts.append(key + value)
        if index % every == 0:
            parts.append(rng.choice(_FILLER))
    asked, *others = rng.sample(keys, min(len(keys), 1 + _MORE_LONG_TURNS))
    slots = {"pairs": " ".join(parts), "key": asked}
    return Instance(slots, table[asked], turns=tuple((f" {key}", table[key]) for key in others))


_FORMS = Forms(
    compact="recall {pairs}: {key}",
    paraphrases=(
        "Recall the pairs {pairs}. What is the value of {key}",
        "Here is a list of keys and values: {pairs}. Recall the value of {key}",
        "Remember {pairs}. Now recall {key}",
        "Given the table {pairs}, look up the key {key}",
        "The table says {pairs}. Which value does it give for {key}",
        "Search the list {pairs} for the key {key}",
    ),
    hidden=("{pairs}. And {key}", "We know {pairs}. Which number goes with {key}"),
)

RECALL = Task("recall", "retrieval", (2, 4, 6, 8, 10, 12, 16, 20), _FORMS, make)
RECALL_LONG = Task(
    "recall_long", "retrieval", (12, 25, 50, 100, 150, 200, 300, 400, _LONGEST), _FORMS, make_long, unseen=True
)
