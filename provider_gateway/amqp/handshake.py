"""What the broker says in the AMQP handshake. pika drops it: above all, the reason of a refused login."""

from __future__ import annotations

import re

from pika import frame, spec
from twisted.internet.error import ConnectionDone, ConnectionLost

from provider_gateway.net.failure_reasons import reason_of

#: A SASL mechanism (RFC 4422, 3.1).
_MECHANISM = re.compile(r"[A-Z0-9_-]{1,20}")
#: The first byte of a broker: the type of a method's frame (AMQP 0-9-1, 4.2.3).
_METHOD = 1
#: Other first bytes: "AMQP" in another version (AMQP 0-9-1, 4.2.2); an alert and a handshake of TLS (RFC 8446, 5.1).
_OTHERS = {
    0x41: "the server speaks another version of AMQP than 0-9-1",
    0x15: "the server does not speak AMQP on this port, but TLS: use amqps://",
    0x16: "the server does not speak AMQP on this port, but TLS: use amqps://",
}
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
        self._has_begun = False
        self.refusal: str | None = None
        self.mechanisms: tuple[str, ...] = ()
        self.is_impossible = False

    def add(self, data: bytes) -> None:
        """Read bytes of the broker. Once the connection is open, the session learns of a Close from pika."""
        if not self._has_begun:
            self._has_begun = True
            self._look_at_first(data[0])
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

    def why_ended(self, reason: BaseException | None, *, was_dropped: bool) -> str:
        """Why the connection was lost during the handshake, and what that may mean.

        Args:
            reason: the error of TCP or TLS.
            was_dropped: pika gave the connection up.
        """
        if was_dropped:
            return "no agreement in the AMQP handshake"
        text = reason_of(reason)
        if self._has_begun or not isinstance(reason, (ConnectionDone, ConnectionLost)):
            return text
        return f"{text} It had sent nothing: is this a broker's port, with TLS for amqps:// and without for amqp://?"

    def _look_at_first(self, byte: int) -> None:
        """Recognise other protocols by their first byte: pika would wait for more until the time limit."""
        if byte != _METHOD:
            self.is_impossible = True
            self.refusal = _OTHERS.get(byte, "the server does not speak AMQP on this port")


def _mechanisms(sent: str | bytes) -> tuple[str, ...]:
    text = sent.decode("latin-1") if isinstance(sent, bytes) else sent
    return tuple(each for each in text.split() if _MECHANISM.fullmatch(each))[:_MAX_MECHANISMS]
