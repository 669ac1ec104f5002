"""Parking queues in memory, and a command's output, for tests of the commands."""

from __future__ import annotations

import sys
from dataclasses import replace
from io import BytesIO, StringIO, TextIOWrapper
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.commands.opening import Files
from provider_gateway.commands.options import Wanted
from provider_gateway.config.queue_file import parse_queues
from provider_gateway.parking.errors import NoSuchMessage
from provider_gateway.parking.filters import Filter
from provider_gateway.parking.jobs import JobDocument, JobRequest
from provider_gateway.parking.looks import Group, Look, Progress
from provider_gateway.parking.parked_message import ParkedMessage
from provider_gateway.parking.places import places_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

NOW = 1_800_000_000.0
#: What a message may hold to fool a terminal, or whoever reads it.
HOSTILE = "\x1b[2J\x1b]0;owned\x07\r\n\u202eevil\x9b31m\x08\u2028"
QUEUES = """
- {topic: T, queueName: fib, bindingKey: fib}
- {topic: T, queueName: other, bindingKey: other}
"""


def parked(number: int = 1, **fields: Any) -> ParkedMessage:
    """A parked message, with an id that is made of its number."""
    values: dict[str, Any] = {
        "id": f"{number:032x}",
        "position": number,
        "reason": "timeout",
        "owner": "fib",
        "parked_at": NOW - 7500,
        "rquid": f"rq-{number}",
        "message_id": None,
        "correlation_id": None,
        "reply_to": None,
        "identity": None,
        "routing_key": "predict.now",
        "attempts": 5,
        "redeliveries": 0,
        "replays": 0,
        "model_status": None,
        "model_error": "",
        "content_type": "application/json",
        "content_encoding": None,
        "size": 2,
        "headers": {},
        "head": b"{}",
    }
    known = ParkedMessage.__dataclass_fields__
    return ParkedMessage(
        **{name: value for name, value in ({"owner": "fib"} | values | fields).items() if name in known}
    )


class Reactor(Clock):
    """A clock with a pool of threads that runs everything at once."""

    def getThreadPool(self) -> Reactor:  # noqa: N802 - Twisted's name
        return self

    def callFromThread(self, call: Callable[..., object], *arguments: Any) -> None:  # noqa: N802 - likewise
        call(*arguments)

    def callInThreadWithCallback(  # noqa: N802 - likewise
        self, told: Callable[[bool, Any], object], call: Callable[..., Any], *arguments: Any
    ) -> None:
        try:
            result = call(*arguments)
        except OSError:
            from twisted.python.failure import Failure  # noqa: PLC0415

            told(False, Failure())
        else:
            told(True, result)


class FakeJob:
    """A job that is over when the test says so."""

    def __init__(self, document: JobDocument, error: Exception | None) -> None:
        self.document = document
        self.over: Deferred[JobDocument] = Deferred()
        self._error = error
        self.is_canceled = False

    async def counted(self) -> JobDocument:
        if self._error is not None:
            raise self._error
        return self.document

    def when_over(self) -> Deferred[JobDocument]:
        return self.over

    def watch(self, on_change: Callable[[JobDocument], object]) -> Callable[[], None]:
        on_change(self.document)
        return lambda: None

    def cancel(self) -> None:
        self.is_canceled = True
        self.end(state="canceled", done=1)

    def end(self, **fields: Any) -> None:
        self.over.callback(replace(self.document, **fields))


class FakeParking:
    """The parking queues of :data:`QUEUES`, with these messages in the one of ``fib``."""

    def __init__(self, messages: list[tuple[ParkedMessage, bytes]]) -> None:
        self.places = places_of(parse_queues(QUEUES, "queues.yaml"), webhooks=False)
        self.messages = messages
        self.missing: set[str] = set()
        self.errors: dict[str, Exception] = {}
        self.job_error: Exception | None = None
        self.looked_at: int | None = None
        self.started: list[JobRequest] = []
        self.jobs: list[FakeJob] = []
        #: What jobs end with at once; None to have the test end them.
        self.outcome: dict[str, Any] | None = {"state": "done"}

    async def counts(self) -> dict[str, int | None]:
        counts = {name: len(self.messages) if name == "fib" else 0 for name in self.places}
        return {name: None if name in self.missing else count for name, count in counts.items()}

    async def at_work(self) -> dict[str, JobDocument]:
        return {}

    async def look(
        self,
        queue: str,
        filter_: Filter,
        *,
        limit: int = 100,
        on_message: Any = None,
        on_progress: Any = None,
        **_more: Any,
    ) -> Look:
        if queue in self.errors:
            raise self.errors[queue]
        seen, found = 0, []
        for each, body in self.messages:
            if filter_.limit is not None and len(found) >= filter_.limit:
                break
            seen += 1
            if filter_.matches(each, body):
                found.append((each, body))
        for each, body in found:
            if on_message is not None:
                waits = on_message(each, body)
                if waits is not None:
                    await waits
        on_progress(Progress(len(self.messages), len(self.messages), len(found)))
        groups = []
        for reason in sorted({each.reason for each, _ in found}):
            times = [each.parked_at for each, _ in found if each.reason == reason and each.parked_at is not None]
            count = sum(each.reason == reason for each, _ in found)
            groups.append(Group(reason=reason, count=count, oldest=min(times), newest=max(times), bytes=2 * count))
        return Look(
            queue=queue,
            parking=self.places[queue].parking.name,
            total=len(self.messages),
            looked_at=seen if self.looked_at is None else self.looked_at,
            others=0,
            matching=len(found),
            groups=tuple(groups),
            messages=tuple(each for each, _ in found[:limit]),
            next=None,
            at=NOW,
        )

    async def export(self, queue: str, filter_: Filter, on_message: Any, **more: Any) -> Look:
        more.pop("why")
        return await self.look(queue, filter_, limit=0, on_message=on_message, **more)

    async def show(self, queue: str, id_: str, **_more: Any) -> tuple[ParkedMessage, bytes]:
        found = next(((each, body) for each, body in self.messages if each.id == id_), None)
        if found is None:
            msg = f"{queue}: no message {id_}"
            raise NoSuchMessage(msg)
        return found

    def start(self, request: JobRequest) -> FakeJob:
        self.started.append(request)
        document = JobDocument(
            id="j1", queue=request.queue, action=request.action, operator="o", host="h", process="p",
            created=NOW, updated=NOW, total=len(self.messages), dry_run=request.dry_run,
        )  # fmt: skip
        job = FakeJob(document, self.job_error)
        self.jobs.append(job)
        if self.outcome is not None:
            job.end(**self.outcome)
        return job


class _Output(TextIOWrapper):
    """Text that was written; also by its ``buffer``."""

    def text(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode()  # type: ignore[attr-defined]


class CommandTestCase(SynchronousTestCase):
    """``self.parking`` has the messages of :meth:`messages`; output and errors are kept."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.parking: Any = FakeParking(self.messages())
        self.out, self.err = _Output(BytesIO(), "utf-8"), _Output(BytesIO(), "utf-8")
        self.patch(sys, "stdout", self.out)
        self.patch(sys, "stderr", self.err)
        self.patch(sys, "stdin", StringIO())

    def messages(self) -> list[tuple[ParkedMessage, bytes]]:
        """The messages in the parking queue of ``fib``."""
        return [(parked(1), b'{"a":1}'), (parked(2, reason="status", model_status=500), b"{}"), (parked(3), b"\xff\0")]

    def wanted(self, queue: str | None = "fib", *, plain: bool = False, **conditions: Any) -> Wanted:
        """What the user asks for."""
        return Wanted(Files(None, None), queue, Filter(**conditions), plain, lambda: NOW)

    def assert_safe(self, text: str) -> None:
        """Check that a terminal shows a text as it is."""
        for line in text.split("\n"):
            self.assertTrue(line.isprintable(), ascii(line))

    def result_of(self, work: Coroutine[Any, Any, Any]) -> Any:
        """The result of work that has ended."""
        return self.successResultOf(Deferred.fromCoroutine(work))

    def error_of(self, work: Coroutine[Any, Any, Any], kind: type[Exception]) -> Any:
        """The error of work that has failed with one of this kind."""
        return self.failureResultOf(Deferred.fromCoroutine(work), kind).value
