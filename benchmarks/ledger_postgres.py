"""The ledger in PostgreSQL against plain inserts into it: what do the chain and its lock cost one writer, and several?

The peer inserts the same, already encoded rows and attachments with one `INSERT ... SELECT FROM unnest(...)` a table
and one transaction a group, over asyncpg too; it hashes nothing and its encoding is not counted. Rounds are
interleaved; figures are medians.

    python benchmarks/ledger_postgres.py postgresql://user@host/database [--smoke]

The database must be empty; it is left with what was written.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import threading
import time
from collections.abc import Callable

import asyncpg

from interlock.ledger import Record
from interlock.ledger.postgres import PostgresLedger
from interlock.ledger.records import encode
from ledger import records

GROUPS = (3, 30, 300)
WRITERS = (1, 4)
Write = Callable[[str, list[Record], int, threading.Barrier], None]
NUMBERS = itertools.count(1)
TABLES = """
DROP SCHEMA IF EXISTS plain CASCADE; CREATE SCHEMA plain;
CREATE TABLE plain.rows(seq bigint PRIMARY KEY, at double precision, kind text COLLATE "C",
    decision_id text COLLATE "C", tenant text COLLATE "C", body bytea, prev bytea, hash bytea);
CREATE INDEX ON plain.rows(decision_id, seq);
CREATE INDEX ON plain.rows(tenant, seq) WHERE tenant != '';
CREATE TABLE plain.attachments(seq bigint, name text, salt bytea, blob bytea, PRIMARY KEY(seq, name));
"""
ROWS = """INSERT INTO plain.rows SELECT * FROM unnest(
    $1::bigint[], $2::float8[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::bytea[], $8::bytea[])"""
BESIDE = "INSERT INTO plain.attachments SELECT * FROM unnest($1::bigint[], $2::text[], $3::bytea[], $4::bytea[])"


def plain(url: str, made: list[Record], group: int, ready: threading.Barrier) -> None:
    entries = [(next(NUMBERS), encode(record)) for record in made]
    rows = [(seq, e.at, e.kind, e.decision, e.tenant, e.body, bytes(32), bytes(32)) for seq, e in entries]
    beside = [[(seq, a.name, a.salt, a.blob) for a in e.attachments] for seq, e in entries]

    async def run() -> None:
        connection = await asyncpg.connect(url)
        ready.wait()
        for start in range(0, len(rows), group):
            async with connection.transaction():
                await connection.execute(ROWS, *zip(*rows[start : start + group], strict=True))
                attached = [row for few in beside[start : start + group] for row in few]
                if attached:
                    await connection.execute(BESIDE, *zip(*attached, strict=True))
        await connection.close()

    asyncio.run(run())


def ours(url: str, made: list[Record], group: int, ready: threading.Barrier) -> None:
    with PostgresLedger(url, linger=0.0, rest=0.0) as ledger:
        ready.wait()
        for start in range(0, len(made), group):
            for record in made[start : start + group]:
                ticket = ledger.put(record)
            ticket.wait()


def measure(run: Write, url: str, made: list[Record], group: int, writers: int) -> float:
    """Wall seconds in which `writers` threads, each with a connection, write a share each."""
    share = len(made) // writers
    parts = [made[i * share : (i + 1) * share] for i in range(writers)]
    ready = threading.Barrier(writers + 1)
    threads = [threading.Thread(target=run, args=(url, part, group, ready)) for part in parts]
    for thread in threads:
        thread.start()
    ready.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", help="an empty database; without one nothing is measured")
    parser.add_argument("--smoke", action="store_true", help="a short run")
    given = parser.parse_args()
    if given.url is None:
        print("no PostgreSQL is given, and this is left out; name an empty database: postgresql://user@host/database")
        return
    made, rounds = records(900 if given.smoke else 6000), 1 if given.smoke else 5

    async def prepare() -> None:
        connection = await asyncpg.connect(given.url)
        await connection.execute(TABLES)
        await connection.close()

    asyncio.run(prepare())
    print(f"{'writers':>8} {'rows a group':>14} {'plain rows/s':>13} {'ledger rows/s':>14} {'ratio':>6}")
    for writers in WRITERS:
        for group in GROUPS:
            seconds: dict[str, list[float]] = {"plain": [], "ledger": []}
            for _ in range(rounds):
                seconds["plain"].append(measure(plain, given.url, made, group, writers))
                seconds["ledger"].append(measure(ours, given.url, made, group, writers))
            a, b = (len(made) / statistics.median(of) for of in seconds.values())
            print(f"{writers:>8} {group:>14} {a:>13.0f} {b:>14.0f} {b / a:>6.2f}")


if __name__ == "__main__":
    main()
