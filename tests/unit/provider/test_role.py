"""The provider role: what its parts get, and what keeps it from being ready."""

from __future__ import annotations

from functools import partial

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.amqp.declare import declare
from provider_gateway.amqp.publisher import Publisher
from provider_gateway.app.service import GatewayService
from provider_gateway.config.settings import Settings
from provider_gateway.observability.metrics import Metrics
from provider_gateway.provider.role import ProviderRole
from provider_gateway.security.credentials import load_credentials
from tests.support.embedded_broker import BrokerTestCase
from tests.support.observability import collect_log, counted
from tests.support.queue_entries import entry, seed


class ProviderRoleTests(BrokerTestCase):
    """A provider role on the embedded broker, with two queues that share an exchange."""

    def setUp(self) -> None:
        super().setUp()
        self.metrics = Metrics()
        self.asked: list[str] = []
        entries = [seed("work"), entry("other")]
        settings = Settings(_env_file=None, rmq_url="amqp://rabbitmq/", max_body_bytes=1024)
        publisher = Publisher(
            partial(declare, entries=entries), max_unsent=10_000, clock=self.clock, metrics=self.metrics
        )
        session = self.connect()
        self.run_(publisher.open(session))
        self.role = ProviderRole(
            self.clock,
            settings,
            entries,
            publisher=publisher,
            metrics=self.metrics,
            tls=None,
            is_awaited=self.is_awaited,
            wall_clock=self.clock.seconds,
        )
        self.run_(self.role.open(session))

    def new_clock(self) -> MemoryReactorClock:
        return MemoryReactorClock()

    def is_awaited(self, correlation_id: str) -> bool | None:
        self.asked.append(correlation_id)
        return False

    def test_not_ready(self) -> None:
        """The role is ready when all queues are consumed, and not while a queue does not take copies."""
        self.assertEqual(self.role.waiting_for(), [])
        self.delete("other.parking")
        self.put("", "other", bytes(1025))
        self.assertEqual(self.role.waiting_for(), ["queue other.parking"])
        self.advance(3)
        self.assertEqual((self.role.waiting_for(), self.waiting("other.parking")), ([], 1))

    def test_given_up(self) -> None:
        """A provider asks whether a message's caller has given up."""
        self.put("", "other", correlation_id="c1")
        self.assertEqual((self.asked, counted(self.metrics.expired, "other")), (["c1"], 1))

    def test_foreign_copies(self) -> None:
        """A copy on the seed's route comes to both queues. The queue that it does not belong to drops it."""
        self.put("dlx", "predict.now", headers={"pg-queue": "work"}, correlation_id="c1")
        self.advance(60)
        self.assertEqual([counted(self.metrics.foreign_copies, queue) for queue in ("work", "other")], [0, 1])
        self.assertEqual((self.asked, self.unacked("work") + self.unacked("other")), (["c1"], 0))


class WarningTests(SynchronousTestCase):
    """What the service says at start."""

    def test_retry_routes(self) -> None:
        """Risks of the queue file's retry routes are logged before anything is connected, and are no reason to stop."""
        reactor = MemoryReactorClock()
        reactor.running = True
        stopped: list[str] = []
        settings, metrics = Settings(_env_file=None, rmq_url="amqp://127.0.0.1/"), Metrics()
        service = GatewayService(
            reactor,
            settings,
            [seed("work"), entry("other")],
            ["provider"],
            metrics=metrics,
            credentials=load_credentials(reactor, settings, ["provider"], metrics, reactor.seconds),
            access_log=None,
            observer=None,
            fatal=stopped.append,
            wall_clock=reactor.seconds,
        )
        logged = collect_log(self)
        service.startService()
        (warning,) = [each["warning"] for each in logged if "warning" in each]
        self.assertIn("dleParams of 'work'", warning)
        self.assertEqual((stopped, len(reactor.tcpServers)), ([], 1))
        service.stopService()
        reactor.advance(60)
        self.flushLoggedErrors()
