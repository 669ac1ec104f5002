"""The channels of one connection: they are opened here, as many as the broker allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pika.exceptions import AMQPError, NoFreeChannels

from provider_gateway.amqp.message_channel import MessageChannel
from provider_gateway.deferreds import shield

if TYPE_CHECKING:
    from pika.adapters.twisted_connection import TwistedChannel, TwistedProtocolConnection

    from provider_gateway.amqp.outbox import Outbox


def channels_needed(uses: int) -> int:
    """Channels that a connection needs: one for each use (to publish, or to consume a queue), and one to declare."""
    return uses + 1


class TooFewChannels(AMQPError):
    """The broker allows too few channels on a connection.

    Args:
        allowed: their number.
        needed: channels that this connection needs; None if that is not known.
    """

    def __init__(self, allowed: int, needed: int | None = None) -> None:
        there = "1 channel" if allowed == 1 else f"{allowed} channels"
        wanted = f"{needed} are needed" if needed is not None else "more are needed"
        super().__init__(f"the broker allows {there} on a connection, and {wanted}: raise its channel_max")

    def __str__(self) -> str:
        return str(self.args[0])


class Channels:
    """The channels of one connection.

    Args:
        protocol: pika's.
        outbox: takes what is to be sent.

    Attributes:
        with_messages: the open channels for messages, by number.
    """

    def __init__(self, protocol: TwistedProtocolConnection, outbox: Outbox) -> None:
        self._protocol = protocol
        self._outbox = outbox
        #: The channel by which pika's connection was got at, until somebody wants a channel.
        self._first: TwistedChannel | None = None
        self._allowed = 0
        self.with_messages: dict[int, MessageChannel] = {}

    async def begin(self) -> Any:
        """Open the first channel; returns pika's connection. The AMQP handshake has to be over."""
        self._first = await self.open()
        connection: Any = self._first.connection
        self._allowed = connection.params.channel_max  # as agreed on with the broker
        return connection

    def require(self, count: int) -> None:
        """Check that the broker allows so many channels on this connection (``channel_max``).

        Raises:
            TooFewChannels: it does not.
        """
        if count > self._allowed:
            raise TooFewChannels(self._allowed, count)

    async def open(self) -> TwistedChannel:
        """Open a channel.

        Raises:
            TooFewChannels: the broker allows no further one.
            AMQPError: the connection is not open.
        """
        first, self._first = self._first, None
        if first is not None and first.is_open:
            return first
        try:
            channel: TwistedChannel = await shield(self._protocol.channel())
        except NoFreeChannels:
            raise TooFewChannels(self._allowed) from None
        return channel

    async def open_with_messages(self) -> MessageChannel:
        """Open a channel for messages."""
        channel = MessageChannel(await self.open(), self._outbox)
        number = channel.channel.channel_number
        self.with_messages[number] = channel

        def closed(reason: object) -> object:
            del self.with_messages[number]
            return reason

        channel.channel.on_closed.addCallback(closed)
        return channel
