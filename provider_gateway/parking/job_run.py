"""Runs one job: it finds the messages that match, and then acts on exactly these."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from provider_gateway.deferreds import Waiters, sleep
from provider_gateway.errors import GatewayError
from provider_gateway.parking.collecting import Collecting
from provider_gateway.parking.deliveries import InUse
from provider_gateway.parking.errors import CountChanged, ParkingUnusable
from provider_gateway.parking.jobs import fresh_document
from provider_gateway.parking.operators import audit_line
from provider_gateway.parking.reader import MAX_WINDOW
from provider_gateway.parking.reading import message_of
from provider_gateway.parking.sending import Sending

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from provider_gateway.amqp.message_channel import Content
    from provider_gateway.observability.metrics import Metrics
    from provider_gateway.parking.connecting import Connecting
    from provider_gateway.parking.desk import Desk
    from provider_gateway.parking.holding import Holding
    from provider_gateway.parking.jobs import JobDocument, JobRequest, State
    from provider_gateway.parking.operators import Audit
    from provider_gateway.parking.parked_message import ParkedMessage
    from provider_gateway.parking.places import ParkingPlace

#: Messages between two reports.
_TOLD_EVERY = 500
#: Seconds for which a job holds messages at most, before it lets go of them and goes on: the broker closes a channel
#: that settles nothing for long (``consumer_timeout``, 30 minutes; 10 with some).
_HOLD = 300.0
#: Seconds of work in a window, at the rate that was asked for: a cancel is to be seen soon.
_WINDOW_SECONDS = 1.0
#: Seconds that a job which is late catches up.
_CATCHES_UP = 0.1
#: Seconds within which a cancel is seen.
_CANCELED_WITHIN = 0.5
#: Messages in a row that are not taken, after which a job ends: the others would not be taken, either.
_GIVES_UP = 20


class Job:
    """A job that runs in this process, or has run.

    Args:
        place: where.
        desk: lets it begin.
        connecting: opens the connection to publish on.
        reply_prefix: see :func:`.copy_of`.

    Attributes:
        request: what is wanted.
        document: how far it is.
    """

    _log = Logger()

    def __init__(
        self,
        request: JobRequest,
        place: ParkingPlace,
        *,
        desk: Desk,
        connecting: Connecting,
        audit: Audit,
        metrics: Metrics,
        reply_prefix: str,
    ) -> None:
        self.request = request
        self._place = place
        self._desk = desk
        self._connecting = connecting
        self._audit = audit
        self._metrics = metrics
        self._reply_prefix = reply_prefix
        self.document = fresh_document(
            request.action,
            request.queue,
            request.operator,
            process=desk.process,
            now=desk.wall_clock(),
            filter=request.filter.shown(),
            why=request.why,
            dry_run=request.dry_run,
            rate=request.rate,
        )
        self._held: Holding | None = None
        self._is_canceled = False
        self._watching: list[Callable[[JobDocument], object]] = []
        self._counted: Waiters[None] = Waiters()
        self._over: Waiters[JobDocument] = Waiters()
        self._error: GatewayError | None = None
        #: Ids that are still to be acted on, with how many messages have each.
        self._wanted: dict[str, int] = {}
        self._failures_in_row = 0
        self._next_at = 0.0

    def counted(self) -> Deferred[JobDocument]:
        """A Deferred that fires when the messages are counted; with a dry run, all is over then.

        It fails with the error of a job that ended before anything was done: :class:`.CountChanged`,
        :class:`.ParkingBusy`, :class:`.ParkingUnusable`, :class:`.BrokerUnavailable`.
        """
        return Deferred.fromCoroutine(self._until_counted())

    async def _until_counted(self) -> JobDocument:
        if self.document.state == "counting":
            await self._counted.wait()
        if self._error is not None and not self.document.done:
            raise self._error
        return self.document

    def when_over(self) -> Deferred[JobDocument]:
        """A Deferred that fires with the last document when the job is over, in whatever way."""
        return succeed(self.document) if self.document.is_over else self._over.wait()

    def watch(self, on_change: Callable[[JobDocument], object]) -> Callable[[], None]:
        """Have a function called with each new document; returns a function that ends it."""
        self._watching.append(on_change)
        return lambda: self._watching.remove(on_change) if on_change in self._watching else None

    def cancel(self) -> None:
        """End the job as soon as what is in flight is settled. What was not acted on stays parked."""
        self._is_canceled = True
        if self._held is not None:
            self._held.cancel()

    async def run(self) -> None:
        """Do it all. Whatever happens, the document says it in the end."""
        try:
            async with self._desk.at(self._place, self.document, self._changed) as held:
                self._held = held
                if self._is_canceled:
                    held.cancel()
                await self._find(held)
                if not self.request.dry_run:
                    await self._act(held)
                state: State = "canceled" if held.is_canceled and self._wanted else "done"
                is_over = state == "done" and not self.request.dry_run
                missing = sum(self._wanted.values()) if is_over else 0
                held.tell(state=state, finished=self._desk.wall_clock(), missing=missing)
        except GatewayError as error:
            self._error = error
            self._fail(error.detail)
        except InUse:
            self._fail("Another program consumes the parking queue now. What was not settled is parked as before.")
        except OSError as error:
            self._fail(f"The audit log cannot be written: {error.strerror or error}. Nothing is done without it.")
        except Exception as error:  # noqa: BLE001 - whatever breaks, the job is over and says so
            self._fail(f"{type(error).__name__}: {error}")
            self._log.failure("A job on {queue} broke", Failure(error), queue=self.request.queue)
        finally:
            self._wanted, self._held = {}, None  # the job is kept, and 100,000 ids take 15 MB
            self._counted.fire(None)
            self._over.fire(self.document)

    def _fail(self, error: str) -> None:
        state: State = "canceled" if self._is_canceled and not error else "failed"
        now = self._desk.wall_clock()
        self._changed(replace(self.document, state=state, error=error, updated=now, finished=now))

    def _changed(self, document: JobDocument) -> None:
        self.document = document
        for each in list(self._watching):
            each(document)

    async def _find(self, held: Holding) -> None:
        """Find the messages that match.

        Raises:
            CountChanged: their number is another one than expected.
        """
        request = self.request
        reader = await held.open_reader()
        collecting = Collecting(self._place, request.filter)
        skipped = 0
        while (
            not held.is_canceled
            and not collecting.is_full
            and (content := reader.at_hand() or await reader.next()) is not None
        ):
            message = collecting.add(content)
            if message is None:
                continue
            if request.action == "replay" and not request.force and message.replays >= self._place.max_replays:
                skipped += 1
            else:
                self._wanted[message.id] = self._wanted.get(message.id, 0) + 1
            if collecting.matching % _TOLD_EVERY == 0:
                held.tell(total=collecting.matching)
        expected = request.expected_count
        if expected is not None and expected != collecting.matching and not held.is_canceled:
            raise CountChanged.of(expected, collecting.matching)
        total = sum(self._wanted.values())
        held.tell(state="running", total=total, skipped=skipped, done=total if request.dry_run else 0)
        self._counted.fire(None)

    async def _act(self, held: Holding) -> None:
        """Go through the queue again, as often as that takes, and act on what was found."""
        if self.request.action == "drop":
            while await self._goes_on(held, self._drop):
                pass
            return
        session = await self._connecting.open()
        try:
            sending = Sending(
                session,
                self._place,
                reply_prefix=self._reply_prefix,
                on_outcome=self._sent,
                clock=self._desk.clock,
                metrics=self._metrics,
            )
            await sending.open()
            try:
                while await self._goes_on(held, sending.send):
                    await sending.finish()
            finally:
                # What is under way is settled, whatever has happened.
                try:
                    await sending.finish()
                finally:
                    sending.close()
        finally:
            await session.close()

    async def _goes_on(self, held: Holding, act: Callable[[Content, ParkedMessage], Awaitable[None]]) -> bool:
        """Go through the queue, and act on the messages that are wanted. Returns True if time was up before the end."""
        rate = self.request.rate
        window = MAX_WINDOW if rate is None else max(1, min(MAX_WINDOW, int(rate * _WINDOW_SECONDS)))
        reader = await held.open_reader(window)
        clock = self._desk.clock
        until = clock.seconds() + _HOLD
        while (
            self._wanted and not held.is_canceled and (content := reader.at_hand() or await reader.next()) is not None
        ):
            message = message_of(reader.seen - 1, content.routing_key, content.properties, content.body)
            if message.id in self._wanted:
                if rate is not None:
                    await self._until_its_turn(held, rate)
                    if held.is_canceled:
                        break
                self._wanted[message.id] -= 1
                if not self._wanted[message.id]:
                    del self._wanted[message.id]
                await act(content, message)
                if self._failures_in_row >= _GIVES_UP:
                    msg = f"{_GIVES_UP} messages in a row were not taken. The last time: {self.document.error}"
                    raise ParkingUnusable(msg)
            if clock.seconds() >= until:
                return True
        return False

    async def _until_its_turn(self, held: Holding, rate: float) -> None:
        clock = self._desk.clock
        self._next_at = self._next_at or clock.seconds()
        while (left := self._next_at - clock.seconds()) > 0 and not held.is_canceled:
            await sleep(clock, min(left, _CANCELED_WITHIN))
        self._next_at = max(self._next_at, clock.seconds() - _CATCHES_UP) + 1 / rate

    async def _drop(self, content: Content, message: ParkedMessage) -> None:
        self._write_audit("dropped", message)
        self._settle(content)

    def _sent(self, content: Content, message: ParkedMessage, error: GatewayError | None) -> None:
        """A message was sent, or was not taken."""
        if error is not None:
            self._failures_in_row += 1
            self._tell(failed=self.document.failed + 1, error=error.detail)
            return
        self._failures_in_row = 0
        try:
            self._write_audit("replayed", message)
        finally:
            self._settle(content)

    def _settle(self, content: Content) -> None:
        assert self._held is not None
        assert self._held.reader is not None
        # If the channel is gone, the message stays, and reading it says why.
        if self._held.reader.ack(content):
            self._tell(done=self.document.done + 1)

    def _write_audit(self, event: str, message: ParkedMessage) -> None:
        request = self.request
        self._audit(audit_line(event, request.queue, request.operator, message, why=request.why, job=self.document.id))

    def _tell(self, **changes: Any) -> None:
        if self._held is not None:
            self._held.tell(**changes)
