"""Publishes notices: empty messages whose routing key says all. Nobody has to get one, and no confirm is waited for."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from pika.exceptions import AMQPError
from twisted.logger import Logger

from provider_gateway.amqp.channels import channels_needed
from provider_gateway.amqp.session import ConnectionLost
from provider_gateway.deferreds import InFlight, sleep
from provider_gateway.errors import TopologyError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.amqp.message_channel import MessageChannel
    from provider_gateway.amqp.session import Session

#: Notices that are published once more on a new channel: the last ones may be lost with the old one.
_REPEATED = 1000
#: Unsent bytes of a connection with which no further notice is written.
_MAX_UNSENT = 1_048_576
#: Seconds before a closed channel is opened again; doubled up to the last, until one stays open for that long.
_FIRST_DELAY, _LAST_DELAY = 0.1, 15.0


class NoticePublisher:
    """Publishes notices on the newest session that it was opened on, on a channel of its own.

    Args:
        declare: declares the exchanges; called each time before a channel is opened.
        clock: times the attempts to open a channel again.
    """

    _log = Logger()

    def __init__(self, declare: Callable[[Session], Awaitable[None]], clock: IReactorTime) -> None:
        self._declare = declare
        self._clock = clock
        self._session: Session | None = None
        self._channel: MessageChannel | None = None
        self._last: deque[tuple[str, str]] = deque(maxlen=_REPEATED)
        self._opened = 0.0
        self._delay = _FIRST_DELAY
        self._reopening = InFlight(lambda f: self._log.failure("The channel for notices cannot be reopened", f))

    async def open(self, session: Session) -> None:
        """Open a channel on a session that a publisher is open on, and publish on it from now on.

        Raises:
            TopologyError: the broker refused a declaration.
            AMQPError: the broker closed the channel, or allows no further one.
            ConnectionLost: the connection is gone.
        """
        session.channels.require(channels_needed(2))
        await self._declare(session)
        channel = await session.message_channel()
        channel.channel.on_closed.addCallback(self._closed, session, channel)
        self._session, self._channel = session, channel
        self._opened = self._clock.seconds()
        for exchange, routing_key in self._last:
            self._write(exchange, routing_key)

    def notify(self, exchange: str, routing_key: str) -> None:
        """Publish a notice, once or several times, if that is possible now or soon. Raises nothing.

        Args:
            routing_key: at most 255 bytes.
        """
        self._last.append((exchange, routing_key))
        self._write(exchange, routing_key)

    def _write(self, exchange: str, routing_key: str) -> None:
        channel, session = self._channel, self._session
        if channel is None or session is None or not channel.is_open or session.outbox.unsent > _MAX_UNSENT:
            return
        try:
            channel.notify(exchange, routing_key)
        except AMQPError as error:
            self._log.warn("A notice cannot be sent: {reason}", reason=type(error).__name__)

    def _closed(self, reason: Exception, session: Session, channel: MessageChannel) -> None:
        if self._channel is not channel:
            return
        self._channel = self._session = None
        if session.is_open:
            # For example: the exchange is missing, or the user has no permission.
            self._log.warn("The channel for notices was closed: {reason}", reason=str(reason))
            self._reopening.start(self._reopen(session))

    async def _reopen(self, session: Session) -> None:
        if self._clock.seconds() - self._opened > _LAST_DELAY:
            self._delay = _FIRST_DELAY
        while session.is_open:
            await sleep(self._clock, self._delay)
            self._delay = min(2 * self._delay, _LAST_DELAY)
            try:
                await self.open(session)
            except (TopologyError, AMQPError, ConnectionLost) as error:
                self._log.warn("The channel for notices cannot be opened: {reason}", reason=str(error))
            else:
                return
