"""Declares the exchanges, queues and bindings of the queue file. Each new connection does so again."""

from __future__ import annotations

import struct
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from pika import spec
from pika.exceptions import ChannelClosedByBroker, ProtocolSyntaxError, ShortStringTooLong
from twisted.logger import Logger

from provider_gateway.amqp.session import ConnectionLost
from provider_gateway.deferreds import shield
from provider_gateway.errors import TopologyError
from provider_gateway.topology.declarations import Exchange, Queue, objects_of
from provider_gateway.topology.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from pika.adapters.twisted_connection import TwistedChannel
    from twisted.internet.defer import Deferred

    from provider_gateway.amqp.session import Session
    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.topology.declarations import Declared
    from provider_gateway.topology.refusals import Use

_log = Logger()

#: The reply code of a broker that stops, or whose operator closes connections.
_CONNECTION_FORCED = 320
#: Errors of pika's encoder, some of which have its raw bytes as their text.
_NOT_WRITTEN = (ProtocolSyntaxError, ShortStringTooLong, struct.error, TypeError, ValueError, AssertionError)
#: The classes of the methods that declare, and "no method": not every broker says over which it closes a connection.
_DECLARING = frozenset({0, spec.Exchange.INDEX, spec.Queue.INDEX})


async def attempt(what: Declared | Use, method: Callable[[], Deferred[Any]]) -> Any:
    """Run a method of a channel that concerns an object.

    Returns:
        The broker's answer.

    Raises:
        TopologyError: the object cannot be written as AMQP, or the broker refused it: it closed the channel or the
            connection.
        ConnectionLost: the connection is gone for another reason.
    """
    try:
        return await shield(method())
    except _NOT_WRITTEN as error:
        msg = f"{what}: its name, key or arguments cannot be written as AMQP ({type(error).__name__})"
        raise TopologyError(msg, is_final=True) from None
    except ChannelClosedByBroker as error:
        raise refusal(what, error.reply_code, error.reply_text) from None
    except ConnectionLost as error:
        close = error.close
        if close is None or close.reply_code == _CONNECTION_FORCED or close.class_id not in _DECLARING:
            raise
        raise refusal(what, close.reply_code, close.reply_text, of_connection=True) from None


def declaring(channel: TwistedChannel, what: Declared) -> Callable[[], Deferred[Any]]:
    """The method of a channel that declares an object."""
    if isinstance(what, Exchange):
        return partial(channel.exchange_declare, what.name, what.type, durable=what.durable)
    if isinstance(what, Queue):
        return partial(channel.queue_declare, what.name, durable=what.durable, arguments=dict(what.arguments))
    return partial(channel.queue_bind, what.queue, what.exchange, what.key)


async def declare(session: Session, entries: Sequence[QueueEntry]) -> None:
    """Declare the objects of all entries.

    Raises:
        TopologyError: the broker refused one. The text names the object, and has the broker's own words.
        ConnectionLost: the connection is gone.
    """
    channel = await session.channel()
    for entry in entries:
        for each in objects_of(entry):
            try:
                await attempt(each, declaring(channel, each))
            except TopologyError as error:
                if (text := await found_without(session, each, error)) is None:
                    raise
                _log.warn("{text}", text=text)
                channel = await session.channel()
    channel.close()


async def found_without(session: Session, what: Declared, error: TopologyError) -> str | None:
    """Find out if a refused queue is right but for an argument that an existing queue may lack.

    Returns:
        What this means, for the log. None if it is not so.
    """
    if not (isinstance(what, Queue) and what.may_lack is not None and session.is_open):
        return None
    if f"inequivalent arg '{what.may_lack}'" not in str(error):
        return None
    arguments = {name: value for name, value in what.arguments.items() if name != what.may_lack}
    channel = await session.channel()
    try:
        await attempt(what, declaring(channel, replace(what, arguments=arguments)))
    except TopologyError:
        return None
    channel.close()
    return (
        f"{what} is used as it is, without {what.may_lack}: RabbitMQ 4 drops a message that has come back to it 20 "
        "times; see docs/delivery.md"
    )


def declares(*objects: Declared) -> Callable[[Session], Awaitable[None]]:
    """A function that declares objects on a session, in this order. It raises as :func:`declare`."""

    async def declare_them(session: Session) -> None:
        channel = await session.channel()
        for each in objects:
            await attempt(each, declaring(channel, each))
        channel.close()

    return declare_them
