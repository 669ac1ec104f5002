"""The queues in which webhooks wait: for their first try, for the next one, and for people to look at.

Pure, as :mod:`provider_gateway.topology.declarations`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from provider_gateway.topology.declarations import QUORUM_SAFETY, Queue, reply_queue_arguments
from provider_gateway.topology.reply_addresses import WEBHOOK_TIERS, results_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provider_gateway.config.queue_file import QueueEntry


@dataclass(frozen=True, slots=True)
class WebhookQueues:
    """The queues of webhooks, which all gateways with a store share.

    Attributes:
        work: gateways consume it.
        tiers: seconds until a webhook comes back to the work queue, and where it waits; shortest first.
        parking: webhooks that no further try is made with.
    """

    work: Queue
    tiers: tuple[tuple[float, Queue], ...]
    parking: Queue

    @classmethod
    def of(cls, entries: Sequence[QueueEntry]) -> WebhookQueues:
        """The queues below the first ``replyTo`` of a queue file. They are quorum queues if one of its queues is."""
        name = results_name(entries, "webhooks")
        work = Queue(name, reply_queue_arguments(entries))
        back = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": name}
        safety = QUORUM_SAFETY if work.arguments["x-queue-type"] == "quorum" else {}
        tiers = (
            (
                seconds,
                Queue(f"{name}.retry.{tier}", {**work.arguments, **back, **safety, "x-message-ttl": 1000 * seconds}),
            )
            for tier, seconds in WEBHOOK_TIERS.items()
        )
        return cls(work, tuple(tiers), replace(work, name=f"{name}.parking"))

    def objects(self) -> list[Queue]:
        """All queues, in the order of their declaration: the target of dead-lettering first."""
        return [self.work, self.parking, *(queue for _, queue in self.tiers)]
