"""The parking queues of a process: where their messages lie, and where they go when they are sent again. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provider_gateway.config.queue_file import MAX_REPLAYS
from provider_gateway.topology.declarations import Queue, parking_queue
from provider_gateway.topology.routing import matching_key
from provider_gateway.topology.webhook_queues import WebhookQueues

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provider_gateway.config.queue_file import QueueEntry


@dataclass(frozen=True, slots=True)
class ParkingPlace:
    """A parking queue, as seen from one work queue.

    Attributes:
        queue: name of the work queue. People call the parking queue by it.
        parking: the parking queue, as it is declared.
        exchange: messages that are sent again are published to it.
        routing_key: with this key; None for the one that the message had.
        max_replays: replays of one message, beyond which one has to be forced.
        usual_key: a routing key that leads to the work queue, for messages of which none is known.
        sharers: the other work queues whose messages are in the same parking queue, too.
        webhooks: the messages are webhooks.
    """

    queue: str
    parking: Queue
    exchange: str
    routing_key: str | None
    max_replays: int
    usual_key: str = ""
    sharers: frozenset[str] = frozenset()
    webhooks: bool = False


def places_of(entries: Sequence[QueueEntry], *, webhooks: bool) -> dict[str, ParkingPlace]:
    """The parking queues of a queue file, by work queue.

    Args:
        entries: all of them.
        webhooks: True to have the parking queue of webhooks, too, under the name of the queue that webhooks wait in.
    """
    places = {}
    for entry in entries:
        others = (each.queue_name for each in entries if each.parking == entry.parking and each is not entry)
        places[entry.queue_name] = ParkingPlace(
            queue=entry.queue_name,
            parking=parking_queue(entry),
            exchange=entry.return_exchange,
            routing_key=None,
            max_replays=entry.max_replays,
            usual_key=matching_key(entry),
            sharers=frozenset(others),
        )
    if webhooks:
        queues = WebhookQueues.of(entries)
        work = queues.work.name
        places[work] = ParkingPlace(
            queue=work,
            parking=queues.parking,
            exchange="",
            routing_key=work,
            max_replays=MAX_REPLAYS,
            usual_key=work,
            webhooks=True,
        )
    return places
