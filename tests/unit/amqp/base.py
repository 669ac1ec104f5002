"""Base classes: a publisher on the embedded broker; an endpoint for which the test plays the brokers."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError as TCPRefused
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import EventLoggingObserver, MemoryReactorClock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.amqp.declare import declare
from provider_gateway.amqp.endpoint import BrokerEndpoint
from provider_gateway.amqp.publisher import Publisher
from provider_gateway.amqp.session import Session
from provider_gateway.config.broker_url import parse_broker_urls
from provider_gateway.message.message import Message
from provider_gateway.observability.metrics import Metrics
from tests.support.amqp_peer import Peer
from tests.support.embedded_broker import BrokerTestCase
from tests.support.queue_entries import entry

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from provider_gateway.amqp.session import Session


class PublisherTestCase(BrokerTestCase):
    """A publisher on an open session; the keys ``predict.*`` lead to the queue ``work``."""

    def setUp(self) -> None:
        super().setUp()
        self.metrics = Metrics()
        self.declared = 0
        self.publisher = Publisher(self.declare, max_unsent=1000, clock=self.clock, metrics=self.metrics)
        self.session = self.opened()
        self.faults = self.broker.faults

    async def declare(self, session: Session) -> None:
        self.declared += 1
        await declare(session, [entry()])

    def opened(self) -> Session:
        """A new session that the publisher is open on."""
        session = self.connect()
        self.run_(self.publisher.open(session))
        return session

    def publish(
        self, body: bytes = b"1", routing_key: str = "predict.now", exchange: str = "ML.MQ", **message: str
    ) -> Deferred[None]:
        published = self.publisher.publish(Message(body, **message), exchange, routing_key)
        self.pump()
        return published

    def release(self, *, backwards: bool = False, multiple: bool = False) -> None:
        """Send the confirms that were held back."""
        self.faults.release_confirms(backwards=backwards, multiple=multiple)
        self.pump()

    def outcomes(self) -> Counter[str]:
        """How often each outcome was counted."""
        outcomes: Counter[str] = Counter()
        for metric in self.metrics.published.collect():
            for sample in metric.samples:
                if sample.name.endswith("_total"):
                    outcomes[sample.labels["outcome"]] += sample.value
        return outcomes


PASSWORD = "s3cret"
TWO_BROKERS = f"amqp://user:{PASSWORD}@127.0.0.1:1001,amqp://user:{PASSWORD}@127.0.0.1:1002"


class Client(Protocol):
    """The protocol that gets the session: it learns that the connection is lost, and may close it."""

    lost: Failure | None = None

    def connectionLost(self, reason: Failure) -> None:
        self.lost = reason


class EndpointTestCase(SynchronousTestCase):
    """An endpoint on a reactor in memory; the test answers as the brokers."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.prepared: list[Session] = []
        self.preparing: Deferred[None] | None = None
        self.logged = EventLoggingObserver.createWithCleanup(self, globalLogPublisher)

    async def prepare(self, session: Session) -> None:
        self.prepared.append(session)
        if self.preparing is not None:
            await self.preparing

    def endpoint(self, urls: str = TWO_BROKERS, **arguments: Any) -> BrokerEndpoint:
        values = {"tls": None, "has_client_certificate": False, "name": "publish", "instance": "host-1"}
        return BrokerEndpoint(self.reactor, parse_broker_urls(urls), prepare=self.prepare, **{**values, **arguments})

    def connect(self, brokers: BrokerEndpoint) -> Deferred[Client]:
        connecting = brokers.connect(Factory.forProtocol(Client))
        self.reactor.advance(0)
        return connecting

    def ports(self) -> list[int]:
        """The ports that were connected to, in order."""
        return [client[1] for client in self.reactor.tcpClients]

    def accept(self) -> Peer:
        """Accept the newest connection; the AMQP handshake is still to come."""
        peer = Peer(self.reactor, self.reactor.tcpClients[-1][2].buildProtocol(None))
        peer.connect()
        return peer

    def refuse(self) -> None:
        self.reactor.tcpClients[-1][2].clientConnectionFailed(None, Failure(TCPRefused("refused")))
        self.reactor.advance(0.3)
