"""State tracking: a ball under one of five cups and ``level`` swaps. A direct answer is limited by the network's depth;
the scratchpad repeats each swap with the ball's place after it."""

from __future__ import annotations

from random import Random

from interlock.pocket.tasks.base import Forms, Instance, Task

_CUPS = "12345"


def replay(start: str, swaps: list[str]) -> list[str]:
    """The ball's place after each swap."""
    place, places = start, []
    for swap in swaps:
        a, b = swap[0], swap[1]
        place = b if place == a else a if place == b else place
        places.append(place)
    return places


def make(rng: Random, level: int) -> Instance:
    """A start and ``level`` swaps of two different cups."""
    start = rng.choice(_CUPS)
    swaps = ["".join(rng.sample(_CUPS, 2)) for _ in range(level)]
    places = replay(start, swaps)
    scratch = "".join(swap + place for swap, place in zip(swaps, places, strict=True))
    return Instance({"start": start, "swaps": " ".join(swaps)}, places[-1], scratch)


CUPS = Task(
    name="cups",
    domain="tracking",
    levels=tuple(range(1, 11)),
    forms=Forms(
        compact="cups {start}: {swaps}",
        paraphrases=(
            "The ball is under cup {start}. Swap the cups {swaps}. Where is the ball?",
            "There are five cups and the ball is under cup {start}. We swap {swaps}. Which cup has the ball?",
            "Follow the ball from cup {start} when the cups swap: {swaps}",
            "Cups game: ball at {start}, swaps {swaps}. Where is it now?",
            "Under which cup is the ball? It was under cup {start}, then swap {swaps}.",
            "I put a ball under cup {start} and swap the cups {swaps}. Find the ball.",
        ),
        hidden=(
            "It starts at {start}. Then these change places: {swaps}. Where is it?",
            "The coin is at {start}, and these places are exchanged: {swaps}",
        ),
    ),
    make=make,
)
