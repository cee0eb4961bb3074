"""The token protocol: how a prompt, a reasoning budget and a completion become one sequence.

``<bos> prompt <budget> completion <eos>``. Budget 0 answers at once; 1 writes ``scratch <ans> answer``; 2 repeats the
scratchpad after ``<chk>`` before answering. Where a task has no scratchpad, budgets 1 and 2 write ``<ans> answer``.
"""

from __future__ import annotations

from typing import NamedTuple

from interlock.pocket.tasks.base import Example
from interlock.pocket.tokenizer import ANS, BOS, BUDGETS, CHK, EOS, encode


class Document(NamedTuple):
    """A training sequence and, for each token, whether the model is to learn to produce it."""

    ids: list[int]
    learned: list[bool]


def prompt_ids(prompt: str, budget: int) -> list[int]:
    """What the model is given before it generates."""
    return [BOS, *encode(prompt), BUDGETS[budget]]


def completion_ids(answer: str, scratch: str, budget: int) -> list[int]:
    """What the model is to generate, ``<eos>`` included."""
    if budget == 0:
        return [*encode(answer), EOS]
    working = encode(scratch)
    if budget == 2 and working:
        working = [*working, CHK, *working]
    return [*working, ANS, *encode(answer), EOS]


def document(example: Example, budget: int) -> Document:
    """The example as a training sequence; its further turns, if any, follow in the same sequence."""
    ids: list[int] = [BOS]
    learned = [False]
    for question, answer, scratch in (
        (example.prompt, example.answer, example.scratch),
        *((question, answer, "") for question, answer in example.turns),
    ):
        asked = [*encode(question), BUDGETS[budget]]
        told = completion_ids(answer, scratch, budget)
        ids += asked + told
        learned += [False] * len(asked) + [True] * len(told)
    return Document(ids, learned)
