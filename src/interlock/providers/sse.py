"""Server-sent events from bytes that may be split anywhere.

Source: WHATWG HTML, section 9.2.6 (interpreting an event stream): lines end in LF, CR or CRLF, a blank line ends an
event, lines that begin with a colon are comments. Fields other than `event` and `data` are ignored.
"""

from __future__ import annotations

from ..errors import Garbled

BOM = b"\xef\xbb\xbf"


class Events:
    """Feed bytes, receive `(event name, data)` pairs as they become whole. An event over `limit` bytes is `Garbled`."""

    def __init__(self, limit: int = 16 * 1024 * 1024) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []  # an unfinished line, in the pieces it came in
        self._size = 0
        self._after_cr = False
        self._begun = False
        self._name = b""
        self._data: list[bytes] = []

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        if self._after_cr and data:
            self._after_cr = False
            if data.startswith(b"\n"):
                data = data[1:]
        if b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self._size += len(data)
        if self._size > self._limit:
            raise Garbled(f"a server-sent event exceeds {self._limit} bytes")
        if b"\n" not in data:
            self._pieces.append(data)
            return []
        self._pieces.append(data)
        *lines, tail = b"".join(self._pieces).split(b"\n")
        self._pieces = [tail]
        return self._events(lines)

    def _events(self, lines: list[bytes]) -> list[tuple[bytes, bytes]]:
        if not self._begun:
            self._begun = True
            lines[0] = lines[0].removeprefix(BOM)
        events = []
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line.startswith(b"data: ") else line[5:])
            elif not line:
                if self._data:
                    events.append((self._name or b"message", b"\n".join(self._data)))
                    self._data = []
                self._name = b""
                self._size = len(self._pieces[0])
            else:
                field, _, value = line.partition(b":")
                if field == b"event":
                    self._name = value.removeprefix(b" ")
                elif field == b"data":
                    self._data.append(b"")
        return events
