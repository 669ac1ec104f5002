"""A whole process in memory: both roles, the embedded broker, no socket; the test is the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet.error import ConnectionRefusedError as TCPRefused
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from provider_gateway.app.service import GatewayService
from provider_gateway.config.queue_file import QueueEntry
from provider_gateway.config.settings import ROLES, Settings
from provider_gateway.observability.metrics import Metrics
from provider_gateway.security.credentials import load_credentials
from tests.support.embedded_broker import BrokerTestCase, Link
from tests.support.http_client import Client, Response
from tests.support.model_peer import ModelTransport, response

if TYPE_CHECKING:
    from provider_gateway.app.tracing import Tracing
    from tests.support.memory_store import MemoryStore

AMQP, HTTP, MODEL = 5672, 5050, 8080


class ServiceTestCase(BrokerTestCase):
    """A process with both roles and one queue: a prefetch of two, three attempts, a minute between them.

    Attributes:
        calls: the model's connections, one for each call.
        is_up: True while the broker accepts connections.
        ahead: seconds by which the wall clock is ahead of the monotonic clock.
        store: keeps results; None without.
        tracing: makes spans; None without traces.
    """

    clock: MemoryReactorClock
    #: More keys of the entry.
    keys: ClassVar[dict[str, Any]] = {}
    store: MemoryStore | None = None
    tracing: Tracing | None = None

    def setUp(self) -> None:
        super().setUp()
        self.calls: list[ModelTransport] = []
        self.is_up = True
        self.fatal: list[str] = []
        self.ahead = 1_800_000_000.0
        self._accepted = 0
        self.make_queue("back")
        self.begin()

    def new_clock(self) -> MemoryReactorClock:
        clock = MemoryReactorClock()
        clock.running = True
        return clock

    def wall_clock(self) -> float:
        return float(self.clock.seconds()) + self.ahead

    def begin(self, **settings: Any) -> None:
        """Start a process, which gets ready."""
        self.begin_to_start(**settings)
        self.assertEqual((self.service.waiting_for(), self.fatal), ([], []))

    def begin_to_start(self, **settings: Any) -> None:
        """Start a process, which may not get ready."""
        self.metrics = Metrics()
        keys = {"topic": "ML.MQ", "queueName": "work", "bindingKey": "predict.*", "dle": True, "maxAttempts": 3}
        values: dict[str, Any] = {
            "rmq_url": f"amqp://guest:guest@127.0.0.1:{AMQP}/?heartbeat=3600",
            "http_tls": False,
            "model_url": f"http://127.0.0.1:{MODEL}/predict",
            "model_timeout": 30,
            "reply_timeout": 90,
        }
        self.first_link = len(self.links)
        effective = Settings(_env_file=None, **{**values, **settings})
        self.service = GatewayService(
            self.clock,
            effective,
            [QueueEntry.model_validate({**keys, "prefetch": 2, **self.keys})],
            ROLES,
            metrics=self.metrics,
            credentials=load_credentials(self.clock, effective, ROLES, self.metrics, self.wall_clock),
            access_log=None,
            observer=None,
            fatal=self.fatal.append,
            wall_clock=self.wall_clock,
            store=self.store,
            tracing=self.tracing,
        )
        self.service.startService()
        self.advance(1)

    def break_connections(self) -> None:
        """Drop all connections between the process and the broker."""
        for link in self.links[self.first_link :]:
            link.at_client.abortConnection()
        self.pump()

    def pump(self) -> None:
        super().pump()
        while len(self.clock.tcpClients) > self._accepted:
            _, port, factory, *_ = self.clock.tcpClients[self._accepted]
            self._accepted += 1
            if port == MODEL:
                protocol = factory.buildProtocol(None)
                self.calls.append(ModelTransport(protocol))
                protocol.makeConnection(self.calls[-1])
            elif self.is_up:
                self.links.append(Link(self.clock, self.broker, factory.buildProtocol(None)))
            else:
                factory.clientConnectionFailed(None, Failure(TCPRefused("refused")))
            super().pump()

    def answer(self, status: int = 200, body: bytes = b"42", number: int = -1) -> None:
        """Answer a call of the model."""
        call = self.calls[number]
        call.respond(response(status, body, "Content-Type: application/json", "Connection: close"))
        call.close()
        self.pump()

    def post(self, body: bytes = b"[1]", path: str = "/v1/predict", *headers: str) -> Client:
        """Send an HTTP request."""
        (site,) = [factory for port, factory, *_ in self.clock.tcpServers[-1:] if port == HTTP]
        client = Client(site)
        client.post(path, body, "routing-key: predict.now", "RqUID: r1", *headers)
        self.pump()
        return client

    def ask(self, body: bytes = b"[1]", **properties: Any) -> None:
        """Publish a request message as an initiator does."""
        values = {"reply_to": "back", "correlation_id": "c1", "message_id": "m1", "headers": {"RqUID": "r1"}}
        self.put("ML.MQ", "predict.now", body, **{**values, **properties})

    def bodies(self) -> list[bytes]:
        """The bodies of all calls of the model."""
        return [call.request()[2] for call in self.calls]

    def answered(self, client: Client) -> Response:
        self.pump()
        return client.response()

    def assert_settled(self) -> None:
        """Check that no message waits and none is unacknowledged."""
        left = {
            name: (self.waiting(name), self.unacked(name)) for name in ("work", "work.retry", "work.parking", "back")
        }
        self.assertEqual(left, dict.fromkeys(left, (0, 0)))
