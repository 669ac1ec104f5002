"""Which reply addresses of a message are allowed: a reply must not become a request message, or reach other queues."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provider_gateway.config.short_strings import SHORT_STRING_BYTES
from provider_gateway.errors import SettingsError
from provider_gateway.topology.routing import topic_matches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provider_gateway.config.queue_file import QueueEntry

#: Prefix of reply queues if no entry has a ``replyTo``.
DEFAULT_PREFIX = "replies"
#: Names and seconds of the queues in which webhooks wait for the next try.
WEBHOOK_TIERS = {"5s": 5, "30s": 30, "5m": 300, "30m": 1800, "2h": 7200}


def reply_prefix(entries: Sequence[QueueEntry]) -> str:
    """The prefix of the gateways' reply queues: the first ``replyTo`` of the queue file."""
    return next((entry.reply_to for entry in entries if entry.reply_to is not None), DEFAULT_PREFIX)


def reply_queue_name(entries: Sequence[QueueEntry], instance: str) -> str:
    """The name of an instance's reply queue.

    Raises:
        SettingsError: it is too long for AMQP.
    """
    name = f"{reply_prefix(entries)}.{instance}"
    if len(name.encode()) > SHORT_STRING_BYTES:
        msg = (
            f"replyTo {reply_prefix(entries)!r} is too long: with the instance's name, {instance!r}, its reply queue's "
            f"name has more than {SHORT_STRING_BYTES} bytes; shorten replyTo, or INSTANCE"
        )
        raise SettingsError(msg)
    return name


def results_name(entries: Sequence[QueueEntry], suffix: str = "results") -> str:
    """The name of an object that all gateways share, below the prefix of their reply queues.

    Args:
        suffix: ``results`` for the queue of replies that are stored; ``done`` for the exchange that tells
            what is stored; ``webhooks`` for the queue of webhooks to send.
    """
    return f"{reply_prefix(entries)}.{suffix}"


def webhook_queue_names(prefix: str) -> set[str]:
    """The names of all queues of webhooks."""
    name = f"{prefix}.webhooks"
    return {name, f"{name}.parking", *(f"{name}.retry.{tier}" for tier in WEBHOOK_TIERS)}


class ReplyAddresses:
    """The allowed reply addresses of messages of one queue.

    A reply address is the name of a queue: replies are published to the default exchange.

    Args:
        entry: of the queue.
        entries: all of the queue file.

    Attributes:
        results: the queue of replies that are stored.
    """

    def __init__(self, entry: QueueEntry, entries: Sequence[QueueEntry]) -> None:
        self._configured = {prefix for prefix in (entry.reply_to, reply_prefix(entries)) if prefix is not None}
        self._patterns = entry.reply_to_allowed
        self.results = results_name(entries)
        #: A reply that is published to these would be sent as a webhook, or as a request.
        self._ours = webhook_queue_names(reply_prefix(entries))
        for each in entries:
            self._ours |= {each.queue_name, each.retry_queue, each.parking}
            if each.dle_params is not None:
                self._ours.add(each.dle_params.dle_queue)
        #: A reply must not become an order to call somebody.
        self._webhooks = results_name(entries, "webhooks")
        self._ours |= {self._webhooks, f"{self._webhooks}.parking"}

    def allow(self, address: str | None) -> bool:
        """True if replies may go to this address. Configured addresses, and names below them, are always allowed."""
        if address is None or not isinstance(address, str):
            return True  # none, or not UTF-8 and so no queue of ours
        if address in self._configured:
            return True
        if address.startswith(f"{self._webhooks}.retry."):
            return False
        if address in self._ours or len(address.encode("utf-8", "replace")) > SHORT_STRING_BYTES:
            return False
        if any(address.startswith(f"{each}.") for each in self._configured):
            return True
        return not self._patterns or any(topic_matches(pattern, address) for pattern in self._patterns)
