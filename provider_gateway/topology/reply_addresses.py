"""Which reply addresses of a message are served: an answer must not become work of ours, or go where it may not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provider_gateway.topology.routing import topic_matches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provider_gateway.config.queue_file import QueueEntry

#: Reply queues of the gateways, if no entry names a ``replyTo``.
DEFAULT_PREFIX = "replies"


def reply_prefix(entries: Sequence[QueueEntry]) -> str:
    """The name below which the gateways have their reply queues: the first ``replyTo`` of the queue file."""
    return next((entry.reply_to for entry in entries if entry.reply_to is not None), DEFAULT_PREFIX)


class ReplyAddresses:
    """The reply addresses that messages of one queue may bring.

    They are names of queues: replies are published to the default exchange.

    Args:
        entry: of the queue.
        entries: all of the queue file.
    """

    def __init__(self, entry: QueueEntry, entries: Sequence[QueueEntry]) -> None:
        self._configured = {prefix for prefix in (entry.reply_to, reply_prefix(entries)) if prefix is not None}
        self._patterns = entry.reply_to_allowed
        self._ours: set[str] = set()
        for each in entries:
            self._ours |= {each.queue_name, each.retry_queue, each.parking}
            if each.dle_params is not None:
                self._ours.add(each.dle_params.dle_queue)

    def allow(self, address: str | None) -> bool:
        """True if a message may be answered there; the configured addresses and names below them always may."""
        if address is None or not isinstance(address, str):
            return True  # none, or one that is not UTF-8, which no queue of ours has
        if address in self._configured:
            return True
        if address in self._ours:
            return False
        if any(address.startswith(f"{each}.") for each in self._configured):
            return True
        return not self._patterns or any(topic_matches(pattern, address) for pattern in self._patterns)
