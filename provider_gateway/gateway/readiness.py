"""Whether requests for a queue would be served now: asks the broker for its consumers. No model is called."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from pika.exceptions import AMQPError
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.logger import Logger

from provider_gateway.amqp.declare import attempt
from provider_gateway.amqp.session import ConnectionLost
from provider_gateway.deferreds import InFlight, Waiters
from provider_gateway.errors import TopologyError, Unavailable
from provider_gateway.topology.declarations import Queue

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.amqp.session import Session

#: Seconds to wait for the broker's word.
_PATIENCE = 5.0


class Readiness:
    """Knows what requests need to be served: a connected broker, and a consumer of their queue.

    Whoever asks for a queue while a question about it is under way gets the same answer: a queue has one channel at
    most, however many callers ask.

    Args:
        lacks: what the process lacks to take requests; empty if nothing.
    """

    _log = Logger()

    def __init__(self, lacks: Callable[[], list[str]], clock: IReactorTime) -> None:
        self._lacks = lacks
        self._clock = clock
        self._session: Session | None = None
        #: Those who wait for the number of consumers of a queue.
        self._waiting: dict[str, Waiters[int | None]] = {}
        self._asking = InFlight(lambda failure: self._log.failure("The broker could not be asked for a queue", failure))

    def open(self, session: Session) -> None:
        """Ask on a new session from now on."""
        self._session = session

    def check_gateway(self) -> None:
        """Check that requests can be published, and that their replies arrive.

        Raises:
            Unavailable: they cannot, or do not.
        """
        lacks = self._lacks()
        if lacks or self._session is None or not self._session.is_open:
            msg = f"Not ready: waiting for {', '.join(lacks) or 'the broker'}."
            raise Unavailable(msg)

    async def check(self, queue: str, model: str) -> None:
        """Check that somebody consumes a queue.

        Args:
            model: name of the model that stands behind the queue, for the error.

        Raises:
            Unavailable: nobody does, or the broker does not say, or :meth:`check_gateway` fails.
        """
        self.check_gateway()
        waiting = self._waiting.get(queue)
        if waiting is None:
            waiting = self._waiting[queue] = Waiters()
            answer = waiting.wait()
            self._asking.start(self._ask(queue, waiting))
        else:
            answer = waiting.wait()
        try:
            consumers = await answer.addTimeout(_PATIENCE, self._clock)
        except DeferredTimeoutError:
            consumers = None
        if not consumers:
            what = "the broker does not say whether it is served" if consumers is None else "no process serves it"
            msg = f"The model {model!r} is not ready: {what}."
            raise Unavailable(msg)

    async def _ask(self, queue: str, waiting: Waiters[int | None]) -> None:
        consumers = None
        try:
            consumers = await self._consumers(queue)
        finally:
            del self._waiting[queue]
            waiting.fire(consumers)

    async def _consumers(self, queue: str) -> int | None:
        """The number of a queue's consumers, 0 without the queue; None if the broker does not say."""
        assert self._session is not None, "checked before"
        try:
            channel = await self._session.channel()
            # Passive: it asks and declares nothing, and needs no permission.
            declared = await attempt(Queue(queue), partial(channel.queue_declare, queue, passive=True))
            channel.close()
        except TopologyError:
            return 0  # the broker has closed the channel: it has no such queue, or cannot reach it
        except (AMQPError, ConnectionLost):
            return None
        return int(declared.method.consumer_count)
