"""What the tests of results share: gateways on the embedded broker, with stores in memory that have the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed

from provider_gateway.amqp.declare import declares
from provider_gateway.amqp.notices import NoticePublisher
from provider_gateway.amqp.publisher import Publisher
from provider_gateway.message.ids import fresh_id
from provider_gateway.message.message import Message
from provider_gateway.observability.metrics import Metrics
from provider_gateway.results.limits import KeptLimits
from provider_gateway.results.results import Results
from provider_gateway.topology.result_objects import result_objects
from provider_gateway.webhooks.webhooks import Webhooks
from tests.support.embedded_broker import BrokerTestCase
from tests.support.memory_store import MemoryStore
from tests.support.queue_entries import entry

if TYPE_CHECKING:
    from provider_gateway.amqp.session import Session
    from provider_gateway.store.records import Outcome, Record, Status
    from provider_gateway.tracing.span import AnySpan
    from provider_gateway.tracing.tracer import Tracer

ENTRIES = [entry(queueName="work", replyTo="response")]
QUEUE, DONE, CANCELED = "response.results", "response.done", "response.canceled"
NOW = 1_800_000_000.0
#: Seconds that a result is kept, and that a key is held.
TTL, KEY_TTL = 3600.0, 7200.0


class FakeWebhooks(Webhooks):
    """Webhooks that are confirmed at once, unless the test holds them.

    Attributes:
        published: the records.
        spans: of what made each final.
        held: None, or Deferreds of those that are not confirmed yet.
    """

    consumers = 0

    def __init__(self, steps: list[str]) -> None:
        self.published: list[Record] = []
        self.spans: list[AnySpan | None] = []
        self.held: list[Deferred[None]] | None = None
        self._steps = steps

    def publish(self, record: Record, span: AnySpan | None = None) -> Deferred[None]:
        self.published.append(record)
        self.spans.append(span)
        self._steps.append("webhook")
        if self.held is None:
            return succeed(None)
        self.held.append(Deferred())
        return self.held[-1]

    async def open(self, session: Session) -> None:
        pass

    def waiting_for(self) -> list[str]:
        return []

    async def close(self) -> None:
        pass


class Replica:
    """A gateway's results, with connections of its own.

    Attributes:
        steps: what happened, in its order.
    """

    def __init__(self, case: ResultsTestCase, store: MemoryStore, number: int) -> None:
        self.case = case
        self.store = store
        self.steps: list[str] = store.calls
        self.metrics = Metrics()
        self.webhooks = FakeWebhooks(self.steps)
        declare = declares(*result_objects(ENTRIES))
        self.publisher = Publisher(declare, max_unsent=10**6, clock=case.clock, metrics=self.metrics)
        self.notices = NoticePublisher(declare, case.clock)
        self.results = Results(
            store,
            self.publisher,
            self.notices,
            self.webhooks,
            ENTRIES,
            instance=f"host-{number}",
            limits=case.limits,
            clock=case.clock,
            wall_clock=case.wall_clock,
            metrics=self.metrics,
            tracer=case.tracer,
        )
        self.connect()

    def connect(self) -> None:
        """Open both sessions."""
        self.publishing, self.consuming = self.case.connect(), self.case.connect()
        self.case.run_(self.notices.open(self.publishing))
        self.case.run_(self.publisher.open(self.publishing))
        self.case.run_(self.results.replies.open(self.consuming))
        self.case.pump()

    def disconnect(self) -> None:
        """Lose both sessions."""
        for session in (self.publishing, self.consuming):
            self.case.lose(session)


class ResultsTestCase(BrokerTestCase):
    """One gateway; further ones share its rows.

    Attributes:
        one: the gateway.
    """

    limits = KeptLimits(ttl=TTL, idempotency_ttl=KEY_TTL, max_body=1000, max_held=3000, confirm_timeout=90)

    tracer: Tracer | None = None

    def setUp(self) -> None:
        super().setUp()
        self.make_queue("work")
        self.store = MemoryStore(TTL)
        self.one = Replica(self, self.store, 1)
        self.results = self.one.results

    def wall_clock(self) -> float:
        return NOW + float(self.clock.seconds())

    def another(self) -> Replica:
        """Another gateway on the same rows."""
        store = MemoryStore(TTL)
        store.records, store.results = self.store.records, self.store.results
        return Replica(self, store, 2)

    def record(self, id_: str = "", **more: Any) -> Record:
        """A new record."""
        values: dict[str, Any] = {"owner": "ann", "routing_key": "work", "rquid": "r1", **more}
        return self.results.new_record(id_ or fresh_id(), **values)

    def pending(self, **more: Any) -> Record:
        """A record that is in the store."""
        record = self.record(**more)
        self.store.records[record.id] = record
        return record

    def submit(self, record: Record, body: bytes = b"{}", exchange: str = "") -> Deferred[Any]:
        """Submit a request."""
        message = Message(body, {**self.results.headers(record.owner)}, correlation_id=record.id, reply_to=QUEUE)
        submitted = self.results.submit(message, exchange, record)
        self.pump()
        return submitted

    def reply(self, id_: str, body: bytes = b"42", queue: str = QUEUE, **headers: Any) -> None:
        """Publish a reply, as a provider does."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.put("", queue, body, correlation_id=id_, content_type="application/json", headers=named)

    def wait(self, id_: str, seconds: float = 30, **more: Any) -> Deferred[Record | None]:
        """Wait for a request, at the first gateway."""
        return self.start(self.results.wait(id_, seconds, **more))

    def status(self, id_: str) -> Status:
        """The status of a record in the store."""
        return self.store.records[id_].status

    def finish_elsewhere(self, outcome: Outcome) -> None:
        """Store an outcome without telling anybody."""
        self.successResultOf(self.store.finish(outcome))

    def bindings(self) -> list[str]:
        """The ids that queues for notices are bound with."""
        return [key for _, key, _ in self.broker.vhost.exchanges[DONE].bindings]

    def assert_left(self, waiting: int = 0, unacked: int = 0) -> None:
        """Check how many replies are in the results queue."""
        self.assertEqual((self.waiting(QUEUE), self.unacked(QUEUE)), (waiting, unacked))
