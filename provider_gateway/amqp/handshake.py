"""What the broker says in the AMQP handshake. pika drops it: above all, the reason of a refused login."""

from __future__ import annotations

from pika import frame, spec


class Handshake:
    """The broker's half of a handshake.

    Attributes:
        refusal: the words of the broker that ended it; None as long as there are none.
    """

    def __init__(self) -> None:
        self._unread = b""
        self.refusal: str | None = None

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
            if isinstance(value, frame.Method) and isinstance(value.method, spec.Connection.Close):
                self.refusal = f"refused by the broker: {value.method.reply_code} {value.method.reply_text}"
