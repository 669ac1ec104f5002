"""The virtual host "/": its exchanges and queues by name, who may do what to them, and the way of a message."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from provider_gateway.devbroker.arguments import Arguments
from provider_gateway.devbroker.exchange import Exchange, check_type
from provider_gateway.devbroker.queue import Queue
from provider_gateway.devbroker.refusals import Refused, check_flag, not_implemented, place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.devbroker.message import Message

_PREDECLARED = ("direct", "fanout", "topic")
_RESERVED = "amq."


def _check_name(kind: str, name: str) -> None:
    if name.startswith(_RESERVED):
        raise Refused(403, f"{kind} name '{name}' contains reserved prefix 'amq.*'")


def _check_not_default(exchange: str) -> None:
    if not exchange:
        raise Refused(403, "operation not permitted on the default exchange")


class VirtualHost:
    """Exchanges, queues and bindings.

    Args:
        clock: times what expires.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        names = {kind: f"amq.{kind}" for kind in _PREDECLARED}
        self._exchanges = {name: Exchange(name, kind, durable=True) for kind, name in names.items()}
        self._queues: dict[str, Queue] = {}

    def find_exchange(self, name: str) -> Exchange:
        """An exchange; the default one is none that could be found.

        Raises:
            Refused: there is none (404).
        """
        if name not in self._exchanges:
            raise Refused(404, f"no {place('exchange', name)}")
        return self._exchanges[name]

    def declare_exchange(
        self,
        name: str,
        type_: str,
        *,
        durable: bool,
        auto_delete: bool,
        internal: bool,
        arguments: Mapping[str, Any],
    ) -> None:
        """Make an exchange, unless it is there.

        Raises:
            Refused: it is there and differs, or cannot be made.
        """
        check_type(type_)
        _check_not_default(name)
        if "alternate-exchange" in arguments:
            raise not_implemented("alternate-exchange")
        properties = {"durable": durable, "auto_delete": auto_delete, "internal": internal}
        if name in self._exchanges:
            self._exchanges[name].check_equivalent(type_=type_, **properties)
            return
        _check_name("exchange", name)
        self._exchanges[name] = Exchange(name, type_, **properties)

    def check_exchange(self, name: str) -> None:
        """Check that an exchange is there (a passive declaration).

        Raises:
            Refused: it is not (404), or it is the default exchange (403).
        """
        _check_not_default(name)
        self.find_exchange(name)

    def delete_exchange(self, name: str, *, if_unused: bool) -> None:
        """Delete an exchange with its bindings; it may be gone already.

        Raises:
            Refused: it is RabbitMQ's own (403) or in use (406).
        """
        _check_not_default(name)
        if name.startswith(_RESERVED):
            raise Refused(403, f"deletion of system {place('exchange', name)} not allowed")
        if if_unused and name in self._exchanges and self._exchanges[name].is_used:
            raise Refused(406, f"{place('exchange', name)} in use")
        self._exchanges.pop(name, None)

    def find_queue(self, name: str, client: object) -> Queue:
        """A queue.

        Args:
            client: the connection that asks.

        Raises:
            Refused: there is none (404), or it is the exclusive one of another connection (405).
        """
        if name not in self._queues:
            raise Refused(404, f"no {place('queue', name)}")
        queue = self._queues[name]
        if queue.owner not in (None, client):
            raise self._locked(name)
        return queue

    @staticmethod
    def _locked(name: str) -> Refused:
        return Refused(
            405,
            f"cannot obtain exclusive access to locked {place('queue', name)}. It could be originally declared on "
            "another connection or the exclusive property value does not match that of the original declaration.",
        )

    def declare_queue(
        self,
        name: str,
        client: object,
        *,
        durable: bool,
        exclusive: bool,
        auto_delete: bool,
        arguments: Mapping[str, Any],
    ) -> Queue:
        """Make a queue, unless it is there.

        Args:
            name: the empty string has one made up.
            client: the connection that asks; an exclusive queue is its own.

        Raises:
            Refused: it is there and differs or is locked, or cannot be made.
        """
        _check_name("queue", name)
        if name in self._queues:
            queue, where = self.find_queue(name, client), place("queue", name)
            if exclusive != (queue.owner is not None):
                raise self._locked(name)
            check_flag("durable", where, received=durable, current=queue.durable)
            check_flag("auto_delete", where, received=auto_delete, current=queue.auto_delete)
            queue.arguments.check_equivalent(arguments)
            queue.touch()
            return queue
        name = name or f"amq.gen-{secrets.token_urlsafe(16)}"
        checked = Arguments(name, arguments)
        checked.check_properties(durable=durable, exclusive=exclusive, auto_delete=auto_delete)
        queue = self._queues[name] = Queue(
            name,
            checked,
            self._clock,
            durable=durable,
            auto_delete=auto_delete,
            owner=client if exclusive else None,
            dead_letter=self._dead_letter,
            delete=self._delete,
        )
        return queue

    def delete_queue(self, name: str, client: object, *, if_unused: bool, if_empty: bool) -> int:
        """Delete a queue; it may be gone already.

        Returns:
            The number of messages that waited in it.

        Raises:
            Refused: it is in use or not empty (406), or locked (405).
        """
        if name not in self._queues:
            return 0
        queue = self.find_queue(name, client)
        if if_unused and queue.consumer_count:
            raise Refused(406, f"{place('queue', name)} in use")
        if if_empty and len(queue):
            raise Refused(406, f"{place('queue', name)} not empty")
        waiting = len(queue)
        self._delete(queue)
        return waiting

    def release(self, client: object) -> None:
        """Delete the exclusive queues of a connection, which is gone."""
        for queue in [each for each in self._queues.values() if each.owner is client]:
            self._delete(queue)

    def bind(self, queue: str, exchange: str, key: str, arguments: Mapping[str, Any], client: object) -> None:
        """Bind a queue to an exchange.

        Raises:
            Refused: one of them is missing (404), locked (405) or the default exchange (403).
        """
        _check_not_default(exchange)
        source = self.find_exchange(exchange)
        source.bind(self.find_queue(queue, client).name, key, arguments)

    def unbind(self, queue: str, exchange: str, key: str, arguments: Mapping[str, Any]) -> None:
        """Undo a binding; all of it may be gone already.

        Raises:
            Refused: it is the default exchange (403).
        """
        _check_not_default(exchange)
        if exchange in self._exchanges and self._exchanges[exchange].unbind(queue, key, arguments):
            self._unbound(self._exchanges[exchange])

    def check_publish(self, exchange: str) -> None:
        """Check that a client may publish to an exchange.

        Raises:
            Refused: there is none (404), or it is internal (403).
        """
        if exchange and self.find_exchange(exchange).internal:
            raise Refused(403, f"cannot publish to internal {place('exchange', exchange)}")

    def publish(self, message: Message) -> tuple[bool, bool]:
        """Route a message that may be published, see :meth:`check_publish`.

        Returns:
            Whether there was a queue for it, and whether all that there were took it.
        """
        queues = self._route(message)
        taken = [each.publish(message) for each in queues]
        return bool(queues), all(taken)

    def _route(self, message: Message) -> list[Queue]:
        key = message.routing_key
        names = self._exchanges[message.exchange].route(key) if message.exchange else [key]
        return [self._queues[name] for name in names if name in self._queues]

    def _dead_letter(self, queue: Queue, message: Message, reason: str) -> bool:
        exchange, key = queue.arguments.dead_letter_exchange, queue.arguments.dead_letter_routing_key
        if exchange is None:
            return True
        if exchange and exchange not in self._exchanges:
            self._log.warn("{queue}: no dead-letter exchange {exchange}", queue=queue.name, exchange=exchange)
            return False
        key = message.routing_key if key is None else key
        dead = message.dead_lettered(queue.name, reason, exchange, key, self._clock.seconds())
        targets = self._route(dead)
        going = [each for each in targets if reason == "rejected" or not dead.cycles_to(each.name)]
        if len(going) < len(targets):
            self._log.warn("{queue}: a message is dropped, it went round in a cycle", queue=queue.name)
        taken = [each.publish(dead) for each in going]
        return bool(targets) and all(taken)

    def _delete(self, queue: Queue) -> None:
        if queue.is_gone:
            return
        del self._queues[queue.name]
        queue.close()
        for exchange in list(self._exchanges.values()):
            if exchange.forget(queue.name):
                self._unbound(exchange)

    def _unbound(self, exchange: Exchange) -> None:
        if exchange.auto_delete and not exchange.is_used:
            self._exchanges.pop(exchange.name, None)
