"""A pipeline of two steps with real answers: how many records to retrieve, and which pocket model to ask.

Half of the questions ask for a value in a record of a store that no model has seen, by the record's title,
abbreviated and misspelt; the others are tasks that need no record. Retrieved records stand before the question, as
`recall` has it, so a wrong record is distraction and every record is tokens. All nine combinations are answered for
every question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from string import ascii_uppercase

import numpy as np
from numpy.typing import NDArray

from ..estimators.boosted import Boosted
from ..pipeline import Purse
from ..pocket.tasks import TASKS, draw
from ..types import Array
from .asked import ask
from .docstrings import with_typos
from .retrieval import CharNgram

RECORDS = (0, 1, 3)
MODELS = ("nano-t1", "micro-t1", "small-t1")
PAIRS = tuple((records, model) for records in RECORDS for model in MODELS)
OTHERS = ("cups", "add", "reverse", "dedupe", "facts")
WORTH = 0.002
"""What a million active parameters times a token weigh against a right answer: the embedded pool's prices and trade."""

_FIRST = (
    "amber",
    "silver",
    "northern",
    "hidden",
    "winter",
    "copper",
    "broken",
    "quiet",
    "eastern",
    "crimson",
    "velvet",
)
_SECOND = (
    "harbour",
    "meadow",
    "lantern",
    "orchard",
    "castle",
    "market",
    "bridge",
    "garden",
    "chapel",
    "tunnel",
    "mirror",
)


@dataclass(frozen=True)
class Steps:
    """n questions: quality and cost (n, 9) of every pair of `PAIRS`, features (n, d) known before anything is done."""

    quality: Array
    cost: Array
    vectors: Array

    @property
    def utility(self) -> Array:
        return self.quality - WORTH * self.cost


def _shortened(title: str, rng: Random) -> str:
    """Each word as a person abbreviates it, to three letters at least, a typing error in some."""
    return with_typos(" ".join(word[: rng.randint(3, len(word))] for word in title.split()), rng)


def _is(answer: str, text: str) -> bool:
    return text.strip() == answer


def steps(n: int, seed: int, cache: Path, done: Callable[[int], object]) -> Steps:
    """Questions, searches and answers of one seed."""
    rng = Random(f"two-steps:{seed}")
    titles = [f"{first} {second}" for first in _FIRST for second in _SECOND]
    records = [{key: str(rng.randrange(10)) for key in rng.sample(ascii_uppercase, 5)} for _ in titles]
    shown = [" ".join(key + value for key, value in record.items()) for record in records]
    asked: list[str] = []
    bodies: list[str] = []
    verify: list[Callable[[str], bool]] = []
    for row in range(n):
        if row % 2:
            task = TASKS[rng.choice(OTHERS)]
            example = draw(task, rng, rng.choice(task.levels), "test", "mixed")
            asked.append(example.prompt)
            bodies.append(example.prompt)
            verify.append(example.verify)
        else:
            at = rng.randrange(len(titles))
            key = rng.choice(list(records[at]))
            title = _shortened(titles[at], rng)
            asked.append(f"{title}: {key}")
            bodies.append(key)
            verify.append(partial(_is, records[at][key]))
    found = CharNgram().fit(titles).search(asked, max(RECORDS))
    prompts = {
        count: [
            _prompt(body, [shown[i] for i in ids[:count] if i >= 0])
            for body, ids in zip(bodies, found.documents, strict=True)
        ]
        for count in RECORDS
    }
    answered = []
    for count in RECORDS:
        answered.append(ask(prompts[count], verify, MODELS, cache, done=done))
    cheap = np.stack(
        [found.scores[:, 0], found.scores[:, 0] - found.scores[:, 1], found.scores[:, 0] - found.scores[:, 2]], 1
    )
    return Steps(
        np.hstack([one.right[:, :, 0] for one in answered]),
        np.hstack([one.cost[:, :, 0] for one in answered]),
        np.hstack([_surface(asked), cheap]),
    )


def _prompt(body: str, records: Sequence[str]) -> str:
    """A key to look up among records (none: nothing to look in), or another question with records before it."""
    pairs = " ".join(records)
    if len(body) == 1:
        return f"recall {pairs}: {body}" if pairs else f"recall: {body}"
    return f"{pairs} {body}" if pairs else body


def _surface(questions: Sequence[str]) -> Array:
    from .features import Features

    return np.asarray(Features(tasks=0, terms=16, embedding=16).fit(questions).transform(questions))


@dataclass(frozen=True)
class Planner:
    """Joint: one estimate a pair. Apart: each step's own, over whatever the other step may do."""

    expected: Array
    cost: Array

    @classmethod
    def fitted(cls, known: Steps, asked: Array, *, joint: bool) -> Planner:
        names = [f"{records}+{model}" for records, model in PAIRS]
        if joint:
            return cls(_predict(known.vectors, names, known.quality, asked), _predict_cost(known, names, asked))
        grid_quality, grid_cost = (of.reshape(len(of), len(RECORDS), len(MODELS)) for of in (known.quality, known.cost))
        first, second = [str(r) for r in RECORDS], list(MODELS)
        quality = [
            _predict(known.vectors, first, grid_quality.mean(axis=2), asked),
            _predict(known.vectors, second, grid_quality.mean(axis=1), asked),
        ]
        cost = [
            np.broadcast_to(grid_cost.mean(axis=(0, axis)), q.shape) for axis, q in zip((2, 1), quality, strict=True)
        ]
        # Each step maximises its own part, so the sum ranks pairs as the two choices do.
        add = [(a[:, :, None] + b[:, None, :]).reshape(len(asked), -1) for a, b in (quality, cost)]
        return cls(add[0], add[1])

    def choose(self, worth: float = WORTH) -> NDArray[np.intp]:
        return np.asarray((self.expected - worth * self.cost).argmax(axis=1))


def _predict(vectors: Array, names: Sequence[str], quality: Array, asked: Array) -> Array:
    fitted = Boosted(trees=80, leaves=10, rate=0.1, share=0.6).fit_table(vectors, names, quality)
    return np.asarray(fitted.predict(asked, names)[0])


def _predict_cost(known: Steps, names: Sequence[str], asked: Array) -> Array:
    top = float(known.cost.max())
    return _predict(known.vectors, names, known.cost / top, asked) * top


def on_a_purse(planner: Planner, asked: Steps, worth: float, per_request: float, most: float) -> NDArray[np.intp]:
    """Choices under one purse: the best affordable pair by expected cost, at a shared price of `worth` for cost.

    Where nothing is affordable, the cheapest: the question has to be answered, and the debt is carried.
    """
    purse = Purse(per_request, most)
    chosen = np.zeros(len(asked.quality), dtype=np.intp)
    for row in range(len(chosen)):
        purse.fill()
        affordable = planner.cost[row] <= purse.there
        value = np.where(affordable, planner.expected[row] - worth * planner.cost[row], -np.inf)
        chosen[row] = value.argmax() if affordable.any() else planner.cost[row].argmin()
        purse.spend(float(asked.cost[row, chosen[row]]))
    return chosen


def worth_for(planner: Planner, per_request: float) -> float:
    """The least price of cost, from `WORTH` up, at which expected spending is within the allowance (bisection)."""
    rows = np.arange(len(planner.cost))

    def spent(worth: float) -> float:
        return float(planner.cost[rows, planner.choose(worth)].mean())

    low, high = WORTH, WORTH
    while spent(high) > per_request and high < 1e3:
        high *= 2.0
    for _ in range(30):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if spent(middle) > per_request else (low, middle)
    return high


def worst_window(cost: Array, per_request: float, window: int = 200) -> float:
    """The highest spending in any `window` requests in a row, as a share of what came in for them."""
    sums = np.cumsum(np.insert(cost, 0, 0.0))
    window = min(window, len(cost))
    return float((sums[window:] - sums[:-window]).max() / (window * per_request))
