"""Load over AMQP that continues through faults: an initiator that records the outcome of each request in a ledger."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pika
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import AMQPError, ChannelClosedByBroker, NackError, UnroutableError
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from tests.faults.ledger import Outcome, fresh_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.ledger import Ledger

#: Seconds between attempts to reconnect.
RECONNECT_PAUSE = 0.2
#: Seconds within which an idle consumer notices a stop.
NOTICE = 0.2
#: Bounds for a silent broker: heartbeat, and seconds for connect, handshake and a blocked connection.
_BOUNDS = {"heartbeat": 4, "socket_timeout": 5, "stack_timeout": 5, "blocked_connection_timeout": 30}


def _in_thread(run: Callable[[], None]) -> Deferred[None]:
    """Run a function in its own thread; the Deferred fires when it has ended. The reactor's pool is for short work."""
    ended: Deferred[None] = Deferred()

    def ran() -> None:
        try:
            run()
        except BaseException as error:  # noqa: BLE001 - becomes the Deferred's failure
            reactor.callFromThread(ended.errback, error)
        else:
            reactor.callFromThread(ended.callback, None)

    threading.Thread(target=ran, daemon=True).start()
    return ended


class AMQPInitiator:
    """A program that publishes requests to an exchange and consumes replies from a queue, with blocking pika.

    Publishes are persistent, mandatory and confirmed, one at a time. A publish whose outcome is unknown is never
    repeated. Replies are acknowledged after they are recorded.

    Args:
        reply_queue: declared as durable, with ``reply_arguments``.
        rate: publishes per second.
        names_reply_queue: send the reply queue as ``reply_to``; else it has to be the entry's ``replyTo``.
        properties: further properties of each message; ``headers`` are sent beside RqUID.
        padding: bytes by which each body is larger.
        kind: beginning of the ids.
    """

    def __init__(
        self,
        ledger: Ledger,
        url: str,
        exchange: str,
        routing_key: str,
        reply_queue: str,
        *,
        rate: float = 40,
        names_reply_queue: bool = True,
        reply_arguments: dict[str, Any] | None = None,
        properties: dict[str, Any] | None = None,
        padding: int = 0,
        kind: str = "amqp",
    ) -> None:
        self._ledger = ledger
        self._parameters = pika.URLParameters(url)
        for name, value in _BOUNDS.items():
            setattr(self._parameters, name, value)
        self._exchange = exchange
        self._routing_key = routing_key
        self._reply_queue = reply_queue
        self._reply_arguments = reply_arguments
        self._interval = 1 / rate
        self._reply_to = reply_queue if names_reply_queue else None
        self._properties = properties or {}
        self._padding = {"padding": "x" * padding} if padding else {}
        self._kind = kind
        self._stopping = threading.Event()
        self._closing = threading.Event()
        self._seen: set[tuple[str, str | None]] = set()
        self._consuming: Deferred[None] | None = None

    def consume(self) -> None:
        """Consume replies until :meth:`close`."""
        self._consuming = _in_thread(lambda: self._until(self._closing, self._take_replies))

    def publish(self, count: int | None = None) -> Deferred[None]:
        """Publish this many requests, or until :meth:`stop`; the Deferred fires with the last outcome."""
        self._stopping.clear()
        left = iter(range(count)) if count is not None else iter(int, 1)
        return _in_thread(lambda: self._until(self._stopping, lambda c: self._publish_all(c, left)))

    def stop(self) -> None:
        """Stop publishing; the Deferred of :meth:`publish` fires when the current publish has its outcome."""
        self._stopping.set()

    def close(self) -> Deferred[None] | None:
        """Stop publishing and consuming; the Deferred fires when consuming has ended."""
        self._stopping.set()
        self._closing.set()
        consuming, self._consuming = self._consuming, None
        return consuming

    def _until(self, enough: threading.Event, use: Callable[[Any], bool]) -> None:
        """Open connections one after the other until the work is complete or stopped."""
        complete = False
        while not (complete or enough.is_set()):
            try:
                connection = pika.BlockingConnection(self._parameters)
                try:
                    complete = use(connection)
                finally:
                    if connection.is_open:
                        connection.close()
            except (AMQPError, AMQPConnectorException, OSError):
                enough.wait(RECONNECT_PAUSE)

    def _publish_all(self, connection: Any, left: Any) -> bool:
        channel = connection.channel()
        channel.confirm_delivery()
        for _ in left:
            self._publish_one(channel)
            connection.sleep(self._interval)
            if self._stopping.is_set():
                break
        return True

    def _publish_one(self, channel: Any) -> None:
        request = fresh_id(self._kind)
        properties = {
            "content_type": "application/json",
            "delivery_mode": 2,
            "message_id": request,
            "correlation_id": request,
            "reply_to": self._reply_to,
            **self._properties,
            "headers": {"RqUID": request, **self._properties.get("headers", {})},
        }
        self._ledger.sent(request)
        outcome = Outcome.UNKNOWN
        try:
            channel.basic_publish(
                self._exchange,
                self._routing_key,
                json.dumps({"id": request, **self._padding}).encode(),
                pika.BasicProperties(**properties),
                mandatory=True,
            )
            outcome = Outcome.CONFIRMED
        except (UnroutableError, NackError):
            outcome = Outcome.REFUSED
        except ChannelClosedByBroker as error:
            if error.reply_code == 404:  # the exchange does not exist
                outcome = Outcome.REFUSED
            raise
        finally:
            self._ledger.settled(request, outcome)

    def _take_replies(self, connection: Any) -> bool:
        channel = connection.channel()
        channel.queue_declare(self._reply_queue, durable=True, arguments=self._reply_arguments)
        channel.basic_qos(prefetch_count=100)
        for method, properties, body in channel.consume(self._reply_queue, inactivity_timeout=NOTICE):
            if self._closing.is_set():
                return True
            if method is not None:
                self._record(method, properties, body)
                channel.basic_ack(method.delivery_tag)
        return False  # the queue was deleted

    def _record(self, method: Any, properties: Any, body: bytes) -> None:
        headers = properties.headers or {}
        request, belongs = self._ledger.read(headers, properties.correlation_id, body)
        message = (request, properties.message_id)
        if method.redelivered and message in self._seen:
            return  # our acknowledgement was lost: this is not a second reply
        self._seen.add(message)
        self._ledger.replied(request, headers.get("pg-status", 200), belongs=belongs)
