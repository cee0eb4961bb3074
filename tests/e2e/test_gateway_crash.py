"""A gateway under fire: `interlock serve` is killed at random moments under load, twenty times over, on one ledger."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from interlock.assembly import build_policy, trust_of
from interlock.config import load
from interlock.lab.process import Gateway, gateway
from interlock.learning.fold import Fold
from interlock.ledger import Reading, verify
from interlock.offered import embedded
from interlock.pocket.mix import bench
from interlock.signals import build
from interlock.types import Feedback

KILLS = 20
CLIENTS = 6
LONGEST = 0.8  # seconds of load before the kill, from the first acknowledgement on


@dataclass
class Witness:
    """What clients were told before the process died, over all its lives."""

    completed: list[str] = field(default_factory=list)
    acknowledged: dict[str, float] = field(default_factory=dict)
    surprises: list[str] = field(default_factory=list)


async def client(http: httpx.AsyncClient, name: int, dice: random.Random, witness: Witness) -> None:
    """Ask, streamed or not, and score every answer, until the gateway is gone."""
    prompts = [example.prompt for example in bench(name, 64, split="validation")]
    with contextlib.suppress(httpx.TransportError):
        for turn in range(10**6):
            body = {"model": "auto", "messages": [{"role": "user", "content": prompts[turn % len(prompts)]}]}
            answer = await http.post("/v1/chat/completions", json=body | {"stream": turn % 2 == 1})
            whole = "data: [DONE]" in answer.text if turn % 2 else answer.is_success
            if not whole or answer.status_code != 200:
                witness.surprises.append(f"{answer.status_code}: {answer.text[:200]}")
                continue
            id, score = answer.headers["x-interlock-id"], round(dice.random(), 6)
            witness.completed.append(id)
            said = await http.post("/v1/feedback", json={"id": id, "score": score, "source": "verifier"})
            if said.status_code == 200:
                witness.acknowledged[id] = score
            else:
                witness.surprises.append(f"{said.status_code}: {said.text[:200]}")


async def killed_under_load(running: Gateway, dice: random.Random, witness: Witness) -> None:
    """Load the gateway, and kill it some time after the first feedback of this life was acknowledged."""
    before = len(witness.acknowledged)
    async with httpx.AsyncClient(base_url=running.url, timeout=30) as http:
        clients = [asyncio.create_task(client(http, name, dice, witness)) for name in range(CLIENTS)]
        while len(witness.acknowledged) == before and not all(task.done() for task in clients):
            await asyncio.sleep(0.01)
        await asyncio.sleep(dice.uniform(0.0, LONGEST))
        running.process.kill()
        await asyncio.gather(*clients)


def caught_up(running: Gateway, ledger: Path, patience: float = 30.0) -> str:
    """The version that is served once everything said in earlier lives is learnt."""
    said = [row.seq for row in Reading(ledger).rows(kind="feedback")]
    last, deadline = max(said, default=0), time.monotonic() + patience
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"{running.url}/v1/learner", timeout=10) as response:
            status: dict[str, Any] = json.load(response)
        if int(status["served"].partition("-")[0] or 0) >= last:  # empty until the first fold
            assert status["error"] == status["degraded"] == ""
            return str(status["served"])
        time.sleep(0.05)
    raise AssertionError(f"the learner did not catch up: {status}")


@pytest.mark.slow
def test_a_killed_gateway_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    path, config = tmp_path / "ledger.db", tmp_path / "interlock.yaml"
    config.write_text(yaml.safe_dump(embedded() | {"learner": {"keep": 2}}))
    dice, witness, versions = random.Random(4), Witness(), list[str]()
    for _ in range(KILLS):
        with gateway(tmp_path, "--config", str(config)) as running:
            versions.append(caught_up(running, path))
            asyncio.run(killed_under_load(running, dice, witness))
        assert running.process.returncode == -signal.SIGKILL
    with gateway(tmp_path, "--config", str(config)) as running:
        versions.append(caught_up(running, path))

    assert witness.surprises == []
    assert len(witness.acknowledged) > 2 * KILLS

    report = verify(path)
    rows = list(Reading(path).rows())
    assert len(rows) == report.rows == report.head
    records = [(row.kind, row.decision, row.record) for row in rows]  # decodes every row: none is torn

    decided = [id for kind, id, _ in records if kind == "decision"]
    assert len(decided) == len(set(decided))
    assert set(witness.completed) <= set(decided)
    stored = {id: record.score for _, id, record in records if isinstance(record, Feedback)}
    assert witness.acknowledged.items() <= stored.items()
    assert set(stored) <= set(witness.completed)  # nothing that nobody said

    assert refolded(path, config, versions) == versions


def refolded(path: Path, config: Path, versions: list[str]) -> list[str]:
    """The versions that one fold from the first row on has at the rows where these were published."""
    settings = load(config)
    reader = build(settings.signal_names(), settings.signals, settings.vector)
    fold, found = Fold(build_policy(settings, reader), trust_of(settings)), []
    for version in versions:
        fold.advance(Reading(path), int(version.partition("-")[0]))
        found.append(fold.snapshot(0.0).version)
    return found
