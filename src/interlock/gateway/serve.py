"""Serve a router on a socket until a signal comes."""

from __future__ import annotations

import ctypes
import gc
import logging
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from ..telemetry import JsonLines

if TYPE_CHECKING:
    from ..router import Router
    from .service import Background

BACKLOG = 2048
M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # of glibc's malloc.h


def listen(host: str, port: int, shared: bool = False, takes: bool = True) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises `ConfigError` when the address cannot be had.

    Several processes may listen on a `shared` port. One that `takes` nothing only holds the address.
    """
    if shared and not hasattr(socket, "SO_REUSEPORT"):
        raise ConfigError("this system cannot share a port among workers; use one", path="server")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(address)
            if takes:
                listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        hint = "; take another with --port" if port else ""
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}{hint}", path="server") from error
    return listener


def serving(
    router: Router,
    listener: socket.socket,
    watched: Path | None,
    ready: Callable[[str], None],
    background: Sequence[Background] = (),
    worker: tuple[int, Mapping[int, Path]] | None = None,
) -> None:
    """Serve until interrupted, then let open answers finish. `ready` is called with the URL once requests are answered.

    `watched` is the configuration file to reload when it changes. The router is closed at the end. A `worker`
    has a number, and the sockets of all workers' metrics.

    Raises `ConfigError` when budgets are configured that could not hold.
    """
    from .front import countable, front
    from .protocol import HttpLimits
    from .reload import watching
    from .server import build
    from .service import Service

    countable(router.plan.settings, alone=not router.ledger.shared)
    own = router.plan.settings.server
    if router.plan.settings.telemetry.logs == "json":
        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonLines())
    watch = [watching(watched, own.reload_every_s)] if watched is not None else []
    service = Service(router, front(router.plan.settings, router.plan.candidates), [*watch, *background], worker)
    service.watched = watched
    server = build(
        service,
        limits=HttpLimits(
            own.max_body_bytes, own.max_head_bytes, own.idle_timeout_s, own.receive_timeout_s, own.send_timeout_s
        ),
        grace=own.grace_s,
        drain=own.drain_s,
        ready=lambda: ready(url(listener)),
    )
    settle_memory()
    server.run(sockets=[listener])


def standing(router: Router) -> dict[str, Any]:
    """What a gateway has that its settings do not say."""
    return {
        "candidates": [candidate.name for candidate in router.plan.candidates],
        "policy": router.served.policy.name,
        "snapshot": router.served.snapshot,
        "ledger": router.ledger.name,
    }


def settle_memory() -> None:
    """What is loaded by now stays: the collector need not look at it again. And requests make little cyclic garbage.

    Large arrays, which the learner makes every second, go back to the system when they are freed: left to itself, glibc
    keeps room for all of them, once a thread.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, 1024 * 1024)
        libc.mallopt(M_ARENA_MAX, 2)


def url(listener: socket.socket) -> str:
    """Where a person on this machine finds the socket."""
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"
