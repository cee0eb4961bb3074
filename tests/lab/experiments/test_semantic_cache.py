from __future__ import annotations

from random import Random

import pytest

from interlock.errors import ConfigError
from interlock.lab.experiments import Options, load
from interlock.lab.experiments.semantic_cache import PARAPHRASES, TRAPS, measure

PROMPTS = [
    f"In which year did {one} first sell more than {n} books to {two}, and is that always true?"
    for n, (one, two) in enumerate([("Anna", "Brian"), ("Clara", "David"), ("Emma", "Felix"), ("Greta", "Hugo")] * 3)
]


def test_it_needs_real_prompts() -> None:
    with pytest.raises(ConfigError, match="--data"):
        load("semantic-cache")(Options(seeds=(0,)))


@pytest.mark.parametrize("kind", TRAPS)
def test_every_trap_changes_the_prompt(kind: str) -> None:
    assert TRAPS[kind](PROMPTS[0], Random(0), ["Otto"]) not in ("", PROMPTS[0])


def test_hits_are_counted() -> None:
    counts = measure(PROMPTS, 0, 12)
    assert counts["traps"] > 5
    assert counts["trap hits"] == 0
    assert counts["paraphrase hits"] > 0
    assert counts["crossed"] == 0
    assert sum(counts[f"all: {kind}"] for kind in (*TRAPS, *PARAPHRASES)) == counts["traps"] + counts["paraphrases"]
