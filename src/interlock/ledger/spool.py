"""Where groups of entries wait on this machine while the database does not answer.

A file a writer: frames of length, CRC-32 and MessagePack of (number, entries), synced before anybody is told. A frame
that a crash cut short was told to nobody and is left out. The file is locked while its process lives, so one that can
be locked belongs to a dead process, and whoever finds it writes its groups to the database.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from struct import Struct
from typing import IO, Self

import msgspec

from ..errors import LedgerError
from .records import Entry
from .store import lock_file

_FRAME = Struct(">II")
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(tuple[int, list[Entry]])
ENDING = ".spool"


class Spool:
    """The groups of `writer` that are not in the database. Raises LedgerError when the folder cannot be written.

    `rows` is how many entries wait.
    """

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.writer, self._path, self._file = path.name.removesuffix(ENDING), path, file
        self.rows = sum(len(entries) for _, entries in self.groups())
        self._file.truncate()  # what a crash cut short

    @classmethod
    def open(cls, folder: Path, writer: str) -> Self:
        path = folder / f"{writer}{ENDING}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = path.open("a+b")
            lock_file(file)
        except OSError as error:
            raise LedgerError(f"{path}: rows cannot be kept here ({error.strerror}); see ledger.spool") from error
        return cls(path, file)

    @classmethod
    def left_behind(cls, folder: Path) -> Iterator[Self]:
        """Those of processes that have died."""
        for path in sorted(folder.glob(f"*{ENDING}")):
            try:
                file = path.open("r+b")
            except FileNotFoundError:
                continue
            try:
                lock_file(file)
            except OSError:
                file.close()  # its process lives
                continue
            yield cls(path, file)

    def add(self, number: int, entries: Sequence[Entry]) -> None:
        """Keep a group; it survives a power cut once this returns. Raises LedgerError, and then nothing was kept."""
        data = _ENCODER.encode((number, entries))
        end = self._file.seek(0, os.SEEK_END)
        try:
            self._file.write(_FRAME.pack(len(data), zlib.crc32(data)) + data)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            self._file.truncate(end)
            raise LedgerError(f"{self._path}: neither the database nor this file can be written: {error}") from error
        self.rows += len(entries)

    def groups(self) -> Iterator[tuple[int, list[Entry]]]:
        """What waits, oldest first; the file's position is then behind the last whole frame."""
        self._file.seek(0)
        while len(head := self._file.read(_FRAME.size)) == _FRAME.size:
            size, check = _FRAME.unpack(head)
            data = self._file.read(size)
            if len(data) < size or zlib.crc32(data) != check:
                self._file.seek(-len(data), os.SEEK_CUR)
                break
            yield _DECODER.decode(data)
        self._file.seek(-len(head), os.SEEK_CUR)

    def clear(self) -> None:
        """All of it is in the database."""
        self._file.truncate(0)
        self.rows = 0

    def close(self) -> None:
        """What still waits stays for another process."""
        if not self.rows:
            self._path.unlink(missing_ok=True)
        self._file.close()
