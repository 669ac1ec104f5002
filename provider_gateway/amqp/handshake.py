"""What the broker says in the AMQP handshake. pika drops it: above all, the reason of a refused login."""

from __future__ import annotations

import re

from pika import frame, spec

#: A SASL mechanism (RFC 4422, 3.1).
_MECHANISM = re.compile(r"[A-Z0-9_-]{1,20}")
#: Most mechanisms to remember, for a log line.
_MAX_MECHANISMS = 10


class Handshake:
    """The broker's half of a handshake.

    Attributes:
        refusal: the words of the broker that ended it; None as long as there are none.
        mechanisms: the SASL mechanisms that the broker offers; empty before it has said so.
    """

    def __init__(self) -> None:
        self._unread = b""
        self.refusal: str | None = None
        self.mechanisms: tuple[str, ...] = ()

    def add(self, data: bytes) -> None:
        """Read bytes of the broker. Once the connection is open, the session learns of a Close from pika."""
        self._unread += data
        while self._unread:
            try:
                consumed, value = frame.decode_frame(self._unread)
            except Exception:  # noqa: BLE001 - pika gets the same bytes, and raises the same error
                return
            if value is None or not consumed:
                return
            self._unread = self._unread[consumed:]
            if not isinstance(value, frame.Method):
                continue
            if isinstance(value.method, spec.Connection.Start):
                self.mechanisms = _mechanisms(value.method.mechanisms)
            elif isinstance(value.method, spec.Connection.Close):
                self.refusal = f"refused by the broker: {value.method.reply_code} {value.method.reply_text}"


def _mechanisms(sent: str | bytes) -> tuple[str, ...]:
    text = sent.decode("latin-1") if isinstance(sent, bytes) else sent
    return tuple(each for each in text.split() if _MECHANISM.fullmatch(each))[:_MAX_MECHANISMS]
