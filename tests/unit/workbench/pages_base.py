"""The page over parked messages in memory, and clients of it."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from provider_gateway.config.limits import Limits
from provider_gateway.config.queue_file import parse_queues
from provider_gateway.http_server.event_stream import EventStreams
from provider_gateway.http_server.site import GatewaySite
from provider_gateway.observability.metrics import Metrics
from provider_gateway.parking.errors import NoSuchMessage
from provider_gateway.parking.looks import Group, Look
from provider_gateway.parking.operators import Operator
from provider_gateway.parking.parked_message import HEAD_BYTES, ParkedMessage
from provider_gateway.parking.places import places_of
from provider_gateway.workbench.access import Access
from provider_gateway.workbench.figures import Figures
from provider_gateway.workbench.live import LiveFigures
from provider_gateway.workbench.pages import Pages, Requests
from provider_gateway.workbench.turns import Turns
from tests.support.http_client import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from twisted.internet.defer import Deferred

    from provider_gateway.errors import GatewayError
    from provider_gateway.parking.filters import Filter
    from provider_gateway.parking.jobs import JobDocument
    from provider_gateway.parking.looks import Progress
    from provider_gateway.parking.parking import Parking
    from provider_gateway.store.records import Record
    from provider_gateway.workbench.queue_counts import QueueCount, QueueCounts
    from tests.support.http_client import Response

#: The time of all tests, in seconds since 1970.
NOW = 1_795_750_000.0
QUEUES = """
- {topic: ML.MQ, queueName: fib, bindingKey: predict.*, replyTo: response, dle: true, routingKey: predict.now}
- {topic: ML.MQ, queueName: odd/queue%&"<b>, bindingKey: odd, replyTo: response}
"""
ODD = 'odd/queue%&"<b>'
ALL = Operator("alice", "192.0.2.1")


def parked(number: int = 0, body: bytes = b'{"n": 1}', **values: Any) -> tuple[ParkedMessage, bytes]:
    """A parked message with its body."""
    message = ParkedMessage(
        id=f"{number:032x}",
        position=number,
        reason="status",
        parked_at=NOW - 7200,
        owner="fib",
        rquid=f"rquid-{number}",
        message_id="m",
        correlation_id="c",
        reply_to=None,
        identity="client-a",
        routing_key="predict.now",
        attempts=5,
        redeliveries=0,
        replays=0,
        model_status=500,
        model_error='{"error": "boom"}',
        content_type="application/json",
        content_encoding=None,
        size=len(body),
        headers=MappingProxyType({"pg-reason": "status"}),
        head=body[:HEAD_BYTES],
    )
    return replace(message, **values), body


class FakeParking:
    """Parking queues in memory, as :class:`.Parking`; looks only."""

    def __init__(self, entries: Any) -> None:
        self.places = places_of(entries, webhooks=False)
        self.messages: dict[str, list[tuple[ParkedMessage, bytes]]] = {queue: [] for queue in self.places}
        self.jobs: dict[str, Any] = {}
        self.busy: dict[str, JobDocument] = {}
        self.are_held: dict[str, int] = {}
        self.lines: list[Mapping[str, object]] = []
        self.error: GatewayError | None = None
        self.waits: Deferred[None] | None = None
        self.shown: list[tuple[str, str, str]] = []

    async def counts(self) -> dict[str, int | None]:
        return {queue: len(messages) for queue, messages in self.messages.items()}

    def held(self, queue: str) -> int:
        return self.are_held.get(queue, 0)

    async def at_work(self) -> dict[str, JobDocument]:
        return self.busy

    async def job(self, id_: str) -> JobDocument | None:
        job = self.jobs.get(id_)
        return None if job is None else cast("JobDocument", job.document)

    def add_job(self, document: JobDocument) -> None:
        self.jobs[document.id] = SimpleNamespace(document=document)

    async def look(
        self,
        queue: str,
        filter_: Filter,
        *,
        operator: Operator,
        limit: int = 100,
        after: int = -1,
        on_progress: Callable[[Progress], object],
    ) -> Look:
        assert operator is not None
        self.tell = on_progress
        if self.waits is not None:
            await self.waits
        if self.error is not None:
            raise self.error
        lying = self.messages[queue]
        found = [message for message, body in lying if filter_.matches(message, body)]
        behind = [each for each in found if each.position > after]
        return Look(
            queue=queue,
            parking=self.places[queue].parking.name,
            total=len(lying),
            looked_at=len(lying),
            others=0,
            matching=len(found),
            groups=tuple(groups(found)),
            messages=tuple(behind[:limit]),
            next=behind[limit - 1].position if len(behind) > limit else None,
            at=NOW,
        )

    async def show(self, queue: str, id_: str, *, operator: Operator) -> tuple[ParkedMessage, bytes]:
        if self.error is not None:
            raise self.error
        self.shown.append((queue, id_, operator.name))
        for message, body in self.messages[queue]:
            if message.id == id_:
                return message, body
        msg = "No such message is in the parking queue any more."
        raise NoSuchMessage(msg)


def groups(messages: Iterable[ParkedMessage]) -> list[Group]:
    """Messages by reason, the largest group first."""
    by_reason: dict[str, list[ParkedMessage]] = {}
    for each in messages:
        by_reason.setdefault(each.reason, []).append(each)
    made = []
    for reason, members in by_reason.items():
        times = [each.parked_at for each in members if each.parked_at is not None]
        made.append(
            Group(
                reason=reason,
                count=len(members),
                oldest=min(times, default=None),
                newest=max(times, default=None),
                bytes=sum(each.size for each in members),
            )
        )
    return sorted(made, key=lambda group: -group.count)


class FakeCounts:
    """The counts of queues, as :class:`.QueueCounts`."""

    def __init__(self) -> None:
        self.counts: dict[str, QueueCount] = {}
        self.asked = 0

    async def ask(self, queues: Iterable[str]) -> dict[str, QueueCount]:
        self.asked += 1
        return {name: self.counts[name] for name in queues if name in self.counts}


class _Access(Access):
    """Knows the operator of the moment."""

    def __init__(self, workbench: Workbench) -> None:
        super().__init__(None, workbench.parking.places, workbench.parking.lines.append)
        self._workbench = workbench

    def who(self, request: Any) -> Operator | None:
        return self._workbench.operator


class _Listener(Resource):
    """Serves the page, and knows what is beside it."""

    isLeaf = True

    def __init__(self, workbench: Workbench) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # Twisted's has no types
        self._workbench = workbench
        self._resource: Any = workbench.pages.resource()

    def render(self, request: Any) -> Any:
        request.beside = self._workbench.beside
        return self._resource.render(request)


class Workbench:
    """The page with all that it needs, in memory.

    Attributes:
        operator: whoever asks; None for somebody without a right.
    """

    def __init__(
        self, clock: Any, *, queues: str = QUEUES, records: Iterable[Record] | None = None, now: Any = lambda: NOW
    ) -> None:
        entries = parse_queues(queues, "test")
        self.operator: Operator | None = ALL
        self.parking = FakeParking(entries)
        self.counts = FakeCounts()
        self.metrics = Metrics()
        self.waits: dict[str, float] = {}
        self.streams = EventStreams(most=8, most_of_identity=8)
        self.dropped: list[str] = []
        self.beside: tuple[bytes, ...] = ()
        access = _Access(self)
        self.live = LiveFigures(
            Figures(self.metrics, [each.queue_name for each in entries], self.waits.get, clock),
            cast("QueueCounts", self.counts),
            self.parking.held,
            entries,
            streams=self.streams,
            who=access.who,
            clock=clock,
            wall_clock=now,
        )
        self.pages = Pages(
            cast("Parking", self.parking),
            self.live,
            self.streams,
            access=access,
            turns=Turns(4, 16),
            requests=Requests(
                keys=lambda _: ["predict.now"],
                types=["application/json"],
                owner=lambda _: "client-a",
                results=None if records is None else self._results(list(records)),
                may_use=lambda _, key: key != "withdrawn",
            ),
            instance="test-instance",
            workers=1,
            clock=clock,
            wall_clock=now,
        )
        self.site = GatewaySite(_Listener(self), clock, Limits(), on_dropped=self.dropped.append, wall_clock=now)

    @staticmethod
    def _results(records: list[Record]) -> Any:
        async def find(owner: str, limit: int, after: str | None) -> list[Record]:
            own = [each for each in records if each.owner == owner]
            begin = 0 if after is None else [each.id for each in own].index(after) + 1
            return own[begin : begin + limit]

        return find


class PagesTestCase(SynchronousTestCase):
    """The page, and clients of it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.workbench = Workbench(self.clock)
        self.parking = self.workbench.parking

    def rights(self, **queues: str) -> None:
        """Give the operator rights by queue, separated by blanks, and no other ones."""
        rights: Mapping[str, frozenset[str]] = {queue: frozenset(given.split()) for queue, given in queues.items()}
        self.workbench.operator = Operator("bob", "192.0.2.2", rights)

    def get(self, path: str, method: str = "GET") -> Response:
        """The response to a request."""
        client = Client(self.workbench.site)
        client.request(method, path)
        return client.response()

    def text(self, path: str, status: int = 200) -> str:
        """A page as text."""
        response = self.get(path)
        self.assertEqual((status, "text/html; charset=utf-8"), (response.status, response.headers["content-type"]))
        return response.body.decode()
