"""The base of the tests of a provider role on the embedded broker."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.testing import MemoryReactorClock

from provider_gateway.amqp.declare import declare
from provider_gateway.amqp.publisher import Publisher
from provider_gateway.observability.metrics import Metrics
from provider_gateway.provider.role import ProviderRole
from tests.support.embedded_broker import BrokerTestCase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.config.settings import Settings


class RoleTestCase(BrokerTestCase):
    """Provider roles on the embedded broker."""

    def setUp(self) -> None:
        super().setUp()
        self.metrics = Metrics()

    def new_clock(self) -> MemoryReactorClock:
        return MemoryReactorClock()

    def open_role(self, entries: Sequence[QueueEntry], settings: Settings, **parts: Any) -> ProviderRole:
        """A role that consumes the queues, and publishes on a connection of its own.

        Args:
            parts: that are not those of a role without TLS, which asks nobody who still waits.
        """
        publisher = Publisher(
            partial(declare, entries=entries), max_unsent=10_000, clock=self.clock, metrics=self.metrics
        )
        self.run_(publisher.open(self.connect()))
        others: dict[str, Any] = {"tls": None, "is_awaited": lambda _: None, **parts}
        role = ProviderRole(
            self.clock,
            settings,
            entries,
            publisher=publisher,
            metrics=self.metrics,
            wall_clock=self.clock.seconds,
            **others,
        )
        self.run_(role.open(self.connect()))
        return role
