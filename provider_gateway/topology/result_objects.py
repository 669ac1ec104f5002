"""What gateways with a result store share at the broker: the queue of replies to store, and exchanges for notices.

Pure, as :mod:`provider_gateway.topology.declarations`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provider_gateway.config.short_strings import SHORT_STRING_BYTES
from provider_gateway.errors import SettingsError
from provider_gateway.topology.declarations import (
    QUORUM_SAFETY,
    Binding,
    Exchange,
    Queue,
    objects_of,
    reply_queue_arguments,
)
from provider_gateway.topology.reply_addresses import reply_prefix, reply_queue_name, results_name
from provider_gateway.topology.webhook_queues import WebhookQueues

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provider_gateway.config.queue_file import QueueEntry

#: An instance's reply queue keeps a reply that nobody takes for this part of the time for which it exists itself. What
#: waits in a queue when that expires is lost.
_PART = 10
#: Bytes that are added to the name of a queue for notices: a dot, and what makes it unique.
_SUFFIX = 9


def results_queue(entries: Sequence[QueueEntry]) -> Queue:
    """The queue of replies that are to be stored. All gateways with a store consume it."""
    return Queue(results_name(entries), reply_queue_arguments(entries))


def done_exchange(entries: Sequence[QueueEntry]) -> Exchange:
    """The exchange for notices that a result is stored. The routing key is the id of the request."""
    return Exchange(results_name(entries, "done"), "direct")


def canceled_exchange(entries: Sequence[QueueEntry]) -> Exchange:
    """The exchange for notices that a request is canceled, to all providers. The routing key is its id."""
    return Exchange(results_name(entries, "canceled"), "fanout")


def result_objects(entries: Sequence[QueueEntry]) -> list[Queue | Exchange]:
    """What a gateway with a store declares."""
    return [results_queue(entries), done_exchange(entries), canceled_exchange(entries)]


def reply_queue(name: str, entries: Sequence[QueueEntry], *, expires: float, results: str | None = None) -> Queue:
    """The reply queue of an instance.

    It is durable, so that replies survive a reconnect, and expires, so that it does not stay for ever.

    Args:
        name: ``<replyTo>.<instance>``.
        entries: the entries whose replies come to this queue.
        expires: seconds after which the broker deletes the queue when it has no consumer.
        results: the queue to which replies are dead-lettered that nobody takes, for example because the instance is
            dead; None without a result store.
    """
    milliseconds = int(1000 * expires)
    arguments = {"x-expires": milliseconds, **reply_queue_arguments(entries)}
    if results is not None:
        arguments |= {
            "x-message-ttl": milliseconds // _PART,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": results,
        }
        if arguments["x-queue-type"] == "quorum":
            arguments |= QUORUM_SAFETY
    return Queue(name, arguments)


def notice_queue_name(entries: Sequence[QueueEntry], instance: str, what: str) -> str:
    """What the names of an instance's queues for notices begin with.

    Args:
        what: the end of the exchange's name.

    Raises:
        SettingsError: such a name is too long for AMQP.
    """
    name = f"{reply_queue_name(entries, instance)}.{what}"
    if len(name.encode()) + _SUFFIX > SHORT_STRING_BYTES:
        msg = (
            f"replyTo {reply_prefix(entries)!r} is too long: with the instance's name, {instance!r}, the name of its "
            f"queue for notices has more than {SHORT_STRING_BYTES} bytes; shorten replyTo, or INSTANCE"
        )
        raise SettingsError(msg)
    return name


def check_result_names(entries: Sequence[QueueEntry]) -> None:
    """Check that the shared objects have names that AMQP can carry, and that the queue file does not use.

    Raises:
        SettingsError: the text names the object, and says what to change.
    """
    shared = [*result_objects(entries), *WebhookQueues.of(entries).objects()]
    for each in shared:
        if len(each.name.encode()) > SHORT_STRING_BYTES:
            msg = (
                f"replyTo {reply_prefix(entries)!r} is too long: the {each} of the result store (RESULT_STORE) would "
                f"have a name of more than {SHORT_STRING_BYTES} bytes; shorten replyTo"
            )
            raise SettingsError(msg)
    named = {(type(each), each.name) for each in shared}
    for entry in entries:
        for used in objects_of(entry):
            if not isinstance(used, Binding) and (type(used), used.name) in named:
                msg = (
                    f"the {used} in the entry of {entry.queue_name!r} has a name that the result store (RESULT_STORE) "
                    f"uses below replyTo {reply_prefix(entries)!r}; use another name, or another replyTo"
                )
                raise SettingsError(msg)
