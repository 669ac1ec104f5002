"""The consuming side of one channel: consumers, prefetch, and the deliveries that wait for their acknowledgement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pika import spec

from provider_gateway.devbroker.message import wire
from provider_gateway.devbroker.refusals import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from provider_gateway.devbroker.message import ExactProperties, Message
    from provider_gateway.devbroker.queue import Entry, Queue


class Unacked(NamedTuple):
    """A delivery that waits for its acknowledgement; ``consumer`` is None after Basic.Get."""

    queue: Queue
    entry: Entry
    consumer: ChannelConsumer | None


class ChannelConsumer:
    """A consumer (provider_gateway.devbroker.queue.Consumer).

    Args:
        prefetch: unacknowledged messages at a time; 0 for any number.

    Attributes:
        unacked: how many it has.
    """

    def __init__(
        self, tag: Any, queue: Queue, deliveries: Deliveries, *, no_ack: bool, exclusive: bool, prefetch: int
    ) -> None:
        self.tag = tag
        self.queue = queue
        self.no_ack = no_ack
        self.exclusive = exclusive
        self._deliveries = deliveries
        self._prefetch = prefetch
        self.unacked = 0

    def can_take(self) -> bool:
        """True if it takes a message now."""
        has_room = not self._prefetch or self.unacked < self._prefetch
        return self.no_ack or (has_room and self._deliveries.has_room)

    def take(self, entry: Entry) -> None:
        """Take a message."""
        self._deliveries.deliver(self, entry)

    def queue_deleted(self) -> None:
        """Learn that there will be no more."""
        self._deliveries.lose(self)


class Deliveries:
    """Consumers and deliveries of one channel.

    Args:
        send: sends a method on the channel, with a message if there is one.
        on_lost: is told the tag of a consumer whose queue was deleted.

    Attributes:
        prefetch: of the consumers that come next.
        limit: unacknowledged deliveries of all consumers of the channel together; 0 for any number.
    """

    def __init__(self, send: Callable[..., None], on_lost: Callable[[Any], None]) -> None:
        self._send = send
        self._on_lost = on_lost
        self.prefetch = 0
        self.limit = 0
        self._last = 0
        self._unacked: dict[int, Unacked] = {}
        self._consumers: dict[Any, ChannelConsumer] = {}

    @property
    def has_room(self) -> bool:
        """True if the channel's own limit allows another delivery."""
        return not self.limit or sum(each.unacked for each in self._consumers.values()) < self.limit

    def consume(self, tag: Any, queue: Queue, *, no_ack: bool, exclusive: bool) -> None:
        """Add a consumer; deliveries to it may begin at once."""
        consumer = ChannelConsumer(tag, queue, self, no_ack=no_ack, exclusive=exclusive, prefetch=self.prefetch)
        self._consumers[tag] = consumer
        queue.add(consumer)

    def has_consumer(self, tag: Any) -> bool:
        """True if there is a consumer with this tag."""
        return tag in self._consumers

    def cancel(self, tag: Any) -> None:
        """End a consumer; it may be gone already."""
        consumer = self._consumers.pop(tag, None)
        if consumer is not None:
            consumer.queue.remove(consumer)

    def lose(self, consumer: ChannelConsumer) -> None:
        """A queue was deleted under its consumer."""
        if self._consumers.pop(consumer.tag, None) is not None:
            self._on_lost(consumer.tag)

    def deliver(self, consumer: ChannelConsumer, entry: Entry) -> None:
        """Send a message to a consumer."""
        queue, message, redelivered = consumer.queue, entry.message, entry.redelivered
        tag = self._register(queue, entry, consumer, no_ack=consumer.no_ack)
        method = spec.Basic.Deliver(consumer.tag, tag, redelivered, wire(message.exchange), wire(message.routing_key))
        self._send(method, message, _counted(queue, entry) if entry.returns else message.properties)

    def get(self, queue: Queue, *, no_ack: bool) -> None:
        """Answer Basic.Get."""
        entry = queue.get()
        if entry is None:
            self._send(spec.Basic.GetEmpty())
            return
        message, tag = entry.message, self._register(queue, entry, None, no_ack=no_ack)
        exchange, key = wire(message.exchange), wire(message.routing_key)
        method = spec.Basic.GetOk(tag, entry.redelivered, exchange, key, len(queue))
        self._send(method, message, _counted(queue, entry))

    def _register(self, queue: Queue, entry: Entry, consumer: ChannelConsumer | None, *, no_ack: bool) -> int:
        self._last += 1
        if not no_ack:
            self._unacked[self._last] = Unacked(queue, entry, consumer)
            if consumer is not None:
                consumer.unacked += 1
        return self._last

    def take(self, tag: int, *, multiple: bool) -> list[Unacked]:
        """Take deliveries that are acknowledged, one way or the other.

        Args:
            tag: 0 with ``multiple`` means all.

        Raises:
            Refused: the tag is unknown (406).
        """
        if tag not in self._unacked and not (multiple and tag == 0):
            raise Refused(406, f"unknown delivery tag {tag}")
        tags = [each for each in self._unacked if not tag or each <= tag] if multiple else [tag]
        taken = [self._unacked.pop(each) for each in tags]
        for each in taken:
            if each.consumer is not None:
                each.consumer.unacked -= 1
        return taken

    @staticmethod
    def requeue(taken: Iterable[Unacked], *, orphaned: bool = False) -> None:
        """Put deliveries back into their queues, see :meth:`Queue.requeue`."""
        entries: dict[Queue, list[Entry]] = {}
        for each in taken:
            entries.setdefault(each.queue, []).append(each.entry)
        for queue, those in entries.items():
            queue.requeue(those, orphaned=orphaned)

    @staticmethod
    def reject(taken: Iterable[Unacked]) -> None:
        """Give deliveries up; their queues dead-letter them."""
        for each in taken:
            each.queue.reject(each.entry)

    def resume(self) -> None:
        """Deliver again, as there may be room."""
        for queue in {each.queue: None for each in list(self._consumers.values())}:
            queue.deliver()

    def close(self) -> None:
        """End with the channel: consumers go, and deliveries go back."""
        taken = self.take(0, multiple=True)
        for tag in list(self._consumers):
            self.cancel(tag)
        self.requeue(taken, orphaned=True)


def _counted(queue: Queue, entry: Entry) -> ExactProperties:
    """The properties of a delivery, with the count that quorum queues add."""
    message: Message = entry.message
    if not queue.arguments.is_quorum:
        return message.properties
    return message.properties.with_headers({"x-delivery-count": entry.returns}, message.properties.expiration)
