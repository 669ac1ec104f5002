"""One channel: dispatches methods, collects the frames of messages, and closes on errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pika import frame, spec

from provider_gateway.devbroker.confirms import Confirms
from provider_gateway.devbroker.deliveries import Deliveries
from provider_gateway.devbroker.message import Message, text, wire
from provider_gateway.devbroker.refusals import Refused, place
from provider_gateway.devbroker.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider_gateway.devbroker.faults import Faults
    from provider_gateway.devbroker.limits import Limits
    from provider_gateway.devbroker.vhost import VirtualHost
    from provider_gateway.devbroker.wire import Client

_NOT_IMPLEMENTED = (spec.Exchange.Bind, spec.Exchange.Unbind, spec.Tx.Select, spec.Tx.Commit, spec.Tx.Rollback)


class Channel:
    """A channel.

    Args:
        number: of the channel.

    Attributes:
        state: "new", "open", "closing" (after an error, until the client has sent Close-Ok) or "closed".
    """

    def __init__(self, number: int, client: Client, vhost: VirtualHost, faults: Faults, limits: Limits) -> None:
        self._number = number
        self._client = client
        self._vhost = vhost
        self._faults = faults
        self._limits = limits
        self.state = "new"
        self._confirms: Confirms | None = None
        #: A publish whose message is not complete, and the parts of the message that have arrived.
        self._publish: spec.Basic.Publish | None = None
        self._header: frame.Header | None = None
        self._body = bytearray()
        self._missing = 0
        topology = Topology(vhost, client)
        self._deliveries = Deliveries(self._send, client, topology.queue)
        self._answers: dict[type, Callable[[Any], Any]] = {
            **topology.answers,
            **self._deliveries.answers,
            spec.Channel.Flow: self._flow,
            spec.Access.Request: lambda _: spec.Access.RequestOk(1),
            spec.Confirm.Select: self._select_confirms,
        }

    def take(self, value: Any) -> bool:
        """Take a frame of the client.

        Returns:
            True if it completed a publish.

        Raises:
            Refused: an error that closes the connection. An error that closes the channel only is dealt with here.
        """
        method = self._publish or getattr(value, "method", None)
        try:
            if self._publish is not None:
                return self._collect(self._publish, value)
            if method is None:
                raise Refused(505, "expected method frame, got non method frame instead")
            self._perform(method)
        except Refused as refusal:
            refusal.index = getattr(method, "INDEX", 0)
            if refusal.closes_connection:
                raise
            self.close("closing")
            self._client.send(self._number, refusal.close(spec.Channel.Close))
        return False

    def resume(self) -> None:
        """Go on delivering: the client reads again."""
        self._deliveries.resume()

    def close(self, state: str = "closed") -> None:
        """Requeue unacknowledged deliveries; nothing more is sent on the channel."""
        self.state = state
        self._deliveries.close()

    def _perform(self, method: Any) -> None:
        is_open = isinstance(method, spec.Channel.Open)
        if is_open != (self.state == "new"):
            raise Refused(504, "second 'channel.open' seen" if is_open else "expected 'channel.open'")
        if is_open:
            self.state = "open"
            self._send(spec.Channel.OpenOk())
        elif isinstance(method, spec.Channel.Close):
            self._client.send(self._number, spec.Channel.CloseOk())
            if self.state == "open":
                self.close()
        elif isinstance(method, spec.Basic.Publish):
            self._publish = method
        elif self.state == "closing":
            if isinstance(method, spec.Channel.CloseOk):
                self.state = "closed"
        elif isinstance(method, _NOT_IMPLEMENTED):
            raise Refused(540, method.NAME.lower())
        elif type(method) not in self._answers:
            raise Refused(503, "unimplemented method")
        else:
            answer = self._answers[type(method)](method)
            if answer is not None and not getattr(method, "nowait", False):
                self._send(answer)

    def _send(self, method: Any, properties: Any = None, body: bytes = b"") -> None:
        if self.state == "open":  # a confirm that was held back may come after the close
            self._client.send(self._number, method, properties, body)

    def _flow(self, method: spec.Channel.Flow) -> spec.Channel.FlowOk:
        if not method.active:
            raise Refused(540, "active=false")
        return spec.Channel.FlowOk(active=True)

    def _select_confirms(self, _: object) -> spec.Confirm.SelectOk:
        self._confirms = self._confirms or Confirms(self._send, self._faults)
        return spec.Confirm.SelectOk()

    def _collect(self, method: spec.Basic.Publish, value: Any) -> bool:
        """Take a frame of a message; returns True if the message is complete."""
        if self._header is None:
            if not isinstance(value, frame.Header):
                raise Refused(505, "expected content header for class 60, got non content header frame instead")
            self._header, self._body, self._missing = value, bytearray(), value.body_size
            most = self._limits.max_message_size
            if self.state == "open" and self._missing > most:
                msg = f"message size {self._missing} is larger than configured max size {most}"
                raise Refused(406, msg)
        elif isinstance(value, frame.Body) and len(value.fragment) <= self._missing:
            self._missing -= len(value.fragment)
            if self.state == "open":
                self._body += value.fragment
        else:
            raise Refused(505, "expected content body, got non content body frame instead")
        if self._missing:
            return False
        properties: Any = self._header.properties
        self._publish, self._header = None, None
        if self.state == "open":
            exchange, key = text(method.exchange), text(method.routing_key)
            self._route(method, Message(exchange, key, properties, bytes(self._body)))
        return True

    def _route(self, method: spec.Basic.Publish, message: Message) -> None:
        if method.immediate:
            raise Refused(540, "immediate=true")
        refusal = self._faults.refusal(message.body)
        if refusal:
            raise Refused(refusal, "as a test wants it")
        if message.exchange and self._vhost.find_exchange(message.exchange).internal:
            raise Refused(403, f"cannot publish to internal {place('exchange', message.exchange)}")
        message.check(self._client.user)
        routed, accepted = True, False
        if self._confirms is None or not self._faults.take("nack"):
            routed, accepted = self._vhost.publish(message)
        if method.mandatory and not routed:
            returned = spec.Basic.Return(312, "NO_ROUTE", message.exchange, wire(message.routing_key))
            self._send(returned, message.properties, message.body)
        if self._confirms is not None:
            self._confirms.settle(accepted=accepted)
