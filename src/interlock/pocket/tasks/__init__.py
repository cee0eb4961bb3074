"""The text tasks the pocket models are trained and judged on; every answer is checked exactly."""

from __future__ import annotations

from interlock.pocket.tasks.add import ADD
from interlock.pocket.tasks.base import SPLITS, Example, Forms, Instance, Split, Style, Task, draw, split_of
from interlock.pocket.tasks.base7 import BASE7
from interlock.pocket.tasks.boolean import BOOL
from interlock.pocket.tasks.brackets import BRACKETS
from interlock.pocket.tasks.clock import CLOCK
from interlock.pocket.tasks.compose import COMPOSE
from interlock.pocket.tasks.cups import CUPS
from interlock.pocket.tasks.facts import FACTS
from interlock.pocket.tasks.grid import GRID
from interlock.pocket.tasks.recall import RECALL, RECALL_LONG
from interlock.pocket.tasks.roman import ROMAN
from interlock.pocket.tasks.strings import STRINGS

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        ADD,
        CUPS,
        *STRINGS,
        RECALL,
        BOOL,
        GRID,
        BRACKETS,
        FACTS,
        COMPOSE,
        BASE7,
        ROMAN,
        CLOCK,
        RECALL_LONG,
    )
}

__all__ = ["SPLITS", "TASKS", "Example", "Forms", "Instance", "Split", "Style", "Task", "draw", "split_of"]
