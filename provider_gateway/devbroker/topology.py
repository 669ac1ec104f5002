"""The methods of the AMQP classes exchange and queue, on one channel."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from pika import spec

from provider_gateway.devbroker.arguments import Arguments, type_name
from provider_gateway.devbroker.exchange import Exchange, check_type
from provider_gateway.devbroker.queue import Queue
from provider_gateway.devbroker.refusals import Refused, check_equal, place

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider_gateway.devbroker.vhost import VirtualHost

_RESERVED = "amq."


def _stripped(name: str) -> str:
    """A name without line ends: RabbitMQ removes them from names in declarations."""
    return name.replace("\r", "").replace("\n", "")


def _exchange_name(name: str) -> str:
    if not (stripped := _stripped(name)):
        raise Refused(403, "operation not permitted on the default exchange")
    return stripped


def _check_not_reserved(kind: str, name: str) -> None:
    if name.startswith(_RESERVED):
        raise Refused(403, f"{kind} name '{name}' contains reserved prefix 'amq.*'")


class Topology:
    """Declares, binds and deletes on behalf of one channel.

    Args:
        client: owns the exclusive queues that it declares.

    Attributes:
        answers: functions that handle methods, by class of method.
    """

    def __init__(self, vhost: VirtualHost, client: object) -> None:
        self._vhost = vhost
        self._client = client
        self._last_queue = ""
        self.answers: dict[type, Callable[[Any], Any]] = {
            spec.Exchange.Declare: self._declare_exchange,
            spec.Exchange.Delete: self._delete_exchange,
            spec.Queue.Declare: self._declare_queue,
            spec.Queue.Bind: self._bind,
            spec.Queue.Unbind: self._unbind,
            spec.Queue.Purge: lambda method: spec.Queue.PurgeOk(self.queue(method.queue).purge()),
            spec.Queue.Delete: self._delete_queue,
        }

    def queue(self, name: str) -> Queue:
        """The queue that a method names; the empty name stands for the last queue that was declared on the channel.

        Raises:
            Refused: there is no such queue (404), or it is exclusive to another connection (405).
        """
        return self._vhost.find_queue(self._name(name), self._client)

    def _name(self, name: str) -> str:
        if not name and not self._last_queue:
            raise Refused(404, "no previously declared queue")
        return name or self._last_queue

    def _declare_exchange(self, method: spec.Exchange.Declare) -> spec.Exchange.DeclareOk:
        if not method.passive:
            check_type(method.type)
        name, exchanges = _exchange_name(method.exchange), self._vhost.exchanges
        other = method.arguments.get("alternate-exchange")
        if isinstance(other, str):
            raise Refused(540, "alternate-exchange")
        if method.passive:
            self._vhost.find_exchange(name)
        elif name in exchanges:
            where = place("exchange", name)
            check_equal(where, exchanges[name], method, "type", "durable", "auto_delete", "internal")
        else:
            _check_not_reserved("exchange", name)
            if other is not None:
                where = place("exchange", name)
                raise Refused(406, f"invalid type '{type_name(other)}' for arg 'alternate-exchange' in {where}")
            exchanges[name] = Exchange(
                name,
                method.type,
                durable=method.durable,
                auto_delete=method.auto_delete,
                internal=method.internal,
            )
        return spec.Exchange.DeclareOk()

    def _delete_exchange(self, method: spec.Exchange.Delete) -> spec.Exchange.DeleteOk:
        name = _exchange_name(method.exchange)
        if name.startswith(_RESERVED):
            raise Refused(403, f"deletion of system {place('exchange', name)} not allowed")
        exchange = self._vhost.exchanges.get(name)
        if exchange is not None and method.if_unused and exchange.bindings:
            raise Refused(406, f"{place('exchange', name)} in use")
        self._vhost.exchanges.pop(name, None)
        return spec.Exchange.DeleteOk()

    def _declare_queue(self, method: spec.Queue.Declare) -> spec.Queue.DeclareOk:
        name, vhost = _stripped(method.queue), self._vhost
        if method.passive:
            queue = vhost.find_queue(name, self._client)
        else:
            _check_not_reserved("queue", name)
            queue = self._equivalent(name, method) if name in vhost.queues else self._new(name, method)
        queue.touch()
        self._last_queue = queue.name
        return spec.Queue.DeclareOk(queue.name, len(queue), len(queue.consumers))

    def _equivalent(self, name: str, method: spec.Queue.Declare) -> Queue:
        queue = self._vhost.find_queue(name, self._client, exclusive=method.exclusive)
        check_equal(place("queue", name), queue, method, "durable", "auto_delete")
        queue.arguments.check_equivalent(method.arguments)
        return queue

    def _new(self, name: str, method: spec.Queue.Declare) -> Queue:
        name = name or f"amq.gen-{secrets.token_urlsafe(16)}"
        queue = Queue(
            name,
            Arguments(name, method),
            durable=method.durable,
            auto_delete=method.auto_delete,
            owner=self._client if method.exclusive else None,
            clock=self._vhost.clock,
            dead_letter=self._vhost.dead_letter,
            delete=self._vhost.delete,
        )
        self._vhost.queues[name] = queue
        return queue

    def _delete_queue(self, method: spec.Queue.Delete) -> spec.Queue.DeleteOk:
        name = _stripped(self._name(method.queue))
        if name not in self._vhost.queues:
            return spec.Queue.DeleteOk(0)
        queue = self._vhost.find_queue(name, self._client)
        for flag, is_set in (("if-unused", method.if_unused), ("if-empty", method.if_empty)):
            if is_set and queue.arguments.is_quorum:
                text = f"queue.delete operations with {flag} flag set are not supported by quorum queues"
                raise Refused(540, f"cannot delete {place('queue', name)}. {text}")
        if method.if_unused and queue.consumers:
            raise Refused(406, f"{place('queue', name)} in use")
        if method.if_empty and len(queue):
            raise Refused(406, f"{place('queue', name)} not empty")
        deleted = spec.Queue.DeleteOk(len(queue))
        self._vhost.delete(queue)
        return deleted

    def _binding(self, method: spec.Queue.Bind | spec.Queue.Unbind) -> tuple[str, str, str]:
        queue = _stripped(self._name(method.queue))
        key = method.routing_key if method.queue or method.routing_key else queue
        return queue, key, repr(sorted(method.arguments.items(), key=repr))

    def _bind(self, method: spec.Queue.Bind) -> spec.Queue.BindOk:
        binding = self._binding(method)
        exchange = self._vhost.find_exchange(_exchange_name(method.exchange))
        self._vhost.find_queue(binding[0], self._client)
        exchange.bindings[binding] = None
        return spec.Queue.BindOk()

    def _unbind(self, method: spec.Queue.Unbind) -> spec.Queue.UnbindOk:
        binding = self._binding(method)
        exchange = self._vhost.exchanges.get(_exchange_name(method.exchange))
        if exchange is not None and binding in exchange.bindings:
            self._vhost.find_queue(binding[0], self._client)
            self._vhost.unbind(exchange, binding)
        return spec.Queue.UnbindOk()
