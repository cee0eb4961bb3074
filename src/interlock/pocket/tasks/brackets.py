"""Structure: close the ``level`` brackets left open. The scratchpad writes the stack after every run of closers."""

from __future__ import annotations

from random import Random

from interlock.pocket.tasks.base import Forms, Instance, Task

_PAIRS = {"(": ")", "[": "]", "{": "}", "<": ">"}
_OPENERS = tuple(_PAIRS)


def make(rng: Random, level: int) -> Instance:
    """A prefix of a balanced string that ends with ``level`` brackets open, after ``level + 1`` closed detours."""
    detours = sorted(rng.randrange(level + 1) for _ in range(level + 1))
    stack, text, scratch = "", "", ""
    for depth in range(level + 1):
        count = detours.count(depth)
        for _ in range(count):
            bracket = rng.choice(_OPENERS)
            text += bracket + _PAIRS[bracket]
        if count:
            scratch += f"{stack},"
        if depth < level:
            bracket = rng.choice(_OPENERS)
            stack += bracket
            text += bracket
    scratch += stack
    return Instance({"b": text}, "".join(_PAIRS[bracket] for bracket in reversed(stack)), scratch)


BRACKETS = Task(
    name="brackets",
    domain="structure",
    levels=(1, 2, 3, 4, 5, 6),
    forms=Forms(
        compact="brackets {b}",
        paraphrases=(
            "Close the open brackets of {b}",
            "Which brackets close {b}",
            "Complete the brackets: {b}",
            "Please close all brackets in {b}",
            "What brackets are missing at the end of {b}",
            "The brackets in {b} are not closed. Close them.",
        ),
        hidden=("What is missing at the end of {b}", "Make it balanced: {b}"),
    ),
    make=make,
)
