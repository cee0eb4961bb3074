"""Knowledge: a fixed table of 3,200 invented names in eight domains, each with a two-letter code, to be memorised.

Names are not equally frequent in training: the eight domains have unequal shares and, inside a domain, frequency falls
as a power of rank (Zipf). ``level`` is the quintile of frequency over the whole table, 1 the most frequent. As with
real names, spelling gives a hint: the middle letter of a name belongs to its quintile's group of letters, so how well
a name is known can in principle be told from the prompt.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import accumulate
from random import Random
from string import ascii_uppercase
from typing import NamedTuple

from interlock.pocket.tasks.base import Forms, Instance, Task

DOMAIN_SHARES = {
    "river": 0.26,
    "star": 0.20,
    "bird": 0.16,
    "ship": 0.12,
    "island": 0.10,
    "mineral": 0.08,
    "painter": 0.05,
    "comet": 0.03,
}
PER_DOMAIN = 400
ZIPF = 0.6
MIDDLE_LETTERS = ("AEIOU", "BCDFG", "HJKLM", "NPQRS", "TVWXYZ")
_SEED = 20_260


class Fact(NamedTuple):
    """One row: who is asked about, the code to answer, and its share of all fact training."""

    domain: str
    name: str
    code: str
    frequency: float


@cache
def table() -> tuple[tuple[Fact, ...], ...]:
    """The facts by quintile of frequency, most frequent first. Always the same table."""
    rng = Random(_SEED)
    total = sum(rank**-ZIPF for rank in range(1, PER_DOMAIN + 1))
    rows = sorted(
        (
            (share * rank**-ZIPF / total, domain)
            for domain, share in DOMAIN_SHARES.items()
            for rank in range(1, PER_DOMAIN + 1)
        ),
        reverse=True,
    )
    size = len(rows) // len(MIDDLE_LETTERS)
    quintiles = []
    for index, middles in enumerate(MIDDLE_LETTERS):
        names = [a + b + c for a in ascii_uppercase for b in middles for c in ascii_uppercase]
        chosen = rng.sample(names, size)
        part = rows[index * size : (index + 1) * size]
        quintiles.append(
            tuple(
                Fact(domain, name, "".join(rng.choices(ascii_uppercase, k=2)), frequency)
                for (frequency, domain), name in zip(part, chosen, strict=True)
            )
        )
    return tuple(quintiles)


@cache
def _by_frequency(level: int) -> tuple[tuple[Fact, ...], tuple[float, ...]]:
    facts = table()[level - 1]
    return facts, tuple(accumulate(fact.frequency for fact in facts))


@cache
def level_shares() -> tuple[float, ...]:
    """The share of fact training that falls on each quintile; sums to 1."""
    return tuple(sum(fact.frequency for fact in quintile) for quintile in table())


def instance(fact: Fact) -> Instance:
    """The fact as a problem, in the fact's own domain."""
    return Instance({"noun": fact.domain, "name": fact.name}, fact.code, domain=f"facts-{fact.domain}")


def make(rng: Random, level: int) -> Instance:
    """A fact of quintile ``level``, drawn by its frequency."""
    facts, cumulated = _by_frequency(level)
    return instance(rng.choices(facts, cum_weights=cumulated)[0])


FACTS = Task(
    name="facts",
    domain="facts",
    levels=(1, 2, 3, 4, 5),
    forms=Forms(
        compact="{noun} {name} code",
        paraphrases=(
            "What is the code of the {noun} {name}",
            "Give the code for the {noun} {name}",
            "Which code does the {noun} {name} have?",
            "Please tell me the code of the {noun} {name}.",
            "I need the code of the {noun} named {name}",
            "The {noun} {name} has the code",
            "Do you know the code of {name}, the {noun}?",
        ),
        hidden=("{noun} {name}", "{name} (a {noun})"),
    ),
    make=make,
    memorised=True,
    level_weights=level_shares,
)


def facts_about(domain: str) -> Task:
    """The facts of one domain, all equally frequent: what a specialist studies.

    Raises ValueError for a domain that the table does not have.
    """
    if domain not in DOMAIN_SHARES:
        raise ValueError(f"no facts about {domain!r}; the domains are {', '.join(DOMAIN_SHARES)}")
    by_level = {
        level: facts
        for level, quintile in enumerate(table(), start=1)
        if (facts := tuple(fact for fact in quintile if fact.domain == domain))
    }
    sizes = tuple(float(len(facts)) for facts in by_level.values())
    return replace(
        FACTS,
        name=f"facts-{domain}",
        levels=tuple(by_level),
        make=lambda rng, level: instance(rng.choice(by_level[level])),
        level_weights=lambda: sizes,
    )
