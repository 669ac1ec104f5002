"""One channel: which method does what, messages as they come in frames, and the end of the channel by an error."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pika import frame, spec

from provider_gateway.devbroker.confirms import Confirms
from provider_gateway.devbroker.deliveries import Deliveries
from provider_gateway.devbroker.message import ExactProperties, Message, text, wire
from provider_gateway.devbroker.refusals import Refused, not_implemented, place
from provider_gateway.devbroker.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider_gateway.devbroker.faults import Faults
    from provider_gateway.devbroker.vhost import VirtualHost

#: RabbitMQ's default ``max_message_size``.
_MAX_MESSAGE_BYTES = 134_217_728
#: Bytes of a frame around its payload.
_FRAME_OVERHEAD = spec.FRAME_HEADER_SIZE + spec.FRAME_END_SIZE
_NOT_IMPLEMENTED = (spec.Exchange.Bind, spec.Exchange.Unbind, spec.Tx.Select, spec.Tx.Commit, spec.Tx.Rollback)


@dataclass(frozen=True, slots=True, eq=False)
class Client:
    """Who is at the other end of a connection; exclusive queues belong to it.

    Attributes:
        user: as whom it logged in.
        frame_max: bytes of a frame that it takes.
        hears_cancels: it has the capability ``consumer_cancel_notify``.
    """

    user: str
    frame_max: int
    hears_cancels: bool


class _Content:
    """A publish whose message is not complete."""

    def __init__(self, method: spec.Basic.Publish) -> None:
        self.method = method
        self.header: frame.Header | None = None
        self.body = bytearray()

    def add(self, value: frame.Frame) -> bool:
        """Take a frame; True if it was the last one."""
        if self.header is None:
            if not isinstance(value, frame.Header):
                msg = "expected content header for class 60, got non content header frame instead"
                raise Refused(505, msg, self.method.INDEX)
            self.header = value
            if value.body_size > _MAX_MESSAGE_BYTES:
                msg = f"message size {value.body_size} is larger than configured max size {_MAX_MESSAGE_BYTES}"
                raise Refused(406, msg, self.method.INDEX)
        elif not isinstance(value, frame.Body):
            msg = "expected content body, got non content body frame instead"
            raise Refused(505, msg, self.method.INDEX)
        else:
            self.body += value.fragment
            if len(self.body) > self.header.body_size:
                raise Refused(501, "content body is longer than its header says", self.method.INDEX)
        return len(self.body) == self.header.body_size


class Channel:
    """An open channel.

    Args:
        number: of the channel.
        send: sends frames to the client.
    """

    def __init__(
        self, number: int, send: Callable[..., None], vhost: VirtualHost, client: Client, faults: Faults
    ) -> None:
        self._number = number
        self._send_frames = send
        self._vhost = vhost
        self._client = client
        self._faults = faults
        self._topology = Topology(vhost, client)
        self._deliveries = Deliveries(self._send, self._consumer_lost)
        self._is_open = True
        self._confirms: Confirms | None = None
        self._content: _Content | None = None
        self._answers: dict[type, Callable[[Any], Any]] = {
            **self._topology.answers,
            spec.Channel.Flow: self._flow,
            spec.Access.Request: lambda _: spec.Access.RequestOk(1),
            spec.Confirm.Select: self._select_confirms,
            spec.Basic.Qos: self._qos,
            spec.Basic.Consume: self._consume,
            spec.Basic.Cancel: self._cancel,
            spec.Basic.Publish: self._begin_publish,
            spec.Basic.Get: self._get,
            spec.Basic.Ack: self._ack,
            spec.Basic.Nack: self._nack,
            spec.Basic.Reject: self._nack,
            spec.Basic.Recover: self._recover,
            spec.Basic.RecoverAsync: self._recover,
        }

    def take(self, value: frame.Frame) -> bool:
        """Take a frame of the client.

        Returns:
            True if it completed a publish.

        Raises:
            Refused: it is wrong, or what it asks for is.
        """
        if self._content is not None:
            content = self._content
            if content.add(value):
                self._content = None
                self._publish(content)
            return self._content is None
        if not isinstance(value, frame.Method):
            raise Refused(505, "expected method frame, got non method frame instead")
        self._perform(value.method)
        return False

    def _perform(self, method: Any) -> None:
        try:
            if isinstance(method, _NOT_IMPLEMENTED):
                raise not_implemented(method.NAME.lower())
            if type(method) not in self._answers:
                raise Refused(503, "unimplemented method")
            answer = self._answers[type(method)](method)
        except Refused as refusal:
            refusal.index = method.INDEX
            raise
        if answer is not None and not getattr(method, "nowait", False):
            self._send(answer)

    def flush(self) -> None:
        """Send the confirms that have come together."""
        if self._confirms is not None:
            self._confirms.flush()

    def close(self) -> None:
        """Give back what the client has; nothing more is sent."""
        self._is_open = False
        self._deliveries.close()

    def _send(self, method: Any, message: Message | None = None, properties: ExactProperties | None = None) -> None:
        if not self._is_open:
            return  # a confirm that was held back, for a publisher that is gone
        frames: list[frame.Frame] = [frame.Method(self._number, method)]
        if message is not None:
            frames.append(frame.Header(self._number, len(message.body), properties or message.properties))
            size = self._client.frame_max - _FRAME_OVERHEAD
            parts = range(0, len(message.body), size)
            frames += [frame.Body(self._number, message.body[start : start + size]) for start in parts]
        self._send_frames(*frames)

    def _consumer_lost(self, tag: Any) -> None:
        if self._client.hears_cancels:
            self._send(spec.Basic.Cancel(tag, nowait=True))

    def _flow(self, method: spec.Channel.Flow) -> spec.Channel.FlowOk:
        if not method.active:
            raise not_implemented("active=false")
        return spec.Channel.FlowOk(active=True)

    def _select_confirms(self, _: object) -> spec.Confirm.SelectOk:
        if self._confirms is None:
            self._confirms = Confirms(self._send, self._faults)
        return spec.Confirm.SelectOk()

    def _begin_publish(self, method: spec.Basic.Publish) -> None:
        self._content = _Content(method)

    def _publish(self, content: _Content) -> None:
        method, header = content.method, content.header
        assert header is not None
        properties: Any = header.properties  # amqp.properties has pika decode to its own
        message = Message(
            text(method.exchange), text(method.routing_key), ExactProperties.of(properties), bytes(content.body)
        )
        try:
            if method.immediate:
                raise not_implemented("immediate=true")
            self._vhost.check_publish(message.exchange)
            message.check(self._client.user)
        except Refused as refusal:
            refusal.index = method.INDEX
            raise
        tag = self._confirms.next_tag() if self._confirms is not None else None
        if tag is not None and self._faults.take_nack():
            accepted = False
        else:
            routed, accepted = self._vhost.publish(message)
            if method.mandatory and not routed:
                returned = spec.Basic.Return(312, "NO_ROUTE", wire(message.exchange), wire(message.routing_key))
                self._send(returned, message)
        if self._confirms is not None and tag is not None:
            self._confirms.settle(tag, accepted=accepted)

    def _qos(self, method: spec.Basic.Qos) -> spec.Basic.QosOk:
        if method.prefetch_size:
            raise not_implemented(f"prefetch_size!=0 ({method.prefetch_size})")
        if method.global_qos:
            self._deliveries.limit = method.prefetch_count
            self._deliveries.resume()
        else:
            self._deliveries.prefetch = method.prefetch_count
        return spec.Basic.QosOk()

    def _consume(self, method: spec.Basic.Consume) -> None:
        tag = method.consumer_tag or f"amq.ctag-{secrets.token_urlsafe(16)}"
        if self._deliveries.has_consumer(tag):
            raise Refused(530, f"attempt to reuse consumer tag '{text(tag)}'")
        wanted = {"x-priority", "x-stream-offset"} & set(method.arguments)
        if method.queue == "amq.rabbitmq.reply-to" or wanted:
            raise not_implemented(", ".join(sorted(wanted)) or "direct reply-to")
        queue = self._topology.queue(method.queue)
        if queue.has_exclusive_consumer or (method.exclusive and queue.consumer_count):
            raise Refused(403, f"{place('queue', queue.name)} in exclusive use")
        if not method.nowait:
            self._send(spec.Basic.ConsumeOk(tag))
        self._deliveries.consume(tag, queue, no_ack=method.no_ack, exclusive=method.exclusive)

    def _cancel(self, method: spec.Basic.Cancel) -> spec.Basic.CancelOk:
        self._deliveries.cancel(method.consumer_tag)
        return spec.Basic.CancelOk(method.consumer_tag)

    def _get(self, method: spec.Basic.Get) -> None:
        self._deliveries.get(self._topology.queue(method.queue), no_ack=method.no_ack)

    def _ack(self, method: spec.Basic.Ack) -> None:
        self._deliveries.take(method.delivery_tag, multiple=method.multiple)
        self._deliveries.resume()

    def _nack(self, method: spec.Basic.Nack | spec.Basic.Reject) -> None:
        taken = self._deliveries.take(method.delivery_tag, multiple=getattr(method, "multiple", False))
        if method.requeue:
            self._deliveries.requeue(taken)
        else:
            self._deliveries.reject(taken)
        self._deliveries.resume()

    def _recover(self, method: spec.Basic.Recover | spec.Basic.RecoverAsync) -> None:
        if not method.requeue:
            raise not_implemented("requeue=false")
        if isinstance(method, spec.Basic.Recover):
            self._send(spec.Basic.RecoverOk())
        self._deliveries.requeue(self._deliveries.take(0, multiple=True))
        self._deliveries.resume()
