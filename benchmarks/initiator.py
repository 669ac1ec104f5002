"""The AMQP load generator: publishes requests by the hundred thousand, with confirms, and counts their replies."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pika import frame, spec

from benchmarks.amqp_wire import CHANNEL, Wire
from benchmarks.bodies import BODY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EXCHANGE = "ML.MQ"
#: Queue for the replies that this program counts.
REPLIES = "bench.replies"
#: Frames written at a time.
_BATCH = 100
#: Publishes that may be unconfirmed.
_UNCONFIRMED = 5000


@contextmanager
def emptied(port: int, queue: str) -> Iterator[None]:
    """At the end, wait until a queue's consumer is gone and its deliveries in work are back, and purge the queue."""
    yield
    wire = Wire(port)
    while wire.call(spec.Queue.Declare(queue=queue, passive=True)).consumer_count:
        time.sleep(0.1)
    wire.call(spec.Queue.Purge(queue=queue))
    wire.close()


class Initiator:
    """One connection that publishes requests, and takes their replies from its own queue.

    Args:
        port: the broker's port on loopback, without TLS.
    """

    def __init__(self, port: int) -> None:
        self.wire = Wire(port)
        self.published = 0
        self.wire.call(spec.Queue.Declare(queue=REPLIES, durable=True))
        self.wire.call(spec.Queue.Purge(queue=REPLIES))
        self.wire.call(spec.Basic.Consume(queue=REPLIES, no_ack=True))

    def __enter__(self) -> Initiator:
        return self

    def __exit__(self, *_: object) -> None:
        self.wire.close()

    @property
    def answered(self) -> int:
        """Replies so far."""
        return self.wire.delivered

    def ask(self, routing_key: str, count: int, window: int) -> None:
        """Publish requests, at most ``window`` of them without a reply, and wait for all replies and confirms."""
        make = self._message(routing_key)
        end = self.published + count
        while self.answered < end or self.wire.confirmed < end:
            room = min(window - (self.published - self.answered), end - self.published)
            # A few large writes instead of one for each reply.
            if room >= min(_BATCH, window // 2) or 0 < room == end - self.published:
                self._publish(make, room)
            self.wire.receive()

    def fill(self, routing_key: str, count: int) -> None:
        """Publish requests that no consumer serves yet, and wait for all confirms."""
        make = self._message(routing_key)
        end = self.published + count
        while self.wire.confirmed < end:
            room = min(_UNCONFIRMED - (self.published - self.wire.confirmed), end - self.published)
            if room >= _BATCH or 0 < room == end - self.published:
                self._publish(make, room)
            self.wire.receive()

    def wait_for(self, answered: int) -> None:
        """Wait until at least ``answered`` replies have arrived; several may arrive at a time."""
        while self.answered < answered:
            self.wire.receive()

    def _publish(self, make: Callable[[int], bytes], count: int) -> None:
        self.wire.send(b"".join(make(self.published + number) for number in range(1, count + 1)))
        self.published += count

    @staticmethod
    def _message(routing_key: str) -> Callable[[int], bytes]:
        """A function that makes the frames of a request from its number. A template makes it almost free."""
        mark = f"{7:032}"
        properties = spec.BasicProperties(
            content_type="application/json",
            delivery_mode=2,
            correlation_id=mark,
            message_id=mark,
            reply_to=REPLIES,
        )
        publish = spec.Basic.Publish(exchange=EXCHANGE, routing_key=routing_key, mandatory=True)
        frames = (
            frame.Method(CHANNEL, publish),
            frame.Header(CHANNEL, len(BODY), properties),
            frame.Body(CHANNEL, BODY),
        )
        parts = b"".join(each.marshal() for each in frames).split(mark.encode())
        return lambda number: (b"%032d" % number).join(parts)
