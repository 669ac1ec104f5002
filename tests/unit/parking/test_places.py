"""Where parked messages lie, and where they go when they are sent again."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.parking.places import places_of
from provider_gateway.topology.declarations import objects_of
from tests.support.queue_entries import entry


class PlacesTests(SynchronousTestCase):
    """The parking queues of a queue file."""

    def test_entries(self) -> None:
        """Each work queue has one, as the process declares it; replays go through the return exchange."""
        entries = [
            entry("fib"),
            entry("large", queueType="quorum", parkingQueue="odd", maxReplays=0, bindingKey="large.#"),
        ]
        places = places_of(entries, webhooks=False)
        self.assertEqual(["fib", "large"], list(places))
        fib, large = places.values()
        self.assertEqual(("fib.parking", "fib.return", None, 3), (
            fib.parking.name, fib.exchange, fib.routing_key, fib.max_replays,
        ))  # fmt: skip
        self.assertEqual(("odd", 0, "large"), (large.parking.name, large.max_replays, large.usual_key))
        for each, place in zip(entries, places.values(), strict=True):
            self.assertIn(place.parking, list(objects_of(each)))
            self.assertEqual(frozenset(), place.sharers)

    def test_shared(self) -> None:
        """Work queues may share a parking queue: each knows the others."""
        places = places_of([entry(name, parkingQueue="all") for name in ("a", "b", "c")], webhooks=False)
        self.assertEqual({"b", "c"}, places["a"].sharers)
        self.assertEqual({"a", "b"}, places["c"].sharers)

    def test_webhooks(self) -> None:
        """The parking queue of webhooks goes by the name of their work queue, to which replays go directly."""
        places = places_of([entry("fib", replyTo="response", queueType="quorum")], webhooks=True)
        place = places["response.webhooks"]
        self.assertEqual("response.webhooks.parking", place.parking.name)
        self.assertEqual("quorum", place.parking.arguments["x-queue-type"])
        self.assertEqual(("", "response.webhooks", True), (place.exchange, place.routing_key, place.webhooks))
