"""One process writes an embedded ledger for the workers beside it, which send their groups over a Unix socket.

A SQLite file has one writer. It is the process that started the workers: when it dies they end too, so a group is
either written and said to be, or nobody was told. Workers read the file themselves.

A message is its length and MessagePack; each is answered before the next one.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import Any

import msgspec

from ..errors import InterlockError, LedgerError, LedgerUnreachable
from .erase import Erasure
from .queued import Ledger
from .reading import Stored
from .records import Entry

log = logging.getLogger("interlock.ledger")

LOOK_EVERY = 0.5  # seconds between two looks for new snapshots
_LENGTH = Struct(">I")


class Append(msgspec.Struct, tag=True, array_like=True):
    durable: bool
    entries: list[Entry]


class Keep(msgspec.Struct, tag=True, array_like=True):
    snapshot: Stored
    keep: int
    pinned: list[str]


class Done(msgspec.Struct, array_like=True):
    """`error` is empty when it went well; then `first` is the seq of a group's first row."""

    first: int
    error: str = ""


_ASKED = msgspec.msgpack.Decoder(Append | Keep)
_DONE = msgspec.msgpack.Decoder(Done)
_ENCODER = msgspec.msgpack.Encoder()


class Relay:
    """Takes in what workers send to the socket `path`, and writes it to `ledger`. A thread for each worker."""

    def __init__(self, path: Path, ledger: Ledger) -> None:
        self._ledger = ledger
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        self._socket.listen()
        threading.Thread(target=self._accept, name="interlock-relay", daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._socket.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(connection,), name="interlock-relay", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError, EOFError):  # the worker has ended
            while True:
                asked = _ASKED.decode(_received(connection))
                try:
                    done = Done(self._carry_out(asked))
                except InterlockError as error:
                    done = Done(0, str(error))
                _send(connection, done)

    def _carry_out(self, asked: Append | Keep) -> int:
        if isinstance(asked, Append):
            return int(self._ledger.append(asked.entries, asked.durable)[0])
        self._ledger.keep_snapshot(asked.snapshot, asked.keep, asked.pinned).wait()
        return 0


class RelayAppender:
    """See database.Appender. Everything goes to the `Relay` at `path`."""

    degraded, spooled = "", 0

    def __init__(self, path: Path, head: tuple[int, bytes]) -> None:
        self.head = head
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise LedgerUnreachable(f"{path}: nobody writes the ledger for this worker ({error.strerror})") from error

    def append(self, entries: Sequence[Entry], durable: bool = False) -> Sequence[int]:
        first = self._ask(Append(durable, list(entries)))
        self.head = (first + len(entries) - 1, b"")
        return range(first, first + len(entries))

    def keep_snapshot(self, snapshot: Stored, keep: int, pinned: Sequence[str]) -> None:
        self._ask(Keep(snapshot, keep, list(pinned)))

    def erase(self, *, tenant: str | None, decision: str | None) -> Erasure:
        raise LedgerError("a worker cannot erase; stop the gateway, then `interlock ledger forget`")

    def tend(self) -> None:
        """Nothing is ever due."""

    def close(self) -> None:
        self._socket.close()

    def _ask(self, asked: Append | Keep) -> int:
        try:
            _send(self._socket, asked)
            done = _DONE.decode(_received(self._socket))
        except (OSError, EOFError) as error:
            raise LedgerUnreachable("the process that writes the ledger has ended") from error
        if done.error:
            raise LedgerError(done.error)
        return done.first


class Follower:
    """The election of a worker: the process that writes the ledger learns too."""

    leading = False

    def __init__(self) -> None:
        self._looked = 0.0

    def stand(self) -> None:
        """It never leads."""

    def withdraw(self) -> None:
        """It never leads."""

    def news(self) -> bool:
        due = time.monotonic() - self._looked > LOOK_EVERY
        if due:
            self._looked = time.monotonic()
        return due


class RelayedLedger(Ledger):
    """The ledger in the SQLite file `path`, written through the `Relay` at `relay`. Options are those of `Ledger`."""

    def __init__(self, path: Path, relay: Path, **options: Any) -> None:
        super().__init__(path, RelayAppender(relay, (0, b"")), election=Follower(), **options)


def _send(connection: socket.socket, message: object) -> None:
    data = _ENCODER.encode(message)
    connection.sendall(_LENGTH.pack(len(data)) + data)


def _received(connection: socket.socket) -> bytes:
    """The next message. Raises EOFError at the end."""
    (size,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size))
    return _exactly(connection, size)


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray(size)
    view, got = memoryview(data), 0
    while got < size:
        count = connection.recv_into(view[got:])
        if not count:
            raise EOFError
        got += count
    return bytes(data)
