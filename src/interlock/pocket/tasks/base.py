"""What a task is: a seeded generator of questions with one exact answer, and how its examples are worded and split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Literal

Split = Literal["train", "validation", "test"]
Style = Literal["compact", "paraphrase", "hidden", "mixed"]

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
HELD_OUT = 0.1
"""Share of all content that goes to validation, and again to test."""

_TRIES = 20_000
_STYLE_SHARES: tuple[tuple[Style, float], ...] = (("compact", 0.25), ("paraphrase", 0.5), ("hidden", 0.25))


@dataclass(frozen=True, slots=True)
class Forms:
    """The wordings of one task; each is a ``str.format`` template over the instance's slots.

    ``hidden`` wordings never contain the task's name: what is asked must be inferred from the content.
    """

    compact: str
    paraphrases: tuple[str, ...]
    hidden: tuple[str, ...]

    def __len__(self) -> int:
        return 1 + len(self.paraphrases) + len(self.hidden)

    def __getitem__(self, variant: int) -> str:
        return (self.compact, *self.paraphrases, *self.hidden)[variant]

    def variants(self, style: Style) -> range:
        """The variant numbers of a style: 0 is compact, then the paraphrases, then the hidden forms."""
        first_hidden = 1 + len(self.paraphrases)
        return {
            "compact": range(1),
            "paraphrase": range(1, first_hidden),
            "hidden": range(first_hidden, len(self)),
            "mixed": range(len(self)),
        }[style]


@dataclass(frozen=True, slots=True)
class Instance:
    """One problem before it is worded. ``scratch`` is empty where no working can help.

    ``turns`` holds further (question, answer) pairs about the same content; only training documents use them.
    """

    slots: Mapping[str, str]
    answer: str
    scratch: str = ""
    domain: str | None = None
    turns: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Example:
    """A worded problem with its exact answer."""

    prompt: str
    answer: str
    scratch: str
    domain: str
    task: str
    level: int
    variant: int
    split: Split
    turns: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def verify(self, text: str) -> bool:
        """True if ``text``, surrounding white space aside, is exactly the answer. Never raises."""
        return text.strip() == self.answer


@dataclass(frozen=True, slots=True)
class Task:
    """A named generator over difficulty levels.

    ``memorised`` marks tasks that are looked up rather than worked out: every fact is trained, so only the *wording*
    can be held out. ``unseen`` marks disciplines left out of the generalists' training. ``level_weights`` gives the
    training frequency of each level where it is part of the task; levels are equally frequent otherwise.
    """

    name: str
    domain: str
    levels: tuple[int, ...]
    forms: Forms
    make: Callable[[Random, int], Instance]
    memorised: bool = False
    unseen: bool = False
    level_weights: Callable[[], tuple[float, ...]] | None = None

    def example(self, rng: Random, level: int, variant: int = 0) -> Example:
        """One example of any split.

        Raises ValueError if the task has no such level or wording.
        """
        if level not in self.levels:
            raise ValueError(f"task {self.name!r} has no level {level}; its levels are {self.levels}")
        if not 0 <= variant < len(self.forms):
            raise ValueError(f"task {self.name!r} has no wording {variant}; choose 0 to {len(self.forms) - 1}")
        made = self.make(rng, level)
        prompt = self.forms[variant].format_map(made.slots)
        content = prompt if self.memorised else self.forms.compact.format_map(made.slots)
        return Example(
            prompt=prompt,
            answer=made.answer,
            scratch=made.scratch,
            domain=made.domain or self.domain,
            task=self.name,
            level=level,
            variant=variant,
            split=split_of(content),
            turns=made.turns,
        )


def split_of(content: str) -> Split:
    """The split that owns ``content``, decided by its hash alone: stable across runs, seeds and machines.

    Callers pass the compact wording, so that all wordings of one problem fall on the same side.
    """
    digest = hashlib.blake2b(content.encode(), digest_size=8).digest()
    share = int.from_bytes(digest, "big") / 2**64
    return "test" if share < HELD_OUT else "validation" if share < 2 * HELD_OUT else "train"


def draw(task: Task, rng: Random, level: int, split: Split = "train", style: Style = "mixed") -> Example:
    """One example of ``split`` in the given style ("mixed": a quarter compact, half paraphrased, a quarter hidden).

    Raises ValueError for an unknown level, or LookupError if the level has no content in that split.
    """
    if style == "mixed":
        styles, shares = zip(*_STYLE_SHARES, strict=True)
        style = rng.choices(styles, shares)[0]
    variants = task.forms.variants(style)
    for _ in range(_TRIES):
        example = task.example(rng, level, rng.choice(variants))
        if example.split == split:
            return example
    raise LookupError(f"task {task.name!r} level {level} has no {split} content in {_TRIES} draws")
