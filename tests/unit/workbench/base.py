"""The routes of parking queues behind their site, over a parking queue in memory."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.limits import Limits
from provider_gateway.config.queue_file import QueueEntry
from provider_gateway.gateway.admission import Admission
from provider_gateway.gateway.origins import Origins
from provider_gateway.http_server.app import App
from provider_gateway.http_server.site import GatewaySite
from provider_gateway.observability.metrics import Metrics
from provider_gateway.parking.errors import NoSuchMessage
from provider_gateway.parking.jobs import JobDocument
from provider_gateway.parking.looks import Group, Look
from provider_gateway.parking.parked_message import ParkedMessage
from provider_gateway.parking.places import places_of
from provider_gateway.security.access_rules import AccessRules
from provider_gateway.security.identity import Identity
from provider_gateway.workbench.access import Access
from provider_gateway.workbench.workbench import Workbench, refusing
from tests.support.http_client import Client, Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider_gateway.parking.filters import Filter
    from provider_gateway.parking.jobs import JobRequest
    from provider_gateway.parking.operators import Operator

NOW = 1_800_000_000.0
RULES = """
- {identities: [ann], parking: [read, replay, drop], queues: ["*"]}
- {identities: [reader], parking: [read], queues: [fib]}
- {identities: [replayer], parking: [replay], queues: [fib]}
- {identities: [dropper], parking: [drop], queues: [fib, other]}
- {identities: [caller], routingKeys: ["#"]}
"""
QUEUES = ("fib", "other", "a/b %?#é", "jobs")


def message(number: int, **more: Any) -> ParkedMessage:
    """A parked message."""
    values: dict[str, Any] = {
        "reason": "status",
        "parked_at": NOW - 100 + number,
        "owner": "fib",
        "rquid": f"r{number}",
        "message_id": None,
        "correlation_id": None,
        "reply_to": None,
        "identity": "caller",
        "routing_key": "predict.now",
        "attempts": 3,
        "redeliveries": 0,
        "replays": 1,
        "model_status": 500,
        "model_error": "boom",
        "content_type": "application/json",
        "content_encoding": None,
        "size": 2,
        "headers": {"X-Secret": "s3cret"},
        "head": b"{}",
    }
    return ParkedMessage(id=f"{number:032x}", position=number, **{**values, **more})


class FakeJob:
    """A job; the test says how far it is."""

    def __init__(self, document: JobDocument) -> None:
        self.document = document
        self.is_canceled = False
        self._counted: list[Deferred[JobDocument]] = []
        self._over: list[Deferred[JobDocument]] = []
        self._watchers: list[Callable[[JobDocument], object]] = []

    def counted(self) -> Deferred[JobDocument]:
        self._counted.append(Deferred())
        return self._counted[-1] if self.document.state == "counting" else succeed(self.document)

    def when_over(self) -> Deferred[JobDocument]:
        self._over.append(Deferred())
        return self._over[-1]

    def watch(self, on_change: Callable[[JobDocument], object]) -> Callable[[], None]:
        self._watchers.append(on_change)
        return lambda: self._watchers.remove(on_change)

    def cancel(self) -> None:
        self.is_canceled = True

    def become(self, **values: Any) -> None:
        """Have the job go on."""
        self.document = replace(self.document, **values)
        for each in self._watchers:
            each(self.document)
        if self.document.state != "counting":
            for waiting in self._counted:
                if not waiting.called:
                    waiting.callback(self.document)
        if self.document.is_over:
            for waiting in self._over:
                if not waiting.called:
                    waiting.callback(self.document)

    def fail(self, error: Exception) -> None:
        """Have the job end with an error before anything is done."""
        self.document = replace(self.document, state="failed", error=str(error))
        for waiting in self._counted:
            waiting.errback(error)
        for waiting in self._over:
            waiting.callback(self.document)


class FakeParking:
    """Parking queues in memory; looks wait if the test wants it."""

    def __init__(self, audit: Callable[[dict[str, object]], object]) -> None:
        entries = [QueueEntry.model_validate({"topic": "t", "queueName": each, "bindingKey": each}) for each in QUEUES]
        self.places = places_of(entries, webhooks=False)
        self.jobs: dict[str, FakeJob] = {}
        self.messages = [(message(number), b"{}") for number in range(3)]
        self.waiting: list[Deferred[None]] | None = None
        self.looks: list[tuple[str, Filter, int, int]] = []
        self.requests: list[JobRequest] = []
        self.elsewhere: dict[str, JobDocument] = {}
        self.error: Exception | None = None
        self.stopped = 0
        self._audit = audit

    async def _turn(self) -> None:
        if self.waiting is not None:
            self.waiting.append(Deferred())
            await self.waiting[-1]
        if self.error is not None:
            raise self.error

    async def counts(self) -> dict[str, int | None]:
        await self._turn()
        return {queue: 3 if queue == "fib" else None for queue in QUEUES}

    async def at_work(self) -> dict[str, JobDocument]:
        if self.error is not None:
            raise self.error
        return self.elsewhere

    async def look(self, queue: str, filter_: Filter, *, operator: Operator, limit: int = 100, after: int = -1) -> Look:
        self.looks.append((queue, filter_, limit, after))
        await self._turn()
        matching = [each for each, body in self.messages if filter_.matches(each, body)]
        shown = [each for each in matching if each.position > after]
        return Look(
            queue=queue,
            parking=f"{queue}.parking",
            total=len(self.messages),
            looked_at=len(self.messages),
            others=0,
            matching=len(matching),
            groups=(Group(reason="status", count=len(matching), oldest=NOW - 100, newest=None, bytes=6),),
            messages=tuple(shown[:limit]),
            next=shown[limit - 1].position if len(shown) > limit else None,
            at=NOW,
        )

    async def show(self, queue: str, id_: str, *, operator: Operator, why: str = "") -> tuple[ParkedMessage, bytes]:
        await self._turn()
        for each, body in self.messages:
            if each.id == id_:
                self._audit({"event": "shown", "queue": queue, "operator": operator.name, "id": id_})
                return each, body
        raise NoSuchMessage(f"There is no message {id_}.")

    def start(self, request: JobRequest) -> FakeJob:
        if self.error is not None:
            raise self.error
        self.requests.append(request)
        document = JobDocument(
            id=f"{len(self.jobs) + 10:032x}",
            queue=request.queue,
            action=request.action,
            operator=request.operator.name,
            host=request.operator.host,
            process="gateway-1",
            created=NOW + len(self.jobs),
            updated=NOW,
            filter=request.filter.document(),
            why=request.why,
            dry_run=request.dry_run,
            rate=request.rate,
        )
        job = self.jobs[document.id] = FakeJob(document)
        return job

    async def job(self, id_: str) -> JobDocument | None:
        if id_ in self.jobs:
            return self.jobs[id_].document
        return next((each for each in self.elsewhere.values() if each.id == id_), None)

    async def cancel(self, id_: str) -> bool:
        document = await self.job(id_)
        if document is None or document.is_over:
            return False
        if id_ in self.jobs:
            self.jobs[id_].cancel()
        return True

    async def stop(self) -> None:
        self.stopped += 1

    def start_elsewhere(self, queue: str, action: Any) -> JobDocument:
        """A job, or a look, that another process has begun."""
        document = JobDocument(
            id=f"{len(self.elsewhere) + 100:032x}",
            queue=queue,
            action=action,
            operator="bob",
            host="10.0.0.1",
            process="gateway-2",
            created=NOW,
            updated=NOW,
            state="running",
        )
        self.elsewhere[queue] = document
        return document


class WorkbenchTestCase(SynchronousTestCase):
    """The routes, an access file, and operators by their certificates."""

    rules = RULES

    def setUp(self) -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        self.path = Path(self.mktemp())
        self.path.write_text(self.rules, encoding="utf-8")
        self.access_rules = AccessRules(self.path, self.clock)
        self.audited: list[dict[str, Any]] = []
        self.audit_error: OSError | None = None
        audit = refusing(self._audit)
        self.parking = FakeParking(audit)
        self.access = Access(self.access_rules, self.parking.places, audit)
        self.admission = Admission(
            max_in_flight=30, origins=Origins(["https://evil.example"]), access_rules=None, metrics=self.metrics
        )
        parking: Any = self.parking
        self.workbench = Workbench(
            parking,
            self.access,
            self.admission,
            metrics=self.metrics,
            clock=self.clock,
            wall_clock=lambda: NOW,
        )
        self.finished: list[Any] = []
        self.site = GatewaySite(
            App().resource(beside=self.workbench.resource_for),
            self.clock,
            Limits(max_body_bytes=2_000_000),
            self.finished.append,
            wall_clock=lambda: NOW,
        )

    def _audit(self, line: Any) -> None:
        if self.audit_error is not None:
            raise self.audit_error
        self.audited.append(dict(line))

    def client(self, who: str | None = "ann") -> Client:
        """A client with the certificate of somebody; None for one without a certificate."""
        client = Client(self.site)
        client.protocol.identity = None if who is None else Identity((who,), NOW + 1000)
        return client

    def ask(self, path: str, *headers: str, who: str | None = "ann", method: str = "GET") -> Response:
        """The response to a request without a body."""
        client = self.client(who)
        client.request(method, path, b"", *headers)
        return client.response()

    def send(self, path: str, body: Any, *headers: str, who: str = "ann") -> Client:
        """A client that has posted a body: a document, or bytes."""
        client = self.client(who)
        client.post(path, body if isinstance(body, bytes) else json.dumps(body).encode(), *headers)
        return client

    def post(self, path: str, body: Any, *headers: str, who: str = "ann") -> Response:
        """The response to a body."""
        return self.send(path, body, *headers, who=who).response()

    def document(self, response: Response, status: int = 200) -> Any:
        """The JSON document of a response."""
        self.assertEqual((response.status, response.headers["content-type"]), (status, "application/json"), response)
        return json.loads(response.body)

    def assert_problem(self, response: Response, status: int, problem: str) -> str:
        """Check that a response is a problem document; returns its detail."""
        self.assertEqual(response.status, status, response)
        self.assertEqual(response.problem["type"], f"urn:provider-gateway:problem:{problem}")
        detail: str = response.problem["detail"]
        return detail
