"""The methods of the classes exchange and queue, as one channel asks them of the virtual host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pika import spec

from provider_gateway.devbroker.message import text, wire
from provider_gateway.devbroker.refusals import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider_gateway.devbroker.queue import Queue
    from provider_gateway.devbroker.vhost import VirtualHost


class Topology:
    """Exchanges, queues and bindings, seen from one channel.

    Args:
        client: the connection, which exclusive queues belong to.
    """

    def __init__(self, vhost: VirtualHost, client: object) -> None:
        self._vhost = vhost
        self._client = client
        self._last_queue = ""
        #: What answers which method.
        self.answers: dict[type, Callable[[Any], Any]] = {
            spec.Exchange.Declare: self._declare_exchange,
            spec.Exchange.Delete: self._delete_exchange,
            spec.Queue.Declare: self._declare_queue,
            spec.Queue.Bind: self._bind,
            spec.Queue.Unbind: self._unbind,
            spec.Queue.Purge: self._purge,
            spec.Queue.Delete: self._delete_queue,
        }

    def queue(self, name: str | bytes) -> Queue:
        """A queue by the name that a method gives; the empty one is the queue that was declared last.

        Raises:
            Refused: there is none (404), or it is locked (405).
        """
        return self._vhost.find_queue(self._name(name), self._client)

    def _name(self, name: str | bytes) -> str:
        if not name and not self._last_queue:
            raise Refused(404, "no previously declared queue")
        return text(name) or self._last_queue

    def _declare_exchange(self, method: spec.Exchange.Declare) -> spec.Exchange.DeclareOk:
        if method.passive:
            self._vhost.check_exchange(text(method.exchange))
        else:
            self._vhost.declare_exchange(
                text(method.exchange),
                text(method.type),
                durable=method.durable,
                auto_delete=method.auto_delete,
                internal=method.internal,
                arguments=method.arguments,
            )
        return spec.Exchange.DeclareOk()

    def _delete_exchange(self, method: spec.Exchange.Delete) -> spec.Exchange.DeleteOk:
        self._vhost.delete_exchange(text(method.exchange), if_unused=method.if_unused)
        return spec.Exchange.DeleteOk()

    def _declare_queue(self, method: spec.Queue.Declare) -> spec.Queue.DeclareOk:
        if method.passive:
            queue = self._vhost.find_queue(text(method.queue), self._client)
            queue.touch()
        else:
            queue = self._vhost.declare_queue(
                text(method.queue),
                self._client,
                durable=method.durable,
                exclusive=method.exclusive,
                auto_delete=method.auto_delete,
                arguments=method.arguments,
            )
        self._last_queue = queue.name
        return spec.Queue.DeclareOk(wire(queue.name), len(queue), queue.consumer_count)

    def _key(self, method: spec.Queue.Bind | spec.Queue.Unbind) -> str:
        if not method.queue and not method.routing_key:
            return self._name("")
        return text(method.routing_key)

    def _bind(self, method: spec.Queue.Bind) -> spec.Queue.BindOk:
        queue, key = self._name(method.queue), self._key(method)
        self._vhost.bind(queue, text(method.exchange), key, method.arguments, self._client)
        return spec.Queue.BindOk()

    def _unbind(self, method: spec.Queue.Unbind) -> spec.Queue.UnbindOk:
        queue, key = self._name(method.queue), self._key(method)
        self._vhost.unbind(queue, text(method.exchange), key, method.arguments)
        return spec.Queue.UnbindOk()

    def _purge(self, method: spec.Queue.Purge) -> spec.Queue.PurgeOk:
        return spec.Queue.PurgeOk(self.queue(method.queue).purge())

    def _delete_queue(self, method: spec.Queue.Delete) -> spec.Queue.DeleteOk:
        name = self._name(method.queue)
        flags = {"if_unused": method.if_unused, "if_empty": method.if_empty}
        return spec.Queue.DeleteOk(self._vhost.delete_queue(name, self._client, **flags))
