"""Webhooks: tells an owner's endpoint what has become of a request. What is to be told waits in a durable queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import succeed

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from provider_gateway.amqp.session import Session
    from provider_gateway.store.records import Record


class Webhooks:
    """Takes records that are final, and tells their endpoints.

    Attributes:
        consumers: queues that are consumed.
    """

    consumers = 0

    def publish(self, record: Record) -> Deferred[None]:
        """Put a webhook into the queue.

        To be called after the commit of each outcome of a record with a webhook, and before its reply is acknowledged:
        also when the reply was delivered before, and the outcome is not new. A webhook that is published twice has the
        same ``webhook-id``. A record whose time is over is published first and then marked.

        Args:
            record: as it is now: final, and with a ``webhook``. Others are ignored.

        Returns:
            A Deferred that fires when the broker has confirmed the webhook; until then, it is published again and
            again. It can be cancelled.
        """
        del record
        return succeed(None)

    async def open(self, session: Session) -> None:
        """Declare the queues, and consume on a new session."""

    def waiting_for(self) -> list[str]:
        """What keeps this part from being ready."""
        return []

    async def close(self) -> None:
        """Take no more deliveries, and end the calls that are under way: the broker delivers them again."""
