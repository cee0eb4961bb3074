"""Roman numerals of numbers with ``level`` digits: a discipline the generalists never saw."""

from __future__ import annotations

from random import Random

from interlock.pocket.tasks.base import Forms, Instance, Task

_SYMBOLS = ("IVX", "XLC", "CDM", "M")
_PATTERNS = ("", "0", "00", "000", "01", "1", "10", "100", "1000", "02")


def roman_digit(digit: int, place: int) -> str:
    """The numeral of one decimal digit at 10**place; at the thousands only 0 to 3 exist."""
    return "".join(_SYMBOLS[place][int(symbol)] for symbol in _PATTERNS[digit])


def make(rng: Random, level: int) -> Instance:
    """A number of exactly ``level`` digits, at most 3999."""
    number = rng.randrange(10 ** (level - 1), min(10**level, 4000))
    text = str(number)
    parts = [(digit, roman_digit(int(digit), len(text) - 1 - index)) for index, digit in enumerate(text)]
    scratch = "".join(f"{digit}{numeral};" for digit, numeral in parts)
    return Instance({"n": text}, "".join(numeral for _, numeral in parts), scratch)


ROMAN = Task(
    name="roman",
    domain="roman",
    levels=(2, 3, 4),
    forms=Forms(
        compact="roman {n}",
        paraphrases=(
            "Write {n} as a roman number.",
            "What is {n} in roman numerals?",
            "Please give the roman numeral of {n}.",
            "How do you write {n} with roman numerals?",
            "Convert {n} to roman.",
            "Can you tell me the roman form of {n}?",
        ),
        hidden=("Write {n} with the letters I, V, X, L, C, D and M.", "How is {n} written on an old stone?"),
    ),
    make=make,
    unseen=True,
)
