"""The two brokers: each contract class becomes two test cases, one on RabbitMQ and one on the embedded broker."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from provider_gateway.devbroker.server import Broker
from tests.support.rabbitmq import limit, shared_broker

if TYPE_CHECKING:
    from tests.contract.base import BrokerContract


class _RabbitMQ(TestCase):
    """The node that the integration tests share."""

    timeout = 60

    async def setUp(self) -> None:
        self.node = await deferToThread(shared_broker)
        self.url = self.node.plain_url

    def limit(self, **limits: int) -> None:
        """Set limits of the broker until the end of the test."""
        self.addCleanup(deferToThread, limit, self.node)
        limit(self.node, **limits)


class _Watched(Broker):
    """An embedded broker that knows which connections are open."""

    def __init__(self) -> None:
        super().__init__({"demo": "demo"}, reactor)
        self._open: dict[Any, Deferred[None]] = {}

    def buildProtocol(self, addr: Any) -> Any:
        protocol: Any = super().buildProtocol(addr)
        lost = protocol.connectionLost

        def connection_lost(reason: Any) -> None:
            lost(reason)
            self._open.pop(protocol).callback(None)

        protocol.connectionLost = connection_lost
        self._open[protocol] = Deferred()
        return protocol

    async def drop(self) -> None:
        """End all connections."""
        for protocol, gone in list(self._open.items()):
            protocol.transport.abortConnection()
            await gone


class _Embedded(TestCase):
    """An embedded broker in the test's own reactor."""

    timeout = 60

    async def setUp(self) -> None:
        broker = _Watched()
        port = broker.listen_tcp(reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(broker.drop()))
        self.addCleanup(port.stopListening)
        self.url = f"amqp://demo:demo@127.0.0.1:{port.getHost().port}/"
        self.limits = broker.limits

    def limit(self, **limits: int) -> None:
        """Set limits of the broker until the end of the test."""
        for name, value in limits.items():
            setattr(self.limits, name, value)


def on_both(contract: type[BrokerContract]) -> type[BrokerContract]:
    """Make the test cases ``...OnRabbitMQ`` and ``...OnEmbedded`` of a contract, in its module."""
    for home in (_RabbitMQ, _Embedded):
        name = f"{contract.__name__}On{home.__name__[1:]}"
        made = type(name, (contract, home), {"__module__": contract.__module__, "__doc__": contract.__doc__})
        setattr(sys.modules[contract.__module__], name, made)
    return contract
