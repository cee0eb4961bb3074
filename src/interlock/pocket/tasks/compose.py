"""Two operations piped; the scratchpad is the first result. Level sets the operand's length."""

from __future__ import annotations

from random import Random

from interlock.pocket.tasks.add import column_addition, digits
from interlock.pocket.tasks.base import Forms, Instance, Task
from interlock.pocket.tasks.strings import caesar, dedupe, letters, repetitive, reverse, sort

_LENGTHS = {1: 4, 2: 6, 3: 8}


def make(rng: Random, level: int) -> Instance:
    """Sort then first three; dedupe then sort; reverse then shift by one; add then reverse."""
    pipe, length = rng.randrange(4), _LENGTHS[level]
    if pipe == 0:
        text = letters(rng, length)
        middle = sort(text)
        return Instance({"x": text, "f": "sort", "g": "take the first 3"}, middle[:3], middle)
    if pipe == 1:
        text = repetitive(rng, length)
        middle = dedupe(text)
        return Instance({"x": text, "f": "remove duplicates", "g": "sort"}, sort(middle), middle)
    if pipe == 2:
        text = letters(rng, length)
        middle = reverse(text)
        return Instance({"x": text, "f": "reverse", "g": "shift by 1"}, caesar(middle, 1), middle)
    a, b = digits(rng, level + 1, 10), digits(rng, level + 1, 10)
    middle, _ = column_addition(a, b, 10)
    return Instance({"x": f"{a} {b}", "f": "add", "g": "reverse"}, reverse(middle), middle)


COMPOSE = Task(
    name="compose",
    domain="composition",
    levels=(1, 2, 3),
    forms=Forms(
        compact="{f} then {g}: {x}",
        paraphrases=(
            "First {f}, then {g}: {x}",
            "Take {x}, {f}, and then {g}.",
            "Given {x}, first {f} and then {g}.",
            "Two steps on {x}: {f}, then {g}",
            "Please {f} and after that {g}: {x}",
            "What do you get from {x} if you {f} and then {g}?",
        ),
        hidden=("{x} | {f} | {g}", "{x} > {f} > {g}"),
    ),
    make=make,
)
