"""What the gateway costs, as ratios against named peers: nginx as a plain proxy, the LiteLLM proxy, and no gateway
at all.

    python benchmarks/gateway/run.py            about three minutes
    python benchmarks/gateway/run.py --smoke    a few seconds: does it run, do the answers come

All peers forward the same requests of 0.8 kB, each with another prompt, to the same local upstream, in interleaved
rounds, each peer on one core, with everything of ours switched on (keys, guards, signals, a learned policy, the ledger,
metrics). Peers that are not installed are left out and named. They may be in environments of their own:
LITELLM=/path/to/litellm, VLLM_ROUTER=/path/to/vllm-router, SGLANG_PYTHON=/path/to/python. Rates depend on the machine:
read the ratios.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from statistics import median

from load import Target, closed, first_token, paced
from peers import PEERS, Peer, free_port, running
from rich.console import Console
from rich.progress import track
from rich.table import Table

HERE = Path(__file__).parent
Figures = dict[str, list[float]]
Rows = dict[str, dict[str, float]]


def measure(peer: Peer, seconds: float, samples: int) -> dict[str, float]:
    """One round on one peer. CPU is counted over the loaded seconds only."""
    figures = {}
    for connections in (16, 64):
        before = peer.cpu()
        done, spent = closed(peer.target, connections, seconds)
        figures[f"req/s {connections}"] = done / spent
        figures[f"cpu us {connections}"] = (peer.cpu() - before) / done * 1e6
    before = peer.cpu()
    done, _ = closed(peer.target, 16, seconds, stream=True)
    figures["cpu us stream"] = (peer.cpu() - before) / done * 1e6
    figures["p50 ms"] = median(paced(peer.target, 100, samples / 100)) * 1e3
    figures["ttft ms"] = median(first_token(peer.target, max(5, samples // 10))) * 1e3
    figures["rss MB"] = peer.rss()
    return figures


def run(rounds: int, seconds: float, samples: int, names: list[str], console: Console) -> dict[str, Figures]:
    """name -> figure -> one value a round."""
    cores = sorted(os.sched_getaffinity(0))
    core = cores[-1] if len(cores) > 1 else None
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = free_port()
        direct = Target(upstream)
        command = [sys.executable, str(HERE / "upstream.py"), str(upstream)]
        peers = [stack.enter_context(running("direct", command, direct, folder / "upstream.log", cores[0]))]
        if core is not None:
            os.sched_setaffinity(0, {cores[0]})
        for name in names:
            port, own = free_port(), folder / name
            own.mkdir()
            arguments = PEERS[name](own, upstream, port)
            if arguments is None:
                console.print(f"[yellow]{name} is not installed here and is left out[/yellow]")
                continue
            peers.append(stack.enter_context(running(name, arguments, Target(port), own / "log", core)))
        figures: dict[str, Figures] = {peer.name: {"start s": [peer.start]} for peer in peers}
        for _ in track(range(rounds), "rounds", console=console, transient=True):
            for peer in peers:
                for figure, value in measure(peer, seconds, samples).items():
                    figures[peer.name].setdefault(figure, []).append(value)
        return figures


def report(figures: dict[str, Figures]) -> dict[str, dict[str, float]]:
    """Medians over the rounds; latencies as what the peer adds to the direct way."""
    rows = {name: {figure: median(values) for figure, values in row.items()} for name, row in figures.items()}
    direct = rows["direct"]
    for name, row in rows.items():
        if name != "direct":
            row["added p50 ms"] = row["p50 ms"] - direct["p50 ms"]
            row["added ttft ms"] = row["ttft ms"] - direct["ttft ms"]
    return rows


@dataclass(frozen=True)
class Aim:
    """A figure of ours to reach: `least` says whether more is better."""

    name: str
    floor: float
    aim: float
    ours: Callable[[Rows], float]
    least: bool = False

    def verdict(self, value: float) -> str:
        if isnan(value):
            return "not measured"
        floor, aim = ((value >= mark if self.least else value <= mark) for mark in (self.floor, self.aim))
        return "aim" if aim else "floor" if floor else "short"


def times(peer: str, figure: str = "req/s 64") -> Callable[[Rows], float]:
    """Our figure as a multiple of a peer's; NaN when the peer was left out."""
    return lambda rows: rows["interlock"][figure] / rows[peer][figure] if peer in rows else nan


def own(figure: str) -> Callable[[Rows], float]:
    return lambda rows: rows["interlock"][figure]


AIMS = (
    Aim("CPU us a request, 16 connections", 180, 100, own("cpu us 16")),
    Aim("x nginx, 64 connections", 0.2, 0.33, times("nginx"), least=True),
    Aim("x LiteLLM, 64 connections", 60, 120, times("litellm"), least=True),
    Aim("x vllm-router round robin", 0.9, 1.5, times("vllm-router"), least=True),
    Aim("x sglang-router round robin", 1.2, 2.0, times("sglang-router"), least=True),
    Aim("added p50 at 100/s, ms", 0.8, 0.5, own("added p50 ms")),
    Aim("added time to first token, ms", 1.0, 0.6, own("added ttft ms")),
    Aim("resident memory a worker, MB", 90, 60, own("rss MB")),
    Aim("start to ready, s", 2.0, 1.0, own("start s")),
)


def compare(rows: Rows, console: Console) -> None:
    """Our figures beside what they should be."""
    table = Table("", "floor", "aim", "ours", "", title="targets")
    for goal in AIMS:
        value = goal.ours(rows)
        table.add_row(goal.name, f"{goal.floor:g}", f"{goal.aim:g}", f"{value:,.2f}", goal.verdict(value))
    console.print(table)


def show(rows: dict[str, dict[str, float]], console: Console) -> None:
    columns = [
        "req/s 16",
        "req/s 64",
        "cpu us 16",
        "cpu us 64",
        "cpu us stream",
        "added p50 ms",
        "added ttft ms",
        "rss MB",
        "start s",
    ]
    table = Table("", *columns, title="medians over the rounds")
    for name, row in rows.items():
        table.add_row(name, *(f"{row[column]:,.2f}" if column in row else "" for column in columns))
    console.print(table)
    ours = rows.get("interlock")
    for name in ("nginx", "litellm"):
        if ours is not None and name in rows:
            rate, cpu = ours["req/s 64"] / rows[name]["req/s 64"], rows[name]["cpu us 16"] / ours["cpu us 16"]
            console.print(
                f"interlock / {name}: {rate:.2f}x the requests a second (64 connections), {cpu:.2f}x per CPU (16)"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="one very short round, without LiteLLM")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of load per figure and round")
    parser.add_argument("--samples", type=int, default=200, help="requests for the latency figures, per round")
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--json", type=Path, help="also write the figures of every round here")
    options = parser.parse_args()
    console = Console()
    if options.smoke:
        options.rounds, options.seconds, options.samples = 1, 0.3, 20
        options.peers = [name for name in options.peers if name in ("nginx", "interlock")]
    before = os.getloadavg()[0]
    figures = run(options.rounds, options.seconds, options.samples, options.peers, console)
    rows = report(figures)
    show(rows, console)
    if "interlock" in rows:
        compare(rows, console)
    console.print(f"load of the machine: {before:.1f} before, {os.getloadavg()[0]:.1f} after, {os.cpu_count()} cores")
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
