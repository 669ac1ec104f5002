"""The provider role: what its parts get, and what keeps it from being ready."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.app.service import GatewayService
from provider_gateway.config.settings import Settings
from provider_gateway.observability.metrics import Metrics
from provider_gateway.security.credentials import load_credentials
from tests.support.model_peer import ModelTransport, response
from tests.support.observability import collect_log, counted
from tests.support.queue_entries import entry, seed
from tests.unit.provider.role_base import RoleTestCase

if TYPE_CHECKING:
    from provider_gateway.provider.role import ProviderRole


class ProviderRoleTests(RoleTestCase):
    """A provider role on the embedded broker, with two queues that share an exchange."""

    def setUp(self) -> None:
        super().setUp()
        self.asked: list[str] = []
        entries = [seed("work"), entry("other")]
        settings = Settings(_env_file=None, rmq_url="amqp://rabbitmq/", max_body_bytes=1024)
        self.role = self.open_role(entries, settings, is_awaited=self.is_awaited)

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


class CancellationsTests(RoleTestCase):
    """A provider role that follows cancellations."""

    def role(self, **settings: Any) -> ProviderRole:
        self.metrics = Metrics()
        entries = [entry("work", replyTo="response")]
        return self.open_role(entries, Settings(_env_file=None, rmq_url="amqp://rabbitmq/", **settings))

    def ask(self, correlation_id: str) -> None:
        self.put("", "work", correlation_id=correlation_id, headers={"pg-results": "response.results"})

    def test_heard(self) -> None:
        """What a gateway tells all providers to be canceled is dropped, in each of them, the last 10,000 ids."""
        for role in (self.role(cancellations=True), self.role(cancellations=True)):
            self.assertEqual(role.consumers, 3)
        self.put("response.canceled", "c1")
        self.ask("c1")
        self.ask("c1")
        self.assertEqual((self.waiting("work"), self.unacked("work")), (0, 0))
        for number in range(10_000):
            self.other().basic_publish("response.canceled", f"d{number}", b"")
        self.pump()
        self.ask("c1")
        self.assertEqual(self.unacked("work"), 1)

    def test_off(self) -> None:
        """Without it, no exchange and no queue is declared."""
        for role in (self.role(), self.role(cancellations=False, result_store="sqlite:////r.db")):
            self.assertEqual(role.consumers, 1)
        self.assertNotIn("response.canceled", self.broker.vhost.exchanges)

    def test_with_a_store(self) -> None:
        """It is on if there is a store."""
        self.role(result_store="sqlite:////r.db")
        self.assertIn("response.canceled", self.broker.vhost.exchanges)


class ModelStateTests(RoleTestCase):
    """What a role says of models that are busy or away. The test is the model; the queue "asked" has a ready URL."""

    def setUp(self) -> None:
        super().setUp()
        entries = [
            entry("plain", prefetch=8),
            entry("asked", readyUrl="/ready?key=1"),
            entry("also", readyUrl="/ready"),
        ]
        settings = Settings(
            _env_file=None,
            rmq_url="amqp://rabbitmq/",
            model_url="http://127.0.0.1:8080/predict",
            model_ready_url="/all",
        )
        self.role = self.open_role(entries, settings)

    def accept(self, number: int) -> ModelTransport:
        """Accept a connection by its number."""
        return ModelTransport.accept(self.clock.tcpClients[number][2])

    def states(self) -> list[float]:
        return [counted(self.metrics.model_state, queue) for queue in ("plain", "asked", "also")]

    def test_all_is_well(self) -> None:
        """At the start, all models are ready, with the concurrency of prefetch, and every series exists."""
        self.assertEqual((self.states(), self.role.degraded()), ([0, 0, 0], []))
        self.assertEqual(counted(self.metrics.model_concurrency, "plain"), 8)
        self.assertEqual(counted(self.metrics.model_concurrency, "asked"), 100)
        samples = {
            (sample.labels["queue"], sample.labels["reason"]): sample.value
            for family in self.metrics.model_pauses.collect()
            for sample in family.samples
            if sample.name.endswith("_total")
        }
        expected = {(queue, reason): 0 for queue in ("plain", "asked", "also") for reason in ("busy", "away")}
        self.assertEqual(samples, expected)
        self.assertEqual(len(self.clock.tcpClients), 0)

    def test_busy_then_away(self) -> None:
        """A refused call makes the model busy, and asks the ready URL, and its "no" makes it away."""
        self.put("", "asked")
        self.accept(0).respond(response(503, b"", "Retry-After: 30", "Connection: close"))
        self.pump()
        self.assertEqual((self.states(), self.role.degraded()), ([0, 1, 0], ["model of asked is busy"]))
        question = self.accept(1)
        self.assertEqual(question.request()[0], b"GET /ready?key=1 HTTP/1.1")
        question.clear()
        question.respond(response(503))
        self.pump()
        self.assertEqual((self.states(), self.role.degraded()), ([0, 2, 0], ["model of asked is away"]))
        self.assertEqual((self.waiting("asked"), self.unacked("asked")), (1, 0))
        self.advance(1)
        self.assertEqual(question.request()[0], b"GET /ready?key=1 HTTP/1.1")
        self.assertEqual((self.states(), self.role.degraded()), ([0, 2, 0], ["model of asked is away"]))
        pauses = [counted(self.metrics.model_pauses, "asked", reason) for reason in ("busy", "away")]
        self.assertEqual(pauses, [1, 1])

    def test_own_ready_url(self) -> None:
        """MODEL_READY_URL is for entries without a ready URL of their own."""
        self.put("", "plain")
        self.accept(0).respond(response(429, b"", "Connection: close"))
        self.pump()
        self.assertEqual(self.accept(1).request()[0], b"GET /all HTTP/1.1")


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
            [seed("work"), entry("other", bindingKey="batch.*")],
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
