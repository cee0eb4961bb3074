"""What the pocket engine does a second: raw, through HTTP, from a reused prefix, and in how much memory.

    python benchmarks/pocket_engine.py [--model small] [--weights FOLDER] [--skip-http]

Rates are given per second of wall time and of CPU time, beside the load of the machine and the float32 GEMM rate
measured in the same minute: on a shared machine only ratios to that rate can be compared.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from interlock.pocket import PocketRequest, Pool

PROMPTS = ("Sort these letters: D A C B K Z", "Add 512 and 377.", "Reverse this: Q W E R T Y", "Recall A from A 3 B 5")


def gflops() -> float:
    """Float32 multiply-adds of one BLAS thread, 64 rows at the width of `small`."""
    x, w = np.ones((64, 160), np.float32), np.ones((160, 640), np.float32)
    best = 0.0
    for _ in range(20):
        start = time.thread_time()
        for _ in range(50):
            x @ w
        best = max(best, 50 * 2 * 64 * 160 * 640 / (time.thread_time() - start) / 1e9)
    return best


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss() -> float:
    """Resident memory now, MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def requests(model: str, n: int, tokens: int) -> list[PocketRequest]:
    """Sampled hot, so that answers rarely end before their cap."""
    return [
        PocketRequest(candidate=f"{model}-t1", prompt=PROMPTS[i % 4], temperature=2.0, seed=i, max_tokens=tokens)
        for i in range(n)
    ]


def raw(pool: Pool, model: str) -> None:
    for batch in (1, 8, 32):
        generated, cpu, wall = 0, time.process_time(), time.perf_counter()
        while time.perf_counter() - wall < 3:
            generated += sum(r.usage.completion for r in pool.generate_many(requests(model, batch, 100)))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        print(f"{model} batch {batch:2}: {generated / cpu:7.0f} tokens/CPU s, {generated / wall:7.0f} tokens/s")


def invariance(pool: Pool, model: str) -> None:
    asked = [
        PocketRequest(candidate=f"{model}-t1", prompt=f"{PROMPTS[i % 4]} {i}", temperature=i % 2, seed=i, max_tokens=60)
        for i in range(32)
    ]
    alone = [pool.submit(request).result() for request in asked]
    together = pool.generate_many(asked)
    equal = sum(a.tokens == b.tokens and a.text == b.text for a, b in zip(alone, together, strict=True))
    print(f"{model} 32 concurrent against one at a time: {equal}/32 equal to the last bit of every log-probability")


def prefix(pool: Pool, model: str) -> None:
    """Time to first token of prompts that share 400 tokens, first with and then without a shared beginning."""
    rng = np.random.default_rng(0)
    times: dict[str, list[float]] = {"cold": [], "warm": []}
    shared = "".join(rng.choice(list("0123456789"), 400))
    ask = lambda text: pool.submit(PocketRequest(candidate=f"{model}-t0", prompt=text, max_tokens=1)).result()  # noqa: E731
    ask(shared)
    for i in range(60):
        cold = ask("".join(rng.choice(list("0123456789"), 400)) + f" {i}")
        warm = ask(f"{shared} {i}")
        assert (cold.usage.cached, warm.usage.cached) == (0, 400)
        times["cold"].append(cold.timings.first_token)
        times["warm"].append(warm.timings.first_token)
    cold_ms, warm_ms = (1e3 * statistics.median(times[kind]) for kind in ("cold", "warm"))
    print(
        f"{model} 400-token prefix: first token {cold_ms:.2f} ms new, {warm_ms:.2f} ms reused: {cold_ms / warm_ms:.1f}x"
    )


async def http(model: str, weights: Path | None, stream: bool) -> None:
    """32 clients against a server process; the clients' own CPU time is not the server's."""
    command = [sys.executable, "-c", "from interlock.cli.pocket import app; app()", "serve", "--model", model]
    command += ["--port", "0", *(["--weights", str(weights)] if weights else [])]
    server = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert server.stdout
    address = (await server.stdout.readline()).decode().split()[-1]
    port = int(address.rpartition(":")[2])
    cpu, wall, end = cpu_seconds(server.pid), time.perf_counter(), time.perf_counter() + 6
    counts = await asyncio.gather(*(client(port, model, i, stream, end) for i in range(32)))
    cpu, wall, generated = cpu_seconds(server.pid) - cpu, time.perf_counter() - wall, sum(counts)
    kind = "streamed" if stream else "whole"
    rates = f"{generated / wall:.0f} tokens/s, {generated / cpu:.0f} tokens/server CPU s"
    print(
        f"{model} HTTP, 32 clients, {kind}: {rates}; "
        f"the server had {cpu / wall:.2f} cores, load {os.getloadavg()[0]:.1f}"
    )
    server.terminate()
    await server.wait()


async def client(port: int, model: str, seed: int, stream: bool, end: float) -> int:
    """Ask on one connection until ``end``; tokens generated, by the server's count. Raw sockets: httpx costs more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    generated = 0
    while time.perf_counter() < end:
        body = json.dumps({
            "model": f"{model}-t1", "messages": [{"role": "user", "content": PROMPTS[seed % 4]}], "temperature": 2.0,
            "seed": seed, "max_tokens": 100, "stream": stream, "stream_options": {"include_usage": True},
        }).encode()  # fmt: skip
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        head = await reader.readuntil(b"\r\n\r\n")
        if stream:
            payload = await reader.readuntil(b"0\r\n\r\n")
        else:
            payload = await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        generated += int(payload.rsplit(b'"completion_tokens":', 1)[1].split(b",")[0])
        seed += 32
    writer.close()
    return generated


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help="all by default")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--skip-http", action="store_true")
    parser.add_argument("--smoke", action="store_true", help="the smallest model in process only: does it still run?")
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.model, arguments.skip_http = ["nano"], True
    before = rss()
    with Pool.load(arguments.model, arguments.weights) as pool:
        load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
        print(f"load {load}; GEMM {gflops():.0f} GFLOP/s; pool loaded: {before:.0f} -> {rss():.0f} MB")
        for model in pool.family.members:
            raw(pool, model)
            invariance(pool, model)
            prefix(pool, model)
        print(f"after use: {rss():.0f} MB, {rss() - before:.0f} MB over the base")
        models = list(pool.family.members)
    if not arguments.skip_http:
        for stream in (False, True):
            asyncio.run(http(models[-1], arguments.weights, stream))


if __name__ == "__main__":
    main()
