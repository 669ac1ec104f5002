"""The HTTP API behind its site, over fakes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.limits import Limits
from provider_gateway.config.queue_file import QueueEntry
from provider_gateway.config.settings import Settings
from provider_gateway.gateway.api import API
from provider_gateway.gateway.error_forms import error_form
from provider_gateway.gateway.expected_wait import ExpectedWaits
from provider_gateway.gateway.offer import Offer
from provider_gateway.gateway.readiness import Readiness
from provider_gateway.http_server.site import GatewaySite
from provider_gateway.observability.metrics import Metrics
from provider_gateway.topology.routing import Routes
from tests.support.fakes import FakePublisher
from tests.support.http_client import Client, Response

if TYPE_CHECKING:
    from provider_gateway.message.message import Message

MAX_BODY = 1_000_000
KEY = "routing-key: predict.now"


class FakeRPC:
    """Keeps calls; the test fires the Deferred of each reply."""

    reply_queue = "response.host-1"

    def __init__(self) -> None:
        self.calls: list[tuple[Message, str, str]] = []
        self.replies: list[Deferred[Message]] = []
        self.cancelled = 0

    async def call(self, message: Message, exchange: str, routing_key: str) -> Message:
        self.calls.append((message, exchange, routing_key))
        self.replies.append(Deferred(self._cancel))
        return await self.replies[-1]

    def _cancel(self, _: object) -> None:
        self.cancelled += 1


class APITestCase(SynchronousTestCase):
    """The API behind its site; RPC client and publisher are fakes."""

    routing_key: str | None = None
    max_in_flight = 2
    cors_origins: tuple[str, ...] = ()
    #: More keys of the entry, and more entries.
    keys: ClassVar[dict[str, object]] = {}
    others: ClassVar[tuple[dict[str, object], ...]] = ()
    #: All entries in place of these.
    entries: ClassVar[list[QueueEntry] | None] = None

    def setUp(self) -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        self.rpc, self.publisher = FakeRPC(), FakePublisher()
        self.expected_waits = ExpectedWaits(90, self.clock, self.metrics)
        self.lacks: list[str] = []
        self.readiness = Readiness(lambda: self.lacks, self.clock)
        entry = {"topic": "ML.MQ", "queueName": "work", "bindingKey": "predict.*", "routingKey": self.routing_key}
        entries = [entry | self.keys, *self.others]
        queues = self.entries or [QueueEntry.model_validate(each) for each in entries]
        self.api = API(
            rpc=self.rpc,
            publisher=self.publisher,
            routes=Routes(queues),
            reply_timeout=90,
            max_in_flight=self.max_in_flight,
            max_json_depth=128,
            access_rules=None,
            expected_waits=self.expected_waits,
            readiness=self.readiness,
            offer=Offer.of(Settings(_env_file=None, rmq_url="amqp://broker/"), queues),
            cors_origins=self.cors_origins,
            clock=self.clock,
            wall_clock=self.clock.seconds,
            metrics=self.metrics,
        )
        self.site = GatewaySite(
            self.api.resource(),
            self.clock,
            Limits(max_body_bytes=MAX_BODY),
            wall_clock=self.clock.seconds,
            error_form=error_form,
        )

    def post(self, *headers: str, body: bytes = b"{}", path: str = "/v1/predict") -> Client:
        client = Client(self.site)
        client.post(path, body, *(headers or (KEY,)))
        return client

    def answered(self, reply: Message, *headers: str) -> Response:
        client = self.post(*headers)
        self.rpc.replies[-1].callback(reply)
        return client.response()

    def assert_problem(self, client: Client, status: int, problem: str | None = None) -> Response:
        response = client.response()
        self.assertEqual((response.status, response.problem["status"]), (status, status))
        self.assertEqual(response.problem["rquid"], response.headers["rquid"])
        if problem is not None:
            self.assertEqual(response.problem["type"], f"urn:provider-gateway:problem:{problem}")
        return response
