"""Five operations on strings of ``level`` capital letters. No scratchpad: the answer is its own working."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from string import ascii_uppercase

from interlock.pocket.tasks.base import Forms, Instance, Task

LEVELS = (3, 4, 5, 6, 8, 10, 12)


def letters(rng: Random, count: int, alphabet: str = ascii_uppercase) -> str:
    """A random string of ``count`` letters, repeats allowed."""
    return "".join(rng.choices(alphabet, k=count))


def sort(text: str) -> str:
    """The letters in alphabetical order."""
    return "".join(sorted(text))


def reverse(text: str) -> str:
    """The letters from last to first."""
    return text[::-1]


def dedupe(text: str) -> str:
    """The first occurrence of each letter, in place."""
    return "".join(dict.fromkeys(text))


def rotate(text: str, by: int) -> str:
    """The first ``by`` letters moved to the end."""
    return text[by:] + text[:by]


def caesar(text: str, by: int) -> str:
    """Each letter replaced by the one ``by`` places later; Z is followed by A."""
    return "".join(chr((ord(letter) - 65 + by) % 26 + 65) for letter in text)


def _plain(operation: Callable[[str], str]) -> Callable[[Random, int], Instance]:
    def make(rng: Random, level: int) -> Instance:
        text = letters(rng, level)
        return Instance({"s": text}, operation(text))

    return make


def _shifted(operation: Callable[[str, int], str]) -> Callable[[Random, int], Instance]:
    def make(rng: Random, level: int) -> Instance:
        text, by = letters(rng, level), rng.randint(1, min(3, level - 1))
        return Instance({"s": text, "by": str(by)}, operation(text, by))

    return make


def repetitive(rng: Random, count: int) -> str:
    """A string in which about a third of the letters are repeats."""
    return letters(rng, count, "".join(rng.sample(ascii_uppercase, max(2, 2 * count // 3))))


def _make_dedupe(rng: Random, level: int) -> Instance:
    text = repetitive(rng, level)
    return Instance({"s": text}, dedupe(text))


SORT = Task(
    name="sort",
    domain="strings",
    levels=LEVELS,
    forms=Forms(
        compact="sort {s}",
        paraphrases=(
            "Sort the letters {s}.",
            "Please sort {s} for me.",
            "What do you get if you sort the letters of {s}?",
            "Here are some letters: {s}. Sort them.",
            "Can you sort the word {s}?",
            "Give the letters of {s} in sorted order.",
        ),
        hidden=("Write the letters of {s} from A to Z.", "{s} in the order of the alphabet?"),
    ),
    make=_plain(sort),
)

REVERSE = Task(
    name="reverse",
    domain="strings",
    levels=LEVELS,
    forms=Forms(
        compact="reverse {s}",
        paraphrases=(
            "Reverse the letters {s}.",
            "Please reverse {s} for me.",
            "What do you get if you reverse the word {s}?",
            "Here are some letters: {s}. Reverse them.",
            "Can you reverse the string {s}?",
            "Give the letters of {s} in reverse.",
        ),
        hidden=("Write {s} backwards.", "Read {s} from the end to the start."),
    ),
    make=_plain(reverse),
)

DEDUPE = Task(
    name="dedupe",
    domain="strings",
    levels=LEVELS,
    forms=Forms(
        compact="dedupe {s}",
        paraphrases=(
            "Remove the duplicates from {s}.",
            "Please dedupe the letters {s}.",
            "What is left of {s} without duplicates?",
            "Here are some letters: {s}. Remove duplicates.",
            "Can you remove the duplicates in the word {s}?",
            "Give {s} with all duplicates removed.",
        ),
        hidden=("Keep each letter of {s} only once.", "Write {s} but skip every letter you already wrote."),
    ),
    make=_make_dedupe,
)

ROTATE = Task(
    name="rotate",
    domain="strings",
    levels=LEVELS,
    forms=Forms(
        compact="rotate {s} {by}",
        paraphrases=(
            "Rotate the letters {s} by {by}.",
            "Please rotate {s} left by {by} places.",
            "What do you get if you rotate {s} by {by}?",
            "Here are some letters: {s}. Rotate them by {by}.",
            "Can you rotate the word {s} by {by} places?",
            "Give {s} after a rotation by {by}.",
        ),
        hidden=("Move the first {by} letters of {s} to the end.", "{s} with its first {by} letters put last?"),
    ),
    make=_shifted(rotate),
)

CAESAR = Task(
    name="caesar",
    domain="strings",
    levels=LEVELS,
    forms=Forms(
        compact="caesar {s} {by}",
        paraphrases=(
            "Shift the letters {s} by {by}.",
            "Please apply a caesar shift of {by} to {s}.",
            "What do you get if you shift {s} by {by}?",
            "Here are some letters: {s}. Shift them by {by}.",
            "Can you encode the word {s} with a shift of {by}?",
            "Give the caesar code of {s} with shift {by}.",
        ),
        hidden=(
            "Replace each letter of {s} by the letter {by} later in the alphabet.",
            "Each letter of {s} becomes the one {by} steps after it.",
        ),
    ),
    make=_shifted(caesar),
)

STRINGS = (SORT, REVERSE, DEDUPE, ROTATE, CAESAR)
