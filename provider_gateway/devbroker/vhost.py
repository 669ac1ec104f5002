"""The virtual host "/": its exchanges and queues, and the routing of messages."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from twisted.logger import Logger

from provider_gateway.devbroker.exchange import Exchange
from provider_gateway.devbroker.refusals import Refused, place

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.clocks import WallClock
    from provider_gateway.devbroker.message import Message
    from provider_gateway.devbroker.queue import Queue


class VirtualHost:
    """Exchanges, queues and bindings.

    Args:
        clock: times what expires.
        wall_clock: has the times of ``x-death``.

    Attributes:
        exchanges: by name, without the default exchange.
        queues: by name.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, wall_clock: WallClock) -> None:
        self.clock = clock
        self._wall_clock = wall_clock
        self.exchanges = {
            f"amq.{kind}": Exchange(f"amq.{kind}", kind, durable=True) for kind in ("direct", "fanout", "topic")
        }
        self.queues: dict[str, Queue] = {}
        self._dead_letters: deque[tuple[Queue, Message, str]] = deque()
        self._is_dead_lettering = False

    def find_exchange(self, name: str) -> Exchange:
        """The exchange of a name; the default exchange cannot be looked up.

        Raises:
            Refused: there is no such exchange (404), or it is a headers exchange (540).
        """
        if name in ("amq.headers", "amq.match"):
            raise Refused(540, f"exchange '{name}'")
        if name not in self.exchanges:
            raise Refused(404, f"no {place('exchange', name)}")
        return self.exchanges[name]

    def find_queue(self, name: str, client: object, *, exclusive: bool | None = None) -> Queue:
        """The queue of a name.

        Args:
            name: of the queue.
            client: the connection that asks.
            exclusive: whether the queue must be exclusive, or must not; None if both will do.

        Raises:
            Refused: there is no such queue (404), it is exclusive to another connection, or ``exclusive`` is not met
                (405).
        """
        if name not in self.queues:
            raise Refused(404, f"no {place('queue', name)}")
        queue = self.queues[name]
        if queue.owner not in (None, client) or exclusive not in (None, queue.owner is not None):
            msg = (
                f"cannot obtain exclusive access to locked {place('queue', name)}. It could be originally declared on "
                "another connection or the exclusive property value does not match that of the original declaration."
            )
            raise Refused(405, msg)
        return queue

    def publish(self, message: Message) -> tuple[bool, bool]:
        """Route a message whose exchange exists.

        Returns:
            Whether a queue was found, and whether all queues accepted the message.
        """
        queues = self._route(message)
        taken = [each.publish(message) for each in queues]
        return bool(queues), all(taken)

    def _route(self, message: Message) -> list[Queue]:
        key = message.routing_key
        names = self.exchanges[message.exchange].route(key) if message.exchange else [key]
        return [self.queues[name] for name in names if name in self.queues]

    def dead_letter(self, queue: Queue, message: Message, reason: str) -> None:
        """Publish a message that died in a queue to the queue's dead-letter exchange.

        Messages that die meanwhile wait for their turn: a cycle of queues must not recurse.
        """
        self._dead_letters.append((queue, message, reason))
        if self._is_dead_lettering:
            return
        self._is_dead_lettering = True
        while self._dead_letters:
            dead = self._dead_letters.popleft()
            try:
                self._publish_dead_letter(*dead)
            except Exception:  # noqa: BLE001 - a bug of ours costs one message, and the broker goes on
                self._log.failure("{queue}: a dead letter is lost", queue=dead[0].name)
        self._is_dead_lettering = False

    def _publish_dead_letter(self, queue: Queue, message: Message, reason: str) -> None:
        exchange, key = queue.arguments.dead_letter_exchange, queue.arguments.dead_letter_routing_key
        if queue.is_gone or exchange is None:
            return
        if exchange and exchange not in self.exchanges:
            self._log.warn("{queue}: no dead-letter exchange {exchange}", queue=queue.name, exchange=exchange)
            return
        key = message.routing_key if key is None else key
        dead = message.dead_lettered(queue.name, reason, exchange, key, self._wall_clock())
        for target in self._route(dead):
            if reason != "rejected" and dead.cycles_to(target.name):
                self._log.warn("{queue}: a message is dropped, it went round in a cycle", queue=queue.name)
            else:
                target.publish(dead)

    def delete(self, queue: Queue) -> None:
        """Delete a queue with its bindings."""
        del self.queues[queue.name]
        queue.close()
        for exchange in list(self.exchanges.values()):
            self.unbind(exchange, *(each for each in exchange.bindings if each[0] == queue.name))

    def unbind(self, exchange: Exchange, *bindings: tuple[str, str, str]) -> None:
        """Remove bindings of an exchange; an auto-delete exchange is deleted with the last one."""
        for each in bindings:
            del exchange.bindings[each]
        if bindings and exchange.auto_delete and not exchange.bindings:
            self.exchanges.pop(exchange.name, None)

    def release(self, client: object) -> None:
        """Delete the exclusive queues of a connection that has ended."""
        for queue in [each for each in self.queues.values() if each.owner is client]:
            self.delete(queue)
