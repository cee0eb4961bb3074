"""Microseconds of each signal source, short and long prompts, and the ratio to named peers where they are installed.

    python benchmarks/signals.py [--teacher FOLDER] [--bpe FILE]

Peers: all-MiniLM-L6-v2 in torch (the folder the encoder was distilled from), tiktoken (a cl100k_base file), py3langid.
Interleaved rounds, CPU time, best round: ratios hold on a busy machine, absolute figures do not.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from interlock.encoder import Encoder
from interlock.signals import SOURCES, build
from interlock.types import Message, Request

PROMPTS = {
    "short": "Write a function to find the shared elements from the given two lists.",
    "long": "The committee discussed 12 items (of 40) and voted on each, as Dr. Lee had asked. " * 60,
    "huge": "The committee discussed 12 items (of 40) and voted on each, as Dr. Lee had asked. " * 2_400,
}
ROUNDS = 15


def interleaved(tasks: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Best CPU microseconds of each task; every round runs each task for about two milliseconds or once."""
    repeats = {}
    for name, task in tasks.items():
        task()
        began = time.process_time()
        task()
        repeats[name] = max(1, int(2e-3 / max(1e-6, time.process_time() - began)))
    best = dict.fromkeys(tasks, float("inf"))
    for _ in range(ROUNDS):
        for name, task in tasks.items():
            began = time.process_time()
            for _ in range(repeats[name]):
                task()
            best[name] = min(best[name], (time.process_time() - began) / repeats[name] * 1e6)
    return best


def sources() -> dict[str, Callable[[Request], object]]:
    lists = {"law": {"words": ["contract", "court"], "match": "bm25"}, "code": {"words": [r"\bfunction\b", "python"]}}
    readers = {name: build([name], {"keywords": {"lists": lists}}) for name in SOURCES}
    every = build(list(SOURCES), {"keywords": {"lists": lists}}, ["embedding", "structure", "task", "difficulty"])
    singly = {name: (lambda request, reader=reader: reader.read([request])) for name, reader in readers.items()}
    return {**singly, "all sources, vector": lambda request: every.read([request])}


def peers(args: argparse.Namespace) -> dict[str, tuple[str, Callable[[str], object]]]:
    """Peer to the source it is measured against and the call."""
    found: dict[str, tuple[str, Callable[[str], object]]] = {}
    if args.teacher:
        sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))
        import torch
        from distil_encoder import Teacher

        torch.set_num_threads(1)
        teacher = Teacher(args.teacher)
        found["MiniLM torch bf16, first 126 pieces"] = (
            "embedding",
            lambda text: teacher.encode([teacher.pieces(text)]),
        )
    if args.bpe:
        import tiktoken
        from tiktoken.load import load_tiktoken_bpe

        pattern = (
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*"
            r"|\s*[\r\n]|\s+(?!\S)|\s+"
        )
        bpe = tiktoken.Encoding(
            "cl100k", pat_str=pattern, mergeable_ranks=load_tiktoken_bpe(str(args.bpe)), special_tokens={}
        )
        found["tiktoken cl100k"] = ("tokens", bpe.encode_ordinary)
    if importlib.util.find_spec("py3langid"):
        import py3langid

        found["py3langid"] = ("language", py3langid.classify)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--teacher", type=Path, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--bpe", type=Path, help="cl100k_base.tiktoken")
    parser.add_argument("--smoke", action="store_true", help="the short prompt only: does it still run?")
    args = parser.parse_args()
    readers, others = sources(), peers(args)
    for size, prompt in list(PROMPTS.items())[: 1 if args.smoke else None]:
        report(size, prompt, readers, others)


def report(
    size: str,
    prompt: str,
    readers: dict[str, Callable[[Request], object]],
    others: dict[str, tuple[str, Callable[[str], object]]],
) -> None:
    request, encoder = Request(messages=(Message("user", prompt),)), Encoder.load()
    tasks: dict[str, Callable[[], object]] = {name: partial(read, request) for name, read in readers.items()}
    tasks["encoder alone"] = partial(encoder.encode_one, prompt)
    tasks.update({name: partial(call, prompt) for name, (_, call) in others.items()})
    took = interleaved(tasks)
    print(f"\n{size} prompt, {len(prompt)} characters")
    for name, micros in took.items():
        against = others.get(name)
        ratio = f"   {micros / took[against[0]]:8.1f} x {against[0]}" if against else ""
        print(f"  {name:38s}{micros:10.1f} us{ratio}")


if __name__ == "__main__":
    main()
