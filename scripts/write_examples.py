"""Regenerate the page's example prompts: a few of every task of the bench, never seen in training, with the answer.

`--check` writes nothing and fails when the file is not current.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from random import Random

from interlock.pocket.mix import bench_weights
from interlock.pocket.tasks import TASKS, draw

PAGE = Path(__file__).parents[1] / "src" / "interlock" / "gateway" / "web" / "examples.json"
LONGEST = 200  # characters; longer prompts do not fit a button


def examples() -> list[dict[str, object]]:
    """An easy, a middling and a hard prompt of every task the embedded pool is measured on, in different wordings."""
    found = []
    measured = {name for name, _ in bench_weights()}
    for task in (task for task in TASKS.values() if task.name in measured):
        rng = Random(f"examples:{task.name}")
        for level in dict.fromkeys((task.levels[0], task.levels[len(task.levels) // 2], task.levels[-1])):
            try:
                example = draw(task, rng, level, "test", "paraphrase")
            except LookupError:  # so small a level that no content of it is held out
                continue
            if len(example.prompt) <= LONGEST:
                found.append({"task": task.name, "level": level, "prompt": example.prompt, "answer": example.answer})
    return found


def main() -> None:
    text = json.dumps(examples(), indent=1) + "\n"
    if "--check" not in sys.argv:
        PAGE.write_text(text)
    elif PAGE.read_text() != text:
        sys.exit(f"{PAGE.name} is not current: run scripts/write_examples.py")


if __name__ == "__main__":
    main()
