"""Parking queues in memory, for the routes: looks wait, and jobs go on, when the test wants it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed

from provider_gateway.config.queue_file import QueueEntry
from provider_gateway.parking.errors import NoSuchMessage
from provider_gateway.parking.jobs import JobDocument
from provider_gateway.parking.looks import Group, Look
from provider_gateway.parking.parked_message import ParkedMessage
from provider_gateway.parking.places import places_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider_gateway.parking.filters import Filter
    from provider_gateway.parking.jobs import JobRequest
    from provider_gateway.parking.operators import Operator

NOW = 1_800_000_000.0
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
        if self.document.state != "counting":
            return succeed(self.document)
        self._counted.append(Deferred())
        return self._counted[-1]

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
            if not waiting.called:
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
