"""The consuming side of one channel: consumers, prefetch and unacknowledged deliveries."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, NamedTuple

from pika import spec
from pika.compat import long

from provider_gateway.devbroker.arguments import type_name
from provider_gateway.devbroker.message import wire
from provider_gateway.devbroker.queue import Consumer
from provider_gateway.devbroker.refusals import Refused, place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from provider_gateway.devbroker.queue import Entry, Queue
    from provider_gateway.devbroker.wire import Client


class Unacked(NamedTuple):
    """An unacknowledged delivery; ``consumer`` is None after Basic.Get."""

    queue: Queue
    entry: Entry
    consumer: Consumer | None


class Deliveries:
    """Consumers and deliveries of one channel.

    Args:
        send: sends a method on the channel, with properties and body if there is a message.
        client: of the channel.
        find_queue: returns the queue that a method names.

    Attributes:
        answers: functions that handle methods, by class of method.
    """

    def __init__(self, send: Callable[..., None], client: Client, find_queue: Callable[[str], Queue]) -> None:
        self._send = send
        self._client = client
        self._find_queue = find_queue
        #: Limits of unacknowledged deliveries: of each new consumer, and of the channel; 0 for none.
        self._prefetch = self._limit = 0
        self._last = 0
        self._unacked: dict[int, Unacked] = {}
        self._consumers: dict[Any, Consumer] = {}
        self.answers: dict[type, Callable[[Any], Any]] = {
            spec.Basic.Qos: self._qos,
            spec.Basic.Consume: self._consume,
            spec.Basic.Cancel: self._cancel,
            spec.Basic.Get: self._get,
            spec.Basic.Ack: self._ack,
            spec.Basic.Nack: self._nack,
            spec.Basic.Reject: self._nack,
            spec.Basic.Recover: self._recover,
            spec.Basic.RecoverAsync: self._recover,
        }

    def resume(self) -> None:
        """Deliver to consumers that may have room again."""
        for queue in {each.queue: None for each in self._consumers.values()}:
            queue.deliver()

    def close(self) -> None:
        """Remove the consumers, and requeue unacknowledged deliveries: the channel is closed."""
        taken = self._take(0, multiple=True)
        consumers, self._consumers = self._consumers, {}
        for each in consumers.values():
            each.queue.remove(each)
        self._requeue(taken, orphaned=True)

    def _qos(self, method: spec.Basic.Qos) -> None:
        if method.prefetch_size:
            raise Refused(540, f"prefetch_size!=0 ({method.prefetch_size})")
        if method.global_qos:
            self._limit = method.prefetch_count
        else:
            self._prefetch = method.prefetch_count
        self._send(spec.Basic.QosOk())
        self.resume()

    def _consume(self, method: spec.Basic.Consume) -> None:
        tag = method.consumer_tag or f"amq.ctag-{secrets.token_urlsafe(16)}"
        if tag in self._consumers:
            raise Refused(530, f"attempt to reuse consumer tag '{tag}'")
        priority = method.arguments.get("x-priority", 0)
        if not isinstance(priority, int):
            where = place("queue", self._find_queue(method.queue).name)
            raise Refused(406, f"invalid arg 'x-priority' for {where}: \"expected integer, got {type_name(priority)}\"")
        wanted = {"x-priority", "x-stream-offset"} & set(method.arguments)
        if method.queue == "amq.rabbitmq.reply-to" or wanted:
            raise Refused(540, ", ".join(sorted(wanted)) or "direct reply-to")
        queue = self._find_queue(method.queue)
        if queue.consumers and (method.exclusive or queue.consumers[0].exclusive):
            raise Refused(403, f"{place('queue', queue.name)} in exclusive use")
        consumer = self._consumers[tag] = Consumer(
            tag,
            queue,
            no_ack=method.no_ack,
            exclusive=method.exclusive,
            prefetch=self._prefetch,
            can_take=self._can_take,
            take=self._deliver,
            lose=self._lose,
        )
        if not method.nowait:
            self._send(spec.Basic.ConsumeOk(tag))
        queue.add(consumer)

    def _cancel(self, method: spec.Basic.Cancel) -> spec.Basic.CancelOk:
        consumer = self._consumers.pop(method.consumer_tag, None)
        if consumer is not None:
            consumer.queue.remove(consumer)
        return spec.Basic.CancelOk(method.consumer_tag)

    def _can_take(self, consumer: Consumer) -> bool:
        if self._client.is_full or consumer.no_ack:
            return not self._client.is_full
        has_room = not consumer.prefetch or consumer.unacked < consumer.prefetch
        return has_room and (not self._limit or sum(each.unacked for each in self._consumers.values()) < self._limit)

    def _lose(self, consumer: Consumer) -> None:
        self._consumers.pop(consumer.tag, None)
        if self._client.capabilities.get("consumer_cancel_notify"):
            self._send(spec.Basic.Cancel(consumer.tag, nowait=True))

    def _deliver(self, consumer: Consumer, entry: Entry) -> None:
        consumer.unacked += not consumer.no_ack
        self._hand_over(spec.Basic.Deliver(consumer.tag), consumer.queue, entry, consumer, no_ack=consumer.no_ack)

    def _get(self, method: spec.Basic.Get) -> spec.Basic.GetEmpty | None:
        queue = self._find_queue(method.queue)
        entry = queue.get()
        if entry is None:
            return spec.Basic.GetEmpty()
        answer = spec.Basic.GetOk(message_count=len(queue))
        self._hand_over(answer, queue, entry, None, no_ack=method.no_ack)
        return None

    def _hand_over(self, method: Any, queue: Queue, entry: Entry, consumer: Consumer | None, *, no_ack: bool) -> None:
        """Send a message with Basic.Deliver or Basic.GetOk; a quorum queue adds ``x-delivery-count``."""
        self._last += 1
        if not no_ack:
            self._unacked[self._last] = Unacked(queue, entry, consumer)
        message, properties = entry.message, entry.message.properties
        method.delivery_tag, method.redelivered = self._last, entry.returns > 0
        method.exchange, method.routing_key = message.exchange, wire(message.routing_key)
        if queue.arguments.is_quorum and (entry.returns or consumer is None):
            properties = properties.with_headers({"x-delivery-count": long(entry.returns)}, properties.expiration)
        self._send(method, properties, message.body)

    def _take(self, tag: int, *, multiple: bool) -> list[Unacked]:
        """Remove and return the deliveries that a tag stands for; the tag 0 with ``multiple`` stands for all."""
        if tag not in self._unacked and not (multiple and tag == 0):
            raise Refused(406, f"unknown delivery tag {tag}")
        tags = [each for each in self._unacked if not tag or each <= tag] if multiple else [tag]
        taken = [self._unacked.pop(each) for each in tags]
        for each in taken:
            if each.consumer is not None:
                each.consumer.unacked -= 1
        return taken

    @staticmethod
    def _requeue(taken: Iterable[Unacked], *, orphaned: bool = False) -> None:
        """Requeue deliveries, see :meth:`Queue.requeue`."""
        entries: dict[Queue, list[Entry]] = {}
        for each in taken:
            entries.setdefault(each.queue, []).append(each.entry)
        for queue, those in entries.items():
            queue.requeue(those, orphaned=orphaned)

    def _ack(self, method: spec.Basic.Ack) -> None:
        self._take(method.delivery_tag, multiple=method.multiple)
        self.resume()

    def _nack(self, method: spec.Basic.Nack | spec.Basic.Reject) -> None:
        taken = self._take(method.delivery_tag, multiple=getattr(method, "multiple", False))
        if method.requeue:
            self._requeue(taken)
        else:
            for queue, entry, _ in taken:
                queue.dead_letter(queue, entry.message, "rejected")
        self.resume()

    def _recover(self, method: spec.Basic.Recover | spec.Basic.RecoverAsync) -> None:
        if not method.requeue:
            raise Refused(540, "requeue=false")
        if isinstance(method, spec.Basic.Recover):
            self._send(spec.Basic.RecoverOk())
        self._requeue(self._take(0, multiple=True))
        self.resume()
