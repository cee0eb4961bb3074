"""The metrics of all workers at whichever of them is asked, each series with the label `worker`.

A scrape reaches one worker, and the next one perhaps another, so counters of one worker each would jump. Every worker
tells its own metrics on a Unix socket; whoever is scraped asks the others, and `sum without (worker)` is the gateway's.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .service import Service

PATIENCE = 1.0  # seconds
_NAME = re.compile(rb"^([A-Za-z_:][A-Za-z0-9_:]*)(\{)?")


def socket_of(folder: Path, worker: int) -> Path:
    return folder / f"worker-{worker}.sock"


def telling(path: Path) -> Any:
    """A background of a service: whoever connects to the Unix socket `path` is told its metrics."""

    async def run(service: Service) -> None:
        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(service.metrics.text())
            await writer.drain()
            writer.close()

        path.unlink(missing_ok=True)  # of a worker that was killed
        async with await asyncio.start_unix_server(answer, path) as server:
            await server.serve_forever()

    return run


async def gathered(own: bytes, worker: int, sockets: Mapping[int, Path]) -> bytes:
    """The metrics of worker `worker`, which are `own`, and of the others that answer."""
    others = {number: path for number, path in sockets.items() if number != worker}
    waiting: list[Coroutine[Any, Any, bytes | None]] = [_told(path) for path in others.values()]
    told = dict(zip(others, await asyncio.gather(*waiting), strict=True)) | {worker: own}
    found = {number: text for number, text in sorted(told.items()) if text is not None}
    up = b"".join(b'interlock_worker_up{worker="%d"} %d\n' % (number, number in found) for number in sorted(sockets))
    return (
        merged(found) + b"# HELP interlock_worker_up Whether the worker tells.\n# TYPE interlock_worker_up gauge\n" + up
    )


def merged(texts: Mapping[int, bytes]) -> bytes:
    """Prometheus texts as one: a family's samples stand together, with the label `worker` first."""
    heads: dict[bytes, list[bytes]] = {}
    samples: dict[bytes, list[bytes]] = {}
    for number, text in texts.items():
        family = b""
        for line in text.splitlines(keepends=True):
            if line.startswith(b"#"):
                family = line.split(b" ", 3)[2]
                if line not in heads.setdefault(family, []):
                    heads[family].append(line)
            else:
                label = b'\\1{worker="%d"' % number
                found = _NAME.match(line)
                close = b"," if found is not None and found[2] else b"}"
                samples.setdefault(family, []).append(_NAME.sub(label + close, line, count=1))
    return b"".join(b"".join([*lines, *samples.get(family, [])]) for family, lines in heads.items())


async def _told(path: Path) -> bytes | None:
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_unix_connection(path)
            text = await reader.read()
            writer.close()
            return text
    except (OSError, TimeoutError):
        return None
