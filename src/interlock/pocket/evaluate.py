"""Exact accuracy of a torch model by greedy generation, many prompts at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from interlock.pocket.document import completion_ids, prompt_ids
from interlock.pocket.model import Cache, PocketLM
from interlock.pocket.tasks import Example
from interlock.pocket.tokenizer import ANS, EOS, PAD, decode

_BATCH = 256
_SLACK = 24


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a model did with one example. Completion tokens count everything generated, ``<eos>`` included."""

    example: Example
    answer: str
    correct: bool
    prompt_tokens: int
    completion_tokens: int


@torch.inference_mode()
def generate(model: PocketLM, prompts: Sequence[list[int]], limits: Sequence[int]) -> list[list[int]]:
    """Greedy completions of prompts, each up to its ``<eos>`` or its limit of tokens.

    Prompts of equal length run together, so no padding ever enters attention; finished rows leave the batch.
    """
    completions: list[list[int]] = [[] for _ in prompts]
    device = model.e0.device
    for indices in _equal_lengths(prompts):
        ids = torch.tensor([prompts[index] for index in indices], device=device)
        earlier = torch.full((len(indices), 2), PAD, device=device)
        cache: Cache | None = None
        while indices:
            logits, cache = model.extend(ids, earlier, cache)
            earlier = torch.cat((earlier, ids), 1)[:, -2:]
            ids = logits.argmax(-1, keepdim=True)
            going = []
            for row, (index, token) in enumerate(zip(indices, ids[:, 0].tolist(), strict=True)):
                completions[index].append(token)
                if token != EOS and len(completions[index]) < limits[index]:
                    going.append(row)
            if len(going) < len(indices):
                keep = torch.tensor(going, dtype=torch.long, device=device)
                indices = [indices[row] for row in going]
                ids, earlier = ids[keep], earlier[keep]
                cache = [(keys[keep], values[keep]) for keys, values in cache]
    return completions


def answer_text(completion: Sequence[int]) -> str:
    """The text after the last ``<ans>``, or all of it where there is none."""
    ids = list(completion)
    last = max((index for index, token in enumerate(ids) if token == ANS), default=-1)
    return decode(ids[last + 1 :])


def evaluate(model: PocketLM, examples: Sequence[Example], budget: int) -> list[Outcome]:
    """Generate an answer to every example with a reasoning budget of 0, 1 or 2.

    A completion may be ``_SLACK`` tokens longer than the expected one before it is cut.
    """
    prompts = [prompt_ids(example.prompt, budget) for example in examples]
    limits = [len(completion_ids(example.answer, example.scratch, budget)) + _SLACK for example in examples]
    outcomes = []
    for example, prompt, completion in zip(examples, prompts, generate(model, prompts, limits), strict=True):
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
