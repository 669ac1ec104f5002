"""The provider role: what it hands to its parts, and what keeps it from being ready."""

from __future__ import annotations

from pika import spec
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.errors import NoRoute
from provider_gateway.metrics import Metrics
from provider_gateway.roles import ProviderRole
from provider_gateway.service import GatewayService
from provider_gateway.settings import Settings
from tests.unit.amqp_peer import open_peer, run
from tests.unit.test_retry import death, entry, seed
from tests.unit.test_rpc import FakePublisher, collect_log, counted


class ProviderRoleTests(SynchronousTestCase):
    """A provider of two queues on an open session."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.publisher = FakePublisher()
        self.metrics = Metrics()
        self.asked: list[str] = []
        entries = [seed("work"), entry("other")]
        settings = Settings(_env_file=None, rmq_url="amqp://rabbitmq/", max_body_bytes=1024)
        self.role = ProviderRole(self.reactor, settings, entries, self.publisher, self.metrics, None, self.has_given_up)
        self.peer = open_peer(self.reactor)
        run(self.peer, self.role.open(self.peer.protocol))

    def has_given_up(self, correlation_id: str) -> bool:
        self.asked.append(correlation_id)
        return True

    def test_ready(self) -> None:
        """It is ready when all queues are consumed."""
        self.assertEqual(self.role.waiting_for(), [])

    def test_not_ready(self) -> None:
        """It is not while a queue does not take what has to go there."""
        self.peer.deliver(bytes(1025), 1)
        self.publisher.fail(NoRoute("gone"))
        self.assertEqual(self.role.waiting_for(), ["queue other.parking"])
        self.reactor.advance(1)
        self.publisher.confirm()
        self.assertEqual(self.role.waiting_for(), [])

    def test_given_up(self) -> None:
        """Providers ask who has given up."""
        self.peer.deliver(b"{}", 1, spec.BasicProperties(correlation_id="c1"))
        self.assertEqual((self.asked, counted(self.metrics.expired, "other")), (["c1"], 1))

    def test_foreign_copies(self) -> None:
        """Providers know of the other queues, whose copies they get."""
        headers = {"pg-queue": "work", "x-death": [death()]}
        self.peer.deliver(b"{}", 1, spec.BasicProperties(headers=headers))
        self.assertEqual(counted(self.metrics.foreign_copies, "other"), 1)


class WarningTests(SynchronousTestCase):
    """What the service says at start."""

    def test_retry_routes(self) -> None:
        """Risks of the queue file's retry routes are logged before anything is connected, and are no reason to stop."""
        reactor = MemoryReactorClock()
        reactor.running = True
        stopped: list[str] = []
        service = GatewayService(
            reactor,
            Settings(_env_file=None, rmq_url="amqp://127.0.0.1/"),
            [seed("work"), entry("other")],
            ["provider"],
            metrics=Metrics(),
            observer=None,
            fatal=stopped.append,
        )
        logged = collect_log(self)
        service.startService()
        (warning,) = [each["warning"] for each in logged if "warning" in each]
        self.assertIn("dleParams of 'work'", warning)
        self.assertEqual((stopped, len(reactor.tcpServers)), ([], 1))
        service.stopService()
        reactor.advance(60)
        self.flushLoggedErrors()
