"""Space: ``level`` moves on an 8x8 board with two walls; a move into a wall or over the border does nothing."""

from __future__ import annotations

from random import Random

from interlock.pocket.tasks.base import Forms, Instance, Task

_MOVES = {"U": (0, 1), "D": (0, -1), "L": (-1, 0), "R": (1, 0)}
_COLUMNS = "ABCDEFGH"


def _cell(column: int, row: int) -> str:
    return f"{_COLUMNS[column]}{row + 1}"


def walk(start: tuple[int, int], walls: set[tuple[int, int]], moves: str) -> list[str]:
    """The cell after each move, as column letter and row digit."""
    (column, row), cells = start, []
    for move in moves:
        right, up = _MOVES[move]
        target = (column + right, row + up)
        if 0 <= target[0] < 8 and 0 <= target[1] < 8 and target not in walls:
            column, row = target
        cells.append(_cell(column, row))
    return cells


def make(rng: Random, level: int) -> Instance:
    """A start cell, two wall cells near it and ``level`` moves."""
    start = rng.randrange(8), rng.randrange(8)
    near = [
        (start[0] + right, start[1] + up)
        for right in range(-2, 3)
        for up in range(-2, 3)
        if (right, up) != (0, 0) and 0 <= start[0] + right < 8 and 0 <= start[1] + up < 8
    ]
    walls = rng.sample(near, 2)
    moves = "".join(rng.choices("UDLR", k=level))
    cells = walk(start, set(walls), moves)
    slots = {"start": _cell(*start), "walls": " ".join(_cell(*wall) for wall in walls), "moves": moves}
    scratch = "".join(move + cell for move, cell in zip(moves, cells, strict=True))
    return Instance(slots, cells[-1], scratch)


GRID = Task(
    name="grid",
    domain="space",
    levels=(2, 4, 6, 8, 10, 12, 14, 16),
    forms=Forms(
        compact="grid {start} walls {walls}: {moves}",
        paraphrases=(
            "On the grid, start at {start} with walls at {walls} and move {moves}. Where do you end?",
            "A robot stands on {start} of the grid. Walls: {walls}. Moves: {moves}. Where is it now?",
            "Walk on the grid from {start} by {moves}. The walls are {walls}.",
            "The grid has walls at {walls}. From {start} go {moves}. Which cell is that?",
            "Which grid cell do we reach from {start} with the moves {moves} and walls at {walls}?",
            "Move the robot on the grid: start {start}, walls {walls}, moves {moves}",
        ),
        hidden=(
            "From {start} go {moves}; {walls} are closed. Where do you end?",
            "I stand on {start}, I can not enter {walls}, and I go {moves}.",
        ),
    ),
    make=make,
)
