"""The ledger against plain SQLite: what do the chain, the encoding and the back-pressure cost on top of the inserts?

The peer writes the same three records a request (a decision with 8 candidates and a vector of 64, outcome, feedback),
already encoded, into the same tables and indexes in groups of the same size, with `executemany`. It hashes nothing,
encodes nothing and answers nobody. Rounds are interleaved; every figure is the median over rounds.

    python benchmarks/ledger.py [--smoke]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from interlock.ledger import Record, SqliteLedger
from interlock.ledger.records import encode
from interlock.ledger.store import open_writer
from interlock.types import Considered, Decision, Feedback, Outcome, Signal, Step, Usage

GROUPS = (3, 30, 300)
SIGNALS = ("tokens", "task", "language", "difficulty", "turns")


def records(n: int) -> list[Record]:
    random = np.random.default_rng(0)
    names = [f"provider/model-{i}" for i in range(8)]
    made: list[Record] = []
    for i in range(n // 3):
        considered = tuple(Considered(name, (), *random.random(6).tolist(), 0.125) for name in names)
        signals = {name: Signal(name, float(random.random())) for name in SIGNALS}
        made.append(
            Decision(
                id=f"il-{i:012x}",
                at=1.7e9,
                tenant="acme",
                session="",
                model="auto",
                considered=considered,
                chosen=names[0],
                policy="ridge",
                snapshot="1-abc",
                config="0" * 64,
                seed=0,
                signals=signals,
                vector=random.random(64).astype(np.float32),
            )
        )
        step = Step(names[0], "chosen", usage=Usage(100, 50), cost=1e-4, seconds=0.4)
        made.append(Outcome(decision=f"il-{i:012x}", at=1.7e9, candidate=names[0], steps=(step,), usage=Usage(100, 50)))
        made.append(Feedback(decision=f"il-{i:012x}", at=1.7e9, score=1.0, source="judge", tenant="acme"))
    return made


def plain(path: Path, made: list[Record], group: int) -> None:
    rows, beside = [], []
    for seq, record in enumerate(made, 1):
        entry = encode(record)
        rows.append((seq, entry.at, entry.kind, entry.decision, entry.tenant, entry.body, bytes(32), bytes(32)))
        beside.append([(seq, a.name, a.salt, a.blob) for a in entry.attachments])
    connection = open_writer(path)
    with clocked():
        for start in range(0, len(rows), group):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows[start : start + group])
            attached = [row for few in beside[start : start + group] for row in few]
            connection.executemany("INSERT INTO attachments VALUES (?, ?, ?, ?)", attached)
            connection.execute("COMMIT")
    connection.close()


def ours(path: Path, made: list[Record], group: int) -> None:
    with SqliteLedger(path, linger=0.0) as ledger, clocked():
        for start in range(0, len(made), group):
            for record in made[start : start + group]:
                ticket = ledger.put(record)
            ticket.wait()


class clocked:
    """Adds wall and CPU seconds (all threads) of what is inside to `clocked.last`."""

    last = (0.0, 0.0)

    def __enter__(self) -> None:
        self.began = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        clocked.last = time.perf_counter() - self.began[0], time.process_time() - self.began[1]


def measure(run: Callable[[Path, list[Record], int], None], made: list[Record], group: int) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder) / "ledger.db", made, group)
    return clocked.last


def put_cost(made: list[Record]) -> float:
    """Seconds of the caller's own thread for one `put`, the writer busy at the same time."""
    room = len(made) + 1
    with tempfile.TemporaryDirectory() as folder, SqliteLedger(Path(folder) / "l.db", capacity=room) as ledger:
        began = time.thread_time()
        for record in made:
            ledger.put(record)
        return (time.thread_time() - began) / len(made)


def durable_latency(made: list[Record], n: int) -> float:
    """Median seconds of one lone `put(..., durable=True)` until the disk has it."""
    with tempfile.TemporaryDirectory() as folder, SqliteLedger(Path(folder) / "ledger.db") as ledger:
        seconds = []
        for record in made[2 : 3 * n : 3]:
            began = time.perf_counter()
            ledger.put(record, durable=True).wait()
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a short run")
    smoke = parser.parse_args().smoke
    made, rounds = records(900 if smoke else 9000), 1 if smoke else 5
    print(f"{'rows a group':>14} {'':>8} {'rows/s':>9} {'CPU us/row':>11}")
    for group in GROUPS:
        figures: dict[str, list[tuple[float, float]]] = {"sqlite": [], "ledger": []}
        for _ in range(rounds):
            figures["sqlite"].append(measure(plain, made, group))
            figures["ledger"].append(measure(ours, made, group))
        wall, cpu = {}, {}
        for name, of in figures.items():
            wall[name], cpu[name] = (statistics.median(column) / len(made) for column in zip(*of, strict=True))
            print(f"{group:>14} {name:>8} {1 / wall[name]:>9.0f} {1e6 * cpu[name]:>11.1f}")
        ratio = wall["sqlite"] / wall["ledger"]
        print(f"{'':>14} {'ratio':>8} {ratio:>9.2f} {cpu['ledger'] / cpu['sqlite']:>11.2f}")
    print(f"put in the caller's thread: {1e6 * put_cost(made):.1f} us")
    print(f"one durable commit alone: {1e3 * durable_latency(made, 100 if smoke else 500):.2f} ms")


if __name__ == "__main__":
    main()
