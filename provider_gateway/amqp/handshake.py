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
        refusal: the words of the broker that ended it, or why we cannot go on; None as long as there is no reason.
        is_impossible: True if pika must not see what the broker has sent.
        mechanisms: the SASL mechanisms that the broker offers; empty before it has said so.
    """

    def __init__(self) -> None:
        self._unread = b""
        self.refusal: str | None = None
        self.mechanisms: tuple[str, ...] = ()
        self.is_impossible = False

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
            method = value.method
            if isinstance(method, spec.Connection.Start):
                self.mechanisms = _mechanisms(method.mechanisms)
            elif isinstance(method, spec.Connection.Tune) and 0 < method.frame_max < spec.FRAME_MIN_SIZE:
                # pika would raise an error.
                self.refusal = (
                    f"the broker's frame_max is {method.frame_max}; AMQP's least is {spec.FRAME_MIN_SIZE}: raise it"
                )
                self.is_impossible = True
            elif isinstance(method, spec.Connection.Close):
                self.refusal = f"refused by the broker: {method.reply_code} {method.reply_text}"


def _mechanisms(sent: str | bytes) -> tuple[str, ...]:
    text = sent.decode("latin-1") if isinstance(sent, bytes) else sent
    return tuple(each for each in text.split() if _MECHANISM.fullmatch(each))[:_MAX_MECHANISMS]
