"""Exact accuracy of a torch model by greedy generation, many prompts at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from interlock.pocket.document import prompt_ids
from interlock.pocket.model import Cache, PocketLM
from interlock.pocket.tasks import Example
from interlock.pocket.tokenizer import ANS, EOS, PAD, decode

_BATCH = 256


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a model did with one example. Completion tokens count everything generated, ``<eos>`` included."""

    example: Example
    answer: str
    correct: bool
    prompt_tokens: int
    completion_tokens: int


@torch.inference_mode()
def generate(model: PocketLM, prompts: Sequence[list[int]], limit: int) -> list[list[int]]:
    """Greedy completions of prompts, each up to its ``<eos>`` or ``limit`` tokens.

    Prompts of equal length run together, so no padding ever enters attention.
    """
    completions: list[list[int]] = [[] for _ in prompts]
    for indices in _equal_lengths(prompts):
        ids = torch.tensor([prompts[index] for index in indices])
        earlier = torch.full((len(indices), 2), PAD)
        alive = torch.ones(len(indices), dtype=torch.bool)
        cache: Cache | None = None
        chosen: list[torch.Tensor] = []
        while len(chosen) < limit and alive.any():
            logits, cache = model.extend(ids, earlier, cache)
            earlier = torch.cat((earlier, ids), 1)[:, -2:]
            token = torch.where(alive, logits.argmax(-1), PAD)
            alive &= token != EOS
            chosen.append(token)
            ids = token[:, None]
        for index, row in zip(indices, torch.stack(chosen, 1).tolist(), strict=True):
            completions[index] = row[: row.index(EOS) + 1] if EOS in row else row
    return completions


def answer_text(completion: Sequence[int]) -> str:
    """The text after the last ``<ans>``, or all of it where there is none."""
    ids = list(completion)
    last = max((index for index, token in enumerate(ids) if token == ANS), default=-1)
    return decode(ids[last + 1 :])


def evaluate(model: PocketLM, examples: Sequence[Example], budget: int, limit: int = 160) -> list[Outcome]:
    """Generate an answer to every example with a reasoning budget of 0, 1 or 2."""
    prompts = [prompt_ids(example.prompt, budget) for example in examples]
    outcomes = []
    for example, prompt, completion in zip(examples, prompts, generate(model, prompts, limit), strict=True):
        answer = answer_text(completion)
        correct = example.verify(answer)
        outcomes.append(Outcome(example, answer, correct, len(prompt), len(completion)))
    return outcomes


def _equal_lengths(prompts: Sequence[list[int]]) -> Iterator[list[int]]:
    by_length: dict[int, list[int]] = defaultdict(list)
    for index, prompt in enumerate(prompts):
        by_length[len(prompt)].append(index)
    for indices in by_length.values():
        for start in range(0, len(indices), _BATCH):
            yield indices[start : start + _BATCH]
