"""Request and reply over AMQP: matches replies to the waiting requests of this instance by correlation id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from provider_gateway.deadlines import Deadlines
from provider_gateway.errors import DeadlinePassed, GatewayError, OutcomeUnknown
from provider_gateway.message.ids import rquid_of
from provider_gateway.message.message import PG_WAITED, Message
from provider_gateway.recent import Recent

#: Ended calls to remember, so that a late reply can be told from an unknown one.
_REMEMBERED = 10_000

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from provider_gateway.amqp.consumer import Delivery
    from provider_gateway.amqp.publisher import Publisher
    from provider_gateway.gateway.expected_wait import ExpectedWait, ExpectedWaits
    from provider_gateway.observability.metrics import Metrics


class _Call(Deferred[Message]):
    """Fires with the reply. Knows its correlation id, which its cancellation needs, and when it began."""

    correlation_id = ""
    expected: ExpectedWait
    began: float
    #: Fires when the message is confirmed, or cannot be. None if that is of no interest.
    published: Deferred[None] | None = None


class _GivenUp(NamedTuple):
    """What is remembered of a call that was given up, at a time of the clock."""

    at: float
    expected: ExpectedWait
    began: float


class RPCClient:
    """Publishes request messages and waits for their replies.

    Args:
        reply_queue: the reply queue of this instance.
        reply_timeout: seconds that a call waits for its reply.
        clock: times the deadlines.
        expected_waits: is told of each call, and of each reply.
        on_late: takes the replies for which no call waits, and acknowledges them; None if they are dropped.
        on_lost: called with message, exchange and routing key if the broker may or may not have the message; None if
            nothing is to be done about that.
        on_outcome: called when the outcome of a publish is known whose call was given up before: with the correlation
            id, and None if the broker has the message, or the error if not.
    """

    _log = Logger()

    def __init__(
        self,
        publisher: Publisher,
        reply_queue: str,
        *,
        reply_timeout: float,
        clock: IReactorTime,
        expected_waits: ExpectedWaits,
        metrics: Metrics,
        on_late: Callable[[Delivery], object] | None = None,
        on_lost: Callable[[Message, str, str], object] | None = None,
        on_outcome: Callable[[str, GatewayError | None], object] = lambda _id, _error: None,
    ) -> None:
        self.reply_queue = reply_queue
        self._on_late = on_late
        self._on_lost = on_lost
        self._on_outcome = on_outcome
        self._publisher = publisher
        self._reply_timeout = reply_timeout
        self._clock = clock
        self._expected_waits = expected_waits
        self._deadlines: Deadlines[str] = Deadlines(clock, reply_timeout, self._expire)
        self._replies = metrics.replies
        self._matched = metrics.replies.labels("matched")
        self._pending: dict[str, _Call] = {}
        #: Bound once for all calls: each bound method takes 64 bytes.
        self._on_cancel = self._leave
        self._given_up = Recent(_REMEMBERED)
        #: Those of them whose reply has not come.
        self._unanswered: dict[str, _GivenUp] = {}
        #: Those whose messages the broker has not confirmed. Not known without ``on_lost``.
        self._unconfirmed: set[str] = set()

    def call(self, message: Message, exchange: str, routing_key: str) -> Deferred[Message]:
        """Publish a request message, and keep nothing of it but its correlation id once it is confirmed.

        The reply implies the confirm, so the confirm is not waited for. A return, a nack or a lost connection ends the
        call if it comes before the reply.

        Args:
            message: its ``correlation_id`` is unique, its ``reply_to`` is :attr:`reply_queue`.

        Returns:
            A Deferred that fires with the reply. Cancel it when the caller has left: the call is forgotten, the publish
            goes on. It fails with :class:`DeadlinePassed` if there is no reply in time, and with the
            :class:`GatewayError` of :meth:`Publisher.publish` if the publish fails.
        """
        correlation_id = message.correlation_id
        assert correlation_id is not None
        call = self._pending[correlation_id] = _Call(self._on_cancel)
        call.correlation_id = correlation_id
        call.expected = self._expected_waits.of(routing_key)
        call.began = call.expected.begin()
        self._deadlines.start(correlation_id)
        # Held until the confirm.
        sent = (message, exchange, routing_key) if self._on_lost is not None else None
        published = self._publisher.publish(message, exchange, routing_key)
        published.addErrback(self._not_published, correlation_id, sent)
        if sent is not None:
            call.published = published
        return call

    def is_awaited(self, correlation_id: str) -> bool | None:
        """True while the caller of this request waits, False once it has given up, None for a request of others.

        A caller gives up when it leaves, or when the reply timeout is over.
        """
        if correlation_id in self._pending:
            return True
        return False if correlation_id in self._given_up else None

    def is_confirmed(self, correlation_id: str) -> bool:
        """False if a call was given up before the broker had confirmed its message, and it still has not.

        If the publish has failed, it is False in the turn in which the call ended.
        """
        return correlation_id not in self._unconfirmed

    def deliver(self, delivery: Delivery) -> None:
        """Hand a delivery of the reply queue to its call, or count it as late or unknown; acknowledge it.

        A late or unknown reply may be one to keep.
        """
        correlation_id = delivery.message.correlation_id or ""
        waiting = self._end(correlation_id)
        if waiting is not None:
            self._matched.inc()
            waiting.expected.answer(waiting.began, delivery.message.headers.get(PG_WAITED))
            waiting.callback(delivery.message)
            # The caller has its answer, and nobody else consumes this queue.
            delivery.ack(is_urgent=False)
            return
        kind = "late" if correlation_id in self._given_up else "unknown"
        given_up = self._unanswered.pop(correlation_id, None)
        if given_up is not None:
            waited = delivery.message.headers.get(PG_WAITED)
            given_up.expected.answer(given_up.began, waited, is_late=True)
        self._replies.labels(kind).inc()
        if self._on_late is not None:
            self._on_late(delivery)
            return
        self._log.info(
            "{kind} reply dropped",
            kind=kind,
            rquid=rquid_of(delivery.message.headers),
            correlation_id=correlation_id,
        )
        delivery.ack()

    def abandon(self) -> None:
        """Fail every call that still waits with :class:`OutcomeUnknown`: the process stops."""
        for waiting in list(self._pending.values()):
            self._leave(waiting)
            waiting.errback(OutcomeUnknown("This instance is stopping; the request may still be executed."))

    def expects_replies(self, seconds: float) -> bool:
        """True if a call was given up in the last ``seconds``, and its reply has not come."""
        last = next(reversed(self._unanswered.values()), None)
        return last is not None and self._clock.seconds() - last.at < seconds

    def _give_up(self, call: _Call) -> None:
        self._given_up.add(call.correlation_id)
        self._unanswered[call.correlation_id] = _GivenUp(self._clock.seconds(), call.expected, call.began)
        if len(self._unanswered) > _REMEMBERED:
            del self._unanswered[next(iter(self._unanswered))]
        if call.published is not None and not call.published.called:
            self._unconfirmed.add(call.correlation_id)
            call.published.addCallback(self._confirmed, call.correlation_id)

    def _end(self, correlation_id: str) -> _Call | None:
        """Forget a call and return it; None if it has ended already."""
        waiting = self._pending.pop(correlation_id, None)
        if waiting is not None:
            self._deadlines.stop(correlation_id)
        return waiting

    def _leave(self, waiting: Any) -> None:
        """Forget a call, and remember that a reply which still comes is late."""
        if self._end(waiting.correlation_id) is not None:
            waiting.expected.end()
        self._give_up(waiting)

    def _expire(self, correlation_id: str) -> None:
        waiting = self._pending.pop(correlation_id)
        waiting.expected.expire(waiting.began)
        self._give_up(waiting)
        msg = (
            f"No reply within {self._reply_timeout:g} s. The request may have been executed or may still be: "
            "repeat it only if running it twice does no harm."
        )
        waiting.errback(DeadlinePassed(msg))

    def _confirmed(self, _: object, correlation_id: str) -> None:
        if correlation_id in self._unconfirmed:
            self._unconfirmed.remove(correlation_id)
            self._on_outcome(correlation_id, None)

    def _not_published(self, failure: Failure, correlation_id: str, sent: tuple[Message, str, str] | None) -> None:
        if isinstance(failure.value, OutcomeUnknown) and failure.value.was_read:
            return  # only the confirm is missing, which is not waited for
        waiting = self._end(correlation_id)
        if waiting is not None:
            if failure.check(OutcomeUnknown):
                waiting.expected.end()
                self._give_up(waiting)  # the broker may have accepted the message: a reply may come
                self._unconfirmed.add(correlation_id)
            else:
                waiting.expected.take_back()
            waiting.errback(failure)
        # Last: the call's record is being made now.
        is_told = correlation_id in self._unconfirmed
        self._unconfirmed.discard(correlation_id)
        if sent is not None and self._on_lost is not None and failure.check(OutcomeUnknown):
            self._on_lost(*sent)
        elif is_told and isinstance(failure.value, GatewayError):
            self._on_outcome(correlation_id, failure.value)
