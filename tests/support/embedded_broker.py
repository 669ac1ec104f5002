"""The embedded broker in tests: connections in memory, and one clock for the broker's timers and ours.

Nothing moves by itself: :meth:`BrokerTestCase.pump` carries written bytes, :meth:`BrokerTestCase.advance` moves the
clock. For behaviour that a correct broker never shows, use the scripted one of :mod:`tests.support.amqp_peer`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pika
from pika import spec
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.amqp.session import Session
from provider_gateway.devbroker.server import Broker
from provider_gateway.message.message import Message
from provider_gateway.message.properties import ReceivedProperties
from tests.support.amqp_peer import PeerTransport, run

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from pika.adapters.twisted_connection import TwistedChannel


class Link:
    """A connection in memory between a client and the broker."""

    def __init__(self, clock: Clock, broker: Broker, client: Any) -> None:
        self.clock = clock
        self.client = client
        self.server: Any = broker.buildProtocol(None)
        self.at_client = PeerTransport(clock, client)
        self.at_server = PeerTransport(clock, self.server)
        self.server.makeConnection(self.at_server)
        client.makeConnection(self.at_client)

    def pump(self) -> None:
        """Carry bytes and ends both ways, until both sides are quiet."""
        moving = True
        while moving:
            self.clock.advance(0)
            there = self._carry(self.at_client, self.server, self.at_server)
            moving = self._carry(self.at_server, self.client, self.at_client) or there

    @staticmethod
    def _carry(source: PeerTransport, protocol: Any, target: PeerTransport) -> bool:
        data = source.value()
        source.clear()
        if data and not target.ended:
            protocol.dataReceived(data)
        if source.ended and not target.ended:
            target.end(ConnectionDone())
            return True
        return bool(data)


class BrokerTestCase(SynchronousTestCase):
    """A broker, and another program that publishes to its queues and reads from them.

    Attributes:
        links: the connections to the broker, oldest first.
    """

    def setUp(self) -> None:
        self.clock = self.new_clock()
        self.broker = Broker({"guest": "guest"}, self.clock)
        self.links: list[Link] = []
        self._other: TwistedChannel | None = None

    def new_clock(self) -> Clock:
        return Clock()

    def connect(self) -> Session:
        """Open a session of ours. It has no heartbeats, so that the clock may move by hours."""
        session = Session(pika.ConnectionParameters(heartbeat=0), self.clock)
        self.links.append(Link(self.clock, self.broker, session))
        self.run_(session.open())
        return session

    def lose(self, session: Session) -> None:
        """Drop a connection without closing the AMQP connection."""
        session.abort()
        self.pump()

    def pump(self) -> None:
        """Carry written bytes on every connection until all are quiet."""
        is_quiet = False
        while not is_quiet:
            for link in self.links:
                link.pump()
            is_quiet = not any(
                link.at_client.value() or link.at_server.value() or link.at_client.ended != link.at_server.ended
                for link in self.links
            )

    def advance(self, seconds: float) -> None:
        """Move the clock from timer to timer and pump after each: what a timer starts has the remaining time."""
        end = self.clock.seconds() + seconds
        self.pump()
        while (left := end - self.clock.seconds()) > 0:
            due = min((call.getTime() for call in self.clock.getDelayedCalls()), default=end)
            self.clock.advance(min(left, max(0.0, due - self.clock.seconds())))
            self.pump()

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> Deferred[Any]:
        """Start a coroutine and run it as far as it gets without moving the clock."""
        started = Deferred.fromCoroutine(coroutine)
        self.pump()
        return started

    def run_(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end; it must not need the clock to move."""
        return run(self, coroutine)

    def other(self) -> TwistedChannel:
        """A channel of the other program."""
        if self._other is None or not self._other.is_open:
            self._other = self.run_(self.connect().channel())
        return self._other

    def put(self, exchange: str, routing_key: str, body: bytes = b"{}", **properties: Any) -> None:
        """Publish as the other program."""
        self.other().basic_publish(exchange, routing_key, body, pika.BasicProperties(**properties))
        self.pump()

    def make_queue(self, name: str, **arguments: Any) -> None:
        """Declare a durable queue as the other program."""
        self.other().queue_declare(name, durable=True, arguments=arguments)
        self.pump()

    def delete(self, *queues: str) -> None:
        """Delete queues as the other program."""
        for queue in queues:
            self.other().queue_delete(queue)
        self.pump()

    def take(self, queue: str) -> list[Message]:
        """Take all messages that wait in a queue."""
        taken = []
        while True:
            got: list[Any] = []
            self.other().basic_get(queue, auto_ack=True).addCallback(got.append)
            # pika itself cannot decode every header, and does not keep the bytes.
            with patch.dict(spec.props, {spec.BasicProperties.INDEX: ReceivedProperties}):
                self.pump()
            if got[0] is None:
                return taken
            taken.append(Message.received(got[0].properties.encoded, got[0].body))

    def waiting(self, queue: str) -> int:
        """How many messages wait in a queue for a consumer."""
        return len(self.broker.vhost.find_queue(queue, None))

    def unacked(self, queue: str) -> int:
        """How many messages of a queue are delivered and not yet acknowledged."""
        channels = [channel for link in self.links for channel in link.server._channels.values()]
        held = [each.queue.name for channel in channels for each in channel._deliveries._unacked.values()]
        return held.count(queue)
