"""The base of the tests of network faults: a gateway that reaches the broker through a fault proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet import reactor

from tests.faults.base import FaultTestCase, echo_after
from tests.faults.proxy import FaultProxy
from tests.faults.resources import ready_counts

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.proxy import Action, Frame
    from tests.support.processes import Gateway

PREFETCH = 20
#: Seconds between heartbeats.
HEARTBEAT = 3


class WireTestCase(FaultTestCase):
    """A gateway that reaches the broker through a proxy."""

    async def setUp(self) -> None:
        await super().setUp()
        self.model.answer = echo_after(0.05)

    def proxied(self, *, tls: bool = False, on_frame: Callable[[Frame], Action] | None = None) -> FaultProxy:
        """Put a proxy in front of the broker's port."""
        self.proxy = FaultProxy(reactor, self.node.tls_port if tls else self.node.port)
        self.proxy.on_frame = on_frame
        self.proxy.start()
        self.addCleanup(self.proxy.stop)
        scheme = "amqps://localhost" if tls else "amqp://demo:demo@127.0.0.1"
        self.url = f"{scheme}:{self.proxy.port}/?heartbeat={HEARTBEAT}"
        return self.proxy

    async def gateway(self, *arguments: str, **variables: str) -> Gateway:
        """A gateway behind the proxy."""
        entries = [self.entry(prefetch=PREFETCH)]
        return await self.start(*arguments, entries=entries, RMQ_URL=self.url, **variables).ready()

    async def load(self, gateway: Gateway, rate: float = 30) -> None:
        """Start load over AMQP and HTTP."""
        self.amqp, self.http = self.initiator(rate=rate), await self.callers(gateway, rate=rate)
        self.running = [self.amqp.publish(), self.http.call()]
        await self.confirmed(20)

    async def finish(self, faults: int, confirmed: int = 20) -> None:
        """Stop the load, drain, and check the ledger."""
        await self.confirmed(confirmed)
        self.amqp.stop()
        self.http.stop()
        for each in self.running:
            await each
        await self.drained()
        self.ledger.check(self, duplicates_at_most=faults * PREFETCH)

    async def queued(self) -> int:
        """The number of ready messages in the work queue."""
        counts: dict[str, int] = await self.on_channel(lambda channel: ready_counts(channel, [self.queue]))
        return counts[self.queue]
