"""Declares what the queue file names: exchanges, queues, bindings. Idempotent; every new connection does it again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pika.exceptions import ChannelClosedByBroker

from provider_gateway.deferreds import shield
from provider_gateway.errors import TopologyError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from pika.adapters.twisted_connection import TwistedChannel
    from twisted.internet.defer import Deferred

    from provider_gateway.amqp.session import Session
    from provider_gateway.queues import QueueEntry

#: Milliseconds that an instance's reply queue outlives its last consumer.
REPLY_QUEUE_EXPIRES = 600_000


def queue_arguments(entry: QueueEntry) -> dict[str, object]:
    """The arguments that the work queue of an entry is declared with: ``argQueue`` and the queue's type."""
    arguments: dict[str, object] = dict(entry.arg_queue)
    if entry.queue_type != "classic":
        # Not for classic queues: an argument that was not there when the queue was made would be a mismatch.
        arguments["x-queue-type"] = entry.queue_type
    return arguments


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
        TopologyError: the broker refused one; the channel is closed then.
    """
    if entry.exchange:
        await _declare(
            f"exchange {entry.exchange!r}",
            channel.exchange_declare(entry.exchange, entry.exchange_type, durable=entry.durable),
        )
    if entry.dle_params is not None:
        dle = entry.dle_params
        await _declare(
            f"exchange {dle.dle_exchange!r}",
            channel.exchange_declare(dle.dle_exchange, dle.dle_exchange_type, durable=True),
        )
        await _declare(
            f"queue {dle.dle_queue!r}",
            channel.queue_declare(dle.dle_queue, durable=True, arguments=dict(dle.dle_args)),
        )
        await _declare(f"binding of {dle.dle_queue!r}", channel.queue_bind(dle.dle_queue, dle.dle_exchange, ""))
    await _declare(
        f"queue {entry.queue_name!r}",
        channel.queue_declare(entry.queue_name, durable=entry.durable, arguments=queue_arguments(entry)),
    )
    if entry.exchange:
        for key in entry.binding_key or ("",):
            await _declare(
                f"binding of {entry.queue_name!r}", channel.queue_bind(entry.queue_name, entry.exchange, key)
            )
    if entry.reply_to is not None:
        await _declare(f"queue {entry.reply_to!r}", channel.queue_declare(entry.reply_to, durable=True))


async def declare(session: Session, entries: Sequence[QueueEntry]) -> None:
    """Declare the objects of all entries.

    Raises:
        TopologyError: the broker refused one; the text names the object and, as the broker says it, the argument.
    """
    channel = await session.channel()
    for entry in entries:
        await declare_entry(channel, entry)
    channel.close()


def declare_reply_queue(name: str) -> Callable[[Session], Awaitable[None]]:
    """A declaration of an instance's own reply queue: durable, so that replies survive a reconnect, but not for ever.

    Args:
        name: ``<replyTo>.<instance>``.
    """

    async def declare_it(session: Session) -> None:
        channel = await session.channel()
        arguments = {"x-expires": REPLY_QUEUE_EXPIRES}
        await _declare(f"queue {name!r}", channel.queue_declare(name, durable=True, arguments=arguments))
        channel.close()

    return declare_it
