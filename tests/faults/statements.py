"""The messages between a client and PostgreSQL, as :class:`tests.faults.proxy.FaultProxy` takes them, without TLS."""

from __future__ import annotations

from typing import NamedTuple

from tests.faults.proxy import Direction

#: Messages with a text that begins at once: a query, a command's tag.
_QUERY, _TAG = b"Q", b"C"
_PARSE = b"P"


class Statement(NamedTuple):
    """A message of PostgreSQL's protocol 3.0.

    Attributes:
        kind: its letter; empty for the first messages of a client, which have none.
        text: the SQL of a query, or the tag with which the server ends a command, such as ``COMMIT``; else empty.
    """

    direction: Direction
    connection: int
    kind: str
    text: str
    raw: bytes

    @classmethod
    def take(cls, direction: Direction, connection: int, data: bytearray) -> Statement | None:
        """Remove the first message from the data if it is complete."""
        # Only the messages of the start have no letter; they begin with a zero, since they are short.
        letter = bytes(data[:1]) if data[:1] != b"\0" else b""
        begin = len(letter)
        size = begin + int.from_bytes(data[begin : begin + 4], "big")
        if len(data) < max(begin + 4, size):
            return None
        raw, content = bytes(data[:size]), bytes(data[begin + 4 : size])
        del data[:size]
        text = b""
        if direction is Direction.TO_TARGET and letter == _PARSE:
            text = content.split(b"\0")[1]  # behind the statement's name
        elif letter == (_QUERY if direction is Direction.TO_TARGET else _TAG):
            text = content.partition(b"\0")[0]
        return cls(direction, connection, letter.decode(), text.decode(errors="replace"), raw)

    @property
    def is_commit(self) -> bool:
        """The client commits, or the server says that it has."""
        return self.text.rstrip("; ").upper() == "COMMIT"
