"""A client that works frame by frame with pika's codec: for bytes that a client library hides or never sends."""

from __future__ import annotations

import socket
import struct
from typing import Any, NamedTuple

import pika
from pika import frame, spec

#: Time limit of a read, in seconds.
_SILENCE = 10.0
_WITH_CONTENT = (spec.Basic.Deliver, spec.Basic.Return, spec.Basic.GetOk)
CAPABILITIES = {
    "authentication_failure_close": True,
    "basic.nack": True,
    "connection.blocked": True,
    "consumer_cancel_notify": True,
    "publisher_confirms": True,
}


class Received(NamedTuple):
    """A method from the broker, with its message if it has one; for a heartbeat, the method is None.

    Attributes:
        sizes: size of each body frame in bytes, with its header and end.
    """

    channel: int
    method: Any
    properties: Any = None
    body: bytes = b""
    sizes: tuple[int, ...] = ()


class WireClient:
    """A connection to a broker.

    Args:
        url: the broker's address.
    """

    def __init__(self, url: str) -> None:
        parameters = pika.URLParameters(url)
        self._socket = socket.create_connection((parameters.host, parameters.port), _SILENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self._buffer = b""

    def open(
        self,
        user: str = "demo",
        password: str = "demo",
        virtual_host: str = "/",
        *,
        capabilities: dict[str, bool] | None = None,
        frame_max: int = 131_072,
        heartbeat: int = 0,
    ) -> Any:
        """Log in, and open channel 1.

        Returns:
            The broker's Tune, or its Connection.Close if it refuses.

        Raises:
            EOFError: the broker ends the connection without a Close.
        """
        self.start(user, password, capabilities)
        tune = self.method()
        if isinstance(tune, spec.Connection.Close):
            return tune
        self.send(0, spec.Connection.TuneOk(tune.channel_max, frame_max, heartbeat))
        opened = self.ask(0, spec.Connection.Open(virtual_host))
        if isinstance(opened, spec.Connection.Close):
            return opened
        self.ask(1, spec.Channel.Open())
        return tune

    def start(self, user: str, password: str, capabilities: dict[str, bool] | None = None) -> Any:
        """Begin a connection and send user and password; returns the broker's Start."""
        self.send_bytes(frame.ProtocolHeader().marshal())
        start = self.method()
        properties = {"capabilities": CAPABILITIES if capabilities is None else capabilities}
        self.send(0, spec.Connection.StartOk(properties, "PLAIN", f"\0{user}\0{password}".encode()))
        return start

    def send_bytes(self, data: bytes) -> None:
        """Send bytes."""
        self._socket.sendall(data)

    def send(self, channel: int, method: Any) -> None:
        """Send a method."""
        self.send_bytes(frame.Method(channel, method).marshal())

    def send_frame(self, kind: int, channel: int, payload: bytes) -> None:
        """Send a frame with this payload."""
        self.send_bytes(struct.pack(">BHI", kind, channel, len(payload)) + payload + bytes([spec.FRAME_END]))

    def publish(self, channel: int, key: str, *bodies: bytes, exchange: str = "", mandatory: bool = False) -> None:
        """Publish messages, all in one write."""
        data = b""
        for body in bodies or (b"1",):
            data += frame.Method(channel, spec.Basic.Publish(0, exchange, key, mandatory=mandatory)).marshal()
            data += frame.Header(channel, len(body), pika.BasicProperties()).marshal()
            data += frame.Body(channel, body).marshal() if body else b""
        self.send_bytes(data)

    def publish_encoded(self, channel: int, queue: str, table: bytes) -> None:
        """Publish an empty message whose header table is these bytes."""
        payload = struct.pack(">HHQHI", 60, 0, 0, spec.BasicProperties.FLAG_HEADERS, len(table)) + table
        self.send(channel, spec.Basic.Publish(routing_key=queue))
        self.send_frame(spec.FRAME_HEADER, channel, payload)

    def get_encoded(self, channel: int, queue: str) -> bytes:
        """Fetch an empty message that has headers only; returns the bytes of its header table."""
        self.send(channel, spec.Basic.Get(queue=queue, no_ack=True))
        self._frame()
        size = 0
        while not size or len(self._buffer) < size:
            if len(self._buffer) >= spec.FRAME_HEADER_SIZE:
                size = spec.FRAME_HEADER_SIZE + struct.unpack_from(">I", self._buffer, 3)[0] + spec.FRAME_END_SIZE
            if len(self._buffer) < size or not size:
                self._fill()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data[spec.FRAME_HEADER_SIZE + 18 : -1]

    def get(self, channel: int, queue: str) -> Received:
        """Fetch a message of a queue without acknowledging it."""
        self.send(channel, spec.Basic.Get(queue=queue))
        return self.receive()

    def ask(self, channel: int, method: Any) -> Any:
        """Send a method; returns the next received method."""
        self.send(channel, method)
        return self.method()

    def method(self) -> Any:
        """The next received method."""
        while (method := self.receive().method) is None:
            continue
        return method

    def receive(self) -> Received:
        """The next method with its message, or a heartbeat.

        Raises:
            EOFError: the broker closed the connection.
        """
        value = self._frame()
        if isinstance(value, frame.Heartbeat):
            return Received(0, None)
        method = value.method
        if not isinstance(method, _WITH_CONTENT):
            return Received(value.channel_number, method)
        header, body, sizes = self._frame(), b"", []
        while len(body) < header.body_size:
            part = self._frame().fragment
            body += part
            sizes.append(len(part) + spec.FRAME_HEADER_SIZE + spec.FRAME_END_SIZE)
        return Received(value.channel_number, method, header.properties, body, tuple(sizes))

    def receive_bytes(self) -> bytes:
        """All bytes until the end of the connection."""
        while self._fill():
            continue
        return self._buffer

    def _frame(self) -> Any:
        while True:
            size, value = frame.decode_frame(self._buffer) if self._buffer else (0, None)
            if value is not None:
                self._buffer = self._buffer[size:]
                return value
            if not self._fill():
                raise EOFError

    def _fill(self) -> bool:
        try:
            data = self._socket.recv(65_536)
        except ConnectionResetError:
            data = b""
        self._buffer += data
        return bool(data)

    def close(self) -> None:
        """Drop the connection."""
        self._socket.close()
