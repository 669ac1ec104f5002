"""A client that sends single AMQP frames to the embedded broker, and the test case that connects it."""

from __future__ import annotations

from typing import Any

from pika import frame, spec
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.devbroker.frames import PROTOCOL_HEADER
from provider_gateway.devbroker.server import Broker
from tests.support.amqp_peer import content
from tests.support.embedded_broker import Link

CAPABILITIES = {"consumer_cancel_notify": True, "connection.blocked": True, "authentication_failure_close": True}
USERS = {"guest": "secret", "provider-gateway": None}


def to(routing_key: str, exchange: str = "", **flags: bool) -> spec.Basic.Publish:
    """A Basic.Publish to a routing key."""
    return spec.Basic.Publish(exchange=exchange, routing_key=routing_key, **flags)


class RawClient(Protocol):
    """A client that sends single frames and keeps all frames that it receives."""

    def __init__(self) -> None:
        self.link: Link
        self.data = b""
        self.is_lost = False

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: object = None) -> None:
        self.is_lost = True

    def frames(self) -> list[Any]:
        """The frames received since the last call, without heartbeats."""
        self.link.pump()
        frames = []
        while self.data:
            consumed, value = frame.decode_frame(self.data)
            if value is None:
                break
            self.data = self.data[consumed:]
            frames.append(value)
        return [each for each in frames if not isinstance(each, frame.Heartbeat)]

    def send(self, method: Any, body: bytes | None = None, channel: int = 1, **properties: Any) -> None:
        """Send a method, with a message if there is a body."""
        frames: list[frame.Frame] = [frame.Method(channel, method)]
        if body is not None:
            frames += content(channel, body, spec.BasicProperties(**properties))
        self.link.at_client.write(b"".join(each.marshal() for each in frames))

    def ask(self, method: Any, body: bytes | None = None, channel: int = 1, **properties: Any) -> list[Any]:
        """Send a method and return the methods that come back."""
        self.send(method, body, channel, **properties)
        return [each.method for each in self.frames() if isinstance(each, frame.Method)]

    def open(self, tune: tuple[int, int, int] = (2047, 131072, 0), capabilities: Any = CAPABILITIES) -> None:
        """Go through the handshake, and open channel 1."""
        self.login(b"\0guest\0secret", capabilities=capabilities)
        self.ask(spec.Connection.TuneOk(*tune), channel=0)
        self.ask(spec.Connection.Open("/"), channel=0)
        self.ask(spec.Channel.Open())

    def login(self, response: bytes, mechanism: str = "PLAIN", capabilities: Any = CAPABILITIES) -> list[Any]:
        """Begin the handshake; returns the answer to the login."""
        self.link.at_client.write(PROTOCOL_HEADER)
        (start,) = self.frames()
        assert isinstance(start.method, spec.Connection.Start)
        properties = {"capabilities": capabilities}
        return self.ask(spec.Connection.StartOk(properties, mechanism, response), channel=0)


class RawClientTestCase(SynchronousTestCase):
    """A broker, and raw clients of it."""

    def wall_clock(self) -> float:
        """Is not the clock that counts durations."""
        return self.clock.seconds() + 1_000_000

    def setUp(self) -> None:
        self.clock = Clock()
        self.broker = Broker(USERS, self.clock, external_name=lambda _: "provider-gateway", wall_clock=self.wall_clock)

    def connect(self) -> RawClient:
        """A client that has sent nothing yet."""
        client = RawClient()
        client.link = Link(self.clock, self.broker, client)
        return client

    def client(self, **parameters: Any) -> RawClient:
        """A client with channel 1 open."""
        client = self.connect()
        client.open(**parameters)
        return client

    def refusal(
        self, method: Any, body: bytes | None = None, client: RawClient | None = None, **properties: Any
    ) -> str:
        """Send a method that the broker refuses; returns what it closes ("channel" or "connection"), and its text."""
        methods = (client or self.client()).ask(method, body, **properties)
        closes = [each for each in methods if isinstance(each, spec.Channel.Close | spec.Connection.Close)]
        assert len(closes) == 1, methods
        kind = "channel" if isinstance(closes[0], spec.Channel.Close) else "connection"
        self.assertEqual((closes[0].class_id << 16) + closes[0].method_id, method.INDEX)
        return f"{kind} {closes[0].reply_code} {closes[0].reply_text}"
