"""Clock arithmetic modulo 24 hours: a discipline the generalists never saw. Level 1 adds whole hours, 2 minutes,
3 hours and minutes, 4 subtracts hours and minutes."""

from __future__ import annotations

from random import Random

from interlock.pocket.tasks.base import Forms, Instance, Task


def make(rng: Random, level: int) -> Instance:
    """A time of day and a shift. The scratchpad: minutes with the carried hour, then hours before modulo."""
    hour, minute = rng.randrange(24), rng.randrange(60)
    hours = 0 if level == 2 else rng.randrange(1, 24)
    minutes = 0 if level == 1 else rng.randrange(1, 60)
    sign = -1 if level == 4 else 1
    carry, new_minute = divmod(minute + sign * minutes, 60)
    total = hour + sign * hours + carry
    scratch = f"{new_minute:02}{'-' if carry < 0 else '+'}{abs(carry)};{total};"
    slots = {"t": f"{hour:02}:{minute:02}", "by": f"{'-' if sign < 0 else '+'}{hours}:{minutes:02}"}
    return Instance(slots, f"{total % 24:02}:{new_minute:02}", scratch)


CLOCK = Task(
    name="clock",
    domain="clock",
    levels=(1, 2, 3, 4),
    forms=Forms(
        compact="clock {t} {by}",
        paraphrases=(
            "The clock shows {t}. What does it show at {by}?",
            "What time is it on the clock at {t} {by}?",
            "Please move the clock from {t} by {by}.",
            "A clock stands at {t}. Turn it by {by}.",
            "Which time does the clock show {by} from {t}?",
            "Set the clock to {t}, then change it by {by}",
        ),
        hidden=("It is {t}. What time is it at {by}?", "A train leaves at {t} and needs {by}. When is it there?"),
    ),
    make=make,
    unseen=True,
)
