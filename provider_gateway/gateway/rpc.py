"""Request and reply over AMQP: the requests of this instance that wait, matched to replies by correlation id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from provider_gateway.deadlines import Deadlines
from provider_gateway.errors import DeadlinePassed, OutcomeUnknown
from provider_gateway.message.ids import rquid_of
from provider_gateway.recent import Recent

#: Ended calls that are remembered, to tell a late reply from one that was never ours.
_REMEMBERED = 10_000

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from provider_gateway.amqp.consumer import Delivery
    from provider_gateway.amqp.publisher import Publisher
    from provider_gateway.message.message import Message
    from provider_gateway.observability.metrics import Metrics


class _Call(Deferred["Message"]):
    """Fires with the reply to a request."""

    correlation_id = ""


class RPCClient:
    """Publishes requests and hands each its reply.

    Args:
        reply_queue: this instance's own.
        reply_timeout: seconds that a call waits for its reply.
        clock: times the deadlines.
    """

    _log = Logger()

    def __init__(
        self, publisher: Publisher, reply_queue: str, *, reply_timeout: float, clock: IReactorTime, metrics: Metrics
    ) -> None:
        self.reply_queue = reply_queue
        self._publisher = publisher
        self._reply_timeout = reply_timeout
        self._deadlines: Deadlines[str] = Deadlines(clock, reply_timeout, self._expire)
        self._replies = metrics.replies
        self._matched = metrics.replies.labels("matched")
        self._pending: dict[str, _Call] = {}
        #: One for all calls: a bound method has 64 bytes.
        self._on_cancel = self._leave
        self._given_up = Recent(_REMEMBERED)

    def call(self, message: Message, exchange: str, routing_key: str) -> Deferred[Message]:
        """Publish a request; nothing of it is kept but its correlation id.

        The reply implies the confirm, so that is not waited for first; a return, a nack or a lost connection before
        it ends the call.

        Args:
            message: its ``correlation_id`` is unique, its ``reply_to`` is :attr:`reply_queue`.

        Returns:
            A Deferred that fires with the reply. Cancelling it (the caller has left) gives up the place, and lets the
            publish be. Fails with:
            :class:`DeadlinePassed`: no reply in time;
            :class:`GatewayError`: the publish failed, see :meth:`Publisher.publish`.
        """
        correlation_id = message.correlation_id
        assert correlation_id is not None
        call = self._pending[correlation_id] = _Call(self._on_cancel)
        call.correlation_id = correlation_id
        self._deadlines.start(correlation_id)
        self._publisher.publish(message, exchange, routing_key).addErrback(self._not_published, correlation_id)
        return call

    def has_given_up(self, correlation_id: str) -> bool:
        """True if the caller of this request does not wait any more: it has left, or its time is over."""
        return correlation_id in self._given_up

    def deliver(self, delivery: Delivery) -> None:
        """Take a delivery of the reply queue: hand it to its request, or count it as late or unknown."""
        correlation_id = delivery.message.correlation_id or ""
        waiting = self._end(correlation_id)
        if waiting is not None:
            self._matched.inc()
            waiting.callback(delivery.message)
        else:
            kind = "late" if correlation_id in self._given_up else "unknown"
            self._replies.labels(kind).inc()
            self._log.info(
                "{kind} reply dropped",
                kind=kind,
                rquid=rquid_of(delivery.message.headers),
                correlation_id=correlation_id,
            )
        delivery.ack()

    def abandon(self) -> None:
        """End every call that still waits: the process stops."""
        for waiting in list(self._pending.values()):
            self._leave(waiting)
            waiting.errback(OutcomeUnknown("This instance is stopping; the request may still be executed."))

    def _end(self, correlation_id: str) -> _Call | None:
        """Forget a call; None if it has ended before."""
        waiting = self._pending.pop(correlation_id, None)
        if waiting is not None:
            self._deadlines.stop(correlation_id)
        return waiting

    def _leave(self, waiting: Any) -> None:
        """Forget a call whose reply may still come."""
        self._end(waiting.correlation_id)
        self._given_up.add(waiting.correlation_id)

    def _expire(self, correlation_id: str) -> None:
        waiting = self._pending.pop(correlation_id)
        self._given_up.add(correlation_id)
        msg = (
            f"No reply within {self._reply_timeout:g} s. The request may have been executed or may still be: "
            "repeat it only if running it twice does no harm."
        )
        waiting.errback(DeadlinePassed(msg))

    def _not_published(self, failure: Failure, correlation_id: str) -> None:
        waiting = self._end(correlation_id)
        if waiting is not None:
            if failure.check(OutcomeUnknown):
                self._given_up.add(correlation_id)  # it may have been accepted, and be answered
            waiting.errback(failure)
