"""Declares the exchanges, queues and bindings of the queue file. Each new connection does so again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pika.exceptions import ChannelClosedByBroker

from provider_gateway.deferreds import shield
from provider_gateway.errors import TopologyError
from provider_gateway.topology.declarations import Exchange, Queue, objects_of, reply_queue_arguments

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from pika.adapters.twisted_connection import TwistedChannel
    from twisted.internet.defer import Deferred

    from provider_gateway.amqp.session import Session
    from provider_gateway.config.queue_file import QueueEntry


async def _declare(what: str, declaration: Deferred[Any]) -> None:
    try:
        await shield(declaration)
    except ChannelClosedByBroker as error:
        msg = f"{what}: the broker refused it: {error.reply_text}"
        if error.reply_code == 406:
            msg += " (make the queue file agree with the object, or delete the object)"
        raise TopologyError(msg, mismatch=error.reply_code == 406) from None


async def declare_entry(channel: TwistedChannel, entry: QueueEntry) -> None:
    """Declare the objects of one entry.

    Raises:
        TopologyError: the broker refused one, and closed the channel.
    """
    for each in objects_of(entry):
        if isinstance(each, Exchange):
            declaration = channel.exchange_declare(each.name, each.type, durable=each.durable)
        elif isinstance(each, Queue):
            declaration = channel.queue_declare(each.name, durable=each.durable, arguments=dict(each.arguments))
        else:
            declaration = channel.queue_bind(each.queue, each.exchange, each.key)
        await _declare(str(each), declaration)


async def declare(session: Session, entries: Sequence[QueueEntry]) -> None:
    """Declare the objects of all entries.

    Raises:
        TopologyError: the broker refused one. The text names the object, and has the broker's own words.
    """
    channel = await session.channel()
    for entry in entries:
        await declare_entry(channel, entry)
    channel.close()


def declare_reply_queue(
    name: str, entries: Sequence[QueueEntry], *, expires: float
) -> Callable[[Session], Awaitable[None]]:
    """A function that declares the reply queue of an instance on a session.

    The queue is durable, so that replies survive a reconnect, and expires, so that it does not stay for ever.

    Args:
        name: ``<replyTo>.<instance>``.
        entries: the entries whose replies come to this queue.
        expires: seconds after which the broker deletes the queue when it has no consumer.
    """

    async def declare_it(session: Session) -> None:
        channel = await session.channel()
        arguments = {"x-expires": int(1000 * expires), **reply_queue_arguments(entries)}
        await _declare(f"queue {name!r}", channel.queue_declare(name, durable=True, arguments=arguments))
        channel.close()

    return declare_it
