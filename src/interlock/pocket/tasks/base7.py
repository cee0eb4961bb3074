"""Addition in base seven: a discipline the generalists never saw. Level is the number of digits."""

from __future__ import annotations

from random import Random

from interlock.pocket.tasks.add import column_addition, digits
from interlock.pocket.tasks.base import Forms, Instance, Task


def make(rng: Random, level: int) -> Instance:
    """Two base-seven numbers of ``level`` digits."""
    a, b = digits(rng, level, 7), digits(rng, level, 7)
    answer, scratch = column_addition(a, b, 7)
    return Instance({"a": a, "b": b}, answer, scratch)


BASE7 = Task(
    name="base7",
    domain="base7",
    levels=(1, 2, 3, 4),
    forms=Forms(
        compact="base7 {a} {b}",
        paraphrases=(
            "Add {a} and {b} in base 7.",
            "In base 7, what is the sum of {a} and {b}?",
            "What is {a} plus {b} in base seven?",
            "Please add the base 7 numbers {a} and {b}.",
            "Find the base 7 sum of {a} and {b}",
            "Both numbers are in base 7: add {a} to {b}",
        ),
        hidden=("{a} + {b} with the digits 0 to 6 only", "After 6 comes 10. So {a} + {b} ="),
    ),
    make=make,
    unseen=True,
)
