"""Addition of two ``level``-digit numbers. Direct answers need long carries; the scratchpad works digit by digit."""

from __future__ import annotations

from random import Random

from interlock.pocket.tasks.base import Forms, Instance, Task


def column_addition(a: str, b: str, base: int) -> tuple[str, str]:
    """The sum of two equally long digit strings and the working, last digit first: ``<a><b><carry><digit>;`` each."""
    carry, digits, steps = 0, "", []
    for x, y in zip(reversed(a), reversed(b), strict=True):
        carry, digit = divmod(int(x) + int(y) + carry, base)
        digits = f"{digit}{digits}"
        steps.append(f"{x}{y}{carry}{digit};")
    return (f"1{digits}" if carry else digits), "".join(steps)


def digits(rng: Random, count: int, base: int) -> str:
    """A number of exactly ``count`` digits without a leading zero (a single digit may be 0)."""
    first = rng.randrange(0 if count == 1 else 1, base)
    return str(first) + "".join(str(rng.randrange(base)) for _ in range(count - 1))


def make(rng: Random, level: int) -> Instance:
    """Two numbers of ``level`` digits."""
    a, b = digits(rng, level, 10), digits(rng, level, 10)
    answer, scratch = column_addition(a, b, 10)
    return Instance({"a": a, "b": b}, answer, scratch)


ADD = Task(
    name="add",
    domain="arithmetic",
    levels=(1, 2, 3, 4, 5, 6),
    forms=Forms(
        compact="add {a} {b}",
        paraphrases=(
            "Add {a} and {b}.",
            "What is the sum of {a} and {b}?",
            "Please add {a} to {b} for me.",
            "What do we get when we add {a} and {b}?",
            "Find the sum: {a} and {b}",
            "Can you tell me the sum of {a} and {b}?",
        ),
        hidden=("{a} + {b} =", "I have {a} coins and get {b} more. How many coins is that?"),
    ),
    make=make,
)
