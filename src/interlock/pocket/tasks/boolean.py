"""Logic: a nested expression of ``level`` operations. Chance is one half; the scratchpad reduces from inside out."""

from __future__ import annotations

from random import Random

from interlock.pocket.tasks.base import Forms, Instance, Task

_OPERATIONS = {
    "and": lambda x, y: x and y,
    "or": lambda x, y: x or y,
    "xor": lambda x, y: x != y,
}


def _name(value: bool) -> str:
    return "T" if value else "F"


def make(rng: Random, level: int) -> Instance:
    """``level`` operations, each joining the inner expression with a literal that may be negated."""
    value = rng.random() < 0.5
    text, steps = _name(value), []
    for depth in range(level):
        operation = rng.choice(tuple(_OPERATIONS))
        literal, negated, inner_first = rng.random() < 0.5, rng.random() < 0.25, rng.random() < 0.5
        operand = f"not {_name(literal)}" if negated else _name(literal)
        inner = f"({text})" if depth else text
        reduced = f"{_name(value)} {operation} {_name(literal != negated)}"
        text = f"{inner} {operation} {operand}" if inner_first else f"{operand} {operation} {inner}"
        value = _OPERATIONS[operation](value, literal != negated)
        steps.append(f"{reduced}={_name(value)};")
    return Instance({"e": text}, _name(value), "".join(steps))


BOOL = Task(
    name="bool",
    domain="logic",
    levels=(1, 2, 3, 4, 5),
    forms=Forms(
        compact="bool {e}",
        paraphrases=(
            "Evaluate the logic expression {e}.",
            "Is the expression {e} true or false?",
            "What is the truth value of {e}?",
            "Please evaluate {e} for me.",
            "Find the truth value: {e}",
            "Does the logic expression {e} hold?",
        ),
        hidden=("{e} =", "T is yes and F is no. What about {e}?"),
    ),
    make=make,
)
