"""How many messages and consumers queues have: asks the broker, by passive declarations, while somebody looks."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from pika.exceptions import AMQPError
from twisted.internet.defer import Deferred, TimeoutError as DeferredTimeoutError

from provider_gateway.amqp.declare import attempt
from provider_gateway.amqp.session import ConnectionLost
from provider_gateway.errors import TopologyError
from provider_gateway.topology.declarations import Queue

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.amqp.session import Session

#: Seconds to wait for the broker's word, for all queues.
_PATIENCE = 5.0


class QueueCount(NamedTuple):
    """What the broker says of a queue.

    Attributes:
        messages: that are ready: they wait for a consumer.
        consumers: all of them, of whatever process.
    """

    messages: int
    consumers: int


class QueueCounts:
    """Asks for the counts of queues, on a channel that is open for the time of the question only."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._session: Session | None = None

    def open(self, session: Session) -> None:
        """Ask on a new session from now on."""
        self._session = session

    async def ask(self, queues: Iterable[str]) -> dict[str, QueueCount]:
        """The counts of queues. Those of which the broker says nothing are left out."""
        found: dict[str, QueueCount] = {}
        session = self._session
        if session is None or not session.is_open:
            return found
        asking: Deferred[None] = Deferred.fromCoroutine(_ask(session, queues, found))
        # If the broker is slow, or gone, what it has said so far counts.
        with suppress(DeferredTimeoutError, AMQPError, ConnectionLost):
            await asking.addTimeout(_PATIENCE, self._clock)
        return found


async def _ask(session: Session, queues: Iterable[str], found: dict[str, QueueCount]) -> None:
    channel = None
    for name in queues:
        if channel is None:
            channel = await session.channel()
        try:
            # Passive: it asks and declares nothing, and needs no permission.
            declared = await attempt(Queue(name), partial(channel.queue_declare, name, passive=True))
        except TopologyError:
            channel = None  # the broker has closed it: it has no such queue, or cannot reach it
        else:
            found[name] = QueueCount(int(declared.method.message_count), int(declared.method.consumer_count))
    if channel is not None:
        channel.close()
