"""A blocking AMQP connection over plain TCP that handles bytes itself, so that the initiator is never the bottleneck.

pika encodes only the frames of the set-up. Messages and confirms are copied and counted as bytes.
"""

from __future__ import annotations

import select
import socket
import struct
from typing import TYPE_CHECKING, Any

from pika import frame, spec

from devtools.rabbitmq import PASSWORD, USER

if TYPE_CHECKING:
    from collections.abc import Iterator

CHANNEL = 1
_DELIVER, _RETURN, _ACK, _NACK = ((60 << 16) + number for number in (60, 50, 80, 120))
_HEAD = struct.Struct(">BHI")
_METHOD = struct.Struct(">I")
_ACKNOWLEDGED = struct.Struct(">QB")


class WireError(Exception):
    """The broker did something after which a benchmark cannot go on."""


class Confirms:
    """Counts confirmed publishes: a confirm is for one publish, in any order, or for all up to one."""

    def __init__(self) -> None:
        self._all_up_to = 0
        self._ahead: set[int] = set()

    @property
    def count(self) -> int:
        """Publishes that are confirmed."""
        return self._all_up_to + len(self._ahead)

    def add(self, tag: int, multiple: bool) -> None:
        """Count a confirm.

        Args:
            tag: number of the publish, from 1.
            multiple: True if the confirm is for all publishes up to this one.
        """
        if multiple:
            self._all_up_to = tag
            self._ahead = {each for each in self._ahead if each > tag}
        else:
            self._ahead.add(tag)
        while self._all_up_to + 1 in self._ahead:
            self._all_up_to += 1
            self._ahead.remove(self._all_up_to)


class Wire:
    """One connection with one channel, in confirm mode.

    Args:
        port: the broker's port on loopback, without TLS.

    Attributes:
        delivered: number of messages delivered to consumers of this connection.
    """

    def __init__(self, port: int) -> None:
        self.delivered = 0
        self._confirms = Confirms()
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self.send(frame.ProtocolHeader().marshal())
        self._await(spec.Connection.Start)
        response = f"\0{USER}\0{PASSWORD}".encode()
        self._send(0, spec.Connection.StartOk(client_properties={}, mechanism="PLAIN", response=response))
        tune = self._await(spec.Connection.Tune)
        self._send(0, spec.Connection.TuneOk(tune.channel_max, tune.frame_max, heartbeat=0))
        self._send(0, spec.Connection.Open("/"))
        self._await(spec.Connection.OpenOk)
        self._send(CHANNEL, spec.Channel.Open())
        self._await(spec.Channel.OpenOk)
        self.call(spec.Confirm.Select())

    @property
    def confirmed(self) -> int:
        """Number of publishes that the broker has confirmed."""
        return self._confirms.count

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def call(self, method: Any) -> Any:
        """Send a method and return the method that replies to it; only while no other call is under way."""
        self._send(CHANNEL, method)
        return self._await(spec.methods[method.INDEX + 1])  # AMQP 0-9-1 numbers them so

    def send(self, data: bytes) -> None:
        """Write frames."""
        self._socket.sendall(data)

    def receive(self) -> None:
        """Wait for the next bytes, and count the deliveries and confirms in them.

        Raises:
            WireError: a message was returned or nacked, or the channel or connection closed.
        """
        self._received += self._read()
        data, at = self._received, 0
        while len(data) - at >= _HEAD.size:
            kind, _, size = _HEAD.unpack_from(data, at)
            if len(data) - at < size + 8:
                break
            if kind == spec.FRAME_METHOD:
                self._count(_METHOD.unpack_from(data, at + 7)[0], data, at)
            at += size + 8
        self._received = data[at:]

    def catch_up(self) -> None:
        """Count deliveries and confirms that have arrived already."""
        while select.select([self._socket], [], [], 0)[0]:
            self.receive()

    def _count(self, method: int, data: bytes, at: int) -> None:
        if method == _DELIVER:
            self.delivered += 1
        elif method == _ACK:
            tag, multiple = _ACKNOWLEDGED.unpack_from(data, at + 11)
            self._confirms.add(tag, bool(multiple & 1))
        else:
            what = {_RETURN: "returned a message", _NACK: "nacked a message"}.get(method, f"sent method {method:#x}")
            msg = f"The broker {what}."
            raise WireError(msg)

    def _read(self) -> bytes:
        data = self._socket.recv(1 << 18)
        if not data:
            msg = "The broker closed the connection."
            raise WireError(msg)
        return data

    def _send(self, channel: int, method: Any) -> None:
        self.send(frame.Method(channel, method).marshal())

    def frames(self) -> Iterator[Any]:
        """The frames that arrive, decoded by pika, without end."""
        while True:
            size, value = frame.decode_frame(self._received)
            if value is None:
                self._received += self._read()
            else:
                self._received = self._received[size:]
                yield value

    def _await(self, *expected: type) -> Any:
        for each in self.frames():
            method = getattr(each, "method", None)
            if isinstance(method, expected):
                return method
            if isinstance(method, spec.Connection.Close | spec.Channel.Close):
                msg = f"The broker said {method.reply_code} {method.reply_text}"
                raise WireError(msg)
        raise AssertionError
