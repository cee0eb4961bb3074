"""A ledger under fire: its process is killed at random moments under load, twenty times over."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from interlock.errors import NotFound
from interlock.ledger import Reading, SqliteLedger, verify

KILLS = 20

CHILD = """
import asyncio, sys
from interlock.ledger import SqliteLedger
from interlock.types import Decision, Feedback, Message, Outcome, Request

async def client(ledger, name):
    for i in range(10**9):
        id = f"il-{name}-{i}"
        decision = Decision(id=id, at=1.0, tenant="acme", session="", model="auto", considered=(), chosen="small",
                            policy="p", snapshot="s", config="c", seed=0)
        ledger.put(decision, Request(messages=(Message("user", "prompt of " + id),)))
        ledger.put(Outcome(decision=id, at=1.0, candidate="small", steps=()), answer="answer of " + id)
        seq = await ledger.commit(Feedback(decision=id, at=1.0, score=1.0, source="person"))
        sys.stdout.write(f"{id} {seq}\\n")  # acknowledged
        sys.stdout.flush()

async def main():
    ledger = SqliteLedger(sys.argv[1], payload=True, linger=0.0, checkpoint_every=64)
    await asyncio.gather(*(client(ledger, f"{sys.argv[2]}-{which}") for which in range(8)))

asyncio.run(main())
"""


def killed_under_load(path: Path, life: int, seconds: float) -> list[tuple[str, int]]:
    """Run the child, kill it `seconds` after its first acknowledgement; the acknowledgements it got out."""
    command = [sys.executable, "-c", CHILD, str(path), str(life)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        first = child.stdout.readline()
        time.sleep(seconds)
        child.send_signal(signal.SIGKILL)
        lines = [first, *child.stdout]
    whole = [line.split() for line in lines if line.endswith("\n")]
    return [(id, int(seq)) for id, seq in whole]


@pytest.mark.slow
def test_a_killed_process_loses_no_acknowledged_feedback(tmp_path: Path) -> None:
    path, dice = tmp_path / "ledger.db", random.Random(4)
    acknowledged: list[tuple[str, int]] = []
    for life in range(KILLS):
        acknowledged += killed_under_load(path, life, dice.uniform(0.0, 0.15))
        with SqliteLedger(path) as ledger:  # verifies the rows since the last checkpoint, and continues the chain
            assert ledger.seq >= acknowledged[-1][1]
    assert verify(path).head == ledger.seq
    assert len(acknowledged) > 20 * KILLS
    assert len({seq for _, seq in acknowledged}) == len(acknowledged)

    reading = Reading(path)
    kinds = {row.seq: (row.kind, row.decision) for row in reading.rows()}
    for id, seq in acknowledged:
        assert kinds[seq] == ("feedback", id)
    torn = [id for id, _ in acknowledged if not whole(reading, id)]
    assert torn == []


def whole(reading: Reading, id: str) -> bool:
    try:
        case = reading.decision(id)
    except NotFound:
        return False
    prompt, answer = case.prompt or "", case.answer or ""
    return len(case.feedback) == 1 and f"prompt of {id}" in prompt and answer == f"answer of {id}"
